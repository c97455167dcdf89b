"""The GPU benchmark's own promises, on a CPU with tiny models: few libraries, rows as they come, resumed, in time."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest
import torch
from benchmarks import _profile, gpu_engines
from benchmarks._rows import Rows
from benchmarks.gpu_engines import CASES, Bench, Variant
from tests.support import built

ROOT = Path(__file__).parents[2]
ABSENT = ("zmq", "msgpack", "soundfile", "soxr", "scipy", "torchsde", "accelerate", "sentencepiece", "google", "click",
          "faiss", "sentence_transformers", "optimum", "torchao", "pynvml", "psutil", "hypothesis")  # fmt: skip
AS_IF_NOT_INSTALLED = f"""
import importlib.machinery, runpy, sys
find = importlib.machinery.PathFinder.find_spec
hidden = {ABSENT!r}
importlib.machinery.PathFinder.find_spec = (
    lambda name, *more: None if name.partition(".")[0] in hidden else find(name, *more)
)
runpy.run_module("benchmarks.gpu_engines", run_name="__main__")
"""


def run(*arguments: str) -> str:
    command = [sys.executable, "-c", AS_IF_NOT_INSTALLED, "--device", "cpu", "--tiny", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench("cpu", True, Rows(tmp_path), float("inf"), tmp_path)
    made.machine = "this one"
    return made


def variant(*rows: tuple[str, int], engine: str = "audioldm", setting: str = "engine") -> Variant:
    return Variant(engine=engine, setting=setting, dtype="float32", rows=rows)


@pytest.mark.slow
def test_few_libraries_are_needed_and_a_second_run_measures_nothing_again(tmp_path: Path) -> None:
    arguments = ("clap", "stable_audio", "--out", str(tmp_path))
    printed = run(*arguments)
    rows = [json.loads(row) for row in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert not [row for row in rows if "error" in row]
    measured = {(row["engine"], row.get("setting"), row["what"], row.get("batch")) for row in rows}
    assert measured >= {("clap", "engine", "sound", 8), ("clap", "engine", "text", 1)}
    assert measured >= {("stable_audio", "engine", "clip", batch) for batch in (1, 4, 8)}
    assert ("stable_audio", "plain pipeline, one by one", "clip", 1) in measured
    assert {row.get("sampler") for row in rows if row["what"] == "clip"} == {"EDMDPMSolverMultistepScheduler"}
    assert "not measured: stable_audio, engine, float32: torchao not installed" in printed
    assert all(f"engine={engine}" in printed for engine in ("clap", "stable_audio"))
    run(*arguments)
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == len(rows)


def test_the_run_ends_when_its_minutes_are_over(tmp_path: Path) -> None:
    assert "time is up" in run("tangoflux", "--minutes", "0", "--out", str(tmp_path))


def test_a_row_that_may_not_end_in_time_is_not_begun(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.deadline = time.monotonic()
    bench.run(variant(("clip", 1)))
    assert bench.book.rows == [] and bench.left_out == ["audioldm, engine, float32"]
    assert "not begun: audioldm, engine, float32: up to" in capsys.readouterr().out


def test_a_row_is_on_the_disk_when_the_next_is_begun(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    clip = gpu_engines.EngineSubject._clip

    def watched(subject: gpu_engines.EngineSubject, batch: int) -> dict[str, object]:
        seen.append(len(Rows(bench.out).rows))
        return clip(subject, batch)

    monkeypatch.setattr(gpu_engines.EngineSubject, "_clip", watched)
    bench.run(variant(("clip", 1), ("clip", 4)))
    assert seen == [0, 1]


def test_a_row_that_was_cut_is_measured_again(bench: Bench) -> None:
    bench.run(variant(("clip", 1), ("clip", 4)))
    text = bench.book.path.read_text()
    bench.book.path.write_text(text[:-30])
    bench.book = Rows(bench.out)
    assert bench.missing(variant(("clip", 1), ("clip", 4))) == [("clip", 4)]
    bench.run(variant(("clip", 1), ("clip", 4)))
    assert [row["batch"] for row in Rows(bench.out).rows] == [1, 4]


def test_rows_of_another_machine_are_not_ours(bench: Bench) -> None:
    bench.run(variant(("clip", 1)))
    assert not bench.missing(variant(("clip", 1)))
    bench.machine = "another"
    assert bench.missing(variant(("clip", 1)))


def test_a_failure_is_a_row_and_the_others_go_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(subject: gpu_engines.EngineSubject, batch: int) -> dict[str, object]:
        raise RuntimeError("no kernel image")

    monkeypatch.setattr(gpu_engines.EngineSubject, "_decode", fail)
    bench.run(variant(("decode", 1), ("clip", 1)))
    first, second = bench.book.rows
    assert first["error"] == "RuntimeError: no kernel image" and second["seconds"] > 0
    assert bench.missing(variant(("decode", 1), ("clip", 1))) == [("decode", 1)]


@pytest.mark.parametrize("setting", ["engine", "plain pipeline, one by one"])
def test_one_engine_is_let_go_before_the_next(bench: Bench, monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    weights: list[weakref.ref[torch.Tensor]] = []
    parts = built.parts

    def watched(*given: object) -> dict[str, object]:
        found = parts(*given)
        modules = [part for part in found.values() if isinstance(part, torch.nn.Module)]
        weights.extend(weakref.ref(weight) for part in modules for weight in part.parameters())
        return found

    monkeypatch.setattr(built, "parts", watched)
    bench.run(variant(("clip", 1), setting=setting))
    gc.collect()
    assert weights and not any(weight() is not None for weight in weights)


def test_the_floor_is_the_larger_of_arithmetic_and_memory() -> None:
    floor = {"operations": {"encode": 2, "step": 10, "decode": 4}, "step_bytes": 100}
    row = {"steps": 5, "batch": 8}
    assert gpu_engines.floor_s(floor, row, (1.0, 1000.0)) == 8 * (10 * 5 + 6)
    assert gpu_engines.floor_s(floor, row, (1000.0, 1.0)) == pytest.approx(100 * 5 + 8 * 6 / 1000)


def test_an_engine_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu_engines.main(["tangoflu"])
    assert "given tangoflu; allowed is any of tangoflux, audioldm2" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", [name for name, (implementation, _) in CASES.items() if implementation in built.GENERATORS]
)
def test_official_sizes_build_straight_on_a_device(name: str) -> None:
    """On torch's meta device, which holds no values; weights in millions, of the denoiser, by the models' cards."""
    implementation, sizes = CASES[name]
    found = built.parts(implementation, "meta", sizes)
    counts = built.elements(found)
    wanted = {"tangoflux": 515, "audioldm2": 350, "stable_audio": 1057, "audioldm": 185, "audioldm2_large": 570}
    denoiser = counts["unet"] if "unet" in counts else counts["transformer"]
    assert denoiser / 1e6 == pytest.approx(wanted[name], rel=0.02)
    engine = built.engine(implementation, "meta", torch.bfloat16, sizes=sizes, found=found)
    assert {weight.device.type for weight in engine._denoiser.parameters()} == {"meta"}


@pytest.mark.parametrize(("name", "wanted"), [("musicgen", 420), ("musicgen_medium", 1838), ("musicgen_large", 3258)])
def test_official_sizes_of_language_models(name: str, wanted: int) -> None:
    model = built.parts("musicgen", "meta", CASES[name][1])["model"]
    assert sum(weight.numel() for weight in model.decoder.parameters()) / 1e6 == pytest.approx(wanted, rel=0.01)


def test_a_language_models_clip_and_floor_are_measured(bench: Bench) -> None:
    bench.run(variant(("floor", 1), ("clip", 1), engine="musicgen"))
    bench.run(variant(("clip", 1), engine="musicgen", setting="plain pipeline, one by one"))
    floor, *clips = bench.book.rows
    assert [row["steps"] for row in clips] == [73, 73] and all(row["seconds"] > 0 for row in clips)
    # two rows of guidance, two operations for each weight that is read, and some for attention
    assert floor["operations"]["step"] == pytest.approx(4 * floor["step_bytes"] / 4, rel=0.1)


# -- profile ---------------------------------------------------------------------------------------------


def span(name: str, start: float, end: float, on_device: bool = True) -> _profile.Span:
    return _profile.Span(name=name, start=start, end=end, on_device=on_device)


def test_gaps_are_what_no_kernel_covers() -> None:
    spans = [span("mm", 0, 4000), span("add", 3000, 5000), span("mm", 8000, 10_000)]
    spans += [span(name, 0, 1, False) for name in ("cudaLaunchKernel",) * 3 + ("cudaStreamSynchronize", "aten::mm")]
    found = _profile.figures(spans, 2)
    assert (found["device_ms"], found["busy_ms"], found["gaps"]) == (10.0, 7.0, "30%")
    assert (found["kernels_per_step"], found["launches_per_step"], found["waits_per_step"]) == (1.5, 1.5, 0.5)
    assert _profile.longest(spans, on_device=True)[0].split() == ["6.000", "ms", "2", "x", "mm"]


def test_a_profile_is_written(bench: Bench) -> None:
    bench.run(variant(("profile", 1)))
    assert "aten::" in (bench.out / "profile.txt").read_text()
    assert bench.book.rows[0]["steps"] == gpu_engines.PROFILED_STEPS
