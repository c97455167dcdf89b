"""Small cards: precision, quantisation, offloading, slicing, chunks, limits, and halved batches.

All on the CPU, with the real libraries on tiny checkpoints; what only a GPU can show is in tests/gpu.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support import checkpoints
from torch.utils._python_dispatch import TorchDispatchMode

from audio_pool import gpu
from audio_pool.engines import Item, _fit, _mel, _oobleck, _torch, engine_info, load_engine
from audio_pool.errors import Cancelled, EngineError, InvalidConfig, NotSupported, OutOfMemory
from audio_pool.models.weights import parts_of, weight_elements
from audio_pool.worker.batching import generate_halving

NAMES = ["tangoflux", "audioldm", "audioldm2", "stable_audio"]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("models")
    return {name: getattr(checkpoints, name)(home / name) for name in NAMES}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A TangoFlux whose autoencoder's halves fit each other, as the official one's do."""
    return checkpoints.tangoflux(tmp_path_factory.mktemp("whole"), checkpoints.TANGOFLUX_WHOLE)


@pytest.fixture(scope="module")
def engines(models):
    return {name: load_engine(name, {"model": models[name], "device": "cpu"}) for name in NAMES}


def item(prompt: str = "rain on a tin roof", seed: int = 7, **more) -> Item:
    return Item(**{"prompt": prompt, "seed": seed, "duration_s": 0.5, "steps": 3, **more})


def error(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found - wanted).mean() / np.abs(wanted).mean())


def alike(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Equal but for rounding, measured against the loudest sample."""
    torch.testing.assert_close(found, wanted, atol=1e-4 * float(wanted.abs().max()), rtol=0)


class Largest(TorchDispatchMode):
    """Watches the largest floating-point tensor that any operation makes: what working memory is made of."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if torch.is_tensor(made) and made.is_floating_point():
            self.elements = max(self.elements, made.numel())
        return made


# -- precision and quantisation ------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("settings", "close", "smaller"),
    [
        ({"quantization": "8bit"}, 0.03, 0.75),
        ({"quantization": "8bit", "quantization_backend": "quanto"}, 0.03, 0.4),
        ({"quantization": "4bit"}, 0.2, 0.3),
        ({"quantization": "4bit", "dtype": "bfloat16"}, 0.2, 0.3),
        ({"dtype": "bfloat16"}, 0.06, 0.51),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else "",
)
def test_fewer_bits_weigh_less_and_sound_alike(engines, models, name, settings, close, smaller):
    full = engines[name]
    lean = load_engine(name, {"model": models[name], "device": "cpu", **settings})
    assert _torch.weight_bytes(lean._denoiser) < smaller * _torch.weight_bytes(full._denoiser)
    assert 0 < error(lean.latents([item()])[0], full.latents([item()])[0]) < close
    assert np.isfinite(lean.generate([item()])[0]).all()


def test_bitsandbytes_needs_a_gpu(models):
    with pytest.raises(InvalidConfig, match="bitsandbytes' needs a GPU"):
        load_engine(
            "audioldm",
            {
                "model": models["audioldm"],
                "device": "cpu",
                "quantization": "8bit",
                "quantization_backend": "bitsandbytes",
            },
        )


def test_weight_bytes_counts_shared_weights_once():
    layer = torch.nn.Linear(10, 10, bias=False)
    twice = torch.nn.ModuleList([layer, torch.nn.Linear(10, 10, bias=False)])
    twice[1].weight = layer.weight
    assert _torch.weight_bytes(twice) == 400


# -- slicing and chunks --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_attention_slicing_changes_nothing_and_takes_less(engines, models, name):
    sliced = load_engine(name, {"model": models[name], "device": "cpu", "attention_slicing": True})
    batch = [item(), item("dog", 1)]
    peaks = []
    for engine in (engines[name], sliced):
        engine.latents(batch)  # encodings are kept: only the denoiser is measured below
        with Largest() as seen:
            made = engine.latents(batch)
        peaks.append((seen.elements, made))
    assert peaks[1][0] <= peaks[0][0]
    if name in ("tangoflux", "stable_audio"):
        assert peaks[1][0] < peaks[0][0]
    for found, wanted in zip(peaks[1][1], peaks[0][1], strict=True):
        assert error(found, wanted) < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_vae_slicing_changes_nothing_and_takes_less(engines, models, name):
    sliced = load_engine(name, {"model": models[name], "device": "cpu", "vae_slicing": True})
    batch = [item(seed=seed, steps=1) for seed in range(4)]
    peaks = []
    for engine in (engines[name], sliced):
        latents = torch.from_numpy(np.stack(engine.latents(batch)))
        with Largest() as seen, torch.no_grad():
            made = engine._decoded(latents, round(0.5 * engine.info.sample_rate))
        peaks.append((seen.elements, torch.stack(made)))
    assert peaks[1][0] < 0.3 * peaks[0][0]
    alike(peaks[1][1], peaks[0][1])


@pytest.mark.parametrize("name", ["tangoflux", "stable_audio"])
def test_chunked_decode_of_waveforms_is_exact_and_takes_less(engines, models, name, monkeypatch):
    monkeypatch.setattr(_oobleck, "_CHUNK", 4)
    chunked = load_engine(name, {"model": models[name], "device": "cpu", "chunked_decode": True})
    batch = [item(steps=1, duration_s=1.4)]
    peaks = []
    for engine in (engines[name], chunked):
        latents = torch.from_numpy(np.stack(engine.latents(batch)))
        with Largest() as seen, torch.no_grad():
            (made,) = engine._decoded(latents, round(1.4 * 44100))
        peaks.append((seen.elements, made))
    assert peaks[1][0] < 0.8 * peaks[0][0]
    assert peaks[0][1].abs().max() > 0.01
    alike(peaks[1][1], peaks[0][1])


@pytest.mark.parametrize("name", ["audioldm", "audioldm2"])
def test_chunked_decode_through_a_mel_is_close_and_takes_less(engines, models, name):
    """Not exact: the VAE's group norm sees a tile at a time."""
    chunked = load_engine(name, {"model": models[name], "device": "cpu", "chunked_decode": True})
    batch = [item(steps=1, duration_s=8.0)]
    peaks = []
    for engine in (engines[name], chunked):
        latents = torch.from_numpy(np.stack(engine.latents(batch)))
        with Largest() as seen, torch.no_grad():
            (made,) = engine._decoded(latents, 128_000)
        peaks.append((seen.elements, made.numpy()))
    assert peaks[1][0] < 0.6 * peaks[0][0]
    assert peaks[1][1].shape[1] >= 128_000
    assert error(peaks[1][1][:, :128_000], peaks[0][1][:, :128_000]) < 0.35


def test_the_vocoder_in_pieces_is_exact(engines, monkeypatch):
    pipe = engines["audioldm"].pipe
    latents = torch.randn(1, 4, 50, 4, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(_mel, "_CHUNK", 24)
    with torch.no_grad():  # this engine's VAE has no tiles: only the vocoder works in pieces
        alike(_mel.decode(pipe, latents, chunked=True), _mel.decode(pipe, latents, chunked=False))


@pytest.mark.parametrize("samples", [1, 2048, 5000, 44_100])
def test_only_the_latents_that_are_asked_for_are_decoded(engines, samples):
    engine = engines["tangoflux"]
    latents = torch.randn(1, 64, 645, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = engine._vae.decoder(latents)[..., :samples]
        with Largest() as seen:
            found = _oobleck.decode(engine._vae, latents, samples, chunked=False)[..., :samples]
    alike(found, whole)
    assert seen.elements < 645 * 2048


# -- offloading ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("offload", ["model", "sequential", "group"])
def test_offloading_changes_nothing_even_after_a_cancel(engines, models, name, offload):
    engine = load_engine(name, {"model": models[name], "device": "cpu", "offload": offload})

    def stop(done: int, total: int) -> None:
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        engine.generate([item()], stop)
    np.testing.assert_allclose(engine.generate([item()])[0], engines[name].generate([item()])[0], atol=1e-6)


@pytest.mark.parametrize("name", [name for name in NAMES if engine_info(name).init_audio])
@pytest.mark.parametrize("offload", ["model", "sequential", "group"])
def test_a_sound_to_start_from_is_encoded_wherever_the_weights_wait(models, whole, name, offload):
    settings = {"model": whole if name == "tangoflux" else models[name], "device": "cpu"}
    engine, plain = load_engine(name, {**settings, "offload": offload}), load_engine(name, settings)
    sound = np.random.default_rng(3).normal(0.0, 0.3, (engine.info.channels, 8000)).astype(np.float32)
    given = item(init_audio=sound, init_strength=0.4, steps=5)
    np.testing.assert_allclose(engine.latents([given])[0], plain.latents([given])[0], atol=1e-5)


class Watched(torch.nn.Linear):
    """Notes where it was sent."""

    def __init__(self) -> None:
        super().__init__(1, 1)
        self.sent: list[str] = []

    def to(self, device):
        self.sent.append(str(device))
        return self


def placed(**settings) -> tuple[_torch.Placement, dict[str, Watched]]:
    parts = {name: Watched() for name in ("text", "unet", "vae")}
    stages = {"encoder": {"text": parts["text"]}, "denoiser": {"unet": parts["unet"]}, "decoder": {"vae": parts["vae"]}}
    return _torch.Placement(stages, _torch.TorchSettings(**settings), torch.device("cuda:1")), parts


def test_model_offload_holds_one_stage_at_a_time():
    placement, parts = placed(offload="model")
    assert {name: part.sent for name, part in parts.items()} == {name: ["cpu"] for name in parts}

    def cancelled() -> None:
        with placement.stage("denoiser"):
            assert parts["unet"].sent[-1] == "cuda:1"
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        cancelled()
    assert parts["unet"].sent == ["cpu", "cuda:1", "cpu"]
    assert parts["vae"].sent == ["cpu"]


def test_a_stage_inside_another_sends_the_outer_one_to_wait():
    placement, parts = placed(offload="model")
    with placement.stage("denoiser"):
        with placement.stage("decoder"):
            assert (parts["unet"].sent[-1], parts["vae"].sent[-1]) == ("cpu", "cuda:1")
        assert (parts["unet"].sent[-1], parts["vae"].sent[-1]) == ("cuda:1", "cpu")
        with placement.stage("denoiser"):
            pass
    assert parts["unet"].sent == ["cpu", "cuda:1", "cpu", "cuda:1", "cpu"]
    assert parts["vae"].sent == ["cpu", "cuda:1", "cpu"]


@pytest.mark.parametrize("name", ["audioldm", "stable_audio"])
def test_no_stage_is_inside_another(models, name):
    """Each would move the outer one away and back: the start from a sound needs the decoder, seconds the encoder."""
    engine = load_engine(name, {"model": models[name], "device": "cpu", "offload": "model"})
    stage, depth, stages = engine._placement.stage, 0, []

    @contextlib.contextmanager
    def watched(which):
        nonlocal depth
        depth += 1
        stages.append((which, depth))
        with stage(which):
            yield
        depth -= 1

    engine._placement.stage = watched
    sound = np.ones((engine.info.channels, 8000), np.float32)
    engine.generate([item(init_audio=sound, init_strength=0.5)])
    assert {which for which, _ in stages} == {"encoder", "denoiser", "decoder"}
    assert {at for _, at in stages} == {1}


def test_offload_modules_names_stages_and_parts():
    placement, parts = placed(offload_modules=["encoder", "vae"])
    assert placement.waiting == {"text", "vae"}
    with placement.stage("denoiser"), placement.stage("decoder"):
        pass
    assert parts["unet"].sent == ["cuda:1"]
    assert parts["vae"].sent == ["cpu", "cuda:1", "cpu"]
    with pytest.raises(InvalidConfig, match=r"'decodr', allowed is any of encoder, denoiser, decoder, text"):
        placed(offload_modules=["decodr"])


# -- limits --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "size"), [("4GB", 2**32), ("512 MB", 2**29), ("1.5GiB", 3 * 2**29), ("100", 100)])
def test_sizes(text, size):
    assert gpu.parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "4 parsecs", "0GB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(InvalidConfig, match="'4GB'"):
        gpu.parse_bytes(text)


def test_what_does_not_fit_is_refused_with_both_figures():
    memory = gpu.Memory(free_bytes=3 * 2**30, total_bytes=8 * 2**30, source="NVML")
    gpu.require_free("tangoflux", "cuda:0", 3 * 2**30, memory, "set offload = 'model'")
    said = r"needs about 5\.0 GB on cuda:0; 3\.0 GB of 8\.0 GB are free.*NVML"
    with pytest.raises(OutOfMemory, match=said) as caught:
        gpu.require_free("tangoflux", "cuda:0", 5 * 2**30, memory, "set offload = 'model'")
    assert "set offload = 'model'; docs/small-gpus.md" in caught.value.hint
    gpu.require_free("tangoflux", "cuda:0", 5 * 2**30, None)


@pytest.mark.parametrize("name", NAMES)
def test_weights_on_disk_are_counted_from_their_headers(models, name):
    counted = sum(weight_elements(path) for files in parts_of(models[name]).values() for path in files)
    by_hand = 0
    for path in models[name].rglob("*.safetensors"):
        size = int.from_bytes(path.read_bytes()[:8], "little")
        header = json.loads(path.read_bytes()[8 : 8 + size])
        entries = [value for key, value in header.items() if key != "__metadata__"]
        by_hand += sum(int(np.prod(entry["shape"])) for entry in entries)
    assert counted == by_hand > 10_000


@pytest.mark.parametrize("name", NAMES)
def test_the_estimate_follows_precision_placement_batch_and_length(models, name):
    parts = _fit.parts_in(models[name])
    assert {part.stage for part in parts} == {"encoder", "sampler", "decoder"}

    def fit(working: int = 0, **settings) -> _fit.Fit:
        return _fit.fit_of(parts, _torch.TorchSettings(**settings), torch.device("cpu"), working, 10.0)

    full = fit(dtype="float32").needed()
    assert full == 4 * sum(weight_elements(path) for files in parts_of(models[name]).values() for path in files)
    assert fit(dtype="float16").needed() == full // 2
    assert fit(quantization="4bit").needed() < fit(quantization="8bit").needed() < full
    assert fit(offload="sequential").needed() < fit(offload="group").needed()
    assert fit(offload="group").needed() < fit(offload="model").needed() < full
    assert fit(offload="model").needed() <= fit(offload_modules=["decoder"]).needed() <= full
    assert fit(offload_modules=["denoiser"]).needed() == full > fit(offload_modules=["encoder", "vae"]).needed()

    giga = 2**30
    work = fit(giga, dtype="float16")
    assert work.needed(4, 10.0) > work.needed(2, 10.0) > work.needed(1, 10.0) > work.needed(1, 2.0)
    pieces = fit(giga, dtype="float16", chunked_decode=True)
    assert pieces.needed(1, 40.0) < work.needed(1, 40.0) and pieces.needed(1, 2.0) == work.needed(1, 2.0)
    assert fit(giga, dtype="float16", vae_slicing=True).needed(8, 10.0) < work.needed(8, 10.0)
    shapes = [_torch.CompileShape(items=8, duration_s=10.0)]
    assert fit(giga, compile=True, compile_shapes=shapes).at_load() == fit(giga).needed(8, 10.0) > fit(giga).at_load()
    with pytest.raises(OutOfMemory, match=r"max_memory allows 1 MB"):
        _fit.check_fit(name, fit(giga, max_memory="1MB"), torch.device("cpu"))


def header_only(file: Path, prefixes: dict[str, torch.nn.Module]) -> None:
    """A safetensors file of these modules' tensors whose values take no room on disk."""
    header, at = {}, 0
    for prefix, module in prefixes.items():
        for key, tensor in module.state_dict().items():
            if prefix + key != "text_encoder.encoder.embed_tokens.weight":
                end = at + 4 * tensor.numel()
                header[prefix + key] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, end]}
                at = end
    text = json.dumps(header).encode()
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + at)


def test_a_small_card_is_refused_a_model_of_official_size_only_where_it_does_not_fit(tmp_path, monkeypatch):
    """TangoFlux's parts are one file, and still wait one by one."""
    from benchmarks.official_sizes import SIZES

    with torch.device("meta"):
        parts = checkpoints.tangoflux_parts(SIZES["tangoflux"])
    prefixes = {"text_encoder.": "text_encoder", "fc.": "fc", "transformer.": "transformer"}
    header_only(tmp_path / "tangoflux.safetensors", {key: parts[part] for key, part in prefixes.items()})
    header_only(tmp_path / "vae.safetensors", {"": parts["vae"]})
    (tmp_path / "config.json").write_text("{}")
    card, giga = torch.device("cuda:0"), 2**30
    memory = gpu.Memory(free_bytes=int(3.8 * giga), total_bytes=4 * giga, source="NVML")
    monkeypatch.setattr(_fit, "device_memory", lambda device: memory)

    def needed(**settings) -> float:
        given = _torch.TorchSettings(**settings)
        fit = _fit.fit_of(_fit.parts_in(tmp_path), given, card, 2 * giga, 30.0)
        return _fit.check_fit("tangoflux", fit, card) / giga

    whole, one_stage = needed(dtype="float16"), needed(dtype="float16", offload="model")
    assert 2.5 < whole < 3.5 and one_stage < whole - 0.6
    assert needed(dtype="float16", offload="sequential") < 1.5
    with pytest.raises(OutOfMemory, match=r"needs about \d\.\d GB .* 3\.8 GB of 4\.0 GB are free") as caught:
        needed(dtype="float32")
    assert "dtype = 'float16'" in caught.value.hint and "offload = 'model' or 'sequential'" in caught.value.hint
    assert needed(dtype="float32", offload="sequential", chunked_decode=True) < 3.8


@pytest.mark.parametrize(
    ("settings", "named", "unnamed"),
    [
        ({}, ["chunked_decode", "'8bit' or '4bit'", "offload = 'model' or 'sequential'"], []),
        ({"offload": "model"}, ["offload = 'sequential'"], ["'model'"]),
        ({"offload": "sequential"}, ["quantization"], ["offload"]),
        ({"quantization": "8bit"}, ["'4bit'"], ["'8bit'"]),
        ({"quantization": "4bit", "chunked_decode": True}, ["offload"], ["quantization", "chunked_decode"]),
        ({"compile": True}, ["leave out compile"], []),
        ({"offload_modules": ["encoder"]}, ["leave out offload_modules"], []),
        ({"vae_slicing": True}, ["fewer candidates"], ["vae_slicing"]),
        ({"quantization": "4bit", "chunked_decode": True, "offload": "sequential"}, ["smaller model"], ["set "]),
    ],
    ids=str,
)
def test_advice_names_nothing_that_is_done(settings, named, unnamed):
    advice = _fit.remedies(_torch.TorchSettings(**settings), wide=2, items=0 if "set " in unnamed else 4)
    assert all(word in advice for word in named), advice
    assert not any(word in advice for word in unnamed), advice


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"quantization_backend": "quanto"}, r"quantization_backend = 'quanto' does nothing with quantization"),
        ({"compile_shapes": [{"duration_s": 1.0}]}, r"compile_shapes does nothing without compile = true"),
        ({"compile_mode": "kernels"}, r"compile_mode does nothing without compile = true"),
        ({"compile": True, "offload_modules": ["vae"]}, r"leave out offload"),
        (
            {"compile": True, "max_batch": 2, "compile_shapes": [{"items": 4, "duration_s": 1.0}]},
            r"items = 4, of which max_batch = 2 allows no pass",
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", NAMES)
def test_settings_that_would_be_ignored_are_refused_before_anything_is_read(models, name, settings, said):
    with pytest.raises(InvalidConfig, match=said):
        load_engine(name, {"model": models[name], "device": "cpu", **settings})


def test_max_memory_is_for_gpus(models):
    with pytest.raises(InvalidConfig, match=r"max_memory = '4GB' limits a GPU"):
        load_engine("audioldm", {"model": models["audioldm"], "device": "cpu", "max_memory": "4GB"})


def test_cuda_graphs_are_for_gpus(models):
    settings = {"model": models["audioldm"], "device": "cpu", "compile": True, "compile_mode": "graphs"}
    with pytest.raises(InvalidConfig, match="compile_mode = 'graphs' needs a GPU"):
        load_engine("audioldm", settings)


# -- running out -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raised",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
    ids=["gpu", "cublas", "cpu", "python"],
)
def test_out_of_memory_says_what_to_change(models, raised):
    engine = load_engine("audioldm", {"model": models["audioldm"], "device": "cpu"})

    def fail(*_):
        raise raised

    engine._predict = fail
    with pytest.raises(OutOfMemory, match=r"audioldm: out of memory on cpu with 2 sounds at once") as caught:
        engine.generate([item(), item()])
    assert "chunked_decode" in caught.value.hint
    assert caught.value.__cause__ is None  # or the traceback would keep the tensors


@pytest.mark.parametrize("raised", [RuntimeError("shape mismatch"), NotImplementedError("shape mismatch")], ids=repr)
def test_other_errors_are_left_alone(models, raised):
    engine = load_engine("audioldm", {"model": models["audioldm"], "device": "cpu"})

    def fail(*_):
        raise raised

    engine._predict = fail
    with pytest.raises(type(raised), match="shape mismatch"):
        engine.generate([item()])


@pytest.mark.parametrize(("fit", "size"), [(3, 3), (2, 2), (1, 1)])
def test_a_batch_that_does_not_fit_is_halved(models, engines, fit, size):
    engine = load_engine("audioldm", {"model": models["audioldm"], "device": "cpu"})
    predict, rows = engine._predict, []

    def limited(noisy, t, condition):
        if len(noisy) > 2 * fit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        rows.append(len(noisy))
        return predict(noisy, t, condition)

    engine._predict = limited
    items = [item(seed=seed) for seed in range(5)]
    seen = []
    sounds, warnings, most = generate_halving(engine, items, lambda *at: seen.append(at))
    for found, wanted in zip(sounds, engines["audioldm"].generate(items), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    (said,) = warnings
    assert most == size
    assert said == f"batch_halved: 5 sounds did not fit in memory at once; made {size} at a time"
    assert seen[-1] == (15, 15)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_whole_batch_that_fits_is_left_whole(engines):
    sounds, warnings, most = generate_halving(engines["audioldm"], [item(), item(seed=8)])
    assert (len(sounds), warnings, most) == (2, [], 2)
    assert generate_halving(engines["audioldm"], []) == ([], [], 1)


def test_one_sound_that_does_not_fit_is_an_error(models):
    engine = load_engine("audioldm", {"model": models["audioldm"], "device": "cpu"})

    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    engine._predict = fail
    with pytest.raises(OutOfMemory):
        generate_halving(engine, [item(), item()])
    with pytest.raises(NotSupported):
        generate_halving(engine, [item(voice="anna")])


def test_max_batch_bounds_the_rows_of_a_pass(models, engines):
    engine = load_engine("stable_audio", {"model": models["stable_audio"], "device": "cpu", "max_batch": 2})
    predict, rows = engine._predict, []

    def watched(noisy, t, condition):
        rows.append(len(noisy))
        return predict(noisy, t, condition)

    engine._predict = watched
    items = [item(seed=seed) for seed in range(3)]
    for found, wanted in zip(engine.generate(items), engines["stable_audio"].generate(items), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert rows == [4, 4, 4, 2, 2, 2]


# -- compile ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tangoflux", "audioldm2"])
def test_compiled_sounds_are_the_same_and_prompts_share_a_graph(engines, models, name, monkeypatch):
    """Dynamo's capture with its plain backend: what inductor adds takes minutes on a CPU."""
    compiled = torch.nn.Module.compile
    graphs = []

    def counting(graph, example):
        graphs.append(graph)
        return graph

    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **given: compiled(self, backend=counting, dynamic=given["dynamic"])
    )
    shapes = [{"items": 1, "duration_s": 0.5}]
    engine = load_engine(name, {"model": models[name], "device": "cpu", "compile": True, "compile_shapes": shapes})
    warmed = len(graphs)
    assert warmed >= 2  # denoiser and decoder
    for prompt in ("rain on a tin roof", "dog", "the low wind on the sea"):
        wanted = engines[name].generate([item(prompt)])[0]
        np.testing.assert_allclose(engine.generate([item(prompt)])[0], wanted, atol=1e-4 * np.abs(wanted).max())
    assert len(graphs) == warmed
    torch.compiler.reset()


def test_compile_and_offload_exclude_each_other(models):
    with pytest.raises(InvalidConfig, match="leave out offload"):
        load_engine("audioldm", {"model": models["audioldm"], "device": "cpu", "compile": True, "offload": "model"})


def test_close_gives_the_weights_back(models):
    engine = load_engine("audioldm", {"model": models["audioldm"], "device": "cpu"})
    engine.close()
    with pytest.raises((EngineError, AttributeError)):
        engine.generate([item()])
