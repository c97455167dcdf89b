"""The engines of one worker: loaded, checked, and found by their names.

Owns: in which order they are loaded, which of them gets another's help, what is told of one that is not here.
Must not know: tasks, sockets, the pool.

Encoders come last and behind: neither generating nor mastering waits for one. What is loaded later, or taken out, is so
on the thread that generates; what other threads read is replaced, not changed.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Mapping, Sequence
from typing import TypeVar

from audio_pool.engine_info import EngineInfo
from audio_pool.engines import (
    Embedder,
    Generator,
    ReadsMeaning,
    Scorer,
    Vectors,
    configured_info,
    engine_info,
    load_engine,
)
from audio_pool.errors import AudioPoolError, DeviceLost, EngineUnavailable
from audio_pool.results import Failure
from audio_pool.tasks import EngineSetup, Loaded, Unloaded
from audio_pool.transport.worker_messages import Load
from audio_pool.worker import memory
from audio_pool.worker.checked import CheckedEmbedder, CheckedGenerator, CheckedScorer, checked_info
from audio_pool.worker.coming_encoder import ComingEncoder
from audio_pool.worker.failure import failure_of

__all__ = ["HostedEngines"]

log = logging.getLogger(__name__)
T = TypeVar("T")


class HostedEngines:
    """What a worker works with. Loaded by one thread after the other, used by any."""

    def __init__(self, worker: str) -> None:
        self.device = "cpu"
        self.infos: dict[str, EngineInfo] = {}
        self._worker = worker
        self._generators: dict[str, CheckedGenerator] = {}
        self._embedders: dict[str, CheckedEmbedder] = {}
        self._scorers: dict[str, CheckedScorer] = {}
        self.sizes: dict[str, int] = {}
        """Bytes that those take which are loaded."""
        self.later: dict[str, EngineInfo | None] = {}
        """Those that are loaded when a task says so, as they are known before."""
        self.failed: dict[str, Failure] = {}
        """Why those could not be loaded that were to be there from the start; they are tried again like later ones."""
        self._load_message: Load | None = None
        self._coming: ComingEncoder | None = None
        """Where there is to be an encoder."""

    def load(self, load: Load) -> tuple[str, ...]:
        """Load what is there from the start, but the encoders: their names are returned for ``load_encoders``.

        One that cannot be loaded takes no others along: it is among ``failed``, and counts as one that comes later.

        Raises:
            what the first raised, where nothing is left to work with. DeviceLost.
        """
        self._load_message = load
        later = load.later
        if load.one_by_one:
            makers = [name for name in load.engines if not _is_encoder(load.engines[name])]
            later = makers if len(makers) > 1 else later
        self.later = {name: _known(name, load) for name in later}
        now = [name for name in load.engines if name not in self.later]
        encoders = tuple(name for name in now if _is_encoder(load.engines[name]))
        if encoders:  # engines that can read a prompt by its meaning use the one that will be here anyway
            self._coming = ComingEncoder()
        first: BaseException | None = None
        for name in now:
            if name in encoders:
                continue
            try:
                self._load(load, name)
            except DeviceLost:
                raise
            except BaseException as exc:  # SystemExit, too, whatever an engine's library thinks of it
                log.error("%s could not be loaded", name, exc_info=exc)
                self.failed[name], first = failure_of(exc, "loading"), first or exc
                self._let_go(exc)
        if first is not None and not self.infos and not self.later:
            raise first
        self.later |= {name: _known(name, load) for name in self.failed}
        return encoders

    def load_encoders(self, load: Load, names: Sequence[str]) -> None:
        """Load the encoders. Raises what the first that fails raises."""
        try:
            for name in names:
                self._load(load, name)
        except BaseException as exc:
            if self._coming is not None:
                self._coming.fail(exc)
            raise
        if self._coming is not None:
            self._coming.arrive(self._embedders[names[0]])

    def load_one(self, name: str, setup: EngineSetup | None = None) -> Loaded:
        """Load an engine that was to come later, or was taken out. Raises what loading it raises.

        Args:
            setup: of one that was not known when the worker started.
        """
        load = self._load_message
        if load is not None and setup is not None:
            load.engines[name] = setup
        if load is None or name not in load.engines:
            raise self._not_hosted(name)
        if name not in self.infos:
            memory.give_back(self.device)  # what is free already is not what this one takes
            try:
                self._load(load, name)
            except BaseException as exc:
                self._let_go(exc)
                raise
        return Loaded(engine=name, info=self.infos[name], size_bytes=self.sizes.get(name, 0), device=self.device)

    def unload(self, name: str) -> Unloaded:
        """Take an engine out of memory; that it is not there is no error."""
        before = memory.taken_bytes()
        engine = self._generators.get(name) or self._embedders.get(name) or self._scorers.get(name)
        self._generators = _without(self._generators, name)
        self._embedders = _without(self._embedders, name)
        self._scorers = _without(self._scorers, name)
        self.infos, self.sizes = _without(self.infos, name), _without(self.sizes, name)
        device = self.device if engine is None else engine.device
        if engine is not None:
            engine.close()
            del engine
        memory.give_back(device)
        freed = before.get(device, 0) - memory.taken_bytes().get(device, 0)
        log.info("took %s out of memory: %d MB", name, freed >> 20)
        return Unloaded(freed_bytes=freed)

    def _let_go(self, exc: BaseException) -> None:
        """Free what a load that failed has left."""
        traceback.clear_frames(exc.__traceback__)  # half a model hangs there
        memory.give_back(self.device)

    def _load(self, load: Load, name: str) -> None:
        setup, started, before = load.engines[name], time.monotonic(), memory.taken_bytes()
        engine = load_engine(
            setup.implementation,
            setup.settings,
            name=setup.name or name,
            kinds=setup.kinds,
            models_dir=load.models_dir,
        )
        info = checked_info(engine.info, setup.name or name)
        match info.role, engine:
            case "generator", Generator():
                self._generators = {**self._generators, name: CheckedGenerator(engine, info)}
                if isinstance(engine, ReadsMeaning) and self._coming is not None:
                    engine.use_encoder(self._coming)
            case "embedder", Embedder():
                self._embedders = {**self._embedders, name: CheckedEmbedder(engine, info)}
            case "scorer", Scorer():
                self._scorers = {**self._scorers, name: CheckedScorer(engine, info)}
            case role, _:
                raise EngineUnavailable(
                    f"engine {name!r} says that it is a {role} and lacks what one has",
                    hint="docs/adding-an-engine.md lists the attributes and methods of each role",
                )
        self.infos = {**self.infos, name: info}  # replaced, not changed: another thread may be reading it
        self.device = engine.device or self.device
        size = memory.taken_bytes().get(engine.device, 0) - before.get(engine.device, 0)
        self.sizes = {**self.sizes, name: max(0, size)}
        log.info("loaded %s in %.2f s", name, time.monotonic() - started)

    # -- by name -----------------------------------------------------------------------------------

    @property
    def first_scorer(self) -> Scorer | None:
        """The one that judges candidates, where there is one."""
        return next(iter(self._scorers.values()), None)

    def generator(self, name: str) -> CheckedGenerator:
        """Return a generator. Raises EngineUnavailable."""
        if name not in self._generators:
            raise self._not_hosted(name)
        return self._generators[name]

    def scorer(self, name: str) -> Scorer:
        """Return a scorer. Raises EngineUnavailable."""
        if name not in self._scorers:
            raise self._not_hosted(name)
        return self._scorers[name]

    def embedded(self, name: str, texts: Sequence[str]) -> Vectors:
        """Return texts' vectors from an embedder or a scorer: float32 [N, D]. Raises what it raises."""
        if name in self._scorers:
            return self._scorers[name].embed_text(texts)
        if name not in self._embedders:
            raise self._not_hosted(name)
        return self._embedders[name].embed(texts)

    def _not_hosted(self, name: str) -> EngineUnavailable:
        return EngineUnavailable(f"worker {self._worker!r} does not host {name!r}; it hosts: {', '.join(self.infos)}")


def _known(name: str, load: Load) -> EngineInfo | None:
    setup = load.engines[name]
    try:
        return configured_info(
            setup.name or name,
            setup.implementation,
            kinds=setup.kinds,
            settings=setup.settings,
            models_dir=load.models_dir,
        )
    except AudioPoolError as exc:  # loading it says so again, to who asks for it
        log.warning("%s: %s", name, exc)
        return None


def _without(mapping: Mapping[str, T], name: str) -> dict[str, T]:
    return {key: value for key, value in mapping.items() if key != name}


def _is_encoder(setup: EngineSetup) -> bool:
    try:
        return engine_info(setup.implementation).role == "embedder"
    except AudioPoolError:  # loading it says why
        return False
