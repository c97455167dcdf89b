"""A pack: the same sounds give the same bytes, names tell them apart, and the manifest says what they are."""

from __future__ import annotations

import gc
import io
import json
import zipfile
from typing import Any

from audio_pool.packs.archive import MANIFEST, Archive
from audio_pool.reports import LoopReport
from audio_pool.results import SoundMetadata


def told(prompt: str, **changes: Any) -> SoundMetadata:
    made_by = dict.fromkeys(("engine", "implementation", "model"), "procedural")
    known = {**made_by, "format": "wav", "base_seed": 7}
    return SoundMetadata(prompt=prompt, duration_s=2.0, sample_rate=44_100, channels=2, **{**known, **changes})


def packed(*sounds: tuple[bytes, SoundMetadata]) -> bytes:
    archive = Archive("harbour")
    parts = [archive.add(data, metadata, sha256="ab", tags=("boss",)) for data, metadata in sounds]
    return b"".join([*parts, archive.finish((9,))])


def test_the_archive_is_whole_and_the_same_bytes_each_time() -> None:
    sounds = [(b"1" * 100_000, told("rain")), (b"22", told("Rain!")), (b"", told("a dog"))]
    first = packed(*sounds)
    assert first == packed(*sounds)
    with zipfile.ZipFile(io.BytesIO(first)) as opened:
        assert opened.testzip() is None
        assert opened.namelist() == ["rain.wav", "rain_02.wav", "a_dog.wav", MANIFEST]
        assert opened.read("rain.wav") == b"1" * 100_000 and opened.read("rain_02.wav") == b"22"
        assert not any(info.flag_bits & 0x08 for info in opened.infolist()), "readers of streams know each size"


def test_no_two_files_have_a_name_and_none_has_one_that_windows_keeps_for_itself() -> None:
    prompts = ("rain 02", "rain", "RAIN", "con", "?!", "../../etc")
    with zipfile.ZipFile(io.BytesIO(packed(*((b"x", told(one)) for one in prompts)))) as opened:
        names = [name for name in opened.namelist() if name != MANIFEST]
    assert names == ["rain_02.wav", "rain.wav", "rain_03.wav", "con_sound.wav", "sound.wav", "etc.wav"]


def test_the_manifest_says_what_each_sound_is_and_how_it_came_to_be() -> None:
    loop = told("rain", is_loop=True, loop=LoopReport(seam_score=97.0), loudness_lufs=-23.0, true_peak_dbfs=-1.5)
    flux = {"engine": "flux", "implementation": "tangoflux", "model": "a/b", "licence": "CC-BY-4.0"}
    lossy = told("hail", is_loop=True, format="ogg", **flux)
    labelled = told("a bell", labels={"category": "BELLS", "game": "harbour"}, commercial_use=True)
    with zipfile.ZipFile(io.BytesIO(packed((b"a", loop), (b"b", lossy), (b"c", labelled)))) as opened:
        pack = json.loads(opened.read(MANIFEST))
    assert (pack["name"], pack["version"], pack["missing"]) == ("harbour", "1.0.0", [9])
    assert pack["licences"]["flux"] == {"licence": "CC-BY-4.0", "commercial_use": False}
    rain, hail, bell = pack["items"]
    assert rain["files"] == ["rain.wav"] and rain["frames"] == 88_200 and rain["rate"] == 44_100
    assert rain["loop"] == {"start": 0, "end": 88_200, "exact": True, "seam_score": 97.0}
    assert (rain["lufs"], rain["dbtp"], rain["tags"]) == (-23.0, -1.5, ["boss"])
    assert rain["recipe"] == {"prompt": "rain", "engine": "procedural", "seed": 7, "loop": True, "candidates": 1}
    assert rain["provenance"]["digital_source_type"].endswith("/algorithmicMedia")
    assert hail["loop"]["exact"] is False
    assert hail["provenance"]["digital_source_type"].endswith("/trainedAlgorithmicMedia")
    assert bell["category"] == "BELLS" and bell["loop"] is None


def test_an_archive_that_is_given_up_goes_without_a_word() -> None:
    archive = Archive("harbour")
    archive.add(b"1" * 100, told("rain"), sha256="ab")
    around = [archive]
    around.append(around)  # type: ignore[arg-type]  # as when an answer breaks off: it is part of a circle
    del archive, around
    gc.collect()  # a complaint that nobody can catch is an error in tests
