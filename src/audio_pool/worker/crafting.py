"""Sounds that were given, worked on: looped, mastered, converted, mixed, put in sequence, checked.

Owns: the order of the steps of each craft, and what is told of its result.
Must not know: who gave the sounds, where the result goes in the end.

Everything is done at the rate that is written: nothing that depends on time comes after a loop is closed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from msgspec import structs

from audio_pool.audio import Audio
from audio_pool.audio.file_rates import nearest_rate
from audio_pool.craft import Check, Convert, CraftReport, GivenReport, Loop, Master, Mix
from audio_pool.craft import Sequence as InSequence
from audio_pool.errors import InvalidAudio, InvalidRequest
from audio_pool.reports import HighpassReport, HighpassWhy, LoopReport, QualityReport
from audio_pool.roots import ANYWHERE, Roots
from audio_pool.tasks import CraftTask
from audio_pool.types import HEADERLESS, MAX_DURATION_S, Rendition, Shape, frames_of
from audio_pool.worker.checked import unusable
from audio_pool.worker.closing import Closing, as_made, by_crossfade
from audio_pool.worker.files import encoded
from audio_pool.worker.input_files import Given, read_given
from audio_pool.worker.levels import Level, levelled, measured
from audio_pool.worker.lineage import lineage
from audio_pool.worker.sealing import check_signable, sealed_work

__all__ = ["crafted"]

_MOST_S = 1_800.0
"""Seconds of all given sounds together: what is in memory at a time."""
_CLOSES = 97.0
"""Seam score from which a sound repeats as it is."""
_SHOWS = 50.0
_SHORTEST_S = 0.05
_NO_LIMIT_DB = 200.0
"""A true peak that nothing reaches: the level is not to change."""
_WRITABLE = ("wav", "flac", "ogg", "opus", "mp3")
_MOST_CHANNELS = {"mp3": 2, "flac": 8}
_LOW_HZ = 25.0
"""Cut-off for a sound that lives below the usual one."""
_FRAME_S = 0.05
_REST_DB = -50.0
"""Against the loudest frame: what lies under it at an end is silence."""
_FADED_DB = -6.0
"""Against the usual frame: what lies under it at an end is a fade, over at most ``_FADED_SHARE`` of the sound."""
_FADED_SHARE = 0.15


@dataclass(kw_only=True)
class _Work:
    """A sound on its way to its file."""

    audio: Audio
    rate: int
    loop: bool = False
    closing: Closing | None = None
    highpass: HighpassReport | None = None
    warnings: list[str] = field(default_factory=list)


def crafted(task: CraftTask, longest_s: float) -> CraftReport:
    """Work on the given sounds, write ``task.out`` with its format's ending, and tell of both.

    Args:
        longest_s: what one of them may decode to.

    Raises:
        NotFound, InvalidAudio, PathNotAllowed: a given sound. InvalidRequest: what was asked does not fit them.
        StorageError: the file cannot be written.
    """
    given = _read(task, longest_s)
    names = (*task.paths, *(f"sound {number}" for number in range(1, len(task.sounds) + 1)))
    told = [_told(name, one) for name, one in zip(names, given, strict=True)]
    craft, first = task.craft, given[0].facts
    rate = task.form.sample_rate or max(one.facts["sample_rate"] for one in given)
    format_ = task.form.format or (first["format"] if first["format"] in _WRITABLE else "wav")
    if isinstance(craft, Check):
        return _judged(_check(given[0], craft), task, told, _form_of(given[0]))
    check_signable(task, format_)
    written_rate = nearest_rate(format_, rate)
    most = _MOST_CHANNELS.get(format_)
    channels = max(len(one.audio) for one in given)
    if most is not None and channels > most and not task.form.mono:
        raise InvalidRequest(
            f"format: given {format_} for {channels} channels, allowed are {most} in it",
            hint="ask for mono, or for wav",
        )
    work = _worked(task, given, written_rate)
    rendition, level = _level(task, work, format_, rate, first["bit_depth"])
    out = Path(f"{task.out}.{format_}")
    comment = lineage(craft, task.form, given) if task.form.comment is None else task.form.comment
    out.parent.mkdir(parents=True, exist_ok=True)
    wrote = encoded(work.audio, written_rate, rendition, out, work.loop, comment, level)
    work.warnings += wrote.warnings
    report = _judged(work, task, told, (format_, wrote.bit_depth or None))
    report = structs.replace(
        report,
        path=str(out),
        sample_rate=wrote.sample_rate,
        duration_s=wrote.duration_s,
        loudness_lufs=wrote.loudness_lufs,
        true_peak_dbfs=wrote.true_peak_dbfs,
        limited_db=wrote.limited_db,
    )
    return sealed_work(task, report, comment, (*task.paths, *task.sounds))


# ------------------------------------------------------------------------------------------------- given


def _read(task: CraftTask, longest_s: float) -> list[Given]:
    places = [("paths", path, Roots(task.roots)) for path in task.paths]
    places += [(f"sounds: the {number}. that was sent", path, ANYWHERE) for number, path in enumerate(task.sounds, 1)]
    given: list[Given] = []
    left = _MOST_S
    for name, path, roots in places:
        shown = path if name == "paths" else name
        try:
            one = read_given(path, roots, name, min(longest_s, left), alone=roots is ANYWHERE)
        except InvalidAudio as exc:
            if left >= longest_s:
                raise
            raise InvalidAudio(exc.message, hint=f"all together may have {_MOST_S:,.0f} s") from None
        if wrong := unusable(one.audio):
            raise InvalidAudio(f"{shown}: given a sound with {wrong}", hint="samples lie between -1 and 1")
        if one.audio.shape[1] < _SHORTEST_S * one.facts["sample_rate"]:
            raise InvalidAudio(f"{shown}: given {one.facts['duration_s']:g} s, allowed is {_SHORTEST_S:g} s or more")
        left -= one.facts["duration_s"]
        given.append(one)
    widths = {len(one.audio) for one in given} - {1}
    if len(widths) > 1:
        raise InvalidAudio(
            f"given sounds with {', '.join(map(str, sorted(widths)))} channels, allowed is one number beside mono",
            hint="convert them first",
        )
    return given


def _is_turn(given: Given) -> bool:
    """Return whether its file says that it is one turn of a loop, from its first frame to its last."""
    loop = given.facts["loop"]
    return bool(loop) and loop["start"] == 0 and loop["end"] + 1 == given.audio.shape[1]


def _told(name: str, given: Given) -> GivenReport:
    turn = _is_turn(given)
    level = _level_of(given.audio, given.facts["sample_rate"], turn)
    return GivenReport(
        name=name,
        sha256=given.sha256,
        format=given.facts["format"],
        sample_rate=given.facts["sample_rate"],
        channels=given.facts["channels"],
        duration_s=given.facts["duration_s"],
        loop=turn,
        loudness_lufs=level.rounded_lufs,
        true_peak_dbfs=level.rounded_peak_dbfs,
    )


def _level_of(audio: Audio, rate: int, loop: bool) -> Level:
    lufs, peak = measured(audio, rate, loop)
    return Level(lufs=lufs, peak_dbfs=peak)


def _form_of(given: Given) -> tuple[str, int | None]:
    return given.facts["format"], given.facts["bit_depth"]


def _at(given: Given, rate: int) -> Audio:
    from audio_pool.audio import filter

    return filter.resample(given.audio, given.facts["sample_rate"], rate, circular=_is_turn(given))


# ---------------------------------------------------------------------------------------------- the crafts


def _worked(task: CraftTask, given: Sequence[Given], rate: int) -> _Work:
    craft, first = task.craft, given[0]
    match craft:
        case Loop():
            work = _looped(first, craft, rate)
        case Master():
            work = _mastered(first, craft, rate, task)
        case Mix():
            work = _mixed(given, craft, rate)
        case InSequence():
            work = _in_sequence(given, craft, rate)
        case _:
            work = _Work(audio=_at(first, rate), rate=rate, loop=_is_turn(first))
    if isinstance(craft, Master | Convert) and first.facts["loop"] and not work.loop:
        work.warnings.append("loop_points_lost: the file loops a part of itself, and only whole files are written so")
    return work


def _looped(given: Given, craft: Loop, rate: int) -> _Work:
    """Make a turn of a sound: as it is where it closes by itself, else crossfaded."""
    from audio_pool.audio import seam

    audio = _at(given, rate)
    whole, turn = audio.shape[1], _is_turn(given)
    material = audio if turn else _material(audio, rate)
    if craft.duration_s is None and craft.method != "crossfade" and (turn or material.shape[1] == whole):
        score = seam.seam_score(audio, rate, 0)
        if score >= _CLOSES or craft.method == "native" or (turn and score >= _SHOWS):
            if score < _SHOWS:
                raise InvalidRequest(
                    f"method: given 'native', and the end does not lead into the beginning (seam score {score:.0f})",
                    hint="leave it out, or give 'crossfade'",
                )
            closing = as_made(audio, _shape_of(rate, whole, 0.0, "native"))
            return _Work(audio=closing.audio, rate=rate, loop=True, closing=closing)
    if craft.method == "native":
        raise InvalidRequest(
            "method: given 'native' for a sound that is silent or faded at an end, or for another length than its own",
            hint="leave it out, or give 'crossfade'",
        )
    warnings = []
    if material.shape[1] < whole:
        left_out = (whole - material.shape[1]) / rate
        warnings.append(f"ends_left_out: {left_out:.2f} s of silence and fades at the ends are not in the loop")
    length = material.shape[1]
    tail = min(round(craft.crossfade_s * rate), length // 3)
    frames = length - tail if craft.duration_s is None else frames_of(craft.duration_s, rate)
    closing = by_crossfade(material, _shape_of(rate, frames, tail / rate, "crossfade"))
    return _Work(audio=closing.audio, rate=rate, loop=True, closing=closing, warnings=[*warnings, *closing.warnings])


def _shape_of(rate: int, frames: int, tail_s: float, method: str) -> Shape:
    native = method == "native"
    return Shape(
        sample_rate=rate,
        frames=frames,
        loop=True,
        tail_s=tail_s,
        highpass_hz=None,
        highpass_order=4,
        loop_method="native" if native else "crossfade",
    )


def _material(audio: Audio, rate: int) -> Audio:
    """Return a sound without the silence and the fades at its ends, which would come round with every turn."""
    hop = max(1, round(_FRAME_S * rate))
    count = audio.shape[1] // hop
    if count < 8:
        return audio
    frames = audio[:, : count * hop].reshape(len(audio), count, hop)
    powers = np.einsum("cfh,cfh->f", frames, frames, dtype=np.float64)
    loud = powers >= powers.max() * 10 ** (_REST_DB / 10)
    sounding = np.flatnonzero(loud)
    first, last = int(sounding[0]), int(sounding[-1]) + 1
    enough = float(np.median(powers[first:last])) * 10 ** (_FADED_DB / 10)
    most = max(1, round(_FADED_SHARE * (last - first)))
    for _ in range(most):
        if powers[first] >= enough:
            break
        first += 1
    for _ in range(most):
        if powers[last - 1] >= enough:
            break
        last -= 1
    begin, end = first * hop, audio.shape[1] if last == count else last * hop
    return np.ascontiguousarray(audio[:, begin:end])


def _mastered(given: Given, craft: Master, rate: int, task: CraftTask) -> _Work:
    """Filter a sound and take the clicks off its edges; its level comes at the end."""
    from audio_pool.audio import edges, filter, lows

    turn, source = _is_turn(given), given.facts["sample_rate"]
    asked = task.highpass_hz if craft.highpass_hz is None else craft.highpass_hz
    cutoff = min(asked, 0.45 * source)
    low = craft.highpass_hz is None and asked > _LOW_HZ and lows.lives_low(given.audio, source)
    if low:
        cutoff = _LOW_HZ
    audio = given.audio
    if cutoff > 0:
        audio = filter.highpass(audio, source, cutoff, task.highpass_order, circular=turn)
    audio = filter.resample(audio, source, rate, circular=turn)
    if not turn:
        audio = edges.faded(audio.copy(), rate)
    why: HighpassWhy = "configured" if craft.highpass_hz is None else "asked"
    if low or cutoff <= 0:
        why = "spectrum" if low else "off"
    return _Work(audio=audio, rate=rate, loop=turn, highpass=HighpassReport(hz=cutoff, why=why))


def _mixed(given: Sequence[Given], craft: Mix, rate: int) -> _Work:
    from audio_pool.audio import edges
    from audio_pool.audio.arranging import Part, mixed

    for name, values in (("levels_db", craft.levels_db), ("offsets_s", craft.offsets_s)):
        if values and len(values) != len(given):
            raise InvalidRequest(f"{name}: given {len(values)}, allowed is one for each of the {len(given)} sounds")
    parts = [
        Part(
            audio=_at(one, rate) if _is_turn(one) else edges.faded(_at(one, rate).copy(), rate),
            gain_db=craft.levels_db[place] if craft.levels_db else 0.0,
            start=frames_of(craft.offsets_s[place], rate) if craft.offsets_s else 0,
            loop=_is_turn(one),
        )
        for place, one in enumerate(given)
    ]
    if craft.duration_s is not None:
        frames = frames_of(craft.duration_s, rate)
    elif craft.loop:
        frames = max(part.audio.shape[1] for part in parts)
    else:
        frames = max(part.start + part.audio.shape[1] for part in parts)
    _check_length(frames, rate)
    audio = mixed(parts, frames, rate, loop=craft.loop, tail_frames=min(round(1.5 * rate), frames // 3))
    return _Work(audio=audio, rate=rate, loop=craft.loop)


def _in_sequence(given: Sequence[Given], craft: InSequence, rate: int) -> _Work:
    from audio_pool.audio import edges
    from audio_pool.audio.arranging import in_sequence

    sounds = [_at(one, rate) for one in given]
    gap = round(craft.gap_s * rate)
    if gap:
        sounds = [edges.faded(one.copy(), rate) for one in sounds]
    _check_length(sum(one.shape[1] for one in sounds) + len(sounds) * gap, rate)
    audio = in_sequence(sounds, round(craft.crossfade_s * rate), gap, loop=craft.loop)
    return _Work(audio=audio if craft.loop else edges.faded(audio, rate), rate=rate, loop=craft.loop)


def _check_length(frames: int, rate: int) -> None:
    if frames > MAX_DURATION_S * rate:
        raise InvalidRequest(f"the whole would have {frames / rate:,.0f} s, allowed are {MAX_DURATION_S:g} s")


def _check(given: Given, craft: Check) -> _Work:
    loop = _is_turn(given) if craft.loop is None else craft.loop
    return _Work(audio=given.audio, rate=given.facts["sample_rate"], loop=loop)


# ------------------------------------------------------------------------------------------------- result


def _level(task: CraftTask, work: _Work, format_: str, rate: int, given_depth: int | None) -> tuple[Rendition, Level]:
    """Bring the sound to its level, which stays what it is where nothing was asked; return how it is written."""
    form = task.form
    depth = form.bit_depth or {"pcm": 16}.get(format_) or given_depth or 24
    if format_ == "flac" and form.bit_depth is None:
        depth = 16 if depth == 16 else 24
    mono = form.mono or format_ in HEADERLESS
    peak = form.true_peak_dbfs
    rendition = Rendition(
        format=format_,  # type: ignore[arg-type]
        sample_rate=rate,
        bit_depth=depth,
        target_lufs=form.target_lufs,
        true_peak_dbfs=_NO_LIMIT_DB if peak is None else peak,
        limiter=form.limiter,
        measure="integrated" if work.loop else form.measure,
        mono=mono,
        bit_rate=form.bit_rate,
    )
    work.audio, level = levelled(work.audio, work.rate, rendition, work.loop)
    if form.target_lufs is not None and not form.limiter:
        work.warnings += rendition.shortfall(level.rounded_lufs)
    top = float(np.abs(work.audio).max(initial=0.0))
    if top > 1.0 and not (format_ == "wav" and rendition.bit_depth == 32):
        down = -20 * np.log10(top)
        work.audio = work.audio * np.float32(1 / top)
        work.warnings.append(f"turned_down: by {-down:.1f} dB, so that nothing is clipped")
        level = Level(lufs=level.lufs + down, peak_dbfs=level.peak_dbfs + down, limited_db=level.limited_db)
    return rendition, level


def _judged(
    work: _Work, task: CraftTask, given: Sequence[GivenReport], form: tuple[str, int | None]
) -> CraftReport:
    """Return what is told of a sound as it is now."""
    from audio_pool.audio import bandwidth, quality, seam

    closes: LoopReport | None = None
    if work.closing is not None:
        closes = work.closing.report(work.audio, work.rate)
    elif work.loop:
        closes = LoopReport(seam_score=round(seam.seam_score(work.audio, work.rate, 0), 2))
    found = quality.assess(work.audio, work.rate, frames=work.audio.shape[1], loop=work.loop)
    level = _level_of(work.audio, work.rate, work.loop)
    report = CraftReport(
        craft=str(task.craft.__struct_config__.tag),
        given=tuple(given),
        format=form[0],
        bit_depth=form[1],
        sample_rate=work.rate,
        channels=len(work.audio),
        duration_s=work.audio.shape[1] / work.rate,
        loudness_lufs=level.rounded_lufs,
        true_peak_dbfs=level.rounded_peak_dbfs,
        is_loop=work.loop,
        loop=closes,
        quality=QualityReport(score=found.score, issues=tuple(found.issues)),
        bandwidth_hz=bandwidth.bandwidth_hz(work.audio, work.rate),
        warnings=tuple(dict.fromkeys(work.warnings)),
    )
    return report if work.highpass is None else structs.replace(report, highpass=work.highpass)
