"""Fetches a model from the hub onto this machine.

Owns: the choice of a repository's files, the acknowledgement of licences, the hub's refusals as our errors;
the only importer of huggingface_hub.
Must not know: any engine, torch.

Two callers reach the network through here: ``audio-pool models fetch``, and an engine that is loaded with
the setting ``offline = false`` while its model is not on this machine (``ensure``). Without that setting
serving never does (weights.locate).
"""

from __future__ import annotations

import fcntl
import fnmatch
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from audio_pool.engine_info import EngineInfo
from audio_pool.errors import AudioPoolError, EngineUnavailable, InvalidConfig, Refused, StorageError
from audio_pool.models.weights import WEIGHT_SUFFIXES, Found, digest, hub_cache, locate, verify

__all__ = ["Repository", "companions", "ensure", "fetch", "files_of", "select"]

_LARGE_BYTES = 16 << 20
_OTHER_FORMATS = (".h5", ".msgpack", ".onnx", ".onnx_data", ".tflite", ".ot", ".gguf", ".xml")
_VARIANTS = (".fp16.", ".fp32.", ".bf16.", ".non_ema.")
_DEMONSTRATIONS = (".wav", ".mp3", ".flac", ".png", ".jpg", ".mp4", ".gif", ".ipynb")


class Repository(Struct, frozen=True, kw_only=True):
    """A model on the hub and what of it is needed."""

    id: str
    """``owner/name``, or ``name`` for the hub's oldest ones."""
    revision: str = ""
    """Branch, tag or commit; "" is ``main``."""
    only: tuple[str, ...] = ()
    """Shell patterns of the files needed; () is everything a loader reads."""
    licence: str = ""
    """"" where it is not known beforehand: then the hub's own word is heeded."""
    commercial_use: bool = True


def files_of(model: str, infos: Iterable[EngineInfo]) -> tuple[str, ...]:
    """Return the shell patterns of the files needed of a hub model; () is everything a loader reads.

    Args:
        infos: of the engines that are known; the one whose default model it is says.
    """
    return next((info.files for info in infos if info.model == model), ())


def companions(model: str, infos: Iterable[EngineInfo]) -> tuple[Repository, ...]:
    """Return the further repositories that a hub model needs to load, by the engine whose default it is."""
    found = next((info.companions for info in infos if info.model == model), ())
    return tuple(Repository(id=one.model, only=one.files, licence=one.licence) for one in found)


def ensure(
    model: str,
    *,
    engine: str,
    models_dir: str | Path | None = None,
    revision: str = "",
    packaged: str = "",
    offline: bool = True,
    files: Sequence[str] = (),
) -> Found:
    """Return where a model is on this machine; with ``offline`` false fetch it first where it is not.

    Args:
        engine: the implementation that needs it, for the command in the message.
        model, models_dir, revision, packaged: as in ``weights.find``.
        offline: False is the administrator's word that a fetch, and the model's licence, are acceptable.
        files: shell patterns of the files to fetch; () is everything a loader reads.

    Raises:
        EngineUnavailable: it is not here and may not, or cannot, be fetched.
        Refused, StorageError: as ``fetch``.
    """
    try:
        return locate(model, engine=engine, models_dir=models_dir, revision=revision, packaged=packaged)
    except EngineUnavailable:
        if offline or model.startswith((".", "/", "~")) or model.count("/") != 1:
            raise
    fetch(Repository(id=model, revision=revision, only=tuple(files)), models_dir=models_dir, accept_licence=True)
    return locate(model, engine=engine, models_dir=models_dir, revision=revision, packaged=packaged)


def select(names: Iterable[str], only: Sequence[str] = ()) -> list[str]:
    """Return those of a repository's files that a loader reads.

    Of several formats of the same weights one is taken, safetensors before pickles; half-precision and
    exported variants are left out, and so are single-file copies beside a diffusers layout.
    """
    names = sorted(names)
    if only:
        return [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in only)]
    pipeline = "model_index.json" in names
    safe = {_folder(name) for name in names if name.endswith(".safetensors") and not _is_variant(name)}
    chosen = []
    for name in names:
        suffix = os.path.splitext(name)[1]
        if suffix in _OTHER_FORMATS or _is_variant(name) or name.startswith(".") or _is_export(name):
            continue
        if suffix in WEIGHT_SUFFIXES:
            if pipeline and "/" not in name:
                continue
            if suffix != ".safetensors" and _folder(name) in safe:
                continue
        elif suffix in _DEMONSTRATIONS:
            continue
        chosen.append(name)
    return chosen


def _folder(name: str) -> str:
    return name.rsplit("/", 1)[0] if "/" in name else ""


def _is_variant(name: str) -> bool:
    return any(mark in name.rsplit("/", 1)[-1] for mark in _VARIANTS)


def _is_export(name: str) -> bool:
    return name.split("/", 1)[0] in ("onnx", "openvino", "coreml")


def fetch(
    repository: Repository,
    *,
    models_dir: str | Path | None = None,
    accept_licence: bool = False,
    token: str | None = None,
) -> Path:
    """Bring a model from the hub onto this machine, and return the directory it is in.

    What is there already is not fetched again; a file cut short goes on where it stopped. Progress goes
    to stderr, in the hub library's own bars.

    Args:
        models_dir: receives the model in a folder of its name; None is the hub's cache.
        accept_licence: acknowledges a licence that does not allow commercial use.
        token: the hub's access token; None is the one it has stored, if any.

    Raises:
        Refused: the licence is not acknowledged, or the hub refuses a gated model: with the steps to take.
        EngineUnavailable: the hub library is missing, the model does not exist, the hub is not reached.
        StorageError: there is no room, or what came is damaged.
    """
    if not repository.commercial_use:
        _check_licence(repository.id, repository.licence, accept_licence)
    try:
        import huggingface_hub
        from huggingface_hub import constants
    except ImportError:
        raise EngineUnavailable(
            "fetching models needs huggingface_hub, which is not installed", hint="pip install 'audio-pool[hub]'"
        ) from None
    if constants.HF_HUB_OFFLINE:
        raise EngineUnavailable(
            f"cannot fetch {repository.id}: HF_HUB_OFFLINE is set", hint="unset HF_HUB_OFFLINE for this command"
        )
    target = None
    if models_dir is not None:
        target = Path(models_dir).expanduser() / repository.id.rsplit("/", 1)[-1]
    try:
        info = huggingface_hub.HfApi(token=token).model_info(
            repository.id, revision=repository.revision or None, files_metadata=True
        )
        if not repository.licence:
            licence = str((info.card_data or {}).get("license") or "")
            if "nc" in licence.lower().split("-"):
                _check_licence(repository.id, licence, accept_licence)
        sizes = {file.rfilename: int(file.size or 0) for file in info.siblings or []}
        names = select(sizes, repository.only)
        if not names:
            raise InvalidConfig(
                f"{repository.id} has no file that matches {', '.join(repository.only) or 'what a loader reads'}",
                hint=f"its files: {', '.join(sorted(sizes)[:12])}",
            )
        _check_room(target or hub_cache(), sum(sizes[name] for name in names), repository.id)
        for file in info.siblings or []:
            if file.rfilename in names and file.lfs is not None and file.lfs.size >= _LARGE_BYTES:
                _fetch_large(info, file, target, token)
        folder = huggingface_hub.snapshot_download(
            repository.id,
            revision=repository.revision or None,
            local_dir=target,
            cache_dir=None if target else str(hub_cache()),
            allow_patterns=[_literal(name) for name in names],
            token=token,
        )
    except Exception as exc:
        raise _explained(exc, repository) from exc
    report = verify(Path(folder), hashes=False)
    if report.problems:
        raise StorageError(
            f"{repository.id} came damaged: {report.problems[0]}", hint="run the same command again"
        )
    return Path(folder)


def _fetch_large(info: Any, file: Any, target: Path | None, token: str | None) -> None:
    """Bring one large file to where the hub library will find it whole, going on where it was cut short.

    The library by itself goes on after a lost connection, but starts a file anew after the process ended.

    Args:
        info: the hub's ModelInfo.
        file: its RepoSibling, of known SHA-256 and size.
        target: the model's plain directory; None for the hub's cache.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    blobs = hub_cache() / f"models--{info.id.replace('/', '--')}" / "blobs"
    whole = target / file.rfilename if target else blobs / file.lfs.sha256
    if whole.exists():
        return
    partial = (target / ".cache" / "huggingface" if target else blobs) / f"{file.lfs.sha256}.partial"
    for path in (whole, partial):
        path.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StorageError(
                f"another process is fetching {file.rfilename} of {info.id}", hint="wait for it, then try again"
            ) from None
        http_get(
            hf_hub_url(info.id, file.rfilename, revision=info.sha),
            stream,
            resume_size=stream.tell(),
            headers=build_hf_headers(token=token),
            expected_size=file.lfs.size,
            displayed_filename=file.rfilename,
        )
        stream.flush()
        os.fsync(stream.fileno())
        if digest(partial, file.lfs.sha256) != file.lfs.sha256:
            partial.unlink()
            raise StorageError(
                f"{file.rfilename} of {info.id} came damaged and was thrown away", hint="run the same command again"
            )
        partial.replace(whole)


def _check_licence(repo: str, licence: str, accepted: bool) -> None:
    if not accepted:
        raise Refused(
            f"the weights of {repo} do not allow commercial use (licence: {licence})",
            hint=f"read https://huggingface.co/{repo}, then run again with --accept-licence, "
            "or name the engine in policy.accepted_licences",
        )


def _literal(name: str) -> str:
    """Return a file's name as a shell pattern that matches it alone."""
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in name)


def _check_room(place: Path, needed: int, repo: str) -> None:
    there = place
    while not there.exists() and there != there.parent:
        there = there.parent
    free = shutil.disk_usage(there).free
    if needed > free:
        raise StorageError(
            f"{repo} needs {needed / 1e9:.1f} GB and {there} has {free / 1e9:.1f} GB free",
            hint="free some room, or give another place with --models-dir",
        )


def _explained(exc: Exception, repository: Repository) -> Exception:
    """Return the hub library's exception as ours; the foreign one stays as the cause."""
    from huggingface_hub import errors as hub

    page = f"https://huggingface.co/{repository.id}"
    if isinstance(exc, AudioPoolError):
        return exc
    status = getattr(getattr(exc, "response", None), "status_code", None)
    if isinstance(exc, hub.GatedRepoError) or (status in (401, 403) and isinstance(exc, hub.HfHubHTTPError)):
        who = "without knowing who asks" if status == 401 else "to this account"
        why = "the model is gated" if isinstance(exc, hub.GatedRepoError) else "it is gated, private or not there"
        return Refused(
            f"the hub refuses {repository.id} {who}: {why}",
            hint=f"1. log in at huggingface.co and accept the terms on {page}; "
            "2. make a token with read access at https://huggingface.co/settings/tokens; "
            "3. run 'hf auth login' or set HF_TOKEN; 4. run this command again",
        )
    if isinstance(exc, hub.RevisionNotFoundError):
        return EngineUnavailable(
            f"{repository.id} has no revision {repository.revision!r}", hint=f"see {page}/commits/main"
        )
    if isinstance(exc, hub.RepositoryNotFoundError):
        return EngineUnavailable(f"the hub has no model {repository.id!r}", hint="check the name with --model")
    if isinstance(exc, hub.HfHubHTTPError):
        return EngineUnavailable(
            f"fetching {repository.id} failed: the hub answered {status}",
            hint="run the same command again; what has come already is kept",
        )
    if isinstance(exc, OSError) and exc.errno is not None:
        return StorageError(f"fetching {repository.id} failed: {exc.strerror}: {exc.filename or ''}".strip())
    return EngineUnavailable(
        f"fetching {repository.id} failed: {type(exc).__name__}: {str(exc).splitlines()[0] if str(exc) else ''}",
        hint="check the connection and run the same command again; what has come already is kept",
    )
