"""Vectors of the texts that were asked for last: a text that is asked for again is not encoded again.

Owns: which texts are kept, and how many.
Must not know: what encodes them, who asks.

Threads: any.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np

from audio_pool.engines import Vectors

__all__ = ["KeptTexts"]

_MOST = 4096
"""Texts: 6 MB of vectors with 384 dimensions."""


class KeptTexts:
    """An encoder of texts, and what it said of the last ones."""

    def __init__(self, encode: Callable[[Sequence[str]], Vectors], most: int = _MOST) -> None:
        """``encode``: returns float32 [N, D] for N texts."""
        self._encode = encode
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Vectors] = OrderedDict()
        """The last one asked for at the end; one row [1, D] each."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return float32 [N, D]; those that are not kept are encoded in one call. Raises what the encoder raises."""
        with self._lock:
            found = {text: self._kept[text] for text in texts if text in self._kept}
        new = [text for text in dict.fromkeys(texts) if text not in found]
        if new or not texts:
            vectors = self._encode(new)
            # copies: a view would keep its whole batch
            found |= {text: vectors[place : place + 1].copy() for place, text in enumerate(new)}
            if not texts:
                return vectors
        with self._lock:
            for text in found:
                self._kept[text] = found[text]
                self._kept.move_to_end(text)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return np.concatenate([found[text] for text in texts])
