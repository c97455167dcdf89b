"""A pack's files proved against its lock, and against each other.

Owns: ``check``: what is missing, changed or too much; what is out of line within a class.
Must not know: how sounds are made.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from audio_pool.packs.pack_lock import Lock, LockedFile
from audio_pool.packs.pack_manifest import Manifest
from audio_pool.packs.pack_plan import plan_of, sha256_of

__all__ = ["check", "out_of_line"]

_LOUDNESS_LU = 1.0
"""From a class's median on, a file is louder or quieter than its neighbours."""
_FLOOR_DB = 12.0
_TELLING_S = 2.0
_MOST_LEFT = 20


def check(folder: Path, manifest: Manifest, lock: Lock) -> Iterator[str]:
    """Yield what is not as the lock says: files first, then what the manifest asks for that was not built."""
    sounds = folder / manifest.pack.out
    for one in lock.files:
        found = sha256_of(sounds / one.file)
        if found is None:
            yield f"{one.file}: is gone"
        elif found != one.sha256:
            yield f"{one.file}: is another file than was built (sha256 {found[:12]}, locked {one.sha256[:12]})"
    known = {one.file for one in lock.files}
    there = (path.relative_to(sounds).as_posix() for path in sorted(sounds.rglob("*")) if path.is_file())
    others = [name for name in there if name not in known and not Path(name).name.startswith(".")]
    yield from (f"{name}: is not in the lock" for name in others[:_MOST_LEFT])
    if len(others) > _MOST_LEFT:
        yield f"... and {len(others) - _MOST_LEFT} more that are not in the lock"
    for step in plan_of(manifest, lock, folder):
        if step.kind in ("make", "remake", "rename", "remove"):
            yield f"{step.file}: the manifest asks for another ({step.kind}{''.join(f'; {why}' for why in step.why)})"


def out_of_line(lock: Lock) -> Iterator[str]:
    """Yield which files are louder, quieter or noisier than the others of their class."""
    classes: defaultdict[str, list[LockedFile]] = defaultdict(list)
    for one in lock.files:
        classes[one.class_].append(one)
    for name, files in sorted(classes.items()):
        levels = [one.loudness_lufs for one in files if one.loudness_lufs is not None]
        floors = [floor for one in files if (floor := _floor_of(one)) is not None]
        level = statistics.median(levels) if levels else None
        floor = statistics.median(floors) if floors else None
        for one in files:
            if level is not None and one.loudness_lufs is not None and abs(one.loudness_lufs - level) > _LOUDNESS_LU:
                yield f"{one.file}: {one.loudness_lufs:.1f} LUFS, class {name} has {level:.1f}"
            own = _floor_of(one)
            if floor is not None and own is not None and own - floor > _FLOOR_DB:
                yield f"{one.file}: noise floor {own:.0f} dBFS, class {name} has {floor:.0f}"


def _floor_of(one: LockedFile) -> float | None:
    """Return a file's noise floor; of what is over in a moment, the quietest tenth is its own tail."""
    return one.noise_floor_dbfs if one.frames >= _TELLING_S * one.sample_rate else None
