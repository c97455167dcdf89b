"""Signal processing on float32 [C, T]: loops, quality gate, filters, loudness, codecs, spectrograms, descriptors.

Owns: the type of the array they all share.
Must not know: requests, engines, where files are kept.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Audio"]

Audio = npt.NDArray[np.float32]
"""float32 [C, T], nominally -1..1; a raw candidate may exceed it."""
