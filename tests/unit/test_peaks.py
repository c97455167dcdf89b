"""A sound's outline: its buckets hold what is in it, fewer of them say the same, and the file is audiowaveform's."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from audio_pool.audio.peaks import decode, encode, fewer, outline_of
from audio_pool.errors import InvalidAudio

RATE = 48_000


def noise(frames: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (2, frames)).astype(np.float32)


def test_every_bucket_has_the_least_and_the_greatest_of_its_frames() -> None:
    audio = noise(10_000)
    outline = outline_of(audio, RATE, 64)
    assert outline.frames_each == 157 and outline.data.shape == (64, 2, 2)
    for bucket, part in enumerate(np.split(audio, range(157, 10_000, 157), axis=1)):
        whole = np.clip(np.round(part * 32768), -32768, 32767)
        assert (outline.data[bucket, :, 0] == whole.min(axis=1)).all()
        assert (outline.data[bucket, :, 1] == whole.max(axis=1)).all()


@pytest.mark.parametrize("frames", [1, 63, 64, 65, 1000])
def test_there_are_never_more_than_asked_for_nor_than_frames(frames: int) -> None:
    outline = outline_of(noise(frames), RATE, 64)
    assert len(outline.data) <= min(64, frames)
    assert (len(outline.data) - 1) * outline.frames_each < frames <= len(outline.data) * outline.frames_each


@pytest.mark.parametrize("buckets", [1, 3, 100, 512, 4096])
def test_fewer_buckets_are_those_that_the_sound_itself_would_give(buckets: int) -> None:
    audio = noise(50_000)
    less = fewer(outline_of(audio, RATE, 4096), buckets)
    assert len(less.data) <= buckets
    again = outline_of(audio, RATE, len(less.data))
    if again.frames_each == less.frames_each:
        assert (again.data == less.data).all()
    assert less.data[:, :, 0].min() == again.data[:, :, 0].min()
    assert less.data[:, :, 1].max() == again.data[:, :, 1].max()


def test_the_file_is_what_audiowaveform_reads() -> None:
    audio = np.array([[0.0, 0.5, -0.25, 1.5]], np.float32)
    data = encode(outline_of(audio, RATE, 2))
    assert struct.unpack("<iIiiIi4h", data) == (2, 0, RATE, 2, 2, 1, 0, 16384, -8192, 32767)
    assert (decode(data).data == outline_of(audio, RATE, 2).data).all()
    for torn in (b"", data[:-1], data + b"x", b"\x01" + data[1:]):
        with pytest.raises(InvalidAudio):
            decode(torn)
