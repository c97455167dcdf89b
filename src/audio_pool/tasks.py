"""Tasks of workers and their results, as data.

Owns: one struct per task, the tagged union ``TaskResult``, and what both carry.
Must not know: sockets, how a task is carried out (worker/runner.py), when it is sent (scheduler).

    GenerateTask -> RawSounds (another worker masters) or MasteredSound, per job
    MasterTask   -> MasteredSound
    EmbedTask    -> Embedded
    RenderTask   -> Rendered
    DrawTask, CraftTask, TraceTask, EchoTask, ClapTask -> Called
    LoadTask -> Loaded, UnloadTask -> Unloaded: of no job, their results are filed under 0
    any of them  -> Rejected

Results are decoded once, where the router reads them; a malformed one is that worker's fault alone.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from audio_pool.craft import Craft, CraftForm
from audio_pool.engine_info import EngineInfo, Notes
from audio_pool.heard import Against
from audio_pool.reports import CandidateReport, WorkerReport
from audio_pool.results import Failure, FinishedSound, RenditionReport, SoundMetadata
from audio_pool.types import Peaks, Picture, Recipe, Rendition, Shape

__all__ = [
    "DESCRIPTORS",
    "SOUND_PREFIX",
    "CallTask",
    "Called",
    "CandidateRef",
    "ClapOperation",
    "ClapTask",
    "CraftTask",
    "DrawTask",
    "EchoTask",
    "EmbedTask",
    "Embedded",
    "EngineSetup",
    "GeneratePart",
    "GenerateTask",
    "Grant",
    "LaneReport",
    "LoadTask",
    "Loaded",
    "MasterTask",
    "MasteredSound",
    "MasteringSpec",
    "Provenance",
    "RawSounds",
    "Rejected",
    "RenderTask",
    "Rendered",
    "Seal",
    "Task",
    "TaskResult",
    "TensorRef",
    "Thread",
    "TraceTask",
    "UnloadTask",
    "Unloaded",
]

Thread = Literal["generate", "aux"]
"""A worker's two threads for tasks: one generates, the other does everything short beside it."""
_Seconds = Annotated[float, Meta(ge=0.0, le=1e9)]


# -- what tasks carry ------------------------------------------------------------------------------


class Grant(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The right to write one slot of the arena once; travels with the task to the worker that holds the lease."""

    path: str
    slot_bytes: int
    """Size of the whole file, header included."""
    generation: int
    owner: str
    """The arena's id."""
    fresh: bool = False
    """The file is not made yet: the worker does it, ahead of time where it can (``prepare``)."""
    retire: tuple[str, ...] = ()
    """Slots given up to make room for this one: the worker removes them first."""


class TensorRef(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a tensor lies; worth something only while the lease of its generation is held."""

    path: str
    length: int
    """Bytes of the tensor, without header and slack."""
    generation: int
    owner: str
    dtype: str
    """safetensors' name: F32, U8, ..."""
    shape: tuple[int, ...]


class CandidateRef(Struct, frozen=True, kw_only=True):
    """One raw candidate on its way from the worker that generated it to the one that masters it."""

    seed: int
    sample_rate: int
    looped: bool
    """The engine made it loop natively."""
    notes: Notes
    tensor: TensorRef | None = None
    """None: the tensor is inline, in binary frames ``frame`` and ``frame + 1`` (header, payload)."""
    frame: int = -1


class Provenance(Struct, frozen=True, kw_only=True):
    """What the worker that generated candidates says of them."""

    engine: str
    implementation: str
    model: str
    model_revision: str = ""
    dtype: str = ""
    quantization: str = ""
    licence: str = ""
    commercial_use: bool = False
    speech: bool = False
    bandwidth_hz: float | None = None
    """Highest frequency that the model makes."""
    gated: bool = True
    """False: mastering delivers it whatever the quality gate says."""
    engine_details: dict[str, Any] = {}  # opaque: each engine's own words about the sound
    worker: WorkerReport = WorkerReport()
    generate_ms: float = 0.0
    batch_size: int = 1
    warnings: tuple[str, ...] = ()


class Seal(Struct, frozen=True, kw_only=True):
    """What files are signed with: where it lies, never the key itself."""

    certificate: str
    """Absolute path of the chain, as the signing machine sees it."""
    private_key: str
    """Absolute path; only the worker's user reads it."""
    fingerprint: str
    """First digits of the certificate's SHA-256, in hex: another in its place signs nothing."""
    issuer: str = ""
    """Organisation that it names."""


class MasteringSpec(Struct, frozen=True, kw_only=True):
    """How candidates become a file: shape, judge, level, write."""

    shape: Shape
    rendition: Rendition
    directory: str
    name: str
    """Of the master's file, without its ending."""
    tau_accept_new: float | None
    min_quality: float = 0.0
    """Least score of the gate for ``accepted``."""
    deliver_best: bool = False
    """Where no candidate passes the gate, hand over the best, not accepted."""
    metadata: SoundMetadata
    """What is known of the sound before it is made."""
    spill: str = ""
    """A second directory, for when the first takes no files; "": there is none."""
    keep: bool = False
    """Finish the candidates that are not chosen, too."""
    fingerprint: bool = True
    """Make a fingerprint of the sound."""
    seal: Seal | None = None
    """What the rendition is signed with; None: it is not."""
    given: str = ""
    """Path of the sound that it starts from, whose manifest is carried on; "": there is none, or none is signed."""


class GeneratePart(Struct, frozen=True, kw_only=True):
    """The candidates of one job, within one batch."""

    job: int
    recipe: Recipe
    seeds: list[int]
    mastering: MasteringSpec
    init_audio: str | None = None
    """Path of the file to start from."""
    strict: bool = False
    """An engine's warning of ``types.STRICT_WARNINGS`` rejects the part before anything is generated."""


# -- tasks -----------------------------------------------------------------------------------------


class GenerateTask(Struct, frozen=True, kw_only=True, tag_field="task", tag="generate"):
    """Generate candidates in one batch; master them too where the worker has that role (``master_here``)."""

    engine: str
    parts: list[GeneratePart]
    master_here: bool
    stream: bool = False
    """Send the one part's sound while it is made, mastered, and master it here whatever the worker's roles."""


class MasterTask(Struct, frozen=True, kw_only=True, tag_field="task", tag="master"):
    """Shape, judge and master candidates that another worker generated."""

    job: int
    recipe: Recipe
    mastering: MasteringSpec
    candidates: tuple[CandidateRef, ...]
    made: Provenance


class EmbedTask(Struct, frozen=True, kw_only=True, tag_field="task", tag="embed"):
    """The text's vector from one embedder or scorer."""

    job: int
    engine: str
    text: str


class RenderTask(Struct, frozen=True, kw_only=True, tag_field="task", tag="render"):
    """Write a rendition of a kept master."""

    job: int
    master: str
    out: str
    rendition: Rendition
    loop: bool
    comment: str
    """The recipe that goes into the file; "" takes the master's own."""
    retold: bool = False
    """The sound is the master's, bit for bit; only what is told of it is written anew."""
    spill: str = ""
    """A second directory, for when that of ``out`` takes no files; "": there is none."""
    seal: Seal | None = None
    """What it is signed with; None: it is not."""


class EchoTask(Struct, frozen=True, kw_only=True, tag_field="task", tag="echo"):
    """Nothing but the way there and back."""

    job: int = 0
    payload: bytes = b""


class DrawTask(Struct, frozen=True, kw_only=True, tag_field="task", tag="draw"):
    """Draw a kept master into ``out``."""

    job: int = 0
    master: str
    out: str
    picture: Picture | Peaks
    title: str


class CraftTask(Struct, frozen=True, kw_only=True, tag_field="task", tag="craft"):
    """Work on sounds that were given."""

    job: int = 0
    craft: Craft
    form: CraftForm
    paths: tuple[str, ...] = ()
    roots: tuple[str, ...] | None = None
    """Folders beneath which the paths must lie when they are opened; None: anywhere."""
    sounds: tuple[str, ...] = ()
    """Paths of sounds that came with the question: files of the pool's own; they come after ``paths``."""
    out: str
    """Of the file that is written, without its ending."""
    highpass_hz: float = 0.0
    """Of mastering, where the question does not say."""
    highpass_order: int = 4
    seal: Seal | None = None
    """What the file is signed with, where its format can be."""
    must_be_signed: bool = False
    """A format that cannot be is an error."""
    not_signed: str = ""
    """Why nothing is signed, where files are to be."""


class TraceTask(Struct, frozen=True, kw_only=True, tag_field="task", tag="trace"):
    """Read a file whose origin is asked for, or compare it with kept sounds."""

    job: int = 0
    path: str = ""
    """"": it is the one that was sent."""
    roots: tuple[str, ...] | None = None
    """Folders beneath which the path must lie when it is opened; None: anywhere."""
    sounds: tuple[str, ...] = ()
    """Path of the sound that came with the question: a file of the pool's own."""
    name: str
    """As the answer names it."""
    certificate: str = ""
    """Path of the chain that files are signed under here; "": they are not."""
    against: tuple[Against, ...] = ()
    """None: it is only read."""


ClapOperation = Literal["embed", "similarity", "zero-shot"]


class ClapTask(Struct, frozen=True, kw_only=True, tag_field="task", tag="clap"):
    """Vectors, similarities, or labels with scores, from a scorer."""

    job: int = 0
    engine: str
    operation: ClapOperation
    texts: list[str]
    paths: list[str]
    roots: tuple[str, ...] | None = None
    """Folders beneath which the paths must lie when they are opened; None: anywhere."""
    sounds: list[str] = []
    """Paths of sounds that came with the question: files of the pool's own."""


class EngineSetup(Struct, frozen=True, kw_only=True):
    """One engine to load."""

    implementation: str
    """The module that implements it; the engine's name is the key that this is filed under, unless ``name`` says."""
    kinds: tuple[str, ...] | None = None
    """What the configuration says it is good for; None: what the implementation says."""
    name: str = ""
    """What it is asked for by, where it is filed under another key: it has come in the place of another model."""
    settings: dict[str, Any] = {}  # opaque: each implementation checks its own


class LoadTask(Struct, frozen=True, kw_only=True, tag_field="task", tag="load"):
    """Load one of the worker's engines."""

    engine: str
    setup: EngineSetup | None = None
    """Of one that its ``Load`` did not name."""


class UnloadTask(Struct, frozen=True, kw_only=True, tag_field="task", tag="unload"):
    """Take an engine out of memory."""

    engine: str


CallTask = DrawTask | CraftTask | TraceTask | RenderTask | EchoTask | ClapTask | EmbedTask
"""What is asked for by itself, without a sound to be made."""
Task = GenerateTask | MasterTask | CallTask | LoadTask | UnloadTask


# -- how they get on -------------------------------------------------------------------------------


class LaneReport(Struct, frozen=True, kw_only=True):
    """What one of a worker's threads for tasks is doing. Times are counted back from the report."""

    thread: Thread
    task: int = 0
    """The one in hand; 0: none."""
    attempt: int = 0
    busy_s: _Seconds = 0.0
    """Since it began."""
    quiet_s: _Seconds = 0.0
    """Since its last progress."""
    grace_s: _Seconds = 0.0
    """How long it may take to heed a cancel, judged by what was seen of such tasks before."""


# -- results ---------------------------------------------------------------------------------------


class RawSounds(Struct, frozen=True, kw_only=True, tag_field="kind", tag="raw"):
    """Raw candidates, handed over for another worker to master."""

    candidates: tuple[CandidateRef, ...]
    made: Provenance
    inline: int = 0
    """Set by the router: the task whose message carried inline tensors; 0: none did."""


SOUND_PREFIX = "sound:"
"""Names of vectors that describe the sound start with it, e.g. ``sound:clap`` and ``sound:descriptors``."""
DESCRIPTORS = f"{SOUND_PREFIX}descriptors"


class MasteredSound(Struct, frozen=True, kw_only=True, tag_field="kind", tag="sound"):
    """The best candidate as a finished file."""

    sound: FinishedSound
    score: float
    """CLAP similarity where there is a scorer, else the quality score."""
    tried: tuple[CandidateReport, ...] = ()
    vectors: dict[str, bytes] = {}
    """float32 [D] by space: what describes the sound; see ``SOUND_PREFIX``."""
    others: tuple[MasteredSound, ...] = ()
    """The candidates that were not chosen, where they are to be kept; these have no others."""


class Embedded(Struct, frozen=True, kw_only=True, tag_field="kind", tag="vectors"):
    """float32 [D] by encoder."""

    vectors: dict[str, bytes]


class Rendered(Struct, frozen=True, kw_only=True, tag_field="kind", tag="rendered"):
    """A rendition's file, and what it changes in its master's metadata."""

    path: str
    report: RenditionReport


class Called(Struct, frozen=True, kw_only=True, tag_field="kind", tag="called"):
    """The answer to draw, craft, trace, echo or clap."""

    body: dict[str, Any]  # opaque on purpose: the caller's own payload, or CLAP's figures


class Loaded(Struct, frozen=True, kw_only=True, tag_field="kind", tag="loaded"):
    """An engine is in memory."""

    engine: str = ""
    """As it is filed on its worker."""
    info: EngineInfo
    size_bytes: Annotated[int, Meta(ge=0)]
    """What the worker has more in its device's memory than before."""
    device: str = "cpu"


class Unloaded(Struct, frozen=True, kw_only=True, tag_field="kind", tag="unloaded"):
    """An engine is out of memory."""

    freed_bytes: int
    """What the worker has less than before."""


class Rejected(Struct, frozen=True, kw_only=True, tag_field="kind", tag="failed"):
    """No result: why, and the candidates that were tried."""

    failure: Failure
    tried: tuple[CandidateReport, ...] = ()


TaskResult = RawSounds | MasteredSound | Embedded | Rendered | Called | Rejected | Loaded | Unloaded
