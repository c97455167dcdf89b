"""A request with every default settled: what to make, how to write it, what counts as a hit.

Owns: the step from AudioRequest to Recipe, Shape, Rendition and Query, and the checks that need an
engine's info. Pure.
Must not know: the schedule, sockets, files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from audio_pool.config import Config
from audio_pool.engine_info import EngineInfo
from audio_pool.errors import InvalidRequest, NotSupported, Refused, UnknownEngine, nearest_name
from audio_pool.types import AudioRequest, Query, Recipe, Rendition, Shape, frames_of

__all__ = ["Settled", "derived_seed", "settle"]

MAX_LABELS = 32


@dataclass(frozen=True, kw_only=True)
class Settled:
    """A request as the pool carries it out."""

    request: AudioRequest
    recipe: Recipe
    rendition: Rendition
    shape: Shape
    query: Query
    join_key: Hashable
    """Requests with equal keys get the same sound made once; None joins nothing."""
    tau_accept_new: float | None
    max_rounds: int
    warnings: tuple[str, ...]


def settle(
    request: AudioRequest, config: Config, engines: Mapping[str, EngineInfo], init_sha256: str | None = None
) -> Settled:
    """What the request means under this configuration.

    Args:
        engines: info of the engines that workers host.
        init_sha256: of the file ``request.init_audio``, where there is one.

    Raises:
        UnknownEngine, NotSupported, InvalidRequest, Refused: what was given, what is allowed.
    """
    defaults, sound = config.defaults, config.sound
    info = _engine(request.engine or defaults.engine, engines)
    warnings = _able(request, info, config)
    loop = defaults.loop if request.loop is None else request.loop
    sample_rate = request.sample_rate or sound.sample_rate
    duration_s = request.duration_s or min(defaults.duration_s, info.longest_s)
    recipe = Recipe(
        prompt=request.prompt.strip(),
        negative_prompt=request.negative_prompt.strip() if info.negative_prompt else "",
        engine=info.name,
        model=str(config.engines.get(info.name, {}).get("model", info.model)),
        frames=frames_of(duration_s, sample_rate),
        sample_rate=sample_rate,
        loop=loop,
        seed=request.seed,
        steps=None if info.steps is None else request.steps or defaults.steps or info.steps,
        guidance_scale=_guidance(request, config, info),
        candidates=request.candidates or defaults.candidates,
        voice=request.voice if info.speech else None,
        init_audio_sha256=init_sha256,
        init_strength=request.init_strength if request.init_audio else None,
        namespace=request.namespace,
    )
    query = _query(request, config, info)
    rendition = _rendition(request, config, sample_rate)
    return Settled(
        request=request,
        recipe=recipe,
        rendition=rendition,
        shape=Shape(
            sample_rate=sample_rate,
            frames=recipe.frames,
            loop=loop,
            tail_s=sound.tail_duration_s,
            highpass_hz=sound.highpass_cutoff_hz if sound.apply_highpass_filter else None,
            highpass_order=sound.highpass_filter_order,
        ),
        query=query,
        # the things themselves: hashing them costs a tenth of a digest
        join_key=None if request.force else (recipe, rendition, query, request.tau_accept_new),
        tau_accept_new=_tau_accept_new(request, config),
        # fresh seeds are not what an explicit seed asks for
        max_rounds=1 if request.seed is not None else config.limits.max_rounds,
        warnings=warnings,
    )


def derived_seed(base: int, round_: int, candidate: int) -> int:
    """The seed of one candidate: the base itself for the first, independent ones for the others."""
    if round_ == 0 and candidate == 0:
        return base
    digest = hashlib.blake2b(f"{base}:{round_}:{candidate}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _engine(name: str, engines: Mapping[str, EngineInfo]) -> EngineInfo:
    info = engines.get(name)
    if info is None:
        near = nearest_name(name, engines)
        hint = f"did you mean {near!r}?" if near else f"hosted here: {', '.join(sorted(engines)) or 'none'}"
        raise UnknownEngine(f"no worker of this pool hosts engine {name!r}; {hint}")
    refuse_silent(info)
    return info


def refuse_silent(info: EngineInfo) -> None:
    """Raises UnknownEngine for an engine that serves others but makes no sounds."""
    if info.role != "generator":
        raise UnknownEngine(f"engine {info.name!r} makes no sounds: its kind is {info.role!r}, not 'generator'")


def _able(request: AudioRequest, info: EngineInfo, config: Config) -> tuple[str, ...]:
    """Refuses what the engine cannot do, and names what it will ignore."""
    duration_s = request.duration_s
    if duration_s is not None and not info.shortest_s <= duration_s <= info.longest_s:
        raise InvalidRequest(
            f"duration_s: given {duration_s:g}, engine {info.name!r} makes {info.shortest_s:g} to {info.longest_s:g} s"
        )
    if request.init_audio is not None and not info.init_audio:
        raise NotSupported(f"init_audio: engine {info.name!r} cannot start from a sound")
    if request.init_strength is not None and request.init_audio is None:
        raise InvalidRequest("init_strength: given without init_audio; give both or neither")
    if request.bit_depth == 32 and (request.format or config.defaults.format) != "wav":
        raise InvalidRequest("bit_depth: 32 (float) is for format 'wav' only; allowed for flac are 16 and 24")
    if request.output_path is not None and not request.output_path.startswith("/"):
        raise InvalidRequest(f"output_path: given {request.output_path!r}, allowed is an absolute path")
    if len(request.metadata) > MAX_LABELS:
        raise InvalidRequest(f"metadata: given {len(request.metadata)} labels, allowed are {MAX_LABELS}")
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
    ]
    return tuple(f"{name}_ignored: engine {info.name!r} {why}" for name, given, why in ignored if given)


def _guidance(request: AudioRequest, config: Config, info: EngineInfo) -> float | None:
    if info.guidance_scale is None:
        return None
    for value in (request.guidance_scale, config.defaults.guidance_scale):
        if value is not None:
            return value
    return info.guidance_scale


def _query(request: AudioRequest, config: Config, info: EngineInfo) -> Query:
    cache = config.cache

    def chosen(given: float | None, default: float) -> float:
        return default if given is None else given

    return Query(
        match=request.match or cache.match,
        any_engine=request.any_engine,
        duration_tolerance=chosen(request.duration_tolerance, cache.duration_tolerance),
        temperature=chosen(request.temperature, cache.temperature),
        variant_seed=request.variant_seed,
        tau_use=chosen(request.tau_use, cache.tau_use),
        tau_prompt_sem=chosen(request.tau_prompt_sem, cache.tau_prompt_sem),
        reuse_k=cache.reuse_k,
        commercial_only=config.policy.commercial_only,
        speech=info.speech,
    )


def _rendition(request: AudioRequest, config: Config, sample_rate: int) -> Rendition:
    sound = config.sound
    format_ = request.format or config.defaults.format
    depth = request.bit_depth or config.defaults.bit_depth
    target = request.target_lufs
    if target is None and sound.normalize_loudness:
        target = sound.target_lufs
    return Rendition(
        format=format_,
        sample_rate=sample_rate,
        bit_depth=24 if format_ == "flac" and request.bit_depth is None else depth,
        target_lufs=target,
        true_peak_dbfs=sound.true_peak_dbfs if request.true_peak_dbfs is None else request.true_peak_dbfs,
    )


def _tau_accept_new(request: AudioRequest, config: Config) -> float | None:
    if config.cache.scorer == "off":
        return None
    return config.cache.tau_accept_new if request.tau_accept_new is None else request.tau_accept_new
