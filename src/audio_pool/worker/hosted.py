"""The engines of one worker: loaded, checked, and found by their names.

Owns: in which order they are loaded, which of them gets another's help, what is told of one that is not here.
Must not know: tasks, sockets, the pool.

Encoders come last and behind: neither generating nor mastering waits for one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from audio_pool.engine_info import EngineInfo
from audio_pool.engines import Embedder, Generator, ReadsMeaning, Scorer, Vectors, engine_info, load_engine
from audio_pool.errors import AudioPoolError, EngineUnavailable
from audio_pool.transport.worker_messages import EngineSetup, Load
from audio_pool.worker.checked import CheckedEmbedder, CheckedGenerator, CheckedScorer, checked_info
from audio_pool.worker.coming_encoder import ComingEncoder

__all__ = ["HostedEngines"]

log = logging.getLogger(__name__)


class HostedEngines:
    """What a worker works with. Loaded by one thread after the other, used by any."""

    def __init__(self, worker: str) -> None:
        self.device = "cpu"
        self.infos: dict[str, EngineInfo] = {}
        self._worker = worker
        self._generators: dict[str, CheckedGenerator] = {}
        self._embedders: dict[str, Embedder] = {}
        self._scorers: dict[str, Scorer] = {}
        self._readers: list[ReadsMeaning] = []
        self._coming = ComingEncoder()

    def load(self, load: Load) -> tuple[str, ...]:
        """Load all but the encoders, whose names are returned for ``load_encoders``. Raises what the first raises."""
        encoders = tuple(name for name, setup in load.engines.items() if _is_encoder(setup))
        for name in load.engines:
            if name not in encoders:
                self._load(load, name)
        if encoders:  # engines that can read a prompt by its meaning use the one that will be here anyway
            for reader in self._readers:
                reader.use_encoder(self._coming)
        return encoders

    def load_encoders(self, load: Load, names: Sequence[str]) -> None:
        """Load the encoders. Raises what the first that fails raises."""
        try:
            for name in names:
                self._load(load, name)
        except BaseException as exc:
            self._coming.fail(exc)
            raise
        if names:
            self._coming.arrive(self._embedders[names[0]])

    def _load(self, load: Load, name: str) -> None:
        setup, started = load.engines[name], time.monotonic()
        engine = load_engine(
            setup.implementation, setup.settings, name=name, kinds=setup.kinds, models_dir=load.models_dir
        )
        info = checked_info(engine.info, name)
        match info.role, engine:
            case "generator", Generator():
                self._generators[name] = CheckedGenerator(engine, info)
                if isinstance(engine, ReadsMeaning):
                    self._readers.append(engine)
            case "embedder", Embedder():
                self._embedders[name] = CheckedEmbedder(engine, info)
            case "scorer", Scorer():
                self._scorers[name] = CheckedScorer(engine, info)
            case role, _:
                raise EngineUnavailable(
                    f"engine {name!r} says that it is a {role} and lacks what one has",
                    hint="docs/adding-an-engine.md lists the attributes and methods of each role",
                )
        self.infos = {**self.infos, name: info}  # replaced, not changed: another thread may be reading it
        self.device = engine.device or self.device
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


def _is_encoder(setup: EngineSetup) -> bool:
    try:
        return engine_info(setup.implementation).role == "embedder"
    except AudioPoolError:  # loading it says why
        return False
