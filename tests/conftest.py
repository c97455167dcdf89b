"""Keep a test run to itself: directories of its own, one thread for sums, and no test judged by the clock.

With pytest-xdist this is so for each of its workers, so that tests in parallel see nothing of each other.
"""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

_PLACES = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR")
_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    """Set the environment before any library reads it; processes that tests start inherit it."""
    home = Path(tempfile.mkdtemp(prefix="audio_pool-tests-"))
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    for variable in _PLACES:
        (home / variable.lower()).mkdir(mode=0o700)
        os.environ[variable] = str(home / variable.lower())
    for variable in _ONE_THREAD:
        os.environ.setdefault(variable, "1")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Take what was collected out of the garbage collector's sight: eleven thousand tests cost 1.6 s at each look."""
    gc.collect()
    gc.freeze()
