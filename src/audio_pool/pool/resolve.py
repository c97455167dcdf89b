"""A request with every default resolved: what to make, how to write it, what counts as a hit. Pure.

Owns: the step from AudioRequest to Recipe, Shape, Rendition and Query, and which engine is meant.
Must not know: the scheduler, sockets, files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence

from msgspec import UNSET, Struct, UnsetType, structs

from audio_pool.config import Config, EngineDefaults, LoudnessProfile
from audio_pool.engine_info import EngineInfo
from audio_pool.engines.options import checked_options
from audio_pool.errors import InvalidConfig, InvalidRequest, UnknownEngine, nearest_name
from audio_pool.pool.preset_merging import merged
from audio_pool.pool.refusals import check
from audio_pool.pool.signing import UNSIGNED, Signing
from audio_pool.presets import Preset
from audio_pool.prompts.speaking_time import seconds_to_say
from audio_pool.reports import PresetUse
from audio_pool.scheduler.events import JoinKey
from audio_pool.tasks import Seal
from audio_pool.types import (
    ANY_LENGTH,
    HEADERLESS,
    STREAMABLE,
    AudioRequest,
    Edit,
    LoopMethod,
    Query,
    Recipe,
    Rendition,
    Shape,
    frames_of,
)

__all__ = ["ResolvedRequest", "derived_seed", "refuse_silent", "rendition_of", "resolve"]

PROFILES = {
    # sounds of a game are placed and mixed by its engine: one-shots in mono, by their loudest moment
    "game": LoudnessProfile(target_lufs=-23.0, true_peak_dbfs=-1.0, one_shots="short_term", mono="one_shots"),
    "broadcast": LoudnessProfile(target_lufs=-23.0, true_peak_dbfs=-1.0),  # EBU R 128
    "web": LoudnessProfile(target_lufs=-14.0, true_peak_dbfs=-1.0),  # what the large streaming services play at
    "film": LoudnessProfile(target_lufs=-27.0, true_peak_dbfs=-2.0),  # what they ask of films, at dialogue's level
}
_KIND = "kind:"
_NO_DEFAULTS = EngineDefaults()


class ResolvedRequest(Struct, frozen=True, kw_only=True):
    """A request as the pool carries it out."""

    request: AudioRequest
    recipe: Recipe
    rendition: Rendition
    shape: Shape
    query: Query
    join_key: JoinKey | None
    """Requests with equal keys get the same sound made once; None joins nothing."""
    tau_accept_new: float | None
    min_quality: float
    deliver_best: bool
    max_rounds: int
    warnings: tuple[str, ...]
    presets: tuple[PresetUse, ...] | UnsetType = UNSET
    """What became of those that the request names."""
    named: tuple[Preset, ...] = ()
    """Those presets, as they were then."""
    unmerged: AudioRequest | None = None
    """The request without what they say; None: it names none."""
    seal: Seal | None = None
    """What its file is signed with; None: it is not."""
    not_signed: str = ""
    """Why not, where files are to be signed."""
    carries: bool = False
    """Whoever makes it keeps what the manifest of ``init_audio`` says: one rendition or another will be signed."""


def resolve(
    request: AudioRequest,
    config: Config,
    engines: Mapping[str, EngineInfo],
    *,
    ready: Collection[str] = (),
    init_sha256: str | None = None,
    presets: Sequence[Preset] = (),
    signing: Signing = UNSIGNED,
) -> ResolvedRequest:
    """Return what the request means under this configuration.

    A request's own value is stronger than the engine's defaults, these than ``[defaults]``, these than
    what the engine's info says.

    Args:
        engines: info of the engines that workers host, in the order of the configuration.
        ready: names of those that a ready worker hosts, for ``engine = "kind:..."``.
        init_sha256: of the file ``request.init_audio``, where there is one.
        presets: those that the request names.
        signing: what of the pool's files is signed.

    Raises:
        UnknownEngine, NotSupported, InvalidRequest, Refused: what was given, what is allowed.
        InvalidConfig: the engine's default length is none that it makes.
    """
    defaults, sound = config.defaults, config.sound
    info = _engine(request.engine or defaults.engine, engines, ready)
    own = config.engines[info.name].defaults if info.name in config.engines else _NO_DEFAULTS
    uses: tuple[PresetUse, ...] = ()
    told: tuple[str, ...] = ()
    unmerged = request if presets else None
    assert bool(presets) == bool(request.presets), "they are looked up by who takes the request in"
    if presets:
        with_presets = merged(request, presets, info, own.negative_prompt or "")
        request, uses, told = with_presets.request, with_presets.uses, with_presets.warnings
    loop = _loop(request, config, info)
    warnings = check(request, info, config, loop)
    sample_rate = request.sample_rate or sound.sample_rate
    duration_s = _duration(request, own, config, info)
    negative_prompt = own.negative_prompt if request.negative_prompt is None else request.negative_prompt
    exact = request.seed is not None
    recipe = Recipe(
        prompt=request.prompt.strip(),
        negative_prompt=(negative_prompt or "").strip() if info.negative_prompt else "",
        engine=info.name,
        implementation=info.implementation or info.name,
        model=info.model,
        model_revision=info.model_revision,
        dtype=info.dtype if exact else "",
        quantization=info.quantization if exact else "",
        frames=frames_of(duration_s, sample_rate),
        sample_rate=sample_rate,
        loop=loop,
        seed=request.seed,
        steps=None if info.steps is None else request.steps or own.steps or defaults.steps or info.steps,
        guidance_scale=_guidance(request, own, config, info),
        candidates=_candidates(request, own, config, info),
        voice=_voice(request, info),
        options=checked_options(info, {**own.options, **request.options}),
        init_audio_sha256=init_sha256,
        init_strength=request.init_strength if request.init_audio else None,
        crossfade_s=request.crossfade_s if loop else None,
        highpass_hz=request.highpass_hz,
        edit=_edit(request),
        loop_method=_loop_method(request) if loop else UNSET,
        namespace=request.namespace,
    )
    query = _query(request, config, info)
    if request.stream:
        config = _streamable(request, config)
    rendition = rendition_of(request, config, request.rendition_rate or sample_rate, loop)
    rendition, seal, not_signed = signing.sealed(
        rendition, streamed=request.stream, raw=request.delivery == "raw"
    )
    tau_accept_new = None if info.speech else _tau_accept_new(request, config)
    min_quality = sound.min_quality if request.min_quality is None else request.min_quality
    deliver_best = (request.on_quality_failure or sound.on_quality_failure) == "best"
    join_key = JoinKey(
        recipe=recipe,
        rendition=rendition,
        query=query,
        tau_accept_new=tau_accept_new,
        min_quality=min_quality,
        deliver_best=deliver_best,
        store=request.store,
        stream=request.stream,
    )
    return ResolvedRequest(
        request=request,
        recipe=recipe,
        rendition=rendition,
        shape=Shape(
            sample_rate=sample_rate,
            frames=recipe.frames,
            loop=loop,
            tail_s=sound.tail_duration_s if recipe.crossfade_s is None else recipe.crossfade_s,
            highpass_hz=_highpass(request, config),
            highpass_order=sound.highpass_filter_order,
            natural_length=_natural(request, info),
            loop_method=(request.loop_method or "auto") if loop else "auto",
        ),
        query=query,
        join_key=None if request.force else join_key,
        tau_accept_new=tau_accept_new,
        min_quality=min_quality,
        deliver_best=deliver_best,
        # fresh seeds are not what an explicit seed asks for
        max_rounds=1 if exact or request.stream else config.limits.max_rounds,
        warnings=warnings + told,
        presets=uses or UNSET,
        named=tuple(presets),
        unmerged=unmerged,
        seal=seal,
        not_signed=not_signed,
        carries=signing.seal is not None and request.init_audio is not None,
    )


def derived_seed(base: int, round_: int, candidate: int) -> int:
    """Return the seed of one candidate: the base itself for the first, independent ones for the others."""

    if round_ == 0 and candidate == 0:
        return base
    digest = hashlib.blake2b(f"{base}:{round_}:{candidate}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _engine(name: str, engines: Mapping[str, EngineInfo], ready: Collection[str]) -> EngineInfo:
    if name.startswith(_KIND):
        return _of_kind(name.removeprefix(_KIND), engines, ready)
    info = engines.get(name)
    if info is None:
        names = [one.name for one in engines.values() if one.role == "generator"]
        near = nearest_name(name, names)
        hint = f"did you mean {near!r}?" if near else f"hosted here: {', '.join(sorted(names)) or 'none'}"
        raise UnknownEngine(f"no worker of this pool hosts engine {name!r}; {hint}")
    refuse_silent(info)
    return info


def _of_kind(kind: str, engines: Mapping[str, EngineInfo], ready: Collection[str]) -> EngineInfo:
    """Return the first engine configured for a kind of sound that is ready; else the first at all."""
    able = [info for info in engines.values() if info.role == "generator"]
    fit = [info for info in able if kind in info.kinds]
    if not fit:
        kinds = sorted({kind for info in able for kind in info.kinds})
        near = nearest_name(kind, kinds)
        hint = f"did you mean {near!r}?" if near else f"kinds here: {', '.join(kinds) or 'none'}"
        raise UnknownEngine(f"no engine of this pool is configured for kind {kind!r}; {hint}")
    return next((info for info in fit if info.name in ready), fit[0])


def refuse_silent(info: EngineInfo) -> None:
    """Raise UnknownEngine for an engine that serves others but makes no sounds."""
    if info.role != "generator":
        raise UnknownEngine(f"engine {info.name!r} makes no sounds: its kind is {info.role!r}, not 'generator'")


def _loop(request: AudioRequest, config: Config, info: EngineInfo) -> bool:
    if request.loop is None and (request.stream or info.speech or _natural(request, info)):
        return False
    return config.defaults.loop if request.loop is None else request.loop


def _loop_method(request: AudioRequest) -> LoopMethod | UnsetType:
    return UNSET if request.loop_method in (None, "auto") else request.loop_method


def _edit(request: AudioRequest) -> Edit | UnsetType:
    if request.mask_start_s is None and request.extend_s is None:
        return UNSET
    return Edit(mask_start_s=request.mask_start_s, mask_end_s=request.mask_end_s, extend_s=request.extend_s)


def _candidates(request: AudioRequest, own: EngineDefaults, config: Config, info: EngineInfo) -> int:
    """Return how many are made: of speech one where nobody asks for more, for each says the same words."""
    if request.stream:
        return 1
    return request.candidates or own.candidates or (1 if info.speech else config.defaults.candidates)


def _voice(request: AudioRequest, info: EngineInfo) -> str | None:
    """Return who speaks: the engine's first voice where nobody is named."""
    if not info.speech:
        return None
    return request.voice or (info.voices[0].name if info.voices else None)


def _duration(request: AudioRequest, own: EngineDefaults, config: Config, info: EngineInfo) -> float:
    """Return the seconds that are to be made; where the length is what it will be, a guess for the schedule.

    Of words that are spoken the seconds that they take, where nobody says otherwise.
    """
    if request.extend_s is not None:
        return request.extend_s
    if request.mask_end_s is not None and request.duration_s is None:
        return max(request.mask_end_s, info.shortest_s)
    unsaid = request.duration_s is None and own.duration_s is None
    if info.natural_length or (info.speech and unsaid):
        speed = {**own.options, **request.options}.get("speed")
        said_s = seconds_to_say(request.prompt, speed if isinstance(speed, float | int) and speed > 0 else 1.0)
        return min(max(said_s, info.shortest_s), info.longest_s)
    return request.duration_s or _default_duration(own, config, info)


def _natural(request: AudioRequest, info: EngineInfo) -> bool:
    """Return whether the length is what it will be: of words that are spoken, or of the given sound that is changed."""
    changed = request.mask_start_s is not None and request.duration_s is None
    return info.natural_length or changed or request.extend_s is not None


def _highpass(request: AudioRequest, config: Config) -> float | None:
    if request.highpass_hz is not None:
        return request.highpass_hz or None
    # what lies around a part stays the given sound, as all of it does at no strength: a filter would turn its phases
    if _edit(request) or (request.init_audio is not None and request.init_strength == 0):
        return None
    return config.sound.highpass_cutoff_hz if config.sound.apply_highpass_filter else None


def _streamable(request: AudioRequest, config: Config) -> Config:
    """Return the configuration with a format that can be sent as samples, where none was asked for."""
    if request.format is not None or config.defaults.format in STREAMABLE:
        return config
    return structs.replace(config, defaults=structs.replace(config.defaults, format="wav"))


def _default_duration(own: EngineDefaults, config: Config, info: EngineInfo) -> float:
    if own.duration_s is None:
        return min(config.defaults.duration_s, info.longest_s)
    if not info.shortest_s <= own.duration_s <= info.longest_s:
        raise InvalidConfig(
            f"engines.{info.name}.defaults.duration_s: given {own.duration_s:g}, "
            f"engine {info.name!r} makes {info.shortest_s:g} to {info.longest_s:g} s"
        )
    return own.duration_s


def _guidance(request: AudioRequest, own: EngineDefaults, config: Config, info: EngineInfo) -> float | None:
    if info.guidance_scale is None:
        return None
    for value in (request.guidance_scale, own.guidance_scale, config.defaults.guidance_scale):
        if value is not None:
            return value
    return info.guidance_scale


def _query(request: AudioRequest, config: Config, info: EngineInfo) -> Query:
    cache = config.cache

    def chosen(given: float | None, default: float) -> float:
        return default if given is None else given

    return Query(
        match=request.match or cache.match,
        same_settings="any" if request.any_engine else cache.same_settings,
        min_steps_ratio=cache.min_steps_ratio,
        guidance_tolerance=cache.guidance_tolerance,
        duration_tolerance=ANY_LENGTH
        if _natural(request, info)
        else chosen(request.duration_tolerance, cache.duration_tolerance),
        temperature=chosen(request.temperature, cache.temperature),
        variant_seed=request.variant_seed,
        shuffle=cache.shuffle if request.shuffle is None else request.shuffle,
        variant=request.variant,
        tau_use=chosen(request.tau_use, cache.tau_use),
        tau_prompt_sem=chosen(request.tau_prompt_sem, cache.tau_prompt_sem),
        reuse_k=cache.reuse_k,
        commercial_only=config.policy.commercial_only,
        speech=info.speech,
        strict=request.strict,
    )


def _profile(request: AudioRequest, config: Config) -> LoudnessProfile:
    """Return the profile that is named, or what ``[sound]`` says where none is."""
    sound = config.sound
    name = request.loudness_profile or sound.loudness_profile
    if name is None:
        return LoudnessProfile(
            target_lufs=sound.target_lufs, true_peak_dbfs=sound.true_peak_dbfs, limiter=sound.limiter
        )
    known = {**PROFILES, **config.loudness}
    if name not in known:
        near = nearest_name(name, known)
        hint = f"did you mean {near!r}?" if near else f"known here: {', '.join(sorted(known))}"
        raise InvalidRequest(f"loudness_profile: there is no profile {name!r}; {hint}")
    return known[name]


def rendition_of(request: AudioRequest, config: Config, sample_rate: int, loop: bool) -> Rendition:
    """Return how a sound is written."""
    sound, profile = config.sound, _profile(request, config)
    raw = request.delivery == "raw"
    format_ = "wav" if raw else request.format or config.defaults.format
    depth = 32 if raw else request.bit_depth or {"flac": 24, "pcm": 16}.get(format_, config.defaults.bit_depth)
    target = request.target_lufs
    if target is None and (sound.normalize_loudness or request.loudness_profile is not None):
        target = profile.target_lufs
    return Rendition(
        format=format_,
        sample_rate=sample_rate,
        bit_depth=depth,
        target_lufs=target,
        true_peak_dbfs=profile.true_peak_dbfs if request.true_peak_dbfs is None else request.true_peak_dbfs,
        limiter=profile.limiter if request.limiter is None else request.limiter,
        measure="integrated" if loop else profile.one_shots,
        mono=profile.mono == "always" or (profile.mono == "one_shots" and not loop) or format_ in HEADERLESS,
        bit_rate=request.bit_rate,
        inscription=None if format_ in HEADERLESS else config.provenance.inscription,
    )


def _tau_accept_new(request: AudioRequest, config: Config) -> float | None:
    if config.cache.scorer == "off":
        return None
    return config.cache.tau_accept_new if request.tau_accept_new is None else request.tau_accept_new
