"""A gateway that is given two heads of one cache: HTTP goes on when one of them is killed."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import httpx
from tests.http.conftest import Gateway, running
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

_CALLERS = 6


def test_requests_go_on_when_a_head_is_killed_and_the_next_takes_them(tmp_path: Path) -> None:
    names = ("a", "b")
    heads = {name: Served(tmp_path / name, "--cache-dir", str(tmp_path / "cache")) for name in names}
    statuses: list[tuple[int, str]] = []
    stop, numbers = threading.Event(), itertools.count()
    try:
        for head in heads.values():
            head.ready()
        gateway = Gateway(tmp_path, ",".join(head.endpoint for head in heads.values()))

        def ask() -> None:
            with httpx.Client(base_url=gateway.url, timeout=PATIENCE_S, trust_env=False) as client:
                while not stop.is_set():
                    body = {"prompt": f"take 0.05 {next(numbers)}", "duration_s": 0.2}
                    answer = client.post("/v1/sounds", json=body, headers={"accept": "audio/*"})
                    whole = answer.content.startswith((b"RIFF", b"fLaC", b"OggS"))
                    statuses.append((answer.status_code, "" if whole else answer.text[:300]))

        with running(gateway), httpx.Client(base_url=gateway.url, timeout=PATIENCE_S, trust_env=False) as client:
            threads = [threading.Thread(target=ask) for _ in range(_CALLERS)]
            for thread in threads:
                thread.start()
            try:
                eventually(lambda: len(statuses) >= 20, "sounds come")
                asked = next(name for name in names if heads[name].diary())
                assert not heads[next(name for name in names if name != asked)].diary(), "one head at a time"
                heads[asked].process.kill()
                other = heads[next(name for name in names if name != asked)]
                eventually(lambda: len(other.diary()) >= 20, "the other makes them")
            finally:
                stop.set()
                for thread in threads:
                    thread.join(PATIENCE_S)
                    assert not thread.is_alive()
            assert [told for told in statuses if told != (200, "")] == []
            assert len(statuses) == next(numbers), "one answer for each"
            refused = client.post("/v1/workers/w/drain")
            assert refused.status_code == 422 and "one head" in refused.json()["detail"]
    finally:
        stop.set()
        for head in heads.values():
            head.close()
