"""A file of a stranger's: what it would become in memory is known, and bounded, before it is there."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_pool.audio import codec
from audio_pool.audio.codec import InputBound
from audio_pool.errors import AudioPoolError, InvalidAudio

RATE = 44_100
FRAMES_FIELD = 21
"""Where a FLAC's STREAMINFO has the last four bytes of its count of frames."""


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty minutes of silence: a third of a megabyte, 423 MB when decoded."""
    path = tmp_path_factory.mktemp("sounds") / "long.flac"
    soundfile.write(path, np.zeros(2400 * RATE, np.int16), RATE)
    assert path.stat().st_size < 400_000
    return path


def lying(path: Path, place: Path, frames: int) -> Path:
    """The same file with another count of frames in its header."""
    data = bytearray(path.read_bytes())
    data[FRAMES_FIELD] = data[FRAMES_FIELD] & 0xF0 | frames >> 32
    data[FRAMES_FIELD + 1 : FRAMES_FIELD + 5] = struct.pack(">I", frames & 0xFFFF_FFFF)
    lie = place / "lie.flac"
    lie.write_bytes(data)
    return lie


def peak_mb_of_refusal(path: Path, bound: InputBound, words: str) -> float:
    tracemalloc.start()
    try:
        with pytest.raises(InvalidAudio, match=words):
            codec.read(path, bound)
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("bound", [InputBound(), codec.OWN])
def test_a_header_that_says_too_much_is_refused_before_a_sample_is_decoded(long: Path, bound: InputBound) -> None:
    assert peak_mb_of_refusal(long, bound, "2,400.0 s of sound, allowed are") < 1


def test_a_header_that_says_more_than_there_is_is_refused(long: Path, tmp_path: Path) -> None:
    assert peak_mb_of_refusal(lying(long, tmp_path, 2**36 - 1), InputBound(), "s of sound, allowed") < 1


def test_a_header_that_does_not_say_is_decoded_up_to_the_bound(long: Path, tmp_path: Path) -> None:
    silent = lying(long, tmp_path, 0)
    assert peak_mb_of_refusal(silent, InputBound(seconds=20.0), "s of sound, allowed are 20.0 s") < 10
    short = tmp_path / "short.flac"
    soundfile.write(short, np.full((70_000, 2), 0.25), RATE)
    audio, rate = codec.read(lying(short, tmp_path, 0), InputBound(seconds=20.0))
    assert audio.shape == (2, 70_000) and rate == RATE and np.allclose(audio, 0.25, atol=1e-3)


def test_many_channels_are_bounded_too(tmp_path: Path) -> None:
    wide = tmp_path / "wide.wav"
    soundfile.write(wide, np.zeros((8000, 250), np.int16), 8000)
    assert peak_mb_of_refusal(wide, InputBound(seconds=10.0), "250 channels") < 1
    assert codec.read(wide)[0].shape == (250, 8000)


def test_what_fits_the_bound_is_read(tmp_path: Path) -> None:
    path = tmp_path / "fits.wav"
    soundfile.write(path, np.zeros((RATE * 2, 2)), RATE)
    assert codec.read(path, InputBound(seconds=2.0))[0].shape == (2, RATE * 2)
    soundfile.write(path, np.zeros((RATE * 2 + 1, 2)), RATE)
    with pytest.raises(InvalidAudio, match=r"allowed are 2\.0 s"):
        codec.read(path, InputBound(seconds=2.0))


@pytest.mark.parametrize("size", [0, 1, 0x7FFF_FFFE, 0xFFFF_FFFE])
def test_chunks_behind_the_data_cost_no_memory_and_no_time(size: int, tmp_path: Path) -> None:
    path = tmp_path / "chunks.wav"
    soundfile.write(path, np.zeros(100), RATE)
    with path.open("r+b") as file:
        file.seek(0, 2)
        file.write((b"junk" + struct.pack("<I", size) + b"\0" * (size % 2 if size < 9 else 0)) * 20_000)
        file.truncate(1 << 31)  # sparse
        file.seek(4)
        file.write(struct.pack("<I", (1 << 31) - 8))
    tracemalloc.start()
    try:
        assert codec.inspect(path)["frames"] == 100
    except AudioPoolError:
        pass
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
