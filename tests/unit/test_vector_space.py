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
