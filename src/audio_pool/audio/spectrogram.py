"""A picture of a sound: log-mel spectrogram under its wave.

Owns: the only use of librosa and matplotlib, both of the extra ``plots``.
Must not know: where the sound comes from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from audio_pool.audio import Audio
from audio_pool.errors import EngineUnavailable, InvalidAudio, StorageError

__all__ = ["write_png"]

_DYNAMIC_DB = 80.0
_MOST_HZ = 20_000
_WINDOW_S = 0.05


def write_png(path: Path, audio: Audio, sample_rate: int, title: str = "") -> None:
    """Writes a PNG of 1,000 by 500 pixels: the wave, and up to 128 mel bands over time down to -80 dB.

    Args:
        audio: float32 [C, T]; channels are averaged for the spectrogram and drawn over each other.

    Raises:
        EngineUnavailable: the extra is not installed. InvalidAudio: nothing to draw.
        StorageError: the file cannot be written.
    """
    librosa, figures, canvases = _libraries()
    if audio.ndim != 2 or audio.shape[1] == 0 or not np.isfinite(audio).all():
        raise InvalidAudio(f"cannot draw audio of shape {audio.shape}: it must be [C, T], not empty, all finite")
    # the object interface, not pyplot: no global state, no display
    figure = figures.Figure(figsize=(10, 5), dpi=100, layout="constrained")
    canvases.FigureCanvasAgg(figure)
    wave, picture = figure.subplots(2, 1, height_ratios=(1, 3), sharex=True)
    _draw_wave(wave, audio, sample_rate, title)
    _draw_spectrogram(figure, picture, librosa, audio, sample_rate)
    try:
        figure.savefig(path, format="png")
    except OSError as exc:
        raise StorageError(f"the picture {str(path)!r} cannot be written: {exc.strerror}") from exc


def _libraries() -> tuple[Any, Any, Any]:
    try:
        import librosa
        import matplotlib.backends.backend_agg as canvases
        import matplotlib.figure as figures
    except ImportError as exc:
        raise EngineUnavailable(
            f"a spectrogram needs {exc.name}, which is not installed", hint="pip install 'audio-pool[plots]'"
        ) from exc
    return librosa, figures, canvases


def _draw_wave(axes: Any, audio: Audio, sample_rate: int, title: str) -> None:
    columns = min(1000, audio.shape[1])
    starts = np.linspace(0, audio.shape[1], columns, endpoint=False).astype(np.int64)
    times = starts / sample_rate
    for channel in audio:
        low, high = np.minimum.reduceat(channel, starts), np.maximum.reduceat(channel, starts)
        axes.fill_between(times, low, high, linewidth=0.5, alpha=0.6)
    axes.set_ylim(-1, 1)
    axes.set_ylabel("full scale")
    axes.set_title(title, fontsize=10)


def _draw_spectrogram(figure: Any, axes: Any, librosa: Any, audio: Audio, sample_rate: int) -> None:
    size = 1 << max(6, min(round(_WINDOW_S * sample_rate), audio.shape[1]).bit_length() - 1)
    hop = max(size // 8, audio.shape[1] // 2000)
    mono = np.pad(audio.mean(axis=0), (0, max(0, size - audio.shape[1])))
    top = min(_MOST_HZ, sample_rate / 2)
    # a band narrower than a bin of the transform would stay empty; below 1 kHz a mel is 66.7 Hz wide
    finest = librosa.hz_to_mel(top) * 66.7 * size / sample_rate
    bands = max(4, min(128, int(0.8 * finest)))
    power = librosa.feature.melspectrogram(y=mono, sr=sample_rate, n_fft=size, hop_length=hop, n_mels=bands, fmax=top)
    levels = librosa.power_to_db(power, ref=max(float(power.max()), 1e-10), top_db=_DYNAMIC_DB)
    times = np.arange(levels.shape[1]) * hop / sample_rate
    hz = librosa.mel_frequencies(n_mels=bands, fmax=top)
    mesh = axes.pcolormesh(times, hz, levels, vmin=-_DYNAMIC_DB, vmax=0, cmap="magma", shading="nearest")
    axes.set_yscale("symlog", linthresh=1000)
    axes.set_yticks([100, 500, 1000, 2000, 5000, 10_000], ["100", "500", "1k", "2k", "5k", "10k"])
    axes.set_ylim(0, top)
    axes.set_ylabel("Hz")
    axes.set_xlabel("s")
    figure.colorbar(mesh, ax=axes, label="dB")
