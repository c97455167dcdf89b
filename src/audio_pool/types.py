"""The vocabulary of a sound asked for.

Owns: AudioRequest, Recipe (the request with every default resolved) and its identity, Shape (how raw
candidates become a finished sound), Rendition (how that sound is written), and the bounds of every field.
Must not know: processes, sockets, engines, files; what a request comes to (results.py).

Struct constructors do not validate; everything that comes from outside goes through ``validation.parse``.
"""

from __future__ import annotations

import hashlib
import math
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

__all__ = [
    "ANY_LENGTH",
    "FORMATS",
    "HEADERLESS",
    "INSCRIPTION_VERSION",
    "LOUDNESS_LIMITED",
    "MAX_DURATION_S",
    "MAX_LABELS",
    "MAX_PROMPT_CHARS",
    "MAX_SPOKEN_CHARS",
    "STREAMABLE",
    "STRICT_WARNINGS",
    "AudioRequest",
    "Edit",
    "Inscription",
    "Label",
    "LoopMethod",
    "Peaks",
    "Picture",
    "Query",
    "Recipe",
    "Rendition",
    "Shape",
    "frames_of",
]

MAX_PROMPT_CHARS = 2_000
MAX_SPOKEN_CHARS = 5_000
"""Longest text for an engine that speaks; all others take ``MAX_PROMPT_CHARS``."""
ANY_LENGTH = 1e6
"""A ``duration_tolerance`` beyond all lengths."""
MIN_DURATION_S = 0.05
MAX_DURATION_S = 600.0
MAX_SEED = 2**63 - 1
MAX_LABELS = 32
STRICT_WARNINGS = ("nearest_recipe", "not_heard", "not_english", "layers_left_out")
"""Names of warnings that say a sound is not quite what the words ask for; ``strict`` makes them errors."""
LOUDNESS_LIMITED = "loudness_limited"
_QUIETER_LU = 1.0
"""How far the true peak may keep a sound under its target before a warning says so."""
FORMATS = ("wav", "flac", "ogg", "opus", "mp3", "pcm", "ulaw", "alaw")
STREAMABLE = ("wav", "pcm")
"""Formats whose samples can be sent before all of them are there."""
HEADERLESS = ("pcm", "ulaw", "alaw")
"""Samples and nothing else: one channel, for nothing says how many there are."""

Prompt = Annotated[str, Meta(min_length=1, max_length=MAX_SPOKEN_CHARS, pattern=r"\S")]
OptionalText = Annotated[str, Meta(max_length=MAX_PROMPT_CHARS)]
Name = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"\A[A-Za-z0-9][A-Za-z0-9_.\-]*\Z")]
EngineName = Annotated[str, Meta(min_length=1, max_length=69, pattern=r"\A(kind:)?[A-Za-z0-9][A-Za-z0-9_.\-]*\Z")]
Label = str | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | float | bool | None
"""One scalar of a caller's labels or an engine's options."""
Tag = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"\A[^\x00-\x1f\x7f]+\Z")]
PresetId = Annotated[
    str,
    Meta(min_length=1, max_length=64, pattern=r"\A[^\x00-\x1f\x7f-\x9f]*[^\x00-\x20\x7f-\xa0][^\x00-\x1f\x7f-\x9f]*\Z"),
]
"""Any name without control characters: ``old radio``."""
MAX_PRESETS_NAMED = 16
"""Presets that one request may be made with."""
RequestId = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"\A[\x21-\x7e]+\Z")]
Duration = Annotated[float, Meta(ge=MIN_DURATION_S, le=MAX_DURATION_S)]
Seed = Annotated[int, Meta(ge=0, le=MAX_SEED)]
Steps = Annotated[int, Meta(ge=1, le=1000)]
Guidance = Annotated[float, Meta(ge=0.0, le=100.0)]
Candidates = Annotated[int, Meta(ge=1, le=16)]
SampleRate = Annotated[int, Meta(ge=8_000, le=192_000)]
BitRate = Annotated[int, Meta(ge=8, le=320)]
Unit = Annotated[float, Meta(ge=0.0, le=1.0)]
Cosine = Annotated[float, Meta(ge=-1.0, le=1.0)]
Lufs = Annotated[float, Meta(ge=-70.0, le=0.0)]
PeakDb = Annotated[float, Meta(ge=-40.0, le=0.0)]
MAX_VARIANTS = 100
"""Sounds of one prompt that may be asked for at a time."""
Format = Literal["wav", "flac", "ogg", "opus", "mp3", "pcm", "ulaw", "alaw"]
Match = Literal["strict", "tolerant", "threshold", "global"]
Crossfade = Annotated[float, Meta(ge=0.0, le=10.0)]
Quality = Annotated[float, Meta(ge=0.0, le=100.0)]
OnQualityFailure = Literal["error", "best"]
Measure = Literal["integrated", "short_term"]
Highpass = Annotated[float, Meta(ge=0.0, le=1000.0)]
Priority = Literal["interactive", "normal", "background"]
Delivery = Literal["path", "inline"]
SoundDelivery = Literal["path", "inline", "raw"]
LoopMethod = Literal["auto", "native", "crossfade"]
Moment = Annotated[float, Meta(ge=0.0, le=MAX_DURATION_S)]
Extension = Annotated[float, Meta(ge=MIN_DURATION_S, le=MAX_DURATION_S)]
BitDepth = Literal[16, 24, 32]
SameSettings = Literal["model", "family", "any"]

class AudioRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a caller asks for. ``None`` means: the pool's configured default.

    Build it with ``parse(AudioRequest, {...})``: the constructor itself checks nothing.
    """

    prompt: Prompt
    """Words, 1..2,000 characters; 5,000 for an engine that speaks."""
    negative_prompt: OptionalText | None = None
    """None: the engine's default, where one is configured; "": none."""
    duration_s: Duration | None = None
    """Seconds, 0.05..600; the engine may allow less."""
    loop: bool | None = None
    engine: EngineName | None = None
    """A named model, or ``kind:NAME`` for the first ready one of that kind."""
    seed: Seed | None = None
    """0..2**63-1. An explicit seed only ever matches the identical recipe."""
    steps: Steps | None = None
    guidance_scale: Guidance | None = None
    candidates: Candidates | None = None
    keep_candidates: bool = False
    """Those of a new sound that are not chosen can be heard, and one of them chosen instead, for a while."""
    voice: Name | None = None
    options: Annotated[dict[Name, Label], Meta(max_length=32)] = {}
    """The engine's own parameters; ``audio-pool engines NAME`` lists them."""
    presets: Annotated[list[PresetId], Meta(max_length=MAX_PRESETS_NAMED)] = []
    """Ids of kept sets of words and parameters; what the request itself says is stronger."""
    init_audio: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    """Absolute path of an audio file to start from, readable by the worker."""
    init_strength: Unit | None = None
    """0 keeps the initial audio, 1 ignores it."""
    mask_start_s: Moment | None = None
    """From here to ``mask_end_s`` the initial audio is made anew, and stays as it is elsewhere."""
    mask_end_s: Moment | None = None
    extend_s: Extension | None = None
    """Seconds by which the initial audio is continued past its end."""
    loop_method: LoopMethod | None = None
    """How a loop closes: made so by the engine, or by a crossfade; None: ``auto``, the first where it can."""
    sample_rate: SampleRate | None = None
    """Of the sound, and part of what it is; a kept one of a lower rate does not answer."""
    rendition_rate: SampleRate | None = None
    """Of the file, where it is to differ from the sound's: the kept sound stays what it is."""
    format: Format | None = None
    bit_rate: BitRate | None = None
    """Kilobits a second, MP3 and Opus only; None: by quality."""
    bit_depth: BitDepth | None = None
    """WAV and FLAC only; 32 is float and WAV only."""
    target_lufs: Lufs | None = None
    true_peak_dbfs: PeakDb | None = None
    loudness_profile: Name | None = None
    """``game``, ``broadcast``, ``web``, ``film``, or the configuration's own; what is given beside it is stronger."""
    limiter: bool | None = None
    """Hold peaks down where the loudness could not be reached otherwise."""
    min_quality: Quality | None = None
    """Least score of the quality gate, 0..100, for a new sound to be accepted without fresh seeds."""
    on_quality_failure: OnQualityFailure | None = None
    """Where no candidate of any round passed the gate: an error, or the best of them, not accepted."""
    crossfade_s: Crossfade | None = None
    """Longest crossfade of a loop, seconds 0..10; None: the configured one."""
    highpass_hz: Highpass | None = None
    """Cut-off of the high-pass filter, Hz; 0: no filter; None: the configured one."""
    force: bool = False
    """Never read the cache, never join; the new sound is still stored."""
    replace: bool = False
    """With ``force``: the new sound takes the place of those of its words and settings that are kept."""
    store: bool = True
    """False: the new sound is delivered and not kept."""
    strict: bool = False
    """A sound that is not quite what the words ask for is an error, not a warning."""
    match: Match | None = None
    any_engine: bool = False
    namespace: Name = "default"
    duration_tolerance: Unit | None = None
    """Relative difference in length that a cached sound may have; 0 is exact."""
    variant_seed: Seed | None = None
    """Makes the draw among several fitting entries reproducible."""
    temperature: Annotated[float, Meta(ge=0.0, le=10.0)] | None = None
    shuffle: bool | None = None
    """Give each of several fitting entries once before any comes again, to this client."""
    variant: Annotated[int, Meta(ge=1, le=MAX_VARIANTS)] | None = None
    """The sound with this number among those of these words; where there are fewer, a new one."""
    prefetch: Annotated[int, Meta(ge=0, le=MAX_VARIANTS)] | None = None
    """How many sounds of these words are to be kept; what is missing is made in the background after the answer."""
    tau_use: Cosine | None = None
    tau_accept_new: Cosine | None = None
    tau_prompt_sem: Cosine | None = None
    priority: Priority = "normal"
    deadline_ms: Annotated[int, Meta(ge=1, le=86_400_000)] | None = None
    """Milliseconds from arrival after which the answer is ``expired``."""
    best_by_deadline: bool = False
    """By ``deadline_ms`` the best there is by then: where the sound is not ready, a looser match or the built-in
    engine's, marked ``approximate``."""
    stand_in: bool = False
    """Whatever is at hand at once, and the sound as it is asked for later, as with ``upgrade``."""
    upgrade: bool = False
    """Where something stands in, the sound as it is asked for is made all the same, and announced as ``upgraded``."""
    delivery: SoundDelivery = "path"
    """``raw``: its samples as 32-bit floats, with the answer."""
    stream: bool = False
    """Send the sound in chunks while it is made: one candidate, no loop, its level decided by its first seconds."""
    durable: bool = False
    """Once accepted, the request outlives the server's process; its result waits to be fetched by its id."""
    output_path: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    """Absolute path that receives a copy of the result; same machine only."""
    metadata: Annotated[dict[str, Label], Meta(max_length=MAX_LABELS)] = {}
    """The caller's own labels, kept with the entry and returned under ``labels``; at most 32."""
    tags: Annotated[list[Tag], Meta(max_length=MAX_LABELS)] = []
    """Words to find the entry by, kept with it and returned; at most 32."""


class Edit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is made of a given sound beside another one like it: a part of it anew, or more of it."""

    mask_start_s: float | None = None
    mask_end_s: float | None = None
    extend_s: float | None = None


class Recipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides what the sound is, with every default resolved.

    Length counts frames at ``sample_rate``, so 2 s and 2.0000001 s are the same recipe. What is UNSET is left out of
    the encoding: fields that came later leave the identities of kept sounds as they were.
    """

    prompt: str
    negative_prompt: str
    engine: str
    """The named model that makes it."""
    model: str
    frames: int
    sample_rate: int
    loop: bool
    seed: int | None
    """The base seed from which candidates' seeds are derived; None until one is drawn."""
    steps: int | None
    guidance_scale: float | None
    candidates: int
    voice: str | None
    init_audio_sha256: str | None
    init_strength: float | None
    namespace: str
    implementation: str = ""
    """The engine's module; "" in recipes made before there were named models: the same as ``engine``."""
    model_revision: str = ""
    """Commit of the model's weights; "" where it is not known."""
    dtype: str = ""
    """Only with an explicit seed: the same seed sounds otherwise at another precision."""
    quantization: str = ""
    """Only with an explicit seed."""
    options: tuple[tuple[str, Label], ...] = ()
    """The engine's own parameters that differ from its defaults, sorted by name."""
    crossfade_s: float | None = None
    """As asked for, loops only; None: the configured one."""
    highpass_hz: float | None = None
    """As asked for; None: the configured one."""
    edit: Edit | UnsetType = UNSET
    """Only of a given sound that is changed in part or continued."""
    loop_method: LoopMethod | UnsetType = UNSET
    """Only of loops, and only where it is not ``auto``."""

    @property
    def duration_s(self) -> float:
        """Seconds."""
        return self.frames / self.sample_rate

    def identity(self) -> str:
        """Return SHA-256 (hex) over the canonical encoding: equal for equal recipes, on every machine."""
        return hashlib.sha256(b"recipe-2\0" + msgspec.json.encode(self, order="deterministic")).hexdigest()


INSCRIPTION_VERSION = 1


class Inscription(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a file tells of where it comes from, beside its recipe."""

    version: int
    """Which plain tags it has; raised when there are others, so that files are written anew."""
    content_producer: str = ""
    """Of the key ``AIGC``; "": there is none."""
    content_propagator: str = ""


class Rendition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a finished sound is written: nothing here changes what is heard but its level, codec and width.

    Defaults are left out, so that a rendition of before there was a limiter is still found by the same words.
    """

    format: Format
    sample_rate: int
    bit_depth: int
    """16, 24 or 32 (float, WAV only); 16 of ``pcm``; ignored by lossy formats."""
    target_lufs: float | None
    """None leaves the level as it is, limited by the true peak."""
    true_peak_dbfs: float
    limiter: bool = False
    measure: Measure = "integrated"
    """Which loudness of a one-shot the target is of."""
    mono: bool = False
    bit_rate: int | None = None
    """Kilobits a second, MP3 and Opus only."""
    signed: str = ""
    """First digits of the certificate that its file is signed by; "": it is not."""
    inscription: Inscription | None = None
    """None: a file without plain tags, as they were before there were any, and as headerless ones are."""

    def of_master(self, sample_rate: int) -> Rendition:
        """Return how the master is written beside it: what cannot be taken back is left out."""
        return msgspec.structs.replace(
            self,
            format="flac",
            bit_depth=24,
            sample_rate=sample_rate,
            limiter=False,
            mono=False,
            measure="integrated",
            bit_rate=None,
            signed="",
        )

    def shortfall(self, lufs: float | None) -> tuple[str, ...]:
        """Return a warning where the true peak kept a sound well under its target."""
        missing = 0.0 if lufs is None or self.target_lufs is None else self.target_lufs - lufs
        if self.measure != "integrated" or not _QUIETER_LU < missing < math.inf:
            return ()
        return (
            f"{LOUDNESS_LIMITED}: {lufs:.1f} LUFS instead of {self.target_lufs:.1f}, "
            f"because its true peak may not pass {self.true_peak_dbfs:.1f} dBFS",
        )


class Picture(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True,
              tag_field="picture", tag="spectrogram"):  # fmt: skip
    """How a kept sound is drawn; defaults are left out, as of a rendition."""

    mel_bands: Annotated[int, Meta(ge=0, le=320)] = 0
    """0: as many as the picture has rows."""
    highest_hz: Annotated[float, Meta(ge=500.0, le=96_000.0)] | None = None
    """None: 20,000, or what the sound's rate allows."""
    dark: bool = False
    """On a dark ground."""
    tile: bool = False
    """Small and without axes: the levels alone, which need no ground."""

    @property
    def format(self) -> str:
        return "png"


class Peaks(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True,
            tag_field="picture", tag="peaks"):  # fmt: skip
    """The least and greatest samples of a kept sound, as the program *audiowaveform* keeps them."""

    buckets: int = 4096
    """At most; fewer are made of these."""

    @property
    def format(self) -> str:
        return "dat"


class Shape(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a raw candidate becomes a finished sound: filter, resampler, loop."""

    sample_rate: int
    frames: int
    """Of the finished sound; an estimate where ``natural_length``."""
    loop: bool
    tail_s: float
    """Seconds that a candidate for a loop is longer than the loop, 0..10; the crossfade's most."""
    highpass_hz: float | None
    """None applies no filter; an engine's notes may lower it for one sound."""
    highpass_order: int
    natural_length: bool = False
    """The length is what the engine made: of speech, or of a given sound and what was added to it."""
    loop_method: LoopMethod = "auto"


class Query(Struct, frozen=True, kw_only=True):
    """How a request wants the cache to be read."""

    match: Match = "tolerant"
    same_settings: SameSettings = "model"
    """Whose sounds may answer: the same named model and revision, the same implementation, or any."""
    min_steps_ratio: float = 1.0
    """Least steps of an entry against those asked for; compared within one implementation."""
    guidance_tolerance: float = 1.0
    """Greatest difference of guidance; compared within one implementation."""
    duration_tolerance: float = 0.2
    """Relative to the length asked for; 0 is exact to the frame; ``ANY_LENGTH`` where none can be asked for."""
    temperature: float = 0.0
    """Of the softmax draw among fitting entries; 0 takes the best."""
    variant_seed: int | None = None
    """The same one draws the same entry, as long as it is there."""
    shuffle: bool = False
    """To each client, one after another."""
    variant: int | None = None
    """The one with this number, from 1."""
    tau_use: float = 0.35
    """Least CLAP(query, sound), where there are CLAP vectors."""
    tau_prompt_sem: float = 0.70
    """Least similarity of prompts, on the calibrated scale."""
    reuse_k: int = 8
    """Nearest prompts looked at, each with all its sounds."""
    commercial_only: bool = False
    speech: bool = False
    """The engine speaks words: only the very same words will do."""
    strict: bool = False
    """Leaves out entries with a warning of ``STRICT_WARNINGS``."""


def frames_of(duration_s: float, sample_rate: int) -> int:
    """Return the whole number of frames nearest to a duration, at least one."""
    return max(1, round(duration_s * sample_rate))
