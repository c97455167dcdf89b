"""What ``verify`` never does: destroy what nothing else knows, or believe that much has gone at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.cache_sounds import harm, recipe, sound

from audio_pool.cache import verify as verify_module
from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.verify import verify
from audio_pool.errors import StorageError
from audio_pool.types import Query


@pytest.fixture
def cache(tmp_path: Path):  # type: ignore[no-untyped-def]
    opened = SoundCache(tmp_path / "cache", max_per_prompt=100)
    yield opened
    opened.close()


@pytest.fixture
def manager(cache: SoundCache, tmp_path: Path):  # type: ignore[no-untyped-def]
    with AudioSemanticCache(tmp_path / "cache") as opened:
        yield opened


def keep(cache: SoundCache, count: int) -> list[Path]:
    """Keep so many sounds; return their masters."""
    return [Path(cache.put(sound(cache.incoming, f"sound {n}", seed=n), {}).path) for n in range(count)]


@pytest.mark.parametrize("count", [1, 30])
@pytest.mark.parametrize("empty", [True, False], ids=["empty", "absent"])
def test_an_audio_folder_that_is_not_mounted_costs_neither_rows_nor_masters(
    cache: SoundCache, manager: AudioSemanticCache, tmp_path: Path, count: int, empty: bool
) -> None:
    masters = keep(cache, count)
    audio, away = tmp_path / "cache" / "audio", tmp_path / "unmounted"
    audio.rename(away)
    if empty:
        audio.mkdir()
    for _ in range(2):
        told = manager.verify(fix=True, confirm=True)
        assert (told["ok"], told["fixed"]) == (False, 0)
        (why,) = told["refused"]
        assert f"{count} of {count} masters" in why and "mounted?" in why
    assert manager.get_cache_stats().total_items == count
    if empty:
        audio.rmdir()
    away.rename(audio)
    assert manager.verify(fix=True, confirm=True)["problems"] == []
    assert all(path.is_file() for path in masters)


def test_of_a_small_cache_half_is_much(cache: SoundCache, manager: AudioSemanticCache) -> None:
    masters = keep(cache, 9)
    for path in masters[:5]:
        path.rename(path.with_suffix(".away"))
    told = manager.verify(fix=True, confirm=True)
    assert "5 of 9 masters" in told["refused"][0] and manager.get_cache_stats().total_items == 9
    masters[0].with_suffix(".away").rename(masters[0])
    assert manager.verify(fix=True, confirm=True)["refused"] == []
    assert manager.get_cache_stats().total_items == 5


def test_masters_of_no_row_at_all_stay(cache: SoundCache, manager: AudioSemanticCache, tmp_path: Path) -> None:
    (master,) = keep(cache, 1)
    harm(tmp_path / "cache", "DELETE FROM provenance", "DELETE FROM entries")
    assert "cache rebuild" in manager.verify(fix=True, confirm=True)["refused"][0] and master.is_file()


def test_a_full_disk_is_verified_all_the_same(cache: SoundCache, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(cache, 1)

    def full(states: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(cache.store.seen, "note", full)
    assert verify(cache.store).ok


def test_masters_of_an_empty_database_are_all_left_where_they_are(
    cache: SoundCache, manager: AudioSemanticCache, tmp_path: Path
) -> None:
    masters = keep(cache, 25)
    harm(tmp_path / "cache", "DELETE FROM provenance", "DELETE FROM entries")
    told = manager.verify(fix=True, confirm=True)
    assert told["fixed"] == 0 and "cache rebuild" in told["refused"][0]
    assert all(path.is_file() for path in masters)
    assert not (tmp_path / "cache" / "quarantine").exists()


def test_what_is_said_to_be_lost_goes_however_much_it_is(
    cache: SoundCache, manager: AudioSemanticCache
) -> None:
    masters = keep(cache, 30)
    for path in masters[:25]:
        path.unlink()
    assert manager.verify(fix=True, confirm=True)["fixed"] == 0
    assert manager.verify(fix=True, however_many=True)["fixed"] == 0, "rows want to be confirmed all the same"
    assert manager.verify(fix=True, confirm=True, however_many=True)["fixed"] == 25
    assert manager.get_cache_stats().total_items == 5


def test_an_unknown_file_lies_in_quarantine_whole(
    cache: SoundCache, manager: AudioSemanticCache, tmp_path: Path
) -> None:
    keep(cache, 3)
    stranger = tmp_path / "cache" / "audio" / "zz"
    stranger.mkdir()
    (stranger / "mine.flac").write_bytes(b"years of work")
    assert manager.verify(fix=True)["ok"]
    (apart,) = (tmp_path / "cache" / "quarantine").iterdir()
    assert apart.read_bytes() == b"years of work"
    cache.store.leaving.unlink_due(at_once=True)
    assert apart.read_bytes() == b"years of work" and not (stranger / "mine.flac").exists()


def test_a_symlink_is_no_master_and_what_it_leads_to_stays(
    cache: SoundCache, manager: AudioSemanticCache, tmp_path: Path
) -> None:
    linked, dangling, *_ = keep(cache, 4)
    target = tmp_path / "elsewhere.flac"
    linked.rename(target)
    linked.symlink_to(target)
    os.unlink(dangling)
    dangling.symlink_to(tmp_path / "nowhere")
    assert cache.find_exact(recipe("sound 0"), Query()).hit is None
    assert cache.find_exact(recipe("sound 1"), Query()).hit is None
    told = manager.verify(fix=True, confirm=True)
    assert [problem["kind"] for problem in told["problems"]] == ["damaged_file", "damaged_file"]
    assert target.read_bytes()[:4] == b"fLaC"
    assert manager.get_cache_stats().total_items == 2


def test_a_dangling_link_that_no_row_knows_goes(
    cache: SoundCache, manager: AudioSemanticCache, tmp_path: Path
) -> None:
    keep(cache, 1)
    link = tmp_path / "cache" / "audio" / "link.flac"
    link.symlink_to(tmp_path / "nowhere")
    assert [problem["kind"] for problem in manager.verify()["problems"]] == ["dangling_link"]
    assert manager.verify(fix=True)["ok"]
    assert not link.is_symlink()


def test_a_quick_look_at_many_is_one_at_what_has_changed(
    cache: SoundCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_module, "_FEW", 0)
    root = Path(cache.store.location)
    looked: list[str] = []
    real = verify_module.fault_in
    monkeypatch.setattr(
        verify_module, "fault_in", lambda store, kept, **how: looked.append(kept.file) or real(store, kept, **how)
    )

    def settle() -> None:
        """Let every folder be as if nothing had happened in it for long."""
        for folder in (root / "audio", root / "renditions", *root.glob("audio/*"), *root.glob("renditions/*")):
            os.utime(folder, ns=(10**18 + len(looked), 10**18 + len(looked)))

    files = {str(path.relative_to(root)) for path in keep(cache, 6)}
    settle()
    assert verify(cache.store, quick=True).ok and set(looked) == files
    looked.clear()
    report = verify(cache.store, quick=True)
    assert (report.ok, report.entries, report.files, looked) == (True, 6, 6, [])
    new = cache.put(sound(cache.incoming, "one more", seed=7), {})
    settled = str(Path(new.path).relative_to(root))
    assert verify(cache.store, quick=True).ok
    assert settled in looked and {os.path.dirname(file) for file in looked} == {os.path.dirname(settled)}
    looked.clear()
    lost = sorted(files)[0]
    os.unlink(root / lost)
    (root / os.path.dirname(sorted(files)[-1]) / "stranger.flac").write_bytes(b"fLaC")
    (root / "audio" / "deeper").mkdir()
    (root / "audio" / "deeper" / "another.flac").write_bytes(b"fLaC")
    kinds = sorted(problem.kind for problem in verify(cache.store, quick=True).problems)
    assert kinds == ["missing_file", "orphan_file", "orphan_file"]
    assert [problem.kind for problem in verify(cache.store, quick=True).problems if problem.what == lost]
    os.unlink(root / "audio" / "deeper" / "another.flac")
    (root / "audio" / "deeper" / "third.flac").write_bytes(b"fLaC")
    assert any("third" in problem.what for problem in verify(cache.store, quick=True).problems)
    harm(root, f"DELETE FROM provenance WHERE entry_id = {new.id}")
    assert any(problem.kind == "orphan_rows" for problem in verify(cache.store).problems)
