"""What a request means under a configuration: every default, every refusal, and what it is the same as."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import UNSET
from tests.support.requests import config, engine, request, resolved

from audio_pool.config import load_config
from audio_pool.engine_info import EngineInfo, OptionInfo, VoiceInfo
from audio_pool.errors import AudioPoolError, InvalidConfig, InvalidRequest, NotSupported, Refused, UnknownEngine
from audio_pool.pool.resolve import derived_seed, refuse_silent, resolve
from audio_pool.types import ANY_LENGTH, AudioRequest, Edit
from audio_pool.validation import parse

CFG = OptionInfo(name="cfg_rescale", type="float", low=0.0, high=1.0, default=0.5)
SAMPLER = OptionInfo(name="sampler", type="str", choices=("euler", "heun"), default="euler")
FULL = engine(
    implementation="audioldm2", steps=100, guidance_scale=3.5, negative_prompt=True, init_audio=True,
    options=(CFG, SAMPLER), model_revision="abc", dtype="float16", quantization="int8",
)  # fmt: skip
SPEAKER = engine("speaker", speech=True, voices=(VoiceInfo(name="alba"), VoiceInfo(name="bern")))


# -- whose value it is -----------------------------------------------------------------------------

FIELDS = ("duration_s", "steps", "guidance_scale", "candidates")
OF_REQUEST = {"duration_s": 1.0, "steps": 11, "guidance_scale": 1.5, "candidates": 2}
OF_ENGINE = {"duration_s": 2.0, "steps": 22, "guidance_scale": 2.5, "candidates": 3}
OF_POOL = {"duration_s": 3.0, "steps": 33, "guidance_scale": 0.0, "candidates": 4}
OF_INFO = {"duration_s": 8.0, "steps": 100, "guidance_scale": 3.5, "candidates": 1}


def values(*, of_request: bool = False, of_engine: bool = False, of_pool: bool = False) -> dict[str, Any]:
    settings = config(
        defaults={"engine": "tone", **(OF_POOL if of_pool else {})},
        engines={"tone": {"defaults": OF_ENGINE}} if of_engine else {},
    )
    recipe = resolved(FULL, settings, **(OF_REQUEST if of_request else {})).recipe
    return {name: getattr(recipe, name) for name in FIELDS}


def test_the_requests_own_value_then_the_engines_then_the_pools_then_the_infos() -> None:
    assert values(of_request=True, of_engine=True, of_pool=True) == OF_REQUEST
    assert values(of_engine=True, of_pool=True) == OF_ENGINE
    assert values(of_pool=True) == OF_POOL
    assert values() == OF_INFO


def test_each_value_is_decided_by_itself() -> None:
    settings = config(defaults={"engine": "tone", "steps": 33}, engines={"tone": {"defaults": {"candidates": 3}}})
    recipe = resolved(FULL, settings, duration_s=1.0).recipe
    assert (recipe.duration_s, recipe.steps, recipe.candidates, recipe.guidance_scale) == (1.0, 33, 3, 3.5)


def test_negative_prompts_and_options_of_the_engines_defaults() -> None:
    defaults = {"negative_prompt": "hiss", "options": {"sampler": "heun", "cfg_rescale": 0.1}}
    settings = config(engines={"tone": {"defaults": defaults}})
    plain, own = (
        resolved(FULL, settings).recipe,
        resolved(FULL, settings, negative_prompt=" hum ", options={"cfg_rescale": 0.2}).recipe,
    )
    assert plain.negative_prompt == "hiss" and plain.options == (("cfg_rescale", 0.1), ("sampler", "heun"))
    assert own.negative_prompt == "hum" and own.options == (("cfg_rescale", 0.2), ("sampler", "heun"))


def test_the_pools_default_length_is_cut_to_what_the_engine_makes() -> None:
    short = engine(longest_s=5.0)
    assert resolved(short).recipe.duration_s == 5.0
    with pytest.raises(InvalidRequest, match=r"duration_s: given 8, engine 'tone' makes 0.05 to 5 s"):
        resolved(short, duration_s=8)


def test_an_engines_default_length_is_one_that_it_makes() -> None:
    settings = config(engines={"tone": {"defaults": {"duration_s": 8}}})
    with pytest.raises(InvalidConfig, match=r"engines\.tone\.defaults\.duration_s: given 8, .* makes 0.05 to 5 s"):
        resolved(engine(longest_s=5.0), settings)
    assert resolved(engine(longest_s=5.0), settings, duration_s=2).recipe.duration_s == 2.0


def test_length_is_counted_in_frames() -> None:
    one, other = resolved(duration_s=2.0), resolved(duration_s=2.0000001)
    assert one.recipe == other.recipe and one.recipe.frames == 88_200
    assert resolved(duration_s=2.0, sample_rate=22_050).recipe.frames == 44_100


def test_prompts_are_stripped() -> None:
    assert resolved(prompt="  rain on tin \n").recipe.prompt == "rain on tin"


# -- which engine ----------------------------------------------------------------------------------

MODELS = {
    info.name: info
    for info in (
        engine(kinds=("effects",)),
        engine("music_small", implementation="audioldm2", kinds=("music",)),
        engine("music_large", implementation="audioldm2", kinds=("music", "ambience")),
        engine("ears", role="scorer", kinds=("music",)),
    )
}


@pytest.mark.parametrize(
    ("asked", "ready", "chosen"),
    [
        (None, (), "tone"),
        ("music_large", (), "music_large"),
        ("kind:effects", (), "tone"),
        ("kind:music", ("music_small", "music_large"), "music_small"),
        ("kind:music", ("music_large", "tone"), "music_large"),
        ("kind:music", (), "music_small"),
        ("kind:ambience", ("music_small",), "music_large"),
    ],
)
def test_an_engine_is_asked_for_by_name_or_by_kind(asked: str | None, ready: tuple[str, ...], chosen: str) -> None:
    recipe = resolve(request(engine=asked), config(), MODELS, ready=ready).recipe
    assert (recipe.engine, recipe.model) == (chosen, f"models/{chosen}")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("music_smal", "no worker of this pool hosts engine 'music_smal'; did you mean 'music_small'?"),
        ("xyz", "no worker of this pool hosts engine 'xyz'; hosted here: music_large, music_small, tone"),
        ("eers", "no worker of this pool hosts engine 'eers'; hosted here: music_large, music_small, tone"),
        ("ears", "engine 'ears' makes no sounds: its kind is 'scorer', not 'generator'"),
        ("kind:musik", "no engine of this pool is configured for kind 'musik'; did you mean 'music'?"),
        ("kind:xyz", "no engine of this pool is configured for kind 'xyz'; kinds here: ambience, effects, music"),
    ],
)
def test_an_unknown_engine_is_named_with_what_makes_sounds_here(asked: str, message: str) -> None:
    with pytest.raises(UnknownEngine) as caught:
        resolve(request(engine=asked), config(), MODELS)
    assert str(caught.value) == message


def test_a_pool_without_engines_says_so() -> None:
    for asked in ("tone", "kind:music"):
        with pytest.raises(UnknownEngine, match="here: none"):
            resolve(request(engine=asked), config(), {})
    with pytest.raises(UnknownEngine):
        refuse_silent(MODELS["ears"])
    refuse_silent(MODELS["tone"])


# -- what it is the same as ------------------------------------------------------------------------


def test_a_named_model_is_its_own_with_model_and_revision() -> None:
    recipe = resolved(FULL).recipe
    assert (recipe.engine, recipe.implementation) == ("tone", "audioldm2")
    assert (recipe.model, recipe.model_revision) == ("models/tone", "abc")
    assert resolved(engine("plain")).recipe.implementation == "plain"


def test_precision_counts_only_where_a_seed_is_asked_for() -> None:
    free, seeded = resolved(FULL).recipe, resolved(FULL, seed=7).recipe
    assert (free.dtype, free.quantization, free.seed) == ("", "", None)
    assert (seeded.dtype, seeded.quantization, seeded.seed) == ("float16", "int8", 7)


def test_a_seed_of_0_is_a_seed() -> None:
    found = resolved(FULL, seed=0)
    assert found.recipe.seed == 0 and found.max_rounds == 1 and found.recipe.dtype == "float16"


def test_fresh_seeds_are_tried_only_where_none_is_asked_for() -> None:
    settings = config(limits={"max_rounds": 3})
    assert resolved(FULL, settings).max_rounds == 3
    assert resolved(FULL, settings, seed=7).max_rounds == 1


def test_options_count_where_they_differ_from_the_default() -> None:
    default = resolved(FULL).recipe
    assert resolved(FULL, options={"sampler": "euler", "cfg_rescale": None}).recipe == default
    assert resolved(FULL, options={"sampler": "heun"}).recipe.identity() != default.identity()


@pytest.mark.parametrize(
    "fields",
    [
        {"format": "ogg"}, {"bit_depth": 24}, {"target_lufs": -20.0}, {"priority": "background"},
        {"delivery": "inline"}, {"output_path": "/x.wav"}, {"metadata": {"a": 1}}, {"tags": ["a"]},
        {"match": "strict"}, {"any_engine": True}, {"temperature": 1.0}, {"deadline_ms": 5}, {"strict": True},
        {"force": True}, {"store": False}, {"variant_seed": 3},
    ],
    ids=lambda fields: next(iter(fields)),
)  # fmt: skip
def test_how_it_is_delivered_and_looked_up_is_not_what_it_is(fields: dict[str, Any]) -> None:
    assert resolved(FULL, **fields).recipe == resolved(FULL).recipe


def test_equal_requests_join_and_others_do_not() -> None:
    one = resolved(FULL).join_key
    assert one is not None and one == resolved(FULL, metadata={"mine": 1}, priority="background").join_key
    for fields in ({"format": "ogg"}, {"match": "strict"}, {"store": False}, {"strict": True}, {"steps": 5}):
        assert resolved(FULL, **fields).join_key != one
    assert resolved(FULL, force=True).join_key is None, "a forced sound is made for its caller alone"


# -- shape, rendition, query -----------------------------------------------------------------------


def test_a_loops_tail_is_its_crossfade() -> None:
    settings = config(sound={"tail_duration_s": 2.0})
    assert resolved(FULL, settings, loop=True).shape.tail_s == 2.0
    own = resolved(FULL, settings, loop=True, crossfade_s=0.5)
    assert (own.shape.tail_s, own.recipe.crossfade_s, own.warnings) == (0.5, 0.5, ())
    assert resolved(FULL, settings, loop=True, crossfade_s=0.0).shape.tail_s == 0.0
    one_shot = resolved(FULL, settings, crossfade_s=0.5)
    assert one_shot.recipe.crossfade_s is None
    assert one_shot.warnings == ("crossfade_s_ignored: engine 'tone' is not asked for a loop",)


def test_the_pool_may_loop_by_default() -> None:
    settings = config(defaults={"engine": "tone", "loop": True})
    assert resolved(FULL, settings).recipe.loop and resolved(FULL, settings).shape.loop
    assert not resolved(FULL, settings, loop=False).recipe.loop


@pytest.mark.parametrize(
    ("asked", "filtered", "cutoff"), [(None, True, 90.0), (None, False, None), (0.0, True, None), (40.0, False, 40.0)]
)
def test_the_high_pass_is_the_requests_or_the_pools(asked: float | None, filtered: bool, cutoff: float | None) -> None:
    sound = {"apply_highpass_filter": filtered, "highpass_cutoff_hz": 90.0, "highpass_filter_order": 2}
    found = resolved(FULL, config(sound=sound), highpass_hz=asked)
    assert (found.shape.highpass_hz, found.shape.highpass_order) == (cutoff, 2)
    assert found.recipe.highpass_hz == asked, "as asked for: the pool's own may change"


@pytest.mark.parametrize(
    ("fields", "depth"),
    [({}, 16), ({"format": "flac"}, 24), ({"format": "flac", "bit_depth": 16}, 16), ({"bit_depth": 32}, 32)],
)
def test_bit_depth(fields: dict[str, Any], depth: int) -> None:
    assert resolved(FULL, **fields).rendition.bit_depth == depth


def test_level_and_rate_are_the_requests_or_the_pools() -> None:
    settings = config(sound={"target_lufs": -18.0, "true_peak_dbfs": -1.0, "sample_rate": 48_000})
    plain, own = resolved(FULL, settings), resolved(FULL, settings, target_lufs=-30, true_peak_dbfs=0, sample_rate=8000)
    assert msgspec.structs.astuple(plain.rendition)[:5] == ("wav", 48_000, 16, -18.0, -1.0)
    assert msgspec.structs.astuple(own.rendition)[:5] == ("wav", 8_000, 16, -30, 0)
    assert own.shape.sample_rate == own.recipe.sample_rate == 8_000
    off = config(sound={"normalize_loudness": False})
    assert resolved(FULL, off).rendition.target_lufs is None
    assert resolved(FULL, off, target_lufs=-30).rendition.target_lufs == -30


def test_the_look_up_is_the_requests_or_the_pools() -> None:
    cache = {
        "match": "threshold", "temperature": 0.5, "duration_tolerance": 0.1, "tau_use": 0.2, "tau_prompt_sem": 0.6,
        "reuse_k": 4, "same_settings": "family", "min_steps_ratio": 0.5, "guidance_tolerance": 2.0, "shuffle": True,
    }  # fmt: skip
    settings = config(cache=cache, policy={"commercial_only": True})
    query = resolved(FULL, settings).query
    assert {name: getattr(query, name) for name in cache} == cache
    assert query.commercial_only and not query.speech and not query.strict and query.variant_seed is None
    own = {
        "match": "strict", "temperature": 0.0, "duration_tolerance": 0.0, "tau_use": -1, "tau_prompt_sem": 0.0,
        "variant_seed": 0, "strict": True, "shuffle": True, "variant": 2,
    }  # fmt: skip
    query = resolved(FULL, settings, **own).query
    assert {name: getattr(query, name) for name in own} == own
    assert resolved(FULL, settings, any_engine=True).query.same_settings == "any"
    assert resolved(SPEAKER).query.speech


def test_a_sound_is_judged_only_where_there_is_a_judge() -> None:
    assert resolved(FULL, tau_accept_new=0.9).tau_accept_new is None
    judged = config(cache={"scorer": "clap", "tau_accept_new": 0.3})
    assert resolved(FULL, judged).tau_accept_new == 0.3
    assert resolved(FULL, judged, tau_accept_new=-1).tau_accept_new == -1


def test_init_audio_is_its_content() -> None:
    with_file = resolve(request(init_audio="/a.wav", init_strength=0.3), config(), {"tone": FULL}, init_sha256="00ff")
    assert (with_file.recipe.init_audio_sha256, with_file.recipe.init_strength) == ("00ff", 0.3)


# -- refusals and warnings -------------------------------------------------------------------------

PLAIN = engine()


@pytest.mark.parametrize(
    ("info", "fields", "error", "message"),
    [
        (PLAIN, {"duration_s": 0.05}, None, ""),
        (engine(shortest_s=1.0), {"duration_s": 0.5}, InvalidRequest, "given 0.5, engine 'tone' makes 1 to 60 s"),
        (PLAIN, {"init_audio": "/a.wav"}, NotSupported, "init_audio: engine 'tone' cannot start from a sound"),
        (FULL, {"init_strength": 0.5}, InvalidRequest, "init_strength: given without init_audio"),
        (PLAIN, {"bit_depth": 32, "format": "flac"}, InvalidRequest, "bit_depth: 32 .* allowed for flac are 16 and 24"),
        (PLAIN, {"output_path": "a.wav"}, InvalidRequest, "output_path: given 'a.wav', allowed is an absolute path"),
        (SPEAKER, {"voice": "albo"}, InvalidRequest, "voice: given 'albo', .* did you mean 'alba'?"),
        (SPEAKER, {"voice": "xyz"}, InvalidRequest, "its voices: alba, bern"),
        (FULL, {"options": {"samplr": "heun"}}, InvalidRequest, "no option 'samplr'; did you mean 'sampler'?"),
        (FULL, {"options": {"cfg_rescale": 2}}, InvalidRequest, "cfg_rescale: given 2, .* a number, 0 to 1"),
        (FULL, {"options": {"sampler": "hein"}}, InvalidRequest, "one of euler, heun; did you mean 'heun'?"),
        (PLAIN, {"options": {"sampler": "heun"}}, InvalidRequest, "it has none"),
    ],
)  # fmt: skip
def test_what_an_engine_cannot_do_is_refused(
    info: EngineInfo, fields: dict[str, Any], error: type[AudioPoolError] | None, message: str
) -> None:
    if error is None:
        resolved(info, **fields)
        return
    with pytest.raises(error, match=message):
        resolved(info, **fields)


def test_licences_that_are_not_allowed_are_refused() -> None:
    free = engine(commercial_use=False, licence="CC-BY-NC-4.0")
    resolved(free)
    with pytest.raises(Refused, match=r"licence 'CC-BY-NC-4\.0', which does not allow commercial use"):
        resolved(free, config(policy={"commercial_only": True}))


IGNORED = [
    ({"steps": 5}, "steps_ignored: engine 'tone' has no steps"),
    ({"guidance_scale": 2}, "guidance_scale_ignored: engine 'tone' has no guidance"),
    ({"negative_prompt": "hiss"}, "negative_prompt_ignored: engine 'tone' takes no negative prompt"),
    ({"voice": "alba"}, "voice_ignored: engine 'tone' has no voices"),
    ({"crossfade_s": 1}, "crossfade_s_ignored: engine 'tone' is not asked for a loop"),
]


@pytest.mark.parametrize(("fields", "warning"), IGNORED)
def test_what_an_engine_ignores_is_a_warning_and_no_part_of_the_recipe(fields: dict[str, Any], warning: str) -> None:
    found = resolved(PLAIN, **fields)
    assert found.warnings == (warning,) and found.recipe == resolved(PLAIN).recipe


@pytest.mark.parametrize(("fields", "warning"), IGNORED)
def test_strictly_it_is_an_error(fields: dict[str, Any], warning: str) -> None:
    with pytest.raises(NotSupported, match=f"strict: {warning}"):
        resolved(PLAIN, strict=True, **fields)


def test_an_engine_without_a_list_of_voices_takes_any() -> None:
    assert resolved(engine(speech=True), voice="anybody").recipe.voice == "anybody"
    assert resolved(SPEAKER, voice="alba").recipe.voice == "alba"


# -- seeds of candidates ---------------------------------------------------------------------------


def test_the_first_candidate_has_the_seed_asked_for_and_all_others_differ() -> None:
    assert derived_seed(7, 0, 0) == 7
    seeds = {derived_seed(base, round_, number) for base in (0, 7) for round_ in range(3) for number in range(16)}
    assert len(seeds) == 2 * 3 * 16 and all(0 <= seed < 2**63 for seed in seeds)
    assert derived_seed(7, 1, 2) == derived_seed(7, 1, 2) != derived_seed(7, 2, 1)


def test_an_engines_default_negative_prompt_can_be_switched_off() -> None:
    birdless = load_config(
        {"engines": {"birdless": {"implementation": "mock", "defaults": {"negative_prompt": "birds"}}}},
        environment={},
    )
    info = EngineInfo(
        name="birdless", role="generator", model="m", licence="MIT", commercial_use=True, negative_prompt=True
    )
    for given, meant in ((None, "birds"), ("", ""), ("cars", "cars")):
        asked = parse(AudioRequest, {"prompt": "a wood", "engine": "birdless", "negative_prompt": given})
        assert resolve(asked, birdless, {"birdless": info}).recipe.negative_prompt == meant


def test_a_loudness_profile_is_a_level_a_measure_and_a_width_and_the_request_s_own_word_is_stronger():
    web = resolved(FULL, loudness_profile="web").rendition
    assert (web.target_lufs, web.true_peak_dbfs, web.measure, web.mono, web.limiter) == (
        -14.0, -1.0, "integrated", False, False,
    )  # fmt: skip
    game = resolved(FULL, loudness_profile="game").rendition
    assert (game.measure, game.mono) == ("short_term", True)
    turning = resolved(FULL, loudness_profile="game", loop=True).rendition
    assert (turning.measure, turning.mono) == ("integrated", False)
    own = resolved(FULL, loudness_profile="web", target_lufs=-20, true_peak_dbfs=-3, limiter=True).rendition
    assert (own.target_lufs, own.true_peak_dbfs, own.limiter) == (-20.0, -3.0, True)
    assert resolved(FULL, loudness_profile="film").rendition != resolved(FULL).rendition


def test_profiles_come_from_the_configuration_and_a_wrong_name_is_refused_with_the_nearest():
    settings = config(
        sound={"loudness_profile": "museum"},
        loudness={"museum": {"target_lufs": -30.0, "limiter": True}, "web": {"target_lufs": -16.0}},
    )
    plain = resolved(FULL, settings).rendition
    assert (plain.target_lufs, plain.limiter) == (-30.0, True)
    assert resolved(FULL, settings, loudness_profile="web").rendition.target_lufs == -16.0
    with pytest.raises(InvalidRequest, match="no profile 'broadcats'; did you mean 'broadcast'"):
        resolved(FULL, loudness_profile="broadcats")


def test_what_is_good_enough_is_resolved_and_part_of_joining():
    assert (resolved(FULL).min_quality, resolved(FULL).deliver_best) == (50.0, False)
    strict = resolved(FULL, min_quality=80, on_quality_failure="best")
    assert (strict.min_quality, strict.deliver_best) == (80.0, True)
    assert strict.join_key != resolved(FULL).join_key
    lenient = config(sound={"min_quality": 20.0, "on_quality_failure": "best"})
    assert (resolved(FULL, lenient).min_quality, resolved(FULL, lenient).deliver_best) == (20.0, True)


def test_the_file_s_rate_is_its_own_and_leaves_the_sound_what_it_is():
    plain, small = resolved(FULL), resolved(FULL, rendition_rate=22_050, format="mp3", bit_rate=32)
    assert small.recipe == plain.recipe
    assert small.shape == plain.shape
    assert (small.rendition.sample_rate, small.rendition.bit_rate) == (22_050, 32)
    assert small.join_key != plain.join_key


@pytest.mark.parametrize("format", ["pcm", "ulaw", "alaw"])
def test_what_has_no_header_is_of_one_channel_and_sixteen_bits(format):
    found = resolved(FULL, config(defaults={"engine": FULL.name, "bit_depth": 24}), format=format).rendition
    assert found.mono
    assert found.bit_depth == (16 if format == "pcm" else 24), "the telephone's codes have none"


@pytest.mark.parametrize(
    ("asked", "told"),
    [({"bit_rate": 128}, "bit_rate: is for the formats 'mp3' and 'opus' only"),
     ({"bit_depth": 24, "format": "pcm"}, "bit_depth: given 24, format 'pcm' has 16")],
)  # fmt: skip
def test_a_bit_rate_or_depth_that_a_format_lacks_is_refused(asked, told):
    with pytest.raises(InvalidRequest, match=told):
        resolved(FULL, **asked)


# -- of a given sound ------------------------------------------------------------------------------

EDITS = engine(init_audio=True, inpaint=True, extend=True, longest_s=30.0)
GIVEN = {"init_audio": "/a.wav"}
PART = {**GIVEN, "mask_start_s": 1.0, "mask_end_s": 2.0}


def test_what_is_made_of_a_given_sound_is_part_of_what_the_sound_is():
    plain = resolved(EDITS, **GIVEN)
    masked = resolved(EDITS, **GIVEN, mask_start_s=1.0, mask_end_s=2.0)
    longer = resolved(EDITS, config(defaults={"engine": "tone", "loop": True}), **GIVEN, extend_s=4.0)
    assert plain.recipe.edit is UNSET and not plain.shape.natural_length
    assert masked.recipe.edit == Edit(mask_start_s=1.0, mask_end_s=2.0)
    assert longer.recipe.edit == Edit(extend_s=4.0)
    itself = resolved(EDITS, **GIVEN, init_strength=0.0)
    assert itself.shape.highpass_hz is None and resolved(EDITS, **GIVEN, init_strength=0.1).shape.highpass_hz == 80.0
    assert plain.shape.highpass_hz == 80.0, "another sound like the given one is filtered as any"
    assert masked.shape.highpass_hz is longer.shape.highpass_hz is None, "the rest would not stay what it is"
    assert resolved(EDITS, **GIVEN, extend_s=4.0, highpass_hz=40.0).shape.highpass_hz == 40.0
    assert masked.shape.natural_length and masked.recipe.duration_s == 2.0, "as long as the given sound"
    cut = resolved(EDITS, **GIVEN, mask_start_s=1.0, mask_end_s=2.0, duration_s=3.0, loop=True)
    assert not cut.shape.natural_length and cut.recipe.duration_s == 3.0 and cut.recipe.loop
    assert longer.recipe.duration_s == 4.0 and longer.shape.natural_length and not longer.recipe.loop
    assert len({one.recipe.identity() for one in (plain, masked, longer)}) == 3


@pytest.mark.parametrize(
    ("asked", "error", "told"),
    [
        ({"mask_start_s": 1.0}, InvalidRequest, "mask_start_s: given without init_audio"),
        ({"extend_s": 1.0}, InvalidRequest, "extend_s: given without init_audio"),
        ({**GIVEN, "mask_end_s": 1.0}, InvalidRequest, "given one of them; give both or neither"),
        ({**GIVEN, "mask_start_s": 2.0, "mask_end_s": 1.0}, InvalidRequest, r"mask_end_s: given 1, .*start_s \(2\)"),
        ({**PART, "duration_s": 1.5}, InvalidRequest, r"mask_end_s: given 2, allowed is at most duration_s \(1\.5\)"),
        ({**PART, "loop": True}, InvalidRequest, "loop: given with mask_start_s"),
        ({**PART, "stream": True}, InvalidRequest, "stream: given with mask_start_s"),
        ({**GIVEN, "extend_s": 1.0, "stream": True}, InvalidRequest, "stream: given with extend_s"),
        ({**GIVEN, "extend_s": 2.0, "mask_start_s": 1.0, "mask_end_s": 2.0}, InvalidRequest, "given with mask_start_s"),
        ({**GIVEN, "extend_s": 2.0, "duration_s": 3.0}, InvalidRequest, "extend_s: given with duration_s"),
        ({**GIVEN, "extend_s": 2.0, "loop": True}, InvalidRequest, "extend_s: given with loop"),
        ({"loop": True, "loop_method": "native"}, NotSupported, "loop_method: engine 'tone' makes no loops of itself"),
    ],
)
def test_an_edit_that_does_not_go_together_is_refused(asked, error, told):
    with pytest.raises(error, match=told):
        resolved(EDITS, **asked)


@pytest.mark.parametrize("asked", [{"mask_start_s": 1.0, "mask_end_s": 2.0}, {"extend_s": 1.0}])
def test_an_engine_that_only_edits_is_given_a_sound_for_that_alone(asked):
    edits = engine(inpaint=True, extend=True, longest_s=30.0)
    assert resolved(edits, **GIVEN, **asked).recipe.edit
    with pytest.raises(NotSupported, match="init_audio: engine 'tone' cannot start from a sound"):
        resolved(edits, **GIVEN)


def test_what_is_added_to_a_sound_knows_no_strength():
    (warning,) = resolved(EDITS, **GIVEN, extend_s=1.0, init_strength=0.5).warnings
    assert warning == "init_strength_ignored: engine 'tone' makes what is added all new"


@pytest.mark.parametrize("asked", [{"mask_start_s": 1.0, "mask_end_s": 2.0}, {"extend_s": 1.0}])
def test_an_engine_that_cannot_edit_says_so(asked):
    with pytest.raises(NotSupported, match="engine 'tone' cannot"):
        resolved(FULL, **GIVEN, **asked)


def test_how_a_loop_closes_is_part_of_it_where_it_was_asked_for():
    loops = engine(loop=True)
    plain, auto = resolved(loops, loop=True), resolved(loops, loop=True, loop_method="auto")
    native = resolved(loops, loop=True, loop_method="native")
    assert plain.recipe == auto.recipe and plain.recipe.loop_method is UNSET
    assert native.recipe.loop_method == native.shape.loop_method == "native"
    assert resolved(loops, loop_method="native").warnings == (
        "loop_method_ignored: engine 'tone' is not asked for a loop",
    )


# -- speech ----------------------------------------------------------------------------------------


def test_what_is_said_takes_its_own_time():
    talker = engine("talker", speech=True, natural_length=True)
    loops = config(defaults={"engine": "talker", "loop": True, "duration_s": 3.0})
    found = resolved(talker, loops, prompt="a word " * 100, duration_s=2.0)
    assert found.shape.natural_length and not found.recipe.loop
    assert found.recipe.duration_s == pytest.approx(699 / 15, abs=0.01)
    assert found.warnings == ("duration_s_ignored: engine 'talker' speaks for as long as the words take",)
    assert resolved(talker, loops, prompt="a word " * 100).recipe == found.recipe
    with pytest.raises(NotSupported, match="loop: engine 'talker' speaks"):
        resolved(talker, loops, loop=True)


def test_the_first_voice_speaks_where_nobody_is_named_and_nothing_is_compared_with_its_words():
    voices = (VoiceInfo(name="ann"), VoiceInfo(name="bob"))
    speed = OptionInfo(name="speed", type="float", default=1.0, low=0.5, high=2.0)
    talker = engine("talker", speech=True, natural_length=True, voices=voices, options=(speed,))
    judged = config(defaults={"engine": "talker"}, cache={"scorer": "clap"})
    plain = resolved(talker, judged, prompt="a word " * 30)
    assert plain.recipe.voice == "ann" and resolved(talker, judged, prompt="a word", voice="bob").recipe.voice == "bob"
    assert resolved(talker, judged, prompt="a word " * 30, voice="ann").recipe == plain.recipe
    several = config(defaults={"engine": "talker", "candidates": 4})
    assert resolved(talker, several).recipe.candidates == 1
    assert resolved(talker, several, candidates=2).recipe.candidates == 2
    assert plain.tau_accept_new is None and plain.query.speech and plain.query.duration_tolerance == ANY_LENGTH
    fast = resolved(talker, judged, prompt="a word " * 30, options={"speed": 2})
    assert fast.recipe.duration_s == pytest.approx(plain.recipe.duration_s / 2, rel=0.01)
    assert resolved(talker, judged, prompt="今日は良い天気です").recipe.duration_s == pytest.approx(2.0)


def test_words_take_their_time_where_a_length_may_be_asked_for_and_is_not():
    paced = engine("talker", speech=True, longest_s=30.0)
    loops = config(defaults={"engine": "talker", "loop": True, "duration_s": 3.0})
    found = resolved(paced, loops, prompt="a word " * 30)
    assert found.recipe.duration_s == pytest.approx(209 / 15, abs=0.01)
    assert not found.recipe.loop and not found.shape.natural_length
    assert resolved(paced, loops, prompt="a word " * 30, duration_s=2.0).recipe.duration_s == 2.0
    assert resolved(paced, loops, prompt="a word " * 600).recipe.duration_s == 30.0


def test_a_long_text_is_for_engines_that_speak():
    text = "a" * 5_000
    assert resolved(engine("talker", speech=True), config(defaults={"engine": "talker"}), prompt=text).recipe.prompt
    with pytest.raises(InvalidRequest, match="prompt: given 5,000 characters, engine 'tone' takes 2,000"):
        resolved(engine(), prompt=text)


# -- streams


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"candidates": 2}, "candidates = 2: the best of several"),
        ({"loop": True}, "loop = True: a loop is closed when its end is known"),
        ({"tau_accept_new": 0.3}, "tau_accept_new = 0.3: CLAP hears"),
        ({"min_quality": 70.0}, "min_quality = 70.0: it is judged"),
        ({"limiter": False}, "limiter = False: nothing else"),
        ({"durable": True}, "durable = True"),
        ({"format": "mp3"}, "format = 'mp3'.*wav and pcm"),
        ({"format": "flac"}, "format = 'flac'.*wav and pcm"),
    ],
)
def test_what_needs_the_whole_sound_is_no_stream(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequest, match=f"stream: given with {says}"):
        resolved(stream=True, **fields)
    assert resolved(**{name: value for name, value in fields.items() if name != "durable"})


def test_a_stream_is_one_candidate_of_one_round_and_joins_streams_alone() -> None:
    settings = config(defaults={"engine": "tone", "candidates": 4, "loop": True, "format": "mp3"})
    streamed, plain = resolved(settings=settings, stream=True), resolved(settings=settings)
    assert (streamed.recipe.candidates, streamed.max_rounds, streamed.recipe.loop) == (1, 1, False)
    assert streamed.rendition.format == "wav" and plain.rendition.format == "mp3"
    again = resolved(settings=settings, stream=True)
    assert streamed.join_key == again.join_key
    alone = resolved(candidates=1, loop=False, format="wav")
    asked = resolved(stream=True, candidates=1, loop=False, format="wav")
    assert asked.recipe == alone.recipe and asked.join_key != alone.join_key
