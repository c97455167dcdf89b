"""audiocraft's files: read without executing anything, refused by name, and the same logits and waves as its own."""

from __future__ import annotations

import collections
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.support import audiocraft_checkpoints as checkpoints
from tests.support.audiocraft_models import causal, near

from audio_pool.engines import _audiocraft_modules as modules
from audio_pool.engines import load_engine
from audio_pool.engines._audiocraft import CODEC_FILE, MODEL_FILE, Configuration, read_package
from audio_pool.errors import EngineUnavailable

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> checkpoints.Built:
    return checkpoints.build(tmp_path_factory.mktemp("models"), "audiogen")


def test_the_language_model_is_audiocrafts(built: checkpoints.Built) -> None:
    package = read_package(built.directory / MODEL_FILE, "audiogen")
    model = modules.language_model(package, torch.float32).eval()
    projection = modules.projection(package, torch.float32)
    codes = torch.randint(0, checkpoints.CODES + 1, (checkpoints.BOOKS, 40))
    tokens = built.tokenizer("a dog bark", return_tensors="pt")
    with torch.no_grad():
        text = projection(built.text_encoder(**tokens).last_hidden_state)
        torch.testing.assert_close(text[0], built.states("a dog bark"))
        for mask, added in ((None, causal(40)), (near(40, 5)[None, None], near(40, 5))):
            found = model(codes, attention_mask=mask, encoder_hidden_states=text).logits
            wanted = built.language_model.logits(codes, built.states("a dog bark"), added)
            torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-5)
            assert wanted.std() > 0.1  # and not because all is nothing
        other = built.language_model.logits(codes, built.states("low wind"), causal(40))
        assert (other - built.language_model.logits(codes, built.states("a dog bark"), causal(40))).abs().max() > 0.1


def test_the_codec_is_audiocrafts(built: checkpoints.Built) -> None:
    codec = modules.codec(read_package(built.directory / CODEC_FILE, "audiogen"), torch.float32).eval()
    codes = torch.randint(0, checkpoints.CODES, (checkpoints.BOOKS, 30))
    with torch.no_grad():
        wave = built.codec.decode(codes)
        found = codec.decode(codes[None, None], [None]).audio_values[0]
        torch.testing.assert_close(found, wave, atol=2e-5, rtol=1e-5)
        assert wave.std() > 0.1
        sound = torch.sin(torch.arange(1999) * 0.1)[None]  # no whole number of frames: padded as there
        found = codec.quantizer.encode(codec.encoder(sound[None]))[:, 0]
        assert torch.equal(found, built.codec.encode(sound))


def test_a_configuration_is_read_with_its_references(built: checkpoints.Built) -> None:
    config = read_package(built.directory / CODEC_FILE, "audiogen").config
    assert config.whole("seanet.channels") == 1 and config.get("seanet.causal") is False
    assert config.whole("encodec.sample_rate") == checkpoints.RATE
    assert config.wholes("seanet.ratios") == list(checkpoints.RATIOS)
    model = read_package(built.directory / MODEL_FILE, "audiogen").config
    assert model.number("optim.eps") == 1e-8  # what YAML takes for a text
    assert model.get("continue_from") is None  # "???": never given
    assert model.number("generate.lm.temp", 1.5) == 1.5
    with pytest.raises(EngineUnavailable, match=r"xp\.cfg: optim\.nothing is missing; .* where it is a number"):
        model.number("optim.nothing")
    with pytest.raises(EngineUnavailable, match=r"is 'encodec'; .* a whole number|is 'encodec'; .* a number"):
        config.whole("compression_model")
    circle = Configuration({"a": "${b}", "b": "${c.d}", "c": "${a}"}, Path("circle.bin"))
    with pytest.raises(EngineUnavailable, match="refers to itself"):
        circle.get("a")


def test_a_configuration_may_be_a_mapping(tmp_path: Path) -> None:
    built = checkpoints.build(tmp_path, "audiogen", plain=True)
    assert read_package(built.directory / MODEL_FILE, "audiogen").config.whole("transformer_lm.dim") == 32


def test_a_configuration_left_as_omegaconfs_object_is_read_without_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # named and shaped as that library pickles itself: containers of nodes, each with its metadata and parent
    made = {}
    for path in ("base.ContainerMetadata", "dictconfig.DictConfig", "listconfig.ListConfig", "nodes.AnyNode"):
        place, name = path.split(".")
        module = sys.modules.get(f"omegaconf.{place}") or types.ModuleType(f"omegaconf.{place}")
        made[name] = type(name, (), {"__module__": f"omegaconf.{place}", "__qualname__": name})
        setattr(module, name, made[name])
        monkeypatch.setitem(sys.modules, f"omegaconf.{place}", module)
    monkeypatch.setitem(sys.modules, "omegaconf", types.ModuleType("omegaconf"))

    def wrapped(value: Any, parent: Any = None) -> Any:
        kind = {dict: "DictConfig", list: "ListConfig"}.get(type(value), "AnyNode")
        node = made[kind]()
        metadata = made["ContainerMetadata"]()
        vars(metadata).update(ref_type=Any, object_type=dict, optional=True, flags=collections.defaultdict(dict))
        vars(node).update(_metadata=metadata, _parent=parent)
        if kind == "DictConfig":
            vars(node)["_content"] = {key: wrapped(each, node) for key, each in value.items()}
        elif kind == "ListConfig":
            vars(node)["_content"] = [wrapped(each, node) for each in value]
        else:
            vars(node)["_val"] = value
        return node

    path = tmp_path / CODEC_FILE
    torch.save({"best_state": {"a": torch.zeros(1)}, "xp.cfg": wrapped(checkpoints.codec_configuration())}, path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "omegaconf"]:
        monkeypatch.delitem(sys.modules, name)
    config = read_package(path, "audiogen").config
    assert config.wholes("seanet.ratios") == list(checkpoints.RATIOS)
    assert config.whole("seanet.channels") == 1 and config.get("rvq.q_dropout") is False
    assert "omegaconf" not in sys.modules


class Payload:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (Path.touch, (Path("executed"),))  # type: ignore[return-value]


def test_what_no_published_file_holds_is_refused_and_never_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path, state = tmp_path / MODEL_FILE, {"a": torch.zeros(1)}

    def refused(content: object, match: str) -> None:
        torch.save(content, path)
        with pytest.raises(EngineUnavailable, match=match):
            read_package(path, "audiogen")

    refused({"best_state": state, "xp.cfg": Payload()}, "more than tensors and a configuration.*not loaded")
    assert not (tmp_path / "executed").exists()
    refused([1, 2], "holds no dictionary")
    refused({"xp.cfg": "a: 1"}, "holds no best_state")
    refused({"best_state": state, "xp.cfg": "a: [1"}, "no YAML")
    refused({"best_state": state, "xp.cfg": "just words"}, "xp.cfg is str; .* YAML or a mapping")
    refused({"best_state": state}, "xp.cfg is NoneType")
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(EngineUnavailable, match=r"state_dict\.bin.*audio-pool models fetch audiogen"):
        read_package(path, "audiogen")
    path.unlink()
    with pytest.raises(EngineUnavailable, match=r"is not there.*audio-pool models fetch audiogen"):
        read_package(path, "audiogen")


def changed(source: Path, target: Path, file: str, change: Any) -> Path:
    """A copy of a model's folder, and of its T5, in which one file is another."""
    model = target / source.name
    model.mkdir(parents=True)
    for each in (MODEL_FILE, CODEC_FILE):
        content = torch.load(source / each, weights_only=True)
        torch.save(change(content) if each == file else content, model / each)
    (target / "t5-base").symlink_to(source.parent / "t5-base")
    return model


def loading(model: Path, **settings: Any) -> Any:
    return load_engine("magnet", {"model": str(model), "device": "cpu", "dtype": "float32", **settings})


def reconfigured(**values: Any) -> Any:
    def change(content: dict[str, Any]) -> dict[str, Any]:
        tree = yaml.safe_load(content["xp.cfg"])
        for name, value in values.items():
            folder, leaf = name.split("__")
            tree.setdefault(folder, {})[leaf] = value
        return {**content, "xp.cfg": yaml.safe_dump(tree)}

    return change


def test_a_model_of_another_architecture_is_refused_by_what_differs(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = checkpoints.build(tmp_path_factory.mktemp("models"), "magnet").directory

    def refused(file: str, change: Any, match: str) -> None:
        model = changed(source, tmp_path / str(len(list(tmp_path.iterdir()))), file, change)
        with pytest.raises(EngineUnavailable, match=match):
            loading(model)

    refused(MODEL_FILE, reconfigured(transformer_lm__qk_layer_norm=True), r"transformer_lm\.qk_layer_norm is True; ")
    refused(MODEL_FILE, reconfigured(fuser__prepend=["self_wav"]), r"fuser\.prepend is \['self_wav'\]; .*\[\]")
    refused(CODEC_FILE, reconfigured(seanet__norm="time_group_norm"), r"seanet\.norm is 'time_group_norm'")
    refused(MODEL_FILE, reconfigured(transformer_lm__num_layers=3), "not those that its xp.cfg .*: .* is missing")
    refused(MODEL_FILE, reconfigured(transformer_lm__num_layers=1), "is not of this model")
    refused(MODEL_FILE, reconfigured(transformer_lm__dim=64), "not those that its xp.cfg describes: .*size mismatch")
    short = lambda content: {**content, "best_state": {"emb.0.weight": torch.zeros(65, 32)}}  # noqa: E731
    refused(MODEL_FILE, short, "output_proj.weight is missing")
    named = lambda _: {"pretrained": "facebook/encodec_32khz", "exported": True}  # noqa: E731
    refused(CODEC_FILE, named, "'facebook/encodec_32khz', which the model needs, is neither at .*setting codec")
    refused(MODEL_FILE, named, "holds no weights")

    (tmp_path / "audiogen").mkdir()
    other = checkpoints.build(tmp_path / "audiogen", "audiogen").directory
    with pytest.raises(EngineUnavailable, match=r"lm_model is 'transformer_lm'; .* 'transformer_lm_magnet'"):
        loading(other)


def test_the_codec_may_be_one_that_the_file_names(built: checkpoints.Built, tmp_path: Path) -> None:
    source = checkpoints.build(tmp_path / "source", "magnet").directory
    codec = modules.codec(read_package(source / CODEC_FILE, "magnet"), torch.float32)
    model = changed(source, tmp_path / "named", CODEC_FILE, lambda _: {"pretrained": "facebook/encodec_tiny"})
    codec.save_pretrained(str(tmp_path / "named" / "encodec_tiny"))
    assert loading(model).info.sample_rate == checkpoints.RATE


def test_the_text_encoder_is_looked_for_and_named(tmp_path: Path) -> None:
    built = checkpoints.build(tmp_path, "magnet")
    (tmp_path / "t5-base").rename(tmp_path / "elsewhere")
    with pytest.raises(EngineUnavailable, match=r"'google-t5/t5-base'.* --model google-t5/t5-base") as caught:
        loading(built.directory)
    assert "text_encoder" in caught.value.message
    loading(built.directory, text_encoder=str(tmp_path / "elsewhere"))
    with pytest.raises(EngineUnavailable, match="does not load as a T5"):
        loading(built.directory, text_encoder=str(built.directory))
    models = tmp_path / "models" / "google-t5"
    models.mkdir(parents=True)
    (tmp_path / "elsewhere").rename(models / "t5-base")
    loading(built.directory, models_dir=str(tmp_path / "models"))


def test_a_text_encoder_that_was_trained_along_is_the_files_own(tmp_path: Path) -> None:
    built = checkpoints.build(tmp_path / "plain", "magnet")
    with torch.no_grad():
        for parameter in built.text_encoder.parameters():
            parameter.add_(0.3)
    own = {
        f"condition_provider.conditioners.description.t5.{name}": value
        for name, value in built.text_encoder.state_dict().items()
    }
    model = changed(
        built.directory,
        tmp_path / "tuned",
        MODEL_FILE,
        lambda content: {**content, "best_state": {**content["best_state"], **own}},
    )
    found = loading(model)._encode("a dog", "", False)["states"]
    torch.testing.assert_close(found, built.states("a dog"))
    plain = loading(built.directory)._encode("a dog", "", False)["states"]
    assert (plain - found).abs().max() > 0.01
