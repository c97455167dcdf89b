"""ACE-Step 1.5 on tiny random checkpoints in diffusers' layout, against the plain library pipeline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.engines.diffusion_contract import Contract, close, item
from tests.engines.sound_from_sound import NEW_S, SECONDS, FromSound, given
from tests.support import flow_checkpoints
from tests.support.plain_pipelines import PLAIN

from audio_pool.engines import load_engine
from audio_pool.errors import InvalidRequest

SHORT = "below_training_length: ace_step was trained on 10 s and more; 0.8 s may have neither beginning nor end"


class TestAceStep(Contract, FromSound):
    """The base model, which is guided."""

    name = "ace_step"
    option = ("shift", 1.0)
    plain_samplers = ("euler",)
    negative = False
    usual_warnings = (SHORT,)
    half_error = 0.25  # its guidance makes much of small differences

    @classmethod
    def build(cls, directory: Path) -> Path:
        return flow_checkpoints.ace_step(directory)

    def test_latents_outside_the_part_are_the_sounds_own(self, engine):
        """Of this model they are not: it is shown what lies there, and makes all of it (see below)."""
        assert engine.info.inpaint and engine.info.extend

    def test_progress_counts_every_step(self, engine):
        """Of each text by itself, which is another pass."""
        seen: list[tuple[int, int]] = []
        engine.generate([item(), item("dog"), item(steps=2)], lambda *at: seen.append(at))
        assert seen == [(done, 10) for done in range(1, 11)]

    def test_its_own_steps_and_guidance_are_the_base_models(self, engine):
        assert (engine.info.steps, engine.info.guidance_scale, engine.info.longest_s) == (50, 7.0, 600.0)

    @pytest.mark.parametrize(
        "options",
        [
            {"lyrics": "[verse] la la la"},
            {"bpm": 120},
            {"keyscale": "F# minor"},
            {"timesignature": "6"},
            {"lyrics": "la", "vocal_language": "de"},
            {"cfg_interval_start": 0.3},
            {"cfg_interval_end": 0.3},
        ],
        ids=lambda options: next(reversed(options)),
    )
    def test_every_musical_fact_is_the_plain_pipelines_alone_and_beside_others(self, engine, plain, options):
        asked = item(options=options)
        base, found = engine.generate([item(), asked])
        assert np.abs(found - base).max() > 1e-3
        close(found, plain(asked), 2e-4)
        close(engine.generate([asked])[0], found)

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"bpm": 20}, "bpm: given 20, .* a whole number, 30 to 300"),
            ({"keyscale": "H major"}, "keyscale: given 'H major', .* one of A major"),
            ({"timesignature": "5"}, "timesignature: given '5', .* one of 2, 3, 4, 6"),
            ({"vocal_language": "klingon"}, "vocal_language: given 'klingon'"),
            ({"lyrics": "la " * 2000}, "lyrics: .* at most 4096 characters|lyrics: .* 0 to 4096 characters"),
            ({"cfg_interval_start": 0.6, "cfg_interval_end": 0.5}, "cfg_interval_end: given 0.5, allowed is at least"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_facts_that_no_music_has_are_refused(self, engine, options, says):
        with pytest.raises(InvalidRequest, match=says):
            engine.notes(item(options=options))

    def test_candidates_share_a_pass_and_other_texts_do_not(self, engine):
        """Shown together, texts would read each other's padding: 1e-2 of difference in the plain pipeline."""
        seen: list[tuple[int, int]] = []
        engine.latents([item(seed=1), item(seed=2), item("dog", 3)], lambda *at: seen.append(at))
        assert seen[-1] == (8, 8)

    def test_what_the_model_does_not_read_is_said(self, engine):
        said = engine.notes(item("rain on a tin roof " * 20, options={"lyrics": "la la la " * 300})).warnings
        names = {each.split(":")[0] for each in said}
        assert {"prompt_truncated", "lyrics_truncated"} <= names
        assert any("tempo, key, metre and length come last" in each for each in said)

    def test_a_cover_is_the_plain_pipelines_from_the_same_latents(self, engine, plain, likeliest):
        sound = given(engine)
        kept = engine.latents([item(init_audio=sound, init_strength=0.0, duration_s=SECONDS)])[0]
        for strength, cover in ((0.5, 1.0), (0.5, 0.4), (0.9, 1.0)):
            asked = item(
                init_audio=sound, init_strength=strength, duration_s=SECONDS, options={"cover_strength": cover}
            )
            noise = torch.randn(kept.shape, generator=torch.Generator().manual_seed(asked.seed))
            steps = round(asked.steps * strength)
            levels = [strength * 3 * left / (steps + 2 * left) for left in range(steps, 0, -1)]
            wanted = plain(
                replace(asked, options={}),
                task_type="cover",
                src_audio=torch.from_numpy(sound),
                audio_cover_strength=cover,
                latents=((1 - strength) * torch.from_numpy(kept) + strength * noise)[None],
                timesteps=levels,
                output_type="latent",
            )
            close(engine.latents([asked])[0], wanted, 2e-4)

    def test_a_part_made_anew_is_the_plain_pipelines_repaint(self, engine, plain, likeliest):
        sound = given(engine)
        start_s, end_s = (round(seconds * 25) / 25 for seconds in NEW_S)
        asked = item(init_audio=sound, mask=(start_s, end_s), duration_s=SECONDS)
        wanted = plain(
            asked,
            task_type="repaint",
            src_audio=torch.from_numpy(sound),
            repainting_start=start_s + 1e-6,
            repainting_end=end_s + 1e-6,
            output_type="latent",
        )
        close(engine.latents([asked])[0], wanted, 2e-4)

    def test_how_much_of_a_cover_is_asked_of_covers_alone(self, engine):
        sound, half = given(engine), {"cover_strength": 0.5}
        assert engine.notes(item(init_audio=sound, options=half)).warnings
        for more in ({}, {"init_audio": sound, "init_strength": 1.0}, {"init_audio": sound, "mask": (0.1, 0.3)}):
            with pytest.raises(InvalidRequest, match=r"cover_strength: given 0\.5; it goes with init_audio alone"):
                engine.notes(item(options=half, **more))


@pytest.fixture
def likeliest(monkeypatch) -> None:
    """The plain pipeline draws what it encodes from torch's global generator: here it takes the likeliest."""
    from diffusers.models.autoencoders.autoencoder_oobleck import OobleckDiagonalGaussianDistribution as Spread

    monkeypatch.setattr(Spread, "sample", Spread.mode)


@pytest.fixture(scope="module")
def turbo(tmp_path_factory) -> Path:
    return flow_checkpoints.ace_step(tmp_path_factory.mktemp("models") / "turbo", turbo=True, tokens=False)


@pytest.fixture(scope="module")
def quick(turbo) -> Any:
    return load_engine("ace_step", {"model": turbo, "device": "cpu", "dtype": "float32"})


def test_the_turbo_model_takes_eight_steps_and_no_guidance_and_says_so(quick, turbo):
    asked = [item(), item("dog", 1, guidance_scale=5.0)]
    for wanted, found in zip(asked, quick.generate(asked), strict=True):
        close(found, PLAIN["ace_step"](turbo)(wanted))
    assert (quick.info.steps, quick.info.guidance_scale) == (8, 1.0)
    assert quick.notes(item()).warnings == (SHORT,)
    assert quick.notes(item(guidance_scale=5.0)).warnings[-1].startswith("guidance_unused: ")


def test_a_checkpoint_that_hears_no_tokens_starts_from_a_sound_all_the_same(quick):
    assert "cover_strength" not in {option.name for option in quick.info.options}
    sound = given(quick)
    near, far = (
        quick.latents([item(init_audio=sound, init_strength=strength, duration_s=SECONDS, steps=8)])[0]
        for strength in (0.2, 0.8)
    )
    kept = quick.latents([item(init_audio=sound, init_strength=0.0, duration_s=SECONDS)])[0]
    assert 0 < np.abs(near - kept).mean() < np.abs(far - kept).mean()


def test_minutes_are_decoded_in_pieces_whose_level_is_that_of_the_whole(quick, monkeypatch):
    """At once, ten minutes of this decoder would take more memory than any card has."""
    longest = 0
    decode = quick.pipe.vae.decoder.forward

    def watched(latents):
        nonlocal longest
        longest = max(longest, latents.shape[-1])
        return decode(latents)

    monkeypatch.setattr(quick.pipe.vae.decoder, "forward", watched)
    sound = quick.generate([item(duration_s=14.0, steps=1)])[0]
    assert sound.shape == (2, 14 * 48_000)
    assert longest < 300
    assert np.abs(sound).max() == pytest.approx(10 ** (-1 / 20), rel=1e-5)
