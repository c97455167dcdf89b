"""A master that was encoded before its comment was known is the file that the codec writes, byte for byte."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from audio_pool.audio import codec, master_file
from audio_pool.errors import InvalidAudio, StorageError
from audio_pool.worker.beside import Beside

NOISE = (0.3 * np.random.default_rng(5).standard_normal((2, 70_000))).astype(np.float32)


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("comment", ["", '{"prompt":"eine Tür fällt zu","seed":1}', "x" * 100_000])
def test_it_is_the_codecs_file(tmp_path: Path, comment: str, loop: bool) -> None:
    codec.write(tmp_path / "one.flac", NOISE, 44_100, "flac", 24, comment, loop)
    master_file.encode(NOISE, 44_100).write(tmp_path / "other.flac", comment, loop)
    assert (tmp_path / "one.flac").read_bytes() == (tmp_path / "other.flac").read_bytes()
    assert codec.inspect(tmp_path / "other.flac")["comment"] == comment


def test_what_is_no_sound_is_refused() -> None:
    for audio in (NOISE[:, :0], np.full((1, 100), np.nan, np.float32)):
        with pytest.raises(InvalidAudio):
            master_file.encode(audio, 44_100)


def test_a_folder_that_takes_no_file_is_told(tmp_path: Path) -> None:
    master = master_file.encode(NOISE, 44_100)
    with pytest.raises(StorageError, match="takes no file"):
        master.write(tmp_path / "missing" / "sound.flac", "", False)


def test_what_is_done_beside_gives_its_result_or_its_error_as_often_as_asked() -> None:
    here = threading.get_ident()
    done = Beside(threading.get_ident, "beside")
    assert done.result() == done.result() != here

    def fails() -> None:
        raise InvalidAudio("no sound")

    failed = Beside(fails, "beside")
    for _ in range(2):
        with pytest.raises(InvalidAudio, match="no sound"):
            failed.result()
