"""What a build would do: the manifest held against the lock, and the lock against the files.

Owns: Step and ``plan_of``; what is different between two locks.
Must not know: how sounds are made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct, structs

from audio_pool.packs.pack_lock import Lock, LockedFile
from audio_pool.packs.pack_manifest import PRESETS_SAID, Manifest, Wanted, wanted_files

__all__ = ["Step", "StepKind", "changed_fields", "differences", "plan_of", "sha256_of"]

StepKind = Literal["make", "remake", "restore", "edited", "rename", "remove", "keep"]


class Step(Struct, frozen=True, kw_only=True):
    """What becomes of one file."""

    kind: StepKind
    """make: it is new. remake: something else is asked. restore: it is gone, and made again as it was. edited: somebody
    changed it. rename: only its name is another. remove: nobody asks for it any more. keep: it is as it should be."""
    file: str
    wanted: Wanted | None = None
    locked: LockedFile | None = None
    why: tuple[str, ...] = ()
    """What is different, e.g. ``duration_s: 8 -> 10``."""


def plan_of(
    manifest: Manifest, lock: Lock | None, folder: Path, revisions: Mapping[str, str] | None = None
) -> list[Step]:
    """Return a step for every file, in the manifest's order; then for those that are to go.

    Args:
        folder: of the pack, where its folder of sounds lies.
        revisions: of presets, by id: a file is made anew where one of its presets says something else; None: they are
            taken to say what they said when it was made.
    """
    known = {} if lock is None else lock.by_file()
    sounds = folder / manifest.pack.out
    wanted = [_with_presets(one, known.get(one.file), revisions) for one in wanted_files(manifest)]
    names = {one.file for one in wanted}
    left = {file: one for file, one in known.items() if file not in names}
    commercial = manifest.pack.commercial
    steps = [_step_of(one, known.get(one.file), left, sounds, commercial) for one in wanted]
    steps += [Step(kind="remove", file=file, locked=one) for file, one in sorted(left.items())]
    return steps


def _with_presets(wanted: Wanted, locked: LockedFile | None, revisions: Mapping[str, str] | None) -> Wanted:
    if not wanted.presets:
        return wanted
    if revisions is not None:
        return structs.replace(wanted, said={name: revisions[name] for name in wanted.presets})
    before = {} if locked is None else locked.asked.get(PRESETS_SAID, {})
    return structs.replace(wanted, said=before if set(before) == set(wanted.presets) else {})


def _step_of(
    wanted: Wanted, locked: LockedFile | None, left: dict[str, LockedFile], sounds: Path, commercial: bool
) -> Step:
    if locked is None:
        former = None
        if not (sounds / wanted.file).exists():  # what somebody has put there is not replaced
            former = next((one for one in left.values() if _is_as_wanted(one, wanted, commercial)), None)
        if former is not None and sha256_of(sounds / former.file) == former.sha256:
            del left[former.file]
            return Step(kind="rename", file=wanted.file, wanted=wanted, locked=former, why=(f"was {former.file}",))
        return Step(kind="make", file=wanted.file, wanted=wanted)
    found = sha256_of(sounds / wanted.file)
    if not _is_as_wanted(locked, wanted, commercial):
        why = tuple(changed_fields(locked.asked, wanted.asked))
        if commercial and not locked.commercial_use:
            why += (f"commercial: engine {locked.engine!r} may not be used so",)
        if found not in (None, locked.sha256):
            why += ("somebody changed the file: without --overwrite it is left alone",)
        return Step(kind="remake", file=wanted.file, wanted=wanted, locked=locked, why=why)
    if found is None:
        return Step(kind="restore", file=wanted.file, wanted=wanted, locked=locked, why=("the file is gone",))
    kind: StepKind = "keep" if found == locked.sha256 else "edited"
    why = () if kind == "keep" else ("its bytes are others than those that were built",)
    return Step(kind=kind, file=wanted.file, wanted=wanted, locked=locked, why=why)


def _is_as_wanted(locked: LockedFile, wanted: Wanted, commercial: bool) -> bool:
    return locked.asked == wanted.asked and (locked.commercial_use or not commercial)


def changed_fields(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:  # fields of requests and forms
    """Yield what is different, field by field."""
    for name in sorted({*before, *now}):
        if name == PRESETS_SAID and name in before and name in now:
            said, says = before[name], now[name]
            yield from (f"presets: {one!r} says something else now" for one in says if said.get(one) != says[one])
        elif before.get(name) != now.get(name):
            yield f"{name}: {before.get(name)!r} -> {now.get(name)!r}"


def differences(before: Lock, now: Lock) -> Iterator[str]:
    """Yield what is different between two locks, a line for each file."""
    old, new = before.by_file(), now.by_file()
    for file in sorted({*old, *new}):
        if file not in new:
            yield f"- {file}"
        elif file not in old:
            yield f"+ {file}"
        elif old[file].content() != new[file].content():
            told = {name: getattr(one, name) for one in (old[file],) for name in ("recipe", "model_revision", "sha256")}
            fresh = {name: getattr(new[file], name) for name in told}
            why = [*changed_fields(old[file].asked, new[file].asked), *changed_fields(told, fresh)]
            yield f"~ {file}: {'; '.join(why) or 'measured otherwise'}"


def sha256_of(path: Path) -> str | None:
    """Return the SHA-256 of a file in hex; None: there is none that can be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
