"""What the HTTP door stands on is there: its libraries and the clients it is tested with."""

from __future__ import annotations

import importlib

import pytest


@pytest.mark.parametrize("name", ["litestar", "uvicorn", "httptools", "prometheus_client", "httpx"])
def test_the_door_s_own_libraries_are_installed(name: str) -> None:
    importlib.import_module(name)
