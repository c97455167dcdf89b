"""Two heads, three Ray nodes, a database and an object store under random faults: what was promised is kept.

    python -m benchmarks.cluster_kill --seconds 600 --seed 1          # in .venv-cluster

Clients in processes of their own ask both heads for new and known sounds, for the same one at both at once, for what
is near, and have sounds removed, while heads are killed and paused, workers killed, Ray nodes lost and added, the
database crashed, cut off, silenced and slowed down, and the object store broken in every way. All is written down and
held against the rules at the end:

- every request has one final answer, or a clear error within its deadline, whatever is broken;
- what was acknowledged as kept is there at the end, byte by byte; a recipe with a seed is one entry on all heads;
- a removed sound is not offered by the head that removed it, nor by another a second later;
- files are whole; no row, object, process, descriptor or memory is left over; ``cache verify`` finds nothing;
- a durable request has one result, which every head tells; none is left undone;
- both heads are well soon after the last fault.

Exit code: 0 where all of it held, else 1, with the history of each violation.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
from benchmarks._cluster_bed import FAULTS, Bed, Fault, Head, ray_lost
from benchmarks._cluster_client import DEADLINE_S, PATIENCE_S, RATE
from benchmarks._cluster_judge import Judge, Kept, events_of
from tests.support.asker import Asker
from tests.support.waiting import eventually

ROOT = Path(__file__).parent.parent
WELL_S = 60.0
"""After the last fault every head is ready within this."""
_AT_ONCE = 2
_GROWN_MB = 60.0
_GROWN_DESCRIPTORS = 40


class Clients:
    """The processes that ask."""

    def __init__(self, bed: Bed, count: int, seed: int, pause_s: float, *, durable: bool) -> None:
        self.journals = []
        self.processes = []
        for number in range(count):
            # the last one is this package's own client, and finds by itself which head to ask
            name = f"c{number}" if number < count - 1 else "roaming"
            module = "benchmarks._cluster_client" if number < count - 1 else "benchmarks._cluster_roamer"
            journal, plan = bed.place / f"{name}.jsonl", bed.place / f"{name}.json"
            heads = {head.name: head.endpoint for head in bed.heads.values()}
            asked = {"name": name, "seed": seed, "pause_s": pause_s, "durable": durable, "heads": heads}
            plan.write_text(json.dumps({**asked, "journal": str(journal)}))
            self.journals.append(journal)
            command = [sys.executable, "-m", module, str(plan)]
            self.processes.append(subprocess.Popen(command, cwd=ROOT))

    def end(self) -> list[int]:
        """Let them wait for what is under way; their exit codes."""
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        return [process.wait(PATIENCE_S + DEADLINE_S + 30.0) for process in self.processes]

    def kill(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()


def harass(bed: Bed, seconds: float, seed: int, *, lose_ray: bool) -> Counter[str]:
    """Do faults by dice for so long, two at a time at most; mend all of them at the end."""
    dice, done = random.Random(seed), Counter[str]()
    under_way: dict[Fault, tuple[Iterator[float], float]] = {}
    end = time.monotonic() + seconds
    next_at, lose_at = time.monotonic() + 2.0, time.monotonic() + seconds * 0.6 if lose_ray else float("inf")
    while True:
        now = time.monotonic()
        if now > end and not under_way:
            break
        wanted: Fault | None = None
        if now < end and now > lose_at and not any(FAULTS[one][1] == "ray" for one in under_way):
            wanted, lose_at = ray_lost, float("inf")
        elif now < end and now > next_at and len(under_way) < _AT_ONCE:
            next_at = now + dice.uniform(0.3, 5.0)
            busy = {FAULTS[one][1] for one in under_way} - {""}
            free = [one for one, (_, what) in FAULTS.items() if one not in under_way and what not in busy]
            wanted = dice.choices(free, [FAULTS[one][0] for one in free])[0]
        if wanted is not None:
            under_way[wanted] = (wanted(bed, dice), now)
        for one, (steps, due) in list(under_way.items()):
            if now >= due:
                try:
                    under_way[one] = (steps, time.monotonic() + next(steps))
                except StopIteration:
                    del under_way[one]
        bed.look()
        time.sleep(0.05)
    done.update(harm.what for harm in bed.harms)
    return done


# -- when all is mended ----------------------------------------------------------------------------


def asked_again(bed: Bed, judge: Judge, kept: Kept, most: int = 150) -> None:
    """Ask every head for what is kept: it must offer that very entry, whole."""
    wanted = sorted(judge.expected(kept).items())
    wanted = random.Random(0).sample(wanted, min(most, len(wanted)))
    for head in bed.heads.values():
        with Asker(head.endpoint) as ask:
            for number, ((prompt, seed), entry) in enumerate(wanted):
                fields = {"duration_s": 0.5, "sample_rate": RATE, "format": "flac", "bit_depth": 24, "seed": seed}
                ask.generate(f"again-{number}", prompt, **fields)
                told = ask.final(f"again-{number}")
                judge.counts["asked again at the end"] += 1
                found = told["metadata"]["entry_id"] if told["type"] == "result" else told["error"]["code"]
                if found != entry or not told["metadata"]["cached"]:
                    said = f"head {head.name} answers {(prompt, seed)} with {found}, which is entry {entry}"
                    judge.violate(f"at the end {said}", recipe=(prompt, seed))
                elif hashlib.sha256(Path(told["path"]).read_bytes()).hexdigest() != kept.sha256[entry]:
                    judge.violate(f"at the end head {head.name} gives other bytes for entry {entry}", entry=entry)


def jobs_agree(bed: Bed, judge: Judge) -> Iterator[str]:
    """Every head tells of every durable request that was answered what its caller was told, and none is left undone."""
    for head in bed.heads.values():
        with Asker(head.endpoint) as ask:
            try:
                eventually(lambda ask=ask: not ask.ask("jobs", states=["pending", "running"])["jobs"], "done", 60.0)
            except AssertionError:
                yield f"jobs are left undone at head {head.name}"
            for request, told in judge.durable.items():
                ask.send("job", f"about-{request}", target=request)
                final = ask.final(f"about-{request}")
                found = final.get("body") or {"state": final["error"]["code"], "metadata": None}
                judge.counts["durable requests asked after"] += 1
                entry = (found["metadata"] or {}).get("entry_id")
                if found["state"] != "done" or entry != told:
                    said = f"head {head.name} says that {request} is {found['state']}, entry {entry}"
                    judge.violate(f"at the end {said}; its caller got entry {told}", request=request)


def rows_of(bed: Bed) -> Kept:
    with psycopg.connect(bed.database(), options="-c search_path=audio_pool") as db:
        rows = db.execute("SELECT id, prompt, metadata, sha256, seeded FROM entries").fetchall()
    # the seed that was asked for names the recipe; a sound without one has a seed, too
    seed_of = {row[0]: json.loads(bytes(row[2]).decode()).get("base_seed") if row[4] else None for row in rows}
    return Kept([(row[0], row[1], seed_of[row[0]], bytes(row[3]).hex()) for row in rows])


def replicas_agree(bed: Bed, kept: Kept) -> Iterator[str]:
    """Every head knows what the database has, soon."""

    def known(head: Head) -> set[int]:
        found, after = set[int](), ""
        while True:
            page = head.ask("sounds", search={"limit": 200, "after": after})
            found |= {one["id"] for one in page["sounds"]}
            after = page["next"] or ""
            if not after:
                return found

    for head in bed.heads.values():
        try:
            eventually(lambda head=head: known(head) == set(kept.sha256), "it knows all", 15.0)
        except AssertionError:
            found = known(head)
            more, less = sorted(found - set(kept.sha256))[:5], sorted(set(kept.sha256) - found)[:5]
            yield f"head {head.name} offers {more} that are not kept, and does not know {less}"


def left_in_database(bed: Bed) -> Iterator[str]:
    """Rows that nothing will take away any more. The heads have ended."""
    questions = {
        "heads that have left and are there": "SELECT count(*) FROM heads WHERE due > clock_timestamp()",
        "claims of heads that have left": (
            "SELECT count(*) FROM claims WHERE owner IN (SELECT id FROM heads WHERE due > clock_timestamp())"
        ),
        "entries that the register does not know": (
            "SELECT count(*) FROM entries e WHERE NOT EXISTS (SELECT 1 FROM registry r WHERE r.entry_id = e.id)"
        ),
        "entries that it knows twice": (
            "SELECT count(*) FROM (SELECT 1 FROM registry WHERE entry_id IS NOT NULL GROUP BY entry_id "
            "HAVING count(*) > 1) twice"
        ),
        "files that should have left": ("SELECT count(*) FROM leaving WHERE due < clock_timestamp() - interval '60 s'"),
        "files that are leaving and kept": (
            "SELECT count(*) FROM leaving WHERE file IN (SELECT file FROM entries UNION SELECT file FROM renditions)"
        ),
        "sessions of heads that have ended": (
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ),
    }
    with psycopg.connect(bed.database(), options="-c search_path=audio_pool", autocommit=True) as db:
        for what, question in questions.items():
            with contextlib.suppress(AssertionError):
                eventually(lambda question=question: _number(db, question) == 0, what, 15.0)
                continue
            yield f"{_number(db, question)} {what}"


def _number(db: psycopg.Connection, question: str) -> int:
    row = db.execute(question).fetchone()
    assert row is not None
    return int(row[0])


def left_in_bucket(bed: Bed, kept: Kept) -> Iterator[str]:
    """Objects of rows, byte by byte."""
    bucket = bed.objects.bucket_of(bed.bucket)
    keys = bed.objects.keys(bed.bucket, "sounds/")
    prefix = f"{bed.bucket.url.split('/', 3)[3]}/"
    with psycopg.connect(bed.database(), options="-c search_path=audio_pool") as db:
        wanted = {
            bytes(row[0]).hex() for row in db.execute("SELECT sha256 FROM entries UNION SELECT sha256 FROM renditions")
        }
        # a removed sound has its grace yet
        leaving = {row[0].rsplit("/", 1)[-1].split("-")[0] for row in db.execute("SELECT file FROM leaving")}
    there = {key.rsplit("/", 1)[-1].split(".")[0]: key for key in keys}
    for digest in wanted:
        if digest not in there:
            yield f"the object of {digest[:12]} is gone"
        elif hashlib.sha256(bucket.Object(prefix + there[digest]).get()["Body"].read()).hexdigest() != digest:
            yield f"the object of {digest[:12]} has other bytes"
    orphans = set(there) - wanted - leaving
    now = time.time()
    old = [one for one in orphans if now - bucket.Object(prefix + there[one]).last_modified.timestamp() > 120.0 + 90.0]
    if old:
        yield f"{len(old)} objects without a row are older than their grace of two minutes, e.g. {there[old[0]]}"


def verified(bed: Bed) -> Iterator[str]:
    """``cache verify`` on the directory of each head, which has ended, once its last turn at collecting was taken."""

    def run(head: Head, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "audio_pool.cli", "cache", *words, "--cache-dir", str(head.cache), "--json"]
        return subprocess.run(command, capture_output=True, text=True, timeout=300.0, check=False)

    for head in bed.heads.values():
        for _ in range(3):  # some objects grow old enough to be collected between the two
            collected, told = run(head, "gc"), run(head, "verify")
            if collected.returncode:
                yield f"cache gc: {collected.stdout}{collected.stderr[-500:]}"
            if not told.returncode or {one["kind"] for one in json.loads(told.stdout)["problems"]} != {"orphan_object"}:
                break
        if told.returncode:
            yield f"cache verify of head {head.name}: {told.stdout[-1500:]}{told.stderr[-500:]}"
        left = [one for one in (head.cache / "incoming").rglob("*") if one.is_file() and one.name != ".lock"]
        if left:
            yield f"head {head.name} left {len(left)} files in the making, e.g. {left[0].name}"


def grown(bed: Bed) -> Iterator[str]:
    """Heads that took more and more. A life is measured where it was long enough to say so."""
    for head in bed.heads.values():
        for number, samples in enumerate(head.samples):
            if len(samples) < 90:
                continue
            part = len(samples) // 4
            first = {name: statistics.median(one[name] for one in samples[part : 2 * part]) for name in samples[0]}
            last = {name: statistics.median(one[name] for one in samples[-part:]) for name in samples[0]}
            if last["MB"] - first["MB"] > _GROWN_MB or last["descriptors"] - first["descriptors"] > _GROWN_DESCRIPTORS:
                yield f"life {number + 1} of head {head.name} grew from {first} to {last} in {len(samples)} s"


def processes_left(before: set[int]) -> Iterator[str]:
    """Ours that still run."""

    def ours() -> list[str]:
        found = []
        for one in psutil.process_iter(["pid", "cmdline", "environ"]):
            words = " ".join(one.info["cmdline"] or ())
            marked = (one.info["environ"] or {}).get("CLUSTER_KILL") == str(os.getpid())
            if marked and one.info["pid"] not in before and one.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{one.info['pid']} {words[:120]}")
        return found

    with contextlib.suppress(AssertionError):
        eventually(lambda: not ours(), "all have ended", 15.0)
        return
    for one in ours():
        yield f"a process is left: {one}"


# -- telling ---------------------------------------------------------------------------------------


def table(counts: dict[str, Any]) -> str:
    return "\n".join(f"  {str(value).rjust(8)}  {name}" for name, value in sorted(counts.items()))


def run(seconds: float, seed: int, clients: int, pause_s: float, place: Path, *, durable: bool, lose_ray: bool) -> int:
    wrong: list[str] = []
    os.environ["CLUSTER_KILL"] = str(os.getpid())
    with Bed(place) as bed:
        asking = Clients(bed, clients, seed, pause_s, durable=durable)
        bed.callback(asking.kill)
        print(f"all is up; faults for {seconds:.0f} s by dice of {seed}", flush=True)
        done = harass(bed, seconds, seed, lose_ray=lose_ray)
        bed.mend()
        try:
            well_after = bed.wait_well(WELL_S)
        except AssertionError as exc:
            wrong.append(str(exc))
            well_after = WELL_S
        wrong += [f"client c{number} ended with {code}" for number, code in enumerate(asking.end()) if code]
        (place / "faults.json").write_text(json.dumps([dataclasses.asdict(one) for one in bed.harms], indent=1))
        judge = Judge(events_of(asking.journals), bed.harms)
        judge.judge()
        kept = rows_of(bed)
        judge.judge_kept(kept)
        wrong += replicas_agree(bed, kept)
        asked_again(bed, judge, kept)
        if durable:
            wrong += jobs_agree(bed, judge)
        wrong += [
            one
            for one in bed.ended
            if not judge.harmed(("a", "b"), float(one.split()[0]) - 10.0, float(one.split()[0]))
        ]
        for head in bed.heads.values():
            if head.served is not None:
                head.served.signal(signal.SIGTERM)
        for head in bed.heads.values():
            if head.served is not None and (code := head.served.wait()):
                wrong.append(f"head {head.name} ended with {code} when it was told to end")
            head.served = None
        wrong += left_in_database(bed)
        wrong += verified(bed)
        wrong += left_in_bucket(bed, rows_of(bed))
        wrong += grown(bed)
        lives = {f"lives of head {name}": head.lives for name, head in bed.heads.items()}
        ended = bed.ended
    os.environ.pop("CLUSTER_KILL")
    wrong += processes_left({os.getpid()})
    figures = {**judge.counts, **lives, "faults": sum(done.values()), "heads that ended by themselves": len(ended)}
    figures["well after the last fault, s"] = round(well_after, 1)
    figures["the longest wait for an answer, s"] = round(judge.slowest_s, 1)
    print("faults:", table(done), "counts:", table(figures), sep="\n")
    print("\n".join(ended))
    wrong += judge.violations
    for one in wrong:
        print(f"\nVIOLATION: {one}")
    print(f"\n{len(wrong)} violations, seed {seed}", flush=True)
    return 1 if wrong else 0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cluster_kill", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--seconds", type=float, default=600.0, help="of faults")
    parser.add_argument("--seed", type=int, default=1, help="of the dice")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--pause", type=float, default=0.3, metavar="S", help="mean between two requests of a client")
    parser.add_argument("--plain", action="store_true", help="without durable requests")
    parser.add_argument("--keep", type=Path, help="work in this new folder, and leave it there")
    asked = parser.parse_args(arguments)
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))  # and takes along what it has started
    how = {"durable": not asked.plain, "lose_ray": asked.seconds >= 300.0}
    if asked.keep:
        asked.keep.mkdir(parents=True)
        return run(asked.seconds, asked.seed, asked.clients, asked.pause, asked.keep, **how)
    with tempfile.TemporaryDirectory(prefix="apk-", dir="/tmp") as place:
        return run(asked.seconds, asked.seed, asked.clients, asked.pause, Path(place), **how)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
