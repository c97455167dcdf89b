"""MusicGen against transformers' own generate, on tiny checkpoints in the official layout."""

from __future__ import annotations

import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec import structs
from safetensors.torch import load_file
from tests.support import checkpoints
from tests.support.token_reference import Reference

from audio_pool.engines import Generator, Item, Streams, _autoregressive, load_engine, musicgen
from audio_pool.engines._chroma import chroma
from audio_pool.engines._token_drawing import Window
from audio_pool.errors import Cancelled, EngineUnavailable, InvalidRequest, NotSupported
from audio_pool.models.weights import parts_of

RAIN = "rain on a tin roof"


def item(prompt: str = RAIN, seed: int = 7, duration_s: float = 0.5, **more) -> Item:
    return Item(prompt=prompt, seed=seed, duration_s=duration_s, **more)


MIXED = [
    item(),
    item("dog", 1, 0.7, guidance_scale=1.5, options={"temperature": 0.7, "top_k": 5}),
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
        (
            {"init_audio": np.zeros((1, 100), np.float32)},
            NotSupported,
            "and nothing else",
        ),
        ({"init_audio": np.zeros((1, 100), np.float32), "mask": (0.0, 0.1)}, NotSupported, "mask"),
        ({"init_audio": tone(440.0, 1.0), "extend_s": 600.0, "duration_s": 601.0}, NotSupported, "at most"),
        ({"init_audio": tone(440.0, 1.0), "extend_s": 0.0}, InvalidRequest, "extend_s: given 0.0"),
        ({"extend_s": 1.0}, InvalidRequest, "extend_s: given 1.0, .* with init_audio"),
        ({"loop": True}, NotSupported, "no loops"),
        ({"options": {"temperature": 3.5}}, InvalidRequest, "temperature: given 3.5, .* 0 to 3"),
        ({"options": {"top_p": 0.0}}, InvalidRequest, "top_p"),
        ({"options": {"top_k": 2049}}, InvalidRequest, "top_k"),
        ({"options": {"tempo": 1}}, InvalidRequest, "no option 'tempo'"),
    ):
        with pytest.raises(error, match=said):
            engine.notes(item(**wrong))
    (said,) = engine.notes(item("dog " * 600)).warnings
    assert said.startswith("prompt_truncated: 601 tokens, of which the model reads 512")
    assert engine.notes(item()).warnings == ()


def tone(hz: float, seconds: float, channels: int = 1) -> np.ndarray:
    times = np.arange(round(seconds * 32_000)) / 32_000
    return (0.3 * np.sin(2 * np.pi * hz * times)).astype(np.float32)[None].repeat(channels, 0)


# -- what it is given ------------------------------------------------------------------------------------


def continued(prompt: str, source: np.ndarray, extend_s: float, seed: int = 7, **more) -> Item:
    total_s = source.shape[1] / 32_000 + round(extend_s * 32_000) / 32_000
    return item(prompt, seed, total_s, init_audio=source, extend_s=extend_s, **more)


def given_codes(reference: Reference, sound: np.ndarray) -> torch.Tensor:
    """Of mono sounds by the library's own encoder, int64 [K, frames]; left and right alternate."""
    with torch.no_grad():
        codes = reference.model.audio_encoder.encode(torch.from_numpy(sound)[:, None]).audio_codes[0]
    return codes.transpose(0, 1).flatten(0, 1)


@pytest.mark.parametrize("kind", ["", "stereo"])
def test_a_given_sound_is_continued_by_the_librarys_codes(kind, request):
    engine, reference = (request.getfixturevalue(name) for name in ("engine", "reference"))
    if kind:
        engine, reference = request.getfixturevalue("stereo")
    source = tone(440.0, 0.707, engine.info.channels)  # 35 frames and a part of one, of which the end is heard
    wanted = continued(RAIN, source, 0.5)
    heard = source[:, source.shape[1] - 35 * 640 :]
    given = given_codes(reference, heard)
    codes = reference.codes(wanted.prompt, wanted.seed, 60, given=given)
    np.testing.assert_array_equal(engine.latents([wanted])[0], codes.numpy())
    (sound,) = engine.generate([wanted])
    new, fade = 16_000, 1_600
    assert sound.shape == (engine.info.channels, source.shape[1] + new)
    np.testing.assert_array_equal(sound[:, : source.shape[1] - fade], source[:, :-fade])
    wave = reference.wave(codes, 60 * 0.02)
    np.testing.assert_allclose(sound[:, source.shape[1] :], wave[:, 35 * 640 :][:, :new], atol=1e-4)
    # in between one turns into the other, and neither end of that jumps
    mixed = sound[:, source.shape[1] - fade : source.shape[1]]
    rising = np.arange(1, fade + 1) / (fade + 1)
    decoded = wave[:, 35 * 640 - fade : 35 * 640]
    np.testing.assert_allclose(mixed, source[:, -fade:] * (1 - rising) + decoded * rising, atol=1e-4)


def test_sounds_of_other_lengths_are_continued_in_one_batch_and_in_pieces(short):
    """Beyond the window, too; more than the model's window leaves room for, and less than a frame."""
    stride = {"stride_s": 1.0}
    items = [
        continued(RAIN, tone(300.0, 1.8), 1.9, options=stride),
        continued("dog", tone(500.0, 0.01), 0.3, 2, options=stride),
        continued("dog", tone(500.0, 0.4, channels=2), 0.33333, 3, options=stride),
        item(),
    ]
    together = short.generate(items)
    for wanted, found in zip(items, together, strict=True):
        source = wanted.init_audio
        if source is not None:
            assert found.shape == (1, source.shape[1] + round(wanted.extend_s * 32_000))
        assert np.abs(short.generate([wanted])[0] - found).max() < 1e-5
        np.testing.assert_array_equal(np.concatenate(list(short.pieces(wanted)), axis=1), short.generate([wanted])[0])
    (said,) = short.notes(continued(RAIN, tone(300.0, 0.5), 0.5, init_strength=0.4)).warnings
    assert said.startswith("init_strength_unused: ")


# -- other models ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stereo(tmp_path_factory):
    model = checkpoints.musicgen(tmp_path_factory.mktemp("models") / "stereo", checkpoints.MUSICGEN_STEREO)
    return load_engine("musicgen", {"model": model, "device": "cpu", "dtype": "float32"}), Reference(model)


def test_stereo_is_the_librarys(stereo):
    engine, reference = stereo
    assert engine.info.channels == 2
    batch = MIXED[:2]
    for wanted, codes, sound in zip(batch, engine.latents(batch), engine.generate(batch), strict=True):
        drawn = expected(reference, wanted)
        np.testing.assert_array_equal(codes, drawn.numpy())
        wave = reference.wave(drawn, wanted.duration_s)
        assert sound.shape == (2, round(wanted.duration_s * 32_000))
        assert np.abs(sound - wave).max() < 1e-5 * np.abs(wave).max()
        assert np.abs(sound[0] - sound[1]).max() > 1e-2


@pytest.fixture(scope="module")
def melody(tmp_path_factory):
    model = checkpoints.musicgen(tmp_path_factory.mktemp("models") / "melody", checkpoints.MUSICGEN_MELODY)
    settings = musicgen.Settings(model=str(model), device="cpu", dtype="float32")
    engine = musicgen.load(structs.replace(musicgen.INFO, window_s=2.0), settings)
    return engine, Reference(model, "MusicgenMelodyForConditionalGeneration")


SCALE = {"C": 261.63, "D": 293.66, "E": 329.63, "F#": 369.99, "A": 440.0}
PLACES = {"C": 0, "D": 2, "E": 4, "F#": 6, "A": 9}


def test_chroma_tells_the_notes_that_are_played():
    notes = list(SCALE)
    wave = np.concatenate([tone(SCALE[note], 2.0)[0] + 0.1 * tone(2 * SCALE[note], 2.0)[0] for note in notes])
    found = chroma(torch.from_numpy(wave), 32_000, 12)
    assert found.shape == (1 + len(wave) // 4096, 12)
    assert (found.sum(dim=1) == 1).all()
    for place, note in enumerate(notes):
        middle = round((2 * place + 1) * 32_000 / 4096)
        assert found[middle - 3 : middle + 3].argmax(dim=1).tolist() == [PLACES[note]] * 6
    assert chroma(torch.from_numpy(wave[:5000]), 32_000, 12).argmax(dim=1).tolist() == [0] * 5


def features(frames: int, *notes: tuple[str, int]) -> torch.Tensor:
    """One-hot [1, 235, 12] of notes and their lengths in frames, over and over."""
    places = [PLACES[note] for note, length in notes for _ in range(length)]
    assert len(places) == frames
    return torch.nn.functional.one_hot(torch.tensor(places), 12).float()[None]


def test_a_tune_conditions_the_melody_model_as_the_library_does(melody):
    engine, reference = melody
    tune = tone(SCALE["A"], 1.0)
    wanted, plain = item(init_audio=tune), item()
    batch = [plain, wanted, item("dog", 2), item("dog", 2, init_audio=tone(SCALE["D"], 1.0, 2), guidance_scale=1.0)]
    together = engine.latents(batch)
    a = features(8, ("A", 8))
    np.testing.assert_array_equal(together[0], expected(reference, plain).numpy())
    np.testing.assert_array_equal(together[1], reference.codes(RAIN, 7, 25, features=a).numpy())
    assert (together[0] != together[1]).mean() > 0.2
    d = features(8, ("D", 8))
    np.testing.assert_array_equal(together[3], reference.codes("dog", 2, 25, 1.0, features=d).numpy())
    for wanted, found in zip(batch, together, strict=True):
        np.testing.assert_array_equal(engine.latents([wanted])[0], found)
    (said,) = engine.notes(item(init_audio=tone(440.0, 31.0))).warnings
    assert said.startswith("init_audio_cut: 31.0 s were given")


def test_a_tune_goes_on_where_the_window_does(melody):
    """Ten seconds of D, then of A: at the second window the tune begins a second later."""
    engine, reference = melody
    tune = np.concatenate([tone(SCALE["D"], 1.024), tone(SCALE["A"], 2.048)], axis=1)
    wanted = item(duration_s=2.5, init_audio=tune, options={"stride_s": 1.0})
    streams: list[torch.Generator] = []
    first = chroma(torch.from_numpy(tune[0]), 32_000, 12)[None]
    later = chroma(torch.from_numpy(np.roll(tune[0], -32_000)), 32_000, 12)[None]
    assert (first != later).any()
    codes = reference.codes(RAIN, 7, 100, streams=streams, features=first)
    window = reference.codes(RAIN, 7, 75, given=codes[:, 50:], streams=streams, features=later)
    np.testing.assert_array_equal(engine.latents([wanted])[0], torch.cat([codes[:, :50], window], dim=1).numpy())


# -- where it runs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"offload": "sequential"},
        {"offload": "group"},
        {"offload_modules": ["encoder", "codec", "language_model"]},
    ],
    ids=str,
)
def test_offloaded_it_makes_the_same(model, engine, settings):
    other = load_engine("musicgen", {"model": model, "device": "cpu", "dtype": "float32", **settings})
    for wanted in (item(duration_s=0.1), continued(RAIN, tone(440.0, 0.1), 0.1)):
        np.testing.assert_array_equal(other.latents([wanted])[0], engine.latents([wanted])[0])
        pieces = np.concatenate(list(other.pieces(wanted)), axis=1)
        np.testing.assert_allclose(pieces, engine.generate([wanted])[0], atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"dtype": "bfloat16", "quantization": "8bit"},
        {"dtype": "float16"},
        {"quantization": "4bit"},
    ],
    ids=str,
)
def test_narrower_weights_give_nearly_the_same_chances(model, engine, settings):
    """Tokens differ from the first near tie on, so it is the model that is compared, not the draw."""
    other = load_engine("musicgen", {"model": model, "device": "cpu", **settings})
    tokens = torch.randint(0, 64, (1, 4, 20), generator=torch.Generator().manual_seed(0))

    def chances(one) -> torch.Tensor:
        job = one._job(0, item())
        with one._running(1):
            condition = one._condition([job], [one._encoding(*job.text)], Window(begin=0, known=0, end=40))
            return one._predictor(condition, 43)(tokens).float().softmax(dim=-1)

    wanted = chances(engine)
    assert 0 < (chances(other) - wanted).abs().sum(dim=-1).mean() < 0.2
    sound = other.generate([item(duration_s=0.2)])[0]
    assert sound.dtype == np.float32 and np.isfinite(sound).all() and np.abs(sound).max() > 1e-3
    again = load_engine("musicgen", {"model": model, "device": "cpu", **settings})
    np.testing.assert_array_equal(again.generate([item(duration_s=0.2)])[0], sound)


@pytest.fixture
def traced(monkeypatch) -> None:
    """torch.compile as it is but for the compiler at its end, which takes a minute: a pass must be one whole graph."""

    def whole(module, settings, device) -> None:
        module.compile(backend="eager", fullgraph=True, dynamic=False)

    monkeypatch.setattr(_autoregressive, "compile_module", whole)


def test_compiled_it_makes_the_same_and_compiles_nothing_after_load(model, engine, traced):
    """Fewer rows than were warmed up, as many, more; longer texts; one run in the middle of another."""
    settings = {"compile": True, "compile_shapes": [{"items": 3, "duration_s": 1}]}
    compiled = load_engine("musicgen", {"model": model, "device": "cpu", "dtype": "float32", **settings})
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    items = [item(duration_s=0.3), item("dog", 2, 0.2), item("dog", 3, 0.2, guidance_scale=1.0)]
    items += [item("sea " * 40, 4, 0.2), item("dog", 5, 0.1), item("a dog", 6, 0.1), item("sea", 7, 0.1)]
    for batch, eager in (([items[0]], False), (items[:3], False), (items, True)):
        for found, wanted in zip(compiled.latents(batch), engine.latents(batch), strict=True):
            np.testing.assert_array_equal(found, wanted)
        assert [each.split(":")[0] for each in compiled.told()] == ["not_compiled"] * eager
    compiled.piece_s = 0.1
    pieces = compiled.pieces(items[0])
    parts = [next(pieces)]
    compiled.generate([items[1]])
    whole = engine.generate([items[0]])[0]
    np.testing.assert_allclose(np.concatenate([*parts, *pieces], axis=1), whole, atol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before
    torch.compiler.reset()


def test_closed_it_gives_its_memory_back(model):
    engine = load_engine("musicgen", {"model": model, "device": "cpu"})
    engine.generate([item(duration_s=0.1)])
    parts = [weakref.ref(part) for part in (engine._lm, engine._text_encoder, engine._codec)]
    engine.close()
    assert [part() for part in parts] == [None] * 3
    assert engine.info.name == "musicgen"


def test_official_files_name_weights_as_older_libraries_did(model, engine, tmp_path):
    shutil.copytree(model, tmp_path / "model")
    weights = load_file(model / "model.safetensors")
    for new, old in (("original0", "weight_g"), ("original1", "weight_v")):
        weights = {name.replace(f"parametrizations.weight.{new}", old): value for name, value in weights.items()}
    assert any(name.endswith("weight_g") for name in weights)
    weights["text_encoder.encoder.embed_tokens.weight"] = weights["text_encoder.shared.weight"].clone()
    torch.save(weights, tmp_path / "model" / "pytorch_model.bin")
    torch.save(weights, tmp_path / "model" / "state_dict.bin")  # audiocraft's copy lies beside it
    (tmp_path / "model" / "model.safetensors").unlink()
    other = load_engine("musicgen", {"model": tmp_path / "model", "device": "cpu"})
    wanted = item(duration_s=0.2)
    np.testing.assert_array_equal(other.generate([wanted])[0], engine.generate([wanted])[0])
    assert list(parts_of(tmp_path / "model")[""]) == [tmp_path / "model" / "pytorch_model.bin"]


def test_the_memory_reckoned_is_that_of_the_keys_and_values(model, engine):
    job = engine._job(0, item())
    with engine._running(1):
        window = Window(begin=0, known=0, end=1500)
        condition = engine._condition([job], [engine._encoding(*job.text)], window)
        predict = engine._predictor(condition, 1503)
        predict(torch.zeros(1, 4, 1, dtype=torch.long))
    caches = predict._cache.self_attention_cache.layers
    held = sum(layer.room.numel() for layer in caches) * 2
    assert held <= musicgen.working_bytes(model) / 2 <= 1.1 * held


def test_a_missing_or_other_model_is_named(tmp_path):
    with pytest.raises(EngineUnavailable, match=r"facebook/musicgen-small.*audio-pool models fetch musicgen"):
        load_engine("musicgen", {"device": "cpu"})
    with pytest.raises(EngineUnavailable, match=rf"{tmp_path}.*audio-pool models fetch musicgen"):
        load_engine("musicgen", {"model": tmp_path, "device": "cpu"})
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(EngineUnavailable, match=rf"{tmp_path}.*that of a 'bert'"):
        load_engine("musicgen", {"model": tmp_path, "device": "cpu"})
