"""A result's metadata: of a new sound, of a hit, of a joined request, and of a rendition."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import UNSET, structs
from tests.support.requests import engine, resolved

from audio_pool.pool.metadata import has_sound_of_master, is_master, new_metadata, rendition_report, result_metadata
from audio_pool.reports import Timings
from audio_pool.results import RenditionReport, SoundMetadata
from audio_pool.types import Inscription, Rendition

FULL = engine(steps=100, guidance_scale=3.5, negative_prompt=True)
TIMES = {"lookup": 1.23456, "queue": 2.0, "total": 30.0}
STORED = SoundMetadata(
    request_id="theirs",
    prompt="rain",
    requested_duration_s=2.0,
    duration_s=2.0,
    sample_rate=44_100,
    target_lufs=-23.0,
    loudness_lufs=-23.0,
    true_peak_dbfs=-6.0,
    cached=True,
    cache_type="semantic",
    hit_reason="the same meaning",
    cache_similarity=0.9,
    timings_ms=Timings(generate=900.0, master=80.0, store=3.0, total=990.0),
    warnings=("nearest_recipe: x",),
    labels={"scene": 1, "who": "them"},
    tags=("wet", "old"),
)
MASTER = Rendition(format="flac", sample_rate=44_100, bit_depth=24, target_lufs=-23.0, true_peak_dbfs=-2.0)


def test_a_new_sound_begins_with_what_was_asked_for() -> None:
    asked = resolved(
        FULL, seed=7, duration_s=2.5, candidates=3, loop=True, crossfade_s=0.5, highpass_hz=0.0,
        namespace="mine", metadata={"scene": 1}, tags=["wet"], voice="alba", target_lufs=-20.0,
    )  # fmt: skip
    begun = new_metadata(asked, "r1", seed=7, timestamp=99.5)
    expected = {
        "request_id": "r1", "prompt": "rain", "seed": 7, "base_seed": 7, "steps": 100, "guidance_scale": 3.5,
        "voice": None, "namespace": "mine", "requested_duration_s": 2.5, "candidates_requested": 3,
        "crossfade_s": 0.5, "highpass_hz": 0.0, "target_lufs": -20.0, "generation_timestamp": 99.5,
        "labels": {"scene": 1}, "tags": ["wet"], "warnings": [],
        "cached": False, "cache_type": "new_generation",
    }  # fmt: skip
    assert {name: begun[name] for name in expected} == expected
    assert not begun.forced
    assert [said.split(":")[0] for said in asked.warnings] == ["voice_ignored"], "the caller's own, not the sound's"
    assert begun.engine == "" and begun.model == "", "said by the worker that makes it"


def test_options_are_said_as_a_map() -> None:
    asked = resolved(FULL)
    asked = msgspec.structs.replace(asked, recipe=msgspec.structs.replace(asked.recipe, options=(("cfg", 0.5),)))
    assert new_metadata(asked, "r", 1, 0.0).options == {"cfg": 0.5}


@pytest.mark.parametrize("cache_type", ["new_generation", "joined"])
def test_a_new_sound_is_told_to_everyone_who_asked_for_it(cache_type: str) -> None:
    made = msgspec.structs.replace(
        STORED, cached=False, cache_type="new_generation", hit_reason=None, cache_similarity=None
    )
    asked = resolved(FULL, duration_s=3.0, metadata={"mine": True}, tags=["dry"])
    told = result_metadata(made, asked, "r2", cache_type=cache_type, times_ms=TIMES, warnings=["late: y"])
    assert (told.request_id, told.cache_type, told.cached) == ("r2", cache_type, False)
    assert told.requested_duration_s == 3.0
    assert told.timings_ms == Timings(
        lookup=1.235, queue=2.0, total=30.0, generate=900.0, master=80.0, store=3.0
    ), "this request's own times beside the sound's"
    assert told.generation_timings_ms is UNSET and told.requested_prompt is UNSET
    assert told.warnings == ("nearest_recipe: x", "late: y")
    assert (told.labels, told.tags) == ({"mine": True}, ("dry",)), "each caller's own"


def test_a_hit_says_how_that_sound_was_made_and_what_this_request_took() -> None:
    asked = resolved(FULL, prompt="rainfall", duration_s=2.2, metadata={"scene": 2}, tags=["wet", "new"])
    told = result_metadata(STORED, asked, "r3", cache_type=None, times_ms=TIMES, warnings=["nearest_recipe: x"])
    assert (told.request_id, told.cache_type, told.hit_reason) == ("r3", "semantic", "the same meaning")
    assert (told.prompt, told.requested_prompt) == ("rain", "rainfall")
    assert (told.duration_s, told.requested_duration_s) == (2.0, 2.2)
    assert told.timings_ms == Timings(lookup=1.235, queue=2.0, total=30.0)
    assert told.generation_timings_ms == STORED.timings_ms
    assert told.warnings == ("nearest_recipe: x",), "none twice"
    assert told.labels == {"scene": 2, "who": "them"} and told.tags == ("wet", "old", "new")


def test_a_hit_without_labels_of_its_own_has_the_entrys() -> None:
    told = result_metadata(STORED, resolved(FULL), "r", cache_type=None, times_ms={}, warnings=[])
    assert told.labels == STORED.labels and told.tags == STORED.tags
    assert told.timings_ms == Timings()


# -- renditions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [{"format": "wav"}, {"bit_depth": 16}, {"sample_rate": 48_000}, {"target_lufs": -20.0}, {"target_lufs": None}],
    ids=lambda other: next(iter(other)),
)
def test_the_master_is_one_rendition_alone(other: dict[str, object]) -> None:
    assert is_master(STORED, MASTER) and rendition_report(STORED, MASTER) is None
    told = structs.replace(MASTER, inscription=Inscription(version=1))
    assert has_sound_of_master(STORED, told) and not is_master(STORED, told), "its file lacks the tags"
    assert rendition_report(STORED, told) is None
    assert is_master(structs.replace(STORED, inscription=told.inscription), told)
    changed = msgspec.structs.replace(MASTER, **other)
    assert not is_master(STORED, changed) and rendition_report(STORED, changed) is not None


@pytest.mark.parametrize(
    ("target", "peak", "lufs_after", "peak_after"),
    [
        (-23.0, -2.0, -23.0, -6.0),  # as the master
        (-20.0, -2.0, -20.0, -3.0),  # 3 dB louder
        (-10.0, -2.0, -19.0, -2.0),  # its peak allows 4 dB
        (None, -2.0, -23.0, -6.0),  # its level is left alone
    ],
)
def test_a_rendition_is_one_gain_away(target: float | None, peak: float, lufs_after: float, peak_after: float) -> None:
    asked = Rendition(format="ogg", sample_rate=48_000, bit_depth=16, target_lufs=target, true_peak_dbfs=peak)
    report = rendition_report(STORED, asked)
    assert report == RenditionReport(
        format="ogg", sample_rate=48_000, loudness_lufs=lufs_after, true_peak_dbfs=peak_after
    )
    told = report.applied(STORED)
    assert (told.format, told.sample_rate, told.loudness_lufs) == ("ogg", 48_000, lufs_after)
    assert told.bit_depth is UNSET and "bit_depth" not in told, "a lossy format has none"
    assert told.duration_s == STORED.duration_s


def test_a_kept_rendition_is_told_as_it_was_written() -> None:
    loop = msgspec.structs.replace(STORED, is_loop=True)
    report = rendition_report(loop, msgspec.structs.replace(MASTER, format="opus"))
    assert report is not None and report.sample_rate == 48_000, "Opus has no 44,100"
    assert [warning.partition(":")[0] for warning in report.warnings] == ["rate_changed", "loop_in_opus"]


def test_the_bit_depth_of_a_lossless_rendition() -> None:
    report = rendition_report(STORED, msgspec.structs.replace(MASTER, format="wav", bit_depth=16))
    assert report is not None and report.applied(STORED).bit_depth == 16


def test_a_sound_too_quiet_to_have_a_level_stays_without() -> None:
    silent = msgspec.structs.replace(STORED, loudness_lufs=None, true_peak_dbfs=None)
    report = rendition_report(silent, msgspec.structs.replace(MASTER, format="ogg"))
    assert report is not None and report.loudness_lufs is None and report.true_peak_dbfs is None
    assert report.applied(silent).loudness_lufs is None


def test_a_renditions_own_warnings_join_the_masters() -> None:
    report = RenditionReport(format="mp3", sample_rate=44_100, duration_s=2.01, warnings=("padded: x",))
    told = report.applied(STORED)
    assert told.duration_s == 2.01 and told.warnings == ("nearest_recipe: x", "padded: x")
    assert told.loudness_lufs == STORED.loudness_lufs, "what a rendition does not say stays"
