"""Presets merged into a request: the words they add, the parameters they set, and who is stronger. Pure.

Owns: ``merged``.
Must not know: where presets are kept, the cache, what the request comes to afterwards.

What the request itself says wins; then the preset of the higher priority; then the one that the request names first.
What an engine cannot take of a preset is left out and told: a preset is not written for one engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct, structs

from audio_pool.engine_info import EngineInfo
from audio_pool.engines.options import checked_options
from audio_pool.errors import InvalidRequest
from audio_pool.presets import Preset
from audio_pool.reports import PresetUse
from audio_pool.scene import Aspect, told
from audio_pool.types import MAX_PROMPT_CHARS, AudioRequest, Label

__all__ = ["Merged", "merged"]

_REQUEST = "the request says otherwise"
_WHOLE_ONLY = ("loop", "candidates", "min_quality")
"""What a sound that is sent while it is made cannot be asked for."""


class Merged(Struct, frozen=True, kw_only=True):
    """A request with its presets merged in."""

    request: AudioRequest
    uses: tuple[PresetUse, ...]
    """In the order in which the request names them."""
    warnings: tuple[str, ...]
    """``preset_left_out: ...`` for what of a preset the request did not ask to be without."""


class _Use:
    """One preset, and what has become of it so far."""

    def __init__(self, preset: Preset) -> None:
        self.preset = preset
        self.contributed: dict[str, Any] = {}  # opaque: as in PresetUse
        self.left_out: dict[str, str] = {}

    def report(self) -> PresetUse:
        preset = self.preset
        return PresetUse(
            id=preset.id,
            type=preset.type,
            priority=preset.metadata.priority,
            revision=preset.revision,
            contributed=self.contributed,
            left_out=self.left_out,
        )


def merged(request: AudioRequest, presets: Sequence[Preset], info: EngineInfo, negative_prompt: str = "") -> Merged:
    """Return the request as it is made with these presets.

    Args:
        presets: in the order in which the request names them, each once.
        info: of the engine that makes the sound.
        negative_prompt: what this engine's sounds are without where nobody says so.

    Raises:
        InvalidRequest: an option's value is none that the engine takes; the words have become too many.
    """
    uses = [_Use(preset) for preset in presets]
    suited = []
    for use in uses:
        if use.preset.suits(info.name, info.kinds):
            suited.append(use)
        else:
            use.left_out["preset"] = f"it is for {', '.join(use.preset.engines)}; the engine is {info.name!r}"
    strongest = sorted(suited, key=lambda use: -use.preset.metadata.priority)  # stable: then as they are named
    fields, options = _parameters(request, [use for use in strongest if use.preset.type != "prompt"], info)
    worded = [use for use in strongest if use.preset.type == "prompt"]
    if worded and not info.wording.listens:
        for use in worded:
            use.left_out["words"] = f"engine {info.name!r} would speak them"
        worded = []
    prompt, scene_options = _prompt(request, worded, info, {**options, **request.options})
    request = structs.replace(
        request,
        **fields,
        prompt=prompt,
        negative_prompt=_negative(request, worded, info, negative_prompt),
        options={**scene_options, **options, **request.options},
    )
    warnings = [
        f"preset_left_out: preset {use.preset.id!r}: {what}: {why}"
        for use in uses
        for what, why in use.left_out.items()
        if why != _REQUEST
    ]
    return Merged(request=request, uses=tuple(use.report() for use in uses), warnings=tuple(warnings))


# -- parameters -----------------------------------------------------------------------------------------------------


def _parameters(
    request: AudioRequest, uses: Sequence[_Use], info: EngineInfo
) -> tuple[dict[str, Any], dict[str, Label]]:  # opaque: each field's own type
    """Return the fields that presets set, and the engine's options."""
    fields: dict[str, Any] = {}  # opaque: as returned
    options: dict[str, Label] = {}
    owners: dict[str, _Use] = {}
    for use in uses:
        parameters = use.preset.parameters
        for name, value in parameters.given().items():
            why = _REQUEST if getattr(request, name) is not None else _not_for(request, name, value, info)
            if _stands(use, name, value, owners, why):
                fields[name] = use.contributed[name] = value
        for name, option in parameters.options.items():
            what = f"options.{name}"
            if name in request.options:
                why = _REQUEST
            elif all(known.name != name for known in info.options):
                why = f"engine {info.name!r} has no such option"
            else:
                why = ""
            if _stands(use, what, option, owners, why):
                _check_option(use.preset, info, name, option)
                options[name] = option
                use.contributed.setdefault("options", {})[name] = option
    return fields, options


# opaque: a value that is only compared
def _stands(use: _Use, what: str, value: object, owners: dict[str, _Use], why: str) -> bool:
    """Return whether a value counts; note why not where it does not."""
    owner = owners.get(what)
    if not why and owner is not None:
        if _said(owner, what) == value:
            return False  # both say the same
        why = f"preset {owner.preset.id!r} is stronger"
    if why:
        use.left_out[what] = why
        return False
    owners[what] = use
    return True


def _said(owner: _Use, what: str) -> Any:  # opaque: a value that is only compared
    group, _, name = what.partition(".")
    return owner.contributed[group][name] if name else owner.contributed[what]


def _not_for(request: AudioRequest, name: str, value: Any, info: EngineInfo) -> str:  # opaque: a field's own type
    """Return why an engine, or this request, cannot take a field's value; "" where it can."""
    engine = f"engine {info.name!r}"
    if request.stream and name in _WHOLE_ONLY:
        return "the sound is sent while it is made"
    if name == "steps" and info.steps is None:
        return f"{engine} has no steps"
    if name == "guidance_scale" and info.guidance_scale is None:
        return f"{engine} has no guidance"
    if name == "loop" and value and info.speech:
        return f"{engine} speaks"
    if name == "voice" and value not in {voice.name for voice in info.voices}:
        return f"{engine} has no such voice"
    if name == "duration_s" and info.natural_length:
        return f"{engine} speaks for as long as the words take"
    if name == "duration_s" and not info.shortest_s <= value <= info.longest_s:
        return f"{engine} makes {info.shortest_s:g} to {info.longest_s:g} s"
    if name == "seed" and request.variant is not None:
        return "the request asks for a variant"
    if name == "init_strength" and request.init_audio is None:
        return "the request starts from no sound"
    return ""


def _check_option(preset: Preset, info: EngineInfo, name: str, value: Label) -> None:
    try:
        checked_options(info, {name: value})
    except InvalidRequest as exc:
        raise InvalidRequest(f"preset {preset.id!r}: {exc.message}", hint="mend the preset, or leave it out") from None


# -- words ----------------------------------------------------------------------------------------------------------


def _prompt(
    request: AudioRequest, uses: Sequence[_Use], info: EngineInfo, taken: dict[str, Label]
) -> tuple[str, dict[str, Label]]:
    """Return the words, and the engine's options that a scene comes to.

    Args:
        taken: options that are set already.
    """
    own = request.prompt.strip()
    before: list[str] = []
    after: list[str] = []
    for use in uses:
        words = use.preset.words
        for name, text, texts in (("before", words.before, before), ("after", words.after, after)):
            text = " ".join(text.split())
            if not text:
                continue
            if _has(f"{own}, {', '.join((*before, *after))}", text):
                use.left_out[name] = "the prompt says so already"
            else:
                texts.append(text)
                use.contributed[name] = text
    phrases, options = _scene(uses, info, taken, f"{own}, {', '.join((*before, *after))}")
    merged_prompt = ", ".join((" ".join((*before, own)), *after, *phrases))
    longest = MAX_PROMPT_CHARS
    if len(merged_prompt) > longest:
        names = ", ".join(repr(use.preset.id) for use in uses if use.contributed)
        raise InvalidRequest(
            f"presets: with the words of {names} the prompt has {len(merged_prompt):,} characters, engine "
            f"{info.name!r} takes {longest:,}",
            hint="leave a preset out, or say less",
        )
    return merged_prompt, options


def _scene(
    uses: Sequence[_Use], info: EngineInfo, taken: dict[str, Label], so_far: str
) -> tuple[list[str], dict[str, Label]]:
    """Return the phrases and options of the scene that all presets make together."""
    scene: dict[Aspect, str] = {}
    owners: dict[str, _Use] = {}
    for use in uses:
        for aspect, value in use.preset.words.scene.given().items():
            if aspect not in scene:
                scene[aspect], owners[aspect] = value, use
            elif scene[aspect] != value:
                use.left_out[f"scene.{aspect}"] = f"preset {owners[aspect].preset.id!r} is stronger"
    heard = told(scene, info.wording)
    for aspect, value in heard.silent.items():
        owners[aspect].left_out[f"scene.{aspect}"] = f"{value!r} means nothing to engine {info.name!r}"
    phrases: list[str] = []
    options: dict[str, Label] = {}
    for aspect, phrase in heard.phrases.items():
        use, contributed = owners[aspect], dict[str, Any]()  # opaque: words, and options by name
        if phrase.words and _has(so_far, phrase.words):
            use.left_out[f"scene.{aspect}"] = "the prompt says so already"
        elif phrase.words:
            phrases.append(phrase.words)
            contributed["words"] = phrase.words
        for name, option in phrase.options.items():
            if name in taken or name in options:
                use.left_out[f"scene.{aspect}"] = f"options.{name} is set already"
            else:
                options[name] = option
                contributed.setdefault("options", {})[name] = option
        if contributed:
            use.contributed.setdefault("scene", {})[aspect] = contributed
    if phrases and info.wording.always:
        phrases.append(info.wording.always)
        next(use for use in uses if use.contributed.get("scene")).contributed["always"] = info.wording.always
    return phrases, options


def _negative(request: AudioRequest, uses: Sequence[_Use], info: EngineInfo, default: str) -> str | None:
    """Return what the sound is to be without; None: as the request and the configuration have it."""
    own = default if request.negative_prompt is None else request.negative_prompt
    texts = [own.strip()] if own.strip() else []
    added = False
    for use in uses:
        text = " ".join(use.preset.words.negative.split())
        if not text:
            continue
        if not info.negative_prompt:
            use.left_out["negative"] = f"engine {info.name!r} takes no negative prompt"
        elif request.negative_prompt is not None and not own.strip():
            use.left_out["negative"] = _REQUEST
        elif not _has(", ".join(texts), text):
            texts.append(text)
            use.contributed["negative"] = text
            added = True
    return ", ".join(texts) if added else request.negative_prompt


def _has(text: str, part: str) -> bool:
    """Return whether a text has these words, as words."""
    letters = "".join(char if char.isalnum() else " " for char in text.lower()).split()
    wanted = "".join(char if char.isalnum() else " " for char in part.lower()).split()
    return bool(wanted) and f" {' '.join(wanted)} " in f" {' '.join(letters)} "
