"""The cards that a scheduler has given a worker, checked against what the driver of its machine says.

Owns: which cards a worker is pinned to, what is wrong with them, whose memory it has taken.
Must not know: who gives cards, how a worker is started.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from audio_pool import gpu
from audio_pool.errors import EngineUnavailable, InvalidConfig

__all__ = ["given_cards", "strangers"]


def given_cards(gpus: float, setting: str | None, found: gpu.Survey) -> tuple[str, tuple[gpu.Device, ...]]:
    """Return what a worker's visible devices are set to, and the cards that the driver knows by it.

    Args:
        gpus: cards, or a part of one, that it was to be given.
        setting: CUDA_VISIBLE_DEVICES as it was given; None: it was given none.
        found: by the driver; without cards (those of a test are only counted), nothing can be checked.

    Raises:
        EngineUnavailable: they are not those that there are, or not as many.
    """
    if gpus <= 0:
        return "", ()
    ids = [one for one in (setting or "").split(",") if one]
    wanted = math.ceil(gpus)
    if len(ids) != wanted:
        raise EngineUnavailable(
            f"{wanted} of the node's GPUs were to be given, CUDA_VISIBLE_DEVICES is {setting!r}",
            hint="do not set RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES for the cluster",
        )
    cards = [card for card in found.devices if card.vendor == found.devices[0].vendor]
    if not cards:
        return ",".join(ids), ()
    try:
        seen = gpu.visible(cards, ",".join(ids))
    except InvalidConfig as exc:
        raise EngineUnavailable(f"the driver does not know the GPUs that were given: {exc}") from None
    if len(seen) != wanted:
        raise EngineUnavailable(
            f"GPUs {','.join(ids)} were given, the driver knows {len(seen)} of them; it has {len(cards)}",
            hint="start Ray's node with as many GPUs as its machine has",
        )
    # by their own names: an index means another card wherever another order is in force
    nvidia = all(card.vendor == "nvidia" for card in seen)
    return ",".join(card.uuid for card in seen) if nvidia else ",".join(ids), tuple(seen)


def strangers(
    pids: Sequence[int], own: Sequence[gpu.Device], taken: Mapping[str, Mapping[int, int]]
) -> tuple[str, ...] | None:
    """Return the cards on which processes have memory and should have none; None: they have none anywhere yet.

    Args:
        taken: what each process has, by the card's UUID and its id.
    """
    has = {uuid for uuid, by_process in taken.items() if any(pid in by_process for pid in pids)}
    return tuple(sorted(has - {card.uuid for card in own})) if has else None
