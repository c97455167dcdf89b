"""The files in which audiocraft publishes a model: reading them, and the configuration that they carry.

Owns: Package (one of ``state_dict.bin`` and ``compression_state_dict.bin``: tensors under audiocraft's names
and the configuration of their training) and Configuration (its nested values by dotted names).
Must not know: what modules the tensors belong to (_audiocraft_modules.py), any single engine, the pool.

Read as weights only: nothing in a file is executed. audiocraft's exporter writes the configuration as YAML; a
file whose configuration was left an omegaconf object is read without that library, and without its code.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from audio_pool.errors import EngineUnavailable
from audio_pool.models.weights import missing_model

if TYPE_CHECKING:
    import torch

__all__ = ["CODEC_FILE", "MODEL_FILE", "Configuration", "Package", "read_package"]

MODEL_FILE = "state_dict.bin"
CODEC_FILE = "compression_state_dict.bin"

_REFERENCE = re.compile(r"\$\{([A-Za-z0-9_.]+)\}")
_MISSING = "???"  # omegaconf's mark of a value that was never given
_DEPTH = 20
# What a pickled omegaconf object consists of, beside plain values.
_OMEGACONF = (
    "typing.Any",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    *(f"omegaconf.nodes.{kind}Node" for kind in ("Any", "String", "Integer", "Float", "Boolean", "Bytes", "Path")),
)
# Named, not called, by its metadata.
_PLAIN_TYPES = (dict, list, tuple, str, int, float, bool, bytes, defaultdict)


class Configuration:
    """Nested values by dotted names; ``${a.b}`` stands for the value of that name."""

    def __init__(self, tree: Mapping[str, Any], source: Path) -> None:
        """
        Args:
            tree: mappings, sequences and plain values.
            source: the file, for messages.
        """
        self._tree = tree
        self._source = source

    def number(self, name: str, default: float | None = None) -> float:
        """Return a number; YAML 1.1 takes ``1e-5`` for a text.

        Raises:
            EngineUnavailable: no such value and no default, or no number.
        """
        value = self._given(name, default)
        try:
            if isinstance(value, bool):
                raise ValueError
            return float(value)
        except (TypeError, ValueError):
            raise self._wrong(name, value, "a number") from None

    def whole(self, name: str, default: int | None = None) -> int:
        """Return a whole number; raises as ``number``."""
        value = self.number(name, default)
        if not value.is_integer():
            raise self._wrong(name, value, "a whole number")
        return int(value)

    def text(self, name: str, default: str | None = None) -> str:
        """Return a text; raises as ``number``."""
        value = self._given(name, default)
        if not isinstance(value, str):
            raise self._wrong(name, value, "a text")
        return value

    def wholes(self, name: str, default: Sequence[int] | None = None) -> list[int]:
        """Return a list of whole numbers; raises as ``number``."""
        value = self._given(name, default)
        if not isinstance(value, list | tuple) or not all(type(each) is int for each in value):
            raise self._wrong(name, value, "a list of whole numbers")
        return list(value)

    def must_be(self, name: str, allowed: object, default: object) -> None:
        """Check a value of which only one kind of model is known here.

        Args:
            name: dotted.
            allowed: the value that can be loaded.
            default: what audiocraft takes where nothing is given.

        Raises:
            EngineUnavailable: it is another.
        """
        value = self.get(name)
        if (default if value is None else value) != allowed:
            raise self._wrong(name, value, f"{allowed!r}")

    def get(self, name: str) -> Any:
        """Return a value, references followed; None where there is none."""
        return self._followed(name, 0)

    def _given(self, name: str, default: object) -> Any:
        value = self.get(name)
        return default if value is None else value

    def _followed(self, name: str, depth: int) -> Any:
        if depth > _DEPTH:
            raise EngineUnavailable(f"{self._source}: xp.cfg: {name} refers to itself")
        found: Any = self._tree
        for part in name.split("."):
            if isinstance(found, str) and (reference := _REFERENCE.fullmatch(found)):
                found = self._followed(reference[1], depth + 1)
            found = found.get(part) if isinstance(found, Mapping) else None
        if isinstance(found, str):
            if found == _MISSING:
                return None
            if reference := _REFERENCE.fullmatch(found):
                return self._followed(reference[1], depth + 1)
        return found

    def _wrong(self, name: str, value: object, allowed: str) -> EngineUnavailable:
        found = "is missing" if value is None else f"is {value!r}"
        return EngineUnavailable(
            f"{self._source}: xp.cfg: {name} {found}; this engine loads models where it is {allowed}"
        )


@dataclass(frozen=True, kw_only=True)
class Package:
    """One published file."""

    path: Path
    state: Mapping[str, torch.Tensor]
    """By audiocraft's names; empty where the file only names another model."""
    config: Configuration
    pretrained: str
    """The hub id of the codec that the file names instead of carrying one; "": it carries its own."""

    @property
    def elements(self) -> int:
        """Return the number of weights."""
        return sum(tensor.numel() for tensor in self.state.values())


def read_package(path: Path, engine: str) -> Package:
    """Read one file; its tensors stay on disk until they are used.

    Args:
        path: a ``state_dict.bin`` or ``compression_state_dict.bin``.
        engine: the implementation, for messages.

    Raises:
        EngineUnavailable: not there, unreadable, or holding what no published file holds.
    """
    read = _loaded(path, engine)
    if not isinstance(read, dict):
        raise missing_model(engine, f"{str(path)!r} is no file of audiocraft's: it holds no dictionary")
    pretrained = read.get("pretrained", "")
    if pretrained:
        return Package(path=path, state={}, config=Configuration({}, path), pretrained=str(pretrained))
    state = read.get("best_state")
    if isinstance(state, dict) and isinstance(state.get("model"), dict):
        state = state["model"]  # a checkpoint of the training that was never exported
    if not isinstance(state, dict) or not state:
        raise missing_model(engine, f"{str(path)!r} is no file of audiocraft's: it holds no best_state")
    return Package(path=path, state=state, config=Configuration(_tree(read.get("xp.cfg"), path), path), pretrained="")


def _loaded(path: Path, engine: str) -> object:
    import torch

    harmless = [*((_Inert, name) for name in _OMEGACONF), *_PLAIN_TYPES]
    try:
        with torch.serialization.safe_globals(harmless):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=_mappable(path))
    except FileNotFoundError:
        raise missing_model(engine, f"{str(path)!r} is not there") from None
    except UnpicklingError as exc:
        said = next((line.strip() for line in str(exc).splitlines() if "Unsupported" in line), str(exc))
        raise missing_model(
            engine, f"{str(path)!r} holds more than tensors and a configuration, and is not loaded: {said[:300]}"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError) as exc:
        raise missing_model(engine, f"{str(path)!r} is no checkpoint that torch can read: {exc}") from None


def _mappable(path: Path) -> bool:
    """Return True for torch's format since 1.6, a zip archive."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _tree(given: object, path: Path) -> Mapping[str, Any]:
    if isinstance(given, str):
        from yaml import YAMLError, safe_load  # plain data only: nothing in it can name a class

        try:
            given = safe_load(given)
        except YAMLError as exc:
            raise EngineUnavailable(f"{path}: xp.cfg is no YAML: {' '.join(str(exc).split())[:300]}") from None
    found = _plain(given, 0)
    if not isinstance(found, dict):
        raise EngineUnavailable(
            f"{path}: xp.cfg is {type(given).__name__}; this engine reads YAML or a mapping",
            hint="export the model with audiocraft.utils.export",
        )
    return found


class _Inert:
    """Stands where omegaconf's classes stood: it holds their state and does nothing."""

    def __init__(self, *_: object) -> None:
        pass


def _plain(value: object, depth: int) -> object:
    """Return mappings, lists and plain values, out of the objects that omegaconf wraps them in."""
    if depth > _DEPTH:
        return None
    if isinstance(value, _Inert):
        state = vars(value)
        return _plain(state.get("_content", state.get("_val")), depth + 1)
    if isinstance(value, Mapping):
        return {str(key): _plain(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, depth + 1) for each in value]
    return value
