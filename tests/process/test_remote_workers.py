"""Workers that share neither memory nor a disk with their server: every kind of task, and their deaths.

They are processes of this machine that are treated as if they were on another (``cluster.launcher = "tcp"``).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool import AudioClient
from audio_pool.craft import Loop
from audio_pool.errors import InvalidAudio

WORKERS = [
    {"name": "far", "engines": ["stage", "procedural"], "roles": ["generate"], "credit": 1},
    {"name": "near", "engines": ["second"], "roles": ["generate"], "local": True},
    {"name": "master", "engines": [], "roles": ["master"]},
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("server")
    limits = {"heartbeat_s": 0.5, "restart_backoff_s": 0.05}
    with Served(
        place,
        cluster={"launcher": "tcp", "link_mbit": 50.0},
        limits=limits,
        workers=WORKERS,
        env={"TMPDIR": str(place)},
    ) as served:
        yield served.ready()


@pytest.fixture
def client(server: Served) -> Iterator[AudioClient]:
    with AudioClient(server.endpoint, timeout_s=PATIENCE_S) as client:
        yield client


def folders(server: Served) -> list[Path]:
    """Of remote workers that have files in hand."""
    return [path for path in server.place.glob("audio_pool-remote-*/*/*") if path.is_dir()]


def test_a_sound_is_made_on_one_machine_and_finished_on_another(server: Served, client: AudioClient) -> None:
    far = client.generate("wind in a canyon", engine="procedural", duration_s=8.0, candidates=2, format="ogg")
    assert far.metadata.worker.id == "far" and far.path is not None
    assert soundfile.info(far.path).duration == pytest.approx(8.0, abs=0.01)
    assert soundfile.info(far.path).format == "OGG"
    near = client.generate("a tone", engine="second")
    assert near.metadata.worker.id == "near" and near.path is not None
    again = client.generate("wind in a canyon", engine="procedural", duration_s=8.0, candidates=2, format="flac")
    assert again.metadata.cached and again.path is not None
    assert soundfile.info(again.path).format == "FLAC"
    eventually(lambda: not folders(server), "what tasks had in hand is removed")


def test_it_is_the_very_sound_that_a_worker_of_this_machine_makes(server: Served, client: AudioClient) -> None:
    fields = {"seed": 7, "duration_s": 3.0, "format": "wav", "engine": "procedural", "force": True}
    far = client.generate("a stream", **fields)
    client.workers.add("here", like="far", local=True, credit=2, roles=["generate", "master"])
    eventually(lambda: client.status().workers["here"].state == "ready", "a local one is up")
    client.workers.drain("far")
    client.workers.drain("master")
    here = client.generate("a stream", **fields)
    client.workers.resume("far")
    client.workers.resume("master")
    client.workers.remove("here")
    assert (far.metadata.worker.id, here.metadata.worker.id) == ("far", "here")
    assert far.path is not None and here.path is not None
    assert np.array_equal(soundfile.read(far.path)[0], soundfile.read(here.path)[0])


def test_files_that_callers_name_or_send_are_read_and_those_made_lie_here(
    server: Served, client: AudioClient
) -> None:
    given = server.place / "given.wav"
    soundfile.write(given, 0.1 * np.random.default_rng(1).standard_normal(22_050), 22_050)
    out = server.place / "out.ogg"
    put = client.craft(Loop(crossfade_s=0.2), [given], output_path=out, format="ogg")
    assert put.path == str(out) and soundfile.info(out).format == "OGG"
    assert put.given[0].name == str(given)
    sent = client.craft(Loop(crossfade_s=0.2), sounds=[given.read_bytes()], delivery="inline", format="ogg")
    assert sent.given[0].name == "sound 1" and isinstance(sent.data, bytes)
    broken = server.place / "broken.wav"
    broken.write_bytes(b"RIFF nothing")
    with pytest.raises(InvalidAudio) as found:
        client.craft(Loop(), [broken], output_path=server.place / "none.ogg")
    assert str(broken) in str(found.value)
    changed = client.generate("rain", engine="procedural", init_audio=str(given), extend_s=0.5)
    assert changed.metadata.worker.id == "far" and changed.path is not None


def test_one_that_ends_gives_its_work_to_the_next(server: Served, client: AudioClient) -> None:
    before = client.status().workers
    asked = [client.submit(f"take 0.2 sound {number}", force=True) for number in range(6)]
    eventually(lambda: client.status().workers["far"].tasks, "it has something in hand")
    for name in ("far", "master"):
        os.kill(server.workers()[name].pid, signal.SIGKILL)
    for pending in asked:
        assert pending.result(PATIENCE_S).path is not None
    after = client.status().workers
    assert all(after[name].incarnation > before[name].incarnation for name in ("far", "master"))
