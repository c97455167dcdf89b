"""Sound files: write them with recipe and loop points, read and inspect them.

Owns: encodings and tags, the only use of soundfile.
Must not know: where files are stored, the contents of a recipe.

libsndfile encodes. Two things that it lacks are done here: ``smpl`` and ``apRc`` chunks after a WAV's
``data`` (Godot loops any file that has a ``smpl``, so only loops get one; libsndfile loses WAV comments of
2,048 bytes and more), and quantisation with dither.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile

from audio_pool.audio import Audio
from audio_pool.audio.bit_rate import BIT_RATE_FORMATS, settings_for
from audio_pool.audio.file_rates import file_warnings, nearest_rate
from audio_pool.audio.filter import resample
from audio_pool.audio.kernels import in_24_bits
from audio_pool.audio.loop_tags import read_loop_tags, write_loop_tags
from audio_pool.audio.stamps import steady
from audio_pool.audio.storing import ErrorRecorder, storing
from audio_pool.errors import InvalidAudio, InvalidRequest, NotFound

__all__ = [
    "OWN",
    "UNKNOWN_FRAMES",
    "InputBound",
    "Written",
    "append_chunks",
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
RECIPE_CHUNK = b"apRc"
UNKNOWN_FRAMES = 1 << 62
"""libsndfile's way to say that a header does not say how long the sound is."""
_MOST_CHUNKS = 1024
_LONGEST_CHUNK = 1 << 20
"""Of those behind a WAV's data, which may come from anywhere."""
_STREAMED = 0xFFFF_FF00
"""RIFF sizes from here on are placeholders of programs that streamed the file."""

_CONTAINER = {
    "wav": "WAV", "flac": "FLAC", "ogg": "OGG", "opus": "OGG", "mp3": "MP3", "pcm": "RAW", "ulaw": "RAW", "alaw": "RAW",
}  # fmt: skip
_LOSSY_CODEC = {"ogg": "VORBIS", "opus": "OPUS", "mp3": "MPEG_LAYER_III", "ulaw": "ULAW", "alaw": "ALAW"}
_DEPTHS = {"wav": (16, 24, 32), "flac": (16, 24), "pcm": (16,)}
_FLAC_EFFORT = 0.375
"""0..1: as fast as any, with files of the default's size for noise and a fifth more for tones."""
_LOSSY_EFFORT = {"ogg": 0.4, "opus": 0.4, "mp3": 0.3}
"""0 (largest file) to 1 (smallest)."""


@dataclass(frozen=True, kw_only=True)
class InputBound:
    """How much of a file is decoded: a few bytes can stand for hours."""

    seconds: float = 600.0
    samples_per_second: int = 2 * 48_000
    """Of all channels, on the average over ``seconds``: ten minutes of stereo at 48 kHz fit, or two and a half at
    192 kHz."""

    def refuse(self, path: Path, frames: int, channels: int, rate: int) -> None:
        """Raise InvalidAudio for a sound that is longer, or has more samples."""
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
        if format == "wav":
            append_chunks(path, audio.shape[1], rate, comment, loop)
        elif loop and format in ("flac", "ogg"):
            write_loop_tags(path, format, 0, audio.shape[1])
        with path.open("rb") as file:
            os.fsync(file.fileno())
    return Written(sample_rate=rate, frames=audio.shape[1], warnings=file_warnings(format, sample_rate, loop))


@contextlib.contextmanager
def samples_file(
    path: Path, sample_rate: int, channels: int, format: str, bit_depth: int, comment: str
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
                if comment and container != "RAW":
                    file.comment = comment
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
        if comment and container != "RAW":  # libsndfile refuses an empty one in WAV
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


def append_chunks(path: Path, frames: int, rate: int, comment: str, loop: bool) -> None:
    """Append ``smpl`` (loops) and ``apRc`` after everything libsndfile wrote, and correct the RIFF size."""
    chunks = b""
    if loop:
        # one forward loop over the whole file; period in ns, MIDI unity note 60, endless
        header = struct.pack("<9I", 0, 0, round(1e9 / rate), 60, 0, 0, 0, 1, 0)
        chunks += _chunk(b"smpl", header + struct.pack("<6I", 0, 0, 0, frames - 1, 0, 0))
    chunks += _chunk(RECIPE_CHUNK, comment.encode())
    with path.open("r+b") as file:
        file.seek(0, os.SEEK_END)  # even: libsndfile pads what it writes
        file.write(chunks)
        size = file.tell() - 8
        file.seek(4)
        file.write(struct.pack("<I", size))


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


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
        mapping, None where it is not ours).

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
            for name, body in _chunks(raw):
                if name == b"smpl" and len(body) >= 60:
                    start, end = struct.unpack_from("<2I", body, 44)
                    found["loop"] = {"start": start, "end": end}
                elif name == RECIPE_CHUNK:
                    found["comment"] = body.decode(errors="replace")
    elif found["format"] in ("flac", "ogg"):
        tags = read_loop_tags(path, found["format"])
        if tags is not None:
            found["loop"] = {"start": tags[0], "end": tags[0] + tags[1] - 1}
    found["recipe"] = _mapping_in(found["comment"])
    return found


def _format_of(container: str, subtype: str) -> str:
    if container == "OGG":
        return "opus" if subtype == "OPUS" else "ogg"
    return "wav" if container == "WAVEX" else container.lower()


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield a RIFF file's first chunks except those whose body is large, as that of ``data`` is."""
    file.seek(12)
    for _ in range(_MOST_CHUNKS):
        if len(head := file.read(8)) < 8:
            return
        name, size = head[:4], struct.unpack("<I", head[4:])[0]
        if name == b"data" or size > _LONGEST_CHUNK:
            file.seek(size + size % 2, os.SEEK_CUR)
            continue
        yield name, file.read(size)
        file.seek(size % 2, os.SEEK_CUR)


def _check_riff_size(path: Path) -> None:
    """Refuse a truncated WAV; libsndfile reads the rest as if the file had always been that long."""
    with path.open("rb") as file:
        claimed = struct.unpack("<I", file.read(8)[4:])[0] + 8
    found = path.stat().st_size
    if found < claimed < _STREAMED:
        raise InvalidAudio(f"{path}: cut short: {found:,} of {claimed:,} bytes are there")


def _mapping_in(comment: str) -> dict[str, Any] | None:
    try:
        value = json.loads(comment)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _opened(path: Path) -> soundfile.SoundFile:
    if not path.is_file():
        raise NotFound(f"{path}: no such file")
    try:
        return soundfile.SoundFile(os.fsencode(path))  # a name may hold bytes that are no UTF-8
    except soundfile.LibsndfileError as exc:
        raise InvalidAudio(f"{path}: not a sound file that can be read: {exc.error_string}") from exc
