"""The fault matrix: what a caller gets, when, what a neighbour sees of it, and what is left.

    python -m benchmarks.faults                          every fault
    python -m benchmarks.faults sigkill hold disk        some, by a word of their names
    python -m benchmarks.faults --list
    python -m benchmarks.faults --soak 10000 --kills 200

Each fault is done to a real ``audio-pool serve`` with process workers, beside a neighbour who asks for one sound
after the other over a socket of its own and counts what comes back. ``--quick`` does those that the tests do,
``--json FILE`` writes what was found, ``--markdown`` prints the tables of docs/reliability.md. The exit code is 1
where an answer was lost, doubled, crossed or wrong, or something was left; a reach that was missed is only told.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # tests/support: engines that misbehave

from benchmarks._fault_bed import (
    HUNG_S,
    LIMITS,
    SILENT_S,
    Bed,
    Row,
    files_left,
    leftovers_of,
    made_at,
    measured,
    rogues,
    said,
    tree_of,
)
from benchmarks._fault_soak import Soak, soak
from tests.support.asker import Asker
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.client.client import AudioClient
from audio_pool.errors import AudioPoolError

ROOT = Path(__file__).resolve().parent.parent
DEATH_S = 1.0
"""Within which a death is answered: by a typed error, or by the result of another try."""
_CROWD = 130
"""Clients that want in where a process may open 128 files."""
TORN_WORKER = ROOT / "tests" / "support" / "torn_worker.py"

Faults = dict[str, Callable[[Bed, str], Row]]


# -- one worker ------------------------------------------------------------------------------------


def killed_by(number: signal.Signals) -> Callable[[Bed, str], Row]:
    """A signal from outside, while the worker is at work."""

    def fault(bed: Bed, name: str) -> Row:
        with bed.row(name, DEATH_S if number == signal.SIGKILL else SILENT_S + 1.0) as row:
            gate = bed.file("gate")
            request = bed.send(f"wait {gate}")
            eventually(Path(f"{gate}.started").exists, "it is being made")
            busy = eventually(lambda: holder_of(bed), "a worker has it")
            began = time.time()
            busy.send_signal(number)
            gate.touch()
            measured(row, bed, request, lambda: began)
        return row

    return fault


def holder_of(bed: Bed) -> psutil.Process | None:
    """The worker that holds a task (the neighbour's are short)."""
    for _ in range(20):
        for name, report in bed.ask.ask("status")["workers"].items():
            if report["jobs"] and name in bed.server.workers():
                time.sleep(0.1)
                again = bed.ask.ask("status")["workers"][name]
                if again["jobs"] and again["jobs_done"] == report["jobs_done"]:
                    return bed.server.workers()[name]
    return None


def once(verb: str, within_s: float) -> Callable[[Bed, str], Row]:
    """An engine that does it at the first try only."""

    def fault(bed: Bed, name: str) -> Row:
        with bed.row(name, within_s) as row:
            done = bed.file(verb)
            measured(row, bed, bed.send(f"{verb} {done}"), lambda: made_at(done))
        return row

    return fault


def with_deadline(verb: str, deadline_s: float) -> Callable[[Bed, str], Row]:
    """An engine that does it, for a caller with a deadline: he is answered then, and the worker is replaced."""

    def fault(bed: Bed, name: str) -> Row:
        with bed.row(name, deadline_s + 1.0) as row:
            done = bed.file(verb)
            measured(row, bed, bed.send(f"{verb} {done}", deadline_ms=int(deadline_s * 1000)), lambda: made_at(done))
        return row

    return fault


def always(verb: str, within_s: float | None = None) -> Callable[[Bed, str], Row]:
    """An engine that does it at every try."""

    def fault(bed: Bed, name: str) -> Row:
        with bed.row(name, within_s) as row:
            began = time.time()
            measured(row, bed, bed.send(f"{verb} of {name}"), lambda: began)
        return row

    return fault


WORKER: Faults = {
    "worker SIGKILL": killed_by(signal.SIGKILL),
    "worker SIGSTOP": killed_by(signal.SIGSTOP),
    "worker SIGSEGV, once": once("fault", DEATH_S),
    "worker SIGSEGV, every time": always("fault"),
    "worker _exit": once("end", DEATH_S),
    "worker at RLIMIT_AS": always("starve", DEATH_S),
    "engine raises SystemExit": always("leave", DEATH_S),
    "Python loop": once("loop", HUNG_S + 1.0),
    "Python loop that reports steps": with_deadline("spin", 1.0),
    "GIL hang": once("hold", SILENT_S + 1.0),
    "hang in C": once("sleep", HUNG_S + 1.0),
    "log flood": always("flood"),
    "engine leaves a process": always("child"),
    "NaN": always("torn", DEATH_S),
    "wrong shape": always("turned", DEATH_S),
    "ten samples": always("short", DEATH_S),
    "8,820 channels": always("wide", DEATH_S),
    "nothing returned": always("nothing", DEATH_S),
}


# -- clients, at the same pool ---------------------------------------------------------------------


def vanishing(bed: Bed, name: str) -> Row:
    with bed.row(name) as row:
        for number in range(10):
            with Asker(bed.server.endpoint) as ask:
                for each in range(10):
                    ask.generate(f"v{each}", f"tone of vanishing {number}", delivery="inline", force=True)
        row.got = "nobody to answer"
    return row


def flooding(bed: Bed, name: str) -> Row:
    with bed.row(name) as row, Asker(bed.server.endpoint) as ask:
        for number in range(3000):
            ask.generate(f"f{number}", f"tone of flood {number}", store=False)
        eventually(lambda: answered(ask) >= 3000, "every one of them is answered")
        kinds = [said(finals[0]) for finals in ask.finals.values()]
        row.got = ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))
        if any(len(finals) != 1 for finals in ask.finals.values()) or len(ask.finals) != 3000:
            row.wrong.append("the flood's answers do not add up")
    return row


def answered(ask: Asker) -> int:
    while ask.socket.poll(0):
        ask.take()
    return len(ask.finals)


def repeating(bed: Bed, name: str) -> Row:
    with bed.row(name, DEATH_S) as row, Asker(bed.server.endpoint) as ask:
        began = time.time()
        for _ in range(3):
            ask.generate("same", "tone of repeating", force=True)
        eventually(lambda: answered(ask) and len(ask.finals["same"]) == 3, "each has an answer")
        kinds = [said(one) for one in ask.finals["same"]]
        row.after_s = time.time() - began
        row.got = ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))
        if kinds.count("result") != 1:
            row.wrong.append("one of them should have been a result")
    return row


def never_reading(bed: Bed, name: str) -> Row:
    before = bed.server.rss_mb()
    with bed.row(name) as row, Asker(bed.server.endpoint, RCVHWM=1) as ask:
        for number in range(400):
            ask.generate(f"m{number}", "tone of many", delivery="inline", duration_s=2.0)
        time.sleep(3.0)
        row.got = f"nothing; the server grew by {max(0.0, bed.server.rss_mb() - before):.0f} MB"
    return row


CLIENTS: Faults = {
    "clients that vanish": vanishing,
    "client that floods": flooding,
    "client that repeats ids": repeating,
    "client that never reads": never_reading,
}


def usual_bed(place: Path) -> Bed:
    return Bed(place, queue={"max_requests": 512})


# -- references between workers --------------------------------------------------------------------


def torn(word: str) -> Callable[[Bed, str], Row]:
    def fault(bed: Bed, name: str) -> Row:
        with bed.row(name, DEATH_S) as row:
            began = time.time()
            measured(row, bed, bed.send(f"{word} in the rain", engine="mock"), lambda: began)
            if row.got == "result":
                row.wrong.append("a torn reference gave a sound")
        return row

    return fault


def strange(bed: Bed, name: str) -> Row:
    """Somebody of the same user who talks to the workers' socket."""
    from audio_pool.transport.arena import default_directory

    with bed.row(name) as row:
        arena = next(default_directory().glob(f"arena-{bed.server.process.pid}-*"))
        import zmq

        with contextlib.ExitStack() as opened:
            for identity in (b"stranger", b"w-1:1:generate", b"w-1:1:control"):
                stranger = zmq.Context.instance().socket(zmq.DEALER)
                opened.callback(stranger.close, 0)
                stranger.setsockopt(zmq.IDENTITY, identity)
                stranger.connect(f"ipc://{arena}/workers.sock")
                for junk in (b"", b"\xc1", os.urandom(1000), b"\x81\xa4type\xa9heartbeat", b"\x81\xa4type\xa4done"):
                    stranger.send_multipart([junk, junk])
            time.sleep(1.0)
        row.got = "nobody asked"
    return row


TORN: Faults = {
    "tensor reference: missing": torn("missing"),
    "tensor reference: truncated": torn("truncated"),
    "tensor reference: oversized": torn("oversized"),
    "tensor reference: overstated": torn("overstated"),
    "tensor reference: foreign file": torn("foreign"),
    "tensor reference: another arena": torn("owned"),
    "tensor reference: stale": torn("stale"),
    "tensor: garbage for a header": torn("garbage"),
    "tensor: NaN": torn("nan"),
    "tensor: wrong shape": torn("flat"),
    "worker sends garbage": torn("junk"),
    "a stranger on the workers' socket": strange,
}


def torn_bed(place: Path) -> Bed:
    place.mkdir(parents=True, exist_ok=True)
    python = place / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {TORN_WORKER} "$@"\n')
    python.chmod(0o700)
    liar = {"name": "liar", "engines": ["mock"], "roles": ["generate"], "python": str(python), "credit": 1}
    master = {"name": "master", "engines": [], "roles": ["master"]}
    return Bed(place, workers=[rogues(1), liar, master])


# -- loading ---------------------------------------------------------------------------------------


def loading(word: str, while_s: float) -> Callable[[Bed, str], Row]:
    def fault(bed: Bed, name: str) -> Row:
        control = bed.place / "control"
        with bed.row(name) as row:
            bed.final(bed.send("tone before it", engine="broken"))
            (control / word).touch()
            victim = next(process for at, process in bed.server.workers().items() if at == "b")
            began = time.time()
            victim.kill()
            if word == "slow":
                request = bed.send(f"tone of {name}", engine="broken")
                time.sleep(while_s)
                (control / word).unlink()
                measured(row, bed, request, lambda: began + while_s)
            else:
                first = bed.send(f"tone of {name}", engine="broken", deadline_ms=int(while_s * 1000))
                answer, at = bed.final(first)
                (control / word).unlink()
                row.after_s = at - began
                row.got = f"{answer} while it lasts"
                after = f"tone after {name}"
                eventually(lambda: bed.final(bed.send(after, engine="broken"))[0] == "result", "it heals")
                row.got += ", then results"
        return row

    return fault


LOADING: Faults = {
    "worker dies while loading": loading("dies", 5.0),
    "worker loads slowly": loading("slow", 3.0),
    "worker exits right after ready": loading("flighty", 5.0),
}


def loading_bed(place: Path) -> Bed:
    (place / "control").mkdir(parents=True)
    broken = {"name": "b", "engines": ["broken"], "credit": 1}
    return Bed(
        place,
        workers=[rogues(1), broken],
        brings=("rogue", "broken"),
        engines={"broken": {"control": str(place / "control")}},
        limits={"restart_backoff_max_s": 1.0},
    )


# -- the router ------------------------------------------------------------------------------------


def ended(place: Path, name: str, numbers: list[int], *, held: bool) -> Row:
    """The server is told to end, or killed, while sounds are being made for four clients."""
    row = Row(fault=name, within_s=DEATH_S if numbers == [signal.SIGKILL] else None)
    gate = place / "gate"
    with Served(place / "s", workers=[rogues(2)], brings=("rogue",), limits=LIMITS, defaults={"engine": "rogue"}) as it:
        server = it.ready()
        pids = tree_of(server.process.pid)
        answers: list[tuple[str, float]] = []

        def client(number: int) -> None:
            with AudioClient(server.endpoint) as one:
                try:
                    one.generate(f"wait {gate}.{number}", store=False, timeout_s=PATIENCE_S)
                    answers.append(("result", time.time()))
                except AudioPoolError as exc:
                    answers.append((f"error {exc.code}", time.time()))

        clients = [threading.Thread(target=client, args=(number,)) for number in range(4)]
        for one in clients:
            one.start()
        eventually(lambda: len(list(place.glob("gate.*.started"))) >= 2, "two are being made")
        began = time.time()
        for number in numbers:
            server.signal(number)
            time.sleep(0.5 if len(numbers) > 1 else 0.0)
        if not held:
            for number in range(4):
                Path(f"{gate}.{number}").touch()
        for one in clients:
            one.join(PATIENCE_S)
        code = server.wait()
        left = leftovers_of(pids)
        if numbers == [signal.SIGTERM] and code:
            row.wrong.append(f"exit code {code}")
    kinds = [kind for kind, _ in answers]
    row.got = ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))
    row.after_s = max((at for _, at in answers), default=began) - began
    if len(answers) != 4:
        row.wrong.append(f"{4 - len(answers)} had no answer")
    if numbers == [signal.SIGTERM] and kinds.count("result") < 2:
        row.wrong.append("what was being made was not finished")
    with Served(place / "s", workers=[rogues(1)], brings=("rogue",), defaults={"engine": "rogue"}) as again:
        again.ready().signal()
        again.wait()
    left += files_left(place / "s", server.process.pid)
    command = [sys.executable, "-m", "audio_pool.cli", "cache", "verify", "--cache-dir", str(place / "s" / "cache")]
    if subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False).returncode:
        left.append("a cache that does not verify")
    row.left = ", ".join(left)
    return row


ROUTER: dict[str, Callable[[Path, str], Row]] = {
    "router SIGTERM": lambda place, name: ended(place, name, [signal.SIGTERM], held=False),
    "router SIGINT twice": lambda place, name: ended(place, name, [signal.SIGINT, signal.SIGINT], held=True),
    "router SIGKILL": lambda place, name: ended(place, name, [signal.SIGKILL], held=True),
}


# -- what runs out ---------------------------------------------------------------------------------


def arena_full(place: Path, name: str) -> Row:
    workers = [
        {"name": "maker", "engines": ["rogue"], "roles": ["generate"], "credit": 1},
        {"name": "master", "engines": [], "roles": ["master"]},
    ]
    bed = Bed(place, workers=workers, queue={"arena_bytes": 1 << 20})
    with closing(bed):
        with bed.row(name, DEATH_S) as row:
            began = time.time()
            measured(row, bed, bed.send("tone that does not fit", duration_s=5.0), lambda: began)
            row.got += f", inline ({bed.ask.ask('status')['arena']['no_room']} had no room)"
        return bed.wrapped_up([row])[0]


def disk_full(place: Path, name: str) -> Row:
    cache = place / "s" / "cache"
    cache.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(cache)], capture_output=True)
    if mounted.returncode:
        return Row(fault=name, skipped="mounting a tmpfs is not allowed here")
    try:
        bed = Bed(place)
        with closing(bed):
            with bed.row(name, DEATH_S) as row:
                with contextlib.suppress(OSError), (cache / "ballast").open("wb", buffering=0) as ballast:
                    while True:
                        ballast.write(bytes(4096))
                began = time.time()
                measured(row, bed, bed.send("tone without a disk", store=True), lambda: began)
                health = eventually(lambda: degraded(bed), "health says so")
                (cache / "ballast").unlink()
                row.got += f", not kept; health: {health}"
            return bed.wrapped_up([row])[0]
    finally:
        subprocess.run(["umount", "-l", str(cache)], check=False)


def directory_deleted(place: Path, name: str) -> Row:
    bed = Bed(place)
    with closing(bed):
        with bed.row(name, DEATH_S) as row:
            began = time.time()
            shutil.rmtree(place / "s" / "cache", ignore_errors=True)
            measured(row, bed, bed.send("tone without a directory", store=True), lambda: began)

            def kept() -> bool:
                bed.ask.final(bed.send("tone of later", store=True))
                return bool(bed.ask.final(bed.send("tone of later", store=True))["metadata"]["cached"])

            eventually(kept, "sounds are kept again")
            row.got += "; kept again after it was made anew"
        return bed.wrapped_up([row])[0]


def degraded(bed: Bed) -> str:
    health = bed.ask.ask("health")
    return next((str(health["state"]) for one in health["reasons"] if one.startswith("cache: ") and "full" in one), "")


def descriptors_full(place: Path, name: str) -> Row:
    bed = Bed(place, most_files=128)
    with closing(bed):
        with bed.row(name, DEATH_S) as row, contextlib.ExitStack() as crowd:
            for _ in range(_CROWD):
                crowd.enter_context(Asker(bed.server.endpoint))
            eventually(lambda: bed.ask.ask("status")["clients"].get("connections_turned_away"), "some are turned away")
            victims = bed.server.workers()
            began = time.time()
            done = bed.file("end")
            measured(row, bed, bed.send(f"end {done}"), lambda: made_at(done))
            eventually(lambda: len(bed.server.workers()) == len(victims), "the dead worker comes back")
            row.got += f"; the worker was back after {time.time() - began:.1f} s, among {_CROWD} clients"
        return bed.wrapped_up([row])[0]


def memory_full(place: Path, name: str) -> Row:
    bed = Bed(place)
    with closing(bed):
        with bed.row(name, DEATH_S) as row:
            for process in bed.server.workers().values():
                used = process.memory_info().vms
                process.rlimit(psutil.RLIMIT_AS, (used + (8 << 20), psutil.RLIM_INFINITY))
            began = time.time()
            measured(row, bed, bed.send("tone of much memory", duration_s=120.0), lambda: began)
            if row.got == "result":
                row.wrong.append("there was memory enough")
            for process in bed.server.workers().values():
                process.rlimit(psutil.RLIMIT_AS, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))
        return bed.wrapped_up([row])[0]


def clock_jumps(place: Path, name: str) -> Row:
    place.mkdir(parents=True)
    shim, clock = place / "wall_clock.so", place / "clock"
    try:
        build = ["cc", "-shared", "-fPIC", "-O1", "-o", str(shim), str(ROOT / "benchmarks" / "_wall_clock.c")]
        subprocess.run(build, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return Row(fault=name, skipped="there is no C compiler to build the clock with")
    clock.write_text("0")
    env = {"LD_PRELOAD": str(shim), "WALL_CLOCK": str(clock)}
    bed = Bed(place, env=env)
    with closing(bed):
        with bed.row(name, DEATH_S) as row:
            kept = bed.ask.final(bed.send("tone of yesterday", store=True))["path"]
            removed = bed.ask.final(bed.send("tone that goes", store=True))["path"]
            with AudioSemanticCache(place / "s" / "cache") as cache:
                cache.remove_by_prompt_pattern("that goes", confirm=True)
            answers = []
            for jump in (-3600, 3600, 10 * 365 * 86_400, 0):
                clock.write_text(str(jump))
                began = time.time()
                got, at = bed.final(bed.send(f"tone after {jump}"))
                answers.append(got)
                row.after_s = max(row.after_s or 0.0, at - began)
                hit = bed.ask.final(bed.send("tone of yesterday", store=True))
                if hit["type"] != "result" or not hit["metadata"]["cached"] or not Path(kept).exists():
                    row.wrong.append(f"after a jump of {jump} s what was kept is not found")
            time.sleep(6.0)  # the server looks at what is leaving every 5 s
            if not Path(removed).exists():
                row.wrong.append("what had just been delivered was unlinked before its grace was over")
            row.got = f"{answers.count('result')} of {len(answers)} results, and every hit"
        return bed.wrapped_up([row])[0]


ALONE: dict[str, Callable[[Path, str], Row]] = {
    **ROUTER,
    "arena full": arena_full,
    "disk full": disk_full,
    "cache directory deleted": directory_deleted,
    "descriptors full": descriptors_full,
    "memory full": memory_full,
    "wall clock jumps": clock_jumps,
}
SHARED: tuple[tuple[Callable[[Path], Bed], Faults], ...] = (
    (usual_bed, {**WORKER, **CLIENTS}),
    (torn_bed, TORN),
    (loading_bed, LOADING),
)
QUICK = (
    "worker SIGKILL",
    "worker _exit",
    "NaN",
    "client that repeats ids",
    "clients that vanish",
    "tensor reference: missing",
    "tensor reference: foreign file",
    "worker sends garbage",
    "router SIGTERM",
    "router SIGKILL",
)


@contextlib.contextmanager
def closing(bed: Bed) -> Iterator[Bed]:
    try:
        yield bed
    finally:
        bed.close()


def names() -> list[str]:
    return [*(name for _, faults in SHARED for name in faults), *ALONE]


def matrix(place: Path, wanted: list[str], tell: Callable[[Row], None] = lambda row: None) -> list[Row]:
    """Do the faults that are wanted; each has its row."""
    rows: list[Row] = []
    for number, (make, faults) in enumerate(SHARED):
        chosen = [name for name in faults if name in wanted]
        if not chosen:
            continue
        bed = make(place / f"shared-{number}")
        with closing(bed):
            here = []
            for name in chosen:
                here.append(faults[name](bed, name))
                tell(here[-1])
            rows += bed.wrapped_up(here)
    for name in (name for name in ALONE if name in wanted):
        try:
            rows.append(ALONE[name](place / name.replace(" ", "-"), name))
        except AssertionError as exc:
            rows.append(Row(fault=name, wrong=[str(exc)[:200]]))
        tell(rows[-1])
    return rows


# -- telling ---------------------------------------------------------------------------------------

COLUMNS = ("fault", "the caller gets", "after", "reach", "the neighbour", "waits at most", "left")


def cells(row: Row) -> tuple[str, ...]:
    if row.skipped:
        return (row.fault, f"skipped: {row.skipped}", "", "", "", "", "")
    after = "" if row.after_s is None else f"{row.after_s:.2f} s"
    reach = "" if row.within_s is None else f"{row.within_s:.1f} s, {'missed' if row.late else 'reached'}"
    worst = f"{row.worst_s:.2f} s" if row.neighbour else ""
    left = row.left or "nothing"
    wrong = f" **{'; '.join(row.wrong)}**" if row.wrong else ""
    return (row.fault, row.got + wrong, after, reach, row.neighbour, worst, left)


def markdown(rows: list[Row], soaks: list[Soak]) -> str:
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    lines += [f"| {' | '.join(cells(row))} |" for row in rows]
    for one in soaks:
        lines += ["", *one.markdown()]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", help="faults whose name has this in it; all where none is given")
    parser.add_argument("--list", action="store_true", help="only show the names")
    parser.add_argument("--quick", action="store_true", help="those that the tests do")
    parser.add_argument("--json", type=Path, help="write what was found to this file")
    parser.add_argument("--markdown", action="store_true", help="print the tables of docs/reliability.md")
    parser.add_argument("--soak", type=int, default=0, metavar="N", help="instead: N requests under kills")
    parser.add_argument("--kills", type=int, default=0, help="workers killed during them; N / 50 where not given")
    parser.add_argument("--fresh", type=float, default=0.2, help="share of them that are for a new sound")
    asked = parser.parse_args(arguments)
    if asked.list:
        print("\n".join(names()))
        return 0
    words = [word.lower() for word in asked.names]
    wanted = [name for name in names() if not words or any(word in name.lower() for word in words)]
    if asked.quick:
        wanted = [name for name in wanted if name in QUICK]

    def tell(row: Row) -> None:
        print("  ".join(part for part in (row.verdict.ljust(8), *cells(row)) if part), flush=True)

    rows: list[Row] = []
    soaks: list[Soak] = []
    with tempfile.TemporaryDirectory(prefix="faults-") as place:
        if asked.soak:
            soaks.append(soak(Path(place), asked.soak, asked.kills or max(1, asked.soak // 50), asked.fresh))
            print("\n".join(soaks[0].markdown()))
        else:
            rows = matrix(Path(place), wanted, tell)
    if asked.markdown and rows:
        print(markdown(rows, []))
    if asked.json:
        found = {"rows": [dataclasses.asdict(row) for row in rows], "soaks": [dataclasses.asdict(one) for one in soaks]}
        asked.json.write_text(json.dumps(found, indent=1))
    wrong = [row for row in rows if row.wrong or (row.left and not row.skipped)] + [one for one in soaks if one.wrong]
    missed = [row.fault for row in rows if row.late]
    print(f"{len(rows)} faults: {len(wrong)} wrong, {len(missed)} reaches missed {missed or ''}".rstrip())
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
