"""One foreign sound made into a master: decoded, judged, measured, levelled, written.

Owns: the order of these steps, and why a sound is not taken.
Must not know: directories, the cache. Runs in processes of its own: a decoder that a damaged file brings down takes
nothing else along.

Nothing is done to a sound but one constant gain, and a higher rate where it has a lower one than the pool: what it
lacks is said, not mended.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from msgspec import Struct, structs

from audio_pool.audio import Audio
from audio_pool.audio.id3 import ID3_HEAD_BYTES, id3_bytes
from audio_pool.cache.entry import Adopted
from audio_pool.cache.sqlite.sources import IMPORTED
from audio_pool.cache.trust import fingerprint
from audio_pool.errors import AudioPoolError, StorageError
from audio_pool.exchange.sidecar import Kept
from audio_pool.exchange.told import Told, allows_commercial_use, readable
from audio_pool.inscription import comment_of, inscribed, sound_in
from audio_pool.prompts.expectations import names_noise
from audio_pool.reports import LoopReport, QualityReport
from audio_pool.results import FinishedSound, SoundMetadata
from audio_pool.signing.carried import carried_in, carry
from audio_pool.signing.ingredient import carried_of
from audio_pool.tasks import DESCRIPTORS
from audio_pool.types import MAX_DURATION_S, Recipe, Rendition

if TYPE_CHECKING:
    from audio_pool.audio.quality import Quality

__all__ = [
    "Job",
    "NotTaken",
    "Prepared",
    "Rules",
    "begin_process",
    "inscribed_prompt",
    "kept_of",
    "prepare",
    "with_similarity",
]

_SHORTEST_S = 0.05
_MOST_CHANNELS = 2
_HIGHEST_RATE = 192_000
_LOSSLESS = ("wav", "flac")
_WHOLE_TURN = 2
"""Frames by which loop points may miss both ends of a file that is a loop as a whole."""
_PR_SET_PDEATHSIG = 1


class Rules(Struct, frozen=True, kw_only=True):
    """What holds for every sound of one import."""

    recipe: Recipe
    """Of a plain request that the sounds are to answer; prompt, length, rate and loop are each sound's own."""
    rendition: Rendition
    """Level of the masters; its target is None where sounds keep theirs."""
    least_rate: int
    """Hz; what has less is brought up to it, for requests ask for so much."""
    min_quality: float = 0.0
    loop: bool | None = None
    """For sounds of which nothing is told; None: one-shots."""
    licence: str = ""
    """For sounds of which none is told."""
    commercial_use: bool = False
    """Whether that licence allows it, whatever its name."""
    tags: tuple[str, ...] = ()


class Job(Struct, frozen=True, kw_only=True):
    """One sound to prepare."""

    audio: str
    out: str
    """Where the master goes."""
    prompt: str
    told: Told
    source: str
    """What stands for the file and its words, in hex."""
    kept: tuple[bytes, bytes, float, bytes] | None = None
    """Recipe and metadata (JSON), time and SHA-256 of a master that its sidecar describes."""


class NotTaken(Struct, frozen=True):
    """Why a sound is not taken."""

    reason: str
    """One of few."""
    detail: str = ""


class Prepared(Struct, frozen=True, kw_only=True):
    """A master as it lies at ``Job.out``."""

    recipe: bytes
    metadata: bytes
    size_bytes: int
    sha256: bytes
    created_at: float
    descriptors: bytes
    """float32 [70]; b"" where the sidecar has them."""

    def adopted(self) -> Adopted:
        """Return it as the cache takes it in."""
        recipe = msgspec.json.decode(self.recipe, type=Recipe)
        metadata = msgspec.json.decode(self.metadata, type=SoundMetadata)
        sound = FinishedSound(path="", recipe=recipe, metadata=metadata, accepted=True)
        vectors = {DESCRIPTORS: np.frombuffer(self.descriptors, np.float32)} if self.descriptors else {}
        return Adopted(sound, "", self.size_bytes, self.sha256, self.created_at, vectors)


def begin_process(parent: int) -> None:
    """Have this process end with its parent, and leave a terminal's ^C to it."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def inscribed_prompt(path: Path) -> str:
    """Return the words that are written in a sound of ours; "" where there are none."""
    from audio_pool.audio import codec

    try:
        told = codec.inspect(path)["recipe"] or {}
    except (AudioPoolError, OSError):
        return ""
    prompt = told.get("prompt") if told.get("made_by") == "audio_pool" else None
    return prompt if isinstance(prompt, str) else ""


def prepare(job: Job, rules: Rules) -> Prepared | NotTaken:
    """Write a master of one sound, fsynced.

    Raises:
        StorageError: it cannot be written.
    """
    from audio_pool.audio import codec

    path = Path(job.audio)
    try:
        header = codec.inspect(path)
        if job.kept is not None:
            return _as_kept(job, path, header["format"])
        own = None
        if header["format"] in _LOSSLESS and header["recipe"] is not None:
            own = sound_in(header["recipe"], frames=header["frames"], sample_rate=header["sample_rate"])
        if own is not None and _is_master(header, own[0], job.prompt):
            return _as_inscribed(job, path, header["format"], *own)
        duration_s, rate = header["duration_s"], header["sample_rate"]
        if header["frames"] < codec.UNKNOWN_FRAMES and (not_taken := _of_length(duration_s)):
            return not_taken
        if header["channels"] > _MOST_CHANNELS:
            return NotTaken("channels", f"{header['channels']}; allowed are 1 and 2")
        if rate > _HIGHEST_RATE:
            return NotTaken("sample rate", f"{rate:,} Hz; allowed are up to {_HIGHEST_RATE:,}")
        audio, rate = codec.read(path, codec.InputBound(seconds=MAX_DURATION_S))
        if not_taken := _of_length(audio.shape[1] / rate):
            return not_taken
    except StorageError:
        raise
    except (AudioPoolError, OSError) as exc:
        return NotTaken("cannot be decoded", getattr(exc, "message", "") or str(exc))
    loop, warnings = _loop_of(job.told, header["loop"], audio.shape[1], rules)
    return _judged(job, rules, audio, rate, loop, warnings)


def _of_length(duration_s: float) -> NotTaken | None:
    """Return why a sound is too short or too long; None where it is neither."""
    if _SHORTEST_S <= duration_s <= MAX_DURATION_S:
        return None
    return NotTaken("length", f"{duration_s:.3f} s; allowed are {_SHORTEST_S:g} to {MAX_DURATION_S:g}")


def _loop_of(told: Told, points: dict[str, int] | None, frames: int, rules: Rules) -> tuple[bool, list[str]]:
    """Return whether the whole sound is one turn of a loop: as told, else as its tags say."""
    if told.loop is not None:
        return told.loop, []
    if points is not None:
        if points["start"] <= _WHOLE_TURN and points["end"] >= frames - 1 - _WHOLE_TURN:
            return True, []
        part = f"frames {points['start']:,} to {points['end']:,} of {frames:,}"
        return False, [f"loop_region: its tags loop {part}; kept as a whole, and as no loop"]
    return bool(rules.loop), []


def _judged(
    job: Job, rules: Rules, audio: Audio, rate: int, loop: bool, warnings: list[str]
) -> Prepared | NotTaken:
    from audio_pool.audio import codec, filter, quality, seam
    from audio_pool.audio.descriptors import descriptors
    from audio_pool.worker.levels import levelled

    judged: Quality = quality.assess(
        audio,
        rate,
        frames=audio.shape[1],
        loop=loop,
        expects=frozenset({"noise"}) if names_noise(job.prompt) else frozenset(),
    )
    if judged.failed or judged.score < rules.min_quality:
        least = "" if judged.failed else f", least is {rules.min_quality:g}"
        return NotTaken("quality", f"{', '.join(judged.issues) or 'no fault'}: {judged.score:g} of 100{least}")
    if rate < rules.least_rate:
        warnings.append(f"upsampled: the source has {rate:,} Hz and nothing above {rate // 2:,} Hz")
        audio = filter.resample(audio, rate, rules.least_rate, circular=loop)
        rate = rules.least_rate
    audio, level = levelled(audio, rate, rules.rendition, loop)
    warnings += rules.rendition.shortfall(level.rounded_lufs)
    archive, lost = carried_of(Path(job.audio))
    told, frames = job.told, audio.shape[1]
    warnings += lost
    if told.ignored:
        warnings.append(f"not_understood: {', '.join(told.ignored)} as told beside the sound")
    licence = told.licence or rules.licence
    allowed = rules.commercial_use if not told.licence and licence else allows_commercial_use(licence)
    recipe = structs.replace(
        rules.recipe,
        prompt=job.prompt,
        frames=frames,
        sample_rate=rate,
        loop=loop,
        seed=None,
        steps=None,
        guidance_scale=None,
    )
    created_at = told.timestamp or Path(job.audio).stat().st_mtime
    metadata = SoundMetadata(
        prompt=job.prompt,
        negative_prompt=told.negative_prompt,
        engine=told.engine or IMPORTED,
        implementation=IMPORTED,
        model=told.model,
        licence=licence or "unknown",
        commercial_use=allowed if told.commercial_use is None else told.commercial_use,
        seed=told.seed,
        steps=told.steps,
        guidance_scale=told.guidance_scale,
        namespace=recipe.namespace,
        requested_duration_s=recipe.duration_s,
        duration_s=recipe.duration_s,
        sample_rate=rate,
        channels=len(audio),
        bit_depth=24,
        is_loop=loop,
        clap_similarity=told.clap_similarity,
        quality=QualityReport(score=judged.score, issues=judged.issues),
        target_lufs=rules.rendition.target_lufs,
        loudness_lufs=level.rounded_lufs,
        true_peak_dbfs=level.rounded_peak_dbfs,
        loop=LoopReport(seam_score=round(seam.seam_score(audio, rate, 0), 2)) if loop else None,
        generation_timestamp=created_at,
        engine_details={IMPORTED: {"source": job.source, "file": readable(Path(job.audio).name)}},
        warnings=tuple(warnings),
        labels=told.labels,
        tags=tuple(dict.fromkeys((*told.tags, *rules.tags))),
    )
    out = Path(job.out)
    metadata = inscribed(recipe, metadata, rules.rendition)
    codec.write(out, audio, rate, "flac", 24, comment_of(recipe, metadata), loop)
    carry(archive, out)
    return _prepared(out, recipe, metadata, created_at, descriptors(audio, rate).tobytes())


def with_similarity(master: Path, one: Adopted, similarity: float) -> Adopted:
    """Write into a master, too, how well it fits its words: a rebuilding has nothing else."""
    from audio_pool.audio import codec

    metadata = structs.replace(one.sound.metadata, clap_similarity=similarity)
    audio, rate = codec.read(master)
    comment = comment_of(one.sound.recipe, metadata)
    archive = carried_in(master)
    codec.write(master, audio, rate, "flac", 24, comment, metadata.is_loop)  # the same samples
    carry(archive, master)
    digest, size = fingerprint(master)
    sound = structs.replace(one.sound, metadata=metadata)
    return one._replace(sound=sound, sha256=digest, size_bytes=size)


# -- sounds of our own that come back


def _is_master(header: Mapping[str, object], recipe: Recipe, prompt: str) -> bool:
    """Return True where a file of ours is as good as its master, and not a rendition at another rate or width."""
    return (recipe.prompt, recipe.sample_rate, recipe.frames, 24) == (
        prompt, header["sample_rate"], header["frames"], header["bit_depth"]
    )  # fmt: skip


def _as_kept(job: Job, path: Path, format_: str) -> Prepared | NotTaken:
    """Take an exported entry as it was: the same bytes where they are the master's, else the same samples."""
    assert job.kept is not None, "the caller looked"
    recipe, metadata, created_at, sha256 = job.kept
    stored = msgspec.json.decode(recipe, type=Recipe), msgspec.json.decode(metadata, type=SoundMetadata)
    if format_ == "flac":
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").digest() != sha256:
                return NotTaken("cannot be decoded", "it is not the master that its sidecar describes")
    elif format_ not in _LOSSLESS:
        return NotTaken("lossy", f"a master cannot be made of {format_}")
    return _copied(job, path, format_, *stored, created_at, fresh=False)


def _as_inscribed(
    job: Job, path: Path, format_: str, recipe: Recipe, metadata: SoundMetadata
) -> Prepared | NotTaken:
    """Take a sound of ours without a sidecar by what is written inside it."""
    if not metadata.accepted:
        return NotTaken("quality", "it was not accepted when it was made")
    made_at = metadata.generation_timestamp or path.stat().st_mtime
    return _copied(job, path, format_, recipe, metadata, made_at, fresh=True)


def _copied(
    job: Job, path: Path, format_: str, recipe: Recipe, metadata: SoundMetadata, created_at: float, *, fresh: bool
) -> Prepared:
    from audio_pool.audio import codec
    from audio_pool.audio.descriptors import descriptors

    out = Path(job.out)
    audio, rate = codec.read(path)
    if format_ == "flac":
        with path.open("rb") as read, out.open("xb") as write:
            if fresh:  # a signed file comes home: its signature is no part of the master
                read.seek(id3_bytes(read.read(ID3_HEAD_BYTES)))
            shutil.copyfileobj(read, write, 1 << 20)
            write.flush()
            os.fsync(write.fileno())
    else:
        codec.write(out, audio, rate, "flac", 24, comment_of(recipe, metadata), recipe.loop)
    described = descriptors(audio, rate).tobytes() if fresh else b""
    return _prepared(out, recipe, metadata, created_at, described)


def _prepared(
    out: Path, recipe: Recipe, metadata: SoundMetadata, created_at: float, described: bytes
) -> Prepared:
    digest, size = fingerprint(out)
    return Prepared(
        recipe=msgspec.json.encode(recipe),
        metadata=msgspec.json.encode(metadata),
        size_bytes=size,
        sha256=digest,
        created_at=created_at,
        descriptors=described,
    )


def kept_of(kept: Kept) -> tuple[bytes, bytes, float, bytes]:
    """Return a sidecar's entry as a job carries it to another process."""
    return msgspec.json.encode(kept.recipe), msgspec.json.encode(kept.metadata), kept.created_at, kept.sha256
