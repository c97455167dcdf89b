"""The judge of a cluster under random faults finds each thing that must not happen, and nothing where all is well."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from benchmarks._cluster_judge import Harm, Judge, Kept

HASH = "ab" * 32


class Story:
    """What clients wrote down, a second apart unless said otherwise."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self._clock = itertools.count(1)
        self._numbers = itertools.count(1)

    def note(self, event: str, **what: Any) -> None:
        self.events.append({"t": float(next(self._clock)), "e": event, "by": "c0", **what})

    def asked(self, seed: int | None = 1, head: str = "a", kind: str = "fresh", **more: Any) -> str:
        name = f"r{next(self._numbers)}"
        self.note("ask", id=name, head=head, kind=kind, prompt="rain", seed=seed, **more)
        return name

    def ended(self, name: str, head: str = "a", kind: str = "fresh", **said: Any) -> None:
        sound = {"type": "result", "entry": 7, "cached": False, "how": "exact", "kept_not": False, "sha256": HASH}
        self.note("end", id=name, head=head, kind=kind, **{**sound, **said})

    def sound(self, head: str = "a", entry: int = 7, **said: Any) -> None:
        self.ended(self.asked(head=head), head, entry=entry, **said)

    def removed(self, entry: int = 7, head: str = "a") -> None:
        name = self.asked(head=head, kind="remove", entry=entry)
        self.note("end", id=name, head=head, kind="remove", type="result", entry=entry)

    def judged(self, *harms: Harm, kept: Kept | None = None) -> list[str]:
        judge = Judge(self.events, list(harms))
        judge.judge()
        if kept is not None:
            judge.judge_kept(kept)
        return [one.split("\n")[0] for one in judge.violations]


def rows(*entries: tuple[int, str, int | None, str]) -> Kept:
    return Kept(list(entries))


@pytest.fixture
def story() -> Story:
    return Story()


def test_where_all_is_well_nothing_is_found(story: Story) -> None:
    story.sound()
    story.sound("b", cached=True)
    story.removed()
    story.sound(entry=8)
    story.sound("b", entry=8)
    story.note("over", asked=5)
    assert story.judged(kept=rows((8, "rain", 1, HASH))) == []


def test_answers_that_are_missing_doubled_or_left_open(story: Story) -> None:
    first, second, third = story.asked(), story.asked(seed=2), story.asked(seed=3)
    story.ended(first)
    story.note("unasked", id=first, head="a", type="result")
    story.note("none", id=second, head="a", kind="fresh")
    story.note("unasked", id=second, head="a", type="result")  # late, and once
    story.note("never sent", id="r9")
    found = story.judged()
    assert found == [
        "r1 was answered twice by head a",
        "r2 had no answer at head a in time",
        "r9: never sent",
        f"{third} was left open at head a",
    ]


def test_one_that_is_asked_again_where_its_head_was_gone_is_no_fault(story: Story) -> None:
    name = story.asked()
    story.note("gone", id=name, head="a")
    story.note("ask", id=name, head="b", kind="fresh", prompt="rain", seed=1)
    story.ended(name, "b")
    assert story.judged() == []


@pytest.mark.parametrize(
    ("code", "kind", "explained_by"),
    [("worker_died", "fresh", "worker killed"), ("storage", "remove", "database gone for a"),
     ("expired", "fresh", "worker killed"), ("worker_start", "fresh", "Ray's head lost"),
     ("storage", "fresh", ""), ("internal", "fresh", "")],
)  # fmt: skip
def test_errors_have_to_be_explained_by_a_fault(story: Story, code: str, kind: str, explained_by: str) -> None:
    story.ended(story.asked(kind=kind, entry=7), kind=kind, type="error", code=code, message="because")
    assert len(story.judged()) == 1
    for what in ("worker killed", "database gone for a", "Ray's head lost"):
        found = story.judged(Harm(what, ("a",), 0.0, 1.5))
        assert (found == []) is (what == explained_by or (code, what) in _ALSO), what
    assert len(story.judged(Harm(explained_by or "head b killed", ("b",), 0.0, 1.5))) == 1


_ALSO = {("worker_died", "Ray's head lost"), ("expired", "Ray's head lost"), ("expired", "database gone for a")}


def test_what_was_gone_already_needs_no_fault(story: Story) -> None:
    story.ended(story.asked(kind="remove", entry=7), kind="remove", type="error", code="not_found")
    assert story.judged() == []


def test_a_recipe_that_became_two_sounds(story: Story) -> None:
    story.sound()
    story.sound("b", entry=8)
    assert story.judged() == ["('rain', 1) is entry 7 and 8, and none was removed"]


def test_one_entry_with_two_contents_and_a_file_that_is_not_whole(story: Story) -> None:
    story.sound()
    story.sound("b", sha256="cd" * 32)
    story.ended(story.asked(seed=2), broken="half", entry=9)
    assert story.judged() == ["r3 was answered with a broken file: half", "entry 7 was delivered with 2 contents"]


def test_a_removed_sound_that_is_offered(story: Story) -> None:
    story.sound()
    story.removed()
    story.sound(cached=True)
    assert story.judged() == ["entry 7 was offered by head a after it had removed it"]


def test_a_removed_sound_that_another_head_goes_on_offering(story: Story) -> None:
    story.sound()
    story.removed()
    story.note("over", asked=1)
    story.sound("b", cached=True)
    (found,) = story.judged()
    assert found == "entry 7 was offered by the other head 2.00 s after"
    assert story.judged(Harm("database gone", ("b",), 3.0, 6.0)) == []


def test_what_is_not_kept_though_nothing_was_broken(story: Story) -> None:
    story.sound(kept_not=True)
    assert story.judged() == ["r1 was not kept, and nothing was broken"]


@pytest.mark.parametrize(
    ("kept", "found"),
    [(rows(), "entry 7 was acknowledged as kept and is lost"),
     (rows((7, "rain", 1, "cd" * 32)), "entry 7 is kept with other bytes than were delivered"),
     (rows((7, "rain", 1, HASH), (8, "rain", 1, HASH)), "('rain', 1) is kept 2 times: [7, 8]")],
)  # fmt: skip
def test_what_is_left_at_the_end(story: Story, kept: Kept, found: str) -> None:
    story.sound()
    assert story.judged(kept=kept) == [found]


def test_a_removed_sound_that_is_there_at_the_end(story: Story) -> None:
    story.sound()
    story.removed()
    assert story.judged(kept=rows((7, "rain", 1, HASH))) == ["entry 7 was removed and is there"]


def test_a_durable_request_with_two_results(story: Story) -> None:
    name = story.asked(kind="durable")
    story.ended(name, kind="durable")
    story.note("ask", id=name, head="b", kind="durable", prompt="rain", seed=1)
    story.ended(name, "b", kind="durable", entry=8)
    assert f"the durable {name} had two results" in story.judged()
