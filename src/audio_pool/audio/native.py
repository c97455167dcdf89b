"""The library that is compiled of kernels.c when this package is installed, where there is a compiler.

Owns: finding it, and the types of its functions.
Must not know: what is filtered or summed, and why.

Recursive filters are the greater part of finishing a sound, and numpy cannot run them: scipy's loop takes one section
of one channel at a time. A library of a hundred lines takes all channels and sections in one pass, a quarter of the
time. It is loaded by ctypes in a millisecond. Numba was not taken: its import alone takes half a second, its first
compiling several; nor cffi's API mode, which would tie the library to one version of Python. Without the library all
is done by numpy and scipy; the samples differ in the last bit of a float now and then.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["MOST_SECTIONS", "NAME", "SOURCE", "address", "library", "loaded"]

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("kernels.c")
NAME = "_kernels.so"
MOST_SECTIONS = 8

_ADDRESS, _COUNT, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
_FUNCTIONS = {
    "filter_sound": (_INT, [_ADDRESS, _INT, _ADDRESS, _COUNT, _COUNT, _COUNT, _ADDRESS, _ADDRESS]),
    "filtered_powers": (_INT, [_ADDRESS, _INT, _ADDRESS, _COUNT, _COUNT, _COUNT, _ADDRESS, _COUNT, _ADDRESS]),
    "moments": (None, [_ADDRESS, _ADDRESS, _COUNT, _ADDRESS, _ADDRESS]),
    "round_to_24_bits": (None, [_ADDRESS, _COUNT, _COUNT, _COUNT, _ADDRESS]),
    "add_band_powers": (None, [_ADDRESS, _COUNT, _COUNT, _ADDRESS, _COUNT, _ADDRESS]),
}
"""What each returns and takes; see kernels.c."""


@functools.cache
def library() -> ctypes.CDLL | None:
    """Return the library beside this file; None where none was compiled, or it was of another source."""
    return loaded(SOURCE.with_name(NAME))


def loaded(path: Path) -> ctypes.CDLL | None:
    """Load a library of the present source; None where it is not one."""
    try:
        found = ctypes.CDLL(str(path))
        found.kernels_of.restype = ctypes.c_char_p
        if found.kernels_of().decode() != hashlib.sha256(SOURCE.read_bytes()).hexdigest():
            log.info("%s is of another version of its source, and is left alone: install again", path)
            return None
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(found, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as exc:
        log.debug("sounds are finished by numpy and scipy alone: %s", exc)
        return None
    return found


def address(array: npt.NDArray[np.generic]) -> int:
    """Return where an array lies; it must be contiguous, and kept while it is used."""
    assert array.flags.c_contiguous
    return array.ctypes.data
