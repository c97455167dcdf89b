"""MAGNeT against its own published algorithm, one sound at a time in plain torch."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from tests.support import audiocraft_checkpoints as checkpoints
from tests.support.audiocraft_models import magnet_codes

from audio_pool.engines import Generator, Item, Streams, load_engine
from audio_pool.errors import Cancelled, EngineError, EngineUnavailable, InvalidRequest, NotSupported, OutOfMemory

pytest.importorskip("transformers")

FRAMES = 50 * checkpoints.SEGMENT_S["magnet"]
HOP = 80


def item(prompt: str = "rain on a tin roof", seed: int = 7, duration_s: float = 0.8, **more: Any) -> Item:
    options = {"later_steps": 2, **more.pop("options", {})}
    return Item(**{"prompt": prompt, "seed": seed, "duration_s": duration_s, "steps": 4, "options": options, **more})


MIXED = [
    item(guidance_scale=4.0),
    item("dog", 1, 0.3),
    item("the low wind on the sea", 2**63 - 1, 0.96),
    item("a dog", 3, negative_prompt="music"),
    item("bark", 4, guidance_scale=1.0),
    item("bark", 5, steps=3),
    item("bark", 5, options={"span_arrangement": "stride1"}),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> checkpoints.Built:
    return checkpoints.build(tmp_path_factory.mktemp("models"), "magnet")


@pytest.fixture(scope="module")
def engine(built: checkpoints.Built) -> Any:
    return load_engine("magnet", {"model": str(built.directory), "device": "cpu", "dtype": "float32"})


def published(built: checkpoints.Built, asked: Item, **choices: Any) -> tuple[np.ndarray, np.ndarray]:
    """The reference's codes [K, frames] and wave [1, T] of an item, window by window."""
    guidance = 10.0 if asked.guidance_scale is None else asked.guidance_scale
    choices = {"temperature": 3.0, "top_p": 0.9, "guidance": (guidance, 1.0), **choices}
    overlapping = asked.options.get("span_arrangement") == "stride1"
    made = FRAMES if overlapping else FRAMES // 3 * 3
    stride = round(float(asked.options.get("stride_s") or made / 2 / 50) * 50) // 3 * 3
    needed = -(-round(asked.duration_s * checkpoints.RATE) // HOP)
    luck = torch.Generator().manual_seed(asked.seed)
    with torch.no_grad():
        codes = torch.zeros(checkpoints.BOOKS, 0, dtype=torch.long)
        while codes.shape[1] == 0 or (needed > FRAMES and codes.shape[1] < needed):
            begin = codes.shape[1] - (made - stride) if codes.shape[1] else 0
            window = magnet_codes(
                built.language_model,
                built.states(asked.prompt),
                built.states(asked.negative_prompt) if guidance > 1 else None,
                frames=FRAMES,
                luck=luck,
                steps=[asked.steps or 20, *[int(asked.options["later_steps"] or 0)] * 3],
                reach=5,
                stride1=overlapping,
                prompt=codes[:, begin:] if begin else None,
                **choices,
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


@pytest.mark.parametrize(
    ("options", "choices"),
    [
        ({"temperature": 1.2}, {"temperature": 1.2}),
        ({"temperature": 0.0}, {"temperature": 0.0}),
        ({"top_p": 0.4}, {"top_p": 0.4}),
        ({"top_p": 0.0}, {"top_p": 0.0}),
        ({"top_p": 0.0, "top_k": 3}, {"top_p": 0.0, "top_k": 3}),
        ({"guidance_end": 4.0}, {"guidance": (10.0, 4.0)}),
        ({"later_steps": 4}, {}),
        ({"span_arrangement": "stride1", "later_steps": 4}, {}),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, dict) else None,
)
def test_an_option_is_the_published_one_and_heard(
    built: checkpoints.Built, engine: Any, options: dict[str, Any], choices: dict[str, Any]
) -> None:
    asked = item(options=options)
    plain, found = engine.latents([item(), asked])
    np.testing.assert_array_equal(found, published(built, asked, **choices)[0])
    assert found.shape != plain.shape or (found != plain).any()


def test_a_models_own_choices_are_taken_where_none_is_asked_for(tmp_path: Any) -> None:
    own = {"generate__lm__temp": 3.5, "generate__lm__top_p": 0.8, "generate__lm__max_cfg_coef": 20.0}
    built = checkpoints.build(tmp_path, "magnet", **own)
    engine = load_engine("magnet", {"model": str(built.directory), "device": "cpu", "dtype": "float32"})
    assert engine.info.guidance_scale == 20.0
    wanted, _ = published(built, item(), temperature=3.5, top_p=0.8, guidance=(20.0, 1.0))
    np.testing.assert_array_equal(engine.latents([item()])[0], wanted)


def test_every_input_changes_the_sound(engine: Any) -> None:
    others = [item(seed=8), item("dog bark"), item(guidance_scale=1.5), item(negative_prompt="dog"), item(steps=5)]
    base, *found = engine.latents([item(), *others])
    for asked, codes in zip(others, found, strict=True):
        assert (codes != base).mean() > 0.05, asked


LONG = [
    item(duration_s=2.3),
    item("dog", 2, 1.9, options={"stride_s": 0.7}),
    item("dog", 3, 1.5, options={"span_arrangement": "stride1", "stride_s": 0.3}),
    item("bark", 4, 2.2, guidance_scale=4.0),
]


def test_beyond_its_window_it_goes_on_from_what_it_made(built: checkpoints.Built, engine: Any) -> None:
    assert (engine.info.window_s, engine.info.longest_s) == (1.0, 600.0)
    seen: list[tuple[int, int]] = []
    together = engine.generate([*LONG, item()], lambda *at: seen.append(at))
    steps = 10 * (4 + 3 + 3 + 1)  # LONG's first and last share a pass, whose windows each take 4 + 3 * 2 steps
    assert seen == [(done, steps) for done in range(1, steps + 1)]
    for asked, sound, drawn in zip(LONG, together, engine.latents(LONG), strict=False):
        wanted, wave = published(built, asked)
        np.testing.assert_array_equal(drawn, wanted)
        close(sound, wave)
    close(engine.generate([item()])[0], together[-1])


def continuing(given_s: float, extend_s: float, seed: int = 7, **more: Any) -> Item:
    time = np.arange(round(given_s * checkpoints.RATE)) / checkpoints.RATE
    tone = (0.4 * np.sin(2 * np.pi * 300 * time)).astype(np.float32)[None]
    return item(seed=seed, init_audio=tone, extend_s=extend_s, duration_s=given_s + extend_s, **more)


def continued(built: checkpoints.Built, asked: Item, stride: int) -> np.ndarray:
    """The reference's sound: the given one, faded over its last 50 ms into what the model made of its codes."""
    assert asked.init_audio is not None and asked.extend_s is not None
    sound = asked.init_audio
    made, luck = FRAMES // 3 * 3, torch.Generator().manual_seed(asked.seed)
    begun = min(made - stride, sound.shape[1] // HOP)
    total = begun - (-round(asked.extend_s * checkpoints.RATE) // HOP)
    with torch.no_grad():
        codes, end = built.codec.encode(torch.from_numpy(sound[:, -begun * HOP :])), 0
        while end < total:
            begin = end - (made - stride) if end else 0
            window = magnet_codes(
                built.language_model, built.states(asked.prompt), built.states(""), frames=FRAMES, luck=luck,
                steps=[4, 2, 2, 2], reach=5, temperature=3.0, top_p=0.9, guidance=(10.0, 1.0), prompt=codes[:, begin:],
            )  # fmt: skip
            codes = torch.cat([codes[:, :begin], window], dim=1)
            end = codes.shape[1]
        wave = built.codec.decode(codes).numpy()[:, begun * HOP - 200 :]
    rising = np.linspace(0, 1, 202)[1:-1]
    joined = sound[:, -200:] * (1 - rising) + wave[:, :200] * rising
    whole = np.concatenate([sound[:, :-200], joined, wave[:, 200:]], axis=1)
    return whole[:, : sound.shape[1] + round(asked.extend_s * checkpoints.RATE)]


def test_a_given_sound_goes_on_and_stays_what_it_was(built: checkpoints.Built, engine: Any) -> None:
    items = [continuing(0.45, 0.3), continuing(1.4471, 1.3), item(), continuing(0.45, 0.4, seed=8)]
    together = engine.generate(items)
    for asked, found in zip(items, together, strict=True):
        if asked.init_audio is not None:
            close(found, continued(built, asked, stride=24))
            kept = asked.init_audio.shape[1] - 200
            np.testing.assert_array_equal(found[:, :kept], asked.init_audio[:, :kept])
        close(engine.generate([asked])[0], found)


def test_a_part_of_a_given_sound_is_made_anew(built: checkpoints.Built, engine: Any) -> None:
    time = np.arange(3000) / checkpoints.RATE
    sound = (0.4 * np.sin(2 * np.pi * 300 * time)).astype(np.float32)[None]
    for options in ({}, {"span_arrangement": "stride1"}):
        asked = item(init_audio=sound, mask=(0.33, 0.51), duration_s=0.75, options=options)
        with torch.no_grad():
            given = built.codec.encode(torch.from_numpy(np.pad(sound, ((0, 0), (0, 40)))))  # 38 frames
            frame = torch.arange(39)
            wanted = magnet_codes(
                built.language_model, built.states(asked.prompt), built.states(""), frames=39,
                luck=torch.Generator().manual_seed(7), steps=[4, 2, 2, 2], reach=5, temperature=3.0, top_p=0.9,
                guidance=(10.0, 1.0), stride1=bool(options), prompt=torch.nn.functional.pad(given, (0, 1)),
                keep=((frame < 16) | (frame >= 26)) & (frame < 37),
            )  # fmt: skip
        np.testing.assert_array_equal(engine.latents([asked])[0], wanted)
        assert (wanted[:, 16:26] != given[:, 16:26]).any() and torch.equal(wanted[:, 26:37], given[:, 26:37])
        (found,) = engine.generate([asked])
        assert found.shape == sound.shape
        begin, end = round(0.33 * checkpoints.RATE), round(0.51 * checkpoints.RATE)
        np.testing.assert_array_equal(found[:, : begin - 120], sound[:, : begin - 120])  # 30 ms of crossfade
        np.testing.assert_array_equal(found[:, end + 120 :], sound[:, end + 120 :])
        assert np.abs(found[:, begin:end] - sound[:, begin:end]).mean() > 0.05
        np.testing.assert_array_equal(np.concatenate(list(engine.pieces(asked)), axis=1), found)
        other = item("dog", 2, init_audio=sound, mask=(0.2, 0.3), duration_s=0.75)
        close(engine.generate([item(), asked, other])[1], found)


def test_pieces_in_a_row_are_the_sound(engine: Any) -> None:
    assert isinstance(engine, Streams) and engine.info.streams
    for asked, count in ((LONG[0], 4), (item(duration_s=1.0), 1), (continuing(0.7, 1.2), 3)):
        whole = engine.generate([asked])[0]
        seen: list[tuple[int, int]] = []
        came = []
        for _ in engine.pieces(asked, lambda *at: seen.append(at)):  # noqa: B023
            came.append(len(seen))
            assert torch.is_grad_enabled(), "the mode of the caller's thread"
        assert came[:count] == [10 * (number + 1) for number in range(count)]
        assert seen[-1] == (10 * count, 10 * count)
        close(np.concatenate(list(engine.pieces(asked)), axis=1), whole)


def test_it_says_what_was_loaded(built: checkpoints.Built, engine: Any) -> None:
    assert isinstance(engine, Generator)
    info = engine.info
    assert (info.sample_rate, info.channels, info.model) == (checkpoints.RATE, 1, str(built.directory))
    assert (info.dtype, info.licence, info.commercial_use) == ("float32", "CC-BY-NC-4.0", False)


@pytest.mark.parametrize("seconds", [0.05, 0.29, 0.33333, 0.95991])
def test_exact_length(engine: Any, seconds: float) -> None:
    (sound,) = engine.generate([item(duration_s=seconds, steps=1, options={"later_steps": 1})])
    assert sound.shape == (1, round(seconds * checkpoints.RATE))
    assert sound[:, -1].any()


def test_progress_counts_every_step_of_every_codebook(engine: Any) -> None:
    seen: list[tuple[int, int]] = []
    engine.generate([item(), item("dog"), item(steps=2)], lambda *at: seen.append(at))
    assert seen == [(done, 18) for done in range(1, 19)]  # (4 + 3 * 2) + (2 + 3 * 2)


def test_a_cancel_is_heeded_at_the_next_step_and_the_next_run_is_unharmed(engine: Any) -> None:
    before = engine.latents([item()])[0]
    seen = []

    def stop(done: int, total: int) -> None:
        seen.append(done)
        if done == 6:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        engine.generate([item(), item("dog")], stop)
    assert seen == [1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(engine.latents([item()])[0], before)


def test_refused_or_said(engine: Any) -> None:
    with pytest.raises(NotSupported, match="at most"):
        engine.notes(item(duration_s=engine.info.longest_s + 1))
    with pytest.raises(NotSupported, match="voice"):
        engine.notes(item(voice="anna"))
    with pytest.raises(NotSupported, match="loop"):
        engine.notes(item(loop=True))
    with pytest.raises(NotSupported, match=r"init_audio: .* continue a sound \(extend_s\) or .* \(mask\), and nothing"):
        engine.notes(item(init_audio=np.zeros((1, 800), np.float32)))
    with pytest.raises(InvalidRequest, match=r"mask: given 0\.1 to 0\.3 s, allowed are .* which has 0\.2 s"):
        engine.notes(item(init_audio=np.zeros((1, 800), np.float32), mask=(0.1, 0.3), duration_s=0.2))
    with pytest.raises(InvalidRequest, match=r"extend_s: given 0\.5, .* with init_audio"):
        engine.notes(item(extend_s=0.5))
    with pytest.raises(InvalidRequest, match=r"guidance_end: given 6, allowed is at most guidance_scale \(5\)"):
        engine.generate([item(guidance_scale=5.0, options={"guidance_end": 6.0})])
    with pytest.raises(InvalidRequest, match=r"stride_s: given 1, allowed is less than the model's window \(1 s\)"):
        engine.notes(item(options={"stride_s": 1.0}))
    with pytest.raises(InvalidRequest, match=r"temperature: given -1\.0, .* allows a number, 0 to 10"):
        engine.notes(item(options={"temperature": -1.0}))
    with pytest.raises(InvalidRequest, match="no option 'top_q'; did you mean 'top_"):
        engine.notes(item(options={"top_q": 0.5}))
    assert engine.notes(item()).warnings == ()

    def said(asked: Item) -> list[str]:
        return [each.partition(":")[0] for each in engine.notes(asked).warnings]

    assert said(item(duration_s=1.0)) == ["silent_end"]  # 50 frames are no whole number of spans
    assert said(item(duration_s=1.0, options={"span_arrangement": "stride1"})) == []
    assert said(item(options={"top_k": 5})) == ["top_k_unused"]
    assert said(item(options={"top_k": 5, "top_p": 0.0})) == []
    assert said(item("dog " * 600)) == ["prompt_truncated"]
    assert said(continuing(0.5, 0.5, init_strength=0.5)) == ["init_strength_unused"]
    assert said(item(negative_prompt="dog", guidance_scale=1.0)) == ["negative_prompt_unused"]
    (sound,) = engine.generate([item(duration_s=1.0)])
    made = FRAMES // 3 * 3 * HOP
    assert sound[:, made - 1].any() and not sound[:, made:].any()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_makes_sounds(built: checkpoints.Built, dtype: str) -> None:
    half = load_engine("magnet", {"model": str(built.directory), "device": "cpu", "dtype": dtype})
    assert half.info.dtype == dtype
    together = half.generate([item(), item("dog", 2)])
    assert all(np.isfinite(sound).all() and np.abs(sound).max() > 1e-2 for sound in together)


@pytest.mark.parametrize("offload", ["model", "sequential"])
def test_offloaded_it_makes_the_same_sounds(built: checkpoints.Built, engine: Any, offload: str) -> None:
    settings = {"model": str(built.directory), "device": "cpu", "dtype": "float32", "offload": offload}
    close(load_engine("magnet", settings).generate([item()])[0], engine.generate([item()])[0])


def test_quantised_it_makes_sounds(built: checkpoints.Built) -> None:
    pytest.importorskip("torchao")
    settings = {"model": str(built.directory), "device": "cpu", "dtype": "float32", "quantization": "8bit"}
    small = load_engine("magnet", settings)
    assert small.info.quantization == "8bit-torchao"
    assert np.isfinite(small.generate([item()])[0]).all()


def test_a_cap_is_measured_by_the_weights_that_are_there(built: checkpoints.Built, monkeypatch: Any) -> None:
    # T5's are half a file, the others' exactly those in theirs, though stored in half precision
    from audio_pool.engines import _fit

    seen: list[int] = []
    plain = _fit.check_fit

    def fit(engine: str, fit: _fit.Fit, device: Any) -> int:
        seen[:] = [part.linear + part.other for part in fit.parts]
        return plain(engine, fit, device)

    monkeypatch.setattr(_fit, "check_fit", fit)
    load_engine("magnet", {"model": str(built.directory), "device": "cpu", "dtype": "float32"})
    sizes = [sum(each.numel() for each in part.state_dict().values()) for part in (built.language_model, built.codec)]
    assert seen[1:] == sizes
    monkeypatch.setattr(_fit, "check_fit", lambda *_: (_ for _ in ()).throw(OutOfMemory("too small")))
    with pytest.raises(OutOfMemory, match="too small"):
        load_engine("magnet", {"model": str(built.directory), "device": "cpu", "dtype": "float32"})


def test_closed_it_holds_no_weights(built: checkpoints.Built) -> None:
    other = load_engine("magnet", {"model": str(built.directory), "device": "cpu", "dtype": "float32"})
    other.generate([item(steps=1, options={"later_steps": 1})])
    held = [weakref.ref(module) for module in (other._model, other._codec, other._text_encoder)]
    other.close()
    gc.collect()
    assert [module() for module in held] == [None, None, None]
    assert other.info.name == "magnet"
    for asked in (other.generate, other.latents):
        with pytest.raises(EngineError, match="magnet was closed"):
            asked([item(steps=1)])


def test_a_missing_model_is_named(built: checkpoints.Built, tmp_path: Any) -> None:
    fetch = "audio-pool models fetch magnet"
    with pytest.raises(EngineUnavailable, match=rf"nowhere.*{fetch}"):
        load_engine("magnet", {"model": str(tmp_path / "nowhere"), "device": "cpu"})
    with pytest.raises(EngineUnavailable, match=rf"facebook/magnet-small-10secs.*{fetch}"):
        load_engine("magnet", {"device": "cpu"})
    with pytest.raises(EngineUnavailable, match=rf"{tmp_path}.*{fetch}"):
        load_engine("magnet", {"model": str(tmp_path), "device": "cpu"})
