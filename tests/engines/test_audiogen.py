"""AudioGen against its own published algorithm, one sound at a time in plain torch."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from tests.support import audiocraft_checkpoints as checkpoints
from tests.support.audiocraft_models import audiogen_codes

from audio_pool.engines import Generator, Item, Streams, _autoregressive, engine_info, load_engine
from audio_pool.errors import Cancelled, EngineError, EngineUnavailable, InvalidConfig, InvalidRequest, NotSupported

pytest.importorskip("transformers")

WINDOW = 50 * checkpoints.SEGMENT_S["audiogen"]


def item(prompt: str = "rain on a tin roof", seed: int = 7, duration_s: float = 0.6, **more: Any) -> Item:
    return Item(prompt=prompt, seed=seed, duration_s=duration_s, **more)


MIXED = [
    item(guidance_scale=5.0),
    item("dog", 1, 0.3, options={"temperature": 0.7, "top_k": 5}),
    item("the low wind on the sea", 2**63 - 1, 0.9, options={"top_p": 0.5, "top_k": 0}),
    item("a dog", 3, options={"cfg": 2.0}),
    item("bark", 4, guidance_scale=1.0),
    item("bark", 5, 0.33333, options={"temperature": 0.0}),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> checkpoints.Built:
    return checkpoints.build(tmp_path_factory.mktemp("models"), "audiogen")


@pytest.fixture(scope="module")
def engine(built: checkpoints.Built) -> Any:
    return load_engine("audiogen", {"model": str(built.directory), "device": "cpu", "dtype": "float32"})


def published(built: checkpoints.Built, asked: Item) -> tuple[np.ndarray, np.ndarray]:
    """The reference's codes [K, frames] and wave [1, T] of an item."""
    frames = -(-round(asked.duration_s * checkpoints.RATE) // 80)
    options = dict(asked.options)
    guidance = options.pop("cfg", 3.0 if asked.guidance_scale is None else asked.guidance_scale)
    stride = round(float(options.pop("stride_s", 1.0) or 0) * 50)
    luck = torch.Generator().manual_seed(asked.seed)
    with torch.no_grad():
        text = built.states(asked.prompt)
        draw = {"luck": luck, "guidance": guidance, **options}
        codes = audiogen_codes(built.language_model, text, frames=min(frames, WINDOW), **draw)
        begin = 0
        while codes.shape[1] < frames:  # each window is given the end of the one before
            begin += stride
            end = min(frames, begin + WINDOW)
            window = audiogen_codes(
                built.language_model, text, frames=end - begin, prompt=codes[:, begin:], **draw
            )
            codes = torch.cat([codes[:, :begin], window], dim=1)
        wave = built.codec.decode(codes)
    return codes.numpy(), wave.numpy()[:, : round(asked.duration_s * checkpoints.RATE)]


def close(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.shape == wanted.shape
    assert np.abs(wanted).max() > 1e-2
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_sounds_are_the_published_algorithms_alone_and_in_a_mixed_batch(built: checkpoints.Built, engine: Any) -> None:
    together, codes = engine.generate(MIXED), engine.latents(MIXED)
    for asked, sound, drawn in zip(MIXED, together, codes, strict=True):
        wanted, wave = published(built, asked)
        np.testing.assert_array_equal(drawn, wanted)
        close(sound, wave)
        np.testing.assert_array_equal(engine.latents([asked])[0], wanted)
        assert sound.dtype == np.float32


def test_every_input_changes_the_sound(engine: Any) -> None:
    others = [
        item(seed=8),
        item("dog bark"),
        item(guidance_scale=1.5),
        item(options={"temperature": 0.5}),
        item(options={"top_k": 3}),
        item(options={"top_p": 0.3}),
    ]
    base, *found = engine.latents([item(), *others])
    for asked, codes in zip(others, found, strict=True):
        assert (codes != base).mean() > 0.05, asked


def test_beyond_its_window_it_goes_on_from_what_it_made_piece_by_piece(built: checkpoints.Built, engine: Any) -> None:
    assert engine.info.window_s == 2.0 and engine.info.longest_s == 600.0
    asked = item(duration_s=2.61, options={"stride_s": 1.0})
    wanted, wave = published(built, asked)
    np.testing.assert_array_equal(engine.latents([asked])[0], wanted)
    (whole,) = engine.generate([asked])
    close(whole, wave)
    assert isinstance(engine, Streams) and engine.info.streams
    engine.piece_s, seen, came = 0.7, [], []
    for _ in engine.pieces(asked, lambda *at: seen.append(at)):
        came.append(len(seen))
    assert len(came) >= 4 and came[0] < 60 and came[-1] == len(seen) == seen[-1][1]
    close(np.concatenate(list(engine.pieces(asked)), axis=1), whole)


def test_a_given_sound_goes_on_and_stays_what_it_was(built: checkpoints.Built, engine: Any) -> None:
    tone = (0.4 * np.sin(np.arange(2017) * 0.5)).astype(np.float32)[None]
    asked = item(init_audio=tone, extend_s=0.4, duration_s=tone.shape[1] / checkpoints.RATE + 0.4)
    (found,) = engine.generate([asked])
    with torch.no_grad():
        given = built.codec.encode(torch.from_numpy(tone[:, -2000:]))
        luck = torch.Generator().manual_seed(7)
        codes = audiogen_codes(
            built.language_model, built.states(asked.prompt), frames=45, luck=luck, prompt=given
        )
        wave = built.codec.decode(codes).numpy()
    np.testing.assert_array_equal(found[:, : tone.shape[1] - 200], tone[:, :-200])
    close(found[:, tone.shape[1] :], wave[:, 2000:])


def test_it_says_what_was_loaded(built: checkpoints.Built, engine: Any) -> None:
    assert isinstance(engine, Generator)
    info = engine.info
    assert (info.sample_rate, info.channels, info.model) == (checkpoints.RATE, 1, str(built.directory))
    assert (info.dtype, info.licence, info.commercial_use) == ("float32", "CC-BY-NC-4.0", False)
    published_info = engine_info("audiogen")
    assert (published_info.sample_rate, published_info.window_s, published_info.guidance_scale) == (16_000, 10.0, 3.0)
    options = {option.name: option for option in published_info.options}
    assert (options["top_k"].default, options["stride_s"].default, options["stride_s"].high) == (250, 2.0, 9.0)


@pytest.mark.parametrize("seconds", [0.05, 0.29, 0.33333])
def test_exact_length(engine: Any, seconds: float) -> None:
    (sound,) = engine.generate([item(duration_s=seconds)])
    assert sound.shape == (1, round(seconds * checkpoints.RATE)) and sound[:, -1].any()


def test_a_cancel_is_heeded_at_the_next_step_and_the_next_run_is_unharmed(engine: Any) -> None:
    before = engine.latents([item()])[0]
    seen: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 6:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        engine.generate([item(), item("dog")], stop)
    assert seen == [(done, 33) for done in range(1, 7)]  # 30 frames, and 3 steps of delay
    np.testing.assert_array_equal(engine.latents([item()])[0], before)


def test_refused_or_said(engine: Any) -> None:
    with pytest.raises(NotSupported, match="at most 600 s"):
        engine.notes(item(duration_s=601))
    with pytest.raises(NotSupported, match="voice"):
        engine.notes(item(voice="anna"))
    with pytest.raises(NotSupported, match="loop"):
        engine.notes(item(loop=True))
    with pytest.raises(NotSupported, match="negative prompt"):
        engine.notes(item(negative_prompt="dog"))
    with pytest.raises(InvalidRequest, match=r"stride_s: given 1\.5, .* allows a number, 1 to 1"):
        engine.notes(item(options={"stride_s": 1.5}))
    with pytest.raises(InvalidRequest, match=r"temperature: given -1\.0"):
        engine.generate([item(options={"temperature": -1.0})])
    assert [each.partition(":")[0] for each in engine.notes(item("dog " * 600)).warnings] == ["prompt_truncated"]
    assert engine.notes(item()).warnings == ()


@pytest.mark.parametrize(
    "settings",
    [{"dtype": "bfloat16"}, {"dtype": "float16"}, {"quantization": "8bit"}, {"offload": "sequential"}],
    ids=lambda each: "-".join(each.values()),
)
def test_it_runs_as_a_small_card_needs_it(built: checkpoints.Built, engine: Any, settings: dict[str, str]) -> None:
    if "quantization" in settings:
        pytest.importorskip("torchao")
    given = {"model": str(built.directory), "device": "cpu", "dtype": "float32", **settings}
    asked = item(duration_s=0.2)
    (sound,) = load_engine("audiogen", given).generate([asked])
    assert np.isfinite(sound).all() and np.abs(sound).max() > 1e-2
    if "offload" in settings:
        close(sound, engine.generate([asked])[0])


def test_what_is_compiled_is_warmed_at_load_in_one_shape(
    built: checkpoints.Built, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[tuple[int, ...]] = []

    def noted(module: Any, *_: Any) -> None:  # the compiler alone is left out: it takes minutes
        plain = module.forward

        def forward(*args: Any, **more: Any) -> Any:
            shapes.append(tuple(more["input_ids"].shape))
            return plain(*args, **more)

        monkeypatch.setattr(module, "forward", forward)

    monkeypatch.setattr(_autoregressive, "compile_module", noted)
    given = {"model": str(built.directory), "device": "cpu", "dtype": "float32", "compile": True}
    compiled = load_engine("audiogen", {**given, "compile_shapes": [{"items": 1, "duration_s": 0.1}]})
    assert set(shapes) == {(8, 1)} and len(shapes) >= 7  # two rows of four codebooks, a token at a time
    close(compiled.generate([item()])[0], engine.generate([item()])[0])
    assert set(shapes) == {(8, 1)}


def test_a_model_of_another_pattern_is_refused(tmp_path: Any) -> None:
    pattern: dict[str, Any] = {"codebooks_pattern__modeling": "parallel"}
    model = checkpoints.build(tmp_path / "parallel", "audiogen", **pattern).directory
    with pytest.raises(EngineUnavailable, match=r"codebooks_pattern\.modeling is 'parallel'; .* 'delay'"):
        load_engine("audiogen", {"model": str(model), "device": "cpu"})
    pattern = {"codebooks_pattern": None, "transformer_lm__q_modeling": "delay"}
    model = checkpoints.build(tmp_path / "first", "audiogen", **pattern).directory
    assert load_engine("audiogen", {"model": str(model), "device": "cpu"}).info.window_s == 2.0
    with pytest.raises(InvalidConfig, match="attention_slicing does nothing"):
        load_engine("audiogen", {"model": str(model), "device": "cpu", "attention_slicing": True})


def test_closed_it_holds_no_weights(built: checkpoints.Built) -> None:
    other = load_engine("audiogen", {"model": str(built.directory), "device": "cpu", "dtype": "float32"})
    other.generate([item(duration_s=0.05)])
    held = [weakref.ref(module) for module in (other._lm, other._codec, other._text_encoder)]
    other.close()
    gc.collect()
    assert [module() for module in held] == [None, None, None]
    with pytest.raises(EngineError, match="audiogen was closed"):
        other.notes(item())


def test_a_missing_model_is_named(tmp_path: Any) -> None:
    fetch = "audio-pool models fetch audiogen"
    with pytest.raises(EngineUnavailable, match=rf"facebook/audiogen-medium.*{fetch}"):
        load_engine("audiogen", {"device": "cpu"})
    with pytest.raises(EngineUnavailable, match=rf"{tmp_path}.*{fetch}"):
        load_engine("audiogen", {"model": str(tmp_path), "device": "cpu"})
