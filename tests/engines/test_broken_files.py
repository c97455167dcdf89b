"""Files of a model that are not what their names say: every engine names the file, what it is, and how to fetch it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support import checkpoints, clap_checkpoints, sentence_checkpoints

from audio_pool.engines import load_engine
from audio_pool.errors import EngineUnavailable

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"ab" * 32 + b"\nsize 4958310400\n"
PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Accept the licence</body></html>\n" * 9


def clap(directory: Path) -> Path:
    clap_checkpoints.save_directory(directory)
    return directory


def laion(directory: Path) -> Path:
    vocabulary = clap_checkpoints.save_tokenizer(directory / "roberta-base")
    clap_checkpoints.save_laion(directory / "630k-audioset-best.pt", clap_checkpoints.tiny_model(vocabulary))
    return directory


def bge(directory: Path) -> Path:
    return sentence_checkpoints.save_directory(directory, pooling="cls")


BUILD: dict[str, Callable[[Path], Path]] = {
    "tangoflux": checkpoints.tangoflux,
    "audioldm": checkpoints.audioldm,
    "audioldm2": checkpoints.audioldm2,
    "stable_audio": checkpoints.stable_audio,
    "musicgen": checkpoints.musicgen,
    "clap": clap,
    "laion": laion,
    "bge": bge,
}
ENGINE = {"laion": "clap"}
WEIGHTS = {
    "tangoflux": ["tangoflux.safetensors", "vae.safetensors"],
    "audioldm": ["unet/diffusion_pytorch_model.safetensors", "vocoder/model.safetensors"],
    "audioldm2": ["language_model/model.safetensors", "text_encoder/model.safetensors"],
    "stable_audio": ["transformer/diffusion_pytorch_model.safetensors"],
    "musicgen": ["model.safetensors"],
    "clap": ["model.safetensors"],
    "laion": ["630k-audioset-best.pt"],
    "bge": ["model.safetensors"],
}
TEXTS = {
    "tangoflux": ["config.json", "../flan-t5-large/tokenizer_config.json"],
    "audioldm": ["unet/config.json", "model_index.json"],
    "audioldm2": ["tokenizer_2/tokenizer.json"],
    "stable_audio": ["scheduler/scheduler_config.json"],
    "musicgen": ["config.json", "tokenizer.json"],
    "clap": ["tokenizer.json"],
    "laion": ["roberta-base/tokenizer.json"],
    "bge": ["modules.json"],
}
BROKEN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "pointer": (lambda whole: POINTER, r"is a Git LFS pointer to 4,958,310,400 bytes.*git lfs pull"),
    "page": (lambda whole: PAGE, r"is a web page, not (safetensors|pt|json): it begins with '<!DOCTYPE html>"),
    "empty": (lambda whole: b"", r"is empty"),
    "cut": (lambda whole: whole[: len(whole) * 2 // 3], r"is cut short"),
    "cut in its header": (lambda whole: whole[:100], r"is cut short"),
    "another answer": (lambda whole: b"Entry not found " * 9, r"is no.* begins with 'Entry not found"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("models")
    return {name: build(home / name) for name, build in BUILD.items()}


@pytest.fixture
def instead(models: dict[str, Path]) -> Iterator[Callable[[Path, Callable[[bytes], bytes]], None]]:
    """Puts something else in a file's place until the test is over."""
    kept: dict[Path, bytes] = {}

    def put(file: Path, change: Callable[[bytes], bytes]) -> None:
        whole = kept.setdefault(file, file.read_bytes())
        file.write_bytes(change(whole))

    yield put
    for file, whole in kept.items():
        file.write_bytes(whole)


def refused(name: str, model: Path, says: str, file: str) -> None:
    engine = ENGINE.get(name, name)
    with pytest.raises(EngineUnavailable, match=says) as caught:
        load_engine(engine, {"model": str(model), "device": "cpu"})
    leaf = file.rsplit("/", 1)[-1]
    assert f"{leaf} is " in caught.value.message
    assert f"run: audio-pool models fetch {engine}" in caught.value.message


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("name", BUILD)
def test_weights_that_are_none_are_named_with_what_they_are(models, instead, name: str, broken: str) -> None:
    change, says = BROKEN[broken]
    for file in WEIGHTS[name]:
        instead(models[name] / file, change)
        refused(name, models[name], says, file)
        instead(models[name] / file, lambda whole: whole)


@pytest.mark.parametrize("broken", ["pointer", "page", "empty"])
@pytest.mark.parametrize("name", BUILD)
def test_so_are_configurations_and_tokenizers(models, instead, name: str, broken: str) -> None:
    change, says = BROKEN[broken]
    for file in TEXTS[name]:
        instead(models[name] / file, change)
        refused(name, models[name], says, file)
        instead(models[name] / file, lambda whole: whole)


@pytest.mark.parametrize("name", ["audioldm", "clap", "bge"])
def test_a_shard_that_an_index_names_and_nobody_fetched_is_named(models, tmp_path: Path, name: str) -> None:
    model = tmp_path / name
    shutil.copytree(models[name], model)
    weights = model / WEIGHTS[name][0]
    index = {"weight_map": {"a": weights.name.replace(".safetensors", "-00001-of-00002.safetensors")}}
    weights.with_name(f"{weights.name}.index.json").write_text(json.dumps(index))
    with pytest.raises(EngineUnavailable, match=r"-00001-of-00002\.safetensors is missing, which .*index\.json names"):
        load_engine(name, {"model": str(model), "device": "cpu"})


def test_what_no_loader_reads_may_be_anything(models, tmp_path: Path) -> None:
    """A clone of which only the safetensors were pulled; copies in one file, and in half precision."""
    model = tmp_path / "audioldm"
    shutil.copytree(models["audioldm"], model)
    (model / "audioldm.ckpt").write_bytes(POINTER)
    (model / "model.safetensors").write_bytes(POINTER)
    (model / "unet" / "diffusion_pytorch_model.bin").write_bytes(POINTER)
    (model / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(POINTER)
    table = {"weight_map": {"a": "diffusion_pytorch_model-00001-of-00002.bin"}}
    (model / "unet" / "diffusion_pytorch_model.bin.index.json").write_text(json.dumps(table))
    assert load_engine("audioldm", {"model": str(model), "device": "cpu"}).info.model == str(model)


def test_whole_files_of_another_model_are_an_error_in_words(models, instead) -> None:
    """safetensors' own error shares no class with others, and a shape that differs is a RuntimeError."""
    clap_weights = (models["clap"] / "model.safetensors").read_bytes()
    for name in ("audioldm", "audioldm2", "tangoflux", "musicgen"):
        file = models[name] / WEIGHTS[name][0]
        instead(file, lambda whole: clap_weights)
        with pytest.raises(EngineUnavailable):
            load_engine(name, {"model": str(models[name]), "device": "cpu"})
