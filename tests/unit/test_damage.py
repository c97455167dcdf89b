"""What is wrong with a model's file, as far as it can be told without its libraries."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from audio_pool.models.damage import damage_of


@pytest.mark.parametrize("offset", ["1e400", "NaN", '"x"', "null", "[1]"])
def test_a_header_that_says_no_length_cannot_be_read(tmp_path: Path, offset: str) -> None:
    header = f'{{"a":{{"data_offsets":[0,{offset}]}}}}'.encode()
    file = tmp_path / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header)
    assert "its header cannot be read" in str(damage_of(file))


def test_a_header_as_large_as_its_file_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(struct.pack("<Q", 10**12) + b"{")
    os.truncate(file, 10**12 + 8)  # holes: it takes no room
    assert damage_of(file) == "is not safetensors: 1,000,000,000,000 bytes of header, at most 100,000,000 are allowed"
