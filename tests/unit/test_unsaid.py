"""What goes without saying: words that one prompt may have and the other lack."""

from __future__ import annotations

import pytest

from audio_pool.cache.policy import first_objection

UNSAID = [
    ("rain falls and thunder rumbles", "rain and thunder"),
    ("wind blows while a man speaks", "wind and a man speaking"),
    ("music plays as a crowd cheers", "music and a crowd cheering"),
    ("a person snores", "snoring"),
    ("a cat meows", "meowing"),
    ("a car engine revs", "a car revs"),
    ("waves crash against a shore", "waves crashing"),
    ("food sizzles in a pan", "food sizzles"),
    ("keys click on a computer keyboard", "keys click on a keyboard"),
    ("a dog starts to bark", "a dog barks"),
    ("a machine hums continuously", "a machine hums"),
    ("a child laughs briefly", "a child laughs"),
    ("an owl hoots nearby", "an owl hoots"),
]


@pytest.mark.parametrize(("one", "other"), UNSAID)
def test_what_goes_without_saying_may_be_left_out(one: str, other: str) -> None:
    assert first_objection(one, other) is None
    assert first_objection(other, one) is None


SAID = [
    # only beside its companion
    ("ash falls on a street", "ash on a street"),
    ("a bugle blows and wind roars", "wind roars and a bugle"),
    ("a dog chases a cat", "a dog chases"),
    ("an engine starts", "an engine"),
    # never on both sides: a choice was made
    ("rain falls", "rain stops"),
    ("a machine hums continuously", "a machine hums briefly"),
    ("a siren wails", "a siren blares"),
    ("an owl hoots nearby", "an owl hoots briefly"),
    # tells two things apart
    ("a dog barks nearby as birds chirp in the distance", "a dog barks as birds chirp in the distance"),
    ("people speak and children laugh", "children laugh and speak"),
    ("birds chirp and pigeons coo", "pigeons coo and chirp"),
    ("a machine hums with a brief clang", "a machine hums with clanging"),
    # only one of two
    ("a person laughs as a person speaks", "a person laughs and speaks"),
    # how it is otherwise
    ("heavy wind blows", "wind"),
    ("a cat meows loudly", "meowing"),
]


@pytest.mark.parametrize(("one", "other"), SAID)
def test_what_says_something_may_not(one: str, other: str) -> None:
    assert first_objection(one, other) is not None
    assert first_objection(other, one) is not None


def test_the_order_of_events_is_still_asked_for() -> None:
    assert first_objection("rain falls, then a dog barks", "a dog barks, then rain") is not None
