"""Presets in a request: what they add, who is stronger, what an engine is told of a scene, and what cannot be one."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec import UNSET
from tests.support.requests import config, engine, request

from audio_pool.audio.descriptors import descriptors, distance
from audio_pool.engine_info import EngineInfo, OptionInfo, VoiceInfo
from audio_pool.engines import engine_info
from audio_pool.engines.base import Item
from audio_pool.engines.procedural.engine import ProceduralEngine
from audio_pool.engines.procedural.info import INFO as PROCEDURAL
from audio_pool.errors import InvalidConfig, InvalidRequest, NotFound
from audio_pool.pool.in_time import InTime
from audio_pool.pool.preset_book import PresetBook
from audio_pool.pool.preset_merging import Merged, merged
from audio_pool.pool.reload import reload_plan
from audio_pool.pool.requests import RequestTable
from audio_pool.pool.resolve import ResolvedRequest, resolve
from audio_pool.pool.shipped_presets import SHIPPED
from audio_pool.pool.signing import UNSIGNED
from audio_pool.presets import Preset, PresetMetadata, checked_preset
from audio_pool.telemetry import Telemetry
from audio_pool.types import MAX_PROMPT_CHARS, AudioRequest
from audio_pool.validation import parse

DIFFUSION = engine(
    "diffusion",
    kinds=("effects",),
    steps=100,
    guidance_scale=3.5,
    negative_prompt=True,
    longest_s=10.0,
    options=(OptionInfo(name="eta", type="float", low=0.0, high=1.0, default=0.0),),
)
SPEAKER = engine("speaker", speech=True, voices=(VoiceInfo(name="alba"),), wording=engine_info("kokoro").wording)


def words(name: str, *, priority: int = 50, engines: tuple[str, ...] = (), **content: Any) -> Preset:
    fields = {"id": name, "type": "prompt", "content": content, "engines": engines}
    return checked_preset(fields, metadata=PresetMetadata(priority=priority))


def scene(name: str, *, priority: int = 50, **aspects: str) -> Preset:
    return words(name, priority=priority, scene=aspects)


def parameters(name: str, *, priority: int = 50, engines: tuple[str, ...] = (), **content: Any) -> Preset:
    fields = {"id": name, "type": "generation_parameters", "content": content, "engines": engines}
    return checked_preset(fields, metadata=PresetMetadata(priority=priority))


def merge(*presets: Preset, info: EngineInfo = DIFFUSION, prompt: str = "a door", **fields: Any) -> Merged:
    return merged(request(prompt, **fields), presets, info)


def resolved(*presets: Preset, info: EngineInfo = DIFFUSION, **fields: Any) -> ResolvedRequest:
    asked = request("a door", presets=[one.id for one in presets], **fields)
    return resolve(asked, config(defaults={"engine": info.name}), {info.name: info}, presets=presets)


# -- words -----------------------------------------------------------------------------------------


def test_words_stand_around_the_prompt_by_priority_and_then_by_the_requests_order() -> None:
    weak = words("weak", priority=10, before="heavy", after="in the rain")
    old = words("old", before="old", after="wooden", negative="music")
    rusty = words("rusty", before="rusty", negative="voices")
    found = merge(weak, old, rusty, negative_prompt="hum")
    assert found.request.prompt == "old rusty heavy a door, wooden, in the rain"
    assert found.request.negative_prompt == "hum, music, voices"
    assert [(use.id, use.contributed) for use in found.uses] == [
        ("weak", {"before": "heavy", "after": "in the rain"}),
        ("old", {"before": "old", "after": "wooden", "negative": "music"}),
        ("rusty", {"before": "rusty", "negative": "voices"}),
    ]
    assert found.warnings == ()


def test_what_the_prompt_says_already_is_not_said_twice_and_an_empty_negative_prompt_stays_empty() -> None:
    found = merge(words("a", after="Heavy RAIN", negative="music"), prompt="a door, heavy rain", negative_prompt="")
    assert found.request.prompt == "a door, heavy rain" and found.request.negative_prompt == ""
    assert found.uses[0].left_out == {"after": "the prompt says so already", "negative": "the request says otherwise"}


def test_a_preset_adds_to_what_the_engines_sounds_are_without_by_default() -> None:
    found = merged(request("a door"), [words("a", negative="music")], DIFFUSION, "hiss")
    assert found.request.negative_prompt == "hiss, music"
    unable = merged(request("a door"), [words("a", negative="music")], engine("tone"), "")
    assert unable.request.negative_prompt is None
    assert unable.uses[0].left_out == {"negative": "engine 'tone' takes no negative prompt"}


def test_a_prompt_that_has_become_too_long_names_the_presets() -> None:
    long = words("long", after="rain " * 90)
    with pytest.raises(InvalidRequest, match=r"words of 'long' the prompt has 2,\d+ characters.*takes 2,000"):
        merge(long, prompt="x" * (MAX_PROMPT_CHARS - 100))


def test_words_are_never_spoken() -> None:
    found = merge(words("a", before="scary", scene={"place": "cave"}), info=SPEAKER, prompt="Welcome home")
    assert found.request.prompt == "Welcome home"
    assert found.warnings == ("preset_left_out: preset 'a': words: engine 'speaker' would speak them",)


# -- parameters ------------------------------------------------------------------------------------


def test_the_request_wins_then_the_priority_then_the_requests_order() -> None:
    first = parameters("first", steps=10, guidance_scale=2.0, candidates=2, options={"eta": 0.5})
    second = parameters("second", steps=20, duration_s=3.0, candidates=2)
    strong = parameters("strong", priority=90, guidance_scale=7.0)
    found = merge(first, second, strong, duration_s=4.0)
    asked = found.request
    assert (asked.steps, asked.guidance_scale, asked.duration_s, asked.candidates) == (10, 7.0, 4.0, 2)
    assert asked.options == {"eta": 0.5}
    assert [use.contributed for use in found.uses] == [
        {"steps": 10, "candidates": 2, "options": {"eta": 0.5}},
        {},
        {"guidance_scale": 7.0},
    ]
    assert [use.left_out for use in found.uses] == [
        {"guidance_scale": "preset 'strong' is stronger"},
        {"steps": "preset 'first' is stronger", "duration_s": "the request says otherwise"},
        {},
    ]
    assert len(found.warnings) == 2, "what the request itself decides is no warning"


@pytest.mark.parametrize(
    ("content", "fields", "info", "why"),
    [
        ({"steps": 5}, {}, PROCEDURAL, "steps: engine 'procedural' has no steps"),
        ({"guidance_scale": 5.0}, {}, PROCEDURAL, "guidance_scale: engine 'procedural' has no guidance"),
        ({"duration_s": 60.0}, {}, DIFFUSION, "duration_s: engine 'diffusion' makes 0.05 to 10 s"),
        ({"voice": "zoe"}, {}, SPEAKER, "voice: engine 'speaker' has no such voice"),
        ({"loop": True}, {}, SPEAKER, "loop: engine 'speaker' speaks"),
        ({"loop": True}, {"stream": True}, DIFFUSION, "loop: the sound is sent while it is made"),
        ({"options": {"nothing": 1}}, {}, DIFFUSION, "options.nothing: engine 'diffusion' has no such option"),
        ({"seed": 4}, {"variant": 2}, DIFFUSION, "seed: the request asks for a variant"),
    ],
)
def test_what_an_engine_cannot_take_is_left_out_and_told(
    content: dict[str, Any], fields: dict[str, Any], info: EngineInfo, why: str
) -> None:
    found = resolved(parameters("p", **content), info=info, **fields)
    assert f"preset_left_out: preset 'p': {why}" in found.warnings


def test_an_options_value_that_the_engine_does_not_take_is_an_error_that_names_the_preset() -> None:
    with pytest.raises(InvalidRequest, match=r"preset 'p': options: eta: given 7.*0 to 1"):
        merge(parameters("p", options={"eta": 7}))
    assert merge(parameters("p", options={"eta": 7}), options={"eta": 0.1}).request.options == {"eta": 0.1}
    found = merge(parameters("p", options={"eta": 7}), parameters("q", priority=90, options={"eta": 0.1}))
    assert found.request.options == {"eta": 0.1} and "is stronger" in found.uses[0].left_out["options.eta"]


def test_a_preset_for_other_engines_is_left_out_with_a_note() -> None:
    effects, other = parameters("e", engines=("kind:effects",), steps=5), words("o", engines=("tone",), after="x")
    found = merge(effects, other)
    assert found.request.steps == 5 and found.request.prompt == "a door"
    assert found.uses[1].left_out == {"preset": "it is for tone; the engine is 'diffusion'"}


# -- what a request comes to -----------------------------------------------------------------------


def test_the_same_merged_request_is_the_same_recipe_and_joins() -> None:
    plain = resolve(
        request("old a door, wooden", steps=7), config(defaults={"engine": "diffusion"}), {"diffusion": DIFFUSION}
    )
    found = resolved(words("old", before="old", after="wooden"), parameters("quick", steps=7))
    assert found.recipe == plain.recipe and found.join_key == plain.join_key
    assert [use.id for use in found.presets] == ["old", "quick"] and plain.presets is UNSET


def test_what_is_due_to_the_caller_is_the_requests_own() -> None:
    found = resolved(words("old", before="old"), namespace="mine", priority="background", output_path="/a.wav")
    asked = found.request
    assert (asked.namespace, asked.priority, asked.output_path) == ("mine", "background", "/a.wav")


def test_a_request_names_sixteen_at_most_and_ids_may_be_any_text() -> None:
    many = [words(f"p {number}", after=f"thing {number}") for number in range(16)]
    assert resolved(*many).recipe.prompt.count("thing") == 16
    with pytest.raises(InvalidRequest, match="presets"):
        request("a door", presets=[f"p{number}" for number in range(17)])
    odd = ["'; DROP TABLE presets; --", "ünï🎵", "a/b?c=d&e", "100 %"]
    assert request("a door", presets=odd).presets == odd
    for bad in ("", "   ", "a\nb", "a\x00b", "x" * 65):
        with pytest.raises(InvalidRequest, match="presets"):
            request("a door", presets=[bad])


# -- scenes ----------------------------------------------------------------------------------------

CAVE = scene("cave", place="cave", mood="tense", time="night", distance="far")


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("procedural", "at night, in a cave, tense, deep, far away"),
        ("tangoflux", "at night, in a cave, tense mood, in the distance"),
        ("audioldm", "at night, in a cave, tense mood, in the distance, high quality"),
        ("stable_audio", "night, cave ambience, tense mood, distant, field recording, high-quality, stereo"),
        (
            "musicgen",
            "at night, soundtrack of a cave, tense, minor key, dissonant strings, slow build, in the distance",
        ),
        ("ace_step", "nocturne, cave soundtrack, tense, minor key, dissonant strings, slow build, in the distance"),
    ],
)
def test_each_engine_is_told_of_a_scene_in_its_own_words(name: str, prompt: str) -> None:
    found = merge(CAVE, info=engine_info(name))
    assert found.request.prompt == f"a door, {prompt}"
    told = found.uses[0].contributed["scene"]
    assert list(told) == ["time", "place", "mood", "distance"] and told["time"]["words"] in prompt


@pytest.mark.parametrize("name", ["kokoro", "piper", "longcat"])
def test_engines_that_speak_are_told_nothing(name: str) -> None:
    assert merge(CAVE, info=engine_info(name)).request.prompt == "a door"


def test_scenes_of_several_presets_make_one_of_which_the_stronger_decides_each_part() -> None:
    found = merge(scene("a", place="cave", time="night"), scene("b", priority=80, place="forest", mood="calm"))
    assert found.request.prompt == "a door, at night, in a forest, calm mood"
    assert found.uses[0].left_out == {"scene.place": "preset 'b' is stronger"}


def test_a_scene_sets_the_built_in_engines_space_unless_somebody_else_has() -> None:
    hall = scene("hall", space="hall")
    assert merge(hall, info=PROCEDURAL).request.options == {"space": "hall"}
    told = merge(hall, info=PROCEDURAL, options={"space": "room"})
    assert told.request.options == {"space": "room"}
    assert told.uses[0].left_out == {"scene.space": "options.space is set already"}
    assert merge(hall, info=DIFFUSION).request.prompt == "a door, hall acoustics"
    unheard = merge(scene("x", period="bronze age"), info=PROCEDURAL)
    assert unheard.uses[0].left_out == {"scene.period": "'bronze age' means nothing to engine 'procedural'"}


def made(*presets: Preset, prompt: str = "a dog barks") -> np.ndarray:
    asked: AudioRequest = merge(*presets, info=PROCEDURAL, prompt=prompt).request
    item = Item(prompt=asked.prompt, duration_s=1.5, seed=5, sample_rate=16_000, options=asked.options)
    return ProceduralEngine().generate([item])[0]


@pytest.mark.parametrize("name", ["cave", "cathedral", "far away", "horror", "old radio", "storm", "underwater"])
def test_a_shipped_scene_is_heard_in_the_built_in_engines_sound(name: str) -> None:
    apart = distance(descriptors(made(), 16_000), descriptors(made(SHIPPED[name]), 16_000))
    assert apart > 3.0, "as far apart as different materials (test_audio_descriptors)"


def test_a_scene_changes_what_it_says_it_changes() -> None:
    def brightness(sound: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(sound.mean(axis=0))) ** 2
        return float((power * np.fft.rfftfreq(sound.shape[1], 1 / 16_000)).sum() / power.sum())

    def tail(sound: np.ndarray) -> float:
        """Share of the energy that comes later than 50 ms behind each of its moments, by correlation of levels."""
        levels = np.sqrt((sound.mean(axis=0)[: 16_000 // 100 * 150].reshape(150, -1) ** 2).mean(axis=1))
        return float(np.median(levels) / levels.max())

    plain = made()
    assert brightness(made(scene("f", distance="far"))) < 0.8 * brightness(plain)
    assert brightness(made(scene("r", period="old radio"))) < 0.8 * brightness(plain)
    assert brightness(made(scene("t", mood="tense"))) < 0.9 * brightness(plain), "deeper"
    assert tail(made(scene("h", space="hall"))) > 1.5 * tail(plain), "it rings"


# -- what can be a preset --------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["namespace", "output_path", "priority", "prompt", "engine", "presets", "force"])
def test_a_preset_decides_only_what_a_sound_is(field: str) -> None:
    for type_ in ("prompt", "generation_parameters"):
        with pytest.raises(InvalidRequest, match=field):
            checked_preset({"id": "p", "type": type_, "content": {field: "x"}})


def test_contents_are_bounded_and_say_something() -> None:
    for bad, message in (
        ({}, "given nothing"),
        ({"before": " "}, "given nothing"),
        ({"after": "x" * 501}, "500"),
        ({"after": "a\nb"}, "after"),
        ({"scene": {"smell": "damp"}}, "smell"),
        ({"scene": {"place": ""}}, "place"),
    ):
        with pytest.raises(InvalidRequest, match=message):
            words("p", **bad)
    with pytest.raises(InvalidRequest, match="steps"):
        parameters("p", steps=0)
    with pytest.raises(InvalidRequest, match="given nothing"):
        parameters("p")
    with pytest.raises(InvalidRequest, match="8,192"):
        parameters("p", options={f"o{number}": "x" * 300 for number in range(32)})
    with pytest.raises(InvalidRequest, match="without spaces around"):
        words(" p", after="x")


def test_ids_that_look_alike_are_alike_and_a_revision_is_of_what_is_said() -> None:
    composed, apart = words("caf\u00e9", after="x"), words("cafe\u0301", after="x")
    assert composed.id == apart.id and composed.revision == apart.revision
    assert words("a", after="x").revision != words("a", after="y").revision
    assert words("a", after="x").revision != words("a", after="x", priority=51).revision
    assert parse(Preset, msgspec.to_builtins(composed)) == composed


def test_every_shipped_preset_is_one_that_could_be_set() -> None:
    for preset in SHIPPED.values():
        fields = {"id": preset.id, "type": preset.type, "content": preset.content}
        assert checked_preset(fields, metadata=preset.metadata) == preset


def test_a_configurations_presets_are_checked_at_the_start_and_changed_by_a_reload() -> None:
    good = config(presets={"old radio": {"content": {"after": "crackling"}}})
    assert good.presets["old radio"].preset("old radio").metadata.source == "config"
    with pytest.raises(InvalidConfig, match=r"presets\.x.*after"):
        config(presets={"x": {"content": {"afer": "y"}}})
    plan = reload_plan(config(), good)
    assert plan.applied == ("presets",) and plan.config.presets == good.presets


def test_what_stands_in_for_a_sound_is_told_of_its_presets_in_its_own_engines_words() -> None:
    music = engine_info("musicgen")
    infos = {"musicgen": music, "procedural": PROCEDURAL}
    asked = request("a piano melody", presets=["cave"], engine="musicgen")
    settings = config(defaults={"engine": "musicgen"})
    found = resolve(asked, settings, infos, presets=[CAVE])
    assert "minor key" in found.recipe.prompt and found.unmerged == asked
    in_time = InTime(RequestTable(Telemetry()), infos)
    stand_in = in_time._built_in(found, settings, UNSIGNED)
    assert stand_in is not None
    assert stand_in.recipe.prompt == "a piano melody, at night, in a cave, tense, deep, far away"


def test_without_a_store_there_are_those_of_the_program_and_the_configuration_and_none_can_be_set() -> None:
    own = words("cave", after="of my own")
    book = PresetBook({"cave": own}, lambda: None)
    assert [one.id for one in book.page(limit=100).presets] == sorted(SHIPPED)
    assert book.named(["cave", "horror", "cave"]) == [own, SHIPPED["horror"]]
    with pytest.raises(NotFound, match="cache is off"):
        book.set([own])
    with pytest.raises(NotFound, match=r"no preset 'caves'; did you mean 'cave'"):
        book.named(["caves"])
