"""Kept sounds of a running pool: searched, told, heard in any format, outlined, marked and removed."""

from __future__ import annotations

import asyncio
import hashlib
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_pool import AsyncAudioClient, AudioClient, AudioPool
from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.config import load_config
from audio_pool.errors import InvalidRequest, NotFound, NotSupported
from audio_pool.library import SoundFile


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AudioPool]:
    place = tmp_path_factory.mktemp("library")
    cache = {"dir": str(place / "cache"), "encoder": "off", "delivered_grace_s": 0.0}
    server = {"bind": f"ipc://{place}/s"}
    config = load_config(None, overrides={"cache": cache, "server": server, "defaults": {"duration_s": 0.5}})
    with AudioPool(config, serve=True) as running:
        yield running


@pytest.fixture(scope="module")
def client(pool: AudioPool) -> Iterator[AudioClient]:
    with AudioClient(pool.endpoint) as connected:
        yield connected


def kept(pool: AudioPool, prompt: str, **fields: object) -> int:
    entry = pool.generate(prompt, **fields).metadata.entry_id
    assert entry is not None
    return entry


@pytest.fixture(scope="module")
def bell(pool: AudioPool) -> int:
    return kept(pool, "a bell rings", tags=["metal"])


def test_a_sound_is_found_told_marked_and_removed(pool: AudioPool, client: AudioClient, bell: int) -> None:
    for api in (client, pool):
        (found,) = api.library.search("bells", tags=["metal"]).sounds
        assert (found.id, found.prompt, found.tags, found.rating) == (bell, "a bell rings", ("metal",), None)
        told = api.library.sound(bell)
        assert told.metadata and told.metadata.entry_id == bell and told.metadata.engine == "procedural"
    marked = client.library.mark(bell, rating=4, add_tags=["boss"], favourite=True, pinned=True)
    assert (marked.rating, marked.tags, marked.favourite, marked.pinned) == (4, ("boss", "metal"), True, True)
    assert [one.id for one in pool.library.search(min_rating=4, pinned=True).sounds] == [bell]
    pool.library.mark(bell, rating=0, remove_tags=["boss"], favourite=False, pinned=False)
    assert client.library.search(min_rating=1).sounds == ()
    entry = kept(pool, "a door slams")
    assert client.library.remove(entry).entry == entry
    for api in (client, pool):
        with pytest.raises(NotFound, match=f"no entry {entry}"):
            api.library.sound(entry)
        with pytest.raises(NotFound):
            api.library.remove(entry)
    again = pool.generate("a door slams").metadata
    assert again.cache_type == "new_generation"
    with pytest.raises(NotSupported, match="encoder"):
        client.library.search(meaning="something metallic")


def test_a_file_comes_in_any_format_written_once(pool: AudioPool, client: AudioClient, bell: int) -> None:
    master = client.library.file(bell)
    assert master.path and master.path.endswith(".flac")
    assert hashlib.sha256(Path(master.path).read_bytes()).hexdigest() == master.sha256
    found: list[SoundFile] = []
    before = sum(worker.tasks_done for worker in pool.status().workers.values())
    askers = [threading.Thread(target=lambda: found.append(pool.library.file(bell, format="ogg"))) for _ in range(4)]
    for one in askers:
        one.start()
    for one in askers:
        one.join()
    assert len({one.path for one in found}) == 1 and len(found) == 4
    done = sum(worker.tasks_done for worker in pool.status().workers.values())
    assert done == before + 1, "four asked, one was written"
    inline = client.library.file(bell, format="ogg", delivery="inline")
    assert isinstance(inline.data, bytes) and inline.path is None
    assert hashlib.sha256(inline.data).hexdigest() == inline.sha256 == found[0].sha256
    data, rate = soundfile.read(io.BytesIO(inline.data))
    assert abs(len(data) / rate - 0.5) < 0.01 and inline.metadata.format == "ogg"
    low = client.library.file(bell, format="wav", sample_rate=22_050, target_lufs=-40.0, delivery="inline")
    assert isinstance(low.data, bytes)
    assert soundfile.info(io.BytesIO(low.data)).samplerate == 22_050 and low.metadata.loudness_lufs == -40.0
    hit = pool.generate("a bell rings", format="ogg").metadata
    assert hit.cached, "it was no new sound"
    for bad in ({"format": "aac"}, {"format": "flac", "bit_depth": 32}, {"format": "wav", "bit_rate": 128}):
        for api in (client, pool):
            with pytest.raises(InvalidRequest):
                api.library.file(bell, **bad)


def test_an_outline_is_that_of_the_sound(pool: AudioPool, client: AudioClient, bell: int) -> None:
    path = client.library.file(bell).path
    assert path
    audio = soundfile.read(path, always_2d=True)[0]
    wave = client.library.waveform(bell, buckets=100)
    assert wave == pool.library.waveform(bell, buckets=100)
    assert (wave.version, wave.bits, wave.channels, wave.sample_rate) == (2, 16, audio.shape[1], 44_100)
    assert wave.length <= 100 and len(wave.data) == wave.length * wave.channels * 2
    data = np.array(wave.data).reshape(wave.length, wave.channels, 2) / 32768
    assert np.allclose(data[:, :, 1].max(axis=0), audio.max(axis=0), atol=1e-4)
    assert np.allclose(data[:, :, 0].min(axis=0), audio.min(axis=0), atol=1e-4)
    with AudioSemanticCache(pool.config.cache_dir) as manager:
        assert manager.verify()["ok"]
    with pytest.raises(InvalidRequest, match="buckets"):
        client.library.waveform(bell, buckets=5000)


def test_another_namespaces_sound_is_not_there(pool: AudioPool, client: AudioClient, bell: int) -> None:
    entry = kept(pool, "waves in the harbour", namespace="harbour")
    for library in (client.library, pool.library):
        for ask in (library.sound, library.file, library.waveform, library.remove, library.mark):
            with pytest.raises(NotFound, match=f"'default' has no entry {entry}"):
                ask(entry)
        assert entry not in [one.id for one in library.search().sounds]
        assert [one.id for one in library.search("waves", namespace="harbour").sounds] == [entry]
        assert library.file(entry, namespace="harbour").path


def test_the_awaiting_client_asks_the_same(pool: AudioPool, bell: int) -> None:
    async def asked() -> None:
        async with AsyncAudioClient(pool.endpoint) as client:
            assert (await client.library.search("bell")).sounds[0].id == bell
            assert (await client.library.sound(bell)).id == bell
            assert (await client.library.file(bell, delivery="inline")).data
            assert (await client.library.waveform(bell, buckets=10)).length <= 10
            assert (await client.library.mark(bell, rating=2)).rating == 2
            with pytest.raises(NotFound):
                await client.library.remove(99_999)

    asyncio.run(asked())


def test_many_are_changed_and_looked_after_by_whoever_asks(pool: AudioPool, client: AudioClient) -> None:
    first, second = kept(pool, "a coin falls"), kept(pool, "a coin falls down some stairs")
    for library in (client.library, pool.library):
        done = library.mark_many([first, second, 10**9], rating=3)
        assert done.changed == (first, second) and [one.id for one in done.failed] == [10**9]
        plan = library.eviction(limit=200)
        assert {first, second} <= {one.sound.id for one in plan.next} and plan.held_items >= 2
        assert library.duplicates(by="prompt", limit=5).found == 0
    assert {one.id for one in pool.library.search(min_rating=3).sounds} >= {first, second}
    assert client.library.remove_many([first]).changed == (first,)
    assert pool.library.remove_many([first, second]).changed == (second,)

    async def all_of_it() -> None:
        async with AsyncAudioClient(pool.endpoint) as connected:
            assert (await connected.library.mark_many([first], rating=1)).failed[0].error.code == "not_found"
            assert (await connected.library.remove_many([first], spare_pinned=True)).changed == ()
            assert (await connected.library.eviction(1)).held_items >= 0
            assert (await connected.library.duplicates()).found == 0

    asyncio.run(all_of_it())
    for wrong in ([], [0], [1] * 1001):
        with pytest.raises(InvalidRequest, match="entries"):
            client.library.remove_many(wrong)
