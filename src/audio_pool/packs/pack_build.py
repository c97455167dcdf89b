"""A pack built: what is missing made through the pool, several at a time, each file written as a whole, then locked.

Owns: ``build``: which steps are carried out, in which order, what is written down after each, what is tried again.
Must not know: the manifest's fields, the command line.

The lock is written after every file: what was interrupted goes on where it stopped. Sounds come from the cache where
they are kept; their files are written anew, so that nothing in them depends on when or where they were made.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from msgspec import UNSET, Struct, structs

from audio_pool.api import Asked
from audio_pool.audio import Audio, codec
from audio_pool.craft import Craft, CraftReport, Master
from audio_pool.errors import AudioPoolError, Conflict, Refused, StorageError
from audio_pool.packs.pack_lock import Lock, LockedFile, write_lock
from audio_pool.packs.pack_manifest import Fields, Manifest, Wanted
from audio_pool.packs.pack_plan import Step, sha256_of
from audio_pool.packs.signed_twin import is_signed_twin
from audio_pool.pending import Pending
from audio_pool.results import AudioResult, SoundMetadata
from audio_pool.types import MAX_SEED

__all__ = ["Built", "Failed", "build", "noise_floor_dbfs"]

_TRIES = 4
"""Seeds that are tried where a noise floor is too high."""
_STRIDE = 1_000_003
"""From one of them to the next: far from other variants' seeds."""
_FLOOR_FRAME_S = 0.05
_FLOOR_SHARE = 0.1
_PLAIN = (
    "made_by", "software", "digital_source_type", "AIGC", "recipe_id", "device", "engine", "model", "model_revision",
    "licence", "prompt", "negative_prompt", "seed", "steps", "guidance_scale", "voice", "duration_s", "is_loop",
    "rendition", "master",
)  # fmt: skip
"""What a pack's file says of itself beside its recipe: nothing that depends on the day."""


class _Pool(Protocol):
    """An AudioPool or an AudioClient."""

    def submit(self, prompt: Asked, *, timeout_s: float | None = None, **fields: Any) -> Pending: ...

    def craft(
        self,
        craft: Craft,
        paths: Sequence[str | Path] = (),
        *,
        sounds: Sequence[bytes | Path] = (),
        delivery: Any = "path",
        timeout_s: float | None = None,
        **form: Any,
    ) -> CraftReport: ...


class Failed(Struct, frozen=True, kw_only=True):
    """A file that there is not."""

    file: str
    code: str
    message: str


class Built(Struct, kw_only=True):
    """What a build came to, or has come to so far."""

    made: list[str] = []
    there_already: int = 0
    """Of those made: sounds that the cache had."""
    kept: int = 0
    renamed: list[str] = []
    removed: list[str] = []
    edited: list[str] = []
    """Changed by somebody, and left alone."""
    failed: list[Failed] = []
    interrupted: bool = False

    @property
    def done(self) -> int:
        return len(self.made) + len(self.failed)


def build(
    pool: _Pool,
    folder: Path,
    manifest: Manifest,
    lock: Lock | None,
    steps: Sequence[Step],
    *,
    frozen: bool = False,
    overwrite: bool = False,
    here: bool = True,
    at_once: int = 4,
    timeout_s: float = 600.0,
    on_progress: Callable[[Built], object] = lambda _: None,
) -> Built:
    """Carry out what a plan says; an interrupt (Ctrl-C) ends it early, and what is done is done.

    Args:
        folder: of the pack.
        steps: of ``plan_of``.
        frozen: nothing but what the lock has may come of it.
        overwrite: files that somebody changed are made anew, too.
        here: the pool reads and writes this machine's files.
        at_once: sounds in flight.
        timeout_s: of each.
        on_progress: called with each file that is made or has failed.

    Raises:
        Conflict: frozen, and the plan would change something. OSError: the folder cannot be written.
    """
    changing = [step for step in steps if step.kind not in ("keep", "restore")]
    named = (manifest.pack.name, manifest.pack.version)
    if frozen and lock is not None and (lock.name, lock.pack_version) != named:
        raise Conflict(f"frozen: the pack would be {named[0]} {named[1]}, and is {lock.name} {lock.pack_version}")
    if frozen and changing:
        raise Conflict(
            f"frozen: {changing[0].file} would be another ({changing[0].kind}), and {len(changing) - 1} more",
            hint="'audio-pool pack plan' shows them; build without --frozen to take them in",
        )
    with _alone_in(folder):
        work = _Work(pool, folder, manifest, lock, here=here, timeout_s=timeout_s, overwrite=overwrite)
        _carry_out(work, steps, frozen=frozen, overwrite=overwrite, at_once=at_once, on_progress=on_progress)
        return work.built


def _carry_out(
    work: _Work,
    steps: Sequence[Step],
    *,
    frozen: bool,
    overwrite: bool,
    at_once: int,
    on_progress: Callable[[Built], object],
) -> None:
    work.tidy(steps)
    todo = [step for step in steps if step.kind in ("make", "remake", "restore")]
    for step in steps:
        if step.kind == "edited":
            if overwrite:
                todo.append(step)
            else:
                work.built.edited.append(step.file)
        elif step.kind == "keep":
            work.built.kept += 1
    with ThreadPoolExecutor(max(1, at_once)) as threads:
        futures = [threads.submit(work.make, step, frozen) for step in todo]
        try:
            for future in as_completed(futures):
                future.result()
                on_progress(work.built)
        except BaseException as exc:
            work.stop()
            for future in futures:
                future.cancel()
            if not isinstance(exc, KeyboardInterrupt):
                raise
            work.built.interrupted = True
    work.write()


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold a pack's folder, so that two builds do not write one lock. Raises Conflict: another build is under way."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"{folder}: another build is under way in it", hint="wait until it has ended") from None
        yield
    finally:
        os.close(handle)


class _Work:
    """One build; ``make`` may be called from several threads."""

    def __init__(
        self,
        pool: _Pool,
        folder: Path,
        manifest: Manifest,
        lock: Lock | None,
        *,
        here: bool,
        timeout_s: float,
        overwrite: bool,
    ) -> None:
        self._pool = pool
        self._folder = folder
        self._sounds = folder / manifest.pack.out
        self._manifest = manifest
        self._here = here
        self._timeout_s = timeout_s
        self._overwrite = overwrite
        self._lock = threading.Lock()
        self._locked = {} if lock is None else lock.by_file()
        self._flying: set[Pending] = set()
        self._stopped = False
        self.built = Built(made=[], renamed=[], removed=[], edited=[], failed=[])

    def tidy(self, steps: Sequence[Step]) -> None:
        """Rename and remove, before anything is made."""
        for step in steps:
            if step.kind == "rename" and step.locked is not None and step.wanted is not None:
                target = self._sounds / step.file
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(self._sounds / step.locked.file, target)
                self._locked.pop(step.locked.file, None)
                named = {"file": step.file, "item": step.wanted.item, "variant": step.wanted.variant}
                self._locked[step.file] = structs.replace(step.locked, class_=step.wanted.class_, **named)
                self.built.renamed.append(step.file)
            elif step.kind == "remove" and step.locked is not None:
                path = self._sounds / step.file
                found = sha256_of(path)
                if found == step.locked.sha256:
                    path.unlink()
                self._locked.pop(step.file, None)
                told = self.built.removed if found in (None, step.locked.sha256) else self.built.edited
                told.append(step.file)  # what somebody changed is his
        self.write()

    def write(self) -> None:
        """Write the lock."""
        self._folder.mkdir(parents=True, exist_ok=True)
        pack = self._manifest.pack
        write_lock(self._folder, Lock(name=pack.name, pack_version=pack.version, files=tuple(self._locked.values())))

    def stop(self) -> None:
        """Cancel what is under way, and begin nothing more."""
        with self._lock:
            self._stopped = True
            flying = list(self._flying)
        for pending in flying:
            pending.cancel()

    def make(self, step: Step, frozen: bool) -> None:
        """Make one file, write it and lock it; what goes wrong is noted."""
        assert step.wanted is not None, "only what is wanted is made"
        if self._stopped:
            return
        try:
            locked, data, cached = self._made(step.wanted, step.locked if step.kind == "restore" else None)
            if frozen and step.locked is not None and locked.content() != step.locked.content():
                told = _first_difference(step.locked.content(), locked.content())
                raise Conflict(f"frozen: made is not what the lock has: {told}")
            if self._is_somebodys(step, locked, data):
                with self._lock:
                    self.built.edited.append(step.file)
                return
            self._put(step.file, data)
        except (AudioPoolError, OSError) as exc:
            if self._stopped:
                return
            wrong = exc if isinstance(exc, AudioPoolError) else StorageError(str(exc))
            with self._lock:
                self.built.failed.append(Failed(file=step.file, code=wrong.code, message=wrong.message))
            return
        with self._lock:
            self._locked[step.file] = locked
            self.built.made.append(step.file)
            self.built.there_already += cached
            self.write()

    def _is_somebodys(self, step: Step, made: LockedFile, data: bytes) -> bool:
        """Return whether what lies in a file's place was changed by somebody; what a killed build left was not.

        Raises:
            Conflict: it was never built at all.
        """
        path = self._sounds / step.file
        known = {made.sha256, None if step.locked is None else step.locked.sha256}
        found = None if self._overwrite else sha256_of(path)
        if found is None or found in known or (made.unsigned is not UNSET and is_signed_twin(path, data)):
            return False
        if step.locked is None:
            raise Conflict(f"{path} is there, and was not built", hint="--overwrite replaces it")
        return True

    def _made(self, wanted: Wanted, as_locked: LockedFile | None) -> tuple[LockedFile, bytes, bool]:
        """Return what is to be locked, the file, and whether the cache had its sound."""
        best: tuple[LockedFile, bytes, bool] | None = None
        tries = _TRIES if wanted.max_noise_floor_dbfs is not None and as_locked is None else 1
        for number in range(tries):
            seed = (wanted.seed + number * _STRIDE) % (MAX_SEED + 1) if as_locked is None else as_locked.seed
            made = self._once(wanted, seed)
            if best is None or _floor(made[0]) < _floor(best[0]):
                best = made
            limit = wanted.max_noise_floor_dbfs
            if limit is None or _floor(best[0]) <= limit:
                return best
        assert best is not None, "it was tried once at least"
        limit = wanted.max_noise_floor_dbfs
        if limit is not None:
            warning = f"noise_floor: {_floor(best[0]):.1f} dBFS, wanted are {limit:.1f} at the most"
            best = (structs.replace(best[0], warnings=(*best[0].warnings, warning)), *best[1:])
        return best

    def _once(self, wanted: Wanted, seed: int) -> tuple[LockedFile, bytes, bool]:
        level: Fields = {name: wanted.form[name] for name in ("target_lufs", "true_peak_dbfs") if name in wanted.form}
        result = self._sound({**wanted.request, **level, "seed": seed, "format": "flac", "bit_depth": 24})
        told = result.metadata
        said = {} if told.presets is UNSET else {use.id: use.revision for use in told.presets}
        if wanted.said and said != wanted.said:
            raise Conflict("presets: one was changed while the pack was built", hint="build again: the plan is another")
        if self._manifest.pack.commercial and not told.commercial_use:
            raise Refused(
                f"engine {told.engine!r} ({told.licence or 'licence unknown'}) may not be used commercially",
                hint="choose another engine, or set commercial = false",
            )
        if not told.accepted:
            raise AudioPoolError(f"no sound was good enough: {', '.join(told.quality.issues) or 'CLAP heard another'}")
        with _file_of(result) as path:
            facts = codec.inspect(path)["recipe"] or {}
            done = {"craft": {"kind": "master", "highpass_hz": 0.0}, "form": wanted.form}
            comment = _comment_of({**facts, "work": [done]})
            form = {**wanted.form, "comment": comment}
            sources: dict[str, Any] = {"paths": [path]} if self._here else {"sounds": [path]}
            report = self._pool.craft(
                Master(highpass_hz=0.0), **sources, delivery="inline", timeout_s=self._timeout_s, **form
            )
        assert isinstance(report.data, bytes), "it was asked for inline"
        return _locked(wanted, seed, told, facts, report, report.data), report.data, told.cached

    def _sound(self, fields: dict[str, Any]) -> AudioResult:  # fields of an AudioRequest
        delivery = "path" if self._here else "inline"
        with self._lock:
            pending = self._pool.submit(fields, timeout_s=self._timeout_s, delivery=delivery)
            self._flying.add(pending)
        try:
            return pending.result(self._timeout_s + 10.0)
        finally:
            with self._lock:
                self._flying.discard(pending)

    def _put(self, file: str, data: bytes) -> None:
        """Write a file in one step. Raises StorageError."""
        target = self._sounds / file
        beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            os.replace(beside, target)
        except OSError as exc:
            raise StorageError(f"{target}: {exc.strerror}") from exc
        finally:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)


@contextlib.contextmanager
def _file_of(result: AudioResult) -> Iterator[Path]:
    if result.data is None:
        yield Path(result.path)
        return
    with tempfile.NamedTemporaryFile(suffix=".flac") as file:
        file.write(result.data)
        file.flush()
        yield Path(file.name)


def _comment_of(facts: dict[str, Any]) -> str:  # opaque: a file's own JSON
    kept = {name: facts[name] for name in (*_PLAIN, "recipe", "work") if name in facts}
    return json.dumps(kept, separators=(",", ":"), ensure_ascii=True, sort_keys=True)


def _locked(
    wanted: Wanted, seed: int, told: SoundMetadata, facts: dict[str, Any], report: CraftReport, data: bytes
) -> LockedFile:
    with tempfile.NamedTemporaryFile(suffix=f".{report.format}") as file:
        file.write(data)
        file.flush()
        audio, rate = codec.read(Path(file.name))
    return LockedFile(
        file=wanted.file,
        item=wanted.item,
        class_=wanted.class_,
        variant=wanted.variant,
        asked=wanted.asked,
        seed=seed,
        recipe=str(facts.get("recipe_id", "")),
        engine=told.engine,
        implementation=told.implementation,
        model=Path(told.model).name if told.model.startswith("/") else told.model,
        model_revision=told.model_revision,
        licence=told.licence,
        commercial_use=told.commercial_use,
        sha256=hashlib.sha256(data).hexdigest(),
        format=report.format,
        sample_rate=report.sample_rate,
        channels=report.channels,
        frames=audio.shape[1],
        is_loop=report.is_loop,
        seam_score=None if report.loop is None else report.loop.seam_score,
        loudness_lufs=report.loudness_lufs,
        true_peak_dbfs=report.true_peak_dbfs,
        noise_floor_dbfs=noise_floor_dbfs(audio, rate),
        quality=told.quality.score,
        warnings=report.warnings,
        unsigned=report.unsigned_sha256,
    )


def noise_floor_dbfs(audio: Audio, sample_rate: int) -> float | None:
    """Measure the level of a sound's quietest tenth, by frames of 50 ms, in dB of full scale; None: digital silence.

    Args:
        audio: float32 [C, T].
    """
    hop = max(1, round(_FLOOR_FRAME_S * sample_rate))
    count = max(1, audio.shape[1] // hop)
    frames = audio[:, : count * hop].reshape(len(audio), count, -1)
    powers = np.sort(np.square(frames, dtype=np.float64).mean(axis=(0, 2)))
    floor = float(powers[: max(1, round(_FLOOR_SHARE * count))].mean())
    return None if floor <= 1e-20 else round(10 * float(np.log10(floor)), 2)


def _floor(locked: LockedFile) -> float:
    return -np.inf if locked.noise_floor_dbfs is None else locked.noise_floor_dbfs


def _first_difference(before: LockedFile, now: LockedFile) -> str:
    for name in LockedFile.__struct_fields__:
        if getattr(before, name) != getattr(now, name):
            return f"{name}: {getattr(before, name)!r} -> {getattr(now, name)!r}"
    return "nothing that is told"
