"""Which encoder compares prompts, which scorer compares them with sounds, and what an encoder's cosines are worth.

Owns: ``roles``, ``calibration_of``, ``encoder_of``, ``same_model``.
Must not know: what is done with a cosine (policy.py), how one is found (index.py).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

from audio_pool.cache.policy import CALIBRATIONS, MODELS, Calibration
from audio_pool.cache.store import Store
from audio_pool.tasks import SOUND_PREFIX

__all__ = ["calibration_of", "encoder_of", "roles", "same_model"]


def encoder_of(space: str) -> str:
    """Return the embedder engine of a space of vectors: the name up to the first ``@``."""
    return space.split("@", 1)[0]


def same_model(space: str, other: str) -> bool:
    """Return True for spaces of one model that differ in precision alone: their vectors can be compared, nearly."""
    return _model(space) == _model(other)


def _model(space: str) -> list[str]:
    engine, *parts = space.split("@")
    return [engine, *(part for part in parts if "/" in part)]


def calibration_of(store: Store, space: str) -> Calibration | None:
    """Return what an encoder's cosines are worth: as measured on this cache, else as is known of it; None: nothing."""
    measured = store.calibrations.at_070(space)
    return _known(space) if measured is None else Calibration(measured)


@functools.lru_cache
def _known(space: str) -> Calibration | None:
    """Return what is known of an encoder; nothing of another model in its place, e.g. one of many languages."""
    encoder = encoder_of(space)
    model = next((part for part in space.split("@")[1:] if "/" in part), "")
    known = not model or (encoder in MODELS and MODELS[encoder].search(model.lower()))
    return CALIBRATIONS.get(encoder) if known else None


def roles(store: Store, spaces: Iterable[str], former: str = "") -> tuple[str, str]:
    """Return the encoder that compares prompts, and the scorer that compares them with sounds; "" for neither.

    A scorer is one in whose space sounds' vectors are kept.

    Args:
        former: the space of an encoder that answers until another is done (former.py): neither.
    """
    names = [name for name in spaces if not name.startswith(SOUND_PREFIX) and name != former]
    scorer = next((name for name in names if store.vectors.has_space(SOUND_PREFIX + name)), "")
    others = [name for name in names if name != scorer]
    # a scorer that has scored none of the sounds yet must not take the place of the prompts' encoder
    prompts = [name for name in others if calibration_of(store, name)] or others
    return prompts[0] if prompts else "", scorer
