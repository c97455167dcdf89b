"""The name that the cache files an encoder's vectors under tells whose they are."""

from __future__ import annotations

import pytest

from audio_pool.config import load_config
from audio_pool.engines import engine_info
from audio_pool.pool.plan import vector_space

CLAP = engine_info("clap").model


@pytest.mark.parametrize(
    ("name", "model", "space"),
    [
        ("clap", None, "clap"),
        ("clap", CLAP, "clap"),
        ("clap", "/models/other", "clap@/models/other"),
        ("sound:clap", "/models/other", "sound:clap@/models/other"),
        ("sound:clap", CLAP, "sound:clap"),
        ("elsewhere", "theirs", "elsewhere@theirs"),
        ("sound:descriptors", None, "sound:descriptors"),
    ],
)
def test_another_model_has_a_space_of_its_own_and_the_default_by_name_has_none(
    name: str, model: str | None, space: str
) -> None:
    engine = name.removeprefix("sound:")
    config = load_config({"engines": {engine: {"model": model} if model else {}}}, environment={})
    assert vector_space(name, config) == space


@pytest.mark.parametrize(
    ("name", "settings", "space"),
    [
        ("minilm", {}, "minilm@int8"),
        ("minilm", {"quantization": "none"}, "minilm"),
        ("minilm", {"backend": "torch"}, "minilm"),  # equal to 2e-7
        ("minilm", {"backend": "torch", "dtype": "bfloat16"}, "minilm@bfloat16"),
        ("minilm", {"model": "/models/other"}, "minilm@/models/other@int8"),
        ("bge", {}, "bge"),
        ("bge", {"backend": "onnx"}, "bge"),
        ("bge", {"backend": "onnx", "quantization": "int8"}, "bge@int8"),
        ("bge", {"backend": "onnx", "onnx_file": "onnx/model_qint8.onnx"}, "bge@model_qint8"),
        ("bge", {"backend": "tensorrt"}, "bge"),  # refused where it is loaded
    ],
)
def test_vectors_of_another_precision_have_a_space_of_their_own(
    name: str, settings: dict[str, str], space: str
) -> None:
    assert vector_space(name, load_config({"engines": {name: settings}}, environment={})) == space
