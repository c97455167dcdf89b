"""Large files that requests name: who asks for many waits for them alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.asker import Asker
from tests.support.served import Served
from tests.support.waiting import eventually

SIZE = 200 << 20
FILES = 12


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("server"), queue={"reading_files": FILES, "reading_bytes": 8 << 30}) as served:
        yield served.ready()


@pytest.fixture
def sparse(tmp_path: Path) -> str:
    path = tmp_path / "sparse.wav"
    with path.open("wb") as file:
        file.truncate(SIZE)
    return str(path)


def test_a_neighbour_is_served_while_many_large_files_are_read(server: Served, sparse: str) -> None:
    with Asker(server.endpoint) as flood, Asker(server.endpoint) as neighbour:
        for number in range(40):
            flood.generate(f"f{number}", f"tone {number}", init_audio=sparse)
        flood.ask("health")  # all have been taken in, or refused
        refused = [final for name, (final,) in flood.finals.items() if name.startswith("f")]
        assert {final["type"] for final in refused} == {"busy"} and len(refused) >= 40 - FILES
        assert "files of this client wait to be read" in refused[0]["error"]["message"]
        neighbour.generate("n", "tone of the neighbour")
        assert neighbour.final("n")["type"] == "result"
        while flood.socket.poll(0):
            flood.take()
        assert len(flood.finals) < 41, "the readers are not done"
        small = Path(sparse).with_name("small.wav")
        small.write_bytes(bytes(1000))
        neighbour.generate("small", "tone from a small file", init_audio=str(small))
        assert neighbour.final("small")["error"]["code"] == "bad_audio", "hashed, and then it is no sound"
        for number in range(40):  # the others are read in the end, and are no sounds
            flood.final(f"f{number}")


def test_the_deadline_holds_while_a_file_is_read_and_a_cancel_stops_it(server: Served, sparse: str) -> None:
    with Asker(server.endpoint) as ask:
        for number in range(FILES - 1):
            ask.generate(f"l{number}", f"tone {number}", init_audio=sparse, deadline_ms=40)
        ask.generate("c", "tone", init_audio=sparse)
        assert ask.ask("cancel", target="c")["cancelled"]
        assert ask.final("c")["type"] == "cancelled"
        kinds = [ask.final(f"l{number}")["type"] for number in range(FILES - 1)]
        assert kinds.count("expired") >= FILES // 2, kinds  # the first few may have been read in time
        expired = next(final for (final,) in ask.finals.values() if final["type"] == "expired")
        assert "init_audio" in expired["error"]["message"] or "deadline" in expired["error"]["message"]
        eventually(lambda: ask.ask("status")["requests"] == 0, "nothing is left")
        ask.generate("again", "tone once more")
        assert ask.final("again")["type"] == "result"
