"""One real pool with the built-in engine, one real gateway, one real browser for a whole run of these tests.

Of one process of the run, that is: with pytest-xdist each has its own. ``AUDIO_POOL_CHROMIUM`` names the browser.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright
from tests.browser.browsing import Tab, opened
from tests.support.gateways import Gateway, Pool, running

NODE_MODULES = Path(__file__).parent / "node_modules"
"""What npm brought for the tests."""
OpenTab = Callable[..., Tab]

expect.set_options(timeout=60_000)


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """The pool of this run."""
    pool = Pool(tmp_path_factory.mktemp("p"))
    with running(pool):
        pool.hear("ready")
        yield pool


@pytest.fixture(scope="session")
def gateway(pool: Pool) -> Iterator[Gateway]:
    """The gateway of this run, without keys; ``gateway.url`` is its address."""
    gateway = Gateway(pool.place, pool.endpoint)
    with running(gateway):
        yield gateway


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's chromium, without a window."""
    program = os.environ.get("AUDIO_POOL_CHROMIUM") or shutil.which("chromium")
    if not program:
        pytest.skip("there is no chromium: apt-get install chromium, or AUDIO_POOL_CHROMIUM=PROGRAM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, headless=True, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_tab(browser: Browser, gateway: Gateway) -> Iterator[OpenTab]:
    """What opens a tab: ``open_tab(width=320, dark=True)``; ``address=`` of another gateway than this run's."""
    with ExitStack() as stack:

        def open_one(address: str = "", **how: int | bool) -> Tab:
            tab: AbstractContextManager[Tab] = opened(browser, address or gateway.url, **how)
            return stack.enter_context(tab)

        yield open_one


@pytest.fixture
def tab(open_tab: OpenTab) -> Tab:
    """A wide, light tab; ``tab.open("/#make")``."""
    return open_tab()
