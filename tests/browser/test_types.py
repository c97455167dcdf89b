"""The page's code is what its comments say, by TypeScript's compiler, which compiles nothing of it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.browser.conftest import NODE_MODULES
from tests.support.waiting import PATIENCE_S

HERE = Path(__file__).parent
TSC = NODE_MODULES / ".bin" / "tsc"


@pytest.mark.skipif(not (TSC.exists() and shutil.which("node")), reason="npm has not brought TypeScript")
def test_the_page_s_modules_hold_what_their_types_say() -> None:
    done = subprocess.run([TSC, "-p", HERE / "jsconfig.json"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout
