"""File names made of prompts."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_pool.errors import InvalidRequest
from audio_pool.packs.names import numbered_names, slug, write_unused


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("Rain on a tin roof!", "rain_on_a_tin_roof"),
        ("  a/b\\c: d\n", "a_b_c_d"),
        ("café", "café"),
        ("雨の音", "雨の音"),
        ("?!", "sound"),
        ("...", "sound"),
        ("x" * 100, "x" * 60),
    ],
)
def test_a_slug_is_the_words_of_the_prompt(prompt: str, name: str) -> None:
    assert slug(prompt) == name


@given(st.text(max_size=300))
def test_a_slug_is_a_plain_file_name(prompt: str) -> None:
    name = slug(prompt)
    assert name
    assert len(name.encode()) <= 180
    assert name == Path(name).name
    assert name.strip("_.") == name


def test_names_are_numbered_by_the_pattern() -> None:
    assert numbered_names("{slug}_{nn}", "Rain!", 3) == ["rain_01", "rain_02", "rain_03"]
    assert numbered_names("step{n}", "rain", 2) == ["step1", "step2"]
    assert numbered_names("one", "rain", 1) == ["one"]


@pytest.mark.parametrize(
    ("pattern", "count", "told"),
    [
        ("{slug}_{seed}", 2, "{seed}"),
        ("{slug}", 2, "need a number"),
        ("a/{n}", 2, "without '/'"),
        ("", 1, "a file name"),
        ("..", 1, "a file name"),
    ],
)
def test_a_pattern_that_gives_no_names_is_refused(pattern: str, count: int, told: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        numbered_names(pattern, "rain", count)
    assert told in refused.value.message


def test_a_file_that_is_there_is_never_touched(tmp_path: Path) -> None:
    place = tmp_path / "new" / "place"
    written = [write_unused(place, "rain", ".wav", io.BytesIO(word)) for word in (b"one", b"two", b"three")]
    assert [path.name for path in written] == ["rain.wav", "rain_2.wav", "rain_3.wav"]
    assert [path.read_bytes() for path in written] == [b"one", b"two", b"three"]


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_the_mode_follows_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        path = write_unused(tmp_path, "rain", ".wav", io.BytesIO(b"x"))
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_half_a_file_is_not_left(tmp_path: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        write_unused(tmp_path, "rain", ".wav", Broken())
    assert list(tmp_path.iterdir()) == []
