"""Models on disk: where they are looked for, what counts as whole, what of a repository is needed."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from safetensors.numpy import save

from audio_pool.engines import engine_infos
from audio_pool.errors import EngineUnavailable, StorageError
from audio_pool.models.hub import companions, files_of, select
from audio_pool.models.weights import find, hub_cache, locate, verify

COMMIT = "ab" * 20
TENSORS = save({"weight": np.zeros((4, 4), np.float32), "bias": np.ones(3, np.float16)})


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def cached(cache, name: str, files: dict[str, bytes], commit: str = COMMIT, branch: str = "main"):
    """A model as the hub's library lays it out: blobs named by checksum, links in the snapshot."""
    home = cache / f"models--{name.replace('/', '--')}"
    for folder in ("refs", "blobs", f"snapshots/{commit}"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    (home / "refs" / branch).write_text(commit)
    for file, data in files.items():
        large = file.endswith(".safetensors")
        digest = hashlib.sha256(data) if large else hashlib.sha1(b"blob %d\0" % len(data) + data)
        (home / "blobs" / digest.hexdigest()).write_bytes(data)
        link = home / "snapshots" / commit / file
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(home / "blobs" / digest.hexdigest())
    return home / "snapshots" / commit


def test_a_path_wins_over_models_dir_and_that_over_the_hubs_cache(cache, tmp_path, monkeypatch):
    snapshot = cached(cache, "owner/name", {"config.json": b"{}"})
    found = find("owner/name")
    assert (found.path, found.place, found.revision) == (snapshot, "hub_cache", COMMIT)
    for folder in ("name", "owner--name", "owner/name"):
        (tmp_path / "models" / folder).mkdir(parents=True)
        (tmp_path / "models" / folder / "config.json").write_text("{}")
        found = find("owner/name", models_dir=tmp_path / "models")
        assert (found.path, found.place) == (tmp_path / "models" / folder, "models_dir")
    monkeypatch.chdir(tmp_path / "models")
    assert find("owner/name", models_dir=tmp_path / "models").place == "directory"


def test_a_folder_with_nothing_but_the_hubs_notes_is_no_model(tmp_path):
    (tmp_path / "models" / "name" / ".cache" / "huggingface").mkdir(parents=True)
    (tmp_path / "models" / "name" / ".cache" / "huggingface" / "x.partial").touch()
    assert find("owner/name", models_dir=tmp_path / "models") is None


def test_a_revision_is_a_branch_or_a_commit_and_no_other_is_taken(cache):
    cached(cache, "owner/name", {"config.json": b"{}"})
    other = cached(cache, "owner/name", {"config.json": b"{ }"}, commit="cd" * 20, branch="v2")
    assert find("owner/name", revision="v2").path == other
    assert find("owner/name", revision="cd" * 20).path == other
    assert find("owner/name", revision="v3") is None
    with pytest.raises(EngineUnavailable, match="at revision 'v3'") as caught:
        locate("owner/name", engine="clap", revision="v3")
    assert caught.value.message.endswith("; run: audio-pool models fetch clap --model owner/name --revision v3")


def test_the_hubs_variables_are_heeded(monkeypatch, tmp_path):
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.delenv("HUGGINGFACE_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    assert hub_cache() == tmp_path / "home" / "hub"
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert hub_cache() == tmp_path / "xdg" / "huggingface" / "hub"


def test_what_is_not_here_names_the_command_and_a_bad_path_says_so():
    with pytest.raises(EngineUnavailable, match="'owner/name' is not on this machine") as caught:
        locate("owner/name", engine="audioldm2")
    assert "run: audio-pool models fetch audioldm2" in caught.value.message
    with pytest.raises(EngineUnavailable, match="no file or directory"):
        locate("./nothing/here", engine="audioldm2")


def pipeline(folder) -> None:
    (folder / "unet").mkdir(parents=True)
    (folder / "model_index.json").write_text(
        json.dumps({"_class_name": "P", "unet": ["d", "U"], "scorer": [None, None], "scale": 3})
    )
    (folder / "unet" / "config.json").write_text("{}")
    (folder / "unet" / "model.safetensors").write_bytes(TENSORS)


def test_a_pipeline_that_lacks_a_part_is_not_loaded(tmp_path):
    pipeline(tmp_path / "model")
    model = str(tmp_path / "model")
    assert locate(model, engine="e").path == tmp_path / "model"
    (tmp_path / "model" / "unet" / "model.safetensors").unlink()
    with pytest.raises(EngineUnavailable, match=r"incomplete: unet/ has a configuration and no weights"):
        locate(model, engine="e")
    (tmp_path / "model" / "unet" / "config.json").unlink()
    with pytest.raises(EngineUnavailable, match=r"incomplete: unet/ is missing"):
        locate(model, engine="e")


def test_missing_shards_and_dangling_links_are_seen(cache, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "one.safetensors"}}))
    assert verify(tmp_path / "m").problems == (
        "one.safetensors is missing, which model.safetensors.index.json names",
    )
    snapshot = cached(cache, "owner/name", {"config.json": b"{}"})
    (snapshot / "config.json").resolve().unlink()
    assert any("points to nothing" in problem for problem in verify(snapshot).problems)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("model.safetensors", TENSORS[:-1], "its header describes"),
        ("model.safetensors", TENSORS + b"\0", "its header describes"),
        ("model.safetensors", TENSORS[:40], "cut short"),
        ("model.safetensors", b"abc", "too short"),
        ("model.safetensors", b"<!DOCTYPE html>" + b" " * 100, "not safetensors"),
        ("model.safetensors", (2).to_bytes(8, "little") + b"[]", "header cannot be read"),
        ("pytorch_model.bin", b"version https", "too short to hold weights"),
        ("config.json", b"{", "is not JSON"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, data, says):
    (tmp_path / name).write_bytes(data)
    problems = verify(tmp_path).problems
    assert len(problems) == 1 and problems[0].startswith(name) and says in problems[0]


def test_whole_files_pass_and_are_counted(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(TENSORS)
    (tmp_path / "config.json").write_text("{}")
    report = verify(tmp_path)
    assert (report.files, report.size_bytes, report.hashed, report.problems) == (2, len(TENSORS) + 2, 0, ())
    assert verify(tmp_path / "model.safetensors").files == 1
    with pytest.raises(StorageError):
        verify(tmp_path / "nothing")


def test_one_wrong_byte_is_found_by_the_hubs_checksum(cache, tmp_path):
    snapshot = cached(cache, "owner/name", {"config.json": b'{"a": 1}', "m.safetensors": TENSORS})
    assert verify(snapshot).hashed == 2 and verify(snapshot).problems == ()
    (snapshot / "config.json").resolve().write_bytes(b'{"a": 2}')
    assert [problem.split(":")[0] for problem in verify(snapshot).problems] == ["config.json"]
    assert verify(snapshot, hashes=False).problems == ()

    plain = tmp_path / "plain"
    notes = plain / ".cache" / "huggingface" / "download"
    notes.mkdir(parents=True)
    (plain / "m.safetensors").write_bytes(TENSORS)
    (notes / "m.safetensors.metadata").write_text(f"{COMMIT}\n{hashlib.sha256(b'other').hexdigest()}\n1.0\n")
    report = verify(plain)
    assert report.hashed == 1 and "checksum" in report.problems[0] and report.files == 1


def test_of_a_repository_only_what_a_loader_reads_is_taken():
    pipeline_files = [
        ".gitattributes", "README.md", "model_index.json", "model.ckpt", "model.safetensors", "demo.wav",
        "unet/config.json", "unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors", "vocoder/config.json", "vocoder/pytorch_model.bin",
        "tokenizer/spiece.model", "tokenizer/merges.txt", "onnx/model.onnx",
    ]  # fmt: skip
    assert select(pipeline_files) == [
        "README.md", "model_index.json", "tokenizer/merges.txt", "tokenizer/spiece.model", "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors", "vocoder/config.json", "vocoder/pytorch_model.bin",
    ]  # fmt: skip
    assert select(["config.json", "tangoflux.safetensors", "vae.safetensors", "x.h5"]) == [
        "config.json", "tangoflux.safetensors", "vae.safetensors",
    ]  # fmt: skip
    assert select(["a.pt", "b.pt", "c.txt"], ["b*", "c.txt"]) == ["b.pt", "c.txt"]


def test_tangoflux_needs_its_text_encoders_tokenizer_and_none_of_its_weights():
    (beside,) = companions("declare-lab/TangoFlux", engine_infos())
    files = ["config.json", "tokenizer.json", "tokenizer_config.json", "spiece.model", "model.safetensors", "a.h5"]
    assert beside.id == "google/flan-t5-large"
    assert select(files, beside.only) == ["config.json", "spiece.model", "tokenizer.json", "tokenizer_config.json"]
    assert companions("owner/other", engine_infos()) == ()


def test_of_a_repository_with_several_models_the_one_that_is_meant_is_taken():
    files = ["630k-best.pt", "630k-audioset-best.pt", "music_audioset_epoch_15_esc_90.14.pt", "README.md"]
    assert select(files, files_of("lukewys/laion_clap", engine_infos())) == ["630k-audioset-best.pt", "README.md"]
    assert select(files, files_of("owner/other", engine_infos())) == sorted(files)
