"""Candidates that were not chosen: whose, for how long, within how many bytes; and what a choice makes of the cache."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from msgspec import structs
from tests.support.cache_sounds import sound, write_flac
from tests.support.requests import request
from tests.support.routed import Caller as Asker
from tests.support.routed import Routed

from audio_pool.audio.loop_tags import read_loop_tags, write_loop_tags
from audio_pool.audio.tags import write_comment
from audio_pool.errors import NotFound, StorageError
from audio_pool.inscription import inscribed, sound_in
from audio_pool.pool.caller import HOST
from audio_pool.pool.kept_candidates import KeptCandidates
from audio_pool.pool.replies import LocalSink, Reply
from audio_pool.reports import CandidateReport
from audio_pool.results import FinishedSound, SoundMetadata
from audio_pool.tasks import GenerateTask, MasteredSound
from audio_pool.types import Rendition

FLAC = Rendition(format="flac", sample_rate=44_100, bit_depth=24, target_lufs=None, true_peak_dbfs=-1.0)
ADA = structs.replace(HOST, owner="ada", client="ada", connection="c1", operator=False, namespace="default")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Table:
    """A table of kept candidates on a fake clock."""

    def __init__(self, place: Path, most_bytes: int = 1 << 20) -> None:
        self.place, self.clock = place, Clock()
        self.kept = KeptCandidates(60.0, most_bytes, clock=self.clock, now=self.clock)
        self.seeds = iter(range(1, 100))

    def take(self, count: int = 2, *, client: str = "ada", namespace: str = "default", **more: Any) -> int:
        sounds = [sound(self.place, seed=next(self.seeds)) for _ in range(count)]
        tried = [CandidateReport(seed=0, verdict="chosen")]
        tried += [CandidateReport(seed=one.metadata.seed or 0) for one in sounds]
        return self.kept.take(
            [(one, {}) for one in sounds],
            **{"client": client, "namespace": namespace, "rendition": FLAC, "entry": 7, "tried": tried, "rounds": 1}
            | more,
        )

    def told(self, number: int, name: str = "r", caller: Any = ADA, **known: Any) -> SoundMetadata:
        return self.kept.told(SoundMetadata(**known), number, caller, name)

    @property
    def files(self) -> int:
        return len(list(self.place.iterdir()))


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path)


def test_they_are_told_heard_and_gone_when_their_time_is_over(table: Table) -> None:
    told = table.told(table.take()).candidates_kept
    assert [one.number for one in told] == [2, 3] and {one.expires_at for one in told} == {160.0}  # type: ignore[union-attr]
    trial = table.kept.trial(ADA, "r")
    assert table.kept.candidate(trial, 2).sound.metadata.seed == 1
    assert all(os.stat(one.path).st_mode & 0o222 == 0 for one in told)  # type: ignore[union-attr]
    table.clock.now += 59.0
    table.kept.tidy()
    assert table.files == 2
    table.clock.now += 1.0
    with pytest.raises(NotFound):  # not even before the next tidying
        table.kept.trial(ADA, "r")
    table.kept.tidy()
    assert table.files == 0


def test_only_their_owner_hears_them_and_under_their_namespace_alone(table: Table) -> None:
    table.told(table.take())
    other = structs.replace(ADA, owner="bob", client="bob", connection="c2")
    elsewhere = structs.replace(ADA, namespace="others")
    for caller in (other, elsewhere):
        with pytest.raises(NotFound, match="has no candidates"):
            table.kept.trial(caller, "r")
    assert table.kept.trial(structs.replace(other, operator=True), "r")
    # who has not asked for them is told of none, and a hit of another's gives none
    assert table.told(0, "mine", other, entry_id=7, cached=True).candidates_kept == ()
    hit = table.told(0, "again", entry_id=7, cached=True)
    assert len(hit.candidates_kept) == 2 and table.kept.trial(ADA, "again")  # type: ignore[arg-type]


def test_the_oldest_of_whoever_has_most_go_first(tmp_path: Path) -> None:
    size = os.stat(write_flac(tmp_path / "one.flac", 1)).st_size
    (tmp_path / "one.flac").unlink()
    table = Table(tmp_path, most_bytes=round(3.5 * size))
    first, small = table.take(client="flood"), table.take(1, client="polite")
    later = table.take(client="flood")
    last = table.take(client="flood")
    assert table.files == 3
    for number, there in ((first, 0), (later, 0), (small, 1), (last, 2)):
        assert len(table.told(number, str(number)).candidates_kept) == there  # type: ignore[arg-type]


def test_of_one_who_asks_for_many_the_oldest_of_the_fullest_namespace_go_first(tmp_path: Path) -> None:
    size = os.stat(write_flac(tmp_path / "one.flac", 1)).st_size
    (tmp_path / "one.flac").unlink()
    table = Table(tmp_path, most_bytes=round(3.5 * size))
    polite = table.take(1, client="gateway", namespace="polite")
    flood = [table.take(client="gateway", namespace="flood") for _ in range(3)]
    for number, there in zip((polite, *flood), (1, 0, 0, 2), strict=True):
        assert len(table.told(number, str(number)).candidates_kept) == there  # type: ignore[arg-type]


def test_of_more_than_there_is_room_for_the_best_are_kept(tmp_path: Path) -> None:
    size = os.stat(write_flac(tmp_path / "one.flac", 1)).st_size
    (tmp_path / "one.flac").unlink()
    table = Table(tmp_path, most_bytes=round(1.5 * size))
    losers = [
        (sound(tmp_path, seed=seed, metadata={"quality": {"score": score, "issues": []}}), {})
        for seed, score in ((1, 40.0), (2, 90.0))
    ]
    tried = [CandidateReport(seed=seed) for seed in (0, 1, 2)]
    number = table.kept.take(
        losers, client="ada", namespace="default", rendition=FLAC, entry=None, tried=tried, rounds=1
    )
    assert [one.seed for one in table.told(number).candidates_kept] == [2] and table.files == 1  # type: ignore[union-attr]


def test_a_file_that_is_not_there_is_no_candidate(table: Table) -> None:
    gone = structs.replace(sound(table.place), path=str(table.place / "nothing.flac"))
    number = table.kept.take(
        [(gone, {})], client="", namespace="default", rendition=FLAC, entry=None, tried=[], rounds=1
    )
    assert number == 0 and any("candidates_not_kept" in one for one in table.told(number).warnings)


def test_names_of_one_sound_are_bounded(table: Table) -> None:
    number = table.take()
    for one in range(1000):
        table.told(number, f"r{one}")
    with pytest.raises(NotFound):
        table.kept.trial(ADA, "r0")
    assert table.kept.trial(ADA, "r999") and len(table.kept.trial(ADA, "r999").names) <= 256


def test_a_comment_is_written_anew_and_all_else_stays(tmp_path: Path) -> None:
    source = write_flac(tmp_path / "a.flac", 3)
    write_loop_tags(source, "flac", 0, 400)
    write_comment(source, tmp_path / "b.flac", "one")
    write_comment(tmp_path / "b.flac", tmp_path / "c.flac", "two")
    assert soundfile.SoundFile(tmp_path / "c.flac").comment == "two"
    assert read_loop_tags(tmp_path / "c.flac", "flac") == (0, 400)
    assert np.array_equal(soundfile.read(source)[0], soundfile.read(tmp_path / "c.flac")[0])


# -- a choice, with a real cache ---------------------------------------------------------------------


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Routed]:
    made = Routed(tmp_path, defaults={"engine": "tone", "format": "flac"}).start()
    yield made
    made.close()


def finished(pool: Routed, *, accepted: bool = True, others: int = 2) -> dict[int, Any]:
    """What a worker makes of its task: the chosen sound, and so many that were not."""
    task = pool.run().task
    assert isinstance(task, GenerateTask)
    (part,) = task.parts
    assert part.mastering.keep

    def one(number: int) -> FinishedSound:
        path = write_flac(Path(part.mastering.directory) / f"{part.mastering.name}-{number}.flac", part.seeds[number])
        metadata = structs.replace(
            part.mastering.metadata, engine="tone", implementation="tone", sample_rate=44_100, model="models/tone",
            seed=part.seeds[number], accepted=accepted,
        )  # fmt: skip
        metadata = inscribed(part.recipe, metadata, part.mastering.rendition)
        return FinishedSound(path=str(path), recipe=part.recipe, metadata=metadata, accepted=accepted)

    beside = tuple(MasteredSound(sound=one(number), score=40.0) for number in range(1, 1 + others))
    verdicts = ["chosen" if accepted else "best_of_rejected", *["failed_gate"] * others]
    tried = tuple(
        CandidateReport(seed=seed, verdict=verdict)  # type: ignore[arg-type]
        for seed, verdict in zip(part.seeds, verdicts, strict=True)
    )
    return {part.job: MasteredSound(sound=one(0), score=50.0, tried=tried, others=beside)}


def ask(pool: Routed, name: str = "r", **fields: Any) -> Asker:
    asker = Asker(name)
    pool.intake.submit(request(candidates=3, keep_candidates=True, **fields), asker.sink)
    return asker


def choose(pool: Routed, number: int, target: str = "r") -> Reply:
    replies: list[Reply] = []
    sink = LocalSink(request_id="c", on_reply=replies.append)
    pool.service.candidates.choose(target, number, "", sink)
    pool.write()
    (reply,) = replies
    return reply


def test_a_sound_that_nothing_else_would_have_kept_is_kept_when_somebody_chooses_it(pool: Routed) -> None:
    asker = ask(pool, min_quality=90.0, on_quality_failure="best")
    pool.done(finished(pool, accepted=False))
    pool.done(finished(pool, accepted=False))  # the second round
    pool.write()
    told = asker.reply.metadata
    assert told is not None and told.entry_id is None and len(told.candidates_kept) == 5  # type: ignore[arg-type]
    number = told.candidates_kept[1].number  # type: ignore[index]
    reply = choose(pool, number)
    chosen: Any = reply.body
    assert chosen.replaced is None and chosen.metadata.accepted and chosen.metadata.chosen.by == HOST.owner
    assert pool.cache is not None
    # a database that is made anew of the files knows what was chosen
    with soundfile.SoundFile(chosen.path) as file:
        facts = json.loads(file.comment)
        found = sound_in(facts, frames=len(file), sample_rate=file.samplerate)
    assert found is not None and found[1].chosen.by == HOST.owner and found[1].accepted and found[1].forced  # type: ignore[union-attr]
    hit = ask(pool, "again", min_quality=90.0).reply.metadata
    assert hit is not None and hit.entry_id == chosen.entry and hit.seed == told.candidates_kept[1].seed  # type: ignore[index]


def test_a_choice_that_the_disk_does_not_take_changes_nothing(
    pool: Routed, monkeypatch: pytest.MonkeyPatch
) -> None:
    asker = ask(pool)
    pool.done(finished(pool))
    pool.write()
    told = asker.reply.metadata
    assert told is not None and pool.keeper is not None

    def full(*_: Any, **__: Any) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(pool.keeper, "put", full)
        reply = choose(pool, 2)
        assert reply.failure is not None and reply.failure.code == "storage"
    assert [one.number for one in pool.service.candidates.of("r").candidates] == [2, 3]
    hit = ask(pool, "again").reply.metadata
    assert hit is not None and hit.entry_id == told.entry_id and hit.seed == told.seed
    before = len(list(pool.incoming.iterdir()))
    reply = choose(pool, 2)
    assert reply.body is not None and len(list(pool.incoming.iterdir())) == before


def test_a_pool_may_keep_none_and_says_so(tmp_path: Path) -> None:
    cache = {"candidates_keep_s": 0.0}
    none = Routed(tmp_path, defaults={"engine": "tone", "format": "flac"}, cache=cache).start()
    try:
        asker = ask(none)
        task = none.run().task
        assert isinstance(task, GenerateTask) and not task.parts[0].mastering.keep
        path = write_flac(Path(task.parts[0].mastering.directory) / "a.flac", 1)
        metadata = structs.replace(task.parts[0].mastering.metadata, engine="tone", sample_rate=44_100)
        made = FinishedSound(path=str(path), recipe=task.parts[0].recipe, metadata=metadata, accepted=True)
        none.done({task.parts[0].job: MasteredSound(sound=made, score=1.0)})
        none.write()
        told = asker.reply.metadata
        assert told is not None and told.candidates_kept == ()
        assert any("candidates_keep_s" in one for one in told.warnings)
    finally:
        none.close()


def test_files_that_nobody_waits_for_are_gone(pool: Routed) -> None:
    asker = ask(pool)
    results = finished(pool)
    (number,) = pool.requests
    pool.intake.cancel(number)
    pool.done(results)
    pool.write()
    assert asker.reply.kind == "cancelled"
    assert [path.name for path in pool.incoming.iterdir() if not path.name.startswith(".")] == []
