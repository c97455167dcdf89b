"""Sound files: write them with recipe and loop points, read and inspect them.

Owns: encodings and tags, the only use of soundfile.
Must not know: where files are stored, the contents of a recipe.

libsndfile encodes. What it lacks is done here or by tags.py: quantisation with dither, loop points, tags.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from audio_pool.audio import Audio, riff
from audio_pool.audio.bit_rate import BIT_RATE_FORMATS, settings_for
from audio_pool.audio.file_rates import file_warnings, nearest_rate
from audio_pool.audio.filter import resample
from audio_pool.audio.kernels import in_24_bits
from audio_pool.audio.loop_tags import read_loop_tags
from audio_pool.audio.stamps import steady
from audio_pool.audio.storing import ErrorRecorder, storing
from audio_pool.audio.tags import read_comment, read_tags, write_tags
from audio_pool.errors import InvalidAudio, InvalidRequest, NotFound
from audio_pool.plain_tags import facts_in

__all__ = [
    "OWN",
    "UNKNOWN_FRAMES",
    "InputBound",
    "Written",
    "bit_depth_for",
    "dithered",
    "inspect",
    "master_bytes",
    "nearest_rate",
    "read",
    "read_back",
    "samples_file",
    "write",
]

BLOCK_FRAMES = 65_536
"""libsndfile's Vorbis encoder overflows the stack on long single writes."""
UNKNOWN_FRAMES = 1 << 62
"""libsndfile's way to say that a header does not say how long the sound is."""

_CONTAINER = {
    "wav": "WAV", "flac": "FLAC", "ogg": "OGG", "opus": "OGG", "mp3": "MP3", "pcm": "RAW", "ulaw": "RAW", "alaw": "RAW",
}  # fmt: skip
_TOLD_BEHIND = ("WAV", "OGG", "MP3", "RAW")
"""What gets its comment afterwards, or none: libsndfile writes no long ones."""
_LOSSY_CODEC = {"ogg": "VORBIS", "opus": "OPUS", "mp3": "MPEG_LAYER_III", "ulaw": "ULAW", "alaw": "ALAW"}
_DEPTHS = {"wav": (16, 24, 32), "flac": (16, 24), "pcm": (16,)}
_FLAC_EFFORT = 0.375
"""0..1: as fast as any, with files of the default's size for noise and a fifth more for tones."""
_LOSSY_EFFORT = {"ogg": 0.4, "opus": 0.4, "mp3": 0.3}
"""0 (largest file) to 1 (smallest)."""


@dataclass(frozen=True, kw_only=True)
class InputBound:
    """How much of a file is decoded: a few bytes can stand for hours, and a rate for any amount of work."""

    rates: tuple[int, int] = (1_000, 384_000)
    """Lowest and highest, in Hz."""
    seconds: float = 600.0
    samples_per_second: int = 2 * 48_000
    """Of all channels, on the average over ``seconds``: ten minutes of stereo at 48 kHz fit, or two and a half at
    192 kHz."""

    def refuse(self, path: Path, frames: int, channels: int, rate: int) -> None:
        """Raise InvalidAudio for a sound that is longer, has more samples, or a rate that no sound has."""
        low, high = self.rates
        if not low <= rate <= high:
            raise InvalidAudio(f"{path}: given a sound at {rate:,} Hz, allowed is {low:,} to {high:,} Hz")
        most = int(self.seconds * self.samples_per_second)
        if frames > self.seconds * rate:
            raise InvalidAudio(f"{path}: {frames / rate:,.1f} s of sound, allowed are {self.seconds:,.1f} s")
        if frames * channels > most:
            raise InvalidAudio(
                f"{path}: {frames * channels:,} samples ({channels} channels at {rate:,} Hz), allowed are {most:,}"
            )


OWN = InputBound(seconds=900.0, samples_per_second=2 * 192_000)
"""Of files that this package has written, or that their owner looks at."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """A written file's properties; the codec may need another rate than requested."""

    sample_rate: int
    frames: int
    warnings: tuple[str, ...] = ()


def bit_depth_for(format: str, bit_depth: int) -> int | None:
    """Return ``bit_depth`` where ``format`` has one, None where it is lossy.

    Raises:
        InvalidRequest: a format or depth that does not exist.
    """
    if format in _LOSSY_CODEC:
        return None
    if format not in _DEPTHS:
        raise InvalidRequest(f"format: given {format!r}, allowed is one of {', '.join(_CONTAINER)}")
    if bit_depth not in _DEPTHS[format]:
        allowed = ", ".join(str(depth) for depth in _DEPTHS[format])
        raise InvalidRequest(f"bit depth: given {bit_depth}, allowed for {format} is one of {allowed}")
    return bit_depth


def write(
    path: Path,
    audio: Audio,
    sample_rate: int,
    format: str,
    bit_depth: int,
    comment: str,
    loop: bool,
    bit_rate: int | None = None,
) -> Written:
    """Encode to ``path`` and fsync it. The caller renames; an error leaves no file.

    24 bits are rounded, 16 get triangular dither of two steps (from a fixed seed: the same sound gives the
    same samples), except digital silence, which is kept.

    Args:
        audio: float32 [C, T]; clipped to -1..1, except in 32-bit float.
        format: wav, flac, ogg, opus or mp3; pcm (little-endian), ulaw or alaw, which have no header and say nothing of
            the sound.
        bit_depth: 16, 24 or 32 (float, WAV only); ignored by lossy formats.
        comment: the recipe as compact JSON.
        bit_rate: kilobits a second, mp3 and opus only; None: by quality.
        loop: write loop points (WAV, FLAC, OGG), resample periodically (Opus, MP3), and warn where the format cannot
            loop.

    Raises:
        InvalidRequest: format or depth. InvalidAudio: not finite, empty, or refused by the encoder.
        StorageError: the disk is full, or the file cannot be created.
    """
    depth = bit_depth_for(format, bit_depth)
    _check(audio)
    rate = nearest_rate(format, sample_rate)
    if rate != sample_rate:
        audio = resample(audio, sample_rate, rate, circular=loop)
    with storing(path), _refused(format, rate, audio):
        _encode(path, audio, rate, format, depth, comment, bit_rate)
        steady(path, format)
        write_tags(path, format, audio.shape[1], rate, comment, loop)
        with path.open("rb") as file:
            os.fsync(file.fileno())
    return Written(sample_rate=rate, frames=audio.shape[1], warnings=file_warnings(format, sample_rate, loop))


@contextlib.contextmanager
def samples_file(
    path: Path, sample_rate: int, channels: int, format: str, bit_depth: int
) -> Iterator[soundfile.SoundFile]:
    """Open a wav or pcm file to be written with samples that are quantised: int32 in the topmost bits, or float32."""
    container = _CONTAINER[format]
    with path.open("wb", buffering=0) as raw:
        recorder = ErrorRecorder(raw)
        try:
            with soundfile.SoundFile(
                recorder, "w", samplerate=sample_rate, channels=channels, format=container,
                subtype="FLOAT" if bit_depth == 32 else f"PCM_{bit_depth}",
                endian="LITTLE" if container == "RAW" else None,
            ) as file:  # fmt: skip
                yield file
        finally:
            if recorder.error is not None:
                raise recorder.error


def master_bytes(audio: Audio, sample_rate: int) -> memoryview:
    """Encode a 24-bit FLAC, without comments, in memory; see ``write``.

    Raises:
        InvalidAudio: not finite, empty, or refused by the encoder.
    """
    _check(audio)
    out = BytesIO()
    with _refused("flac", sample_rate, audio):
        _encode_into(out, audio, sample_rate, "flac", 24, "", None)
    return out.getbuffer()


def _check(audio: Audio) -> None:
    if audio.ndim != 2 or audio.shape[1] == 0 or not np.isfinite(audio).all():
        raise InvalidAudio(f"cannot write audio of shape {audio.shape}: it must be [C, T], not empty, all finite")


@contextlib.contextmanager
def _refused(format: str, rate: int, audio: Audio) -> Iterator[None]:
    try:
        yield
    except soundfile.LibsndfileError as exc:
        raise InvalidAudio(f"{format} at {rate} Hz, {audio.shape[0]} channels cannot be written: {exc}") from exc


def _encode(
    path: Path, audio: Audio, rate: int, format: str, depth: int | None, comment: str, bit_rate: int | None
) -> None:
    with path.open("wb", buffering=0) as file:
        recorder = ErrorRecorder(file)
        try:
            _encode_into(recorder, audio, rate, format, depth, comment, bit_rate)
        finally:
            if recorder.error is not None:
                raise recorder.error


def _encode_into(
    out: ErrorRecorder | BytesIO,
    audio: Audio,
    rate: int,
    format: str,
    depth: int | None,
    comment: str,
    bit_rate: int | None,
) -> None:
    container = _CONTAINER[format]
    if depth is None:
        subtype, effort = _LOSSY_CODEC[format], _LOSSY_EFFORT.get(format)
    else:
        subtype = "FLOAT" if depth == 32 else f"PCM_{depth}"
        effort = _FLAC_EFFORT if format == "flac" else None
    mode = None
    if bit_rate is not None and format in BIT_RATE_FORMATS:
        effort, mode = settings_for(format, bit_rate, rate, audio.shape[0])
    with soundfile.SoundFile(
        out,
        "w",
        samplerate=rate,
        channels=audio.shape[0],
        subtype=subtype,
        format=container,
        endian="LITTLE" if container == "RAW" else None,
        compression_level=effort,
        bitrate_mode=mode,
    ) as file:
        if comment and container not in _TOLD_BEHIND:
            file.comment = comment
        noise = np.random.default_rng(0)
        for start in range(0, audio.shape[1], BLOCK_FRAMES):
            block = audio[:, start : start + BLOCK_FRAMES]
            if depth == 24:
                file.write(in_24_bits(block))
            elif depth == 16:
                file.write(dithered(block.T, _triangular(noise, block.T.shape)))
            else:
                file.write(np.ascontiguousarray(block.T))


def _triangular(noise: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    dither = noise.random(shape, np.float32)
    dither -= noise.random(shape, np.float32)
    return dither


def dithered(block: Audio, dither: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """Quantise [T, C] to 16 bits: int32, in the topmost bits as libsndfile expects.

    Args:
        dither: [T, C], in steps.
    """
    full = np.float32(1 << 15)
    steps = np.multiply(block, full, order="C")
    np.add(steps, dither, out=steps, where=block != 0)
    np.clip(np.rint(steps, out=steps), -full, full - 1, out=steps)
    steps *= np.float32(1 << 16)
    return steps.astype(np.int32)


def read(path: Path, bound: InputBound = OWN) -> tuple[Audio, int]:
    """Read a sound file: float32 [C, T] and its sample rate in Hz.

    Args:
        bound: what the header says is checked before anything is decoded, and what comes of it while decoding.

    Raises:
        NotFound: no such file. InvalidAudio: not a sound file, cut short, or more than ``bound``.
    """
    with _opened(path) as file:
        frames, rate = file.frames, file.samplerate
        if file.format in ("WAV", "WAVEX"):
            _check_riff_size(path)
        try:
            if frames >= UNKNOWN_FRAMES:
                audio = _read_unknown(path, file, bound)
                frames = len(audio)
            else:
                bound.refuse(path, frames, file.channels, rate)
                audio = file.read(dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as exc:
            raise InvalidAudio(f"{path}: the audio in it is damaged: {exc}") from exc
    if len(audio) < frames:
        raise InvalidAudio(f"{path}: cut short: {len(audio)} of {frames} frames can be read")
    return np.ascontiguousarray(audio.T), rate


def read_back(path: Path, format: str, sample_rate: int, channels: int) -> tuple[Audio, int]:
    """Read what was just written: as ``read``, and without a header, too."""
    if _CONTAINER[format] != "RAW":
        return read(path)
    subtype = _LOSSY_CODEC.get(format, "PCM_16")
    with soundfile.SoundFile(
        path, samplerate=sample_rate, channels=channels, format="RAW", subtype=subtype, endian="LITTLE"
    ) as file:
        audio = file.read(dtype="float32", always_2d=True)
    return np.ascontiguousarray(audio.T), sample_rate


def _read_unknown(path: Path, file: soundfile.SoundFile, bound: InputBound) -> npt.NDArray[np.float32]:
    """Decode a file whose header does not say how long it is: float32 [T, C], block by block up to ``bound``."""
    file.seekable = lambda: False  # else soundfile seeks to where it is after each block: an error at such a file's end
    blocks, frames = [], 0
    while len(block := file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)):
        frames += len(block)
        bound.refuse(path, frames, file.channels, file.samplerate)
        blocks.append(block)
    return np.concatenate(blocks) if blocks else np.zeros((0, file.channels), np.float32)


def inspect(path: Path) -> dict[str, Any]:
    """Read a sound file's header, tags and loop points without decoding it.

    Returns:
        path, format, encoding, bit_depth (None where lossy), sample_rate, channels, frames, duration_s,
        loop ({start, end} in frames, end included, or None), comment (str), recipe (the comment as a
        mapping, None where it is none), tags (by name, what it says in plain words of its origin).

    Raises:
        NotFound, InvalidAudio.
    """
    with _opened(path) as file:
        found: dict[str, Any] = {
            "path": str(path),
            "format": _format_of(file.format, file.subtype),
            "encoding": file.subtype.lower(),
            "bit_depth": {"PCM_16": 16, "PCM_24": 24, "FLOAT": 32}.get(file.subtype),
            "sample_rate": file.samplerate,
            "channels": file.channels,
            "frames": file.frames,
            "duration_s": file.frames / file.samplerate,
            "loop": None,
            "comment": file.comment,
        }
    if found["format"] == "wav":
        with path.open("rb") as raw:
            told = ""
            for name, body in riff.chunks(raw):
                if name == b"smpl" and len(body) >= 60:
                    start, end = struct.unpack_from("<2I", body, 44)
                    found["loop"] = {"start": start, "end": end}
                elif name == b"LIST":  # libsndfile reads no long ones
                    found["comment"] = riff.info_of(body).get(riff.COMMENT) or found["comment"]
                elif name == riff.RECIPE_CHUNK:
                    told = told or body.decode(errors="replace")
            found["comment"] = told or found["comment"]
    elif found["format"] in ("flac", "ogg"):
        tags = read_loop_tags(path, found["format"])
        if tags is not None:
            found["loop"] = {"start": tags[0], "end": tags[0] + tags[1] - 1}
    found["comment"] = found["comment"] or read_comment(path, found["format"])
    found["tags"] = read_tags(path, found["format"])
    found["recipe"] = facts_in(found["comment"])
    return found


def _format_of(container: str, subtype: str) -> str:
    if container == "OGG":
        return "opus" if subtype == "OPUS" else "ogg"
    return "wav" if container == "WAVEX" else container.lower()


def _check_riff_size(path: Path) -> None:
    """Refuse a truncated WAV; libsndfile reads the rest as if the file had always been that long."""
    if short := riff.check_size(path):
        raise InvalidAudio(f"{path}: cut short: {short[0]:,} of {short[1]:,} bytes are there")


def _opened(path: Path) -> soundfile.SoundFile:
    if not path.is_file():
        raise NotFound(f"{path}: no such file")
    try:
        return soundfile.SoundFile(os.fsencode(path))  # a name may hold bytes that are no UTF-8
    except soundfile.LibsndfileError as exc:
        raise InvalidAudio(f"{path}: not a sound file that can be read: {exc.error_string}") from exc
