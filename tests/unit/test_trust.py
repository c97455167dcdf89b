"""A hit is offered only where its file is what was stored, as far as that is known; what is damaged gives way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.cache_sounds import harm, ids_in, recipe, sound

from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.verify import verify
from audio_pool.types import Query, Rendition

OGG = Rendition(format="ogg", sample_rate=44_100, bit_depth=16, target_lufs=-23.0, true_peak_dbfs=-2.0)


@pytest.fixture
def cache(tmp_path: Path):  # type: ignore[no-untyped-def]
    opened = SoundCache(tmp_path / "cache", max_per_prompt=100)
    yield opened
    opened.close()


def keep(cache: SoundCache, prompt: str = "rain", seed: int = 1) -> tuple[int, Path]:
    entry = cache.put(sound(cache.incoming, prompt, seed=seed), {})
    assert entry.id is not None
    return entry.id, Path(entry.path)


def hit(cache: SoundCache, prompt: str = "rain") -> int | None:
    found = cache.find_exact(recipe(prompt), Query()).hit
    return None if found is None else found.entry.id


def spoil(path: Path, at: int) -> None:
    """Change a byte and keep the size."""
    os.chmod(path, 0o600)
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def apart(cache: SoundCache) -> list[str]:
    cache.store.leaving.unlink_due(at_once=True)
    place = Path(cache.store.location) / "quarantine"
    return [path.name.partition("-")[2] for path in place.iterdir()] if place.is_dir() else []


@pytest.mark.parametrize("offered_before", [True, False])
def test_a_master_with_another_header_is_a_miss_at_once(cache: SoundCache, offered_before: bool) -> None:
    entry_id, path = keep(cache)
    if offered_before:
        assert hit(cache) == entry_id
    spoil(path, 0)
    assert hit(cache) is None
    cache.tend()
    assert ids_in(cache.store) == set()
    assert apart(cache) == [path.name]


def test_a_flipped_bit_is_found_in_the_background_and_the_next_sound_answers(cache: SoundCache) -> None:
    first, path = keep(cache, seed=1)
    second, _ = keep(cache, "Rain", seed=2)
    spoil(path, path.stat().st_size // 2)
    assert hit(cache) in (first, second)
    cache.tend()
    if ids_in(cache.store) == {first, second}:  # the draw took the other one
        cache.find_exact(recipe("rain", seed=1), Query())
        cache.tend()
    assert ids_in(cache.store) == {second}
    assert hit(cache) == second
    assert apart(cache) == [path.name]


def test_what_was_read_once_is_read_again_only_when_it_changes(
    cache: SoundCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry_id, path = keep(cache)
    assert hit(cache) == entry_id
    cache.tend()
    opened: list[str] = []
    blobs = type(cache.store.blobs)
    monkeypatch.setattr(blobs, "head_of", lambda self, file, count: opened.append(file) or b"fLaC")
    assert hit(cache) == entry_id and hit(cache) == entry_id
    assert opened == []
    os.utime(path)
    assert hit(cache) == entry_id
    assert [Path(file).name for file in opened] == [path.name]


def test_a_file_that_the_disk_does_not_give_stays(cache: SoundCache, monkeypatch: pytest.MonkeyPatch) -> None:
    entry_id, path = keep(cache)
    assert hit(cache) == entry_id
    real = Path.open

    def failing(self: Path, *args: object, **kwargs: object) -> object:
        if self.suffix == ".flac":
            raise OSError(5, "Input/output error")
        return real(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "open", failing)
    cache.tend()
    monkeypatch.undo()
    assert ids_in(cache.store) == {entry_id} and path.exists()


def test_a_missing_file_is_a_miss_and_its_entry_stays(cache: SoundCache) -> None:
    entry_id, path = keep(cache)
    path.rename(path.with_suffix(".away"))
    assert hit(cache) is None
    cache.tend()
    path.with_suffix(".away").rename(path)
    assert hit(cache) == entry_id


def test_a_rendition_is_hashed_and_made_again_where_it_is_damaged(cache: SoundCache) -> None:
    entry_id, _ = keep(cache)
    source = cache.incoming / "x.ogg"
    source.write_bytes(b"OggS" * 100)
    path = Path(cache.put_rendition(entry_id, OGG, source))
    spoil(path, 200)
    assert [problem.kind for problem in verify(cache.store).problems] == ["damaged_rendition"]
    assert cache.find_rendition(entry_id, OGG) == str(path), "its content is looked at later"
    cache.tend()
    assert cache.find_rendition(entry_id, OGG) is None
    assert ids_in(cache.store) == {entry_id}
    assert apart(cache) == [path.name]


def test_a_rendition_with_another_header_is_made_again_at_once(cache: SoundCache) -> None:
    entry_id, _ = keep(cache)
    other = cache.incoming / "rendition.ogg"
    other.write_bytes(b"OggS" * 100)
    place = Path(cache.put_rendition(entry_id, OGG, other))
    assert cache.find_rendition(entry_id, OGG) == str(place)
    spoil(place, 0)
    assert cache.find_rendition(entry_id, OGG) is None
    other.write_bytes(b"OggS" * 100)
    anew = cache.put_rendition(entry_id, OGG, other)
    assert anew != str(place) and cache.find_rendition(entry_id, OGG) == anew
    assert apart(cache) == [place.name]


def test_a_master_that_could_not_be_decoded_is_offered_only_once_it_was_compared(cache: SoundCache) -> None:
    entry_id, path = keep(cache)
    assert hit(cache) == entry_id
    cache.doubt(entry_id)
    assert hit(cache) is None
    cache.tend()
    assert hit(cache) == entry_id, "its content is what was stored"
    spoil(path, path.stat().st_size // 2)
    cache.doubt(entry_id)
    cache.tend()
    assert hit(cache) is None and ids_in(cache.store) == set()


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "change",
    [
        "prompt = x'ff00'", "prompt = CAST(x'ff61' AS TEXT)", "file = x'00'", "file = CAST(x'ff' AS TEXT)",
        "created_at = 'yesterday'", "size_bytes = 'big'", "quality = 'good'", "duration_s = 'long'",
        "file = '../../etc/passwd'", "sample_rate = NULL || 'x'",
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_read_is_a_miss_and_costs_no_other(cache: SoundCache, change: str) -> None:
    bad, _ = keep(cache, seed=1)
    good, _ = keep(cache, "Rain", seed=2)
    harm(Path(cache.store.location), f"UPDATE OR IGNORE entries SET {change} WHERE id = {bad}")
    for _ in range(3):
        assert hit(cache) in (good, bad)
        cache.tend()
    assert cache.find_exact(recipe("Rain", seed=2), Query()).hit is not None


def test_times_never_go_back_when_the_clock_does(cache: SoundCache, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    real, jumps = time.time, iter([0.0, -3600.0, -86_400.0 * 365, 5.0])
    for seed in range(4):
        jump = next(jumps)
        made = sound(cache.incoming, f"sound {seed}", seed=seed)
        monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
        cache.put(made, {})
        monkeypatch.undo()
    with AudioSemanticCache(cache.store.location) as manager:
        items = manager.list_cache_items(reverse=False)
    assert [item["prompt"] for item in items] == [f"sound {seed}" for seed in range(4)]
    times = [item["timestamp"] for item in items]
    assert times == sorted(times)


def test_many_damaged_at_once_are_misses_and_their_rows_stay(cache: SoundCache) -> None:
    paths = [keep(cache, f"sound {seed}", seed)[1] for seed in range(40)]
    for path in paths:
        spoil(path, path.stat().st_size // 2)
    for _ in range(2):
        for seed in range(40):
            hit(cache, f"sound {seed}")
        cache.tend()
    assert [hit(cache, f"sound {seed}") for seed in range(40)] == [None] * 40
    assert len(ids_in(cache.store)) == 20
