"""Models brought from one machine to another, into the very place where they would have been fetched.

Owns: which folder of which machine a model is, the pieces that it is brought in, and that it appears as a whole.
Must not know: how pieces travel, which engine wants the model.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from audio_pool.errors import StorageError
from audio_pool.models import weights

__all__ = ["PIECE_BYTES", "Arrival", "Shipped", "pieces_of", "shipped", "target_of"]

PIECE_BYTES = 16 << 20


class Shipped(Struct, frozen=True, kw_only=True):
    """A model that lies on this machine, and where it belongs on any other."""

    model: str
    source: str
    """Its folder here."""
    target: str
    """Its folder there: absolute, or relative to the hub's cache of that machine."""
    revision: str = ""
    """Of the hub: what ``main`` is there; "": it does not lie in the hub's cache."""


def shipped(model: str, *, models_dir: str = "", revision: str = "", packaged: str = "") -> Shipped | None:
    """Return a model that another machine may lack; None: it is not here, or comes with a package.

    Args:
        model, models_dir, revision, packaged: as in ``weights.find``.
    """
    found = weights.find(model, models_dir=models_dir or None, revision=revision, packaged=packaged)
    if found is None or not found.path.is_dir():
        return None
    if found.place == "models_dir":
        target = Path(models_dir).expanduser().absolute() / model.replace("/", "--")
        return Shipped(model=model, source=str(found.path), target=str(target))
    if found.place == "hub_cache":
        target = found.path.relative_to(weights.hub_cache())
        return Shipped(model=model, source=str(found.path), target=str(target), revision=found.path.name)
    return None


def target_of(model: Shipped) -> Path:
    """Return where a model belongs on this machine."""
    return weights.hub_cache() / model.target


def pieces_of(model: Shipped) -> Iterator[tuple[str, int, bytes]]:
    """Yield the files of a model as (path within its folder, offset, bytes); links are followed. Raises OSError."""
    source = Path(model.source)
    for path in sorted(one for one in source.rglob("*") if one.is_file()):
        name, offset = str(path.relative_to(source)), 0
        with path.open("rb") as file:
            while (data := file.read(PIECE_BYTES)) or not offset:
                yield name, offset, data
                offset += len(data)
                if not data:
                    break


class Arrival:
    """A model on its way into this machine's place for it."""

    def __init__(self, model: Shipped) -> None:
        self._model = model
        self._target = target_of(model)
        self._part = self._target.with_name(f".{self._target.name}.{os.getpid()}.part")
        shutil.rmtree(self._part, ignore_errors=True)

    def take(self, name: str, offset: int, data: bytes) -> None:
        """Write a piece. Raises StorageError."""
        path = Path(os.path.normpath(self._part / name))
        if not path.is_relative_to(self._part):
            raise StorageError(f"model {self._model.model!r}: a file {name!r} outside of its folder")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("r+b" if offset else "wb") as file:
                file.seek(offset)
                file.write(data)
        except OSError as exc:
            raise StorageError(f"model {self._model.model!r} finds no room in {path.parent}: {exc.strerror}") from None

    def end(self) -> None:
        """Put the whole model into its place. Raises StorageError."""
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._part.rename(self._target)
            except OSError:
                if not self._target.is_dir():
                    raise
                shutil.rmtree(self._part, ignore_errors=True)  # another worker of this node was quicker
            main = self._target.parent.parent / "refs" / "main"
            if self._model.revision and not main.exists():
                main.parent.mkdir(parents=True, exist_ok=True)
                main.write_text(self._model.revision)
        except OSError as exc:
            raise StorageError(f"model {self._model.model!r} cannot be put into {self._target}: {exc}") from None
