"""Files whose origin is asked for: read once, and compared with sounds that were made here.

Owns: what is looked at in such a file, in which order, and how much of it at most.
Must not know: what was made here, what follows from the findings.

Nothing in such a file is believed: what it says of itself is handed on as that.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from audio_pool.audio import Audio
from audio_pool.errors import AudioPoolError, EngineUnavailable, InvalidAudio, NotFound, StorageError
from audio_pool.heard import Against, Compared, Heard
from audio_pool.origin import Declared
from audio_pool.roots import ANYWHERE, Roots, file_of
from audio_pool.signing.anchors import NOBODY, Anchors, anchors_in
from audio_pool.tasks import TraceTask
from audio_pool.worker.checked import unusable
from audio_pool.worker.input_files import Given, read_given

if TYPE_CHECKING:
    from audio_pool.audio.chromaprint import Raw
    from audio_pool.signing.manifest_report import ManifestReport

__all__ = ["LONGEST_S", "compared", "heard", "traced"]

log = logging.getLogger(__name__)

LONGEST_S = 600.0
"""What a file may decode to."""
_SHORTEST_S = 0.01
_MOST_CHARS = 300
_Json = Mapping[str, Any]  # opaque: a file's own words, read field by field
_MOST_CHROMA_S = 30.0
"""Of a file that Chromaprint is asked about."""
_LOSSLESS = ("wav", "flac")
_EDGE_24_BITS = 1 << 23


def traced(task: TraceTask) -> dict[str, Any]:  # opaque: as docs of a ``Called``, read back by who asked
    """Carry a task out; return a Heard, or ``compared``, as plain data. Raises as ``heard``."""
    path, roots = (task.sounds[0], ANYWHERE) if task.sounds else (task.path, Roots(task.roots))
    if task.against:
        found = compared(path, roots, task.name, task.against)
        return {"compared": msgspec.to_builtins(found)}
    told = heard(path, roots, task.name, anchors=anchors_in(task.certificate))
    plain: dict[str, Any] = msgspec.to_builtins(told, builtin_types=(bytes,))  # opaque: likewise
    return plain


def heard(path: str, roots: Roots, name: str, *, anchors: Anchors = NOBODY) -> Heard:
    """Read a file whose origin is asked for.

    Args:
        name: as it is told.
        anchors: who signs files here.

    Raises:
        PathNotAllowed, NotFound, InvalidAudio: the file.
    """
    given = _given(path, roots, name)
    from audio_pool.audio import bandwidth, loudness
    from audio_pool.audio.fingerprint import probe

    audio, rate = given.audio, int(given.facts["sample_rate"])
    marks = probe(audio, rate)
    declares, ours, notes = _declared(path, roots, name, given.facts, anchors)
    lufs = loudness.loudness_lufs(audio, rate)
    return Heard(
        name=name,
        sha256=given.sha256,
        samples_md5=_md5_at_24_bits(audio) if given.facts["format"] in _LOSSLESS else "",
        format=given.facts["format"],
        sample_rate=rate,
        channels=len(audio),
        duration_s=audio.shape[1] / rate,
        loudness_lufs=round(lufs, 2) if np.isfinite(lufs) else None,
        bandwidth_hz=bandwidth.bandwidth_hz(audio, rate),
        rises=marks.rises.tobytes(),
        falls=marks.falls.tobytes(),
        declares=declares,
        ours=ours,
        notes=notes,
    )


def compared(path: str, roots: Roots, name: str, against: Iterable[Against]) -> list[Compared]:
    """Compare a file with kept sounds; one that cannot be read any more is left out. Raises as ``heard``."""
    given = _given(path, roots, name)
    from audio_pool.audio import bandwidth, codec
    from audio_pool.audio.chromaprint import chromaprint
    from audio_pool.audio.comparison import difference

    rate = int(given.facts["sample_rate"])
    found, words = [], chromaprint(given.audio[:, : round(_MOST_CHROMA_S * rate)], rate)
    for one in against:
        try:
            kept, kept_rate = codec.read(Path(one.master))
        except AudioPoolError as exc:
            log.info("a kept sound is not compared with: %s", exc)
            continue
        told = difference(given.audio, rate, kept, kept_rate, loop=one.loop, offsets_s=one.offsets_s)
        if told is not None:
            found.append(
                Compared(
                    number=one.number,
                    explained=told.explained,
                    overlap_s=told.overlap_s,
                    offset_s=told.offset_s,
                    gain_db=told.gain_db,
                    tone_db=told.tone_db,
                    residual_db=told.residual_db,
                    chromaprint=_by_chromaprint(words, kept, kept_rate, one.loop, given.audio.shape[1] / rate),
                    kept_s=kept.shape[1] / kept_rate,
                    kept_bandwidth_hz=bandwidth.bandwidth_hz(kept, kept_rate),
                )
            )
    return found


def _by_chromaprint(words: Raw, kept: Audio, rate: int, loop: bool, given_s: float) -> float | None:
    """Return the bit error rate of a kept sound; None where it, or the other, has no words."""
    from audio_pool.audio.chromaprint import bit_error_rate, chromaprint

    if not len(words):
        return None
    if loop:  # any part of any number of turns lies in so many
        kept = np.tile(kept, math.ceil(min(given_s, _MOST_CHROMA_S) * rate / kept.shape[1]) + 1)
    theirs = chromaprint(kept[:, : round(2 * _MOST_CHROMA_S * rate)], rate)
    return round(bit_error_rate(words, theirs), 4) if len(theirs) else None


def _given(path: str, roots: Roots, name: str) -> Given:
    given = read_given(path, roots, name, LONGEST_S, alone=roots is ANYWHERE)
    if wrong := unusable(given.audio):
        raise InvalidAudio(f"{name}: given a sound with {wrong}", hint="samples lie between -1 and 1")
    if given.audio.shape[1] < _SHORTEST_S * given.facts["sample_rate"]:
        given_s = given.audio.shape[1] / given.facts["sample_rate"]  # a header may not say it
        raise InvalidAudio(f"{name}: given {given_s:g} s, allowed is {_SHORTEST_S:g} s or more")
    return given


def _md5_at_24_bits(audio: Audio) -> str:
    """Return the MD5 of samples as a 24-bit FLAC file has it; "" where they have more bits than that."""
    steps = audio.T * np.float32(_EDGE_24_BITS)
    whole = np.rint(steps)
    if not np.array_equal(whole, steps):
        return ""
    packed = np.ascontiguousarray(whole.astype("<i4")).view(np.uint8).reshape(-1, 4)[:, :3]
    return hashlib.md5(packed.tobytes(), usedforsecurity=False).hexdigest()


def _declared(
    path: str, roots: Roots, name: str, facts: _Json, anchors: Anchors
) -> tuple[Declared, bool, tuple[str, ...]]:
    """Return what a file says of itself, whether we signed that, and what could not be read."""
    said = facts["recipe"] or {}
    found, notes = _manifest(path, roots, name, anchors)
    signed: _Json = {} if found is None or found.recipe is None else found.recipe
    ours = (
        found is not None
        and found.state == "valid"
        and bool(signed)
        and found.serial_number == anchors.serial_number != ""
    )
    recipe = signed if ours else said
    return (
        Declared(
            made_by=_text(said, "made_by"),
            recipe_id=_text(recipe, "recipe_id"),
            engine=_text(recipe, "engine"),
            model=_text(recipe, "model"),
            licence=_text(recipe, "licence"),
            digital_source_type=_text(said, "digital_source_type"),
            aigc=isinstance(said.get("AIGC"), dict),
            manifest="" if found is None else found.state,
            manifest_by="" if found is None else (found.common_name or found.issuer)[:_MOST_CHARS],
        ),
        ours,
        notes,
    )


def _manifest(
    path: str, roots: Roots, name: str, anchors: Anchors
) -> tuple[ManifestReport | None, tuple[str, ...]]:
    from audio_pool.signing.manifest_report import read_manifest

    try:
        with roots.opened(name, path) as handle:
            found = read_manifest(file_of(handle), trust_anchors=anchors.pem)
    except EngineUnavailable:
        return None, ("it carries a C2PA manifest, which is not read: c2pa-python is not installed",)
    except (InvalidAudio, NotFound, StorageError, OSError):
        return None, ("its C2PA manifest cannot be read",)
    return found, () if found is None else tuple(f"its manifest: {one}" for one in found.failures[:4])


def _text(said: _Json, key: str) -> str:
    value = said.get(key)
    return value[:_MOST_CHARS] if isinstance(value, str) else ""
