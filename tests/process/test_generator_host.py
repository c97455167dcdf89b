"""create_audio_generator and its host: GPUs and devices of the workers, and tasks that are cancelled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import PATIENCE_S

from audio_pool import create_audio_generator
from audio_pool.errors import InvalidConfig


def environment_of(pid: int) -> dict[str, str]:
    pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(pair.partition("=")[::2] for pair in pairs if pair)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["0", "1"], {"generator-1": "0", "generator-2": "1"}),
        (["0,1", ""], {"generator-1": "0,1", "generator-2": ""}),
        (["1"], {"generator": "1"}),
        ("0,1", {"generator": "0,1"}),
    ],
)
def test_a_list_of_gpus_is_a_worker_for_each(tmp_path: Path, given: Any, expected: dict[str, str]) -> None:
    keys = {"cuda_visible_devices": given, "cache_dir": str(tmp_path), "use_bge": False}
    with create_audio_generator(keys) as generator:
        environments = {name: environment_of(pid) for name, pid in generator._pool.worker_pids().items()}
    for variable in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
        assert {name: variables[variable] for name, variables in environments.items()} == expected


def test_workers_of_two_gpus_share_the_requests(tmp_path: Path) -> None:
    """Both are used: two sounds that take long are under way at once."""
    keys = {"cuda_visible_devices": ["0", "1"], "cache_dir": str(tmp_path), "use_bge": False, "candidates": 1}
    with create_audio_generator(keys) as generator:
        pool = generator._pool
        pending = [pool.submit("rain, wind and thunder", duration_s=60, seed=seed) for seed in range(2)]
        for one in pending:
            one.result(PATIENCE_S)
        makers = {one.result().metadata.worker.id for one in pending}
    assert makers == {"generator-1", "generator-2"}


def test_an_empty_list_of_gpus_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="cuda_visible_devices"):
        create_audio_generator({"cuda_visible_devices": []})


@pytest.mark.parametrize(
    "key",
    [
        {"device": "gpu9"},
        {"dtype": "float12"},
        {"quantization": "3bit"},
        {"offload": "everything"},
    ],
    ids=lambda key: next(iter(key)),
)
def test_what_an_engine_cannot_take_is_refused_by_its_settings(tmp_path: Path, key: dict[str, Any]) -> None:
    for module in ("torch", "transformers", "diffusers"):
        pytest.importorskip(module)
    (name,) = key
    generator = create_audio_generator({"model_name": "tangoflux", "cache_dir": str(tmp_path), "use_bge": False, **key})
    with pytest.raises(InvalidConfig, match=f"engine 'tangoflux': field '{name}': given '{key[name]}'"):
        generator.start()


def test_what_an_engine_without_weights_does_not_have_is_refused(tmp_path: Path) -> None:
    generator = create_audio_generator({"quantization": "8bit", "cache_dir": str(tmp_path), "use_bge": False})
    with pytest.raises(InvalidConfig, match="engine 'procedural': unknown field 'quantization'"):
        generator.start()


_CANCELLING = """
import asyncio, gc, sys
from audio_pool import create_audio_generator

def noticed(loop, context):
    print("noticed:", context["message"], file=sys.stderr)

async def main():
    asyncio.get_running_loop().set_exception_handler(noticed)
    generator = create_audio_generator({"cache_dir": sys.argv[1], "use_bge": False, "candidates": 1})
    generator.start()
    task = asyncio.create_task(generator.generate_audio("rain, wind and thunder", duration_s=300))
    while not any(worker.tasks for worker in generator._pool.status().workers.values()):
        await asyncio.sleep(0.01)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        print("cancelled")
    try:
        await asyncio.wait_for(generator.generate_audio("wind and thunder", duration_s=300), 0.05)
    except TimeoutError:
        print("timed out")
    group = [asyncio.create_task(generator.generate_audio("rain", duration_s=300, seed=seed)) for seed in range(3)]
    await asyncio.sleep(0)
    for one in group:
        one.cancel()
    print(sum(isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*group, return_exceptions=True)))
    while generator._pending:
        await asyncio.sleep(0.01)
    generator.stop()
    del task, group, generator
    gc.collect()
    await asyncio.sleep(0)

asyncio.run(main())
gc.collect()
"""


def test_a_cancelled_task_leaves_no_exception_behind(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", _CANCELLING, str(tmp_path)],
        capture_output=True, text=True, timeout=PATIENCE_S, env={**os.environ, "PYTHONASYNCIODEBUG": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:3] == ["cancelled", "timed out", "3"]
    assert "never retrieved" not in done.stderr
    assert "noticed:" not in done.stderr
    assert "Traceback" not in done.stderr
