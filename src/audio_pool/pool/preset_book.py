"""All presets that there are: those of the store, of the configuration and of the program, in this order of strength.

Owns: PresetBook: which preset an id means now.
Must not know: sockets, requests, what presets say.

Nothing is remembered of the store: what another process has set counts from the next request on. A look is a search
by key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from audio_pool.cache.presets import Expected, KeptPresets
from audio_pool.config import Config
from audio_pool.errors import Conflict, InvalidRequest, NotFound, nearest_name
from audio_pool.pool.shipped_presets import SHIPPED
from audio_pool.presets import Preset, PresetPage, PresetRemoved, PresetType, normal_id

__all__ = ["PresetBook", "presets_of"]


def presets_of(config: Config) -> dict[str, Preset]:
    """Return the presets that a configuration brings, by id."""
    found = [one.preset(name) for name, one in config.presets.items()]
    return {preset.id: preset for preset in found}


class PresetBook:
    """May be asked on any thread."""

    def __init__(self, configured: Mapping[str, Preset], kept: Callable[[], KeptPresets | None]) -> None:
        """
        Args:
            configured: those of the configuration.
            kept: those of the store that is open now; None: there is none.
        """
        self._kept = kept
        self._standing: dict[str, Preset] = {**SHIPPED, **configured}

    @property
    def keeps(self) -> bool:
        """False: there is no store, only what the program and the configuration bring."""
        return self._kept() is not None

    def configure(self, configured: Mapping[str, Preset]) -> None:
        """Take over another configuration's presets."""
        self._standing = {**SHIPPED, **configured}

    def named(self, ids: Sequence[str]) -> list[Preset]:
        """Return the presets of these ids, in order, each once.

        Raises:
            NotFound: there is none of an id; the nearest is named.
        """
        wanted = list(dict.fromkeys(normal_id(one) for one in ids))
        kept = self._kept()
        found = {} if kept is None else kept.of(wanted)
        presets = []
        for one in wanted:
            preset = found.get(one) or self._standing.get(one)
            if preset is None:
                raise self.missing(one)
            presets.append(preset)
        return presets

    def page(
        self, *, type: PresetType | None = None, suiting: Sequence[str] = (), after: str = "", limit: int
    ) -> PresetPage:
        """Return so many presets that come after an id.

        Args:
            suiting: those that are for all engines, or for one of these, alone.
        """
        kept = self._kept()
        found: dict[str, Preset] = {}
        covered: set[str] = set()
        if kept is not None:
            found = {one.id: one for one in kept.page(type=type, suiting=suiting, after=after, limit=limit + 1)}
            covered = set(kept.of(list(self._standing)))
        for one in self._standing.values():
            suits = not suiting or not one.engines or bool(set(suiting) & set(one.engines))
            if one.id > after and one.id not in covered and type in (None, one.type) and suits:
                found[one.id] = one
        ordered = [found[name] for name in sorted(found)]
        more = len(ordered) > limit
        shown = tuple(ordered[:limit])
        return PresetPage(presets=shown, following=shown[-1].id if more else None)

    def set(self, presets: Sequence[Preset], if_revision: str | None = None) -> tuple[Preset, ...]:
        """Keep presets, all or none; return them as they are now.

        Args:
            if_revision: of a single one: only where this is what its id says now, "" for nothing.

        Raises:
            NotFound: there is no cache. Conflict: the id says something else. InvalidRequest: there would be too many.
            StorageError: nothing was changed.
        """
        return self._store().set(presets, self._expected(presets[0].id, if_revision) if presets else None)

    def remove(self, preset_id: str, if_revision: str | None = None) -> PresetRemoved:
        """Keep a preset no more; raises as ``set``, and InvalidRequest for one that is not the store's to remove."""
        name, store = normal_id(preset_id), self._store()
        below = self._standing.get(name)
        if not store.remove(name, None if if_revision is None else Expected(if_revision)):
            if below is None:
                raise self.missing(name)
            where = "with the program" if below.metadata.source == "built-in" else "with the configuration"
            raise InvalidRequest(f"preset {name!r} comes {where} and stays", hint="set one of the same id in its place")
        return PresetRemoved(id=name, uncovered=None if below is None else below.metadata.source)

    def missing(self, name: str) -> NotFound:
        """Return the error that says there is no such preset."""
        kept = self._kept()
        near = nearest_name(name, [*self._standing, *(kept.like(name) if kept is not None else ())])
        hint = f"did you mean {near!r}?" if near else "audio-pool presets list shows those that there are"
        return NotFound(f"presets: there is no preset {name!r}; {hint}")

    def _expected(self, preset_id: str, if_revision: str | None) -> Expected | None:
        """Return what the store has to say: an id that it lacks says what stands below it."""
        if if_revision is None:
            return None
        below = self._standing.get(preset_id)
        if below is not None and if_revision == "":
            raise Conflict(f"preset {preset_id!r}: there is one, of source {below.metadata.source!r}")
        return Expected(if_revision, or_none=below is not None and below.revision == if_revision)

    def _store(self) -> KeptPresets:
        kept = self._kept()
        if kept is None:
            raise NotFound("presets: none can be kept, because the cache is off (cache.enabled = false)")
        return kept
