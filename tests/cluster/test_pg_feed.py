"""What one head does, the others know: at once where it can be, and never not at all."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import psycopg
import pytest
from tests.cluster.heads import Heads, finds, keep, store_of
from tests.support.cache_sounds import recipe, sound
from tests.support.postgres import PostgresServer
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.cache.judgements import Given
from audio_pool.cache.postgres import feed, follower
from audio_pool.cache.postgres.feed import Place
from audio_pool.cache.postgres.states import states_of
from audio_pool.cache.presets import Expected
from audio_pool.errors import Conflict
from audio_pool.library import SoundMarks
from audio_pool.presets import Preset
from audio_pool.types import Query, Rendition

SCHEMA = "audio_pool"
OGG = Rendition(format="ogg", sample_rate=44_100, bit_depth=16, target_lufs=-23.0, true_peak_dbfs=-2.0)


@contextlib.contextmanager
def session(url: str):
    with psycopg.connect(url, options=f"-c search_path={SCHEMA}") as db:
        yield db


def test_what_one_head_keeps_another_offers_by_words_and_by_meaning(heads: Heads) -> None:
    a, b = heads.open("a"), heads.open("b")
    b.prepare(["minilm"])
    vector = np.ones(8, np.float32)
    entry = a.put(sound(a.incoming, "rain on a tin roof", seed=1), {"minilm": vector})
    assert finds(a, "rain on a tin roof") == entry.id
    eventually(lambda: finds(b, "rain on a tin roof") == entry.id, "the other head offers it")
    near = b.find_near(recipe("rain on a tin roof"), Query(match="threshold"), {"minilm": vector}).hit
    assert near is not None and near.entry.id == entry.id
    assert near.entry.path.endswith(Path(entry.path).name)


def test_a_removal_is_over_on_its_own_head_when_it_returns_and_soon_everywhere(heads: Heads) -> None:
    a, b = heads.open("a"), heads.open("b")
    kept = [keep(a, f"sound {number}", number).id for number in range(5)]
    eventually(lambda: finds(b, "sound 4") == kept[4], "the other head offers them")
    b.remove([number for number in kept[:3] if number is not None])
    assert [finds(b, f"sound {number}") for number in range(5)] == [None, None, None, kept[3], kept[4]]
    eventually(lambda: [finds(a, f"sound {n}") for n in range(5)] == [None, None, None, *kept[3:]], "nor the first one")


def test_a_long_transaction_of_somebody_hides_nothing_and_is_not_passed_over(heads: Heads) -> None:
    a, b = heads.open("a"), heads.open("b")
    first = keep(a, "kept before")
    eventually(lambda: finds(b, "kept before") == first.id, "the other head offers it")
    with session(heads.shared.url) as slow:  # an older transaction, whose lines come later
        slow.execute("DELETE FROM entries WHERE id = %s", (first.id,))
        feed.tell(slow, SCHEMA, "removed", [first.id])
        later = keep(a, "kept meanwhile")
        eventually(lambda: finds(b, "kept meanwhile") == later.id, "a younger transaction is heeded")
        a.remove([later.id])
        eventually(lambda: finds(b, "kept meanwhile") is None, "so is a removal")
        assert finds(b, "kept before") == first.id
        slow.commit()
        eventually(lambda: finds(b, "kept before") is None, "the older one is not forgotten")
    last = keep(a, "kept at last")
    eventually(lambda: finds(b, "kept at last") == last.id, "it goes on")


def test_no_line_is_settled_before_one_of_an_older_transaction(database: str, heads: Heads) -> None:
    heads.open("a")
    with session(database) as one, session(database) as two, session(database) as reader:
        reader.autocommit = True
        at = feed.now_at(reader)
        assert feed.read_on(reader, at, 10) == []
        one.execute("SELECT pg_current_xact_id()")
        two.execute("SELECT pg_current_xact_id()")
        feed.tell(two, SCHEMA, "entry", ["2"])
        feed.tell(one, SCHEMA, "entry", ["1"])  # the older transaction has the later line
        two.commit()
        seen = feed.read_on(reader, at, 10)
        assert [(line.subject, line.settled) for line in seen] == [("2", False)]
        one.commit()
        seen = feed.read_on(reader, at, 10)
        assert [(line.subject, line.settled) for line in seen] == [("1", True), ("2", True)]
        assert feed.read_on(reader, seen[-1].at, 10) == []


def test_two_heads_that_keep_the_same_recipe_keep_one_sound(heads: Heads) -> None:
    a, b = heads.open("a"), heads.open("b")
    found: list[int | None] = []
    for seed in range(5):
        start = threading.Barrier(2)

        def put(cache, seed=seed, start=start) -> None:
            made = sound(cache.incoming, "the same", seed=seed)
            start.wait(PATIENCE_S)
            found.append(cache.put(made, {}).id)

        threads = [threading.Thread(target=put, args=(cache,)) for cache in (a, b)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert found[-1] == found[-2] is not None
    assert len(set(found)) == 5
    with session(heads.shared.url) as db:
        assert db.execute("SELECT count(*) FROM entries").fetchone() == (5,)
    assert len(list(a.store.blobs.files())) == 5, "the second one's file is gone"


def test_pins_marks_judgements_renditions_vectors_and_calibrations_are_everybodys(heads: Heads) -> None:
    a, b = heads.open("a"), heads.open("b")
    entry = keep(a, "a gong")
    assert entry.id is not None
    a.store.pins.pin([entry.id])
    a.store.marks.mark(entry.id, SoundMarks(rating=4, add_tags=("metal",)))
    a.learn([Given("default", "bell", "a gong", "right", "feedback")])
    other = a.incoming / "x.ogg"
    other.write_bytes(b"OggS" + bytes(100))
    path = a.store.renditions.put(entry.id, OGG, other)
    a.store.vectors.keep("minilm", {entry.id: np.ones(4, np.float32)})
    eventually(lambda: b.store.vectors.counts() == {"minilm": 1}, "the last of it has arrived")
    assert b.store.pins.pinned() == {entry.id}
    marked = b.store.marks.of([entry.id])[entry.id]
    assert (marked.rating, marked.tags) == (4, ("metal",))
    kept = b.store.renditions.find(entry.id, OGG)
    assert kept is not None and path.endswith(kept.file)
    eventually(lambda: finds(b, "bell") == entry.id, "what was judged right is found")
    a.store.pins.unpin([entry.id])
    a.store.renditions.drop(entry.id, kept.spec)
    eventually(lambda: b.store.renditions.find(entry.id, OGG) is None, "it is gone there, too")
    assert b.store.pins.pinned() == set()


def _preset(before: str) -> Preset:
    return Preset(id="storm", type="prompt", content={"before": before})


def test_presets_are_everybodys_and_of_two_that_change_one_the_second_is_told(heads: Heads) -> None:
    a, b = heads.open("a").store.presets, heads.open("b").store.presets
    (first,) = a.set([_preset("stormy")])
    eventually(lambda: b.of(["storm"]), "the other head has it")
    b.set([_preset("calm")], Expected(first.revision))
    with pytest.raises(Conflict):
        a.remove("storm", Expected(first.revision))
    assert b.remove("storm")
    eventually(lambda: not a.of(["storm"]), "it is gone everywhere")


def test_what_has_gone_does_not_come_back_by_a_state_that_was_read_before(heads: Heads) -> None:
    a = heads.open("a")
    store = store_of(a)
    entry = keep(a, "here and gone")
    assert entry.id is not None
    with session(heads.shared.url) as db:
        before = states_of(db, [entry.id])
    a.remove([entry.id])
    store._replica.keep(before)
    assert finds(a, "here and gone") is None


def test_a_head_that_was_away_catches_up_also_where_lines_were_compacted(heads: Heads) -> None:
    a = heads.open("a")
    heads.open("b")
    stays, goes = keep(a, "stays"), keep(a, "goes")
    heads.close_one("b")
    a.remove([goes.id])
    comes = keep(a, "comes")
    b = heads.open("b")
    assert (finds(b, "stays"), finds(b, "goes"), finds(b, "comes")) == (stays.id, None, comes.id)
    heads.close_one("b")
    a.remove([comes.id])
    last = keep(a, "last")
    with session(heads.shared.url) as db:
        eventually(lambda: feed.compact(db, kept=0) or feed.floor_of(db) > Place(), "old lines go")
    b = heads.open("b")
    assert (finds(b, "stays"), finds(b, "comes"), finds(b, "last")) == (stays.id, None, last.id)


def test_a_database_that_was_restored_elsewhere_is_compared_as_a_whole(
    heads: Heads, postgres: PostgresServer, database: str
) -> None:
    a = heads.open("a")
    stays, goes = keep(a, "stays"), keep(a, "goes")
    heads.close_one("a")
    dump = subprocess.run(
        [str(postgres._programs / "pg_dump"), "-d", database], capture_output=True, check=True, timeout=PATIENCE_S
    ).stdout
    with postgres.database("restored") as url:
        subprocess.run(
            [str(postgres._programs / "psql"), "-q", "-v", "ON_ERROR_STOP=1", "-d", url],
            input=dump, check=True, timeout=PATIENCE_S, capture_output=True,
        )  # fmt: skip
        with session(url) as db:
            db.execute("DELETE FROM entries WHERE id = %s", (goes.id,))  # by hand: the feed says nothing
        with Heads(url, heads.directory("a").parent) as there:
            again = there.open("a")
            assert (finds(again, "stays"), finds(again, "goes")) == (stays.id, None)
            comes = keep(again, "comes")
            assert finds(again, "comes") == comes.id


_WRITER = """
import sys
from pathlib import Path
from tests.cluster.heads import Heads, keep
with Heads(sys.argv[1], Path(sys.argv[2])) as heads:
    cache = heads.open("writer")
    for seed in range(100_000):
        print(keep(cache, "flood", seed).id, flush=True)
"""


def test_a_writer_that_is_killed_leaves_whole_sounds_and_nothing_else(heads: Heads, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    b = heads.open("b", max_per_prompt=1000)
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER.replace('open("writer")', 'open("writer", max_per_prompt=1000)'),
             heads.shared.url, str(tmp_path)],
            cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert writer.stdout is not None
        with writer:
            told = [int(writer.stdout.readline()) for _ in range(5)]
            writer.send_signal(signal.SIGKILL)
            told += [int(line) for line in writer.stdout.read().split()]
        with session(heads.shared.url) as db:
            rows = {row[0] for row in db.execute("SELECT id FROM entries")}
        assert set(told) <= rows, "what was acknowledged is kept"
        eventually(lambda rows=rows: set(store_of(b)._replica.known()) >= rows, "the other head knows every one")
    writer_again = heads.open("writer")
    files = set(writer_again.store.blobs.files())
    with session(heads.shared.url) as db:
        named = {row[0] for row in db.execute("SELECT file FROM entries")}
    assert named <= files
    assert files == named | writer_again.store.leaving.files(), "what was put into place without a row is swept away"


def test_claims_are_among_heads(heads: Heads) -> None:
    a, b = heads.open("a").store.claims, heads.open("b").store.claims
    assert not a.alone() and a.take(b"key") and a.take(b"key") and not b.take(b"key")
    a.renew([b"key"])
    b.give_back(b"key")
    assert not b.take(b"key"), "it is not one's own to give back"
    a.give_back(b"key")
    assert b.take(b"key")
    with session(heads.shared.url) as db:
        db.execute("UPDATE claims SET due = clock_timestamp() - interval '1 s'")
    assert a.take(b"key"), "its lease has ended"


def test_removed_files_are_unlinked_after_their_grace_by_whichever_head(heads: Heads) -> None:
    a = heads.open("a", grace_s=600.0)
    b = heads.open("b")
    assert b.store.leaving.grace_s == 600.0, "one grace for all"
    entry = keep(a, "goes")
    a.remove([entry.id])
    assert b.store.leaving.unlink_due().files == 0 and os.path.exists(entry.path)
    assert len(b.store.leaving.files()) == 1
    with session(heads.shared.url) as db:
        db.execute("UPDATE leaving SET due = clock_timestamp()")
    assert b.store.leaving.unlink_due().files == 1
    assert not os.path.exists(entry.path) and a.store.leaving.files() == set()


def test_uses_are_counted_over_all_heads(heads: Heads) -> None:
    a, b = heads.open("a"), heads.open("b")
    entry = keep(a, "asked for")
    assert entry.id is not None
    eventually(lambda: finds(b, "asked for") == entry.id, "the other head offers it")
    for cache, hits in ((a, 2), (b, 3)):
        for _ in range(hits):
            cache.usage.answered("exact", 1.5, entry.id)
        cache.usage.write_down()
    assert a.store.uses.of([entry.id])[entry.id].hits == 5
    assert b.store.inventory.items()[0].hits == 5
    assert {one.stage: one.answers for one in a.store.uses.answers()} == {"exact": 5}


def _new_epoch(url: str) -> None:
    """Do as if another server had taken the database's place: nothing leads on from what heads know."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(f"VACUUM FULL {SCHEMA}.feed")


def test_nobody_waits_for_a_head_that_compares_everything(database: str, tmp_path: Path) -> None:
    with Heads(database, tmp_path, statement_timeout_s=PATIENCE_S) as heads:
        a = heads.open("a")
        entry = keep(a, "known")
        taken: list[bool] = []
        with session(database) as held:
            held.execute("LOCK TABLE calibrations IN ACCESS EXCLUSIVE MODE")  # it comes as far as that
            _new_epoch(database)
            waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%calibrations%%'"
            with psycopg.connect(database, autocommit=True) as other:
                eventually(lambda: other.execute(waits).fetchone(), "it compares")
            claims = threading.Thread(target=lambda: taken.append(a.store.claims.take(b"a new sound")))
            claims.start()
            claims.join(PATIENCE_S / 2)
            assert taken == [True], "what is to be made is made"
            assert finds(a, "known") == entry.id


def test_a_removal_is_heard_of_while_everything_is_compared(
    heads: Heads, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = heads.open("a"), heads.open("b")
    ids = [keep(a, f"sound {number}", number).id for number in range(6)]
    last = ids[-1]
    assert last is not None
    eventually(lambda: finds(b, "sound 5") == last, "both know it")
    monkeypatch.setattr(follower, "_STATES_AT_ONCE", 1)
    found: list[tuple[int, int | None]] = []
    following = store_of(a)._follower
    take_over = following._take_over

    def watched(db: psycopg.Connection, wanted: Iterable[int]) -> None:
        looked_at = sorted(wanted)
        take_over(db, looked_at)
        if looked_at == ids[:1]:
            b.remove([last])
        if looked_at:
            found.append((looked_at[-1], finds(a, "sound 5")))

    monkeypatch.setattr(following, "_take_over", watched)
    _new_epoch(database)
    eventually(lambda: any(entry_id == ids[4] for entry_id, _ in found), "it has come as far as that")
    assert dict(found)[ids[4]] is None, "before its own turn came"
