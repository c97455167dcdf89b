"""What a signed file states, and which files can hold a statement; without the library that signs."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from audio_pool.errors import EngineUnavailable, InvalidAudio
from audio_pool.signing import library
from audio_pool.signing.embedded import embedded_manifest
from audio_pool.signing.manifest_report import read_manifest
from audio_pool.signing.statement import label_of, statement
from audio_pool.types import Rendition

FLAC = Rendition(format="flac", sample_rate=48_000, bit_depth=24, target_lufs=-23.0, true_peak_dbfs=-2.0)


def actions(**given: Any) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = statement(version="1", label="x", **given)["assertions"][0]["data"]["actions"]
    return told


def test_a_label_follows_from_the_sound_and_how_it_is_written() -> None:
    label = label_of("rain", "tangoflux", 7, 1_764_000_000.25, FLAC)
    assert label == label_of("rain", "tangoflux", 7, 1_764_000_000.25, FLAC)
    assert label.startswith("urn:c2pa:") and label[23] == "4", "a UUID of version 4"
    others = {
        label_of("hail", "tangoflux", 7, 1_764_000_000.25, FLAC),
        label_of("rain", "audioldm", 7, 1_764_000_000.25, FLAC),
        label_of("rain", "tangoflux", 8, 1_764_000_000.25, FLAC),
        label_of("rain", "tangoflux", 7, 1_764_000_000.5, FLAC),
        label_of("rain", "tangoflux", 7, 1_764_000_000.25, Rendition(**{**as_dict(FLAC), "format": "wav"})),
    }
    assert len(others) == 5 and label not in others


def as_dict(rendition: Rendition) -> dict[str, Any]:
    return {name: getattr(rendition, name) for name in rendition.__struct_fields__}


def test_how_a_sound_came_to_be_is_stated_in_the_words_of_iptc() -> None:
    built_in = {"engine": "procedural", "model": "procedural", "recipe": {"implementation": "procedural"}}
    (made,) = actions(facts=built_in)
    assert made["action"] == "c2pa.created" and made["digitalSourceType"].endswith("/algorithmicMedia")
    assert made["softwareAgent"] == {"name": "procedural"} and "when" not in made
    opened, edited = actions(facts=built_in, given=["g"])
    assert opened == {"action": "c2pa.opened", "parameters": {"ingredientIds": ["g"]}}
    assert edited["digitalSourceType"].endswith("/compositeSynthetic")
    opened, written = actions(facts={"engine": "imported", "recipe": {"implementation": "imported"}}, given=["g"])
    assert (opened["action"], written["action"]) == ("c2pa.opened", "c2pa.transcoded")
    opened, written = actions(facts={}, given=["g"], deed="looped")
    assert (opened["action"], written["action"]) == ("c2pa.opened", "c2pa.edited")
    first, *placed = actions(facts={}, given=["a", "b"], deed="sequenced")
    assert first["digitalSourceType"].endswith("/composite")
    assert [one["parameters"]["ingredientIds"] for one in placed] == [["a"], ["b"]]
    tagged = {"digital_source_type": "http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic"}
    assert actions(facts=tagged, given=["a"], deed="mixed")[0]["digitalSourceType"] == tagged["digital_source_type"]
    assert actions(facts={"digital_source_type": "mine"}, deed="mixed")[0]["digitalSourceType"].endswith("/composite")


def test_a_statement_says_no_folder_of_this_machine() -> None:
    told = statement({"engine": "mine", "model": "/home/me/models/x/"}, version="1", label="x")
    assert "/home" not in str(told)
    assert told["title"] == "sound"


def wav(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for name, data in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def id3(body: bytes) -> bytes:
    size = len(body)
    return b"ID3\x04\0\0" + bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0)) + body


def test_which_files_carry_a_manifest_is_told_from_their_structure(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def found(data: bytes) -> tuple[str, int] | None:
        path.write_bytes(data)
        one = embedded_manifest(path)
        return None if one is None else (one.media_type, one.size_bytes)

    assert found(b"") is None and found(b"OggS" * 8) is None and found(b"fLaC" * 8) is None
    assert found(wav((b"fmt ", bytes(16)), (b"data", bytes(7)))) is None
    assert found(wav((b"data", bytes(7)), (b"C2PA", b"abc"))) == ("audio/wav", 3)
    assert found(wav((b"data", b"C2PA....C2PA"))) is None, "samples are no chunks"
    mark = id3(b"GEOB....application/c2pa\0c2pa\0")
    assert found(mark + b"\xff\xfb") == ("audio/mpeg", len(mark))
    assert found(mark + b"fLaC") == ("audio/flac", len(mark))
    assert found(id3(b"TIT2....application/c2pas\0") + b"\xff\xfb") is None
    assert found(b"ID3\x04") is None


def test_a_manifest_is_read_by_its_library_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "c2pa", None)
    path = tmp_path / "signed.wav"
    path.write_bytes(wav((b"data", bytes(8)), (b"C2PA", b"abc")))
    with pytest.raises(EngineUnavailable, match="reading a manifest needs c2pa-python: not installed"):
        read_manifest(path)
    path.write_bytes(wav((b"data", bytes(8))) + b"C2PA" + struct.pack("<I", 1 << 31))
    with pytest.raises(InvalidAudio, match=r"has 2,147,483,648 bytes, read are at most 8,388,608"):
        read_manifest(path)
    assert library.INSTALL == "pip install 'audio-pool[c2pa]'"


def test_a_signed_flac_is_read_as_any_other(tmp_path: Path) -> None:
    """Its tag stands before everything: loop points, and what the cache knows FLAC files by, come behind it."""
    import numpy as np

    from audio_pool.audio import codec
    from audio_pool.cache.noted import samples_of

    path = tmp_path / "loop.flac"
    codec.write(path, np.zeros((1, 4800), np.float32), 48_000, "flac", 24, "{}", loop=True)
    md5 = samples_of(path)
    path.write_bytes(id3(b"GEOB....application/c2pa\0c2pa\0") + path.read_bytes())
    assert codec.inspect(path)["loop"] == {"start": 0, "end": 4799}
    assert samples_of(path) == md5 and len(md5) == 16


def test_a_block_of_ones_own_changes_nothing_else_of_a_flac(tmp_path: Path) -> None:
    import numpy as np

    from audio_pool.audio import codec
    from audio_pool.audio.flac_blocks import add_application, application_in

    path = tmp_path / "given.flac"
    audio = 0.1 * np.random.default_rng(1).standard_normal((2, 4800)).astype(np.float32)
    codec.write(path, audio, 48_000, "flac", 24, '{"made_by":"audio_pool"}', loop=True)
    before, sound = codec.inspect(path), codec.read(path)[0]
    assert application_in(path, b"mine") == b""
    add_application(path, b"mine", b"x" * 70_000)
    assert application_in(path, b"mine") == b"x" * 70_000 and application_in(path, b"your") == b""
    assert codec.inspect(path) == before and np.array_equal(codec.read(path)[0], sound)
    assert [one.name for one in tmp_path.iterdir()] == ["given.flac"]
    with pytest.raises(InvalidAudio, match=r"allowed are 16,777,211"):
        add_application(path, b"mine", bytes(1 << 24))
    (tmp_path / "none.flac").write_bytes(b"OggS" + bytes(40))
    with pytest.raises(InvalidAudio, match="not a FLAC file"):
        add_application(tmp_path / "none.flac", b"mine", b"")
