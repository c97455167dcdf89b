"""Where a file comes from, by what was made here.

Owns: which registered sounds a file may be, the verdict, and what was changed since.
Must not know: how files are read (worker/recognizing.py), who asks.

Two questions, for the samples are read by somebody else: ``suspects`` says what a file is to be compared with,
``report`` what follows. A file's own words make a sound suspect; they prove nothing.

One thread at a time. The index is built at the first question that needs it, and follows the registry from then on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from msgspec import UNSET, structs

from audio_pool.audio.fingerprint_index import FingerprintIndex
from audio_pool.audio.marks import Fingerprint, Probe
from audio_pool.audio.overlay import FEWEST_MARKS, Likeness, likeness
from audio_pool.cache.bringing import bring_entry_if_it_can_be
from audio_pool.cache.registry import Registered
from audio_pool.cache.store import Store
from audio_pool.heard import Against, Compared, Heard
from audio_pool.origin import Changes, How, Made, Origin, Verdict, VerifyReport

__all__ = ["Recognition", "Suspect"]

_LOADED_AT_ONCE = 2_000
_COMPARED = 4
"""Suspects whose samples are compared, the likeliest."""
_NEAR = 3
"""Frames of a probe around an offset that words gave."""
_EXPLAINED = 0.4
"""Share of a file's power that has to be the kept sound."""
_EXPLAINED_SECONDED = 0.2
"""The same, where Chromaprint hears the same sound, too."""
_SECONDED = 0.15
"""Its bit error rate up to which it does."""
_LEAST_OVERLAP_S = 0.04
_ALONE = 0.8
"""Explained share from which the samples say it without the marks."""
_LEAST_DB = 0.5
_LEAST_S = 0.06
"""What an MP3 decoder adds at the ends is less."""
_ELSE_DB = -30.0
_ELSE_LOSSY_DB = -5.0
_TONE_DB, _TONE_LOSSY_DB = 3.0, 8.0
_NARROWER = 0.85
_LOSSY = ("mp3", "ogg", "opus")
_CHANCE_AT, _CHANCE_DECADE = 4.2, 0.6
"""Two different short sounds agree with this strength once in a thousand pairs, ten times less often with every so much
more: docs/provenance.md has the measurements."""


class Suspect(NamedTuple):
    """A sound that a file may be."""

    known: Registered
    how: How
    likeness: Likeness | None = None
    against: Against | None = None
    """What its samples are compared with; None: it is not kept any more, or need not be."""


class Recognition:
    """What is made of findings."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._index = FingerprintIndex()
        self._last = 0

    @property
    def sounds(self) -> int:
        """Number of fingerprints that were looked among, at most."""
        return self._last

    def suspects(self, heard: Heard, namespace: str | None = None) -> list[Suspect]:
        """Return the sounds that a file may be, with what its samples are to be compared with. Raises StorageError.

        Args:
            namespace: as that of ``report``.
        """
        registry = self._store.registry
        if exact := registry.with_file(bytes.fromhex(heard.sha256)):
            return [Suspect(_first(exact, namespace), "file")]
        if heard.samples_md5 and (same := registry.with_samples(bytes.fromhex(heard.samples_md5))):
            return [Suspect(_first(same, namespace), "samples")]
        named = registry.with_recipe(heard.declares.recipe_id) if heard.declares.recipe_id else []
        if heard.ours:
            return [Suspect(_first(named, namespace) if named else _signed(heard), "manifest")]
        # a recipe's identity follows from its words: whoever may not know them must not learn that he guessed them
        named = [one for one in named if _may_know(one, namespace)]
        found = self._alike(heard)
        known = {one.known.number for one in found}
        told = [Suspect(one, "tags", against=self._against(one)) for one in named[:2] if one.number not in known]
        return [*found[:_COMPARED], *told]

    def _alike(self, heard: Heard) -> list[Suspect]:
        rises, falls = (np.frombuffer(one, np.uint32) for one in (heard.rises, heard.falls))
        asked = Probe(rises=rises, falls=falls)
        if asked.count < FEWEST_MARKS:
            return []
        self._follow()
        found = []
        for candidate in self._index.candidates(asked):
            kept = self._store.registry.with_fingerprint(candidate.number)
            marks = None if kept is None else Fingerprint.from_bytes(kept[1])
            if kept is None or marks is None:  # forgotten meanwhile
                continue
            near = sorted({at + by for at in candidate.offsets for by in range(-_NEAR, _NEAR + 1)})
            best = likeness(marks, asked, near)
            if best.likely:
                against = self._against(kept[0], (best.offset_s,))
                found.append(Suspect(kept[0], "fingerprint", best, against))
        return sorted(found, key=lambda one: -(one.likeness.strength if one.likeness else 0.0))

    def _follow(self) -> None:
        while batch := self._store.registry.fingerprints_after(self._last, _LOADED_AT_ONCE):
            read = [(one.number, marks) for one in batch if (marks := Fingerprint.from_bytes(one.data)) is not None]
            self._index.add([number for number, _ in read], [marks for _, marks in read])
            self._last = batch[-1].number

    def _against(self, known: Registered, offsets_s: tuple[float, ...] = ()) -> Against | None:
        entry = None if known.entry_id is None else self._store.entries.entry(known.entry_id)
        if entry is None or known.entry_id is None:
            return None
        bring_entry_if_it_can_be(self._store, known.entry_id)
        return Against(number=known.number, master=entry.path, loop=known.made.is_loop, offsets_s=offsets_s)

    # -- the verdict

    def report(
        self, heard: Heard, suspects: Sequence[Suspect], compared: Iterable[Compared], *, namespace: str | None = None
    ) -> VerifyReport:
        """Return what follows from all that was found.

        Args:
            compared: the suspects' samples with the file's.
            namespace: whose sounds may be named by their prompts and numbers; None: everybody's.
        """
        by_number = {one.number: one for one in compared}
        notes = list(heard.notes)
        chosen = _chosen(suspects, by_number, namespace)
        if chosen is None:
            return self._not_proven(heard, suspects, notes)
        suspect, beside = chosen
        others = sum(_is_proven(one, by_number.get(one.known.number)) for one in suspects) - 1
        if others > 0:
            notes.append(f"{others} more registered sounds are likely, too; this is the likeliest")
        return VerifyReport(
            **_facts(heard),
            verdict="made_here",
            by=suspect.how,
            certain=suspect.how in ("file", "samples", "manifest"),
            origin=self._origin(suspect.known, namespace),
            changes=_changes(heard, suspect, beside),
            bit_error_rate=UNSET if suspect.likeness is None else round(suspect.likeness.bit_error_rate, 4),
            chromaprint=UNSET if beside is None or beside.chromaprint is None else beside.chromaprint,
            false_match=UNSET if suspect.likeness is None else self._chance(suspect.likeness, beside),
            notes=tuple(notes),
        )

    def _not_proven(self, heard: Heard, suspects: Sequence[Suspect], notes: list[str]) -> VerifyReport:
        """Return that nothing shows it, whatever the file says."""
        marks = sum(int(np.bitwise_count(np.frombuffer(one, np.uint32)).sum()) for one in (heard.rises, heard.falls))
        if marks < FEWEST_MARKS:
            notes.append("it has too little in it to be told from other sounds: silence, a steady tone, or a click")
        says_so = heard.declares.made_by == "audio_pool"
        if says_so:
            known = any(one.how == "tags" for one in suspects)
            compared = any(one.against is not None for one in suspects if one.how == "tags")
            notes.append(
                "it says so itself, which anybody may write: "
                + ("that recipe was made here, and this is not its sound" if compared else
                   "that recipe was made here, and its sound is not kept any more" if known else
                   "no such recipe is known here")
            )  # fmt: skip
        verdict: Verdict = "says_so" if says_so else "unknown"
        return VerifyReport(**_facts(heard), verdict=verdict, by="tags" if says_so else "nothing", notes=tuple(notes))

    def _chance(self, found: Likeness, beside: Compared | None) -> float:
        """Estimate how likely chance gives this, among all that are registered; samples that agree make it none."""
        if beside is not None and beside.explained >= _ALONE:
            return 0.0
        pair = 10 ** -(3 + (found.strength - _CHANCE_AT) / _CHANCE_DECADE)
        return float(f"{min(1.0, pair * max(1, self._last)):.1e}")

    def _origin(self, known: Registered, namespace: str | None) -> Origin:
        told = structs.asdict(known.made)
        may_know = _may_know(known, namespace)
        if not may_know:  # a recipe's identity would confirm a guess at its words
            told |= {"recipe_id": "", "seed": None}
        entry = None if known.entry_id is None else self._store.entries.entry(known.entry_id)
        if entry is None or entry.id is None or not may_know:
            return Origin(**told)
        return Origin(**told, entry=entry.id, prompt=entry.recipe.prompt)


def _signed(heard: Heard) -> Registered:
    """Return a sound that only our signature tells of: nothing else remembers it."""
    said = heard.declares
    made = Made(recipe_id=said.recipe_id, engine=said.engine, model=said.model, licence=said.licence)
    return Registered(0, None, "", made)


def _may_know(known: Registered, namespace: str | None) -> bool:
    return namespace is None or namespace == known.namespace


def _first(found: Sequence[Registered], namespace: str | None) -> Registered:
    """Return the asker's own where there is one, and of those one that is kept."""
    return max(found, key=lambda one: (_may_know(one, namespace), one.entry_id is not None))


def _is_proven(suspect: Suspect, beside: Compared | None) -> bool:
    if suspect.how in ("file", "samples", "manifest"):
        return True
    found = suspect.likeness
    if beside is None:
        # not kept any more: the marks alone; kept, and not to be compared: its file is gone, likewise
        return found is not None and found.sure
    if beside.overlap_s < _LEAST_OVERLAP_S:
        return False
    if found is None:
        return beside.explained >= _ALONE
    seconded = beside.chromaprint is not None and beside.chromaprint <= _SECONDED
    return beside.explained >= (_EXPLAINED_SECONDED if seconded else _EXPLAINED)


def _chosen(
    suspects: Sequence[Suspect], compared: dict[int, Compared], namespace: str | None
) -> tuple[Suspect, Compared | None] | None:
    proven = [
        (one, compared.get(one.known.number)) for one in suspects if _is_proven(one, compared.get(one.known.number))
    ]
    if not proven:
        return None

    def rank(one: tuple[Suspect, Compared | None]) -> tuple[float, bool, float]:
        suspect, beside = one
        marks = 0.0 if suspect.likeness is None else suspect.likeness.strength
        return (0.0 if beside is None else round(beside.explained, 3), _may_know(suspect.known, namespace), marks)

    suspect, beside = max(proven, key=rank)
    if suspect.how == "tags":  # its samples say so
        suspect = suspect._replace(how="fingerprint")
    return suspect, beside


def _facts(heard: Heard) -> dict[str, Any]:  # opaque: arguments of a VerifyReport
    return {
        "name": heard.name,
        "sha256": heard.sha256,
        "format": heard.format,
        "sample_rate": heard.sample_rate,
        "channels": heard.channels,
        "duration_s": round(heard.duration_s, 6),
        "declares": heard.declares,
    }


# ------------------------------------------------------------------------------------------------ changes


def _changes(heard: Heard, suspect: Suspect, beside: Compared | None) -> Changes:
    """Return what is other than it was made."""
    made = suspect.known.made
    if suspect.how in ("file", "manifest"):
        return Changes()
    untagged = not heard.declares.made_by
    if suspect.how == "samples":
        return Changes(compared_with="samples", untagged=untagged)
    lossy = heard.format in _LOSSY
    found = Changes(
        compared_with="figures" if beside is None else "samples",
        sample_rate=heard.sample_rate if made.sample_rate and heard.sample_rate != made.sample_rate else UNSET,
        channels=heard.channels if made.channels and heard.channels != made.channels else UNSET,
        encoding=heard.format if lossy else UNSET,
        untagged=untagged,
    )
    kept_s = made.duration_s if beside is None else beside.kept_s
    offset_s = beside.offset_s if beside is not None else suspect.likeness.offset_s if suspect.likeness else 0.0
    found = _placed(found, heard.duration_s, kept_s, offset_s, loop=made.is_loop)
    if beside is None:
        whole = found.from_s is UNSET and found.within_s is UNSET
        if whole and heard.loudness_lufs is not None and made.loudness_lufs is not None:
            gain = heard.loudness_lufs - made.loudness_lufs
            return structs.replace(found, loudness_db=round(gain, 1) if abs(gain) >= 2 * _LEAST_DB else UNSET)
        return found
    narrow: float | None = heard.bandwidth_hz
    if narrow is None or beside.kept_bandwidth_hz is None or narrow > _NARROWER * beside.kept_bandwidth_hz:
        narrow = None
    elif narrow > 0.9 * heard.sample_rate / 2 and found.sample_rate is not UNSET:
        narrow = None  # its rate says that already
    return structs.replace(
        found,
        loudness_db=round(beside.gain_db, 1) if abs(beside.gain_db) >= _LEAST_DB else UNSET,
        bandwidth_hz=UNSET if narrow is None else narrow,
        tone_db=round(beside.tone_db, 1) if beside.tone_db >= (_TONE_LOSSY_DB if lossy else _TONE_DB) else UNSET,
        residual_db=round(beside.residual_db, 1)
        if beside.residual_db >= (_ELSE_LOSSY_DB if lossy else _ELSE_DB)
        else UNSET,
    )


def _placed(changes: Changes, given_s: float, kept_s: float, offset_s: float, *, loop: bool) -> Changes:
    """Add which part of the kept sound is there, and where in the file."""
    if loop and kept_s > 0:
        turns = given_s / kept_s
        begins = -offset_s % kept_s
        begins = 0.0 if kept_s - begins < _LEAST_S else begins
        if turns < 1 - _LEAST_S / kept_s:
            return structs.replace(changes, from_s=round(begins, 3), to_s=round(begins + given_s, 3))
        return structs.replace(
            changes,
            turns=round(turns, 3) if turns > 1 + _LEAST_S / kept_s else UNSET,
            rotated_s=round(begins, 3) if begins > _LEAST_S else UNSET,
        )
    begins, ends = max(0.0, -offset_s), min(kept_s, given_s - offset_s)
    trimmed = begins > _LEAST_S or kept_s - ends > _LEAST_S
    longer = offset_s > _LEAST_S or given_s - offset_s - kept_s > 2 * _LEAST_S
    return structs.replace(
        changes,
        from_s=round(begins, 3) if trimmed else UNSET,
        to_s=round(ends, 3) if trimmed else UNSET,
        within_s=round(max(0.0, offset_s), 3) if longer else UNSET,
    )
