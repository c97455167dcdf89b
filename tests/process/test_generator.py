"""create_audio_generator inside a host program: every key has its effect.

Keys that need a model (steps, guidance_scale, tau_*, clap_model, models_dir) are in
tests/engines/test_generator_models.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from audio_pool import AudioSemanticCache, create_audio_generator
from audio_pool.audio import codec
from audio_pool.errors import AudioPoolError, InvalidConfig, Timeout, UnknownEngine, WorkerDied
from audio_pool.generator import AudioGenerator, GeneratorConfig

DEADLINE_S = 120.0
pytestmark = pytest.mark.filterwarnings("ignore:use_subprocess = false:RuntimeWarning")


@contextlib.contextmanager
def generating(tmp_path: Path, **keys: Any) -> Iterator[AudioGenerator]:
    defaults = {"duration_s": 1.0, "use_bge": False, "cache_dir": str(tmp_path / "cache"), "candidates": 1}
    generator = create_audio_generator({**defaults, **keys}, keys.get("output_dir", tmp_path / "out"))
    try:
        yield generator
    finally:
        generator.stop()


def ask(generator: AudioGenerator, prompt: str = "wind", **fields: Any) -> Any:
    return asyncio.run(asyncio.wait_for(generator.generate_audio(prompt, **fields), DEADLINE_S))


@dataclass
class Observed:
    """What a host can see of one generator: its first sound, and the generator while it runs."""

    generator: AudioGenerator
    path: Any

    @property
    def metadata(self) -> dict[str, Any]:
        return self.path.metadata

    def low_energy(self) -> float:
        audio, rate = codec.read(Path(self.path))
        spectrum = np.abs(np.fft.rfft(audio[0])) ** 2
        return float(spectrum[: int(60 * audio.shape[1] / rate)].sum() / spectrum.sum())

    def worker_pid(self) -> int:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit() and _parent(int(name)) == os.getpid()]
        return next((pid for pid in pids if b"audio_pool" in Path(f"/proc/{pid}/cmdline").read_bytes()), 0)

    def worker_gpus(self) -> bytes:
        variables = Path(f"/proc/{self.worker_pid()}/environ").read_bytes().split(b"\0")
        return next((line for line in variables if line.startswith(b"CUDA_VISIBLE_DEVICES=")), b"unset")

    def variants_after(self, more: int) -> int:
        for _ in range(more):
            ask(self.generator, force_generation=True)
        return self.items()

    def items(self) -> int:
        return int(AudioSemanticCache(self.generator.config.cache_dir).get_cache_stats()["total_items"])

    def different_draws(self) -> int:
        """How many of three variants twenty requests get to hear."""
        for seed in (1, 2):  # not by force: what was forced is preferred, whatever the temperature
            ask(self.generator, seed=seed)
        return len({ask(self.generator).metadata["seed"] for _ in range(20)})

    def items_soon(self, count: int) -> int:
        deadline = time.monotonic() + DEADLINE_S
        while self.items() < count and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.items()


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return 0


Row = tuple[str, Any, Any, Callable[[Observed], Any]]
KEYS: list[Row] = [
    ("strategy", "prompt2audio", "mock_audio", lambda o: o.metadata["engine"]),
    ("model_name", "procedural", "mock", lambda o: o.metadata["engine"]),
    ("duration_s", 1.0, 2.0, lambda o: o.metadata["duration_s"]),
    ("sample_rate", 44100, 22050, lambda o: o.metadata["sample_rate"]),
    ("target_lufs", -23.0, -30.0, lambda o: round(o.metadata["loudness_lufs"])),
    ("normalize_loudness", True, False, lambda o: o.metadata["target_lufs"]),
    ("true_peak_dbfs", -2.0, -30.0, lambda o: o.metadata["true_peak_dbfs"] <= -29.9),
    ("enable_seamless_loop", True, False, lambda o: o.metadata["is_loop"]),
    ("candidates", 1, 3, lambda o: len(o.metadata["candidates"])),
    ("use_subprocess", True, False, lambda o: bool(o.worker_pid())),
    ("cuda_visible_devices", "0", "1", lambda o: o.worker_gpus()),
    ("max_per_prompt", 1, 5, lambda o: o.variants_after(2)),
    ("temperature", 0.0, 5.0, lambda o: o.different_draws() > 1),
    ("prefetch_new", False, True, lambda o: o.items_soon(3) if o.generator.config.prefetch_new else o.items()),
]


@pytest.mark.parametrize(("key", "one", "other", "observed"), KEYS, ids=[row[0] for row in KEYS])
def test_a_key_has_its_effect(tmp_path: Path, key: str, one: Any, other: Any, observed: Any) -> None:
    seen = []
    for name, value in (("one", one), ("other", other)):
        with generating(tmp_path / name, **{key: value}) as generator:
            seen.append(observed(Observed(generator, ask(generator))))
    assert seen[0] != seen[1], f"{key}: {one!r} and {other!r} gave the same: {seen[0]!r}"


@pytest.mark.parametrize(
    ("stronger", "weaker"),
    [
        ({"apply_highpass_filter": True}, {"apply_highpass_filter": False}),
        ({"highpass_cutoff_hz": 900.0}, {"highpass_cutoff_hz": 20.0}),
        (
            {"highpass_cutoff_hz": 200.0, "highpass_filter_order": 8},
            {"highpass_cutoff_hz": 200.0, "highpass_filter_order": 1},
        ),
    ],
    ids=["apply_highpass_filter", "highpass_cutoff_hz", "highpass_filter_order"],
)
def test_a_key_of_the_filter_has_its_effect(tmp_path: Path, stronger: Any, weaker: Any) -> None:
    def low(name: str, keys: dict[str, Any]) -> float:
        # white noise: as much below 60 Hz as anywhere, and no recipe that asks for a gentler filter
        with generating(tmp_path / name, strategy="mock_audio", **keys) as generator:
            return Observed(generator, ask(generator, "noise", seed=1)).low_energy()

    assert low("stronger", stronger) < low("weaker", weaker) / 10


def test_the_tail_is_what_a_crossfade_is_made_of(tmp_path: Path) -> None:
    def loop(tail_s: float) -> Any:
        with generating(tmp_path / str(tail_s), strategy="mock_audio", tail_duration_s=tail_s) as generator:
            return ask(generator, "noise").metadata

    without, with_tail = loop(0.0), loop(0.5)
    assert any(warning.startswith("loop_extended") for warning in without["warnings"])
    assert not any(warning.startswith("loop_extended") for warning in with_tail["warnings"])


def test_directories(tmp_path: Path) -> None:
    keys = {"render_dir": str(tmp_path / "renders"), "max_per_prompt": 1}
    with generating(tmp_path, **keys) as generator:
        paths = [ask(generator, force_generation=True) for _ in range(4)]
        assert all(Path(path).parent == tmp_path / "out" for path in paths)
        assert (tmp_path / "cache" / "cache.sqlite3").exists() or list((tmp_path / "cache").glob("*.sqlite*"))
        cache = AudioSemanticCache(tmp_path / "cache")
        cache.clear_cache(confirm=True)
        assert all(Path(path).exists() for path in paths), "a clear-out took a caller's file"


def test_a_timeout_bounds_the_callers_wait(tmp_path: Path) -> None:
    with generating(tmp_path, timeout=0.05, pre_warm=True) as generator:
        generator.start()
        with pytest.raises(Timeout, match=r"no sound within 0\.05 s"):
            ask(generator, "rain, wind and thunder", duration_s=300)


def test_the_subprocess_timeout_bounds_one_job(tmp_path: Path) -> None:
    with (
        generating(tmp_path, subprocess_timeout_seconds=1.0) as generator,
        pytest.raises(Timeout, match="a task took over 1 s"),
    ):
        ask(generator, "rain, wind and thunder", duration_s=600, candidates=8)
    with generating(tmp_path, subprocess_timeout_seconds=100) as generator:
        assert ask(generator, "rain, wind and thunder", duration_s=20)


@pytest.mark.parametrize(("retries", "expected"), [(0, WorkerDied), (3, None)])
def test_retries_after_a_workers_death(tmp_path: Path, retries: int, expected: type[Exception] | None) -> None:
    with generating(tmp_path, subprocess_max_retries=retries) as generator:
        ask(generator)
        pid = Observed(generator, "").worker_pid()

        def kill_at_work() -> None:
            deadline = time.monotonic() + DEADLINE_S
            while time.monotonic() < deadline:
                workers = generator._pool.status()["workers"]
                if any(worker["jobs"] for worker in workers.values()):
                    os.kill(pid, signal.SIGKILL)
                    return
                time.sleep(0.002)

        killer = threading.Thread(target=kill_at_work)
        killer.start()
        outcome: Any = None
        try:
            ask(generator, "rain, wind and thunder", duration_s=60)
        except AudioPoolError as exc:
            outcome = exc
        killer.join(DEADLINE_S)
        assert (outcome is None) if expected is None else isinstance(outcome, expected)


def test_pre_warm_starts_before_the_first_request(tmp_path: Path) -> None:
    with generating(tmp_path / "cold") as cold, generating(tmp_path / "warm", pre_warm=True) as warm:
        assert not cold._pool.running
        assert warm._pool.running


def test_prefetching_is_bounded_and_can_be_waited_for(tmp_path: Path) -> None:
    keys = {"prefetch_new": True, "prefetch_in_background": False}
    with generating(tmp_path / "a", target_per_prompt=2, max_new_when_prefetch=5, **keys) as generator:
        assert Observed(generator, ask(generator)).items() == 2, "target_per_prompt"
    with generating(tmp_path / "b", target_per_prompt=5, max_new_when_prefetch=1, **keys) as generator:
        assert Observed(generator, ask(generator)).items() == 2, "max_new_when_prefetch"


def test_stop_ends_prefetching(tmp_path: Path) -> None:
    with generating(tmp_path, prefetch_new=True, target_per_prompt=50, max_new_when_prefetch=40) as generator:
        ask(generator, duration_s=20)
        started = time.monotonic()
        generator.stop()
        assert time.monotonic() - started < 30
        assert Observed(generator, "").items() < 41


def test_the_cap_strategy_reaches_the_cache(tmp_path: Path) -> None:
    with generating(tmp_path, cap_strategy="diversity", max_per_prompt=2) as generator:
        assert Observed(generator, ask(generator)).variants_after(3) == 2
        assert generator._pool.config.cache.cap_strategy == "diversity"


def test_clear_pending_requests(tmp_path: Path) -> None:
    async def many() -> list[Any]:
        with generating(tmp_path) as generator:
            await generator.generate_audio("beep")
            tasks = [
                asyncio.create_task(generator.generate_audio("rain", duration_s=60, seed=number)) for number in range(4)
            ]
            while len(generator._pending) < 4:
                await asyncio.sleep(0.005)
            assert generator.clear_pending_requests() == 4
            return await asyncio.gather(*tasks, return_exceptions=True)

    outcomes = asyncio.run(asyncio.wait_for(many(), DEADLINE_S))
    assert [type(outcome).__name__ for outcome in outcomes] == ["Cancelled"] * 4


def test_last_metadata_is_each_tasks_own(tmp_path: Path) -> None:
    async def one(generator: AudioGenerator, prompt: str) -> tuple[str, Any]:
        await generator.generate_audio(prompt)
        await asyncio.sleep(0.05)
        return prompt, generator.get_last_generation_metadata()

    async def both() -> list[tuple[str, Any]]:
        with generating(tmp_path) as generator:
            assert generator.get_last_generation_metadata() is None
            return await asyncio.gather(one(generator, "rain"), one(generator, "wind"))

    for prompt, metadata in asyncio.run(asyncio.wait_for(both(), DEADLINE_S)):
        assert metadata["prompt"] == prompt


def test_an_object_does_as_well_as_a_dict(tmp_path: Path) -> None:
    config = SimpleNamespace(duration_s=1, use_bge=False, cache_dir=str(tmp_path / "cache"))
    assert create_audio_generator(config, tmp_path).config.duration_s == 1.0


@pytest.mark.parametrize(
    ("keys", "error", "told"),
    [
        ({"duratoin_s": 3}, InvalidConfig, "did you mean 'duration_s'"),
        ({"duration_s": -1}, InvalidConfig, "given -1"),
        ({"strategy": "magic"}, InvalidConfig, "prompt2audio"),
        ({"model_name": "tangoflix"}, UnknownEngine, "did you mean 'tangoflux'"),
        (5, InvalidConfig, "a dict or an object"),
    ],
)
def test_what_is_wrong_is_refused(keys: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        create_audio_generator(keys)


def test_capabilities(tmp_path: Path) -> None:
    with generating(tmp_path) as generator:
        found = generator.get_supported_capabilities()
    assert found["name"] == "procedural"
    assert found["commercial_use"] is True
    assert found["seamless_loop"] is True


def test_every_key_is_told_in_the_docs() -> None:
    told = (Path(__file__).parents[2] / "docs" / "embedding.md").read_text()
    missing = [name for name in GeneratorConfig.__struct_fields__ if f"`{name}`" not in told]
    assert not missing
