"""One real pool with the built-in engine, and one real gateway before it, for a whole run of these tests.

Of one process of the run, that is: with pytest-xdist each has its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from tests.support.gateways import Gateway, Pool, Process, running
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S

__all__ = ["Gateway", "Pool", "Process", "running"]


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
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    """A client of that gateway."""
    with httpx.Client(base_url=gateway.url, timeout=PATIENCE_S, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A pool whose engine does as its prompt says, e.g. ``hold FILE`` until there is that file."""
    with Served(tmp_path_factory.mktemp("s")) as served:
        served.ready()
        yield served
        served.signal()
        served.wait()


@pytest.fixture(scope="session")
def stage_gateway(stage: Served) -> Iterator[Gateway]:
    """A gateway before that pool."""
    gateway = Gateway(stage.place, stage.endpoint)
    with running(gateway):
        yield gateway
