"""Chromaprint's fingerprints, where its library is installed (Debian: libchromaprint1).

Owns: the library's interface, and the comparison of two of its fingerprints.
Must not know: where fingerprints are kept, our own (audio/fingerprint.py).

It was made for music of some minutes: a sound of less than three seconds has no fingerprint.
"""

from __future__ import annotations

import ctypes
import functools
import sys

import numpy as np
import numpy.typing as npt

from audio_pool.audio import Audio

__all__ = ["bit_error_rate", "chromaprint", "is_installed"]

_NAMES = {
    "darwin": ("libchromaprint.1.dylib", "libchromaprint.dylib"),
    "win32": ("chromaprint.dll", "libchromaprint.dll"),
}
_ALGORITHM = 1
"""Its default since version 0.4."""
_FEWEST = 6
"""Frames of an overlap, 0.12 s each, that say anything."""

Raw = npt.NDArray[np.uint32]


@functools.cache
def _library() -> ctypes.CDLL | None:
    for name in _NAMES.get(sys.platform, ("libchromaprint.so.1", "libchromaprint.so.0")):
        try:
            library = ctypes.CDLL(name)
            break
        except OSError:
            continue
    else:
        return None
    library.chromaprint_new.restype = ctypes.c_void_p
    library.chromaprint_start.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
    library.chromaprint_feed.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int]
    library.chromaprint_finish.argtypes = [ctypes.c_void_p]
    library.chromaprint_get_raw_fingerprint.argtypes = [
        ctypes.c_void_p, ctypes.POINTER(ctypes.POINTER(ctypes.c_uint32)), ctypes.POINTER(ctypes.c_int),
    ]  # fmt: skip
    library.chromaprint_dealloc.argtypes = [ctypes.c_void_p]
    library.chromaprint_free.argtypes = [ctypes.c_void_p]
    return library


def is_installed() -> bool:
    """Return True where the library is there."""
    return _library() is not None


def chromaprint(audio: Audio, sample_rate: int) -> Raw:
    """Return the words of a sound, float32 [C, T]; none where it is too short, or the library is not there."""
    library = _library()
    if library is None:
        return np.zeros(0, np.uint32)
    mono = audio.mean(axis=0, dtype=np.float32)
    peak = float(np.abs(mono).max(initial=0.0))
    samples = np.ascontiguousarray(np.rint(mono * (32_000 / peak if peak else 0.0)), np.int16)
    context = library.chromaprint_new(_ALGORITHM)
    try:
        found, size = ctypes.POINTER(ctypes.c_uint32)(), ctypes.c_int(0)
        done = (
            library.chromaprint_start(context, sample_rate, 1)
            and library.chromaprint_feed(context, samples.ctypes.data, len(samples))
            and library.chromaprint_finish(context)
            and library.chromaprint_get_raw_fingerprint(context, ctypes.byref(found), ctypes.byref(size))
        )
        if not done or not size.value:
            return np.zeros(0, np.uint32)
        words = np.ctypeslib.as_array(found, (size.value,)).astype(np.uint32)
        library.chromaprint_dealloc(found)
        return words
    finally:
        library.chromaprint_free(context)


def bit_error_rate(one: Raw, other: Raw) -> float:
    """Return the share of bits that differ where two sounds agree best; 0.5 is chance, and what nothing is known of."""
    best = 0.5
    for shift in range(_FEWEST - len(one), len(other) - _FEWEST + 1):
        first, second = max(0, -shift), max(0, shift)
        length = min(len(one) - first, len(other) - second)
        if length >= _FEWEST:
            differing = np.bitwise_count(one[first : first + length] ^ other[second : second + length])
            best = min(best, float(differing.mean()) / 32)
    return best
