"""Clean sounds of many kinds, and the faults that generators make, each of which can be put into any of them.

All are float32 [2, T] at RATE, eight seconds, peaks well within -1..1. Left and right differ, as in a room.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.signal
from tests.support.strokes import strokes

from audio_pool.audio import Audio

RATE = 44_100
SECONDS = 8.0
FRAMES = round(SECONDS * RATE)
T = np.arange(FRAMES) / RATE
Wave = np.ndarray[tuple[int], np.dtype[np.float64]]


def _noise(seed: int) -> Wave:
    return np.random.default_rng(seed).standard_normal(FRAMES)


def _band(wave: Wave, low: float, high: float, order: int = 2) -> Wave:
    return scipy.signal.sosfilt(scipy.signal.butter(order, (low, high), "bandpass", fs=RATE, output="sos"), wave)


def _tilted(seed: int, db_per_octave: float) -> Wave:
    spectrum = np.fft.rfft(_noise(seed))
    hz = np.maximum(np.fft.rfftfreq(FRAMES, 1 / RATE), 40)
    return np.fft.irfft(spectrum * (hz / 40) ** (db_per_octave / 6.02), FRAMES)


def _wide(make: Callable[[int], Wave], seed: int, shared: float = 0.8, peak: float = 0.5) -> Audio:
    """Two channels that have much in common."""
    middle, left, right = make(seed), make(seed + 1000), make(seed + 2000)
    both = np.stack([shared * middle + (1 - shared) * left, shared * middle + (1 - shared) * right])
    return (peak * both / np.abs(both).max()).astype(np.float32)


def _fade(wave: Wave) -> Wave:
    return wave * np.minimum(1, np.minimum(T, T[::-1]) / 0.05)


def tones(seed: int) -> Audio:
    """A pad of detuned partials that swell."""
    rng = np.random.default_rng(seed)

    def make(more: int) -> Wave:
        local = np.random.default_rng(more)
        wave = np.zeros(FRAMES)
        for hz in 110 * 2 ** (rng.integers(0, 24, 5) / 12):
            for number in range(1, 6):
                swell = 1 + 0.4 * np.sin(2 * np.pi * local.uniform(0.1, 0.4) * T + local.uniform(0, 6))
                wave += swell * np.sin(2 * np.pi * hz * number * T + local.uniform(0, 6)) / number**1.5
        return _fade(wave)

    return _wide(make, seed)


def music(seed: int) -> Audio:
    """Plucked notes over a bass, with a soft reverb of noise."""

    def make(more: int) -> Wave:
        rng = np.random.default_rng(seed)
        wave = np.zeros(FRAMES)
        for beat in np.arange(0, SECONDS - 0.3, 0.25):
            first = round(beat * RATE)
            t = T[: FRAMES - first]
            hz = 220 * 2 ** (rng.choice([0, 3, 5, 7, 10, 12]) / 12)
            for number in range(1, 9):
                wave[first:] += (
                    np.sin(2 * np.pi * hz * number * t) * np.exp(-t * (3 + number)) / number * rng.uniform(0.3, 1)
                )
        tail = np.random.default_rng(more).standard_normal(RATE // 2) * np.exp(-np.arange(RATE // 2) / 6000)
        return wave + 0.02 * scipy.signal.fftconvolve(wave, tail)[:FRAMES]

    return _wide(make, seed)


def speech(seed: int) -> Audio:
    """Syllables: pulses of a gliding voice through formants, and fricatives between them, with pauses."""

    def make(more: int) -> Wave:
        rng = np.random.default_rng(seed)
        pitch = 120 * (1 + 0.15 * np.sin(2 * np.pi * 0.4 * T) + 0.05 * np.sin(2 * np.pi * 2.3 * T))
        pulses = np.diff(np.floor(np.cumsum(pitch) / RATE), prepend=0.0)
        voiced, gate, hiss = np.zeros(FRAMES), np.zeros(FRAMES), np.zeros(FRAMES)
        at = 0.05
        while at < SECONDS - 0.4:
            length = rng.uniform(0.12, 0.28)
            inside = (at < T) & (at + length > T)
            gate[inside] = np.sin(np.pi * (T[inside] - at) / length) ** 0.5
            if rng.random() < 0.4:
                inside = (at + length < T) & (at + length + 0.08 > T)
                hiss[inside] = np.sin(np.pi * (T[inside] - at - length) / 0.08)
            at += length + (rng.uniform(0.25, 0.6) if rng.random() < 0.2 else rng.uniform(0.04, 0.1))
        for hz, width in ((600, 80), (1300, 100), (2600, 140)):
            voiced += _band(pulses, hz - width, hz + width)
        room = 0.002 * _tilted(more, -4) / 10
        return voiced * gate + 0.02 * hiss * _band(_noise(seed + 5), 3500, 9000) + room * np.abs(voiced).max()

    return _wide(make, seed) * np.array([[1.0], [0.93]], np.float32)


def machine(seed: int) -> Audio:
    """A vacuum cleaner: falling noise with the lines of its motor."""

    def make(more: int) -> Wave:
        hz = 187 + seed
        wobble = 0.3 * np.sin(2 * np.pi * 0.7 * T)
        hum = sum(np.sin(2 * np.pi * (hz * number * T + number * wobble)) / number for number in range(1, 8))
        return _tilted(more, -4.5) / np.std(_tilted(more, -4.5)) + 0.5 * hum

    return _wide(make, seed, 0.6)


def kettle(seed: int) -> Audio:
    """A kettle: a rumble and a fluttering rush of bubbles that grows."""

    def make(more: int) -> Wave:
        flutter = 1 + 0.5 * np.convolve(_noise(more + 1), np.hanning(4001) / 60, "same")
        rush = _band(_noise(more), 400, 7000, 1) * np.clip(flutter, 0.2, 3)
        return (rush + _tilted(more + 2, -6) * 0.5) * (0.4 + 0.6 * T / SECONDS)

    return _wide(make, seed, 0.6)


def fire(seed: int) -> Audio:
    """A fire: rumble, a soft hiss, and crackles of all sizes."""

    def make(more: int) -> Wave:
        rng = np.random.default_rng(more)
        wave = 0.06 * _tilted(more + 2, -5) / np.std(_tilted(more + 2, -5))
        for at in rng.uniform(0, SECONDS - 0.05, 250):
            first, length = round(at * RATE), int(rng.uniform(60, 700))
            wave[first : first + length] += (
                rng.pareto(1.5) * 0.04 * rng.standard_normal(length) * np.exp(-np.arange(length) / (length / 5))
            )
        return np.clip(wave, -1.5, 1.5)

    return _wide(make, seed, 0.6)


def rain(seed: int) -> Audio:
    """Falling noise made of drops."""

    def make(more: int) -> Wave:
        rng = np.random.default_rng(more)
        drops = np.zeros(FRAMES)
        drops[rng.integers(0, FRAMES, 40_000)] = rng.exponential(1, 40_000)
        return _band(drops, 500, 4000, 1) + 0.2 * _tilted(more, -3)

    return _wide(make, seed, 0.5)


def events(seed: int) -> Audio:
    """Drips in a quiet room."""
    return strokes("drips", seed, period_s=0.9, seconds=SECONDS, floor_db=-58, colour="pink")


def ticks(seed: int) -> Audio:
    """A clock in a quiet room."""
    return strokes("clock", seed, period_s=0.7, seconds=SECONDS, floor_db=-55, colour="pink")


def ambience(seed: int) -> Audio:
    """Wind that swells, and a few birds."""

    def make(more: int) -> Wave:
        rng = np.random.default_rng(seed)
        wave = _tilted(more, -5) / np.std(_tilted(more, -5)) * (1 + 0.5 * np.sin(2 * np.pi * T / 3.1))
        for at in rng.uniform(0.2, SECONDS - 0.5, 9):
            first = round(at * RATE)
            t = np.arange(round(rng.uniform(0.06, 0.2) * RATE)) / RATE
            hz = rng.uniform(2500, 5000) + rng.uniform(-4000, 4000) * t
            wave[first : first + len(t)] += np.sin(2 * np.pi * np.cumsum(hz) / RATE) * np.hanning(len(t))
        return wave

    return _wide(make, seed, 0.6)


def square_beep(seed: int) -> Audio:
    """Three square-wave beeps, exactly flat, as in a game of 1985."""
    hz = 440 * (1 + seed % 3)
    wave = np.sign(np.sin(2 * np.pi * hz * T + 0.1)) * ((T % 0.8) < 0.4)
    return np.stack([0.4 * wave, 0.36 * wave]).astype(np.float32)


CLEAN: dict[str, Callable[[int], Audio]] = {
    "tones": tones, "music": music, "speech": speech, "machine": machine, "kettle": kettle, "fire": fire,
    "rain": rain, "events": events, "ticks": ticks, "ambience": ambience, "square beep": square_beep,
}  # fmt: skip


def _rms(audio: Audio) -> float:
    return float(np.sqrt(np.square(audio, dtype=np.float64).mean()))


def _added(audio: Audio, noise: np.ndarray, db: float) -> Audio:
    return (audio + noise / noise.std() * _rms(audio) * 10 ** (db / 20)).astype(np.float32)


def _white(seed: int = 77) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((2, FRAMES))


def _filtered(noise: np.ndarray, kind: str, hz: object, order: int = 8) -> np.ndarray:
    return scipy.signal.sosfilt(scipy.signal.butter(order, hz, kind, fs=RATE, output="sos"), noise)


def _hiss(band: tuple[float, float], db: float) -> Callable[[Audio], Audio]:
    return lambda audio: _added(audio, _filtered(_white(), "bandpass", band), db)


def _at(seconds: float) -> int:
    return round(seconds * RATE)


def _silent_start(audio: Audio) -> Audio:
    out = audio.copy()
    out[:, : _at(3.2)] = 0
    return out


def _silent_end(audio: Audio) -> Audio:
    return _silent_start(audio[:, ::-1])[:, ::-1].copy()


def _dropouts(audio: Audio) -> Audio:
    out = audio.copy()
    for at, length in ((1.3, 0.08), (3.11, 0.12), (5.77, 0.05), (6.4, 0.1)):
        out[:, _at(at) : _at(at + length)] = 0
    return out


def _stuck(audio: Audio) -> Audio:
    """A tenth of a second, the loudest, eight times over."""
    out = audio.copy()
    step = _at(0.1)
    levels = np.square(out[:, : 60 * step].reshape(2, 60, step)).sum(axis=(0, 2))
    at = int(np.argmax(levels[5:])) + 5
    out[:, at * step : (at + 8) * step] = np.tile(out[:, at * step : (at + 1) * step], 8)
    return out


def _inverted(audio: Audio) -> Audio:
    return np.stack([audio[0], -audio[0]])


def _one_side_down(audio: Audio) -> Audio:
    return audio * np.array([[1.0], [0.1]], np.float32)


def _comb(audio: Audio) -> Audio:
    delay = _at(0.0063)
    out = scipy.signal.lfilter([1.0], [1.0, *[0.0] * (delay - 1), -0.9], audio)
    return (0.5 * out / np.abs(out).max()).astype(np.float32)


def _whistle(audio: Audio) -> Audio:
    line = np.sin(2 * np.pi * 15_734 * T)
    return _added(audio, np.stack([line, line]), -25)


def _clipped(audio: Audio) -> Audio:
    return np.clip(4 * audio / np.percentile(np.abs(audio), 99.5), -1, 1).astype(np.float32) * np.float32(0.7)


def _clipped_low_passed(audio: Audio) -> Audio:
    return (0.8 * _filtered(_clipped(audio), "lowpass", 9_000, 4)).astype(np.float32)


def _mostly_noise(audio: Audio) -> Audio:
    out = audio.copy()
    out[:, _at(2) :] = (_rms(audio) * _white()[:, _at(2) :]).astype(np.float32)
    return out


def _with_nan(audio: Audio) -> Audio:
    out = audio.copy()
    out[0, 999] = np.nan
    return out


def _headless(audio: Audio) -> Audio:
    """A gong of which the first moment is missing."""
    decay = np.exp(-T / 0.9) * np.cos(2 * np.pi * 210 * T)
    return (0.5 * decay + 0.02 * audio).astype(np.float32)


QUIET = ("events", "ticks", "speech", "tones", "music")
"""Materials in whose pauses or whose upper bands added noise is heard."""
STEADY = ("tones", "music", "machine", "kettle", "rain", "ambience")
"""Materials that never pause: a hole is a hole."""
NOISY = ("machine", "kettle", "fire", "rain", "ambience")
"""Materials in which a repetition or a resonance is none of their own tones."""
ALL = tuple(name for name in CLEAN if name != "square beep")

FAULTS: dict[str, tuple[str, Callable[[Audio], Audio], tuple[str, ...]]] = {
    "not a number": ("nan", _with_nan, ("tones", "rain")),
    "one frame short": ("wrong_length", lambda audio: audio[:, :-1], ("tones", "rain")),
    "silence": ("silence", lambda audio: audio * np.float32(5e-4), ("tones", "rain", "speech")),
    "RMS under 0.005": ("faint", lambda audio: audio * np.float32(0.003 / _rms(audio)), ("tones", "machine", "rain")),
    "silent start": ("silent_start", _silent_start, (*STEADY, "speech", "fire")),
    "silent end": ("dead_tail", _silent_end, (*STEADY, "speech")),
    "dropouts": ("dropouts", _dropouts, STEADY),
    "stuck": ("stuck", _stuck, ("machine", "kettle", "rain", "ambience", "speech")),
    "inverted": ("out_of_phase", _inverted, ALL),
    "one side 20 dB down": ("unbalanced", _one_side_down, ALL),
    "one side empty": ("mono_in_stereo", lambda audio: audio * np.array([[1], [0]], np.float32), ("tones", "fire")),
    "mono in stereo": ("mono_in_stereo", lambda audio: audio[[0, 0]], ("music", "rain")),
    "white hiss": ("hiss", lambda audio: _added(audio, _white(), -15), QUIET),
    "hiss above 14 kHz, 0 dB": ("hiss", _hiss((14_000, 20_000), 0), ALL),
    "hiss above 14 kHz, -20 dB": ("hiss", _hiss((14_000, 20_000), -20), (*QUIET, "ambience")),
    "hiss of 8 to 12 kHz, -25 dB": ("hiss", _hiss((8_000, 12_000), -25), QUIET),
    "noise at -20 dB": ("hiss", lambda audio: _added(audio, _white(), -20), QUIET),
    "six of eight seconds of noise": ("hiss", _mostly_noise, ALL),
    "all noise": ("hiss", lambda audio: (_rms(audio) * _white()).astype(np.float32), ("tones",)),
    "comb ringing": ("comb_ringing", _comb, (*NOISY, "ticks")),
    "whistle of 15.7 kHz": ("whistle", _whistle, ALL),
    "clipping": ("clipping", _clipped, ("tones", "music", "speech", "machine", "rain", "ambience")),
    "clipping, then a low-pass": ("clipping", _clipped_low_passed, ("tones", "music", "machine", "ambience")),
    "offset": ("dc", lambda audio: audio + np.float32(0.3 * _rms(audio)), ("tones", "rain", "speech")),
    "cut-off start": ("cut_off_start", _headless, ("events", "ticks")),
}  # fmt: skip
"""By name: the issue, how it is put in, and the materials in which it is one."""
