"""Given sounds worked on by a worker, and the result brought where its caller wants it.

Owns: Crafting: what may be asked, how many may be under way, the result's way out.
Must not know: sockets, how the work is done (worker/crafting.py).

    router     checks what is asked; what was sent is written first
    worker     reads, works, writes a file where results go that are not kept
    writer     copies it to the caller's place, or reads it, and takes it away again
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from audio_pool.config import Config
from audio_pool.craft import MOST_SOUNDS, Check, Craft, CraftForm, CraftReport, Master, Mix
from audio_pool.craft import Sequence as InSequence
from audio_pool.errors import AudioPoolError, Busy, InvalidAudio, InvalidRequest, PoolClosed, StorageError
from audio_pool.pool.caller import HOST, Caller
from audio_pool.pool.copying import copy_file
from audio_pool.pool.errands import failed
from audio_pool.pool.intake import Intake, check_output
from audio_pool.pool.refusals import check_written
from audio_pool.pool.replies import LocalSink, Reply, ReplySink
from audio_pool.pool.requests import RequestTable
from audio_pool.pool.router import Router
from audio_pool.pool.sent_audio import Frames
from audio_pool.pool.sent_first import SentFirst
from audio_pool.pool.turns import Turns
from audio_pool.tasks import Called, CraftTask
from audio_pool.types import AudioRequest, Delivery

__all__ = ["Crafting"]

log = logging.getLogger(__name__)

_LATE_S = 30.0
_MOST = 64
"""Under way at a time."""
_MIXED_PEAK_DBFS = -1.0
"""What adds up is turned down so far, where nothing else was asked."""


class _Asked(Struct, frozen=True):
    """One question."""

    number: int
    out: str
    """What the worker writes, without its ending."""
    output_path: str | None
    delivery: Delivery
    caller: Caller


class _InHand(Struct, frozen=True):
    """What a worker has: given up where its caller cancels."""

    give_up: Callable[[], None]


class Crafting:
    """Router's thread only, but for what the writer does."""

    def __init__(
        self,
        config: Config,
        router: Router,
        intake: Intake,
        requests: RequestTable,
        first: SentFirst,
        writer: Turns,
        render_dir: Path,
    ) -> None:
        """
        Args:
            first: has what was sent written, and hands the question on.
            render_dir: where results lie that are not kept.
        """
        self._config = config
        self._intake = intake
        self._requests = requests
        self._first = first
        self._writer = writer
        self._router = router
        self._render_dir = render_dir
        self._under_way = 0

    def ask(
        self,
        craft: Craft,
        form: CraftForm,
        paths: Sequence[str],
        sink: ReplySink,
        *,
        output_path: str | None = None,
        delivery: Delivery = "path",
        sounds: Sequence[Frames] = (),
        size_bytes: int = 0,
        caller: Caller = HOST,
    ) -> int:
        """Have sounds worked on: those at ``paths`` first, then those that came along; return the request's number.

        The answer is a CraftReport. Without ``output_path`` and not inline, its path is a file that stays where
        results lie that are not kept.

        Args:
            sounds: that came with the question, each in pieces.

        Raises:
            InvalidRequest, PathNotAllowed: what is asked. InvalidAudio: what was sent. Busy: too many are under way.
        """
        self._check(craft, form, paths, len(sounds), output_path, caller)
        if self._under_way >= _MOST:
            raise Busy(f"{_MOST} files are being worked on, which are all that are allowed", retry_after_ms=1000)
        signing = self._intake.signing
        out = str(self._render_dir / f"craft-{secrets.token_hex(12)}")
        task = CraftTask(
            craft=craft,
            form=self._resolved(craft, form),
            paths=tuple(paths),
            roots=caller.input_roots.folders,
            out=out,
            highpass_hz=self._config.sound.highpass_cutoff_hz if self._config.sound.apply_highpass_filter else 0.0,
            highpass_order=self._config.sound.highpass_filter_order,
            seal=signing.seal,
            must_be_signed=signing.mode == "on",
            not_signed=signing.why_not,
        )
        number = self._requests.open(sink, caller=caller)
        asked = _Asked(number, out, output_path, delivery, caller)
        inner = LocalSink(request_id=f"craft-of-{number}", on_reply=lambda reply: self._worked(asked, reply))
        self._under_way += 1
        try:
            worked = self._first.call(
                lambda sent: structs.replace(task, sounds=sent), sounds, inner, size_bytes=size_bytes, caller=caller
            )
        except BaseException:
            self._under_way -= 1
            self._requests.pop(number, None)
            raise
        self._intake.reading[number] = _InHand(lambda: self._intake.cancel(worked))
        return number

    def _check(
        self, craft: Craft, form: CraftForm, paths: Sequence[str], sent: int, output_path: str | None, caller: Caller
    ) -> None:
        count = len(paths) + sent
        most = MOST_SOUNDS if isinstance(craft, Mix | InSequence) else 1
        if not 1 <= count <= most:
            allowed = "1" if most == 1 else f"1 to {most}"
            raise InvalidRequest(f"paths, sounds: given {count}, allowed for this are {allowed}")
        for path in paths:
            if not path.startswith("/"):
                raise InvalidRequest(f"paths: given {path!r}, allowed are absolute paths, which this server can read")
            caller.input_roots.check("paths", path)
        if output_path is not None:
            if isinstance(craft, Check):
                raise InvalidRequest("output_path: given for a check, which writes nothing; leave it out")
            if not output_path.startswith("/"):
                raise InvalidRequest(f"output_path: given {output_path!r}, allowed is an absolute path")
            check_output(output_path, caller)
        if form.format is not None or form.bit_rate is not None:
            written = AudioRequest(
                prompt="a file", format=form.format, bit_depth=form.bit_depth, bit_rate=form.bit_rate
            )
            check_written(written, self._config)
        if form.format is not None and not isinstance(craft, Check):
            self._intake.signing.for_file(form.format)

    def _resolved(self, craft: Craft, form: CraftForm) -> CraftForm:
        """Return the form with the level that is meant where none was given."""
        sound = self._config.sound
        target, peak = form.target_lufs, form.true_peak_dbfs
        if isinstance(craft, Master):
            target = sound.target_lufs if target is None else target
            peak = sound.true_peak_dbfs if peak is None else peak
        elif peak is None and (target is not None or form.limiter):
            peak = sound.true_peak_dbfs
        elif peak is None and isinstance(craft, Mix | InSequence):
            peak = _MIXED_PEAK_DBFS
        return structs.replace(form, target_lufs=target, true_peak_dbfs=peak)

    def _worked(self, asked: _Asked, reply: Reply) -> None:
        """Take what the worker says; its file goes on to the caller, if that is still there."""
        self._under_way -= 1
        wanted = self._intake.reading.pop(asked.number, None) is not None
        try:
            if reply.kind != "result" or not isinstance(reply.body, Called):
                if wanted:
                    self._requests.finish(asked.number, reply)
                # a worker that was told too late may still be writing
                self._router.call_at(time.monotonic() + _LATE_S, lambda: self._tidy(asked))
                return
            report = msgspec.convert(reply.body.body, CraftReport)
            if report.path is None:
                if wanted:
                    self._requests.finish(asked.number, Reply(kind="result", body=report))
                return
            self._writer.submit(asked.caller.client, lambda: self._deliver(asked, report, wanted), bounded=False)
        except msgspec.ValidationError as exc:
            log.warning("a worker's report of its work is malformed: %s", exc)
            bug = AudioPoolError("the worker's report of its work is malformed; the server's log says more")
            self._requests.finish(asked.number, failed(bug))
        except RuntimeError:  # the writer takes nothing any more
            self._requests.finish(asked.number, failed(PoolClosed("the pool has stopped")))

    def _tidy(self, asked: _Asked) -> None:
        """Take away what nobody is to get."""

        def unlink() -> None:
            for path in self._render_dir.glob(f"{Path(asked.out).name}.*"):
                path.unlink(missing_ok=True)

        with contextlib.suppress(RuntimeError):  # the writer takes nothing any more
            self._writer.submit("", unlink)

    def _deliver(self, asked: _Asked, report: CraftReport, wanted: bool) -> None:
        """Bring the file to its caller. On the writer's thread."""
        made = Path(report.path or "")
        told: Reply | None = None
        try:
            if wanted:
                told = self._delivered(asked, report, made)
        except AudioPoolError as exc:
            told = failed(exc)
        except (OSError, ValueError) as exc:  # ValueError: a path with a zero byte in it
            told = failed(StorageError(f"the file could not be delivered: {exc}"))
        except BaseException:  # whatever it is: nobody may be left without an answer
            log.exception("delivering a file met a bug")
            told = failed(AudioPoolError("delivering the file met a bug in the server; its log says more"))
        if told is None or told.kind != "result" or asked.output_path is not None or asked.delivery == "inline":
            with contextlib.suppress(OSError):
                made.unlink()
        if told is not None:
            reply = told
            self._router.post(lambda: self._requests.finish(asked.number, reply))

    def _delivered(self, asked: _Asked, report: CraftReport, made: Path) -> Reply:
        if made.parent != self._render_dir or not made.is_file():
            raise AudioPoolError("the worker says that it wrote, and there is no file")
        path = str(made)
        if asked.output_path is not None:
            path = copy_file(made, Path(asked.output_path), asked.caller.output_roots)
        if asked.delivery == "path":
            return Reply(kind="result", body=structs.replace(report, path=path))
        size, most = os.stat(made).st_size, self._config.server.max_inline_bytes
        if size > most:
            raise InvalidAudio(
                f"the file has {size:,} bytes, delivered inline are at most {most:,}",
                hint="ask for delivery 'path', or a lossy format",
            )
        shown = structs.replace(report, path=None if asked.output_path is None else path)
        return Reply(kind="result", body=shown, data=made.read_bytes())
