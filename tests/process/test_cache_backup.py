"""A backup taken under inserts and removals agrees with itself, and gives back what it holds."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from tests.support.cache_sounds import ids_in, sound

from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.sqlite.backup import backup, restore
from audio_pool.errors import InvalidRequest, NotFound
from audio_pool.types import Query

ROOT = Path(__file__).resolve().parents[2]
WRITER = """
    import sys
    from audio_pool.cache.sound_cache import SoundCache
    from benchmarks.cache_kill import finished
    cache, number, kept = SoundCache(sys.argv[1]), 0, []
    while True:
        kept.append(cache.put(finished(cache.incoming, f"sound {number}", number), {}).id)
        number += 1
        if number % 3 == 0:
            cache.remove([kept.pop(0)])
        if number % 20 == 0:
            cache.store.leaving.unlink_due(at_once=True)
        print(number, flush=True)
"""


def kept(place: Path) -> dict[str, tuple]:  # type: ignore[type-arg]
    with AudioSemanticCache(place) as manager:
        assert manager.verify()["problems"] == []
        return {
            item["prompt"]: (item["timestamp"], item["tags"], item["file_size_kb"])
            for item in manager.list_cache_items(limit=None)
        }


def filled(place: Path, count: int = 5) -> None:
    cache = SoundCache(place)
    for seed in range(count):
        metadata = {"tags": [f"tag {seed}"]}
        cache.put(sound(cache.incoming, f"sound {seed}", seed=seed, metadata=metadata), {"minilm": np.ones(4)})
    cache.close()


def test_under_inserts_and_removals_it_agrees_with_itself(tmp_path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path / "cache")],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert writer.stdout is not None
        for _ in range(30):
            assert writer.stdout.readline()
        for number in range(5):
            report = backup(tmp_path / "cache", tmp_path / f"{number}.tar")
            assert report.skipped == []
            assert report.entries >= 20
            back = restore(tmp_path / f"{number}.tar", tmp_path / f"back {number}")
            assert (back.entries, back.skipped) == (report.entries, [])
            assert len(kept(tmp_path / f"back {number}")) == report.entries
            time.sleep(0.05)
        assert writer.poll() is None
    finally:
        writer.kill()
        writer.communicate()


def test_everything_comes_back_and_a_second_restore_adds_nothing(tmp_path: Path) -> None:
    filled(tmp_path / "cache")
    before = kept(tmp_path / "cache")
    backup(tmp_path / "cache", tmp_path / "a.tar")
    served = SoundCache(tmp_path / "other")
    own = served.put(sound(served.incoming, "sound 0", seed=0), {})
    report = restore(tmp_path / "a.tar", tmp_path / "other")
    assert (report.entries, report.known) == (4, 1)
    assert served.find_exact(sound(served.incoming, "sound 3", seed=3).recipe, Query()).hit is not None
    assert own.id in ids_in(served.store)
    assert served.store.vectors.counts() == {"minilm": 4}
    report = restore(tmp_path / "a.tar", tmp_path / "other")
    assert (report.entries, report.known) == (0, 5)
    served.close()
    after = kept(tmp_path / "other")
    del before["sound 0"], after["sound 0"]
    assert after == before


def test_what_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    filled(tmp_path / "cache")
    masters = sorted((tmp_path / "cache" / "audio").glob("*/*.flac"))
    masters[0].unlink()
    content = bytearray(masters[1].read_bytes())
    content[-1] ^= 1
    masters[1].chmod(0o600)
    masters[1].write_bytes(content)
    report = backup(tmp_path / "cache", tmp_path / "a.tar")
    assert [why for _, why in report.skipped] == ["its file is gone"]
    back = restore(tmp_path / "a.tar", tmp_path / "back")
    assert back.entries == 3
    whys = sorted(why for _, why in back.skipped)
    assert whys == ["its content is not what was stored", "the backup does not hold it"]
    assert len(kept(tmp_path / "back")) == 3


def test_a_backup_that_was_cut_short_or_is_none_is_refused(tmp_path: Path) -> None:
    filled(tmp_path / "cache")
    backup(tmp_path / "cache", tmp_path / "a.tar")
    with pytest.raises(InvalidRequest, match="exists"):
        backup(tmp_path / "cache", tmp_path / "a.tar")
    content = (tmp_path / "a.tar").read_bytes()
    for number, torn in enumerate((content[: len(content) // 2], b"", b"no tar" * 1000)):
        (tmp_path / "torn.tar").write_bytes(torn)
        with pytest.raises(InvalidRequest, match="cut short"):
            restore(tmp_path / "torn.tar", tmp_path / f"back {number}")
        assert not (tmp_path / f"back {number}").exists()
    with pytest.raises(NotFound):
        restore(tmp_path / "none.tar", tmp_path / "back")
    with pytest.raises(NotFound):
        backup(tmp_path / "nowhere", tmp_path / "b.tar")
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "a.tar", "torn.tar"}
