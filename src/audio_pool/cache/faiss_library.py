"""FAISS, on the calling thread alone.

Owns: importing it where it is installed, and its number of threads.
Must not know: what is indexed.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import threading
from typing import Any

from audio_pool.errors import EngineUnavailable

__all__ = ["faiss_here", "refuse_without_faiss"]

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
        raise _missing(f"which cannot be imported: {exc}") from exc
    if not getattr(_threads, "single", False):
        faiss.omp_set_num_threads(1)
        _threads.single = True
    return faiss


def refuse_without_faiss() -> None:
    """Raise EngineUnavailable where it is not installed; importing it takes a command's start too long.

    Raises:
        EngineUnavailable: it is not installed.
    """
    known = "faiss" in sys.modules
    if sys.modules.get("faiss") is None and (known or importlib.util.find_spec("faiss") is None):
        raise _missing("which is not installed")


def _missing(why: str) -> EngineUnavailable:
    hint = "pip install 'audio-pool[semantic]'"
    return EngineUnavailable(f"looking sounds up by meaning needs faiss, {why}", hint=hint)
