"""What of a request is refused: what cannot be made, written or sent as it was asked for. Pure.

Owns: the checks that need an engine's info or the configuration, and the warnings of what an engine ignores.
Must not know: what a request comes to, the scheduler, sockets, files.
"""

from __future__ import annotations

from audio_pool.config import Config
from audio_pool.engine_info import EngineInfo
from audio_pool.errors import InvalidRequest, NotSupported, Refused, nearest_name
from audio_pool.types import MAX_PROMPT_CHARS, STREAMABLE, AudioRequest

__all__ = ["check", "check_in_time", "check_written"]


def check_in_time(request: AudioRequest) -> None:
    """Raise InvalidRequest for wishes that exclude each other."""
    early = request.best_by_deadline or request.stand_in
    if request.best_by_deadline and request.deadline_ms is None:
        raise InvalidRequest("best_by_deadline: given without deadline_ms", hint="say by when: deadline_ms")
    if request.upgrade and not early:
        raise InvalidRequest("upgrade: given without best_by_deadline or stand_in, whose answers alone can be bettered")
    if early and request.stream:
        raise InvalidRequest("stream: what is sent while it is made cannot be replaced; leave out best_by_deadline")
    if request.stand_in and request.strict:
        raise InvalidRequest("stand_in: given with strict, which takes nothing that is not quite what was asked for")
    if request.durable and request.upgrade:
        raise InvalidRequest(
            "upgrade: given with durable, whose one result waits to be fetched",
            hint="leave durable out: the better sound is found in the cache by asking again",
        )


def check_written(request: AudioRequest, config: Config) -> None:
    """Raise InvalidRequest where no file can be written as a request wants it."""
    if request.delivery == "raw":
        for field, given, fits in (("format", request.format, "wav"), ("bit_depth", request.bit_depth, 32)):
            if given not in (None, fits):
                raise InvalidRequest(f"{field}: given {given!r} with delivery 'raw': 32-bit floats; leave it out")
        if request.durable:
            raise InvalidRequest("delivery: given 'raw' with durable, whose result is a file; ask for 'inline'")
    elif request.bit_depth == 32 and (request.format or config.defaults.format) != "wav":
        raise InvalidRequest("bit_depth: 32 (float) is for format 'wav' only; allowed for flac are 16 and 24")
    if request.bit_rate is not None and (request.format or config.defaults.format) not in ("mp3", "opus"):
        raise InvalidRequest("bit_rate: is for the formats 'mp3' and 'opus' only; leave it out, or ask for one of them")
    if request.format == "pcm" and request.bit_depth not in (None, 16):
        raise InvalidRequest(f"bit_depth: given {request.bit_depth}, format 'pcm' has 16")


def check(request: AudioRequest, info: EngineInfo, config: Config, loop: bool) -> tuple[str, ...]:
    """Refuse what the engine cannot do; return a warning for each thing that it will ignore.

    Args:
        loop: it comes to a loop, asked for or by default.

    Raises:
        NotSupported, InvalidRequest, Refused: what was given, what is allowed.
    """
    check_in_time(request)
    duration_s = request.duration_s
    if duration_s is not None and not info.natural_length and not info.shortest_s <= duration_s <= info.longest_s:
        raise InvalidRequest(
            f"duration_s: given {duration_s:g}, engine {info.name!r} makes {info.shortest_s:g} to {info.longest_s:g} s"
        )
    edited = request.mask_start_s is not None or request.extend_s is not None
    if request.init_audio is not None and not info.init_audio and not edited:
        able = "make a part of one anew (mask_start_s, mask_end_s)" if info.inpaint else ""
        able += " or " * (info.inpaint and info.extend) + "continue a sound (extend_s)" * info.extend
        raise NotSupported(
            f"init_audio: engine {info.name!r} cannot start from a sound{f'; it can {able}' if able else ''}"
        )
    if len(request.prompt) > MAX_PROMPT_CHARS and not info.speech:
        raise InvalidRequest(
            f"prompt: given {len(request.prompt):,} characters, engine {info.name!r} takes {MAX_PROMPT_CHARS:,}"
        )
    if request.stream:
        _check_stream(request)
    _check_edit(request, info, loop)
    if request.variant is not None and (request.seed is not None or request.init_audio is not None):
        raise InvalidRequest("variant: given with seed or init_audio, which mean one sound; leave either out")
    if request.replace and not (request.force and request.store):
        lacking = "store = false" if request.force else "no force"
        raise InvalidRequest(f"replace: given with {lacking}; it wants force = true, and a sound that is kept")
    check_written(request, config)
    if request.output_path is not None and not request.output_path.startswith("/"):
        raise InvalidRequest(f"output_path: given {request.output_path!r}, allowed is an absolute path")
    if request.voice is not None and info.voices and request.voice not in {voice.name for voice in info.voices}:
        near = nearest_name(request.voice, [voice.name for voice in info.voices])
        hint = f"did you mean {near!r}?" if near else f"its voices: {', '.join(voice.name for voice in info.voices)}"
        raise InvalidRequest(f"voice: given {request.voice!r}, which engine {info.name!r} does not have; {hint}")
    if config.policy.commercial_only and not info.commercial_use:
        raise Refused(
            f"engine {info.name!r} has licence {info.licence!r}, which does not allow commercial use",
            hint="policy.commercial_only is set; choose another engine",
        )
    ignored = [
        ("steps", request.steps is not None and info.steps is None, "has no steps"),
        ("guidance_scale", request.guidance_scale is not None and info.guidance_scale is None, "has no guidance"),
        ("negative_prompt", bool(request.negative_prompt) and not info.negative_prompt, "takes no negative prompt"),
        ("voice", request.voice is not None and not info.speech, "has no voices"),
        (
            "init_strength",
            request.init_strength is not None and request.extend_s is not None,
            "makes what is added all new",
        ),
        (
            "crossfade_s",
            request.crossfade_s is not None and not loop,
            "is not asked for a loop",
        ),
        (
            "loop_method",
            request.loop_method is not None and not loop,
            "is not asked for a loop",
        ),
        ("duration_s", request.duration_s is not None and info.natural_length, "speaks for as long as the words take"),
    ]
    warnings = tuple(f"{name}_ignored: engine {info.name!r} {why}" for name, given, why in ignored if given)
    if request.strict and warnings:
        raise NotSupported(f"strict: {'; '.join(warnings)}", hint="leave these fields out, or ask without 'strict'")
    return warnings


def _check_stream(request: AudioRequest) -> None:
    """Refuse what can be done or decided only once all of a sound is there."""
    whole = {
        "candidates": (request.candidates or 1) > 1 and "the best of several is chosen when all are made",
        "keep_candidates": request.keep_candidates and "there is one candidate",
        "loop": request.loop and "a loop is closed when its end is known",
        "tau_accept_new": request.tau_accept_new is not None and "CLAP hears a sound when all of it has been sent",
        "min_quality": request.min_quality is not None and "it is judged when all of it has been sent",
        "limiter": request.limiter is False and "nothing else keeps what comes later under the true peak",
        "mask_start_s": request.mask_start_s is not None and "the rest is put around the part when that is there",
        "extend_s": request.extend_s is not None and "it is joined to init_audio when all of it is there",
        "delivery": request.delivery == "raw" and "its chunks are its samples",
        "durable": request.durable and "a durable request's result waits for its caller",
        "format": request.format not in (None, *STREAMABLE)
        and f"it is sent as samples; allowed are {' and '.join(STREAMABLE)}",
    }
    for field, why in whole.items():
        if why:
            raise InvalidRequest(f"stream: given with {field} = {getattr(request, field)!r}: {why}")


def _check_edit(request: AudioRequest, info: EngineInfo, loop: bool) -> None:
    """Refuse what cannot be made of a given sound, or closed as it was asked for."""
    for field in ("init_strength", "mask_start_s", "mask_end_s", "extend_s"):
        if getattr(request, field) is not None and request.init_audio is None:
            raise InvalidRequest(f"{field}: given without init_audio; give both or neither")
    start, end = request.mask_start_s, request.mask_end_s
    if (start is None) != (end is None):
        raise InvalidRequest("mask_start_s, mask_end_s: given one of them; give both or neither")
    if start is not None and end is not None:
        if start >= end:
            raise InvalidRequest(f"mask_end_s: given {end:g}, allowed is more than mask_start_s ({start:g})")
        if not info.inpaint:
            raise NotSupported(f"mask_start_s: engine {info.name!r} cannot make a part of a sound anew")
        if request.duration_s is not None and end > request.duration_s:
            raise InvalidRequest(f"mask_end_s: given {end:g}, allowed is at most duration_s ({request.duration_s:g})")
        if request.duration_s is None and request.loop:
            raise InvalidRequest("loop: given with mask_start_s; give duration_s, too: a loop's length is as asked for")
    if request.extend_s is not None:
        given = "mask_start_s" if start is not None else "duration_s" if request.duration_s is not None else ""
        if given:
            raise InvalidRequest(f"extend_s: given with {given}; the length is that of init_audio and extend_s seconds")
        if loop:
            raise InvalidRequest("extend_s: given with loop; a sound that is continued is a one-shot")
        if not info.extend:
            raise NotSupported(f"extend_s: engine {info.name!r} cannot continue a sound")
    if request.loop_method == "native" and not info.loop:
        raise NotSupported(
            f"loop_method: engine {info.name!r} makes no loops of itself", hint="leave it out, or ask for 'crossfade'"
        )
    if info.natural_length and request.loop:
        raise NotSupported(f"loop: engine {info.name!r} speaks; what is said has its own length and end")
