"""The torch engines at their official sizes on a GPU: seconds per clip, memory, share of the computed floor.

    python -m benchmarks.gpu_engines [ENGINE ...] [--minutes N] [--out DIR] [--profile] [--device D] [--tiny]

Weights are random (speed does not depend on their values) and made on the device itself; no file is read, and beside
torch (2.6 or newer) only diffusers, transformers, safetensors, msgspec and numpy are needed. Stable Audio's own sampler
needs torchsde: without it another one of as many steps is taken, and the row names it.

Each row is printed and written to DIR/rows.jsonl as soon as it is measured; rows that are there already, of the same
card and torch, are not measured again. A row is not begun when it may not end within the minutes given (by the time
that the engine has needed so far, and allowances for building and compiling); should one take longer than that, the
run ends in the middle of it, and it is measured by the next run.

The floor is the larger of the clip's arithmetic (counted by torch) at the rate of the best large bfloat16 matrix
product, and what a step must read (the denoiser's or language model's weights; of a language model each sound's keys
and values, too) at the rate of the best large copy of the same run. Guidance
and all sounds of a batch share one pass. Without a GPU the models are tiny and the clips short: only the gain of
batching over the plain pipeline is then worth reading.
"""

from __future__ import annotations

import contextlib
import time

_STARTED = time.monotonic()

import argparse  # noqa: E402  # the minutes given count from here: importing torch takes its share of them
import gc  # noqa: E402
import importlib.metadata  # noqa: E402
import importlib.util  # noqa: E402
import os  # noqa: E402
import platform  # noqa: E402
import statistics  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import threading  # noqa: E402
from collections.abc import Callable, Iterator, Sequence  # noqa: E402
from dataclasses import dataclass, field  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from benchmarks import _profile  # noqa: E402
from benchmarks._rows import Rows, key_of  # noqa: E402
from benchmarks.official_sizes import AUDIOLDM2_LARGE, CLAP, MUSICGEN, SIZES, USUAL  # noqa: E402
from tests.support import built  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from audio_pool.engines import Item, _fit, _torch  # noqa: E402
from audio_pool.errors import DeviceLost, EngineUnavailable  # noqa: E402

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "tangoflux": ("tangoflux", SIZES["tangoflux"]),
    "audioldm2": ("audioldm2", SIZES["audioldm2"]),
    "stable_audio": ("stable_audio", SIZES["stable_audio"]),
    "audioldm": ("audioldm", SIZES["audioldm"]),
    "audioldm2_large": ("audioldm2", AUDIOLDM2_LARGE),
    "clap": ("clap", CLAP),
    **{name: ("musicgen", sizes) for name, sizes in MUSICGEN.items()},
}
"""What can be named, in the order of measuring: implementation and official sizes."""
REDUCED = {"duration_s": 1.4, "steps": 8}
PROMPTS = ("rain on a tin roof", "dog bark", "the low wind on the sea", "music on the roof")
BATCHES = (1, 4, 8)
PROFILED_STEPS = 4
GIGA = 2**30
DEVICE_LOST = 6

BUILD_S, COMPILE_S, CAPTURE_S, ROW_S = 20.0, 90.0, 25.0, 10.0
"""Allowances on a GPU: to build an engine; to compile one shape; to capture one in graphs; for a row of which nothing
is known. A guess: no figure was taken on a GPU yet."""
ENDING_S = 2.0
"""Left for the process to end."""
ROUNDS, ROUNDS_S = 3, 10.0
"""At most so many rounds, and no further one after so many seconds."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One engine in one setting, loaded once for all its rows."""

    engine: str
    setting: str
    dtype: str
    quantization: str = "none"
    compile_mode: str = ""
    """"" is eager."""
    needs: tuple[str, ...] = ()
    """Libraries without which it cannot be measured."""
    rows: tuple[tuple[str, int], ...]
    """(what, batch)"""

    @property
    def allowance_s(self) -> float:
        """Seconds for one shape's compilation."""
        return {"": 0.0, "graphs": CAPTURE_S}.get(self.compile_mode, COMPILE_S)


@dataclass
class Bench:
    """One run."""

    device: str
    tiny: bool
    book: Rows
    deadline: float
    out: Path
    machine: str = ""
    rates: tuple[float, float] = (0.0, 0.0)
    """Operations and bytes per second."""
    threads: list[threading.Timer] = field(default_factory=list)
    now: str = ""
    """What is being measured."""
    left_out: list[str] = field(default_factory=list)

    @property
    def gpu(self) -> bool:
        return self.device.startswith("cuda")

    # -- time --------------------------------------------------------------------------------------

    def left_s(self) -> float:
        return self.deadline - time.monotonic()

    def may_begin(self, need_s: float, what: str) -> bool:
        """Return True where so many seconds are left; else note and say that the row is left to a later run."""
        if need_s <= self.left_s():
            return True
        say(f"-- not begun: {what}: up to {need_s:.0f} s are needed, {max(0.0, self.left_s()):.0f} s are left")
        self.left_out.append(what)
        return False

    def watch(self) -> None:
        """End the process at the deadline whatever it does: no allowance is sure, and a compiler does not stop."""

        def end() -> None:
            say(f"-- time is up in the middle of: {self.now}. Run again to go on; {self.book.path} has all rows so far")
            os._exit(0)

        if self.deadline != float("inf"):
            timer = threading.Timer(max(0.0, self.left_s()), end)
            timer.daemon = True
            timer.start()
            self.threads.append(timer)

    # -- rows --------------------------------------------------------------------------------------

    def row(self, variant: Variant, what: str, batch: int) -> dict[str, Any]:
        return {
            "engine": variant.engine,
            "setting": variant.setting,
            "dtype": variant.dtype,
            "quantization": variant.quantization,
            "what": what,
            "batch": batch,
            "tiny": self.tiny,
            "machine": self.machine,
        }

    def missing(self, variant: Variant) -> list[tuple[str, int]]:
        return [(what, batch) for what, batch in variant.rows if not self.book.find(self.row(variant, what, batch))]

    def write(self, row: dict[str, Any]) -> None:
        row["at"] = time.strftime("%Y-%m-%d %H:%M:%S")
        self.book.add(row)
        say(line(row))

    # -- the machine -------------------------------------------------------------------------------

    def identify(self) -> None:
        """Name the machine; measure its rates, or take them from the file."""
        card = torch.cuda.get_device_name(self.device) if self.gpu else platform.processor() or platform.machine()
        self.machine = f"{card}, torch {torch.__version__}"
        row = {"engine": "", "what": "machine", "tiny": self.tiny, "machine": self.machine}
        found = self.book.find(row)
        if found is None:
            found = row | {
                "card": card,
                "driver": driver(),
                "python": platform.python_version(),
                "versions": {name: version(name) for name in ("torch", "diffusers", "transformers", "numpy")},
                "cuda": torch.version.cuda or torch.version.hip or "",
                "operations_per_s": self._matmul_rate(),
                "bytes_per_s": self._copy_rate(),
                "threads": torch.get_num_threads(),
            }
            self.write(found)
        self.rates = float(found["operations_per_s"]), float(found["bytes_per_s"])

    def _matmul_rate(self) -> float:
        """Operations per second of the best of ten large matrix products."""
        size = 8192 if self.gpu else 1024
        left = torch.randn(size, size, device=self.device, dtype=torch.bfloat16 if self.gpu else torch.float32)
        return 2 * size**3 / min(self.seconds(lambda: left @ left) for _ in range(10))

    def _copy_rate(self) -> float:
        """Bytes read and written per second of the best of five large copies."""
        size = 4 * GIGA if self.gpu else 2**26
        source = torch.zeros(size, dtype=torch.uint8, device=self.device)
        target = torch.zeros_like(source)
        return 2 * size / min(self.seconds(lambda: target.copy_(source)) for _ in range(5))

    def seconds(self, work: Callable[[], Any]) -> float:
        if self.gpu:
            torch.cuda.synchronize(self.device)
        start = time.perf_counter()
        work()
        if self.gpu:
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - start

    def measured(self, warm: Callable[[], Any], work: Callable[[], Any], warms: int = 1) -> dict[str, Any]:
        """Seconds of the first call and the median of the rounds, and peak memory on a GPU."""
        if self.gpu:
            torch.cuda.empty_cache()  # what building or another row has left cached is not this one's
        first = self.seconds(warm)
        for _ in range(warms - 1):
            warm()
        if self.gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        took: list[float] = []
        while len(took) < ROUNDS and sum(took) < ROUNDS_S:
            took.append(self.seconds(work))
        found: dict[str, Any] = {"seconds": statistics.median(took), "rounds": len(took), "first_s": first}
        if self.gpu:
            found["peak_gb"] = torch.cuda.max_memory_allocated(self.device) / GIGA
            found["reserved_gb"] = torch.cuda.max_memory_reserved(self.device) / GIGA
        return found

    # -- what one engine is measured on ------------------------------------------------------------

    def items(self, variant: Variant, count: int, steps: int | None = None) -> list[Item]:
        name, _ = CASES[variant.engine]
        usual = REDUCED if self.tiny else USUAL[name]
        return [
            Item(
                prompt=PROMPTS[seed % len(PROMPTS)],
                seed=seed,
                duration_s=float(usual["duration_s"]),
                steps=steps or int(usual["steps"]),
            )
            for seed in range(count)
        ]

    def sizes(self, variant: Variant) -> dict[str, Any] | None:
        return None if self.tiny else CASES[variant.engine][1]

    def expected_s(self, variant: Variant, what: str, batch: int) -> float:
        """Seconds that a row may take, by what is known of this engine."""
        if what in ("floor", "text encoding", "decode", "text", "sound"):
            return ROW_S if self.gpu else 1.0
        known: dict[int, float] = {}
        for row in self.book.rows:
            mine = (row.get("engine"), row.get("what"), row["machine"]) == (variant.engine, "clip", self.machine)
            if mine and "error" not in row:
                known[row["batch"]] = max(known.get(row["batch"], 0.0), float(row["seconds"]))
        nearest = min(known, key=lambda one: abs(one - batch), default=0)
        one = known[nearest] * max(1.0, batch / nearest) if nearest else (ROW_S if self.gpu else 1.0)
        # the last round begins before ROUNDS_S are over
        return one + min(ROUNDS * one, ROUNDS_S + one)

    def run(self, variant: Variant) -> None:
        """Measure what is missing of a variant, then let it go."""
        missing = self.missing(variant)
        label = f"{variant.engine}, {variant.setting}, {variant.dtype}"
        if not missing:
            return
        absent = [name for name in variant.needs if importlib.util.find_spec(name.split(".")[0]) is None]
        if absent:
            say(f"-- not measured: {label}: {', '.join(absent)} not installed")
            return
        what, batch = missing[0]
        build = BUILD_S if self.gpu else 1.0
        if not self.may_begin(build + variant.allowance_s + self.expected_s(variant, what, batch), label):
            return
        self.now = label
        try:
            self._rows_of(variant, missing, label)
        except DeviceLost:
            raise
        except Exception as exc:
            self._failed(variant, *missing[0], exc)
        self.release(variant)  # nothing of this frame holds the subject

    def _rows_of(self, variant: Variant, missing: Sequence[tuple[str, int]], label: str) -> None:
        subject = self._built(variant)
        try:
            self._measure_rows(variant, subject, missing, label)
        finally:
            subject.close()

    def _measure_rows(
        self, variant: Variant, subject: Subject, missing: Sequence[tuple[str, int]], label: str
    ) -> None:
        for what, batch in missing:
            need = variant.allowance_s + self.expected_s(variant, what, batch)
            self.now = f"{label}, {what}, batch {batch}"
            if not self.may_begin(need, self.now):
                continue
            try:
                self.write(self.row(variant, what, batch) | subject.measure(what, batch))
            except DeviceLost:
                raise
            except Exception as exc:
                self._failed(variant, what, batch, exc)

    def _failed(self, variant: Variant, what: str, batch: int, exc: Exception) -> None:
        device = torch.device(self.device)
        if _torch.device_lost(device):
            raise DeviceLost(f"{self.device} is lost: {_torch.first_line(exc)}") from exc
        self.write(self.row(variant, what, batch) | {"error": f"{type(exc).__name__}: {_torch.first_line(exc)}"})
        exc.__traceback__ = None  # it holds the failed pass's tensors
        if self.gpu:
            gc.collect()
            torch.cuda.empty_cache()

    def _built(self, variant: Variant) -> Subject:
        if CASES[variant.engine][0] == "clap":
            return ClapSubject(self, variant)
        if CASES[variant.engine][0] == "musicgen":
            return PlainTokens(self, variant) if variant.setting.startswith("plain") else TokenSubject(self, variant)
        if variant.setting.startswith("plain"):
            return PlainSubject(self, variant)
        return EngineSubject(self, variant)

    def release(self, variant: Variant) -> None:
        """Give everything back, and write how much is left all the same."""
        if variant.compile_mode:
            torch.compiler.reset()  # the graphs' own memory
        gc.collect()
        if not self.gpu:
            return
        torch._C._cuda_clearCublasWorkspaces()
        torch.cuda.empty_cache()
        held = torch.cuda.memory_allocated(self.device) / GIGA
        free, total = torch.cuda.mem_get_info(self.device)
        row = self.row(variant, "released", 0)
        self.write(row | {"held_gb": held, "driver_gb": (total - free) / GIGA})


# -- subjects --------------------------------------------------------------------------------------------


class Subject:
    """Something loaded that rows are measured on."""

    def measure(self, what: str, batch: int) -> dict[str, Any]:
        raise NotImplementedError

    def close(self) -> None:
        """Hold nothing any more."""
        self.__dict__.clear()


class PlainSubject(Subject):
    """The plain library pipeline, one sound after another."""

    def __init__(self, bench: Bench, variant: Variant) -> None:
        self.bench, self.variant = bench, variant
        name, _ = CASES[variant.engine]
        self.sound = built.plain(
            name, bench.device, getattr(torch, variant.dtype), build_on=bench.device, sizes=bench.sizes(variant)
        )
        self.sampler = built.sampler_of(name)

    def measure(self, what: str, batch: int) -> dict[str, Any]:
        (item,), (short,) = self.bench.items(self.variant, 1), self.bench.items(self.variant, 1, 2)
        found = self.bench.measured(lambda: self.sound(short), lambda: self.sound(item))
        more = {"sampler": self.sampler} if self.sampler else {}
        return {"sound_s": item.duration_s, "steps": item.steps, **more, **found}


class EngineSubject(Subject):
    """One of our engines."""

    def __init__(self, bench: Bench, variant: Variant) -> None:
        self.bench, self.variant = bench, variant
        name, _ = CASES[variant.engine]
        sizes, dtype = bench.sizes(variant), getattr(torch, variant.dtype)
        given = {"compile": True, "compile_mode": variant.compile_mode} if variant.compile_mode else {}
        found = built.parts(name, bench.device, sizes)
        settings = _torch.TorchSettings(quantization=variant.quantization, dtype=variant.dtype)
        working = (2 if name in ("tangoflux", "stable_audio") else 1) * GIGA
        parts = [
            _fit.part_of(part, {key: tuple(value.shape) for key, value in module.named_parameters()})
            for part, module in found.items()
            if isinstance(module, torch.nn.Module)
        ]
        self.estimate = _fit.fit_of(parts, settings, torch.device(bench.device), working, 30.0).needed()
        self.engine = built.engine(
            name, bench.device, dtype, sizes=sizes, found=found, quantization=variant.quantization, **given
        )
        self.sampler = built.sampler_of(name)

    def close(self) -> None:
        self.engine.close()
        super().close()

    def measure(self, what: str, batch: int) -> dict[str, Any]:
        return {
            "floor": self._floor,
            "clip": self._clip,
            "text encoding": self._text,
            "decode": self._decode,
            "profile": self._profiled,
        }[what](batch)

    def _generate(self, items: list[Item]) -> Any:
        self.engine._encodings.clear()  # text counts as a part of every clip
        compiler = self.engine._compiler
        # or the first of each shape would be made by the plain modules, and compiled meanwhile
        with contextlib.nullcontext() if compiler is None else compiler.warming_up():
            return self.engine.generate(items)

    def _clip(self, batch: int) -> dict[str, Any]:
        items, short = self.bench.items(self.variant, batch), self.bench.items(self.variant, batch, 4)
        # a graph is captured at the second call of its module, and the decoder is called once per clip
        warms = 3 if self.variant.compile_mode else 1
        found = self.bench.measured(lambda: self._generate(short), lambda: self._generate(items), warms)
        more = {"sampler": self.sampler} if self.sampler else {}
        if self.bench.gpu and not self.bench.tiny:
            more["estimate_gb"] = self.estimate / GIGA
        return {"sound_s": items[0].duration_s, "steps": items[0].steps, **more, **found}

    def _text(self, batch: int) -> dict[str, Any]:
        def encode() -> None:
            with self.engine._running(1), self.engine._placement.stage("encoder"):
                self.engine._encode(PROMPTS[0], "", True)

        return self.bench.measured(encode, encode)

    def _latents(self, batch: int) -> tuple[torch.Tensor, int]:
        job = self.engine._job(0, self.bench.items(self.variant, 1)[0])
        return torch.randn(batch, *self.engine._noise_shape(job), device=self.bench.device), job.frames

    def _decode(self, batch: int) -> dict[str, Any]:
        latents, frames = self._latents(batch)

        def decode() -> None:
            with self.engine._running(batch), self.engine._placement.stage("decoder"):
                self.engine._decoded(latents, frames)

        seconds = self.bench.items(self.variant, 1)[0].duration_s
        return {"sound_s": seconds, **self.bench.measured(decode, decode)}

    def _floor(self, batch: int) -> dict[str, Any]:
        """Operations of one clip by stage, and the bytes of weights that a step reads."""
        latents, frames = self._latents(1)
        counts = {}
        with self.engine._running(1):
            with FlopCounterMode(display=False) as counter:
                self.engine._encode(PROMPTS[0], "", True)
            counts["encode"] = counter.get_total_flops()
            with FlopCounterMode(display=False) as counter:
                self.engine._decoded(latents, frames)
            counts["decode"] = counter.get_total_flops()
        of_steps = []
        for steps in (1, 2):  # what a step adds
            with FlopCounterMode(display=False) as counter:
                self.engine.latents(self.bench.items(self.variant, 1, steps))
            of_steps.append(counter.get_total_flops())
        counts["step"] = of_steps[1] - of_steps[0]
        return {"operations": counts, "step_bytes": _torch.weight_bytes(self.engine._denoiser)}

    def _profiled(self, batch: int) -> dict[str, Any]:
        items = self.bench.items(self.variant, batch, PROFILED_STEPS)
        for _ in range(2):
            self._generate(items)
        spans = _profile.recorded(lambda: self._generate(items), self.bench.device)
        found = _profile.figures(spans, PROFILED_STEPS)
        title = f"== {self.variant.engine}, {self.variant.setting}, {self.variant.dtype}, batch {batch}: {found}"
        lines = [title, "-- device:", *_profile.longest(spans, on_device=True)]
        lines += ["-- host:", *_profile.longest(spans, on_device=False), ""]
        with (self.bench.out / "profile.txt").open("a") as file:
            file.write("\n".join(lines) + "\n")
        return found


class ClapSubject(Subject):
    """CLAP: texts, and sounds of ten seconds."""

    def __init__(self, bench: Bench, variant: Variant) -> None:
        self.bench = bench
        self.scorer = built.clap(
            bench.device, getattr(torch, variant.dtype), build_on=bench.device, sizes=bench.sizes(variant)
        )
        self.sound = np.random.default_rng(0).normal(0, 0.1, (1, 480_000)).astype(np.float32)

    def close(self) -> None:
        self.scorer.close()
        super().close()

    def measure(self, what: str, batch: int) -> dict[str, Any]:
        def work() -> None:
            if what == "text":
                self.scorer.embed_text([PROMPTS[0]] * batch)
            else:
                self.scorer.embed_audio([self.sound] * batch, 48_000)

        return {**({"sound_s": 10.0} if what == "sound" else {}), **self.bench.measured(work, work)}


class TokenSubject(Subject):
    """MusicGen: a pass of the language model for each frame of sound."""

    def __init__(self, bench: Bench, variant: Variant) -> None:
        self.bench, self.variant = bench, variant
        given = {"compile": True, "compile_mode": variant.compile_mode} if variant.compile_mode else {}
        self.engine = built.musicgen(
            bench.device,
            getattr(torch, variant.dtype),
            build_on=bench.device,
            sizes=bench.sizes(variant),
            quantization=variant.quantization,
            **given,
        )

    def close(self) -> None:
        self.engine.close()
        super().close()

    def _items(self, count: int, seconds: float) -> list[Item]:
        return [Item(prompt=PROMPTS[seed % len(PROMPTS)], seed=seed, duration_s=seconds) for seed in range(count)]

    def measure(self, what: str, batch: int) -> dict[str, Any]:
        seconds = float(REDUCED["duration_s"] if self.bench.tiny else USUAL["musicgen"]["duration_s"])
        return {"floor": self._floor, "clip": self._clip, "decode": self._decode}[what](batch, seconds)

    def _clip(self, batch: int, seconds: float) -> dict[str, Any]:
        items, short = self._items(batch, seconds), self._items(batch, 0.1)
        warms = 3 if self.variant.compile_mode else 1
        found = self.bench.measured(lambda: self.engine.generate(short), lambda: self.engine.generate(items), warms)
        steps = self._steps(seconds)
        return {"sound_s": seconds, "steps": steps, "steps_per_s": steps / found["seconds"], **found}

    def _steps(self, seconds: float) -> int:
        return int(self.engine._step_count(self.engine._job(0, self._items(1, seconds)[0])))

    def _decode(self, batch: int, seconds: float) -> dict[str, Any]:
        job = self.engine._job(0, self._items(1, seconds)[0])
        shape = batch, self.engine._codebooks.count, self.engine._length(job)
        codes = torch.randint(0, self.engine._codebooks.vocabulary, shape, device=self.bench.device)

        def decode() -> None:
            with self.engine._running(batch), self.engine._placement.stage("decoder"):
                self.engine._waves([job] * batch, codes)

        return {"sound_s": seconds, **self.bench.measured(decode, decode)}

    def _floor(self, batch: int, seconds: float) -> dict[str, Any]:
        """Operations of one guided clip by stage, and what a step reads: weights, and each sound's keys and values."""
        counts = {}
        with self.engine._running(1), FlopCounterMode(display=False) as counter:
            text = self.engine._encode(PROMPTS[0], "", True)
        counts["encode"] = counter.get_total_flops()
        with FlopCounterMode(display=False) as counter:
            self._decode(1, seconds)
        counts["decode"] = counter.get_total_flops() // 2  # once to warm, once or more to measure
        counts["step"] = self._step_operations(seconds)
        config, width = self.engine._lm.config, self.engine.dtype.itemsize
        each = 2 * 2 * config.num_hidden_layers * config.hidden_size * width  # keys and values of two rows
        positions = self._steps(seconds) / 2 + text["states"].shape[1]
        return {"operations": counts, "step_bytes": self._read_bytes(), "sound_bytes": each * positions}

    def _read_bytes(self) -> int:
        """Bytes of weights that a step reads: not the text's keys and values, made once, nor but a few embeddings."""
        decoder = self.engine._lm.model.decoder
        unread = [decoder.embed_tokens, decoder.embed_positions]
        unread += [part for layer in decoder.layers for part in (layer.encoder_attn.k_proj, layer.encoder_attn.v_proj)]
        return _torch.weight_bytes(self.engine._lm) - sum(_torch.weight_bytes(part) for part in unread)

    def _step_operations(self, seconds: float) -> float:
        totals = []
        self.engine.latents(self._items(1, 0.02))  # the text is encoded once
        for length in (0.1, 0.3):
            with FlopCounterMode(display=False) as counter:
                self.engine.latents(self._items(1, length))
            totals.append(counter.get_total_flops())
        return (totals[1] - totals[0]) / (self._steps(0.3) - self._steps(0.1))


class PlainTokens(Subject):
    """transformers' own ``generate``, sampling, one sound after another."""

    def __init__(self, bench: Bench, variant: Variant) -> None:
        self.bench = bench
        found = built.parts("musicgen", bench.device, bench.sizes(variant))
        self.model = found["model"].eval().to(getattr(torch, variant.dtype))
        self.tokenizer = found["tokenizer"]

    def measure(self, what: str, batch: int) -> dict[str, Any]:
        seconds = float(REDUCED["duration_s"] if self.bench.tiny else USUAL["musicgen"]["duration_s"])
        tokens = self.tokenizer(PROMPTS[0], return_tensors="pt").to(self.bench.device)

        def sound(steps: int) -> None:
            self.model.generate(**tokens, do_sample=True, guidance_scale=3.0, top_k=250, max_new_tokens=steps)

        steps = round(50 * seconds) + 3
        found = self.bench.measured(lambda: sound(8), lambda: sound(steps))
        return {"sound_s": seconds, "steps": steps, "steps_per_s": steps / found["seconds"], **found}


# -- the plan --------------------------------------------------------------------------------------------


def plan(engine: str, gpu: bool, profile: bool) -> Iterator[Variant]:
    """What is measured of an engine, the most wanted first."""

    def clips(*batches: int) -> tuple[tuple[str, int], ...]:
        return tuple(("clip", batch) for batch in batches)

    narrow = "bfloat16" if gpu else "float32"
    if engine == "clap":
        rows = tuple((what, batch) for what in ("sound", "text") for batch in (1, 8))
        for dtype in ("float32", "bfloat16", "float16") if gpu else ("float32",):
            yield Variant(engine=engine, setting="engine", dtype=dtype, rows=() if profile else rows)
        return
    if CASES[engine][0] == "musicgen":
        if not profile:
            yield from _token_plan(engine, gpu, narrow, clips)
        return
    if profile:
        yield Variant(engine=engine, setting="engine", dtype=narrow, rows=(("profile", 1), ("profile", 8)))
        for mode in ("graphs", "full") if gpu else ():
            yield Variant(
                engine=engine, setting=COMPILED[mode], dtype=narrow, compile_mode=mode, rows=(("profile", 1),)
            )
        return
    eager = (("floor", 1), *clips(*BATCHES), ("text encoding", 1), ("decode", 1), ("decode", 8))
    yield Variant(engine=engine, setting="engine", dtype=narrow, rows=eager)
    if gpu:
        for mode in ("graphs", "full"):
            yield Variant(
                engine=engine, setting=COMPILED[mode], dtype=narrow, compile_mode=mode, rows=clips(1, 8, 4)
            )
    yield Variant(engine=engine, setting="plain pipeline, one by one", dtype=narrow, rows=clips(1))
    if gpu:
        yield Variant(engine=engine, setting="engine", dtype="float16", rows=clips(1, 8))
        mode = "kernels"
        yield Variant(engine=engine, setting=COMPILED[mode], dtype=narrow, compile_mode=mode, rows=clips(1))
    for bits, library in (("8bit", "torchao"), ("4bit", "optimum.quanto")):
        yield Variant(
            engine=engine, setting="engine", dtype=narrow, quantization=bits, needs=(library,), rows=clips(1)
        )


def _token_plan(
    engine: str, gpu: bool, narrow: str, clips: Callable[..., tuple[tuple[str, int], ...]]
) -> Iterator[Variant]:
    eager = (("floor", 1), *clips(*BATCHES), ("decode", 1))
    yield Variant(engine=engine, setting="engine", dtype=narrow, rows=eager)
    for mode in ("graphs", "full") if gpu else ():
        yield Variant(engine=engine, setting=COMPILED[mode], dtype=narrow, compile_mode=mode, rows=clips(1, 8))
    yield Variant(engine=engine, setting="plain pipeline, one by one", dtype=narrow, rows=clips(1))


COMPILED = {
    "graphs": "engine, CUDA graphs",
    "kernels": "engine, compiled",
    "full": "engine, compiled, CUDA graphs",
}


# -- how a row is shown ----------------------------------------------------------------------------------


def floor_s(floor: dict[str, Any], row: dict[str, Any], rates: tuple[float, float]) -> float:
    """The least seconds of a batch on this machine."""
    operations, bytes_per_s = rates
    counts, steps, batch = floor["operations"], row["steps"], row["batch"]
    read = floor["step_bytes"] + batch * floor.get("sound_bytes", 0.0)
    denoise = max(batch * counts["step"] / operations, read / bytes_per_s) * steps
    return float(denoise + batch * (counts["encode"] + counts["decode"]) / operations)


def shown(row: dict[str, Any], book: Rows, rates: tuple[float, float]) -> dict[str, Any]:
    """A row as a line of the table, with what others make of it."""
    cells: dict[str, Any] = {name: row.get(name, "") for name in ("engine", "setting", "dtype", "what", "batch")}
    if row.get("quantization", "none") != "none":
        cells["setting"] += f", {row['quantization']}"
    if row.get("sampler"):
        cells["setting"] += f" ({row['sampler']})"
    if "error" in row:
        return cells | {"s per batch": row["error"]}
    cells["s per batch"] = round(row["seconds"], 4)
    if "sound_s" in row:
        cells["s of sound per s"] = round(row["sound_s"] * row["batch"] / row["seconds"], 2)

    def other(what: str, setting: str) -> dict[str, Any] | None:
        found = [
            one
            for one in book.rows
            if (one.get("engine"), one.get("what"), one.get("setting")) == (row["engine"], what, setting)
            and (one.get("tiny"), one.get("machine")) == (row["tiny"], row["machine"])
            and "error" not in one
        ]
        return found[-1] if found else None

    if row["what"] == "clip":
        plain, floor = other("clip", "plain pipeline, one by one"), other("floor", "engine")
        if plain:
            cells["x plain"] = round(plain["seconds"] * row["batch"] / row["seconds"], 2)
        if floor:
            cells["share of floor"] = f"{floor_s(floor, row, rates) / row['seconds']:.1%}"
    if "peak_gb" in row:
        cells["peak GB"] = round(row["peak_gb"], 2)
    if "estimate_gb" in row:
        cells["estimate GB"] = round(row["estimate_gb"], 2)
    return cells


def line(row: dict[str, Any]) -> str:
    """A row in one line, as it is printed when it is measured."""
    hidden = ("at", "tiny", "machine")
    cells = []
    for name, value in row.items():
        if name not in hidden and value not in ("", None):
            cells.append(f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}")
    return "  ".join(cells)


def say(text: str) -> None:
    print(text, flush=True)


def driver() -> str:
    """The NVIDIA driver's version, as the kernel tells it; "" elsewhere."""
    try:
        first = Path("/proc/driver/nvidia/version").read_text().splitlines()[0]
    except (OSError, IndexError):
        return ""
    return first.partition(":")[2].strip()


def version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


# -- running ---------------------------------------------------------------------------------------------


def measure(
    bench: Bench,
    engines: Sequence[str],
    profile: bool = False,
    only: Callable[[Variant], bool] | None = None,
) -> None:
    """Measure what is missing of these engines, as far as the time goes."""
    bench.identify()
    for name in engines:
        for variant in plan(name, bench.gpu, profile):
            if only is None or only(variant):
                bench.run(variant)


def summary(bench: Bench) -> list[dict[str, Any]]:
    """The last row of each key of this machine, as the table shows it."""
    last = {key_of(row): row for row in bench.book.rows}
    mine = [row for row in last.values() if row["machine"] == bench.machine and row["tiny"] == bench.tiny]
    return [shown(row, bench.book, bench.rates) for row in mine if "seconds" in row or "error" in row]


def rows() -> list[dict[str, Any]]:
    """The table for ``make bench``: everything on a GPU; without one the engines beside the plain pipelines."""
    gpu = torch.cuda.is_available()
    threads = torch.get_num_threads()
    quiet()
    with tempfile.TemporaryDirectory() as home:
        out = Path(home)
        bench = Bench("cuda:0" if gpu else "cpu", not gpu, Rows(out), float("inf"), out)
        try:
            torch.set_num_threads(threads if gpu else 1)
            names = [name for name in CASES if gpu or name in SIZES]
            measure(bench, names, only=lambda variant: gpu or variant.quantization == "none")
        finally:
            torch.set_num_threads(threads)
        table = summary(bench)
    return [*table, {"engine": f"on: {bench.machine}" + ("" if gpu else "; tiny models, one thread")}]


def quiet() -> None:
    """Let the libraries say nothing but errors: that a pipeline is deprecated, that weights were cast."""
    import diffusers
    import transformers

    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.set_verbosity_error()


def main(arguments: Sequence[str] | None = None) -> int:
    words = argparse.ArgumentParser(prog="python -m benchmarks.gpu_engines", description=__doc__,
                                    formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    words.add_argument("engines", nargs="*", metavar="ENGINE", help=f"of {', '.join(CASES)}; all by default")
    words.add_argument("--minutes", type=float, default=float("inf"), help="the run ends within these")
    words.add_argument("--out", type=Path, default=Path("bench_out/gpu"), help="directory of rows.jsonl")
    words.add_argument("--profile", action="store_true", help="write where the time goes, to DIR/profile.txt and rows")
    words.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    words.add_argument("--tiny", action="store_true", help="tiny models and short clips, as always on a CPU")
    given = words.parse_args(arguments)
    unknown = [name for name in given.engines if name not in CASES]
    if unknown:
        words.error(f"given {', '.join(unknown)}; allowed is any of {', '.join(CASES)}")
    try:
        device = str(_torch.settle_device(given.device))
    except (EngineUnavailable, RuntimeError) as exc:
        words.error(str(exc))
    quiet()
    bench = Bench(
        device,
        given.tiny or not device.startswith("cuda"),
        Rows(given.out),
        _STARTED + given.minutes * 60 - ENDING_S,
        given.out,
    )
    bench.watch()
    try:
        with torch.no_grad(), _torch.on_device(torch.device(device)):
            measure(bench, given.engines or list(CASES), given.profile)
    except DeviceLost as exc:
        say(f"-- {exc}; run again to go on")
        return DEVICE_LOST
    finally:
        for timer in bench.threads:
            timer.cancel()
    from benchmarks.__main__ import table

    say("\n".join(table(summary(bench))) or "nothing measured")
    if bench.left_out:
        say(f"-- {len(bench.left_out)} not begun for want of time; run again to go on")
    return 0


if __name__ == "__main__":
    sys.exit(main())
