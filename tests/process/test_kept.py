"""A kept sound is handed out without a pool, and is what a pool would have answered."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from msgspec import structs
from tests.support.bench_pool import bench_package, bench_worker, settings
from tests.support.waiting import PATIENCE_S

from audio_pool import AudioPool
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.cli.pools import started
from audio_pool.config import Config, load_config
from audio_pool.errors import CallerError, StorageError
from audio_pool.pool.kept import kept_sound
from audio_pool.reports import Timings
from audio_pool.results import AudioResult
from audio_pool.types import AudioRequest

WORDS = "rain on a tin roof"
SAME = "The sound of the rain on the tin roof."
ASKED: list[dict[str, Any]] = [
    {"prompt": WORDS},
    {"prompt": SAME},
    {"prompt": WORDS, "format": "flac"},
    {"prompt": WORDS, "variant": 1},
    {"prompt": WORDS, "metadata": {"scene": 3}, "tags": ["wet"]},
]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    place = tmp_path_factory.mktemp("kept")
    return load_config({"cache": {"dir": str(place / "cache"), "encoder": "off"}}, environment={})


@pytest.fixture(scope="module")
def told(config: Config) -> Iterator[list[AudioResult]]:
    """What a pool answers, once it has made the sound."""
    with AudioPool(config) as pool:
        pool.generate(WORDS, duration_s=0.5, timeout_s=PATIENCE_S)
        pool.generate(WORDS, duration_s=0.5, format="flac", timeout_s=PATIENCE_S)
        yield [pool.generate(**fields, duration_s=0.5, timeout_s=PATIENCE_S) for fields in ASKED]


def asked(**fields: Any) -> AudioRequest:
    return AudioRequest(**{"prompt": WORDS, "duration_s": 0.5, **fields})


def test_it_is_what_a_pool_answers(config: Config, told: list[AudioResult]) -> None:
    for fields, pools in zip(ASKED, told, strict=True):
        ours = kept_sound(config, asked(**fields))
        assert ours is not None and ours.path == pools.path, fields
        plain = [
            structs.replace(one.metadata, request_id="", timings_ms=Timings(), cache_age_seconds=0.0)
            for one in (ours, pools)
        ]
        assert plain[0] == plain[1], fields
        assert ours.metadata.timings_ms.total > 0 and ours.request_id == ours.metadata.request_id


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "a dog barks"},
        {"prompt": "a tin roof that is rained on"},
        {"force": True},
        {"format": "mp3"},
        {"duration_s": 3.0},
        {"seed": 12},
        {"delivery": "inline"},
        {"init_audio": "/there.wav"},
        {"engine": "kind:effects"},
        {"shuffle": True},
        {"prefetch": 2},
    ],
    ids=str,
)
def test_what_needs_a_pool_is_left_to_one(config: Config, told: list[AudioResult], fields: dict[str, Any]) -> None:
    assert kept_sound(config, asked(**fields)) is None


def test_what_a_pool_refuses_is_refused(config: Config, told: list[AudioResult]) -> None:
    for wrong in ({"engine": "nobody"}, {"options": {"nothing": 1}}, {"output_path": "x.wav"}):
        with pytest.raises(CallerError):
            kept_sound(config, asked(**wrong))


def test_where_nothing_is_kept_nothing_is_made(tmp_path: Path) -> None:
    nowhere = load_config({"cache": {"dir": str(tmp_path / "cache"), "encoder": "off"}}, environment={})
    assert kept_sound(nowhere, asked()) is None
    assert not (tmp_path / "cache").exists()
    off = load_config({"cache": {"enabled": False}}, environment={})
    assert kept_sound(off, asked()) is None


def test_it_is_copied_where_it_is_wanted_and_counted(config: Config, told: list[AudioResult], tmp_path: Path) -> None:
    def hits() -> int:
        store = SqliteStore(config.cache_dir, create=False)
        try:
            return sum(one.answers for one in store.uses.answers() if one.stage == "exact")
        finally:
            store.close()

    before = hits()
    found = kept_sound(config, asked(output_path=str(tmp_path / "x.wav")))
    assert found is not None and found.path == str(tmp_path / "x.wav")
    assert (tmp_path / "x.wav").read_bytes() == Path(told[0].path).read_bytes()
    assert hits() == before + 1


def test_a_cache_in_trouble_is_said_for_a_pool_to_go_on_without_it(
    config: Config, told: list[AudioResult], tmp_path: Path
) -> None:
    broken = tmp_path / "cache"
    broken.mkdir()
    (broken / "cache.sqlite3").write_bytes(b"no database " * 100)
    with pytest.raises(StorageError):
        kept_sound(load_config({"cache": {"dir": str(broken), "encoder": "off"}}, environment={}), asked())


def test_an_engine_that_a_workers_own_interpreter_alone_knows_is_left_to_a_pool_that_has_asked_it(
    tmp_path: Path,
) -> None:
    config = load_config(settings(tmp_path, [bench_worker(bench_package(tmp_path / "package"))]), environment={})
    assert kept_sound(config, asked()) is None
    with started(config, quiet=True, ready=False) as pool:
        assert pool.generate(WORDS, timeout_s=PATIENCE_S).metadata.engine == "bench"
    assert kept_sound(config, asked()) is None


@pytest.mark.parametrize("format", ["flac", "wav"])
def test_a_damaged_file_is_not_handed_out(
    config: Config, told: list[AudioResult], tmp_path: Path, format: Literal["flac", "wav"]
) -> None:
    """Its size and its beginning are right; a command has nobody to find out later."""
    copy = tmp_path / "cache"
    shutil.copytree(config.cache_dir, copy)
    there = load_config({"cache": {"dir": str(copy), "encoder": "off"}}, environment={})
    found = kept_sound(there, asked(format=format))
    assert found is not None
    file = Path(found.path)
    content = bytearray(file.read_bytes())
    content[-100] ^= 0xFF
    file.chmod(0o644)
    file.write_bytes(content)
    assert kept_sound(there, asked(format=format)) is None
