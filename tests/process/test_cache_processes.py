"""Several processes on one cache directory, and what a kill, a full disk and a read-only disk leave of it."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from benchmarks.cache_kill import described, finished, run_kills
from tests.support.cache_sounds import recipe, sound, write_flac
from tests.support.old_cache import OldCache

from audio_pool.audio import codec
from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.cache.verify import verify
from audio_pool.errors import StorageError
from audio_pool.types import Query

ROOT = Path(__file__).resolve().parents[2]


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def sound_of(directory: Path) -> None:
    with AudioSemanticCache(directory) as manager:
        assert manager.verify()["problems"] == []


WRITER = """
    import sys
    from audio_pool.cache.sound_cache import SoundCache
    from benchmarks.cache_kill import finished
    directory, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    cache = SoundCache(directory)
    for number in range(first, first + count):
        cache.put(finished(cache.incoming, f"sound {number}", number), {})
    cache.close()
"""


def test_two_processes_neither_lose_nor_double_an_entry(tmp_path: Path) -> None:
    # the directory does not exist yet: they also race for making it; 20 numbers are given to both
    writers = [start(WRITER, tmp_path / "cache", first, 60) for first in (0, 40)]
    for writer in writers:
        assert writer.communicate(timeout=60)
        assert writer.returncode == 0
    with AudioSemanticCache(tmp_path / "cache") as manager:
        items = manager.list_cache_items(limit=None)
    assert sorted(item["prompt"] for item in items) == sorted(f"sound {number}" for number in range(100))
    assert all(item["file_exists"] for item in items)
    sound_of(tmp_path / "cache")


def test_a_kill_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    met: Counter[str] = Counter()
    for seed in range(7, 13):  # on a busy machine lives are cut short: then it takes more of them to meet everything
        tally = run_kills(tmp_path / str(seed), kills=30, seed=seed)
        assert tally.faults == [] and tally.kills == 30
        met.update({name: count for name, count in dataclasses.asdict(tally).items() if name != "faults"})
        sound_of(tmp_path / str(seed))
        wanted = {"inserts": 31, "removals": 11, "evictions": 1, "rekeyings": 1, "leftovers_cleared": 1}
        if all(met[name] >= count for name, count in wanted.items()):
            break
    else:
        pytest.fail(f"the kills never fell where they should have: {met}")


SERVER = """
    import sys, time
    from audio_pool.cache.sound_cache import SoundCache
    from audio_pool.types import Query
    from benchmarks.cache_kill import described
    cache, recipe = SoundCache(sys.argv[1]), described("", "victim", 1).recipe
    import numpy as np
    vectors, other = {"minilm": np.ones(8, np.float32)}, described("", "the victims", 1).recipe
    deadline = time.monotonic() + 60
    assert cache.find_exact(recipe, Query()).hit is not None
    print("serving", flush=True)
    while time.monotonic() < deadline:
        before = time.monotonic()
        hit = cache.find_exact(recipe, Query()).hit or cache.find_near(recipe, Query(match="threshold"), vectors).hit
        print(before if hit else f"gone {time.monotonic()}", flush=True)
        if hit is None:
            break
    cache.close()
"""


def test_a_running_server_stops_offering_a_removed_entry_at_once(tmp_path: Path) -> None:
    cache = SoundCache(tmp_path / "cache")
    entry = cache.put(finished(cache.incoming, "victim", 1), {"minilm": np.ones(8, np.float32)})
    server = start(SERVER, tmp_path / "cache")
    assert server.stdout is not None
    assert server.stdout.readline() == "serving\n"
    time.sleep(0.3)
    with AudioSemanticCache(tmp_path / "cache") as manager:
        manager.delete([entry.id])
    removed_at = time.monotonic()
    # not by communicate(): with a timeout it would miss what readline has read ahead
    with server.stdout as stdout:
        *asked, last, _ = stdout.read().split("\n")  # it ends by itself within a minute
    assert server.wait(60) == 0
    assert last.startswith("gone")
    assert len(asked) > 10
    assert max(map(float, asked)) <= removed_at  # no question put after the removal was answered with a hit
    cache.close()
    sound_of(tmp_path / "cache")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 3 MB, where this user may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a tmpfs is not allowed here: run as root, e.g. in a container with CAP_SYS_ADMIN")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def test_a_full_disk_is_said_plainly_loses_nothing_and_the_rest_goes_on(small_disk: Path) -> None:
    cache = SoundCache(small_disk / "cache", max_per_prompt=1000)
    kept = [cache.put(sound(cache.incoming, f"sound {seed}", seed=seed), {}) for seed in range(5)]
    ballast, refused = small_disk / "ballast", 0
    for pages in range(24):  # so that the space ends at each step of a put: mark, folder, rows, log
        ballast.unlink(missing_ok=True)
        made = sound(cache.incoming, f"late {pages}", seed=1000 + pages)
        fill(ballast)
        with ballast.open("r+b") as file:
            file.truncate(max(0, ballast.stat().st_size - 4096 * pages))
        error = None
        try:
            kept.append(cache.put(made, {"text:a": np.ones(3000, np.float32)}))
        except StorageError as exc:
            error = exc
        if error is not None:
            refused += 1
            assert "is full" in error.message and "free some space" in error.hint
            assert Path(made.path).exists()
            assert Path(cache.set_aside(made.path)).exists()
        for entry in kept:
            assert cache.find_exact(entry.recipe, Query()).hit is not None
    assert 5 <= refused < 24
    ballast.unlink()
    assert cache.put(sound(cache.incoming, "there is room again"), {}).id is not None
    cache.close()
    sound_of(small_disk / "cache")


@pytest.mark.parametrize(("format", "depth"), [("flac", 24), ("wav", 16), ("ogg", 16), ("opus", 16), ("mp3", 16)])
def test_no_format_is_cut_short_by_a_full_disk_without_a_word(small_disk: Path, format: str, depth: int) -> None:
    audio = np.random.default_rng(1).normal(0, 0.1, (2, 5 * 44_100)).astype(np.float32)
    out, ballast = small_disk / "sound", small_disk / "ballast"
    codec.write(out, audio, 44_100, format, depth, "{}", False)
    pages = -(-out.stat().st_size // 4096)
    for left in {0, 1, pages // 2, pages - 2, pages - 1}:
        out.unlink(missing_ok=True)
        fill(ballast)
        with ballast.open("r+b") as file:
            file.truncate(ballast.stat().st_size - 4096 * left)
        with pytest.raises(StorageError, match="is full") as raised:
            codec.write(out, audio, 44_100, format, depth, "{}", False)
        assert "free some space" in raised.value.hint
        assert not out.exists()


@pytest.mark.parametrize("served", [True, False])
def test_a_full_disk_can_be_cleared(small_disk: Path, served: bool) -> None:
    cache = SoundCache(small_disk / "cache")
    paths = [cache.put(sound(cache.incoming, f"sound {seed}", seed=seed), {}).path for seed in range(5)]
    if not served:
        cache.close()
    fill(small_disk / "ballast")
    with AudioSemanticCache(small_disk / "cache") as manager:
        assert manager.clear_cache(confirm=True, now=True)["removed_items"] == 5
    assert not any(Path(path).exists() for path in paths)
    cache.close()
    (small_disk / "ballast").unlink()
    sound_of(small_disk / "cache")


def test_a_read_only_disk_is_served_from_and_says_so_when_written_to(small_disk: Path) -> None:
    cache = SoundCache(small_disk / "cache")
    entry = cache.put(sound(cache.incoming), {})
    cache.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with AudioSemanticCache(small_disk / "cache") as manager:
        assert manager.get_cache_stats()["total_items"] == 1
        assert manager.verify()["ok"] is True
        with pytest.raises(StorageError, match="cannot be written to"):
            manager.delete([entry.id])
    served = SoundCache(small_disk / "cache")
    assert served.find_exact(recipe(), Query()).hit.entry.id == entry.id
    with pytest.raises(StorageError, match=r"cannot be written to|Read-only|takes no writes"):
        served.put(described(write_flac(small_disk.parent / "x.flac"), "new", 1), {})
    assert (small_disk.parent / "x.flac").exists()
    served.close()
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    store = SqliteStore(small_disk / "cache")
    assert verify(store).problems == []
    store.close()


def test_an_old_cache_on_a_read_only_disk_says_that_it_cannot_be_brought_up_to_date(small_disk: Path) -> None:
    OldCache(small_disk / "cache").put("rain", np.ones(4, np.float32))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StorageError, match="schema version 1 and takes no writes"):
        SoundCache(small_disk / "cache")
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    cache = SoundCache(small_disk / "cache")
    assert cache.find_exact(recipe("rain"), Query()).hit is not None
    cache.close()
