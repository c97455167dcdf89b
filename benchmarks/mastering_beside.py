"""The same candidates finished by two versions in turns: what each takes, and whether they give the same sounds.

``BESIDE=FOLDER/src`` is the other version; without it this one beside itself without the compiled library. Times are of
sounds of half a minute, medians of ``ROUNDS`` (5); the rest is compared over all sounds, samples in steps of 24 bits.

    BESIDE=OTHER_CHECKOUT/src python -m benchmarks mastering_beside
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from audio_pool.engines.base import Item
from audio_pool.engines.procedural.engine import ProceduralEngine

ROUNDS = int(os.environ.get("ROUNDS", "5"))
RATE = 44_100
TAIL_S = 1.5
HERE = Path(__file__).resolve().parents[1]
PROMPTS = (
    "rain", "piano", "a dog barking", "a clock ticking", "thunder", "a beep", "wind", "footsteps on gravel",
    "glass breaking", "an engine idling", "a church bell", "crickets",
)  # fmt: skip


def rows() -> list[dict[str, Any]]:
    """Times by kind, then the largest differences between both versions' sounds."""
    beside = os.environ.get("BESIDE")
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as place:
        folder = Path(place)
        timed, compared = _sounds(folder)
        hands = {
            "this": _Hand(folder, folder / "this", str(HERE / "src")),
            "beside": _Hand(folder, folder / "beside", beside or str(HERE / "src"), () if beside else ("numpy",)),
        }
        try:
            found = [_timed(hands, kind, names) for kind, names in timed.items()]
            reports = {name: {way: hand.finish(name)["report"] for way, hand in hands.items()} for name in compared}
        finally:
            for hand in hands.values():
                hand.close()
        return [*found, *_differences(folder, reports)]


class _Hand:
    """A process that masters with one version."""

    def __init__(self, folder: Path, out: Path, source: str, flags: tuple[str, ...] = ()) -> None:
        out.mkdir()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks._mastering_hand", str(folder), str(out), *flags],
            cwd=HERE,
            env={**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def finish(self, name: str) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(name + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        self._process.communicate(timeout=60)


def _sounds(folder: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Make the candidates: names of those that are timed, by kind, and of those that are compared."""
    timed: dict[str, list[str]] = {}
    for loop in (False, True):
        for count in (1, 4):
            kind = f"30 s {'loop' if loop else 'one-shot'}, {count} candidate{'s, one faulty' if count > 1 else ''}"
            timed[kind] = [
                _made(folder, f"t{int(loop)}{count}{number}", prompt, 30.0, loop, count)
                for number, prompt in enumerate(PROMPTS[:2])
            ]
    compared = [name for names in timed.values() for name in names]
    for number, prompt in enumerate(PROMPTS):
        for loop in (False, True):
            compared.append(_made(folder, f"c{int(loop)}{number}", prompt, 7.3, loop, 1))
    compared += [
        _made(folder, "r0", "rain", 6.0, False, 2, raw_rate=48_000),
        _made(folder, "r1", "piano", 6.0, True, 2, raw_rate=48_000),
        _made(folder, "n0", "rain", 6.0, True, 1, native=True),
        _made(folder, "s0", "a beep", 0.3, False, 1),
    ]
    return timed, compared


def _made(
    folder: Path,
    name: str,
    prompt: str,
    seconds: float,
    loop: bool,
    count: int,
    raw_rate: int = RATE,
    native: bool = False,
) -> str:
    tail = TAIL_S if loop and not native else 0.0
    engine = ProceduralEngine()
    item = Item(prompt=prompt, seed=1, duration_s=seconds + tail, sample_rate=raw_rate)
    made = [
        engine.generate([Item(prompt=prompt, seed=seed, duration_s=seconds + tail, sample_rate=raw_rate)])[0]
        for seed in range(1, count + 1)
    ]
    audio = np.ascontiguousarray(made, np.float32)
    if count > 2:
        audio[0, :, : audio.shape[2] // 3] = 0
    np.save(folder / f"{name}.npy", audio)
    told = {
        "prompt": prompt,
        "frames": round(seconds * RATE),
        "rate": RATE,
        "raw_rate": raw_rate,
        "loop": loop,
        "tail_s": tail,
        "native": native,
        "expects": sorted(engine.notes(item).expects),
    }
    (folder / f"{name}.json").write_text(json.dumps(told))
    return name


def _timed(hands: dict[str, _Hand], kind: str, names: list[str]) -> dict[str, Any]:
    took: dict[tuple[str, str], list[list[float]]] = {}
    for number in range(ROUNDS + 1):
        for name in names:
            for way, hand in hands.items():
                figures = hand.finish(name)["took"]
                if number:  # the first brings libraries and memory in
                    took.setdefault((way, name), []).append(figures)

    def mean_ms(way: str, column: int) -> float:
        medians = [statistics.median(one[column] for one in took[way, name]) for name in names]
        return 1000 * statistics.mean(medians)

    return {
        "what": kind,
        "this: CPU, ms": round(mean_ms("this", 0), 1),
        "beside": round(mean_ms("beside", 0), 1),
        "ratio": round(mean_ms("beside", 0) / mean_ms("this", 0), 2),
        "this: wall, ms": round(mean_ms("this", 1), 1),
        "wall beside": round(mean_ms("beside", 1), 1),
    }


def _differences(folder: Path, reports: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    largest: dict[str, tuple[float, str]] = {}

    def note(what: str, value: float, name: str) -> None:
        if value >= largest.get(what, (-1.0, ""))[0]:
            largest[what] = (value, name)

    for name, both in reports.items():
        this, beside = both["this"], both["beside"]
        prompt = f"{json.loads((folder / f'{name}.json').read_text())['prompt']} ({name})"
        ours, theirs = (
            soundfile.read(folder / way / f"{name}.flac", dtype="int32", always_2d=True)[0].astype(np.float64) / 256
            for way in ("this", "beside")
        )
        if ours.shape != theirs.shape:
            note("length, frames", abs(len(ours) - len(theirs)), prompt)
            continue
        gain_db = 20 * np.log10((ours * theirs).sum() / max(np.square(theirs).sum(), 1e-9))
        note("gain, dB", abs(float(gain_db)), prompt)
        note("samples, steps of 24 bits", float(np.abs(ours - theirs).max()), prompt)
        note(
            "loudness or true peak told, dB",
            max(_apart(*pair) for pair in zip(this["gain"], beside["gain"], strict=True)),
            prompt,
        )
        note("seam's score", abs(this["seam"] - beside["seam"]), prompt)
        note("quality's score", abs(this["score"] - beside["score"]), prompt)
        note("verdicts that differ", float(this["verdict"] != beside["verdict"]), prompt)
        note("descriptors, dB", float(np.linalg.norm(np.subtract(this["vector"], beside["vector"]))), prompt)
    return [
        {"what": f"largest difference of {len(reports)}: {what}", "difference": value, "of": name if value else ""}
        for what, (value, name) in largest.items()
    ]


def _apart(one: float | None, other: float | None) -> float:
    return abs((one or 0.0) - (other or 0.0))
