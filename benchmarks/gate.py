"""What the gate hears: faults of several strengths in materials of many kinds, and its false alarms on clean sounds.

Every fault goes into every material, also where it cannot be told from the material by its nature (hiss in rain): the
table says in how many it was found by its name, how many came out under ``min_quality``, and where it was missed. Then
every recipe of the built-in engine, as a loop and once, and every recording that is there, is judged as it is.

    python -m benchmarks gate
    python -m benchmarks.gate faults | clean | FOLDER      one half alone; or the false alarms on a folder of recordings
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.signal
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for tests.support
from tests.support import faults as support
from tests.support.audio_signals import RECORDINGS

from audio_pool.audio import Audio
from audio_pool.audio.quality import assess
from audio_pool.engines.base import Item
from audio_pool.engines.procedural.engine import ProceduralEngine
from audio_pool.engines.procedural.recipe import RECIPES

RATE = 44_100
SECONDS = 8.0
ENOUGH = 50.0
"""``min_quality`` as it is by default."""
SEEDS = (1, 2, 3)
PAINTED = ("birds", "footsteps", "diesel", "piano", "stream", "wind", "crowd", "glass", "synth pad", "dog")
"""Recipes that serve as materials beside the synthetic ones, as far as they exist under these names."""
Put = Callable[[Audio, float], Audio]


@dataclass(frozen=True, kw_only=True)
class FaultKind:
    """One way to spoil a sound, at several strengths from weak to strong."""

    name: str
    issues: frozenset[str]
    """Any of these names it rightly."""
    strengths: tuple[float, ...]
    put: Put


def _kind(name: str, issues: str, strengths: tuple[float, ...], put: Put) -> FaultKind:
    return FaultKind(name=name, issues=frozenset(issues.split()), strengths=strengths, put=put)


def _rms(audio: Audio) -> float:
    return float(np.sqrt(np.square(audio, dtype=np.float64).mean()))


def _at(seconds: float) -> int:
    return round(seconds * RATE)


def _white(audio: Audio, seed: int = 11) -> Audio:
    return np.random.default_rng(seed).standard_normal(audio.shape).astype(np.float32)


def _filtered(audio: Audio, kind: str, hz: float | tuple[float, float], order: int = 6) -> Audio:
    sos = scipy.signal.butter(order, hz, kind, fs=RATE, output="sos")
    return scipy.signal.sosfilt(sos, audio).astype(np.float32)


def _added(audio: Audio, noise: Audio, db: float) -> Audio:
    return (audio + noise / _rms(noise) * _rms(audio) * 10 ** (db / 20)).astype(np.float32)


def _driven(audio: Audio, drive: float) -> Audio:
    """Clip at full scale what was as high as ``drive``."""
    return np.clip(drive * audio / np.abs(audio).max(), -1, 1).astype(np.float32)


def _clipped_tops(audio: Audio, drive: float) -> Audio:
    return (0.5 * np.minimum(drive * audio / np.abs(audio).max(), 1)).astype(np.float32)


def _clipped_side(audio: Audio, drive: float) -> Audio:
    return np.stack([_driven(audio, drive)[0], audio[1] / np.abs(audio).max()])


def _low_passed(hz: float, order: int = 4) -> Put:
    return lambda audio, drive: 0.8 * _filtered(_driven(audio, drive), "lowpass", hz, order)


def _brick_wall(audio: Audio, drive: float) -> Audio:
    taps = scipy.signal.firwin(255, 10_000, fs=RATE)
    return (0.8 * scipy.signal.fftconvolve(_driven(audio, drive), taps[None], "same", axes=1)).astype(np.float32)


def _high_passed(audio: Audio, drive: float) -> Audio:
    return 0.6 * _filtered(_driven(audio, drive), "highpass", 80.0, 4)


def _coded(audio: Audio, drive: float) -> Audio:
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", RATE, 2, format="OGG", subtype="VORBIS") as writer:
        for start in range(0, audio.shape[1], 65_536):
            writer.write(0.8 * _driven(audio, drive)[:, start : start + 65_536].T)
    file.seek(0)
    return np.ascontiguousarray(soundfile.read(file, dtype="float32")[0].T[:, : audio.shape[1]])


def _blanked(audio: Audio, spans: list[tuple[float, float]]) -> Audio:
    out = audio.copy()
    for start, end in spans:
        out[:, _at(start) : _at(end)] = 0
    return out


def _holes(audio: Audio, count: float) -> Audio:
    places = np.linspace(0.9, SECONDS - 0.7, int(count))
    return _blanked(audio, [(at, at + 0.05 + 0.03 * (number % 3)) for number, at in enumerate(places)])


def _stuck(piece_s: float, loudest: bool) -> Put:
    def put(audio: Audio, times: float) -> Audio:
        step, count = _at(piece_s), int(times)
        last = (audio.shape[1] // step - count - 1) * step
        levels = [_rms(audio[:, at : at + step]) for at in range(5 * step, last, step)]
        at = (5 + (int(np.argmax(levels)) if loudest else int(np.argsort(levels)[len(levels) // 2]))) * step
        out = audio.copy()
        out[:, at : at + count * step] = np.tile(audio[:, at : at + step], count)
        return out

    return put


def _comb(delay_s: float) -> Put:
    def put(audio: Audio, gain: float) -> Audio:
        out = scipy.signal.lfilter([1.0], [1.0, *[0.0] * (_at(delay_s) - 1), -gain], audio)
        return (0.5 * out / np.abs(out).max()).astype(np.float32)

    return put


def _whistle(hz: float) -> Put:
    def put(audio: Audio, db: float) -> Audio:
        line = np.sin(2 * np.pi * hz * np.arange(audio.shape[1]) / RATE)
        return _added(audio, np.stack([line, line]).astype(np.float32), db)

    return put


def _hiss(low_hz: float, high_hz: float) -> Put:
    return lambda audio, db: _added(audio, _filtered(_white(audio), "bandpass", (low_hz, high_hz)), db)


def _mostly_noise(audio: Audio, share: float) -> Audio:
    first = round((1 - share) * audio.shape[1])
    return np.concatenate([audio[:, :first], _rms(audio) * _white(audio)[:, first:]], axis=1)


def _lowered_side(audio: Audio, db: float) -> Audio:
    return audio * np.array([[1.0], [10 ** (db / 20)]], np.float32)


def _turned_over(audio: Audio, own: float) -> Audio:
    return np.stack([audio[0], -audio[0] + own * (audio[1] - audio[0])]).astype(np.float32)


def _broken(value: float) -> Put:
    def put(audio: Audio, count: float) -> Audio:
        out = audio.copy()
        out[0, 999 : 999 + int(count)] = value
        return out

    return put


def _one_silent(audio: Audio, side: float) -> Audio:
    out = audio.copy()
    out[int(side)] = 0
    return out


def _headless(audio: Audio, cut_s: float) -> Audio:
    t = np.arange(audio.shape[1]) / RATE
    event = np.exp(-(t + cut_s) / 0.7) * np.cos(2 * np.pi * 190 * (t + cut_s))
    return (0.6 * event + 0.02 * audio / _rms(audio) * 0.1).astype(np.float32)


FAULTS = (
    _kind("clipped", "clipping", (1.5, 3, 6, 12), _driven),
    _kind("only tops clipped", "clipping dc", (3, 6), _clipped_tops),
    _kind("one side clipped", "clipping", (3, 6), _clipped_side),
    _kind("clipped, high-pass of 80 Hz", "clipping", (3, 6, 12), _high_passed),
    _kind("clipped, low-pass of 4 kHz", "clipping", (3, 6, 12), _low_passed(4_000)),
    _kind("clipped, low-pass of 8 kHz", "clipping", (3, 6, 12), _low_passed(8_000)),
    _kind("clipped, low-pass of 12 kHz", "clipping", (3, 6, 12), _low_passed(12_000)),
    _kind("clipped, brick wall of 10 kHz", "clipping", (3, 6, 12), _brick_wall),
    _kind("clipped, Vorbis", "clipping", (3, 6, 12), _coded),
    _kind("white hiss, dB", "hiss", (-30, -20, -15, -6, 0), lambda audio, db: _added(audio, _white(audio), db)),
    _kind("hiss above 14 kHz, dB", "hiss", (-20, -10, 0), _hiss(14_000, 20_000)),
    _kind("hiss of 8 to 12 kHz, dB", "hiss", (-25, -15), _hiss(8_000, 12_000)),
    _kind("noise for a share of the time", "hiss", (0.75, 0.9), _mostly_noise),
    _kind("nothing but noise", "hiss", (0.01, 0.1), lambda audio, level: level * _white(audio)),
    _kind("silent start, s", "silent_start", (1.2, 2.4, 4), lambda audio, s: _blanked(audio, [(0, s)])),
    _kind("silent end, s", "dead_tail", (1.2, 3, 5.2), lambda audio, s: _blanked(audio, [(SECONDS - s, SECONDS)])),
    _kind("holes", "dropouts", (1, 4, 8), _holes),
    _kind("stuck 0.1 s, loudest", "stuck", (2, 4, 8), _stuck(0.1, True)),
    _kind("stuck 0.1 s, middling", "stuck", (4, 8), _stuck(0.1, False)),
    _kind("stuck 0.05 s", "stuck", (8, 16), _stuck(0.05, True)),
    _kind("stuck 0.25 s", "stuck", (4, 8), _stuck(0.25, True)),
    _kind("one side turned over", "out_of_phase", (0, 0.1), _turned_over),
    _kind("one side lower, dB", "unbalanced", (-16, -20, -40), _lowered_side),
    _kind("one side silent", "one_side_silent mono_in_stereo", (0, 1), _one_silent),
    _kind("both sides alike", "mono_in_stereo", (1,), lambda audio, _: audio[[0, 0]]),
    _kind("echo of 6.3 ms that rings", "comb_ringing", (0.7, 0.9), _comb(0.0063)),
    _kind("echo of 1.6 ms that rings", "comb_ringing", (0.7, 0.9), _comb(0.0016)),
    _kind("whistle of 15.7 kHz, dB", "whistle", (-40, -30, -25), _whistle(15_734)),
    _kind("whistle of 12 kHz, dB", "whistle", (-30, -25), _whistle(12_000)),
    _kind("RMS", "faint silence", (0.0005, 0.003, 0.004), lambda audio, rms: audio * np.float32(rms / _rms(audio))),
    _kind("silence, dBFS", "silence", (-80, -66), lambda audio, db: audio / np.abs(audio).max() * 10 ** (db / 20)),
    _kind("offset in RMS", "dc", (0.15, 0.3, 1), lambda audio, dc: audio + np.float32(dc * _rms(audio))),
    _kind("start cut off, s", "cut_off_start", (0.003, 0.03), _headless),
    _kind("not a number", "nan", (1, 100), _broken(np.nan)),
    _kind("infinite", "nan", (1,), _broken(np.inf)),
)  # fmt: skip
"""All that generators, decoders and cables do to sounds, as far as the gate has a name for it."""


def materials() -> dict[str, Audio]:
    """Clean sounds, float32 [2, T] at RATE, in which nothing is found."""
    frames = round(SECONDS * RATE)
    found = {name: make(0)[:, :frames] for name, make in support.CLEAN.items() if name != "square beep"}
    for name in PAINTED:
        if name in RECIPES:
            found[f"{name} (engine)"] = painted(name, 1, False, SECONDS)
    return {name: audio for name, audio in found.items() if not judged(audio).issues}


def painted(name: str, seed: int, loop: bool, seconds: float) -> Audio:
    """A recipe's sound."""
    item = Item(prompt=RECIPES[name].keys[0], seed=seed, duration_s=seconds, sample_rate=RATE, loop=loop)
    return ProceduralEngine().generate([item])[0]


def judged(audio: Audio, rate: int = RATE, loop: bool = False, expects: frozenset[str] = frozenset()) -> Any:
    """What the gate says of a sound of the right length."""
    return assess(audio, rate, frames=audio.shape[1], loop=loop, expects=expects)


def fault_rows() -> list[dict[str, Any]]:
    """One line a fault and strength."""
    clean = materials()
    found = []
    for kind in FAULTS:
        for strength in kind.strengths:
            verdicts = {name: judged(kind.put(audio, strength)) for name, audio in clean.items()}
            missed = [name for name, verdict in verdicts.items() if not kind.issues & set(verdict.issues)]
            bad = sum(verdict.failed or verdict.score < ENOUGH for verdict in verdicts.values())
            found.append(
                {
                    "fault": kind.name,
                    "strength": strength,
                    "found": f"{len(clean) - len(missed)} of {len(clean)}",
                    "under min_quality": bad,
                    "missed in": ", ".join(missed),
                }
            )
    return found


def clean_rows(folders: tuple[Path, ...] = RECORDINGS) -> list[dict[str, Any]]:
    """One line a clean sound that got an issue, and one that counts them."""
    found, counts = [], {"recipes": [0, 0], "recordings": [0, 0]}
    for group, name, verdict in (*_recipes(), *_recordings(folders)):
        counts[group][0] += 1
        if verdict.issues:
            counts[group][1] += 1
            found.append({"clean sound": name, "issues": ", ".join(verdict.issues), "score": verdict.score})
    told = [
        {"clean sound": f"{group}: {alarms} of {total} got an issue", "issues": "", "score": ""}
        for group, (total, alarms) in counts.items()
    ]
    return [*found, *told]


def _recipes() -> Iterator[tuple[str, str, Any]]:
    for name in RECIPES:
        for seed in SEEDS:
            for loop in (False, True):
                verdict = judged(painted(name, seed, loop, 4.0), RATE, loop, RECIPES[name].expects)
                yield "recipes", f"{name}, seed {seed}{', loop' if loop else ''}", verdict


def _recordings(folders: tuple[Path, ...]) -> Iterator[tuple[str, str, Any]]:
    for folder in folders:
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if path.suffix.lower() not in {".wav", ".oga", ".ogg", ".flac"}:
                continue
            audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
            yield "recordings", path.name, judged(np.ascontiguousarray(audio.T), rate)


def cost_row() -> dict[str, Any]:
    """What judging half a minute of stereo takes: the least of several."""
    audio = np.tile(support.CLEAN["music"](0), 4)[:, : 30 * RATE]
    best = min(_seconds(lambda: judged(audio)) for _ in range(7))
    return {"fault": "30 s of stereo are judged in, ms", "strength": round(best * 1000, 1)}


def _seconds(what: Callable[[], Any]) -> float:
    started = time.perf_counter()
    what()
    return time.perf_counter() - started


def rows() -> list[dict[str, Any]]:
    """Faults, false alarms, cost."""
    return [*fault_rows(), *clean_rows(), cost_row()]


if __name__ == "__main__":
    from benchmarks.__main__ import table

    asked = sys.argv[1:]
    for one in asked or ["faults", "clean"]:
        if one == "faults":
            print("\n".join(table([*fault_rows(), cost_row()])))
        else:
            print("\n".join(table(clean_rows() if one == "clean" else clean_rows((Path(one),)))))
