"""What answers by meaning while kept sounds are embedded anew: the vectors of the encoder before.

Owns: ``nearest_of_former``.
Must not know: which encoder that is and whether it is loaded, who makes the new vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from audio_pool.cache.encoders import same_model
from audio_pool.cache.entry import Row
from audio_pool.cache.spaces import Spaces
from audio_pool.cache.store import Store, Vector

__all__ = ["nearest_of_former"]

Nearest = Callable[[str, Vector], list[tuple[Row, float]]]
"""Returns what lies nearest to a vector in a space, nearest first."""


def nearest_of_former(
    store: Store, spaces: Spaces, space: str, vectors: Mapping[str, Vector], nearest: Nearest
) -> list[tuple[Row, float]]:
    """Return the nearest entries that have no vector in ``space`` yet, by the former encoder's, nearest first.

    Args:
        space: of the encoder that takes the former one's place; "": there is none.
        vectors: float32 [D] of the prompt by space. Where the two differ in precision alone, the new one's will do.
    """
    former = spaces.former
    if not former or not space:
        return []
    vector = vectors.get(former)
    if vector is None and same_model(former, space):
        vector = vectors[space]
    if vector is None or len(spaces.of(space)) >= len(spaces.of(former)):
        return []
    found = nearest(former, vector)
    anew = store.vectors.of(space, [row.id for row, _ in found])
    return [(row, cosine) for row, cosine in found if row.id not in anew]
