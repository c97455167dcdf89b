"""MusicGen against transformers' own generate, on tiny checkpoints in the official layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec import structs
from tests.support import checkpoints
from tests.support.token_reference import Reference

from audio_pool.engines import Generator, Item, Streams, load_engine, musicgen
from audio_pool.errors import Cancelled, EngineUnavailable, InvalidRequest, NotSupported

RAIN = "rain on a tin roof"


def item(prompt: str = RAIN, seed: int = 7, duration_s: float = 0.8, **more) -> Item:
    return Item(prompt=prompt, seed=seed, duration_s=duration_s, **more)


MIXED = [
    item(),
    item("dog", 1, 1.3, guidance_scale=1.5, options={"temperature": 0.7, "top_k": 5}),
    item("the low wind on the sea", 2**63 - 1, 0.4, options={"top_p": 0.5, "top_k": 0, "cfg": 5.0}),
    item("a dog", 3, 0.6, guidance_scale=1.0),
    item("bark", 4, 0.33333, options={"temperature": 0.0}),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return checkpoints.musicgen(tmp_path_factory.mktemp("models") / "musicgen")


@pytest.fixture(scope="module")
def engine(model):
    return load_engine("musicgen", {"model": model, "device": "cpu", "dtype": "float32"})


@pytest.fixture(scope="module")
def short(model):
    """The same model with windows of two seconds instead of thirty, decoded in pieces of 0.7."""
    settings = musicgen.Settings(model=str(model), device="cpu", dtype="float32")
    engine = musicgen.load(structs.replace(musicgen.INFO, window_s=2.0), settings)
    engine.piece_s = 0.7
    return engine


@pytest.fixture(scope="module")
def reference(model) -> Reference:
    return Reference(model)


def expected(reference: Reference, wanted: Item) -> torch.Tensor:
    guidance = wanted.options.get("cfg", 3.0 if wanted.guidance_scale is None else wanted.guidance_scale)
    frames = reference.frames(wanted.duration_s)
    return reference.codes(wanted.prompt, wanted.seed, frames, guidance, wanted.options)


def test_sounds_are_the_librarys_alone_and_in_a_mixed_batch(engine, reference):
    codes, sounds = engine.latents(MIXED), engine.generate(MIXED)
    for wanted, found, sound in zip(MIXED, codes, sounds, strict=True):
        drawn = expected(reference, wanted)
        np.testing.assert_array_equal(found, drawn.numpy())
        np.testing.assert_array_equal(engine.latents([wanted])[0], found)
        wave = reference.wave(drawn, wanted.duration_s)
        assert sound.dtype == np.float32
        assert sound.shape == wave.shape == (1, round(wanted.duration_s * 32_000))
        assert np.abs(sound - wave).max() < 1e-5 * np.abs(wave).max()


def test_every_input_changes_the_sound(engine):
    """Or a test of equality would pass on an engine that ignores them."""
    base = engine.latents([item()])[0]
    for other in (
        item(seed=8),
        item("dog bark"),
        item(guidance_scale=1.5),
        item(options={"temperature": 0.5}),
        item(options={"top_k": 3}),
        item(options={"top_p": 0.3}),
        item(options={"cfg": 9.0}),
    ):
        assert (engine.latents([other])[0] != base).mean() > 0.2, other
    np.testing.assert_array_equal(engine.latents([item(options={"cfg": 3.0})])[0], base)
    assert np.abs(engine.generate([item()])[0] - engine.generate([item(seed=8)])[0]).max() > 1e-2


def test_beyond_the_window_it_goes_on_from_what_it_made(short, reference):
    wanted = item(duration_s=3.5, options={"stride_s": 1.0})
    streams: list[torch.Generator] = []
    codes = reference.codes(wanted.prompt, wanted.seed, 100, streams=streams)
    for begin, end in ((50, 150), (100, 175)):
        window = reference.codes(wanted.prompt, wanted.seed, end - begin, given=codes[:, begin:], streams=streams)
        codes = torch.cat([codes[:, :begin], window], dim=1)
    np.testing.assert_array_equal(short.latents([wanted])[0], codes.numpy())
    wave = reference.wave(codes, wanted.duration_s)
    assert np.abs(short.generate([wanted])[0] - wave).max() < 1e-5 * np.abs(wave).max()


def test_long_and_short_share_a_batch(short):
    stride = {"stride_s": 1.0}
    items = [
        item(duration_s=2.9, options=stride),
        item("dog", 1, 0.4),
        item("dog", 2, 3.6, options={"stride_s": 1.0, "top_k": 9}),
        item("dog", 3, 2.6, options={"stride_s": 1.5}),
    ]
    seen = []
    together = short.generate(items, lambda *at: seen.append(at))
    steps = (103 + 53 + 53 - 20) + 23 + (103 + 33)
    assert seen == [(done, steps) for done in range(1, steps + 1)]
    for wanted, found in zip(items, together, strict=True):
        assert found.shape == (1, round(wanted.duration_s * 32_000))
        assert np.abs(short.generate([wanted])[0] - found).max() < 1e-5


def test_pieces_in_a_row_are_the_sound(short):
    assert isinstance(short, Streams) and short.info.streams
    wanted = item(duration_s=3.01234, options={"stride_s": 1.0})
    whole = short.generate([wanted])[0]
    seen = []
    came = []
    for piece in short.pieces(wanted, lambda *at: seen.append(at)):
        came.append((piece.shape[1], len(seen)))
        assert torch.is_grad_enabled(), "the mode of the caller's thread"
    assert len(came) >= 4
    assert came[0][1] <= 40, "the first piece comes before the others are drawn"
    assert seen == [(done, seen[0][1]) for done in range(1, len(seen) + 1)] and seen[-1][1] == len(seen)
    np.testing.assert_array_equal(np.concatenate(list(short.pieces(wanted)), axis=1), whole)


def test_a_pieces_run_given_up_harms_no_other(short):
    before = short.generate([item()])[0]
    pieces = short.pieces(item(duration_s=3.0))
    next(pieces)
    np.testing.assert_array_equal(short.generate([item()])[0], before)
    pieces.close()
    np.testing.assert_array_equal(short.generate([item()])[0], before)


@pytest.mark.parametrize("seconds", [0.05, 0.29, 1.00003])
def test_exact_length(engine, seconds):
    sound = engine.generate([item(duration_s=seconds)])[0]
    assert sound.shape == (1, round(seconds * 32_000))
    assert sound[:, -1].any()


def test_cancel_within_one_step_leaves_the_next_run_unharmed(engine):
    before = engine.generate([item()])[0]
    seen = []

    def stop(done: int, total: int) -> None:
        seen.append(done)
        if done == 5:
            raise Cancelled("stop")

    for run in (lambda: engine.generate([item(), item("dog")], stop), lambda: list(engine.pieces(item(), stop))):
        seen.clear()
        with pytest.raises(Cancelled):
            run()
        assert seen == [1, 2, 3, 4, 5]
        np.testing.assert_array_equal(engine.generate([item()])[0], before)


def test_what_it_cannot_do_is_refused_or_said(engine):
    assert isinstance(engine, Generator)
    for wrong, error, said in (
        ({"duration_s": 601.0}, NotSupported, "at most 600 s"),
        ({"negative_prompt": "drums"}, NotSupported, "negative prompt"),
        ({"steps": 20}, NotSupported, "no steps"),
        ({"voice": "anna"}, NotSupported, "no voices"),
        ({"init_audio": np.zeros((1, 100), np.float32)}, NotSupported, "init_audio"),
        ({"loop": True}, NotSupported, "no loops"),
        ({"options": {"temperature": 3.5}}, InvalidRequest, "temperature: given 3.5, .* 0 to 3"),
        ({"options": {"top_p": 0.0}}, InvalidRequest, "top_p"),
        ({"options": {"top_k": 2049}}, InvalidRequest, "top_k"),
        ({"options": {"tempo": 1}}, InvalidRequest, "no option 'tempo'"),
        ({"guidance_scale": 3.0, "options": {"cfg": 4.0}}, InvalidRequest, "cfg: given 4 beside guidance_scale 3"),
    ):
        with pytest.raises(error, match=said):
            engine.notes(item(**wrong))
    (said,) = engine.notes(item("dog " * 600)).warnings
    assert said.startswith("prompt_truncated: 601 tokens, of which the model reads 512")
    assert engine.notes(item()).warnings == ()


def test_a_missing_or_other_model_is_named(tmp_path):
    with pytest.raises(EngineUnavailable, match=r"facebook/musicgen-small.*audio-pool models fetch musicgen"):
        load_engine("musicgen", {"device": "cpu"})
    with pytest.raises(EngineUnavailable, match=rf"{tmp_path}.*audio-pool models fetch musicgen"):
        load_engine("musicgen", {"model": tmp_path, "device": "cpu"})
