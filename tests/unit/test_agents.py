"""What agents may ask for, before any protocol: names of files, addresses, progress, the listed tools."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from audio_pool.agents.addresses import MEDIA_TYPES, sound_in, sound_uri
from audio_pool.agents.catalogue import LISTED
from audio_pool.agents.output_folder import OutputFolder, stem_and_format
from audio_pool.agents.progress_notes import ProgressNotes
from audio_pool.errors import InvalidRequest, NotFound, StorageError
from audio_pool.results import Accepted, Event, Progress


@pytest.mark.parametrize(
    ("file_name", "form", "meant"),
    [
        (None, None, ("rain_on_tin", "wav")),
        (None, "ogg", ("rain_on_tin", "ogg")),
        ("boss", None, ("boss", "wav")),
        ("boss.OGG", None, ("boss", "ogg")),
        ("boss.mp3", "mp3", ("boss", "mp3")),
        ("level 1.2", "flac", ("level 1.2", "flac")),
    ],
)
def test_a_file_has_the_ending_of_what_is_in_it(file_name, form, meant) -> None:
    assert stem_and_format("Rain on tin!", file_name, form) == meant


@pytest.mark.parametrize(
    ("file_name", "form"),
    [("boss.mp3", "wav"), ("boss.aiff", None), ("../boss", None), ("a/b.wav", None), (".boss", None), ("a\0", None),
     ("..", None), ("a\\b", None), ("é" * 101, None)],
)  # fmt: skip
def test_a_name_that_would_lie_or_leave_the_folder_is_refused(file_name, form) -> None:
    with pytest.raises(InvalidRequest, match=r"file_name: given .*(allowed|agree)"):
        stem_and_format("rain", file_name, form)


def test_no_file_is_ever_replaced(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path / "new")
    paths = [folder.write("rain", "wav", data) for data in (b"one", b"two")]
    assert [path.name for path in paths] == ["rain.wav", "rain_2.wav"]
    assert [path.read_bytes() for path in paths] == [b"one", b"two"]
    assert folder.read(paths[1].as_uri()) == (b"two", "audio/wav")


def test_nothing_but_sounds_of_the_folder_is_read(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path / "out")
    folder.write("rain", "wav", b"one")
    (tmp_path / "secret.wav").write_bytes(b"secret")
    (tmp_path / "out" / "notes.txt").write_bytes(b"secret")
    (tmp_path / "out" / "link.wav").symlink_to(tmp_path / "secret.wav")
    os.mkfifo(tmp_path / "out" / "pipe.wav")
    (tmp_path / "out" / "folder.wav").mkdir()
    inside = (tmp_path / "out").as_uri()
    for uri in (
        (tmp_path / "secret.wav").as_uri(), f"{inside}/../secret.wav", f"{inside}/%2e%2e/secret.wav",
        f"{inside}/notes.txt", f"{inside}/link.wav", f"{inside}/pipe.wav", f"{inside}/folder.wav", f"{inside}/none.wav",
        f"file://elsewhere{tmp_path}/out/rain.wav", "http://127.0.0.1/rain.wav", "", "audio-pool://sounds/x.wav",
        f"{inside}/rain%00.wav", f"{inside}/{'x' * 5000}.wav", "file://[",
    ):  # fmt: skip
        with pytest.raises(NotFound, match="no sound of this server"):
            folder.read(uri)


def test_a_folder_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError) as told:
        OutputFolder(tmp_path / "file").write("rain", "wav", b"one")
    assert "--output" in told.value.hint


def test_an_address_names_a_sound_and_its_format() -> None:
    assert sound_in(sound_uri(7, "ogg")) == (7, "ogg")
    for uri in ("audio-pool://sounds/0.wav", "audio-pool://sounds/7.exe", "audio-pool://sounds/7", "file:///7.wav"):
        assert sound_in(uri) is None


def notes_of(sounds: int, events: list[tuple[int, Event | None]]) -> list[tuple[float, float, str]]:
    told: list[tuple[float, float, str]] = []

    async def report(done: float, total: float, words: str) -> None:
        told.append((done, total, words))

    async def hear() -> None:
        notes = ProgressNotes(sounds, report)
        for number, event in events:
            await (notes.finished(number) if event is None else notes.heard(number, event))

    asyncio.run(hear())
    return told


def progress(stage: str, fraction: float) -> Event:
    return Event(request_id="r", type="progress", body=Progress(stage=stage, fraction=fraction))  # type: ignore[arg-type]


def test_progress_only_grows_whatever_happens_and_ends_with_all_of_it() -> None:
    once = [progress("generate", 0.3), progress("generate", 1.0), progress("master", 0.5)]
    taken = Event(request_id="r", type="accepted", body=Accepted(queue_position=2))
    events = [(number, event) for event in [taken, *once * 3] for number in (0, 1)]
    told = notes_of(2, [*events, (0, None), (1, None)])
    numbers = [done for done, _, _ in told]
    assert numbers == sorted(set(numbers)) and numbers[-1] == 2.0
    assert {total for _, total, _ in told} == {2.0}
    words = [one for _, _, one in told]
    assert words[0] == "sound 1 of 2: waits, 2 before it" and words[-1] == "2 of 2 sounds are there"
    assert "sound 1 of 2: generate" in words and "sound 2 of 2: master" in words


def test_one_sound_is_told_without_a_number() -> None:
    told = notes_of(1, [(0, progress("generate", 0.5)), (0, None)])
    assert told == [(0.45, 1.0, "generate"), (1.0, 1.0, "the sound is there")]


@pytest.mark.parametrize("name", LISTED)
def test_every_argument_is_an_object_of_described_fields(name: str) -> None:
    listed = LISTED[name]
    schema = listed.takes_schema
    assert schema["type"] == "object" and schema["additionalProperties"] is False
    assert listed.answers_schema["type"] == "object"
    nulls = [field for field, one in schema["properties"].items() if "anyOf" in one]
    assert not nulls, "clients of agents know no unions"
    plain = {field for field, one in schema["properties"].items() if "description" not in one}
    assert plain <= {"shortest_seconds", "longest_seconds"}


def test_formats_are_those_with_a_media_type() -> None:
    assert set(LISTED["save_sound"].takes_schema["properties"]["format"]["enum"]) == set(MEDIA_TYPES)
