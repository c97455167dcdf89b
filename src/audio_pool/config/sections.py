"""Every setting, its default and its bounds, as frozen strict structs.

Owns: the sections of the configuration and what each key means.
Must not know: where values come from, what the settings make anybody do.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from audio_pool.config.cluster import ClusterConfig
from audio_pool.config.http import HttpConfig, ServiceConfig
from audio_pool.config.loudness import LoudnessProfile
from audio_pool.config.memory import DeviceConfig, MemoryConfig
from audio_pool.config.presets import PresetConfig
from audio_pool.config.provenance import ProvenanceConfig
from audio_pool.config.workers import WorkerConfig, process_names
from audio_pool.object_settings import ObjectsConfig
from audio_pool.types import (
    BitDepth,
    Candidates,
    Cosine,
    Duration,
    Format,
    Guidance,
    Label,
    Lufs,
    Match,
    Name,
    OnQualityFailure,
    OptionalText,
    PeakDb,
    PresetId,
    Quality,
    SameSettings,
    SampleRate,
    Steps,
    Unit,
)

__all__ = [
    "CacheConfig",
    "ClientConfig",
    "ClusterConfig",
    "Config",
    "DefaultsConfig",
    "DeviceConfig",
    "EngineConfig",
    "EngineDefaults",
    "HttpConfig",
    "JobsConfig",
    "LimitsConfig",
    "LogsConfig",
    "LoudnessProfile",
    "MemoryConfig",
    "NamespaceConfig",
    "ObjectsConfig",
    "PolicyConfig",
    "ProvenanceConfig",
    "QueueConfig",
    "ServerConfig",
    "ServiceConfig",
    "SoundConfig",
    "WorkerConfig",
    "process_names",
]

Seconds = Annotated[float, Meta(gt=0.0, le=86_400.0)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Bytes = Annotated[int, Meta(ge=1 << 20)]
Folder = Annotated[str, Meta(min_length=1, max_length=4096, pattern=r"\A/[^\x00]*\Z")]


class _Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True): ...


class DefaultsConfig(_Section, frozen=True, kw_only=True):
    """What a request means where it says nothing."""

    engine: Name = "procedural"
    duration_s: Duration = 8.0
    loop: bool = False
    steps: Steps | None = None
    guidance_scale: Guidance | None = None
    candidates: Candidates = 1
    format: Format = "wav"
    bit_depth: BitDepth = 16
    stand_in: Name = "auto"
    """Engine that stands in where a sound cannot be there in time. ``auto``: the built-in one, where it is hosted;
    ``off``: none."""


class SoundConfig(_Section, frozen=True, kw_only=True):
    """The craft: rate, loudness, filter, loop."""

    sample_rate: SampleRate = 44_100
    normalize_loudness: bool = True
    target_lufs: Lufs = -23.0
    true_peak_dbfs: PeakDb = -2.0
    loudness_profile: Name | None = None
    """Stronger than ``target_lufs`` and ``true_peak_dbfs`` here, weaker than those of a request."""
    limiter: bool = False
    min_quality: Quality = 50.0
    on_quality_failure: OnQualityFailure = "error"
    apply_highpass_filter: bool = True
    highpass_cutoff_hz: Annotated[float, Meta(ge=1.0, le=1000.0)] = 80.0
    highpass_filter_order: Annotated[int, Meta(ge=1, le=8)] = 4
    tail_duration_s: Annotated[float, Meta(ge=0.0, le=10.0)] = 1.5


class NamespaceConfig(_Section, frozen=True, kw_only=True):
    """``[cache.namespaces.NAME]``: what one namespace may hold, beside what the whole may."""

    max_size_gb: Annotated[float, Meta(ge=0.0, le=1_000_000.0)] = 0.0
    max_items: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 0
    ttl_days: Annotated[float, Meta(ge=0.0, le=36_500.0)] | None = None
    """None: ``cache.ttl_days``; 0: for ever."""


class CacheConfig(_Section, frozen=True, kw_only=True):
    """The store of finished sounds and what counts as a hit."""

    enabled: bool = True
    dir: str = ""
    """Empty: ``$XDG_CACHE_HOME/audio_pool`` or ``~/.cache/audio_pool``."""
    render_dir: str = ""
    """Where results that are not kept go; empty: ``dir/renders``."""
    store: Annotated[str, Meta(pattern=r"\A(postgres(ql)?://\S+)?\Z", max_length=1000)] = ""
    """The database that several heads share, postgresql://USER@HOST:5432/NAME; empty: a file in ``dir``."""
    store_schema: Annotated[str, Meta(pattern=r"\A[a-z_][a-z0-9_]{0,62}\Z")] = "audio_pool"
    store_connect_s: Annotated[float, Meta(ge=0.1, le=60.0)] = 3.0
    store_timeout_s: Annotated[float, Meta(ge=0.1, le=600.0)] = 10.0
    store_connections: Annotated[int, Meta(ge=1, le=100)] = 4
    blobs: Annotated[str, Meta(pattern=r"\A((s3|gs|az|file)://[^\s@?#]+)?\Z", max_length=1000)] = ""
    """The object store that holds the sounds, s3://BUCKET/PREFIX, gs://, az:// or file://; empty: ``dir`` does."""
    objects: ObjectsConfig = ObjectsConfig()
    match: Match = "tolerant"
    duration_tolerance: Unit = 0.2
    encoder: Name = "auto"
    """``auto`` (what is installed and local), ``off``, or an embedder engine's name."""
    ask_former_encoder: bool = True
    """While kept sounds are embedded anew by another encoder, the one before answers, too, where it is installed."""
    scorer: Name = "off"
    """``off`` or a scorer engine's name (``clap``)."""
    tau_use: Cosine = 0.35
    tau_accept_new: Cosine = 0.40
    tau_prompt_sem: Cosine = 0.70
    reuse_k: Annotated[int, Meta(ge=1, le=100)] = 8
    temperature: Annotated[float, Meta(ge=0.0, le=10.0)] = 0.0
    shuffle: bool = False
    """Of several fitting sounds each client gets each once before any comes again."""
    prefetch_new: bool = False
    """After each answer, make further variants of that prompt until there are ``target_per_prompt``."""
    target_per_prompt: Annotated[int, Meta(ge=1, le=100)] = 3
    max_new_when_prefetch: Annotated[int, Meta(ge=1, le=100)] = 2
    """Most new variants for one answer."""
    max_per_prompt: Annotated[int, Meta(ge=1, le=1000)] = 5
    cap_strategy: Literal["quality", "diversity"] = "quality"
    max_size_gb: Annotated[float, Meta(ge=0.0, le=1_000_000.0)] = 0.0
    """GiB of masters and renditions; beyond it what is worth least is evicted. 0: no bound."""
    max_items: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 0
    """Likewise, of entries."""
    ttl_days: Annotated[float, Meta(ge=0.0, le=36_500.0)] = 0.0
    """Days after which a sound goes, counted from when it was made; 0: never."""
    low_water: Annotated[float, Meta(ge=0.1, le=1.0)] = 0.9
    """Where a bound is exceeded, so much of it is left."""
    namespaces: dict[Name, NamespaceConfig] = {}
    """Bounds of single namespaces."""
    candidates_keep_s: Annotated[float, Meta(ge=0.0, le=86_400.0)] = 900.0
    """How long candidates that were not chosen can be heard, where a request wants it; 0: none are kept."""
    candidates_bytes: Bytes = 512 << 20
    """Of all of them together; beyond it the oldest of whoever has most go first."""
    delivered_grace_s: Annotated[float, Meta(ge=0.0, le=86_400.0)] = 600.0
    """How long the file of a removed sound stays, because its path may just have been delivered."""
    same_settings: SameSettings = "model"
    """Whose sounds may answer: those of the same named model and revision, of the same implementation, or any."""
    min_steps_ratio: Annotated[float, Meta(ge=0.0, le=1.0)] = 1.0
    """Least steps of a kept sound against those asked for; 0.5 accepts one made in half the steps."""
    guidance_tolerance: Annotated[float, Meta(ge=0.0, le=100.0)] = 1.0
    """Greatest difference of guidance between a kept sound and what is asked for."""


class LimitsConfig(_Section, frozen=True, kw_only=True):
    """How long and how often anything may try."""

    task_timeout_s: Seconds = 300.0
    """One task's work on a worker; beyond it the worker is killed and the request fails: it is not tried again."""
    cancel_grace_s: Seconds = 1.0
    """A task that goes on for longer after its cancel or deadline gets its worker killed; where its engine is known
    to take longer steps, twice such a step."""
    hang_factor: Annotated[float, Meta(ge=2.0, le=1000.0)] = 10.0
    """A task that gets no further for this many times as long as its like has taken counts as hung."""
    hang_floor_s: Seconds = 10.0
    """The least that a task is given; the most is ``task_timeout_s``."""
    hang_unknown_s: Seconds = 120.0
    """What a task is given to get on where none of its like was done before: its first may compile kernels."""
    max_attempts: Annotated[int, Meta(ge=1, le=10)] = 2
    """Times a task is tried when its worker dies."""
    max_rounds: Annotated[int, Meta(ge=1, le=10)] = 2
    """Rounds of fresh seeds when no candidate is good enough."""
    embed_timeout_s: Seconds = 5.0
    """A look-up by meaning that takes longer counts as a miss, with a warning."""
    await_encoder: bool = True
    """False: while an encoder is being loaded, look-ups by meaning are skipped."""
    hello_timeout_s: Seconds = 60.0
    load_timeout_s: Seconds = 600.0
    heartbeat_s: Annotated[float, Meta(ge=0.05, le=60.0)] = 1.0
    missed_heartbeats: Annotated[int, Meta(ge=2, le=100)] = 5
    """Heartbeats a worker may miss before it is taken for dead and killed; six times as many while it loads."""
    restart_backoff_s: Annotated[float, Meta(ge=0.0, le=3600.0)] = 0.25
    """First pause before a restart; doubles with each crash in a row."""
    restart_backoff_max_s: Seconds = 30.0
    max_restarts: Annotated[int, Meta(ge=0, le=1000)] = 5
    """Crashes in a row (without a finished task) after which a worker's next start is a probe, after a longer pause."""
    breaker_s: Seconds = 5.0
    """That pause, at first; doubles with each probe that fails. A load that failed is tried again likewise."""
    breaker_max_s: Seconds = 300.0
    poison_after: Annotated[int, Meta(ge=1, le=100)] = 2
    """Workers that a request may end before it counts as poison; any answer clears it."""
    poison_s: Seconds = 600.0
    """Poison is not tried again within this."""
    claim_wait_s: Seconds = 120.0
    """A sound that another pool on the same cache directory makes is waited for so long; then it is made here, too."""
    suspect_wait_s: Seconds = 30.0
    """A request that ended a worker waits so long for one that nobody else needs; then it fails."""
    max_input_s: Seconds = 600.0
    """Longest ``init_audio``, or sound to be judged by CLAP; so many seconds of 48 kHz stereo are decoded at most."""
    max_input_bytes: Bytes = 256 << 20
    """Largest ``init_audio``."""
    memory_wait_s: Seconds = 120.0
    """A request whose engine is loaded nowhere, and finds no memory, waits so long for some; then it fails."""
    drain_timeout_s: Seconds = 30.0
    term_timeout_s: Seconds = 5.0


class QueueConfig(_Section, frozen=True, kw_only=True):
    """How much may wait."""

    max_requests: Count = 1024
    max_bytes: Bytes = 64 << 20
    max_requests_per_client: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    """Of one client; 0: four times as many as are left free. What the program itself asks for is not bounded."""
    max_bytes_per_client: Annotated[int, Meta(ge=0)] = 0
    """Of one client's requests; 0: four times what is left free."""
    max_upgrades_per_client: Annotated[int, Meta(ge=0, le=1_000_000)] = 32
    """Better sounds under way for one client's requests that were answered in time by something else; 0: none."""
    max_running_per_client: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    """Tasks of one client that workers may hold at once; 0: as many as its turns give it."""
    reading_files: Count = 16
    """Requests of one client whose ``init_audio`` waits to be read, or is being read."""
    reading_bytes: Bytes = 1 << 30
    """Bytes of those files; one file is always taken."""
    ageing_s: Seconds = 30.0
    """Waiting this long lifts a request by one priority."""
    arena_bytes: Bytes = 1 << 30
    """Shared memory for sounds between workers; beyond it they travel inline."""
    max_batch: Annotated[int, Meta(ge=1, le=64)] = 16
    """Most sounds generated in one batch; an engine may do fewer."""
    batch_window_s: Annotated[float, Meta(ge=0.0, le=3600.0)] = 600.0
    """What is to be made by a worker that is busy stays in the queue, open to company and to whom is more urgent, until
    shortly before the worker is expected to be done, but no longer than this since it began. An idle one never waits.
    0: the next task is sent as soon as the worker may hold it."""


class ClientConfig(_Section, frozen=True, kw_only=True):
    """What one client is entitled to: ``[clients.NAME]``, or ``[clients.default]`` for all that are not named."""

    weight: Annotated[float, Meta(ge=0.01, le=100.0)] = 1.0
    """How much of the workers' time it gets against others that wait as urgently."""
    max_requests: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    """None: ``queue.max_requests_per_client``; so the next two."""
    max_bytes: Annotated[int, Meta(ge=0)] | None = None
    max_running: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None


class ServerConfig(_Section, frozen=True, kw_only=True):
    """The socket that clients talk to."""

    bind: str = ""
    """Empty: ``ipc://`` in the user's runtime directory."""
    keys_dir: str = ""
    """CURVE keys as made by ``audio-pool keys create``; needed for binds beyond this machine."""
    output_roots: list[Folder] = []
    """Folders beneath which clients may have sounds put (``output_path``); empty: see docs/security.md."""
    input_roots: list[Folder] = []
    """Folders beneath which clients may name files to be read (``init_audio``, the paths of CLAP); likewise."""
    pull_bind: str = ""
    """The image server's PUSH messages arrive here; with ``push_bind``, else both empty."""
    push_bind: str = ""
    """The answers to the image server leave here."""
    log_dir: str = ""
    max_inline_bytes: Bytes = 64 << 20
    max_sent_audio_bytes: Annotated[int, Meta(ge=0, le=1 << 30)] = 8 << 20
    """Largest ``init_audio`` that may come with its request instead of being named; 0: none may."""
    parked_bytes: Bytes = 64 << 20
    """Replies kept for slow clients."""
    metrics_bind: str = ""
    """HOST:PORT where a process beside the server answers Prometheus and probes; empty: nowhere."""
    max_connections: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    """Clients connected at a time; 0: as many as leave the process descriptors enough for its own."""


class LogsConfig(_Section, frozen=True, kw_only=True):
    """What the server writes down, and how much of it is kept."""

    format: Literal["text", "json"] = "text"
    """json: one object a line."""
    max_bytes: Bytes = 16 << 20
    """One file of the server's log; a full one is renamed ``server.log.1``, and so on."""
    files: Annotated[int, Meta(ge=1, le=100)] = 4
    """Files of the server's log that are kept, the current one among them."""
    prompts: bool = False
    """Say in each request's line what was asked for, shortened."""


class JobsConfig(_Section, frozen=True, kw_only=True):
    """Durable jobs of a served pool: where they are kept, how many, how long."""

    enabled: bool = True
    dir: str = ""
    """Empty: ``cache.dir/jobs``. Local disk; one server at a time. With ``cache.store``: a folder that heads share."""
    result_ttl_s: Annotated[float, Meta(ge=1.0, le=31_536_000.0)] = 86_400.0
    """A finished job and its file wait this long to be fetched."""
    max_jobs: Count = 10_000
    """Finished ones that wait included; beyond it new ones are answered ``busy``."""
    max_bytes: Bytes = 4 << 30
    """Of kept files and requests; likewise."""
    max_attempts: Annotated[int, Meta(ge=1, le=1000)] = 10
    """Servers that may die while a worker is at a job; then it has failed."""
    lease_s: Annotated[float, Meta(ge=1.0, le=3600.0)] = 15.0
    """With ``cache.store``: others go on with the jobs of a head that has given no sign of life for so long."""


class PolicyConfig(_Section, frozen=True, kw_only=True):
    """Which licences may be used, and where models lie."""

    commercial_only: bool = False
    accepted_licences: list[str] = []
    """Engines whose non-commercial licence was read and accepted."""
    models_dir: str = ""


class EngineDefaults(_Section, frozen=True, kw_only=True):
    """What a request to this engine means where it says nothing; stronger than ``[defaults]``."""

    duration_s: Duration | None = None
    steps: Steps | None = None
    guidance_scale: Guidance | None = None
    candidates: Candidates | None = None
    negative_prompt: OptionalText | None = None
    options: dict[Name, Label] = {}


class EngineConfig(_Section, frozen=True, kw_only=True):
    """A named model: which implementation, with which settings, asked for under which kinds.

    In a file every further key of ``[engines.NAME]`` is a setting of the implementation.
    """

    implementation: Name | None = None
    """The engine that implements it; None: the one called NAME."""
    kinds: list[Name] | None = None
    """What it is asked for by ``engine = "kind:..."``; None: what the implementation says."""
    defaults: EngineDefaults = EngineDefaults()
    preload: bool | Literal["auto"] = True
    """true: loaded when its worker starts, and kept; false: when it is first asked for; "auto": at the start where
    ``memory.reserve_bytes`` stay free after it. What is not simply kept goes when another needs its room."""
    keep_alive_s: Seconds | None = None
    """Taken out of memory when nobody has asked for it for so long; None: only where its room is needed."""
    concurrency: Annotated[int, Meta(ge=0, le=100_000)] = 0
    """Most sounds, or batches of them, that it generates at a time, on all workers together; 0: no bound."""
    settings: dict[str, Any] = {}  # opaque: each implementation checks its own


class Config(_Section, frozen=True, kw_only=True):
    """A whole pool."""

    defaults: DefaultsConfig = DefaultsConfig()
    sound: SoundConfig = SoundConfig()
    cache: CacheConfig = CacheConfig()
    limits: LimitsConfig = LimitsConfig()
    queue: QueueConfig = QueueConfig()
    clients: dict[Name, ClientConfig] = {}
    """Clients by the name of their key; ``default``: everyone else, each connection on its own."""
    server: ServerConfig = ServerConfig()
    http: HttpConfig = HttpConfig()
    logs: LogsConfig = LogsConfig()
    jobs: JobsConfig = JobsConfig()
    policy: PolicyConfig = PolicyConfig()
    memory: MemoryConfig = MemoryConfig()
    provenance: ProvenanceConfig = ProvenanceConfig()
    devices: dict[Name, DeviceConfig] = {}
    """Logical devices by name."""
    cluster: ClusterConfig = ClusterConfig()
    loudness: dict[Name, LoudnessProfile] = {}
    """Profiles of loudness by name, beside or instead of the built-in ones."""
    presets: dict[PresetId, PresetConfig] = {}
    """Named sets of words and parameters, beside or instead of the built-in ones."""
    engines: dict[Name, EngineConfig] = {}
    """Named models, and settings of engines under their own names."""
    workers: list[WorkerConfig] = []
    """Empty: one worker that does it all with the default engine."""

    @property
    def cache_dir(self) -> Path:
        """Absolute."""
        if self.cache.dir:
            return Path(self.cache.dir).expanduser().absolute()
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        return Path(base).expanduser().absolute() / "audio_pool"

    @property
    def jobs_dir(self) -> Path:
        """Absolute."""
        if self.jobs.dir:
            return Path(self.jobs.dir).expanduser().absolute()
        return self.cache_dir / "jobs"

    @property
    def render_dir(self) -> Path:
        """Absolute."""
        if self.cache.render_dir:
            return Path(self.cache.render_dir).expanduser().absolute()
        return self.cache_dir / "renders"
