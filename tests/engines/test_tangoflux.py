"""TangoFlux against its algorithm written a second time, on a tiny checkpoint in the official layout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.engines.sound_from_sound import FromSound, given
from tests.engines.windows_contract import Windowed
from tests.support import checkpoints
from tests.support.recipes import recipe
from tests.support.requests import resolved
from tests.support.tangoflux_reference import FLOWS, Reference

from audio_pool.audio import codec
from audio_pool.engines import Item, engine_info, load_engine
from audio_pool.errors import Cancelled, EngineUnavailable, InvalidConfig, InvalidRequest, NotSupported
from audio_pool.results import SoundMetadata
from audio_pool.tasks import GeneratePart, MasteringSpec, Provenance
from audio_pool.types import Rendition, Shape
from audio_pool.worker.checked import CheckedGenerator
from audio_pool.worker.planned import plan_of
from audio_pool.worker.shaping import RawCandidate, shaped
from audio_pool.worker.streaming import streamed

RAIN = "rain on a tin roof"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return checkpoints.tangoflux(tmp_path_factory.mktemp("tangoflux"))


@pytest.fixture(scope="module")
def engine(model):
    return load_engine("tangoflux", {"model": model, "device": "cpu", "dtype": "float32"})


@pytest.fixture(scope="module")
def reference(model) -> Reference:
    return Reference.read(model, model.parent / "flan-t5-large")


def item(prompt: str = RAIN, seed: int = 7, duration_s: float = 3.0, steps: int = 4, **more) -> Item:
    return Item(prompt=prompt, seed=seed, duration_s=duration_s, steps=steps, **more)


MIXED = [
    item(),
    item("dog bark", 1, 1.25, guidance_scale=7.0),
    item("the low wind on the sea", 2**63 - 1, 4.0, guidance_scale=1.0),
    item("a dog", 3, 6.0, steps=3, negative_prompt="music", guidance_scale=2.0),
    item(RAIN, 8, 3.0, negative_prompt="low quality"),
]


def expected(reference: Reference, wanted: Item) -> torch.Tensor:
    guidance = 4.5 if wanted.guidance_scale is None else wanted.guidance_scale
    return reference.latents(
        wanted.prompt, wanted.seed, wanted.duration_s, wanted.steps, guidance, wanted.negative_prompt
    )


@pytest.mark.parametrize("wanted", MIXED, ids=lambda wanted: wanted.prompt)
def test_latents_are_the_algorithms_alone(engine, reference, wanted):
    np.testing.assert_allclose(
        engine.latents([wanted])[0], expected(reference, wanted)[0].numpy(), atol=1e-4, rtol=0
    )


def test_latents_are_the_algorithms_in_a_mixed_batch(engine, reference):
    for wanted, found in zip(MIXED, engine.latents(MIXED), strict=True):
        np.testing.assert_allclose(found, expected(reference, wanted)[0].numpy(), atol=1e-4, rtol=0)


def test_sounds_are_the_algorithms(engine, reference):
    sounds = engine.generate(MIXED)
    for wanted, sound in zip(MIXED, sounds, strict=True):
        wave = reference.wave(expected(reference, wanted), wanted.duration_s).numpy()
        assert sound.dtype == np.float32
        assert sound.shape == (2, round(wanted.duration_s * 44100))
        np.testing.assert_allclose(sound[:, : wave.shape[1]], wave, atol=1e-4, rtol=0)


def test_every_input_changes_the_sound(engine):
    """Or a test of equality would pass on an engine that ignores them."""
    base = engine.latents([item()])[0]
    others = [
        item(seed=8),
        item("dog bark"),
        item(duration_s=4.0),
        item(guidance_scale=3.0),
        item(negative_prompt="dog"),
        item(steps=5),
    ]
    for other in others:
        assert np.abs(engine.latents([other])[0] - base).max() > 1e-3, other


def test_shift_moves_the_steps_as_the_algorithm_says(engine, reference):
    shifted = item(options={"shift": 3.0})
    plain, found = engine.latents([item(), shifted])
    assert np.abs(found - plain).max() > 1e-3
    wanted = reference.latents(shifted.prompt, shifted.seed, shifted.duration_s, shifted.steps, 4.5, shift=3.0)
    np.testing.assert_allclose(found, wanted[0].numpy(), atol=1e-4, rtol=0)
    np.testing.assert_array_equal(engine.latents([item(options={"shift": 1.0})])[0], engine.latents([item()])[0])
    with pytest.raises(InvalidRequest, match=r"shift: given 0, engine 'tangoflux' allows a number, 0\.1 to 10"):
        engine.notes(item(options={"shift": 0}))


@pytest.mark.parametrize("sampler", ["euler", "euler_stochastic", "heun", "dpmpp_2m", "unipc"])
def test_a_sampler_takes_the_steps_as_its_paper_says(engine, reference, sampler):
    asked, seen = item(options={"scheduler": sampler}, guidance_scale=1.0), []
    plain, found = engine.latents([item(guidance_scale=1.0), asked], lambda *at: seen.append(at))
    calls = 4 + (7 if sampler == "heun" else 4)
    assert seen == [(done, calls) for done in range(1, calls + 1)]
    np.testing.assert_allclose(engine.latents([asked])[0], found, atol=1e-4, rtol=0)
    assert (np.abs(found - plain).max() > 1e-2) == (sampler != "euler")
    if sampler in FLOWS:
        wanted = reference.latents(asked.prompt, asked.seed, asked.duration_s, 4, 1.0, sampler=sampler)
        np.testing.assert_allclose(found, wanted[0].numpy(), atol=2e-4, rtol=0)
    else:
        # of the same order as the others that look back: nearer to a fine integration than Euler's method
        fine = reference.latents(asked.prompt, asked.seed, asked.duration_s, 40, 1.0)[0].numpy()
        assert np.abs(found - fine).mean() < np.abs(plain - fine).mean()


def test_several_candidates_differ_and_come_back_alone(engine):
    candidates = [item(seed=seed) for seed in (5, 6, 7)]
    together = engine.generate(candidates)
    assert np.abs(together[0] - together[1]).max() > 1e-3
    np.testing.assert_allclose(engine.generate([candidates[2]])[0], together[2], atol=1e-5)


@pytest.mark.parametrize("seconds", [0.1, 0.333, 1.00001, 7.77])
def test_exact_length(engine, seconds):
    assert engine.generate([item(duration_s=seconds, steps=1)])[0].shape == (2, round(seconds * 44100))


def test_thirty_seconds_end_in_said_silence(engine):
    """645 latent frames of 2,048 samples are 29.954 s."""
    wanted = item(duration_s=30.0, steps=1)
    sound = engine.generate([wanted])[0]
    assert sound.shape == (2, 1_323_000)
    assert not sound[:, 645 * 2048 :].any()
    assert sound[:, 645 * 2048 - 1].any()
    assert any(warning.startswith("silent_end: ") for warning in engine.notes(wanted).warnings)
    assert engine.notes(item(duration_s=29.95)).warnings == ()


def test_a_loop_near_thirty_seconds_is_made_of_sound_alone(engine):
    """The material, with the tail that the crossfade needs, may end beyond what the model makes."""
    found = resolved(engine.info, prompt=RAIN, duration_s=29.97, loop=True, loop_method="crossfade", steps=1, seed=3)
    shape = found.shape
    part = GeneratePart(job=1, recipe=found.recipe, seeds=[3], mastering=SimpleNamespace(shape=shape))
    (plan,) = plan_of(engine, engine.info, part, 600.0)
    assert not any(warning.startswith("silent_end") for warning in plan.notes.warnings)
    (made,) = engine.generate([plan.item])
    raw = RawCandidate(audio=made, sample_rate=44100, seed=3, looped=False, notes=plan.notes)
    turn = shaped(raw, shape, found.recipe, "").audio
    assert turn.shape[1] == shape.frames
    blocks = np.square(turn[:, : turn.shape[1] // 441 * 441]).sum(axis=0).reshape(-1, 441).mean(axis=1)
    assert blocks.min() > 0.01 * np.median(blocks)


@pytest.mark.parametrize(("dtype", "close"), [("bfloat16", 0.05), ("float16", 0.01)])
def test_half_precision_is_close(engine, model, dtype, close):
    half = load_engine("tangoflux", {"model": model, "device": "cpu", "dtype": dtype})
    assert next(half._transformer.parameters()).dtype == getattr(torch, dtype)
    batch = [item(), item("dog bark", duration_s=1.5, guidance_scale=1.0)]
    for found, wanted in zip(half.latents(batch), engine.latents(batch), strict=True):
        assert found.dtype == np.float32
        error = np.abs(found - wanted).mean() / np.abs(wanted).mean()
        assert 0 < error < close


def test_progress_counts_every_step(engine):
    seen = []
    engine.generate([item(), item(steps=2)], lambda done, total: seen.append((done, total)))
    assert seen == [(done, 6) for done in range(1, 7)]


def test_cancel_between_steps_leaves_the_next_run_unharmed(engine):
    before = engine.generate([item()])[0]
    seen = []

    def stop(done: int, total: int) -> None:
        seen.append(done)
        if done == 2:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        engine.generate([item()], stop)
    assert seen == [1, 2]
    np.testing.assert_array_equal(engine.generate([item()])[0], before)


def test_a_prompt_is_encoded_once(engine):
    calls = []
    hook = engine._text_encoder.register_forward_hook(lambda *_: calls.append(1))
    try:
        engine.latents([item("wind wind", seed=seed, steps=1) for seed in range(3)])
        engine.latents([item("wind wind", seed=9, steps=2)])
    finally:
        hook.remove()
    assert len(calls) == 2  # the prompt and its unconditional twin


def test_what_the_model_cannot_do_is_refused_or_said(engine):
    with pytest.raises(NotSupported, match=r"at most 600 s; 601 s"):
        engine.generate([item(duration_s=601.0)])
    with pytest.raises(NotSupported, match="voice"):
        engine.notes(item(voice="anna"))
    (said,) = engine.notes(item(guidance_scale=1.0, negative_prompt="music")).warnings
    assert said.startswith("negative_prompt_unused: ")
    (said,) = engine.notes(item("dog", negative_prompt="rain on the roof the sea")).warnings
    assert said.startswith("negative_prompt_truncated: ")
    (said,) = engine.notes(item("dog " * 600)).warnings
    assert said.startswith("prompt_truncated: ")


def test_a_tokenizer_that_names_no_longest_text(tmp_path, engine):
    beside = checkpoints.tangoflux(tmp_path)
    told = tmp_path / "flan-t5-large" / "tokenizer_config.json"
    settings = json.loads(told.read_text())
    del settings["model_max_length"]
    told.write_text(json.dumps(settings))
    silent = load_engine("tangoflux", {"model": beside, "device": "cpu"})
    np.testing.assert_array_equal(silent.latents([item(steps=1)])[0], engine.latents([item(steps=1)])[0])
    (said,) = silent.notes(item("dog " * 600)).warnings
    assert said.startswith("prompt_truncated: 601 tokens, of which the model reads 512")


def test_text_encoder_inside_the_model_or_named(tmp_path, engine):
    inside = checkpoints.tangoflux(tmp_path / "inside", text_beside=False)
    wanted = engine.latents([item(steps=1)])[0]
    np.testing.assert_array_equal(
        load_engine("tangoflux", {"model": inside, "device": "cpu"}).latents([item(steps=1)])[0], wanted
    )
    elsewhere = tmp_path / "t5"
    shutil.move(inside / "flan-t5-large", elsewhere)
    named = load_engine("tangoflux", {"model": str(inside), "device": "cpu", "text_encoder": str(elsewhere)})
    np.testing.assert_array_equal(named.latents([item(steps=1)])[0], wanted)
    with pytest.raises(EngineUnavailable, match=r"text_encoder names another.*audio-pool models fetch tangoflux"):
        load_engine("tangoflux", {"model": inside, "device": "cpu"})


def test_a_missing_or_foreign_model_is_named(tmp_path, model):
    with pytest.raises(EngineUnavailable, match=r"nowhere.*audio-pool models fetch tangoflux"):
        load_engine("tangoflux", {"model": str(tmp_path / "nowhere"), "device": "cpu"})
    with pytest.raises(EngineUnavailable, match=r"'owner/none'.*audio-pool models fetch tangoflux"):
        load_engine("tangoflux", {"model": "owner/none", "device": "cpu"})
    broken = tmp_path / "TangoFlux"
    shutil.copytree(model, broken)
    shutil.copytree(model.parent / "flan-t5-large", tmp_path / "flan-t5-large")
    weights = load_file(broken / "tangoflux.safetensors")
    del weights["fc.0.bias"]
    save_file(weights, broken / "tangoflux.safetensors")
    with pytest.raises(EngineUnavailable, match=r"fc\.0\.bias"):
        load_engine("tangoflux", {"model": broken, "device": "cpu"})
    (broken / "config.json").write_text(json.dumps({"num_layers": "six"}))
    with pytest.raises(EngineUnavailable, match="num_layers"):
        load_engine("tangoflux", {"model": broken, "device": "cpu"})


def test_settings_are_checked(model):
    with pytest.raises(InvalidConfig, match=r"'dtyp'.*'dtype'"):
        load_engine("tangoflux", {"model": model, "dtyp": "float32"})
    with pytest.raises(InvalidConfig, match="float32"):
        load_engine("tangoflux", {"model": model, "dtype": "float64"})
    with pytest.raises(EngineUnavailable, match="GPU"):
        load_engine("tangoflux", {"model": model, "device": "cuda:99"})


def test_a_snapshot_in_the_hubs_cache_is_found_by_id_and_named_by_its_commit(tmp_path, monkeypatch, model, engine):
    commit = "0123456789abcdef0123456789abcdef01234567"
    for name, source in (("declare-lab--TangoFlux", model), ("google--flan-t5-large", model.parent / "flan-t5-large")):
        home = tmp_path / f"models--{name}"
        shutil.copytree(source, home / "snapshots" / commit)
        (home / "refs").mkdir()
        (home / "refs" / "main").write_text(commit)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    found = load_engine("tangoflux", {"device": "cpu"})
    assert (found.info.model, found.info.model_revision) == ("declare-lab/TangoFlux", commit)
    np.testing.assert_array_equal(found.latents([item(steps=1)])[0], engine.latents([item(steps=1)])[0])
    with pytest.raises(EngineUnavailable, match="at revision 'v9'"):
        load_engine("tangoflux", {"revision": "v9", "device": "cpu"})


def test_info(engine, model):
    assert engine_info("tangoflux").model == "declare-lab/TangoFlux"
    assert not engine_info("tangoflux").commercial_use
    assert (engine.info.sample_rate, engine.info.channels, engine.info.model) == (44100, 2, str(model))


class TestFromASound(FromSound):
    """On a model both halves of whose autoencoder fit, of 64 latents: 2.97 s."""

    @pytest.fixture(scope="class")
    @classmethod
    def whole(cls, tmp_path_factory) -> Path:
        return checkpoints.tangoflux(tmp_path_factory.mktemp("whole"), checkpoints.TANGOFLUX_WHOLE, sequence=64)

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, whole):
        return load_engine("tangoflux", {"model": whole, "device": "cpu", "dtype": "float32"})

    def test_latents_are_the_algorithms(self, engine, whole):
        reference, sound = Reference.read(whole, whole.parent / "flan-t5-large"), given(engine)
        for strength, shift in ((0.4, 1.0), (0.9, 1.0), (0.6, 3.0)):
            options = {"shift": shift}
            asked = item(duration_s=1.2, steps=5, init_audio=sound, init_strength=strength, options=options)
            wanted = reference.latents(
                RAIN, 7, 1.2, 5, 4.5, shift=shift, sound=torch.from_numpy(sound), strength=strength
            )
            np.testing.assert_allclose(engine.latents([asked])[0], wanted[0].numpy(), atol=1e-4, rtol=0)

    def test_the_encoder_is_read_when_it_is_first_wanted(self, engine, whole):
        fresh = load_engine("tangoflux", {"model": whole, "device": "cpu", "dtype": "float32"})
        assert not list(fresh._vae.encoder.parameters())
        fresh.latents([item(duration_s=1.2, steps=1)])
        assert fresh._sound_encoder is None
        asked = item(duration_s=1.2, steps=2, init_audio=given(engine), init_strength=0.5)
        np.testing.assert_array_equal(fresh.latents([asked])[0], engine.latents([asked])[0])
        assert list(fresh._sound_encoder.parameters())

    def test_what_is_given_is_encoded_as_if_all_the_silence_after_it_were(self, engine):
        sound, vae = given(engine), engine._vae
        short = engine.latents([item(duration_s=1.2, steps=1, init_audio=sound, init_strength=0.0)])[0]
        padded = np.pad(sound, ((0, 0), (0, 64 * vae.hop_length - sound.shape[1])))
        with torch.no_grad():
            whole = engine._sound_encoder(torch.from_numpy(padded)[None]).chunk(2, 1)[0][0].T.numpy()
        np.testing.assert_allclose(short, whole, atol=1e-5)


class TestLongAndLooped(Windowed):
    """On a model of 1.5 s: a window of the real one is as wide as its narrowest test."""

    name = "tangoflux"
    long_s = 3.4
    loops_s = (0.37, 1.48, 2.5)

    @staticmethod
    def build(directory):
        return checkpoints.tangoflux(directory, sequence=32, longest_s=1.48)

    def test_a_stream_leaves_window_by_window_and_is_the_file(self, engine, tmp_path):
        """Three seconds are waited for, which decide the level; later windows are made after they have left."""
        rate, done, sent = engine.info.sample_rate, [0], []
        asked = recipe(
            "tangoflux", frames=8 * rate, sample_rate=rate, steps=3, guidance_scale=2.0, seed=7, candidates=1
        )
        shape = Shape(sample_rate=rate, frames=8 * rate, loop=False, tail_s=0, highpass_hz=80.0, highpass_order=4)
        wav = Rendition(format="wav", sample_rate=rate, bit_depth=32, target_lufs=-23.0, true_peak_dbfs=-2.0)
        spec = MasteringSpec(
            shape=shape, rendition=wav, directory=str(tmp_path), name="s", tau_accept_new=None, deliver_best=True,
            metadata=SoundMetadata(),
        )  # fmt: skip
        made = streamed(
            CheckedGenerator(engine, engine.info),
            engine.info,
            GeneratePart(job=1, recipe=asked, seeds=[7], mastering=spec),
            max_input_s=60.0,
            provenance=lambda notes: Provenance(engine="tangoflux", implementation="tangoflux", model="tiny"),
            on_step=lambda step, total: done.__setitem__(0, step),
            emit=lambda samples: sent.append((done[0], samples)),
        )
        total = done[0]
        assert made.failure is None and total > 15
        assert sent[0][0] <= total / 2, "before half of the work is done"
        finished = made.mastering.finish(SoundMetadata(), None).sound
        audio, _ = codec.read(Path(finished.delivered_path))
        data = np.frombuffer(b"".join(samples.data for _, samples in sent), "<f4").reshape(-1, 2).T
        np.testing.assert_array_equal(data, audio)
        assert audio.shape == (2, 8 * rate) and finished.metadata.stream.pieces == "engine"
