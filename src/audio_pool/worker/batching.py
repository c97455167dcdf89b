"""What to do when a batch does not fit in memory: halve it and try again.

Owns: that one policy.
Must not know: torch, any single engine, the pool.
"""

from __future__ import annotations

from collections.abc import Sequence

from audio_pool.engines.base import Audio, Generator, Item, OnStep, Tells
from audio_pool.errors import OutOfMemory

__all__ = ["generate_halving"]


def generate_halving(
    engine: Generator, items: Sequence[Item], on_step: OnStep | None = None
) -> tuple[list[Audio], list[str], int]:
    """Call ``engine.generate`` with batches that are halved until they fit.

    Items are independent of their batch, so the sounds are those of one whole batch.

    Args:
        engine: a loaded generator.
        items: what to make.
        on_step: as in ``generate``; once a batch is halved it counts steps times items, over all of them.

    Returns:
        one float32 [C, T] an item, in order, the named warnings for the metadata (that the batch was halved, and what
        the engine says of it), and how many items at most were asked for at a time in the end.

    Raises:
        OutOfMemory: where a single item does not fit; whatever else ``generate`` raises.
    """
    sounds: list[Audio] = []
    size = max(1, len(items))
    while len(sounds) < len(items):
        batch = items[len(sounds) : len(sounds) + size]
        try:
            sounds += engine.generate(batch, _counting(on_step, len(sounds), len(batch), len(items)))
        except OutOfMemory:
            if len(batch) == 1:
                raise
            # not len(batch) // 2: an odd batch of three becomes two and one
            size = (len(batch) + 1) // 2
    warnings = list(engine.told()) if isinstance(engine, Tells) else []
    if size < len(items):
        warnings.append(f"batch_halved: {len(items)} sounds did not fit in memory at once; made {size} at a time")
    return sounds, warnings, size


def _counting(on_step: OnStep | None, before: int, batch: int, items: int) -> OnStep | None:
    """Return ``on_step`` for ``batch`` of ``items`` sounds of which ``before`` are made, counting over all."""
    if on_step is None or batch == items:
        return on_step
    report = on_step

    def count(done: int, total: int) -> None:
        report(before * total + done * batch, items * total)

    return count
