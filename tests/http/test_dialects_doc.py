"""docs/http-dialects.md is true: its snippets run against a real gateway, its configuration is one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tests.http.conftest import Gateway
from tests.support.waiting import PATIENCE_S

from audio_pool.config import load_config

PAGE = Path(__file__).parents[2] / "docs" / "http-dialects.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("code", [pytest.param(code, id=str(number)) for number, code in enumerate(blocks("python"))])
def test_a_snippet_runs_as_it_stands_but_for_the_port(code: str, gateway: Gateway, tmp_path: Path) -> None:
    for module in re.findall(r"^(?:from|import) (\w+)", code, flags=re.MULTILINE):
        pytest.importorskip(module, reason=f"{module} is not installed")
    told = subprocess.run(
        [sys.executable, "-c", code.replace("http://127.0.0.1:8080", gateway.url)],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout or list(tmp_path.iterdir()), "each writes a file or says what came of it"


def test_its_configuration_is_one() -> None:
    for text in blocks("toml"):
        load_config(tomllib.loads(text), environment={})
