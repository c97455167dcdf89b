"""Two signed files of one sound: as files they differ, by when they were signed.

Owns: whether a file is another one under a signature of its own.
Must not know: locks, plans.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from audio_pool.audio import codec
from audio_pool.errors import AudioPoolError

__all__ = ["is_signed_twin"]


def is_signed_twin(path: Path, data: bytes) -> bool:
    """Return whether a file is what was made just now, under another signature: of a build that was killed."""
    with tempfile.NamedTemporaryFile(suffix=path.suffix) as file:
        file.write(data)
        file.flush()
        try:
            there, made = (codec.read(one) for one in (path, Path(file.name)))
            same = codec.inspect(path)["comment"] == codec.inspect(Path(file.name))["comment"]
        except AudioPoolError:
            return False
    return same and there[1] == made[1] and np.array_equal(there[0], made[0])
