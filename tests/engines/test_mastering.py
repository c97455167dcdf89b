"""Mastering: the best candidate as a finished file whose metadata is true of the file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs
from tests.support.audio_signals import RATE, amplitude_at, chord, decaying, pink, recordings, steps, tone, white

from audio_pool.audio import codec, loudness
from audio_pool.audio.seam import seam_score
from audio_pool.engine_info import EngineInfo, Notes
from audio_pool.engines import Item
from audio_pool.engines.procedural.engine import ProceduralEngine
from audio_pool.engines.procedural.recipe import RECIPES
from audio_pool.errors import InvalidAudio, InvalidRequest, QualityError, StorageError
from audio_pool.inscription import comment_of
from audio_pool.reports import QualityReport
from audio_pool.results import SoundMetadata
from audio_pool.types import Recipe, Rendition, Shape, frames_of
from audio_pool.worker.mastering import Mastering, score_of
from audio_pool.worker.shaping import RawCandidate

NOISE = Notes(expects=frozenset({"noise"}))


@pytest.fixture(scope="module")
def mastering():
    return Mastering()


def recipe_for(seconds, loop=False, rate=RATE, prompt="rain on a tin roof", highpass_hz=None):
    return Recipe(
        prompt=prompt, highpass_hz=highpass_hz, negative_prompt="", engine="test", model="m",
        frames=frames_of(seconds, rate),
        sample_rate=rate, loop=loop, seed=7, steps=None, guidance_scale=None, candidates=2, voice=None,
        init_audio_sha256=None, init_strength=None, namespace="default",
    )  # fmt: skip


def shape_for(seconds, loop=False, rate=RATE, highpass_hz=80.0):
    frames = frames_of(seconds, rate)
    return Shape(sample_rate=rate, frames=frames, loop=loop, tail_s=1.5, highpass_hz=highpass_hz, highpass_order=4)


def rendition_for(format="flac", rate=RATE, depth=24, lufs=-23.0, peak=-2.0):
    return Rendition(format=format, sample_rate=rate, bit_depth=depth, target_lufs=lufs, true_peak_dbfs=peak)


def finish(mastering, folder, candidates, seconds, *, loop=False, rendition=None, shape=None, prompt=None, **more):
    return mastering.finish(
        candidates,
        recipe=recipe_for(seconds, loop) if prompt is None else recipe_for(seconds, loop, prompt=prompt),
        shape=shape or shape_for(seconds, loop),
        rendition=rendition or rendition_for(),
        directory=folder,
        name="sound",
        metadata=SoundMetadata(prompt="rain on a tin roof", engine="test", warnings=("first: given",)),
        **more,
    )


def raw(audio, seed=1, rate=RATE, looped=False, notes=NOISE):
    return RawCandidate(audio=audio, sample_rate=rate, seed=seed, looped=looped, notes=notes)


class Ear:
    """A scorer that likes what is bright: its two dimensions are dull and bright."""

    info = EngineInfo(name="ear", role="scorer", model="ear", licence="none", commercial_use=True, dimensions=2)

    def __init__(self):
        self.heard_db = []

    def embed_text(self, texts):
        return np.tile(np.array([0.0, 1.0], np.float32), (len(texts), 1))

    def embed_audio(self, sounds, sample_rate):
        vectors = []
        for sound in sounds:
            self.heard_db.append(loudness.loudness_lufs(sound, sample_rate))
            brightness = np.square(np.diff(sound)).mean() / np.square(sound).mean() / 4
            vectors.append([np.sqrt(1 - brightness**2), brightness])
        return np.array(vectors, np.float32)

    def close(self):
        pass


def test_the_file_is_what_the_metadata_says(mastering, tmp_path):
    finished = finish(mastering, tmp_path, [raw(white(5 * RATE))], 5)
    told = finished.sound.metadata
    audio, rate = codec.read(tmp_path / "sound.flac")
    found = codec.inspect(tmp_path / "sound.flac")
    assert finished.sound.path == str(tmp_path / "sound.flac")
    assert (found["format"], found["bit_depth"]) == (told["format"], told["bit_depth"]) == ("flac", 24)
    assert audio.shape == (told["channels"], round(told["duration_s"] * rate)) == (2, 5 * RATE)
    assert rate == told["sample_rate"]
    assert told["loudness_lufs"] == pytest.approx(loudness.loudness_lufs(audio, rate), abs=0.02)
    assert told["loudness_lufs"] == pytest.approx(-23.0, abs=0.02)
    assert told["true_peak_dbfs"] == pytest.approx(loudness.true_peak_dbfs(audio, rate), abs=0.02)
    assert (told["accepted"], told["seed"], told["is_loop"], told["loop"]) == (True, 1, False, None)
    assert told["quality"] == {"score": 100.0, "issues": []}
    assert told["clap_similarity"] is None
    assert told["warnings"] == ["first: given"]
    assert told.timings_ms.master > 0 and told.timings_ms.total == 0
    assert finished.sound.delivered_path is None
    assert set(finished.vectors) == {"sound:descriptors"}
    json.dumps(dict(told))


def test_the_recipe_is_in_the_file(mastering, tmp_path):
    finished = finish(mastering, tmp_path, [raw(white(RATE), seed=99)], 1)
    inside = codec.inspect(tmp_path / "sound.flac")["recipe"]
    assert inside["prompt"] == "rain on a tin roof"
    assert inside["seed"] == 99
    assert inside["recipe_id"] == finished.sound.recipe.identity()
    assert codec.inspect(tmp_path / "sound.flac")["comment"] == comment_of(
        finished.sound.recipe, finished.sound.metadata, rendition_for()
    )


def test_a_loop_has_the_exact_length_no_click_and_a_measured_seam(mastering, tmp_path):
    finished = finish(mastering, tmp_path, [raw(pink(round(5.5 * RATE)))], 4, loop=True)
    told = finished.sound.metadata
    audio, rate = codec.read(tmp_path / "sound.flac")
    assert audio.shape == (2, 4 * RATE)
    crossfade = round(told["loop"]["crossfade_s"] * rate)
    assert crossfade == round(1.5 * RATE)
    assert told["loop"]["seam_score"] == pytest.approx(seam_score(audio, rate, crossfade), abs=0.1)
    assert told["loop"]["seam_score"] > 90
    assert told["loudness_lufs"] == pytest.approx(loudness.loudness_lufs(audio, rate, circular=True), abs=0.02)


def test_a_native_loop_is_filtered_and_resampled_as_a_loop(mastering, tmp_path):
    """A tone of whole cycles: any start transient, pad or crossfade would show."""
    turn = tone(2 * 48_000, 60, 0.3, 48_000) + tone(2 * 48_000, 997, 0.1, 48_000)
    finish(mastering, tmp_path, [raw(turn, rate=48_000, looped=True)], 2, loop=True)
    audio, _ = codec.read(tmp_path / "sound.flac")
    spectrum = np.abs(np.fft.rfft(audio[0]))
    lines = {2 * 60, 2 * 997}
    assert set(np.argsort(spectrum)[-2:]) == lines
    rest = np.delete(spectrum, sorted(lines))
    assert 20 * np.log10(rest.max() / spectrum.max()) < -100


def test_a_native_loop_of_the_wrong_length_is_treated_as_material(mastering, tmp_path):
    turn = white(3 * RATE)
    finished = finish(mastering, tmp_path, [raw(turn, looped=True)], 2, loop=True)
    assert finished.sound.metadata["loop"]["crossfade_s"] > 0
    assert codec.read(tmp_path / "sound.flac")[0].shape == (2, 2 * RATE)


def test_a_native_loop_that_starts_on_a_stroke_is_turned_to_a_calm_place(mastering, tmp_path):
    stroke = decaying(2 * RATE, 0.2)
    notes = Notes(expects=frozenset({"decay"}))
    finished = finish(mastering, tmp_path, [raw(stroke, looped=True, notes=notes)], 2, loop=True)
    audio, _ = codec.read(tmp_path / "sound.flac")
    assert finished.sound.metadata["loop"]["seam_score"] >= 97
    onset = np.argmax(np.abs(audio[0]) > 0.3 * np.abs(audio[0]).max()) / RATE
    assert 0.1 < onset < 0.6


def test_a_native_loop_whose_joint_shows_is_crossfaded_unless_it_was_insisted_on(mastering, tmp_path):
    """Noise that swells by 15 dB over the turn and then drops: heard wherever the turn begins."""
    swelling = (white(4 * RATE) * np.geomspace(0.2, 1.2, 4 * RATE)).astype(np.float32)
    made = finish(mastering, tmp_path, [raw(swelling, looped=True)], 4, loop=True).sound.metadata
    assert made["loop"]["method"] == "crossfade" and made["loop"]["crossfade_s"] > 0
    assert made["loop"]["seam_score"] > 50
    names = [warning.split(":")[0] for warning in made["warnings"]]
    assert names == ["first", "loop_crossfaded", "loop_extended"]
    audio, _ = codec.read(tmp_path / "sound.flac")
    levels = np.array([np.square(part).mean() for part in np.array_split(audio[0], 40)])
    jumps = np.abs(10 * np.log10(np.roll(levels, -1) / levels))
    assert jumps.max() < 6.0

    shape = structs.replace(shape_for(4, loop=True), loop_method="native")
    kept = finish(mastering, tmp_path, [raw(swelling, looped=True)], 4, loop=True, shape=shape).sound.metadata
    assert (kept["loop"]["method"], kept["loop"]["crossfade_s"]) == ("native", 0.0)
    even = finish(mastering, tmp_path, [raw(white(4 * RATE), looped=True)], 4, loop=True).sound.metadata
    assert (even["loop"]["method"], even["loop"]["crossfade_s"]) == ("native", 0.0)
    assert [warning.split(":")[0] for warning in even["warnings"]] == ["first"]


def test_material_without_a_tail_is_extended_with_a_warning(mastering, tmp_path):
    finished = finish(mastering, tmp_path, [raw(white(4 * RATE))], 4, loop=True)
    assert [warning.split(":")[0] for warning in finished.sound.metadata["warnings"]] == ["first", "loop_extended"]


@pytest.mark.parametrize(("noted", "kept"), [(None, False), (200.0, False), (20.0, True), (0.0, True)])
def test_notes_lower_the_high_pass_but_never_raise_it(mastering, tmp_path, noted, kept):
    audio = tone(3 * RATE, 40, 0.1) + tone(3 * RATE, 150, 0.3)
    notes = Notes(expects=frozenset({"decay"}), highpass_hz=noted)
    finish(mastering, tmp_path, [raw(audio, notes=notes)], 3)
    out, _ = codec.read(tmp_path / "sound.flac")
    middle = out[:, RATE : 2 * RATE]
    ratio = 3 * amplitude_at(middle, 40) / amplitude_at(middle, 150)
    assert (ratio > 0.9) == kept
    assert amplitude_at(middle, 150) > 0.02


def test_no_high_pass_where_none_was_asked_for(mastering, tmp_path):
    audio = tone(2 * RATE, 40, 0.3) + tone(2 * RATE, 150, 0.3)
    finish(mastering, tmp_path, [raw(audio)], 2, shape=shape_for(2, highpass_hz=None))
    middle = codec.read(tmp_path / "sound.flac")[0][:, RATE // 2 : -RATE // 2]
    assert amplitude_at(middle, 40) == pytest.approx(amplitude_at(middle, 150), rel=0.01)


@pytest.mark.parametrize("rate", [16_000, 24_000, 48_000])
def test_other_rates_give_exactly_the_frames_asked_for(mastering, tmp_path, rate):
    seconds = 1.23457
    engine_frames = frames_of(seconds, rate)
    finish(mastering, tmp_path, [raw(white(engine_frames), rate=rate)], seconds)
    audio, found = codec.read(tmp_path / "sound.flac")
    assert (audio.shape[1], found) == (frames_of(seconds, RATE), RATE)


def test_one_shots_start_and_end_at_rest(mastering, tmp_path):
    finish(mastering, tmp_path, [raw(white(RATE))], 1)
    audio, _ = codec.read(tmp_path / "sound.flac")
    assert np.abs(audio[:, 0]).max() < 1e-3
    assert np.abs(audio[:, -1]).max() < 1e-3
    clean = np.zeros((2, RATE), np.float32)
    clean[:, 100:30_000] = chord(29_900) * np.hanning(29_900).astype(np.float32)
    finish(mastering, tmp_path, [raw(clean)], 1, shape=shape_for(1, highpass_hz=None))
    audio, _ = codec.read(tmp_path / "sound.flac")
    gain = np.abs(audio).max() / np.abs(clean).max()
    assert np.abs(audio - gain * clean).max() < 1e-4, "a sound at rest at its edges is left alone"


def test_without_a_scorer_the_best_quality_wins_and_the_first_among_equals(mastering, tmp_path):
    hissing = chord(2 * RATE) + white(2 * RATE, 0.03)
    clean = [raw(chord(2 * RATE) * np.float32(gain), seed, notes=Notes()) for seed, gain in ((5, 1.0), (6, 0.5))]
    finished = finish(mastering, tmp_path, [raw(hissing, 4, notes=Notes()), *clean], 2, prompt="a chord")
    told = finished.sound.metadata
    assert told["seed"] == 5
    # nothing can be better than one without a fault: what follows is not judged
    assert [one["verdict"] for one in told["candidates"]] == ["not_chosen", "chosen", "not_judged"]
    assert [one["seed"] for one in told["candidates"]] == [4, 5, 6]
    assert told["candidates"][2]["score"] is told["candidates"][2]["quality"] is None
    assert told["candidates"][0]["quality"]["issues"] == ["hiss"]


def test_with_a_scorer_the_nearest_to_the_prompt_wins_among_those_that_pass(mastering, tmp_path):
    broken = white(2 * RATE)
    broken[0, 5] = np.nan
    candidates = [raw(pink(2 * RATE), 1), raw(white(2 * RATE, 0.01), 2), raw(broken, 3)]
    ear = Ear()
    finished = finish(mastering, tmp_path, candidates, 2, scorer=ear, tau_accept_new=0.4)
    told = finished.sound.metadata
    assert told["seed"] == 2
    assert told["accepted"]
    assert told["tau_accept_new"] == 0.4
    assert told["clap_similarity"] == told["candidates"][1]["clap_similarity"] > 0.4
    assert [one["verdict"] for one in told["candidates"]] == ["not_chosen", "chosen", "failed_gate"]
    assert told["candidates"][2]["clap_similarity"] is None
    assert ear.heard_db == pytest.approx([-23.0, -23.0], abs=0.1), "it hears what will be heard"
    assert finished.vectors["sound:ear"][1] == pytest.approx(told["clap_similarity"])


def test_below_tau_the_best_is_delivered_but_not_accepted(mastering, tmp_path):
    candidates = [raw(pink(2 * RATE), 1), raw(pink(2 * RATE) + white(2 * RATE, 0.02), 2)]
    finished = finish(mastering, tmp_path, candidates, 2, scorer=Ear(), tau_accept_new=0.9)
    told = finished.sound.metadata
    assert (finished.sound.accepted, told["accepted"], told["seed"]) == (False, False, 2)
    assert [one["verdict"] for one in told["candidates"]] == ["not_chosen", "best_of_rejected"]
    assert (tmp_path / "sound.flac").exists()


def test_when_none_passes_the_error_names_every_fault_and_nothing_is_written(mastering, tmp_path):
    silent, short = np.zeros((2, 2 * RATE), np.float32), chord(RATE)
    with pytest.raises(QualityError, match=r"seed 11: silence; seed 12: wrong_length"):
        finish(mastering, tmp_path, [raw(silent, 11), raw(short, 12)], 2)
    assert not list(tmp_path.iterdir())


def test_clipping_of_the_raw_candidate_is_found_though_the_filter_tilts_it(mastering, tmp_path):
    clipped = np.clip(4 * chord(frames_of(2, 48_000), 48_000), -0.8, 0.8)
    with pytest.raises(QualityError, match="seed 1: clipping"):
        finish(mastering, tmp_path, [raw(clipped, rate=48_000, notes=Notes())], 2)


def test_engines_that_are_not_gated_deliver_what_they_make_unless_it_is_no_sound(mastering, tmp_path):
    silent = np.zeros((2, 2 * RATE), np.float32)
    finished = finish(mastering, tmp_path, [raw(silent)], 2, gated=False)
    told = finished.sound.metadata
    assert told["accepted"]
    assert told["quality"]["issues"] == ["silence"]
    assert (told["loudness_lufs"], told["true_peak_dbfs"]) == (None, None)
    assert not codec.read(tmp_path / "sound.flac")[0].any()
    with pytest.raises(QualityError, match="nan"):
        finish(mastering, tmp_path, [raw(silent * np.nan)], 2, gated=False)
    with pytest.raises(InvalidAudio, match=r"seed 3: given shape \(5,\)"):
        finish(mastering, tmp_path, [raw(np.zeros(5), 3)], 2)


def test_the_true_peak_limits_and_a_warning_says_so(mastering, tmp_path):
    finished = finish(mastering, tmp_path, [raw(steps(3 * RATE, 1.4))], 3, rendition=rendition_for(lufs=-14.0))
    told = finished.sound.metadata
    audio, rate = codec.read(tmp_path / "sound.flac")
    assert loudness.true_peak_dbfs(audio, rate) == pytest.approx(-2.0, abs=0.02)
    assert told["loudness_lufs"] < -15
    assert told["warnings"][-1].startswith("loudness_limited: ")


def test_a_short_clip_is_set_by_its_peak(mastering, tmp_path):
    notes = Notes(expects=frozenset({"decay"}))
    finished = finish(mastering, tmp_path, [raw(decaying(round(0.2 * RATE), 0.02), notes=notes)], 0.2)
    assert finished.sound.metadata["true_peak_dbfs"] == pytest.approx(-8.0, abs=0.1)
    assert finished.sound.metadata["loudness_lufs"] is None


@pytest.mark.parametrize(
    ("format", "depth", "rate", "name"),
    [("wav", 16, RATE, "sound.wav"), ("wav", 32, 48_000, "sound.wav"), ("flac", 16, RATE, "sound.rendition.flac"),
     ("ogg", 16, RATE, "sound.ogg"), ("opus", 16, RATE, "sound.opus"), ("mp3", 16, 48_000, "sound.mp3")],
)  # fmt: skip
@pytest.mark.parametrize("loop", [False, True])
def test_renditions_are_measured_as_they_are_heard(mastering, tmp_path, format, depth, rate, name, loop):
    rendition = rendition_for(format, rate, depth, lufs=-16.0)
    made = pink(round(4.5 * RATE) if loop else 3 * RATE, 0.2)
    finished = finish(mastering, tmp_path, [raw(made)], 3, loop=loop, rendition=rendition)
    assert finished.sound.delivered_path == str(tmp_path / name)
    told = finished.sound.delivered
    audio, found = codec.read(tmp_path / name)
    assert told["format"] == format
    assert found == told["sample_rate"] == codec.nearest_rate(format, rate)
    assert audio.shape[1] == round(told["duration_s"] * found) == 3 * found
    assert told["loudness_lufs"] == pytest.approx(loudness.loudness_lufs(audio, found, circular=loop), abs=0.03)
    assert told["loudness_lufs"] == pytest.approx(-16.0, abs=0.7)
    assert told["true_peak_dbfs"] == pytest.approx(loudness.true_peak_dbfs(audio, found, circular=loop), abs=0.03)
    assert told["true_peak_dbfs"] <= -2.0 + 0.1
    assert told.get("bit_depth") == (depth if format in ("wav", "flac") else None)
    recipes = [codec.inspect(tmp_path / one)["recipe"]["recipe"] for one in (name, "sound.flac")]
    assert recipes[0] == recipes[1]
    assert (codec.inspect(tmp_path / name)["loop"] is not None) == (loop and format in ("wav", "flac", "ogg"))


def test_a_file_of_a_lower_rate_is_as_loud_as_the_sound(mastering, tmp_path):
    """What lies above the lower rate is most of this noise's level: it must not count, for it is not heard."""
    hiss = np.diff(pink(3 * RATE + 1, 0.2)).astype(np.float32)
    rendition = structs.replace(rendition_for("ulaw", lufs=-30.0), mono=True)
    told = finish(mastering, tmp_path, [raw(hiss)], 3, rendition=rendition).sound.delivered
    audio, rate = codec.read_back(tmp_path / "sound.ulaw", "ulaw", 8_000, 1)
    assert rate == told["sample_rate"]
    assert [warning.partition(":")[0] for warning in told["warnings"]] == ["rate_changed"]
    assert loudness.loudness_lufs(audio, rate) == pytest.approx(-30.0, abs=0.5)
    again = mastering.render(tmp_path / "sound.flac", rendition, tmp_path / "again", loop=False, comment="")
    assert again.loudness_lufs == pytest.approx(told["loudness_lufs"], abs=0.3)
    assert list(again.warnings) == told["warnings"]


@pytest.mark.parametrize("format", ["ogg", "opus", "mp3"])
def test_lossy_overshoot_is_taken_back(mastering, tmp_path, format):
    """Flat tops are what codecs overshoot: written as they are, all three pass the limit by 0.6 to 2 dB."""
    clipped = np.clip(pink(3 * RATE, 0.3), -0.4, 0.4)
    notes = Notes(expects=frozenset({"noise", "clipping"}))
    rendition = rendition_for(format, lufs=-5.0, peak=-1.0)
    shape = shape_for(3, highpass_hz=None)
    finished = finish(mastering, tmp_path, [raw(clipped, notes=notes)], 3, rendition=rendition, shape=shape)
    assert finished.sound.metadata["true_peak_dbfs"] == pytest.approx(-1.0, abs=0.02)
    audio, rate = codec.read(tmp_path / f"sound.{format}")
    assert -2.5 < loudness.true_peak_dbfs(audio, rate) <= -0.9
    assert finished.sound.delivered.loudness_lufs < finished.sound.metadata.loudness_lufs - 0.3


def test_a_kept_master_renders_again_at_another_rate_level_and_format(mastering, tmp_path):
    finish(mastering, tmp_path, [raw(pink(round(4.5 * RATE)))], 3, loop=True)
    out = tmp_path / "out.wav"
    told = mastering.render(
        tmp_path / "sound.flac", rendition_for("wav", 48_000, 16, lufs=-30.0), out, loop=True, comment=""
    )
    audio, rate = codec.read(out)
    assert rate == told["sample_rate"] == 48_000
    assert audio.shape == (2, 3 * 48_000)
    assert loudness.loudness_lufs(audio, rate, circular=True) == pytest.approx(-30.0, abs=0.05)
    assert told["loudness_lufs"] == -30.0
    assert codec.inspect(out)["loop"] == {"start": 0, "end": 3 * 48_000 - 1}
    assert codec.inspect(out)["recipe"] == codec.inspect(tmp_path / "sound.flac")["recipe"]
    assert seam_score(audio, rate, 0) > 90
    mastering.render(tmp_path / "sound.flac", rendition_for("ogg"), out, loop=True, comment='{"a":1}')
    found = codec.inspect(out)["recipe"]
    assert found.pop("master") == codec.inspect(tmp_path / "sound.flac")["recipe"]["rendition"]
    assert found == {"a": 1}, "and how the master was levelled"


def test_the_same_candidates_give_the_same_samples(mastering, tmp_path):
    samples = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        finish(mastering, tmp_path / folder, [raw(white(round(3.5 * RATE)))], 2, loop=True)
        samples.append(codec.read(tmp_path / folder / "sound.flac")[0])
    assert np.array_equal(*samples)


def test_a_rendition_that_cannot_be_written_leaves_no_master(mastering, tmp_path):
    with pytest.raises(InvalidRequest, match="allowed for flac is one of 16, 24"):
        finish(mastering, tmp_path, [raw(white(RATE))], 1, rendition=rendition_for("flac", depth=32))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_of_the_built_in_engine_passes_without_an_alarm(mastering, tmp_path, name):
    engine = ProceduralEngine()
    for loop, seconds in ((True, 3.0), (False, 2.0)):
        item = Item(prompt=name.replace("_", " "), seed=3, duration_s=seconds, loop=loop, sample_rate=RATE)
        candidate = raw(engine.generate([item])[0], looped=loop, notes=engine.notes(item))
        told = finish(mastering, tmp_path, [candidate], seconds, loop=loop).sound.metadata
        assert told["quality"] == {"score": 100.0, "issues": []}
        assert not loop or told["loop"]["seam_score"] > 95


def test_real_recordings_are_mastered_to_level(mastering, tmp_path):
    for path in recordings():
        audio, rate = codec.read(path)
        if audio.shape[1] < 0.5 * rate:
            continue
        seconds = audio.shape[1] / rate
        told = finish(mastering, tmp_path, [raw(audio, rate=rate)], seconds).sound.metadata
        out, found = codec.read(tmp_path / "sound.flac")
        assert out.shape[1] == frames_of(seconds, RATE), path.name
        assert loudness.true_peak_dbfs(out, found) <= -1.98, path.name
        assert told["loudness_lufs"] == pytest.approx(-23.0, abs=0.05) or told["true_peak_dbfs"] == -2.0, path.name


def test_naming_the_engine_loads_no_heavy_library():
    code = (
        "import sys, audio_pool.worker.mastering; "
        "print([name for name in ('scipy', 'soundfile', 'soxr', 'librosa') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def kick(seconds):
    """Four strokes of a drum that falls from 90 to 45 Hz."""
    t = np.arange(round(seconds * RATE)) / RATE % 0.5
    wave = 0.6 * np.sin(2 * np.pi * (45 * t + 45 * 0.05 * (1 - np.exp(-t / 0.05)))) * np.exp(-t / 0.15)
    return np.stack([wave, 0.95 * wave]).astype(np.float32)


def low_part(audio):
    spectrum = np.square(np.abs(np.fft.rfft(audio[0])))
    hz = np.fft.rfftfreq(audio.shape[1], 1 / RATE)
    return float(spectrum[hz < 70].sum() / spectrum.sum())


@pytest.mark.parametrize(
    ("made", "prompt", "hz", "why"),
    [
        (kick(2), "techno loop", 25.0, "spectrum"),
        (chord(2 * RATE), "war drums far away", 25.0, "words"),
        (chord(2 * RATE), "no drums, a chord", 80.0, "configured"),
        (chord(2 * RATE) + tone(2 * RATE, 30, 0.02), "a voice in a room", 80.0, "configured"),
        (white(2 * RATE), "a waterfall", 80.0, "configured"),
    ],
)
def test_the_high_pass_lets_low_sounds_live_and_says_why(mastering, tmp_path, made, prompt, hz, why):
    notes = Notes(expects=frozenset({"decay", "noise"}))
    told = finish(mastering, tmp_path, [raw(made, notes=notes)], 2, prompt=prompt).sound.metadata
    assert told["highpass"] == {"hz": hz, "why": why}


def test_a_kick_keeps_its_lows(mastering, tmp_path):
    notes = Notes(expects=frozenset({"decay"}))
    finish(mastering, tmp_path, [raw(kick(2), notes=notes)], 2, prompt="boom")
    out, _ = codec.read(tmp_path / "sound.flac")
    assert 10 * np.log10(low_part(out) / low_part(kick(2))) > -1


def test_words_disarm_the_check_for_noise(mastering, tmp_path):
    made = [raw(white(2 * RATE), notes=Notes())]
    assert finish(mastering, tmp_path, made, 2, prompt="heavy rain").sound.metadata["quality"]["issues"] == []
    with pytest.raises(QualityError, match="hiss"):
        finish(mastering, tmp_path, made, 2, prompt="a flute without wind")


def test_whether_an_edge_is_at_rest_is_a_question_of_the_sound_s_own_level(mastering, tmp_path):
    notes = Notes(expects=frozenset({"decay", "silence"}))
    for gain in (1.0, 0.004):
        made = raw(white(RATE, 0.2) * np.float32(gain))
        finish(mastering, tmp_path, [raw(made.audio, notes=notes)], 1, prompt="rain", gated=False)
        audio, _ = codec.read(tmp_path / "sound.flac")
        assert np.abs(audio[:, 0]).max() < 2e-3 * np.abs(audio).max()


def test_a_limited_rendition_stands_beside_a_master_that_is_not(mastering, tmp_path):
    rendition = structs.replace(rendition_for(lufs=-14.0, peak=-1.0), limiter=True)
    finished = finish(mastering, tmp_path, [raw(steps(3 * RATE, 0.4))], 3, rendition=rendition)
    assert finished.sound.delivered_path == str(tmp_path / "sound.rendition.flac")
    told = finished.sound.delivered
    audio, rate = codec.read(tmp_path / "sound.rendition.flac")
    assert told["loudness_lufs"] == pytest.approx(loudness.loudness_lufs(audio, rate), abs=0.03)
    assert told["loudness_lufs"] == pytest.approx(-14.0, abs=0.5)
    assert loudness.true_peak_dbfs(audio, rate) <= -0.98
    assert told["limited_db"] > 3
    assert finished.sound.metadata.loudness_lufs < -15, "the master keeps its peaks"
    assert told.applied(finished.sound.metadata)["limited_db"] == told["limited_db"]


def test_a_mono_rendition_has_one_channel_and_says_so(mastering, tmp_path):
    rendition = structs.replace(rendition_for("wav", depth=16), mono=True)
    told = finish(mastering, tmp_path, [raw(pink(2 * RATE))], 2, rendition=rendition).sound
    assert codec.read(tmp_path / "sound.wav")[0].shape[0] == told.delivered["channels"] == 1
    assert codec.read(tmp_path / "sound.flac")[0].shape[0] == told.metadata["channels"] == 2


def test_a_low_score_is_not_accepted_and_a_failed_one_only_delivered_where_that_is_wanted(mastering, tmp_path):
    one_side = chord(2 * RATE) * np.array([[1.0], [0.05]], np.float32)
    poor = [raw(one_side, notes=Notes())]
    assert not finish(mastering, tmp_path, poor, 2, min_quality=50.0, prompt="a chord").sound.accepted
    assert finish(mastering, tmp_path, poor, 2, min_quality=10.0, prompt="a chord").sound.accepted
    failed = [raw(white(2 * RATE), 1, notes=Notes()), raw(np.zeros((2, 2 * RATE), np.float32), 2, notes=Notes())]
    with pytest.raises(QualityError):
        finish(mastering, tmp_path, failed, 2, prompt="a chord")
    best = finish(mastering, tmp_path, failed, 2, prompt="a chord", deliver_best=True).sound
    assert not best.accepted
    assert [one["verdict"] for one in best.metadata["candidates"]] == ["best_of_rejected", "failed_gate"]
    with pytest.raises(QualityError, match="wrong_length"):
        finish(mastering, tmp_path, [raw(chord(RATE))], 2, prompt="a chord", deliver_best=True)


def test_a_sound_that_failed_the_gate_is_behind_every_other_whatever_clap_thinks_of_it():
    failed = SoundMetadata(quality=QualityReport(score=10.0, issues=("hiss",)), clap_similarity=0.9)
    poor = SoundMetadata(quality=QualityReport(score=30.0, issues=("whistle",)), clap_similarity=-0.2)
    assert score_of(failed) < score_of(poor) < score_of(structs.replace(poor, clap_similarity=None))


def test_an_ogg_is_no_louder_than_its_target_where_the_codec_fills_a_silent_tail(mastering, tmp_path):
    item = Item(prompt="glass", seed=15, duration_s=6.0)
    made = finish(
        mastering, tmp_path, [raw(ProceduralEngine().generate([item])[0], notes=ProceduralEngine().notes(item))], 6.0,
        prompt="glass", rendition=rendition_for("ogg", lufs=-27.0),
    )  # fmt: skip
    decoded, rate = codec.read(Path(made.sound.delivered_path))
    assert loudness.loudness_lufs(decoded, rate) == pytest.approx(-27, abs=0.3)
    assert made.sound.delivered.loudness_lufs == pytest.approx(loudness.loudness_lufs(decoded, rate), abs=0.01)


@pytest.mark.parametrize("format", ["flac", "wav"])
def test_a_folder_that_takes_no_files_is_passed_over_for_another(mastering, tmp_path, format):
    no_folder, spill = tmp_path / "file", tmp_path / "spill"
    no_folder.write_text("a file")
    spill.mkdir()
    depth = 24 if format == "flac" else 16
    rendition = rendition_for(format, depth=depth)
    finished = finish(mastering, no_folder, [raw(white(RATE))], 1, rendition=rendition, spill=spill)
    assert finished.sound.path == str(spill / "sound.flac")
    assert {path.name for path in spill.iterdir()} == {"sound.flac", *(() if format == "flac" else ("sound.wav",))}


def test_a_rendition_that_cannot_be_written_leaves_no_file(mastering, tmp_path):
    (tmp_path / "sound.wav").mkdir()
    with pytest.raises(StorageError):
        finish(mastering, tmp_path, [raw(white(RATE))], 1, rendition=rendition_for("wav", depth=16))
    assert [path.name for path in tmp_path.iterdir()] == ["sound.wav"]


def one_channel(seconds):
    return chord(round(seconds * 24_000), 24_000)[:1]


def test_what_is_said_is_as_long_as_it_is_and_compared_with_nothing(mastering, tmp_path):
    shape = structs.replace(shape_for(9.0), natural_length=True)
    hello = np.concatenate([one_channel(1.0), np.zeros((1, 36_000), np.float32), one_channel(0.737)], axis=1)
    notes = Notes(expects=frozenset({"pauses", "decay", "mono"}), highpass_hz=50.0)
    made = mastering.finish(
        [raw(hello, seed=3, rate=24_000, notes=notes), raw(hello, seed=4, rate=24_000, notes=notes)],
        recipe=recipe_for(9.0, prompt="Only white noise and thunder, he said."),
        shape=shape, rendition=rendition_for(), directory=tmp_path, name="said",
        metadata=SoundMetadata(prompt="said", engine="voice", speech=True, requested_duration_s=9.0),
        scorer=(ear := Ear()), tau_accept_new=0.99,
    )  # fmt: skip
    told = made.sound.metadata
    frames = round(hello.shape[1] * RATE / 24_000)
    assert told.duration_s == pytest.approx(frames / RATE, abs=2 / RATE) == told.requested_duration_s
    assert told.natural_length and codec.read(Path(made.sound.path))[0].shape[1] == round(told.duration_s * RATE)
    assert told.accepted and told.clap_similarity is None and told.tau_accept_new is None and not ear.heard_db
    assert told.quality == QualityReport(score=100.0) and told.highpass.hz == 50.0
    with pytest.raises(QualityError, match="silence"):
        finish(mastering, tmp_path, [raw(np.zeros((1, 24_000), np.float32), notes=notes)], 1.0, shape=shape)
    said = SoundMetadata(prompt="white noise", engine="voice", speech=True)
    with pytest.raises(QualityError, match="hiss"):
        mastering.finish(
            [raw(white(2 * RATE)[:1], notes=notes)], recipe=recipe_for(2.0, prompt="white noise"), shape=shape,
            rendition=rendition_for(), directory=tmp_path, name="hiss", metadata=said,
        )  # fmt: skip


def test_what_is_not_chosen_is_finished_in_the_same_way_where_it_is_to_be_kept(mastering, tmp_path):
    dull, bright = pink(2 * RATE), white(2 * RATE)
    # the first and the third are as loud as the one that is chosen, by far, before their gain
    broken = raw(np.full((2, 2 * RATE), np.nan, np.float32), seed=4)
    clipped = raw(np.clip(8 * dull, -1.0, 1.0), seed=5)
    candidates = [raw(dull * 0.1, seed=1), raw(bright, seed=2), raw(dull, seed=3), broken, clipped]
    wanted = rendition_for("ogg", 44_100)
    ear = Ear()
    kept = finish(mastering, tmp_path, candidates, 2, scorer=ear, rendition=wanted, keep=True)
    assert kept.sound.metadata.seed == 2 and kept.sound.metadata.clap_similarity is not None
    others = {one.sound.metadata.seed: one for one in kept.others}
    assert set(others) == {1, 3, 5}, "what is no sound is not kept; what the gate refuses may please the ear"
    for seed in (1, 3):
        one = others[seed]
        told = one.sound.metadata
        audio, rate = codec.read(Path(one.sound.path))
        assert told.loudness_lufs == pytest.approx(loudness.loudness_lufs(audio, rate), abs=0.05)
        assert told.loudness_lufs == pytest.approx(kept.sound.metadata.loudness_lufs, abs=0.1)
        assert told.clap_similarity is not None and set(one.vectors) == set(kept.vectors)
        assert one.sound.delivered is not None and one.sound.delivered.format == "ogg"
        assert Path(one.sound.delivered_path).read_bytes().startswith(b"OggS")
        assert [one.seed for one in told.candidates] == [1, 2, 3, 4, 5]
    verdicts = {one.seed: one.verdict for one in kept.sound.metadata.candidates}
    assert verdicts == {1: "not_chosen", 2: "chosen", 3: "not_chosen", 4: "failed_gate", 5: "failed_gate"}
    assert others[1].sound.accepted and not others[5].sound.accepted
    names = {Path(one.sound.path).name for one in kept.others}
    assert len(names) == 3 and "sound.flac" not in names


def test_whether_others_are_kept_makes_no_difference_to_the_sound(mastering, tmp_path):
    candidates = [raw(white(RATE), seed=1), raw(pink(RATE), seed=2)]
    for name, keep in (("one", False), ("other", True)):
        (tmp_path / name).mkdir()
        made = finish(mastering, tmp_path / name, candidates, 1, keep=keep)
        assert made.sound.metadata.seed == 1 and len(made.others) == keep
    one, other = (codec.read(tmp_path / name / "sound.flac")[0] for name in ("one", "other"))
    assert np.array_equal(one, other)


def test_a_candidate_that_no_disk_takes_costs_nobody_the_sound(mastering, tmp_path, monkeypatch):
    from audio_pool.worker import files

    write, written = files.written, []

    def full(audio, shape, rendition, directory, name, *rest):
        written.append(name)
        if name != "sound":
            raise StorageError("the disk is full")
        return write(audio, shape, rendition, directory, name, *rest)

    monkeypatch.setattr(files, "written", full)
    made = finish(mastering, tmp_path, [raw(white(RATE), seed=1), raw(pink(RATE), seed=2)], 1, keep=True)
    assert made.sound.metadata.seed == 1 and made.others == () and len(written) == 2
