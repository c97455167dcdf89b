"""FAISS, on the calling thread alone.

Owns: importing it where it is installed, and its number of threads.
Must not know: what is indexed.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from audio_pool.errors import EngineUnavailable

__all__ = ["faiss_here"]

_threads = threading.local()


def faiss_here() -> Any:
    """Return the library, set to one thread for the calling thread (OpenMP keeps that number per thread).

    Raises:
        EngineUnavailable: it is not installed.
    """
    # it tells which instruction sets it tried, with a traceback's worth of text for each that is not there
    loader = logging.getLogger("faiss.loader")
    if loader.level == logging.NOTSET:
        loader.setLevel(logging.WARNING)
    try:
        import faiss
    except ImportError as exc:
        raise EngineUnavailable(
            f"looking sounds up by meaning needs faiss, which cannot be imported: {exc}",
            hint="pip install 'audio-pool[semantic]'",
        ) from exc
    if not getattr(_threads, "single", False):
        faiss.omp_set_num_threads(1)
        _threads.single = True
    return faiss
