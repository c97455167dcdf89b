"""Who does what: the same words, tied alike, are the same sound in any order of writing."""

from __future__ import annotations

import pytest

from audio_pool.cache.policy import first_objection

SAME = [
    ("a baby screams and cries", "a baby crying and screaming"),
    ("a vehicle horn blows while people speak", "a vehicle blows a horn and people speak"),
    ("a race car accelerates squealing tires", "a race car squeals tires and accelerates"),
    ("snoring intermittently", "intermittent snoring"),
    ("a man speaks while frying food", "food is frying while a man speaks"),
    ("along a wall a sailor drags a chain while an owl hoots", "a sailor drags a chain along a wall and an owl hoots"),
    ("a crow caws rhythmically, an owl hoots", "an owl hoots and a crow rhythmically caws"),
    ("insects buzz around and a bird chirps", "a bird chirps and an insect buzzes"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_ties_in_another_order_are_the_same_sound(one: str, other: str) -> None:
    assert first_objection(one, other) is None
    assert first_objection(other, one) is None


OTHER = [
    # doer and done-to
    ("a wolf chases a horse and growls", "a horse chases a wolf and growls"),
    ("a man hits a drum and laughs", "a drum hits a man and laughs"),
    ("in a cave a wolf chases a horse", "a horse chases a wolf in a cave"),
    # whose doing it is
    ("a woman screams and a baby cries", "a baby screams and a woman cries"),
    ("a woman speaks and a child vocalizes", "a child speaks and a woman vocalizes"),
    # which thing is so
    ("a big dog growls and a small dog barks", "a small dog growls and a big dog barks"),
    ("two owls hoot and three frogs croak", "three owls hoot and two frogs croak"),
    ("loud music in a quiet room", "quiet music in a loud room"),
    # how it is done
    ("a man laughs loudly while a woman speaks quietly", "a man laughs quietly while a woman speaks loudly"),
    # what is not there
    ("a dog barks and does not growl", "a dog growls and does not bark"),
    ("a glass of water", "water on glass"),
    ("a man whistles and a woman sings in a cave", "a man whistles in a cave and a woman sings"),
]


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_the_same_words_tied_otherwise_are_another_sound(one: str, other: str) -> None:
    assert first_objection(one, other) is not None
    assert first_objection(other, one) is not None
