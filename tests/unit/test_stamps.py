"""The same sound and words are the same bytes, in every format, however often it is written."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import soundfile
from tests.support.audio_signals import RATE, pink, tone

from audio_pool.audio import codec, stamps
from audio_pool.audio.stamps import ogg_crc


@pytest.mark.parametrize(
    ("format", "depth"), [("wav", 16), ("wav", 24), ("wav", 32), ("flac", 24), ("ogg", 24), ("opus", 24), ("mp3", 24)]
)
def test_a_file_follows_from_its_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, depth: int
) -> None:
    rate = 48_000 if format == "opus" else RATE
    real, draws = stamps.steady, itertools.count(1)

    def another_time(path: Path, format: str) -> None:
        """As if the encoder had drawn another number, or the clock had gone on."""
        data = bytearray(path.read_bytes())
        at = -1
        while format in ("ogg", "opus") and (at := data.find(b"OggS", at + 1)) >= 0:
            data[at + 14 : at + 18] = next(draws).to_bytes(4, "little")
        if (at := data.find(b"PEAK")) >= 0:
            data[at + 12 : at + 16] = next(draws).to_bytes(4, "little")
        path.write_bytes(data)
        real(path, format)

    monkeypatch.setattr(codec, "steady", another_time)
    files = []
    for number in range(2):
        path = tmp_path / f"{number}.{format}"
        codec.write(path, tone(rate // 2, rate=rate), rate, format, depth, '{"made_by":"audio_pool"}', True)
        files.append(path.read_bytes())
        audio, _ = soundfile.read(path)  # still a file that another library reads to its end
        assert len(audio) >= rate // 2
    assert files[0] == files[1]


def test_other_sounds_are_streams_of_other_numbers(tmp_path: Path) -> None:
    numbers = set()
    for seed in range(3):
        path = tmp_path / f"{seed}.ogg"
        codec.write(path, pink(RATE, seed=seed), RATE, "ogg", 24, "", False)
        numbers.add(path.read_bytes()[14:18])
    assert len(numbers) == 3


def test_the_checksum_is_that_of_the_standard() -> None:
    # by the definition: shift left, subtract the polynomial
    page = bytes(range(256)) * 3
    register = 0
    for byte in page:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1) ^ (0x04C11DB7 if register & 0x8000_0000 else 0)
            register &= 0xFFFF_FFFF
    assert ogg_crc(page) == register
