"""Lists engines, describes them, and loads them.

Owns: the names of engines (modules and packages of this one, and entry points of other packages in the
group ``audio_pool.engines``), ``configured_info`` and ``load_engine``.
Must not know: any single engine, how a pool is configured.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from msgspec import structs

from audio_pool.engine_info import EngineInfo, EngineRole, Notes, OptionInfo, VoiceInfo, missing_modules
from audio_pool.engines._memory import give_back
from audio_pool.engines.base import (
    Audio,
    Embedder,
    Engine,
    Generator,
    Item,
    OnStep,
    Passes,
    ReadsMeaning,
    Scorer,
    Streams,
    Tells,
    Vectors,
)
from audio_pool.engines.options import checked_options
from audio_pool.errors import AudioPoolError, EngineUnavailable, InvalidConfig, UnknownEngine, nearest_name
from audio_pool.models import weights
from audio_pool.validation import parse

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

__all__ = [
    "Audio",
    "Embedder",
    "Engine",
    "EngineInfo",
    "Generator",
    "Item",
    "Notes",
    "OnStep",
    "OptionInfo",
    "Passes",
    "ReadsMeaning",
    "Scorer",
    "Streams",
    "Tells",
    "Vectors",
    "VoiceInfo",
    "checked_options",
    "configured_info",
    "engine_info",
    "engine_infos",
    "engine_names",
    "give_back",
    "load_engine",
    "missing_modules",
    "precision_of",
]

_GROUP = "audio_pool.engines"
_NOT_ENGINES = {"base", "options"}


# -- which there are -------------------------------------------------------------------------------------


def _own_names() -> list[str]:
    return [
        module.name
        for module in pkgutil.iter_modules(__path__)
        if not module.name.startswith("_") and module.name not in _NOT_ENGINES
    ]


def _entry_points() -> EntryPoints:
    from importlib.metadata import entry_points  # slow, and a worker with an engine of ours needs none

    return entry_points(group=_GROUP)


def engine_names(role: EngineRole | None = None) -> list[str]:
    """Return every engine that can be named, sorted: this package's and those of entry points.

    Args:
        role: only those that do this, as far as they can be imported; None: all.
    """
    if role is not None:
        return [info.name for info in engine_infos() if info.role == role]
    names = {name for name in _own_names() if hasattr(_module(name), "INFO")}
    names.update(point.name for point in _entry_points())
    return sorted(names)


def engine_infos() -> list[EngineInfo]:
    """Return the description of every engine that can be imported, by name."""
    infos = []
    for name in engine_names():
        try:
            infos.append(engine_info(name))
        except EngineUnavailable:  # another package's; ``audio-pool engines`` says why
            continue
    return infos


def engine_info(name: str, *, role: EngineRole | None = None) -> EngineInfo:
    """Return an implementation's INFO, without loading it.

    Args:
        role: what the caller wants it for: an unknown name's message then lists no others.

    Raises:
        UnknownEngine: with the nearest known name.
        EngineUnavailable: another package's that cannot be imported.
    """
    info: EngineInfo = _module(name, role).INFO
    return info if info.implementation else structs.replace(info, implementation=name)


def configured_info(
    name: str,
    implementation: str = "",
    *,
    kinds: Iterable[str] | None = None,
    settings: Mapping[str, Any] | None = None,  # opaque: each implementation's own
    models_dir: str = "",
) -> EngineInfo:
    """Return what a named model is, as far as that is known without loading it.

    Args:
        name: as it is asked for.
        implementation: as in ``engine_names()``; "" is ``name``.
        kinds: what it is asked for by ``kind:...``; None: what the implementation says.
        settings: of ``[engines.NAME]``; ``model``, ``revision`` and ``models_dir`` are read.
        models_dir: directory of models, where the settings name none.

    Returns:
        the implementation's INFO under ``name``, with the model configured and, where the model is on this
        machine and its place tells it, the revision; and what its files say of it where the implementation reads them
        (``described``: voices, say). Only files are looked at.

    Raises:
        UnknownEngine, EngineUnavailable: as ``engine_info``.
    """
    base = engine_info(implementation or name)
    given = settings or {}
    checked = None
    with contextlib.suppress(InvalidConfig):  # loading it says so
        checked = _checked(base, given)
        base = _with_needs(base, checked)
    model = str(given.get("model") or base.model)
    info = structs.replace(base, name=name, model=model, kinds=base.kinds if kinds is None else tuple(kinds))
    if model != base.model:
        info = structs.replace(info, model_revision="", packaged="", files=(), companions=(), parameters=0)
    if not _has_weights(info):
        return info
    revision = str(given.get("revision") or "")
    places = str(given.get("models_dir") or models_dir) or None
    found = weights.find(model, models_dir=places, revision=revision, packaged=info.packaged)
    known = (found.revision if found else "") or revision or info.model_revision
    info = structs.replace(info, model_revision=known)
    described = getattr(_module(info.implementation), "described", None)
    if found is None or checked is None or described is None:
        return info
    try:
        told: EngineInfo = described(info, checked, found.path)
    except (AudioPoolError, OSError, ValueError):  # loading it says what is wrong with its files
        return info
    return told


def precision_of(implementation: str, settings: Mapping[str, Any]) -> str:  # opaque: as above
    """Return what an embedder's vectors depend on beside its model: "int8", say; "" for what is usual.

    Raises:
        UnknownEngine, EngineUnavailable: as ``engine_info``. InvalidConfig: settings that it does not take.
    """
    precision: str = getattr(_checked(engine_info(implementation), settings), "precision", "")
    return precision


# opaque: an instance of the implementation's Settings, None where it has none
def _checked(info: EngineInfo, settings: Mapping[str, Any]) -> Any:
    module = _module(info.implementation)
    if not hasattr(module, "Settings"):
        return None
    given = {key: _plain(value) for key, value in settings.items()}
    return parse(module.Settings, given, error=InvalidConfig, what=f"engine {info.name!r}")


def _with_needs(info: EngineInfo, settings: Any) -> EngineInfo:  # opaque: as _checked returns them
    """Return the info with the modules, and the extra that brings them, that are needed with these settings."""
    requires, extra = getattr(settings, "needs", (info.requires, info.extra))
    return structs.replace(info, requires=requires, extra=extra)


def _has_weights(info: EngineInfo) -> bool:
    """Return True for a hub id or a path: they have a slash; an engine without weights has its name for a model."""
    return "/" in info.model


def _module(name: str, role: EngineRole | None = None) -> ModuleType:
    if name in _own_names():
        return importlib.import_module(f"{__name__}.{name}")
    for point in _entry_points():
        if point.name == name:
            try:
                module = point.load()
            except ImportError as exc:
                raise EngineUnavailable(
                    f"engine {name!r} of {point.value!r} cannot be imported: {exc}"
                ) from exc
            if not hasattr(module, "INFO") or not hasattr(module, "load"):
                raise EngineUnavailable(
                    f"engine {name!r}: {point.value!r} needs the names INFO and load; "
                    "see docs/adding-an-engine.md"
                )
            return module  # type: ignore[no-any-return]
    known = engine_names(role)
    near = nearest_name(name, known)
    hint = f"did you mean {near!r}?" if near else f"known engines: {', '.join(known)}"
    raise UnknownEngine(f"unknown engine {name!r}; {hint}")


# -- loading one -----------------------------------------------------------------------------------------


def load_engine(
    implementation: str,
    settings: Mapping[str, Any] | None = None,  # opaque: checked against the implementation's Settings
    *,
    name: str = "",
    kinds: Iterable[str] | None = None,
    models_dir: str = "",
) -> Engine:
    """Return an engine, loaded and ready.

    Args:
        implementation: as in ``engine_names()``.
        settings: the fields of its ``Settings``; usually ``model`` (directory or hub id), ``device``, ``dtype``.
        name: as it is asked for; "" is ``implementation``.
        kinds: what it is asked for by ``kind:...``; None: what the implementation says.
        models_dir: directory of models, for those that load one and whose settings name none.

    Returns:
        a Generator, Embedder or Scorer whose ``info`` has this name, the implementation, the kinds, and the
        model, revision, dtype and quantization that were really loaded.

    Raises:
        UnknownEngine, EngineUnavailable (what is missing and how to get it), OutOfMemory.
        InvalidConfig: a setting out of bounds, or unknown: with the nearest known name.
    """
    module = _module(implementation)
    info = engine_info(implementation)
    info = structs.replace(
        info, name=name or implementation, kinds=info.kinds if kinds is None else tuple(kinds)
    )
    given = {key: _plain(value) for key, value in (settings or {}).items()}
    if not hasattr(module, "Settings"):
        _refuse_missing(info)
        return _loaded_by_keywords(module, info, given)
    if models_dir and "models_dir" in module.Settings.__struct_fields__:
        given = {"models_dir": models_dir, **given}
    checked = _checked(info, given)
    _refuse_missing(_with_needs(info, checked))
    loaded: Engine = module.load(info, checked)
    return loaded


def _refuse_missing(info: EngineInfo) -> None:
    missing = missing_modules(info)
    if missing:
        hint = f"pip install 'audio-pool[{info.extra}]'" if info.extra else f"install {', '.join(missing)}"
        raise EngineUnavailable(f"engine {info.name!r} needs {', '.join(missing)}: not installed", hint=hint)


def _plain(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _loaded_by_keywords(module: ModuleType, info: EngineInfo, settings: Mapping[str, Any]) -> Engine:
    """Another package's engine that declares no Settings: ``load(**settings)``, which checks its own.

    Raises:
        InvalidConfig: ``load`` does not take these keywords.
    """
    try:
        engine: Any = module.load(**settings)  # another package's: nothing is known of its class
    except TypeError as exc:
        if exc.__traceback__ is not None and exc.__traceback__.tb_next is None:  # the call itself, not its work
            raise InvalidConfig(f"engine {info.name!r}: {exc}; its own documentation names its settings") from None
        raise
    engine.info = structs.replace(
        engine.info, name=info.name, implementation=info.implementation, kinds=info.kinds
    )
    if not hasattr(engine, "device"):
        engine.device = "cpu"
    loaded: Engine = engine
    return loaded
