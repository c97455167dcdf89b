"""The manager tidies a directory while a server runs on it: what is removed is not offered any more."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from audio_pool import AudioPool, AudioSemanticCache

DEADLINE_S = 120.0


def manage(cache: Path, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "audio_pool.cli", "cache", *arguments, "--cache-dir", str(cache), "--json"],
        capture_output=True, text=True, timeout=DEADLINE_S, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_removed_entry_is_never_offered_again(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    heard: list[tuple[float, dict[str, Any], bool]] = []
    stop = threading.Event()
    config = {"cache": {"dir": str(cache), "encoder": "off"}, "defaults": {"duration_s": 0.5}}
    with AudioPool.from_config(config, serve=False) as pool:
        doomed = pool.generate("a doomed beep").metadata["seed"]
        pool.generate("a beep that stays")

        def ask_in_a_loop() -> None:
            while not stop.is_set():
                asked = time.monotonic()
                result = pool.generate("a doomed beep", timeout_s=DEADLINE_S)
                heard.append((asked, result.metadata, Path(result.path).exists()))

        asking = threading.Thread(target=ask_in_a_loop)
        asking.start()
        while len(heard) < 20:
            assert asking.is_alive(), "a request failed"
            time.sleep(0.005)
        report = manage(cache, "remove-pattern", "^a doomed", "--confirm")
        removed_at = time.monotonic()
        while len(heard) < 60 or heard[-1][0] <= removed_at:
            assert asking.is_alive(), "a request failed"
            time.sleep(0.005)
        stop.set()
        asking.join(DEADLINE_S)
        assert pool.generate("a beep that stays").metadata["cached"] is True
    assert report["removed_items"] == 1
    before = [metadata for asked, metadata, _ in heard if asked < removed_at]
    after = [metadata for asked, metadata, _ in heard if asked > removed_at]
    assert any(metadata["cached"] and metadata["seed"] == doomed for metadata in before)
    assert after and not any(metadata["seed"] == doomed for metadata in after)
    assert all(there for asked, _, there in heard if asked > removed_at), "a path to a file that is gone"
    with AudioSemanticCache(cache) as managed:
        assert not managed.verify()["problems"], managed.verify()
