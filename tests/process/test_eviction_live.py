"""Bounds hold in a served pool while clients get hits; a kill in the midst of eviction tears nothing; two at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

from tests.support.cache_sounds import ids_in
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.cache.verify import verify
from audio_pool.client.client import AudioClient
from audio_pool.pool.pool import AudioPool

_CHURN = """
import sys
from pathlib import Path
from tests.support.cache_sounds import sound
from audio_pool.cache.limits import Bounds, Limits
from audio_pool.cache.sound_cache import SoundCache

limits = Limits(whole=Bounds(max_items=20), low_water=0.5)
cache = SoundCache(sys.argv[1], grace_s=0.0, limits=limits)
seed = int(sys.argv[2])
while True:
    seed += 1
    entry = cache.put(sound(cache.incoming, f"rain {seed}", seed=seed), {})
    cache.usage.answered("exact", 1.0, entry.id)
    cache.eviction.relieve()
    if seed % 10 == 0:
        cache.tend()
    print(entry.id, flush=True)
"""


def churning(directory: Path, seed: int) -> subprocess.Popen[str]:
    """A process that keeps sounds in a cache of twenty for as long as it lives."""
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", _CHURN, str(directory), str(seed)], stdout=subprocess.PIPE, text=True, cwd=root
    )


def read(process: subprocess.Popen[str], lines: int) -> None:
    assert process.stdout is not None
    for _ in range(lines):
        assert process.stdout.readline()


def test_a_kill_in_the_midst_of_eviction_tears_nothing_and_a_pinned_sound_stays(tmp_path: Path) -> None:
    directory = tmp_path / "cache"
    for number in range(4):
        process = churning(directory, 1000 * number)
        read(process, 30 + 3 * number)  # over the bound, and on at it
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
        assert process.stdout is not None
        process.stdout.close()
        store = SqliteStore(directory)
        present = ids_in(store)
        if number == 0:
            pinned = min(present)
            store.pins.pin([pinned])
        assert pinned in present and len(present) <= 21
        assert verify(store).problems == []
        assert store.checks.wrong_sums() == []
        store.close()


def test_two_processes_keep_one_bound(tmp_path: Path) -> None:
    directory = tmp_path / "cache"
    processes = [churning(directory, 0), churning(directory, 5000)]
    readers = [threading.Thread(target=read, args=(process, 60)) for process in processes]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(PATIENCE_S)
        assert not reader.is_alive()
    for process in processes:
        process.kill()
        process.wait(PATIENCE_S)
        assert process.stdout is not None
        process.stdout.close()
    store = SqliteStore(directory)
    assert 1 <= len(ids_in(store)) <= 32, "each sees within a few sounds what the other kept"
    assert verify(store).problems == []
    store.close()


def test_a_served_pool_keeps_its_bound_while_a_client_gets_hits(tmp_path: Path) -> None:
    tree = {
        "defaults": {"engine": "mock", "duration_s": 0.2, "format": "flac"},
        "cache": {"dir": str(tmp_path / "cache"), "encoder": "off", "max_items": 8},
        "server": {"bind": f"ipc://{tmp_path}/s"},
    }
    with AudioPool.from_config(tree, serve=True) as pool, AudioClient(pool.endpoint) as client:
        pinned = client.generate("a pinned bell")
        assert pinned.metadata.entry_id is not None
        with AudioSemanticCache(tmp_path / "cache") as managed:
            managed.pin([pinned.metadata.entry_id])
        delivered = []
        for number in range(30):
            delivered.append(client.generate(f"creak {number}").path)
            assert client.generate("a pinned bell").metadata.cached
        eventually(lambda: client.cache_stats().total_items <= 8, "the last one too many goes")
        assert client.generate("a pinned bell").metadata.cached
        assert all(Path(path).is_file() for path in delivered), "each was delivered within the grace time"
    with AudioSemanticCache(tmp_path / "cache") as managed:
        assert managed.verify()["problems"] == []
