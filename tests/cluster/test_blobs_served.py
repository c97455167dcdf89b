"""A pool whose sounds lie in an object store: hits, what is not here, what is lost, and a store that goes and comes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("obstore", reason="obstore is not installed: make test-cluster")
pytest.importorskip("moto", reason="moto is not installed: make test-cluster")

import msgspec
from tests.support.object_server import KEYS, ObjectServer, served
from tests.support.waiting import eventually

from audio_pool import AudioPool
from audio_pool.cache.objects.place import ObjectPlace
from audio_pool.results import AudioResult


class Bed:
    """A pool, and the object store behind it."""

    def __init__(self, pool: AudioPool, server: ObjectServer, place: ObjectPlace, cache: Path) -> None:
        self.pool, self.server, self.place, self.cache = pool, server, place, cache

    def make(self, prompt: str, **fields: object) -> AudioResult:
        found = self.pool.generate(prompt, duration_s=0.5, **fields)  # type: ignore[arg-type]
        assert found.path is not None and Path(found.path).is_file()
        return found

    def away(self, prompt: str, **fields: object) -> str:
        """Keep a sound, and take its copies away."""
        self.make(prompt, **fields)
        self.without_copies()
        return prompt

    def without_copies(self) -> None:
        for root in ("audio", "renditions"):
            for path in (self.cache / root).rglob("*.*"):
                path.unlink()

    def lose_all(self) -> None:
        for one in self.server.bucket_of(self.place).objects.filter(Prefix="cache/sounds/"):
            one.delete()


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        with served() as server:
            place, cache = server.place(fetch_s=60.0, read_timeout_s=60.0), tmp_path_factory.mktemp("pool") / "cache"
            settings = {
                "cache": {
                    "dir": str(cache),
                    "blobs": place.url,
                    "objects": msgspec.to_builtins(place.settings),
                    "encoder": "off",
                },
                "defaults": {"format": "ogg"},
            }
            with AudioPool.from_config(settings) as pool:
                yield Bed(pool, server, place, cache)


@pytest.fixture(autouse=True)
def _well(bed: Bed) -> Iterator[None]:
    yield
    bed.server.proxy.set("pass")
    eventually(lambda: bed.pool.health().state == "ready", "the pool is well")


def test_a_hit_is_served_from_its_copy_and_fetched_where_there_is_none(bed: Bed) -> None:
    made = bed.make("a bell tolls")
    assert not made.metadata.cached
    assert {key[-4:] for key in bed.server.keys(bed.place, "sounds")} >= {"flac", ".ogg"}
    bed.server.proxy.asked.clear()
    hit = bed.make("a bell tolls")
    assert hit.metadata.cached and hit.path == made.path
    fetched = [line for line in bed.server.proxy.asked if line.startswith("GET ") and "/cache/sounds/" in line]
    assert fetched == []  # from here
    bed.without_copies()
    again = bed.make("a bell tolls")
    assert any(line.startswith("GET ") and "/cache/sounds/" in line for line in bed.server.proxy.asked)
    assert again.metadata.cached and again.path == made.path and again.metadata.entry_id == made.metadata.entry_id
    master = bed.make("a bell tolls", format="flac", target_lufs=made.metadata.target_lufs)
    assert master.metadata.cached and Path(master.path or "").suffix == ".flac"


def test_another_format_is_made_of_a_master_that_is_not_here(bed: Bed) -> None:
    bed.away("a wolf howls")
    found = bed.make("a wolf howls", format="wav")
    assert found.metadata.cached and Path(found.path or "").read_bytes()[:4] == b"RIFF"
    entry = found.metadata.entry_id
    assert entry is not None
    bed.without_copies()
    drawn = bed.pool.library.waveform(entry)
    bed.without_copies()  # of the peaks, too, which are kept beside
    assert bed.pool.library.waveform(entry) == drawn
    bed.without_copies()
    file = bed.pool.library.file(entry)
    assert file.path is not None and Path(file.path).read_bytes()[:4] in (b"OggS", b"fLaC", b"RIFF")


def test_what_is_lost_is_made_anew_and_not_offered_any_more(bed: Bed) -> None:
    bed.away("an owl calls")
    bed.lose_all()
    found = bed.make("an owl calls")
    assert not found.metadata.cached
    assert any(line.startswith("hit_vanished") for line in found.metadata.warnings)
    again = bed.make("an owl calls")
    assert again.metadata.cached and again.metadata.entry_id == found.metadata.entry_id


@pytest.mark.parametrize("mode", ["gone", "error"])
def test_while_the_store_is_away_copies_are_served_and_the_rest_is_made_anew(bed: Bed, mode: str) -> None:
    bed.away(f"a gong before it was {mode}")
    bed.make(f"a drum before it was {mode}")
    bed.server.proxy.set(mode)  # type: ignore[arg-type]
    made = bed.make(f"a gong before it was {mode}")
    assert not made.metadata.cached
    assert any(line.startswith("hit_unreachable") for line in made.metadata.warnings)
    assert any(line.startswith("not_kept") for line in made.metadata.warnings)
    assert bed.make(f"a drum before it was {mode}").metadata.cached
    health = bed.pool.health()
    assert health.state == "degraded" and any("cache: " in reason for reason in health.reasons)
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in repr(health)
    bed.server.proxy.set("pass")
    eventually(lambda: bed.pool.health().state == "ready", "the pool is well again by itself")
    assert bed.make(f"a gong before it was {mode}").metadata.cached  # the very one of before


def test_who_waits_for_a_sound_on_its_way_keeps_nobody_else_waiting(bed: Bed) -> None:
    bed.away("a far away bell")
    bed.make("a bell that is here")
    bed.server.proxy.set("hold")
    waiting = bed.pool.submit("a far away bell", duration_s=0.5)
    for _ in range(20):
        assert bed.make("a bell that is here").metadata.cached
    assert not waiting.done()
    bed.server.proxy.set("pass")
    assert waiting.result(60).metadata.cached
