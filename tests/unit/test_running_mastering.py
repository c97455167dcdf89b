"""Mastering piece by piece: what comes of any pieces is what comes of the whole, and stays under its ceiling."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.support.recipes import recipe

from audio_pool.audio import Audio, codec, edges, filter, limiter, loudness
from audio_pool.audio.bandwidth import bandwidth_hz, spectral_edge_hz
from audio_pool.audio.running_filter import RunningHighpass, RunningResampler
from audio_pool.audio.running_limiter import RunningFades, RunningLimiter
from audio_pool.audio.samples import Quantizer, write_samples
from audio_pool.audio.stored_samples import opened, streamed_wav_head
from audio_pool.engine_info import Notes
from audio_pool.errors import InvalidAudio, QualityError
from audio_pool.results import SoundMetadata
from audio_pool.tasks import MasteringSpec
from audio_pool.types import Rendition, Shape
from audio_pool.worker.mastering import AllRejected
from audio_pool.worker.stream_mastering import Samples, StreamMastering

RATE = 44_100
RNG = np.random.default_rng(5)
CUTS = (1, 5, 20_000, 777, 44_100, 3)


def noise(seconds: float, rate: int, channels: int = 1) -> Audio:
    """White noise of RMS 0.3, the same each time."""
    frames = round(seconds * rate)
    return 0.3 * np.random.default_rng(7).standard_normal((channels, frames)).astype(np.float32)


def in_pieces(sound: Audio, cuts: Iterable[int] = CUTS) -> list[Audio]:
    """The sound in pieces of these lengths, again and again."""
    pieces, at, cuts = [], 0, list(cuts)
    while at < sound.shape[1]:
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(sound[:, at : at + size])
        at += size
    return pieces


def test_the_high_pass_of_pieces_is_that_of_the_whole() -> None:
    sound = noise(3.0, RATE, channels=2) + 0.1
    running = RunningHighpass(sound, RATE, 80.0)
    out = np.concatenate([running.push(piece) for piece in in_pieces(sound)], axis=1)
    np.testing.assert_allclose(out, filter.highpass(sound, RATE, 80.0), atol=1e-6)


@pytest.mark.parametrize("rate", [16_000, 24_000, 48_000])
def test_pieces_at_another_rate_are_the_whole_at_it(rate: int) -> None:
    sound = noise(1.5, rate, channels=2)
    running = RunningResampler(2, rate, RATE)
    pieces = in_pieces(sound)
    out = [running.push(piece, last=number == len(pieces)) for number, piece in enumerate(pieces, 1)]
    whole = filter.resample(sound, rate, RATE)
    np.testing.assert_array_equal(np.concatenate(out, axis=1)[:, : whole.shape[1]], whole)


def limited(sound: Audio, ceiling: float, cuts: Iterable[int] = CUTS) -> tuple[Audio, float]:
    running = RunningLimiter(len(sound), RATE, ceiling)
    out = [running.push(piece) for piece in in_pieces(sound, cuts)]
    return np.concatenate([*out, running.end()], axis=1), running.deepest_db


T = np.arange(2 * RATE) / RATE
HARD: dict[str, Any] = {
    "square": np.sign(np.sin(2 * np.pi * 997 * T)),
    "between samples": np.sin(2 * np.pi * RATE / 4 * T + np.pi / 4),
    "near the rate's half": np.sin(2 * np.pi * 20_000.3 * T),
    "noise": RNG.uniform(-1, 1, len(T)),
    "clicks": (RNG.random(len(T)) < 0.001) * 1.0,
    "a burst": np.where((T > 0.8) & (T < 1.0), 1.0, 0.01) * np.sin(2 * np.pi * 60 * T),
    "from its first sample": np.exp(-5 * T) * RNG.uniform(-1, 1, len(T)),
}


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("gain", [1.5, 6.0])
def test_no_peak_passes_the_ceiling(name: str, gain: float) -> None:
    sound = np.stack([gain * HARD[name], 0.5 * gain * HARD[name]]).astype(np.float32)
    out, deepest = limited(sound, -1.0)
    assert out.shape == sound.shape and loudness.true_peak_dbfs(out, RATE) <= -1.0
    assert deepest > 20 * np.log10(gain) - 3


def test_what_is_limited_depends_on_no_pieces_and_is_about_what_the_whole_is() -> None:
    sound = 0.2 * noise(3.0, RATE, channels=2)
    sound[:, RATE : 2 * RATE] *= 4
    out, deepest = limited(sound, -9.0)
    again, _ = limited(sound, -9.0, [10**9])
    np.testing.assert_array_equal(out, again)
    whole, whole_deepest = limiter.limited(sound, RATE, -9.0)
    assert deepest == pytest.approx(whole_deepest, abs=1.0)
    np.testing.assert_allclose(out, whole, atol=0.05)


def test_what_is_under_the_ceiling_is_left_as_it_is() -> None:
    sound = 0.05 * noise(1.0, RATE)
    out, deepest = limited(sound, -1.0)
    np.testing.assert_array_equal(out, sound)
    assert deepest == 0


@pytest.mark.parametrize("seconds", [0.004, 0.05, 1.0])
@pytest.mark.parametrize("shape", ["swings", "rests"])
def test_edges_of_pieces_are_faded_as_those_of_the_whole(seconds: float, shape: str) -> None:
    sound = noise(seconds, RATE, channels=2)
    if shape == "rests":
        sound[:, :10] = sound[:, -10:] = 0
    running = RunningFades(sound, RATE, sound.shape[1])
    out = np.concatenate([*(running.push(piece) for piece in in_pieces(sound)), running.end()], axis=1)
    np.testing.assert_array_equal(out, edges.faded(sound.copy(), RATE))


@pytest.mark.parametrize("depth", [16, 24, 32])
def test_quantised_pieces_are_the_samples_of_the_file_written_of_them(depth: int, tmp_path: Path) -> None:
    sound = 0.3 * noise(0.5, RATE, channels=2)
    quantizer = Quantizer(depth)
    pieces = [quantizer.push(piece) for piece in in_pieces(sound)]
    path = tmp_path / "a.wav"
    write_samples(path, pieces, RATE, 2, "wav", depth, '{"prompt": "rain"}')
    audio, rate = codec.read(path)
    assert rate == RATE and audio.shape == sound.shape
    np.testing.assert_allclose(audio, sound, atol=2 * 2.0 ** (1 - depth) if depth < 32 else 0)
    assert codec.inspect(path)["recipe"] == {"prompt": "rain"}
    stored = opened(path, 0)
    assert (stored.frames, stored.channels, stored.sample_rate, stored.bit_depth) == (sound.shape[1], 2, RATE, depth)
    assert stored.read(0, 10**9) == b"".join(pieces)
    assert stored.read(100, 50) == b"".join(pieces)[100 * stored.frame_bytes : 150 * stored.frame_bytes]
    stored.close()
    head = tmp_path / "streamed.wav"
    for frames in (None, sound.shape[1]):
        head.write_bytes(streamed_wav_head(RATE, 2, depth, frames) + b"".join(pieces))
        assert soundfile.info(head).frames == sound.shape[1]


def test_no_wav_of_another_kind_is_taken_for_samples(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(100), RATE, subtype="PCM_U8")
    with pytest.raises(InvalidAudio, match="not a WAV of 16 or 24 bits"):
        opened(path, 0)


# -- the whole way


def streaming(tmp_path: Path, emit: Callable[[Samples], None], seconds: float, **changes: Any) -> StreamMastering:
    rendition = Rendition(
        format=changes.pop("format", "wav"),
        sample_rate=changes.pop("rate", RATE),
        bit_depth=16,
        target_lufs=-23.0,
        true_peak_dbfs=-2.0,
        mono=changes.pop("mono", False),
        limiter=changes.pop("limiter", False),
    )
    shape = Shape(
        sample_rate=RATE, frames=round(seconds * RATE), loop=False, tail_s=0.0, highpass_hz=80.0, highpass_order=4
    )
    spec = MasteringSpec(
        shape=shape, rendition=rendition, directory=str(tmp_path), name="s", tau_accept_new=None,
        metadata=SoundMetadata(prompt="x"),
    )  # fmt: skip
    settled = {"seed": 1, "sample_rate": RATE, "notes": Notes(expects=frozenset({"noise"})), "gated": True}
    return StreamMastering(
        recipe=recipe(prompt="x"), spec=spec, pieces="engine", emit=emit, **(settled | changes)
    )


def mastered(tmp_path: Path, sound: Audio, cuts: Iterable[int], **changes: Any) -> tuple[bytes, Any, list[Samples]]:
    sent: list[Samples] = []
    rate = changes.get("sample_rate", RATE)
    one = streaming(tmp_path, sent.append, sound.shape[1] / rate, **changes)
    for piece in in_pieces(sound, cuts):
        one.push(piece)
    one.end()
    finished = one.finish(SoundMetadata(prompt="x"), None).sound
    return b"".join(samples.data for samples in sent), finished, sent


@pytest.mark.parametrize("changes", [
    {}, {"mono": True, "format": "pcm", "rate": 24_000}, {"sample_rate": 16_000},
    {"sample_rate": 24_000, "rate": 48_000},
], ids=str)  # fmt: skip
def test_what_is_sent_is_the_file_whatever_the_pieces(tmp_path: Path, changes: dict[str, Any]) -> None:
    rate = changes.get("sample_rate", RATE)
    sound = 0.1 * noise(5.0, rate, channels=2)
    sound[:, 4 * rate :] *= 6
    data, finished, sent = mastered(tmp_path, sound, (rate,), **changes)
    stored = opened(Path(finished.delivered_path), 24_000)
    assert stored.read(0, 10**9) == data
    stored.close()
    assert [samples.start for samples in sent] == [sum(one.frames for one in sent[:n]) for n in range(len(sent))]
    told = finished.delivered.applied(finished.metadata)
    assert told.duration_s == pytest.approx(5.0, abs=1e-3) and told.sample_rate == changes.get("rate", RATE)
    assert told.true_peak_dbfs <= -2.0 and told.stream.limited_db > 0
    master, _ = codec.read(Path(finished.path))
    assert master.shape == (2, 5 * RATE) and loudness.true_peak_dbfs(master, RATE) <= -2.0
    assert loudness.loudness_lufs(master[:, : 3 * RATE], RATE) == pytest.approx(-23, abs=0.1)  # its beginning
    assert finished.metadata.loudness_lufs == pytest.approx(loudness.loudness_lufs(master, RATE), abs=0.02)
    other, _, _ = mastered(tmp_path, sound, (3 * rate, 1, 999), **changes)
    assert other == data


def test_the_first_samples_leave_when_three_seconds_are_there(tmp_path: Path) -> None:
    sent: list[Samples] = []
    one = streaming(tmp_path, sent.append, 8.0)
    sound = 0.1 * noise(8.0, RATE, channels=2)
    for number, piece in enumerate(in_pieces(sound, (RATE,)), 1):
        one.push(piece)
        assert bool(sent) == (number >= 3)
    assert sum(samples.frames for samples in sent) > 7.5 * RATE


def test_a_quiet_beginning_is_not_raised_without_bounds(tmp_path: Path) -> None:
    sound = noise(6.0, RATE, channels=2)
    sound[:, : 4 * RATE] *= 1e-4
    _, finished, _ = mastered(tmp_path, sound, (RATE,), gated=False)
    assert finished.metadata.stream.gain_db == 20


def test_the_verdict_comes_at_the_end(tmp_path: Path) -> None:
    sound = np.zeros((2, 4 * RATE), np.float32)
    with pytest.raises(AllRejected):
        mastered(tmp_path, sound, (RATE,), notes=Notes())


def test_what_is_no_number_ends_a_stream(tmp_path: Path) -> None:
    one = streaming(tmp_path, lambda samples: None, 4.0)
    with pytest.raises(QualityError, match="no numbers"):
        one.push(np.full((2, 100), np.nan, np.float32))


# -- bandwidth


@pytest.mark.parametrize("rate", [16_000, 24_000, 32_000])
def test_nothing_is_mirrored_and_the_band_is_flat(rate: int) -> None:
    """A tone at nine tenths of the old band keeps its level, and has no image above."""
    hz = 0.9 * rate / 2
    tone = np.sin(2 * np.pi * hz * np.arange(2 * rate) / rate).astype(np.float32)[None]
    out = filter.resample(tone, rate, RATE)[0, RATE // 2 : RATE // 2 * 3].astype(np.float64)
    window = np.kaiser(len(out), 20)
    spectrum = 2 * np.abs(np.fft.rfft(out * window)) / window.sum()
    at = np.fft.rfftfreq(len(out), 1 / RATE)
    assert 20 * np.log10(spectrum[np.abs(at - hz) < 5].max()) == pytest.approx(0, abs=0.05)
    assert 20 * np.log10(spectrum[at > rate / 2].max()) < -125  # float32 rounds at about -150


@pytest.mark.parametrize("rate", [16_000, 24_000, 32_000, 44_100])
def test_bandwidth_is_that_of_the_rate_a_sound_was_made_at(rate: int) -> None:
    sound = filter.resample(noise(2.0, rate, channels=2), rate, RATE)
    assert bandwidth_hz(sound, RATE, rate / 2) == pytest.approx(rate / 2, rel=0.03)
    assert bandwidth_hz(sound, RATE, None, rate / 2) <= rate / 2
    assert spectral_edge_hz(sound, RATE) == pytest.approx(min(rate, RATE) / 2, rel=0.03)


@pytest.mark.parametrize("hz", [60.0, 997.0, 8_000.0, 19_000.0])
@pytest.mark.parametrize("seconds", [0.06, 1.0, 40.0])
def test_the_edge_of_a_tone_is_the_tone(hz: float, seconds: float) -> None:
    tone = 0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE).astype(np.float32)[None]
    fade = min(1000, tone.shape[1] // 4)
    tone[:, :fade] *= edges.fade_ramp(fade)
    tone[:, -fade:] *= edges.fade_ramp(fade)[::-1]
    edge = spectral_edge_hz(tone, RATE)
    assert edge is not None and hz - 50 <= edge <= hz + (150 if seconds >= 1 else 2500)


def test_silence_has_no_edge() -> None:
    assert spectral_edge_hz(np.zeros((1, 10_000), np.float32), RATE) is None
