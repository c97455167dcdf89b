"""Stable Audio 3 on tiny random checkpoints in diffusers' layout, against the plain library pipeline."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.engines.diffusion_contract import Contract, close, item
from tests.engines.sound_from_sound import NEW_S, SECONDS, FromSound, given
from tests.support import flow_checkpoints
from tests.support.plain_pipelines import PLAIN

from audio_pool.engines import Item, load_engine
from audio_pool.engines._same import Same
from audio_pool.errors import EngineUnavailable, NotSupported


class TestStableAudio3(Contract, FromSound):
    """The undistilled model, which has guidance of its own."""

    name = "stable_audio_3"
    option = ("logsnr_max", 5.0)
    plain_samplers = ("euler", "euler_stochastic")

    @classmethod
    def build(cls, directory: Path) -> Path:
        return flow_checkpoints.stable_audio_3(directory, distilled=False)

    def test_latents_outside_the_part_are_the_sounds_own(self, engine):
        """Of this model they are not: it is told what lies there, and makes all of it (see below)."""
        assert engine.info.inpaint and engine.info.extend

    def test_its_own_steps_and_guidance_are_the_undistilled_models(self, engine):
        assert (engine.info.steps, engine.info.guidance_scale) == (100, 7.0)

    def test_sounds_of_other_lengths_share_a_pass_where_their_latents_do(self, engine):
        seen: list[tuple[int, int]] = []
        batch = [item(duration_s=0.29), item(duration_s=0.2901)]
        engine.latents(batch, lambda *at: seen.append(at))
        assert len(seen) == 4

    def test_longer_than_it_was_trained_for_is_refused_not_tried(self, engine):
        assert engine.info.longest_s == 380.0
        with pytest.raises(NotSupported, match="at most 380 s; 400 s"):
            engine.notes(item(duration_s=400.0))


@pytest.fixture(scope="module")
def distilled(tmp_path_factory) -> Path:
    return flow_checkpoints.stable_audio_3(tmp_path_factory.mktemp("models") / "distilled")


@pytest.fixture(scope="module")
def quick(distilled) -> Any:
    return load_engine("stable_audio_3", {"model": distilled, "device": "cpu", "dtype": "float32"})


def test_the_distilled_model_draws_new_noise_from_each_seed_alone_and_in_a_batch(quick, distilled):
    plain = PLAIN["stable_audio_3"](distilled)
    asked = [item(), item("dog", 1), item("the low wind", 2**63 - 1, 0.4), item("dog", 5, guidance_scale=3.0)]
    for wanted, found in zip(asked, quick.generate(asked), strict=True):
        close(found, plain(wanted))
        close(quick.generate([wanted])[0], found)
    assert (quick.info.steps, quick.info.guidance_scale) == (8, 1.0)
    seen: list[tuple[int, int]] = []
    quick.generate([item(steps=None)], lambda *at: seen.append(at))
    assert seen[-1] == (8, 8)


def test_guidance_on_top_of_a_distilled_models_own_is_said(quick):
    (said,) = quick.notes(item(guidance_scale=3.0)).warnings
    assert said.startswith("guidance_distilled: ")
    (said,) = quick.notes(item(negative_prompt="music")).warnings
    assert said.startswith("negative_prompt_unused: ")


def test_the_autoencoder_in_windows_is_that_of_one_pass(quick):
    """Or 380 s would need memory by the square of 70,000 tokens."""
    vae = quick.pipe.vae
    drawn = torch.Generator().manual_seed(3)
    latents = torch.randn(2, 8, 150, generator=drawn)
    sound = torch.randn(1, 2, 150 * vae.downsampling_ratio, generator=drawn)
    with torch.no_grad():
        whole, encoded = vae.decode(latents).sample, vae.encode(sound).latents
        same = Same(vae, torch.device("cpu"))
        torch.testing.assert_close(same.decode(latents, whole.shape[-1]), whole, atol=1e-5, rtol=0)
        torch.testing.assert_close(same.encode(sound), encoded, atol=1e-5, rtol=0)
        part = same.decode(latents, 70 * same.hop - 5)
    assert part.shape[-1] == 70 * same.hop
    torch.testing.assert_close(part, whole[..., : 70 * same.hop], atol=1e-5, rtol=0)


def test_the_model_as_it_was_released_is_named_with_what_to_do(tmp_path):
    (tmp_path / "model_config.json").write_text("{}")
    with pytest.raises(EngineUnavailable, match=r"as it was released") as caught:
        load_engine("stable_audio_3", {"model": tmp_path, "device": "cpu"})
    assert "convert_stable_audio_3_to_diffusers.py" in (caught.value.hint or "")


@pytest.mark.parametrize("strength", [0.15, 0.5, 0.9])
def test_a_sound_from_a_sound_is_the_plain_pipelines(quick, distilled, strength):
    from diffusers import StableAudio3AudioToAudioPipeline

    sound = given(quick)
    asked = sound_item(init_audio=sound, init_strength=strength)
    seen: list[tuple[int, int]] = []
    found = quick.latents([asked], lambda *at: seen.append(at))[0]
    assert seen[-1] == (4, 4), "all steps at any strength"
    wanted = library(StableAudio3AudioToAudioPipeline, quick)(
        audio=torch.from_numpy(sound)[None], init_noise_level=strength, **arguments(asked)
    ).audios[0]
    close(found, wanted.numpy())


def test_the_distilled_model_goes_the_farther_from_a_sound_the_more_strength_it_has(quick):
    sound = given(quick)
    found = [
        quick.latents([sound_item(init_audio=sound, init_strength=strength)])[0]
        for strength in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
    ]
    away = [float(np.square(one - found[0]).mean()) for one in found]
    assert away[0] == 0 and all(farther > 1.02 * nearer for nearer, farther in pairwise(away)), away


def test_a_part_made_anew_is_the_plain_pipelines_with_the_sound_put_back(quick):
    from diffusers import StableAudio3InpaintPipeline

    sound, hop = given(quick), quick.pipe.vae.downsampling_ratio
    start_s, end_s = (round(seconds * 44_100 / hop) * hop / 44_100 for seconds in NEW_S)
    asked = sound_item(init_audio=sound, mask=(start_s, end_s))
    wanted = library(StableAudio3InpaintPipeline, quick)(
        audio=torch.from_numpy(sound)[None],
        mask_start_seconds=start_s + 1e-6,
        mask_end_seconds=end_s + 1e-6,
        **arguments(asked),
    ).audios[0]
    close(quick.latents([asked])[0], wanted.numpy())
    beside = quick.latents([sound_item(), asked, sound_item(init_audio=-sound, mask=(start_s, end_s))])
    close(beside[1], wanted.numpy())
    assert np.abs(beside[2] - beside[1]).max() > 1e-2  # what lies around the part counts


def sound_item(**more: Any) -> Item:
    return item(duration_s=SECONDS, **more)


def library(cls: Any, engine: Any) -> Any:
    """The library's own pipeline on the engine's weights."""
    pipe = cls(**engine.pipe.components)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def arguments(asked: Item) -> dict[str, Any]:
    return {
        "prompt": asked.prompt,
        "duration": asked.duration_s,
        "num_inference_steps": asked.steps,
        "generator": torch.Generator().manual_seed(asked.seed),
        "output_type": "latent",
    }
