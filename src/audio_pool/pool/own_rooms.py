"""The parts of a pool that are asked about by themselves: kept sounds, candidates, devices, models, workers.

Owns: OwnRooms: one property for each.
Must not know: what any of them answers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from audio_pool.pool.assembly import Parts
from audio_pool.pool.own_candidates import PoolCandidates
from audio_pool.pool.own_library import PoolLibrary
from audio_pool.pool.own_models import PoolModels
from audio_pool.pool.own_presets import PoolPresets
from audio_pool.pool.own_staff import PoolLeases, PoolWorkers

__all__ = ["OwnRooms"]


class OwnRooms(ABC):
    """What an AudioPool has beside its verbs."""

    @property
    def library(self) -> PoolLibrary:
        """Kept sounds: searched, listened to, marked; see LibraryApi."""
        parts = self._running()
        return PoolLibrary(parts.router, parts.service)

    @property
    def candidates(self) -> PoolCandidates:
        """Candidates that were not chosen: heard, or chosen instead; see CandidatesApi."""
        parts = self._running()
        return PoolCandidates(parts.router, parts.service)

    @property
    def leases(self) -> PoolLeases:
        """Devices lent to other programs, and returned; see LeasesApi."""
        parts = self._running()
        return PoolLeases(parts.router, parts.service)

    @property
    def models(self) -> PoolModels:
        """Models in memory: listed, loaded, taken out, kept; see ModelsApi."""
        parts = self._running()
        return PoolModels(parts.router, parts.service)

    @property
    def presets(self) -> PoolPresets:
        """Named sets of words and parameters: listed, set, removed; see PresetsApi."""
        parts = self._running()
        return PoolPresets(parts.router, parts.service)

    @property
    def workers(self) -> PoolWorkers:
        """Workers added, drained and removed while the pool runs; see WorkersApi."""
        parts = self._running()
        return PoolWorkers(parts.router, parts.service)

    @abstractmethod
    def _running(self) -> Parts:
        """Return the parts of a pool that runs. Raises PoolClosed."""
