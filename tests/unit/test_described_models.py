"""What a model's own small files say of it before it is loaded: a request that comes early is made as a later one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from audio_pool.engines import configured_info, engine_info


def written(directory: Path, files: Mapping[str, object]) -> str:
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return str(directory)


@pytest.mark.parametrize(
    ("engine", "file", "says", "steps", "guidance"),
    [
        ("ace_step", "transformer/config.json", {"is_turbo": True}, 8, 1.0),
        ("ace_step", "transformer/config.json", {"model_version": "turbo"}, 8, 1.0),
        ("ace_step", "transformer/config.json", {"is_turbo": False, "model_version": "sft"}, 50, 7.0),
        ("stable_audio_3", "scheduler/scheduler_config.json", {"stochastic_sampling": True}, 8, 1.0),
        ("stable_audio_3", "scheduler/scheduler_config.json", {"stochastic_sampling": False}, 100, 7.0),
    ],
)
def test_steps_and_guidance_are_the_checkpoints_before_it_is_loaded(
    tmp_path: Path, engine: str, file: str, says: object, steps: int, guidance: float
) -> None:
    model = written(tmp_path, {file: says, "model_index.json": {}})
    info = configured_info(engine, settings={"model": model})
    assert (info.steps, info.guidance_scale) == (steps, guidance)


@pytest.mark.parametrize("content", ["", "[]", "3", "{"])
@pytest.mark.parametrize("engine", ["ace_step", "stable_audio_3"])
def test_files_that_say_nothing_leave_what_the_engine_says(tmp_path: Path, engine: str, content: str) -> None:
    files = {"transformer/config.json": content, "scheduler/scheduler_config.json": content}
    info = configured_info(engine, settings={"model": written(tmp_path, files)})
    assert (info.steps, info.guidance_scale) == (engine_info(engine).steps, engine_info(engine).guidance_scale)


def test_what_a_stable_audio_3_can_do_is_its_checkpoints(tmp_path: Path) -> None:
    files = {
        "scheduler/scheduler_config.json": {"stochastic_sampling": True},
        "transformer/config.json": {"patch_size": 2},
        "duration_embedder/config.json": {"max_val": 120.0},
    }
    info = configured_info("stable_audio_3", settings={"model": written(tmp_path, files)})
    assert (info.inpaint, info.extend, info.longest_s) == (False, False, 120.0)


@pytest.mark.parametrize(("kind", "follows"), [("musicgen", False), ("musicgen_melody", True)])
def test_only_a_melody_model_starts_from_a_sound(tmp_path: Path, kind: str, follows: bool) -> None:
    model = written(tmp_path, {"config.json": {"model_type": kind}})
    info = configured_info("musicgen", settings={"model": model})
    assert (info.init_audio, info.extend) == (follows, True)


def test_a_sound_model_of_magnet_is_guided_as_it_was_published_for(tmp_path: Path) -> None:
    for folder, guidance in (("audio-magnet-small", 20.0), ("magnet-medium-30secs", 10.0)):
        model = written(tmp_path / "facebook" / folder, {"README.md": ""})
        assert configured_info("magnet", settings={"model": model}).guidance_scale == guidance
