"""Every container tells in plain tags what the sound is, beside the recipe that they follow from."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from msgspec import structs
from tests.support.cache_sounds import recipe

from audio_pool import __version__
from audio_pool.audio import codec, id3_frames
from audio_pool.audio.tags import read_tags, write_comment
from audio_pool.audio.vorbis_comments import add_comments, read_comments
from audio_pool.craft import Convert, CraftForm, Loop, Mix
from audio_pool.errors import InvalidAudio
from audio_pool.inscription import comment_of, inscribed, sound_in
from audio_pool.plain_tags import NAMES, facts_in, plain_tags
from audio_pool.results import SoundMetadata
from audio_pool.source_type import digital_source_type, source_type_of_mix
from audio_pool.types import Inscription, Rendition
from audio_pool.worker.input_files import Given
from audio_pool.worker.lineage import lineage

NOISE = (0.1 * np.random.default_rng(3).standard_normal((2, 9_000))).astype(np.float32)
TERMS = "http://cv.iptc.org/newscodes/digitalsourcetype/"
MODEL = SoundMetadata(
    engine="effects", implementation="tangoflux", model="declare-lab/TangoFlux", model_revision="abc1", licence="MIT",
    prompt="rain", seed=9,
)  # fmt: skip
WRITTEN = Rendition(
    format="wav", sample_rate=44_100, bit_depth=16, target_lufs=-23.0, true_peak_dbfs=-2.0,
    inscription=Inscription(version=1, content_producer="Öko Sounds 声"),
)  # fmt: skip
CONTAINERS = ["wav", "flac", "ogg", "opus", "mp3"]


def comment(*, marked: bool = True, words: str = "rain on a tin roof", model: str = MODEL.model) -> str:
    made = recipe(prompt=words, seed=7, model=model)
    rendition = WRITTEN if marked else structs.replace(WRITTEN, inscription=Inscription(version=1))
    return comment_of(made, inscribed(made, structs.replace(MODEL, model=model), rendition), rendition, shared=True)


@pytest.mark.parametrize("format", CONTAINERS)
@pytest.mark.parametrize("words", ["rain", "雨 " * 10_000], ids=["short", "long"])
def test_every_container_has_the_tags_and_keeps_recipe_and_samples(tmp_path: Path, format: str, words: str) -> None:
    told = comment(words=words)
    assert (len(told) > 65_025) == (words != "rain"), "one is longer than a page of Ogg"
    path = tmp_path / f"a.{format}"
    codec.write(path, NOISE, 44_100, format, 16, told, True)
    codec.write(tmp_path / "plain", NOISE, 44_100, format, 16, "", True)
    found = codec.inspect(path)
    facts = json.loads(told)
    assert found["comment"] == told and found["recipe"] == facts
    wanted = {
        "SOFTWARE": f"audio_pool {__version__}", "ENGINE": "effects", "MODEL": "declare-lab/TangoFlux",
        "MODEL_REVISION": "abc1", "LICENSE": "MIT", "DIGITALSOURCETYPE": TERMS + "trainedAlgorithmicMedia",
        "RECIPE_ID": facts["recipe_id"],
    }  # fmt: skip
    if format == "wav":  # which has a field for both together, and recipe and revision in its comment
        wanted = {name: wanted[name] for name in ("SOFTWARE", "LICENSE", "DIGITALSOURCETYPE")}
        assert b"effects (declare-lab/TangoFlux@abc1)" in path.read_bytes()
    elif format == "mp3":
        assert found["tags"]["SOFTWARE"].startswith(wanted["SOFTWARE"])
        wanted["SOFTWARE"] = found["tags"]["SOFTWARE"]
    assert {name: value for name, value in found["tags"].items() if name != "AIGC"} == wanted
    marks = json.loads(found["tags"]["AIGC"])
    assert marks["Label"] == "1" and marks["ContentProducer"] == "Öko Sounds 声"
    assert marks["ProduceID"] == f"{facts['recipe_id']}-9" and set(marks) == {
        "Label", "ContentProducer", "ProduceID", "ReservedCode1", "ContentPropagator", "PropagateID", "ReservedCode2"
    }  # fmt: skip
    assert np.array_equal(codec.read(path)[0], codec.read(tmp_path / "plain")[0])
    assert (found["loop"] is not None) == (format in ("wav", "flac", "ogg"))


def test_the_key_aigc_is_there_by_option_only_and_never_of_what_nobody_here_made() -> None:
    assert "AIGC" not in plain_tags(comment(marked=False))
    made = recipe(implementation="imported")
    imported = inscribed(made, SoundMetadata(engine="imported", implementation="imported"), WRITTEN)
    told = plain_tags(comment_of(made, imported, WRITTEN))
    assert not told.keys() & {"AIGC", "DIGITALSOURCETYPE"} and told["SOFTWARE"] == "audio_pool"


def test_whoever_made_it_first_stays_named_when_it_is_written_anew() -> None:
    made = recipe(seed=7)
    first = inscribed(made, MODEL, WRITTEN)
    ours = structs.replace(WRITTEN, inscription=Inscription(version=1, content_producer="B", content_propagator="B"))
    for rendition in (ours, structs.replace(WRITTEN, inscription=None)):
        marks = json.loads(plain_tags(comment_of(made, first, rendition))["AIGC"])
        assert marks["ContentProducer"] == "Öko Sounds 声"
        assert marks["ContentPropagator"] == ("B" if rendition is ours else "")


def test_where_a_model_lies_stays_here_and_the_master_still_has_its_recipe() -> None:
    made = recipe(seed=7, model="/home/alice/models/mine")
    known = inscribed(made, structs.replace(MODEL, model=made.model), WRITTEN)
    assert not known.inscription, "its master's file is not what is delivered"
    shared, kept = comment_of(made, known, WRITTEN, shared=True), comment_of(made, known, WRITTEN)
    assert "alice" not in shared and json.loads(shared)["model"] == "mine"
    assert json.loads(shared)["recipe_id"] == made.identity()
    assert "alice" not in json.dumps(plain_tags(kept))
    found = sound_in(json.loads(kept), frames=1, sample_rate=8000)
    assert found is not None and found[0] == made


@pytest.mark.parametrize(
    ("comment", "tags"),
    [
        ("", {}),
        ("made by hand", {}),
        ('{"made_by":"somebody","engine":"x"}', {}),
        ("[" * 100_000, {}),
        ('{"a":' * 2_000 + "1" + "}" * 2_000, {}),
        (json.dumps({"made_by": "audio_pool", "engine": 3, "model": "a\x1b[2Jb\u202ec", "AIGC": "x"}),
         {"SOFTWARE": "audio_pool", "MODEL": "a [2Jb c"}),
        (json.dumps({"made_by": "audio_pool", "engine": "e" * 9_000}), {"SOFTWARE": "audio_pool", "ENGINE": "e" * 400}),
    ],
    ids=["none", "text", "another's", "deep", "deep and whole", "odd", "long"],
)  # fmt: skip
def test_what_anybody_may_have_written_is_harmless(comment: str, tags: dict[str, str]) -> None:
    assert plain_tags(comment) == tags


def test_terms_of_iptc() -> None:
    assert digital_source_type("procedural", "procedural") == TERMS + "algorithmicMedia"
    assert digital_source_type("bark", "org/bark", given=True) == TERMS + "compositeWithTrainedAlgorithmicMedia"
    assert digital_source_type("procedural", "procedural", given=True) == TERMS + "compositeSynthetic"
    assert digital_source_type("imported", "x") == ""
    assert source_type_of_mix([TERMS + "a", TERMS + "a"]) == TERMS + "a"
    assert source_type_of_mix([TERMS + "a", TERMS + "b"]) == TERMS + "compositeSynthetic"


def test_a_comment_is_exchanged_with_its_tags(tmp_path: Path) -> None:
    codec.write(tmp_path / "a.flac", NOISE, 44_100, "flac", 24, comment(), True)
    told = comment(marked=False, model="other/model")
    write_comment(tmp_path / "a.flac", tmp_path / "b.flac", told)
    found = codec.inspect(tmp_path / "b.flac")
    assert found["comment"] == told and found["tags"] == plain_tags(told) and found["loop"]
    assert len(read_comments(tmp_path / "b.flac", "flac")) == 3 + len(plain_tags(told))


def test_comments_over_several_pages_are_added_to_again(tmp_path: Path) -> None:
    path = tmp_path / "a.ogg"
    codec.write(path, NOISE, 44_100, "ogg", 16, "x", False)
    samples = soundfile.read(path)[0]
    for number in range(3):
        add_comments(path, "ogg", [b"BIG%d=" % number + b"y" * 70_000])
    tags = read_comments(path, "ogg")
    assert [tag[:5] for tag in tags[-3:]] == [b"BIG0=", b"BIG1=", b"BIG2="] and len(tags[-1]) == 70_005
    assert np.array_equal(soundfile.read(path)[0], samples)
    numbers, at, data = [], 0, path.read_bytes()
    while data[at : at + 4] == b"OggS":
        numbers.append(struct.unpack_from("<I", data, at + 18)[0])
        at += 27 + data[at + 26] + sum(data[at + 27 : at + 27 + data[at + 26]])
    assert numbers == list(range(len(numbers))) and at == len(data)


def test_an_mp3_says_what_encoded_it_behind_what_made_it_and_another_programs_tags_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    codec.write(path, NOISE, 44_100, "mp3", 16, comment(), False)
    id3_frames.add_tags(path, "x", {"SOFTWARE": "this"})
    assert id3_frames.read_tags(path)["SOFTWARE"] == f"this; audio_pool {__version__}"
    frame = b"\x03AIGC\0{}"
    body = b"TXXX" + len(frame).to_bytes(4, "big") + b"\0\0" + frame
    path.write_bytes(b"ID3\x04\0\0\0\0\0" + bytes([len(body)]) + body + b"TXXX")
    assert read_tags(path, "mp3") == {"AIGC": "{}"}
    path.write_bytes(b"ID3\x04\0\x80\0\0\0\0")
    with pytest.raises(InvalidAudio, match="flags"):
        id3_frames.add_tags(path, "", {"MODEL": "x"})


def test_a_comment_with_half_a_character_is_nobodys_and_one_with_whole_ones_is_read() -> None:
    """Half of a pair can be sent nowhere: one such file would end a look at a whole folder."""
    for text in ('{"recipe_id":"\\ud800"}', '{"a":[{"\\uDC00b":1}]}'):
        assert facts_in(text) is None
    assert facts_in('{"a":"\\ud83d\\ude00"}') == {"a": "\U0001f600"}
    assert facts_in('{"a":"\\\\ud800"}') == {"a": "\\ud800"}


def test_an_mp3s_comment_is_read_under_the_name_that_ffmpeg_gives_it(tmp_path: Path) -> None:
    """It writes no COMM: what it copies, or encodes from another format, has the comment in a TXXX frame."""
    path, told = tmp_path / "a.mp3", comment()
    codec.write(path, NOISE, 44_100, "mp3", 16, told, False)
    id3_frames.add_tags(path, "", {"comment": told}, instead=True)
    assert codec.inspect(path)["comment"] == told
    assert codec.inspect(path)["recipe"]["made_by"] == "audio_pool"


def test_of_two_recipes_in_a_wav_the_first_counts_and_cut_ones_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    codec.write(path, NOISE, 44_100, "wav", 16, comment(), False)
    first = codec.inspect(path)["comment"]
    with path.open("ab") as file:
        file.write(b"apRc" + struct.pack("<I", 2) + b"{}" + b"apRc" + struct.pack("<I", 900) + b"{")
    assert codec.inspect(path)["comment"] == first


# -- work on given files


def given(tmp_path: Path, name: str, told: str, format: str = "wav", **tags: str) -> Given:
    path = tmp_path / f"{name}.{format}"
    codec.write(path, NOISE, 44_100, format, 16, told, False)
    if tags:
        add_comments(path, format, [f"{key}={value}".encode() for key, value in tags.items()])
    return Given(audio=NOISE, facts=codec.inspect(path), sha256=name * 64)


def facts(*args: Any) -> dict[str, Any]:
    return facts_in(lineage(*args)) or {}


def test_work_on_a_made_file_keeps_all_that_it_said(tmp_path: Path) -> None:
    ours, other = given(tmp_path, "a", comment()), given(tmp_path, "b", comment(marked=False))
    again = facts(Convert(), CraftForm(format="ogg"), [ours])
    work = again.pop("work")
    assert again == json.loads(comment())
    assert work == [{"craft": {"kind": "convert"}, "form": {"format": "ogg"}, "given": "a" * 64}]
    turned = facts(Loop(crossfade_s=0.2), CraftForm(), [ours])
    assert turned["AIGC"] == json.loads(comment())["AIGC"] and turned["engine"] == "effects"
    assert turned["work"][0]["of"][0]["recipe_id"] == json.loads(comment())["recipe_id"]
    assert sound_in(turned, frames=1, sample_rate=8000) is None, "it is another sound now"
    assert plain_tags(json.dumps(turned))["DIGITALSOURCETYPE"] == TERMS + "trainedAlgorithmicMedia"
    foreign = given(tmp_path, "c", "field recording, 1974")
    mixed = facts(Mix(), CraftForm(), [foreign, other])
    assert mixed["digital_source_type"] == TERMS + "compositeSynthetic" and "AIGC" not in mixed
    assert mixed["work"][0]["of"][0]["comment"] == "field recording, 1974" and "engine" not in mixed


def test_another_programs_marks_are_carried_on_and_its_comment_stays_as_it_is(tmp_path: Path) -> None:
    foreign = given(tmp_path, "a", "made with X", "flac", AIGC='{"Label":"1"}', DIGITALSOURCETYPE=TERMS + "x")
    for craft in (Convert(), Loop()):
        tags = plain_tags(lineage(craft, CraftForm(), [foreign]))
        assert json.loads(tags["AIGC"]) == {"Label": "1"} and tags["DIGITALSOURCETYPE"] == TERMS + "x"
    assert lineage(Convert(), CraftForm(), [given(tmp_path, "b", "made with X")]) == "made with X"
    assert "DIGITALSOURCETYPE" not in plain_tags(lineage(Loop(), CraftForm(), [given(tmp_path, "c", "")]))


def test_a_long_lineage_keeps_marks_and_names(tmp_path: Path) -> None:
    long = given(tmp_path, "a", comment(words="x" * 4_000))
    told = lineage(Mix(), CraftForm(), [long] * 20)
    assert len(told) < 60_000 and len(json.loads(told)["work"][0]["of"]) == 20
    assert {"AIGC", "recipe_id", "sha256"} <= json.loads(told)["work"][0]["of"][7].keys()
    assert set(plain_tags(told)) <= set(NAMES)
