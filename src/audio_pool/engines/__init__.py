"""Which engines there are, and how one is loaded.

Owns: the names of engines (modules of this package, and entry points of other packages in the group
``audio_pool.engines``) and ``load_engine``.
Must not know: any single engine.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
from types import ModuleType
from typing import Any

from audio_pool.engine_info import EngineInfo
from audio_pool.engines.base import Audio, Embedder, Generator, Item, OnStep, Scorer, Vectors
from audio_pool.errors import EngineUnavailable, InvalidConfig, UnknownEngine, nearest_name

__all__ = [
    "Audio",
    "Embedder",
    "Generator",
    "Item",
    "OnStep",
    "Scorer",
    "Vectors",
    "engine_info",
    "engine_names",
    "load_engine",
    "missing_modules",
]

_GROUP = "audio_pool.engines"
_NOT_ENGINES = {"base"}


def _own_names() -> list[str]:
    return [
        module.name
        for module in pkgutil.iter_modules(__path__)
        if not module.name.startswith("_") and module.name not in _NOT_ENGINES
    ]


def engine_names() -> list[str]:
    """Every engine that can be named, sorted: this package's and those of entry points."""
    names = {name for name in _own_names() if hasattr(_module(name), "INFO")}
    names.update(point.name for point in importlib.metadata.entry_points(group=_GROUP))
    return sorted(names)


def _module(name: str) -> ModuleType:
    if name in _own_names():
        return importlib.import_module(f"{__name__}.{name}")
    for point in importlib.metadata.entry_points(group=_GROUP):
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
    known = _own_names() + [point.name for point in importlib.metadata.entry_points(group=_GROUP)]
    near = nearest_name(name, known)
    hint = f"did you mean {near!r}?" if near else f"known engines: {', '.join(engine_names())}"
    raise UnknownEngine(f"unknown engine {name!r}; {hint}")


def engine_info(name: str) -> EngineInfo:
    """The engine's INFO, without loading it.

    Raises:
        UnknownEngine: with the nearest known name.
    """
    info: EngineInfo = _module(name).INFO
    return info


def missing_modules(info: EngineInfo) -> list[str]:
    """Those of the engine's required modules that this interpreter does not have."""
    return [name for name in info.requires if importlib.util.find_spec(name) is None]


def load_engine(name: str, **settings: Any) -> Any:
    """The engine, loaded and ready: a Generator, Embedder or Scorer.

    Args:
        name: as in ``engine_names()``.
        settings: the engine's own; usually ``model`` (directory or hub id), ``device``, ``dtype``.

    Raises:
        UnknownEngine, EngineUnavailable (what is missing and how to get it), InvalidConfig.
    """
    module = _module(name)
    missing = missing_modules(module.INFO)
    if missing:
        extra = module.INFO.extra
        hint = f"pip install 'audio-pool[{extra}]'" if extra else f"install {', '.join(missing)}"
        raise EngineUnavailable(f"engine {name!r} needs {', '.join(missing)}: not installed", hint=hint)
    known = list(inspect.signature(module.load).parameters.values())
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in known):
        names = [parameter.name for parameter in known]
        for setting in settings:
            if setting not in names:
                near = nearest_name(setting, names)
                hint = f"did you mean {near!r}?" if near else f"known settings: {', '.join(names)}"
                raise InvalidConfig(f"engine {name!r}: unknown setting {setting!r}; {hint}")
    return module.load(**settings)
