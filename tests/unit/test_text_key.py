"""Which prompts share a text key or a canonical key, and which never may."""

from __future__ import annotations

from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_pool.prompts.lexicon import word_info
from audio_pool.prompts.normalize import analyse, canonical_key, text_key
from audio_pool.prompts.spelling import correct_spelling


def synonyms() -> list[list[str]]:
    """The sets of synonyms.txt."""
    text = resources.files("audio_pool.prompts").joinpath("synonyms.txt").read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [[name.strip() for name in line.split(",")] for line in lines]


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("Rain on a  tin roof.", "rain on a tin roof"),
        ("  RAIN\ton a\ntin roof!! ", "rain on a tin roof"),
        ("\u201cRain\u201d", "rain"),
        ("ﬁre", "fire"),
        ("the dog\u2019s bark", "the dog's bark"),
        ("-6 dB tone", "-6 db tone"),
        ("- a list item", "a list item"),
        ("...", "..."),
        ("STRASSE Straße", "strasse strasse"),
    ],
)
def test_text_key_folds_only_how_it_is_typed(written: str, key: str) -> None:
    assert text_key(written) == key


SAME = [
    # articles, auxiliaries, tense
    ("A violin is playing", "violin plays"),
    ("the wolves howled at night", "wolves howling at night"),
    ("a train leaves the station", "a train is leaving the station"),
    ("the bell rang", "a bell rings"),
    ("a tap has been dripping", "tap drips"),
    ("It's snowing", "it snows"),
    # filler
    ("The sound of a steam engine", "steam engine"),
    ("sfx: steam engine", "steam engine"),
    ("Please make the sound of a steam engine", "a steam engine"),
    ("I want to hear a steam engine, please", "a steam engine"),
    ("Field recording of a steam engine", "steam engine"),
    ("steam engine sound effect", "steam engine"),
    ("There is a kettle boiling", "a kettle boils"),
    ("A kettle can be heard boiling", "kettle boiling"),
    # numbers
    ("3 owls hoot", "Three owls are hooting"),
    ("a gong sounds two times", "a gong sounds twice"),
    ("First, a gong sounds, and then an owl hoots", "1st a gong sounds then an owl hoots"),
    # synonyms and spelling
    ("an aeroplane passes by overhead", "a plane goes by overhead"),
    ("a grey lorry starts", "gray truck begins"),
    ("a high-pitched whistle", "a high pitched whistle"),
    ("lots of monkeys", "many monkeys"),
    ("an infant weeps", "a baby cries"),
    ("a piano played softly", "a piano plays quietly"),
    ("thudner rolls", "thunder rolls"),
    ("a tractor enigne satlls and strats", "a tractor engine satlls and starts"),
    ("twenty-one drums", "21 drums"),
    ("Suddenly, a gong sounds", "a gong sounds suddenly"),
    ("First a gong sounds, next an owl hoots", "a gong sounds, then an owl hoots"),
    ("rumours in the parlour", "rumors in the parlor"),
    ("an armoured knight in a cosy café", "an armored knight in a cozy cafe"),
    ("a door-bell and a wind-chime", "a doorbell and a wind chime"),
    ("some kind of machine", "a machine"),
    ("people cough", "persons cough"),
    ("a crowd of people cheers", "a crowd cheers"),
    ("owls in the woods", "owls in the forest"),
    ("a rusty heavy old gate", "an old heavy rusty gate"),
    ("an owl hoots while it rains", "an owl hoots with rain"),
    # the order of what sounds together
    ("thunder during rain", "rain with thunder"),
    ("wind and rain", "rain and wind"),
    ("A clock ticks while a cat purrs", "a cat purrs as a clock is ticking"),
    ("While a cat purrs, a clock ticks", "a clock ticks while a cat purrs"),
    ("a cat purrs with a clock ticking", "a clock ticks and a cat purrs"),
    ("Waves crash, gulls cry, and a horn blows", "a horn blows while gulls cry and waves crash"),
    ("In the distance, an owl hoots", "an owl hoots in the distance"),
    # the same sequence, said in another way
    ("a match is struck, followed by a fire crackling", "a match is struck, then a fire crackles"),
    ("a fire crackles after a door slams", "a door slams before a fire crackles"),
    ("After a door slams, a fire crackles", "a door slams. Then a fire crackles."),
    ("a train preceded by a whistle", "a whistle followed by a train"),
    # where, said first
    ("In a cave, water drips", "water drips in a cave"),
    ("a nurse speaks over the intercom in a station", "a nurse speaks in a station over an intercom"),
    # who does it, said in another way
    ("a drum is hit by a nurse in a hall", "a nurse hits a drum in a hall"),
    ("a match struck by a nurse", "a nurse struck a match"),
    ("the doors of an old bus opening", "old bus doors opening"),
    ("turning a faucet on", "turning faucet on"),
    ("a ticking alarm clock in a hall", "an alarm clock ticks in a hall"),
    ("an owl starts to hoot", "an owl begins hooting"),
    ("a gate loudly slams", "a gate slams loudly"),
    ("a hoover runs", "a vacuum cleaner runs"),
    ("an owl hoots over and over", "an owl hoots repeatedly"),
    ("a gong sounds on and off", "a gong sounds intermittently"),
    ("howling wolf", "a wolf howls"),
    ("the howl of a wolf", "wolf howling"),
    ("the wolf's howl", "wolf howls"),
    ("a door slowly creaks", "a door creaks slowly"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_other_words_for_the_same_sound_share_a_key(one: str, other: str) -> None:
    assert canonical_key(one) == canonical_key(other)


DIFFERENT = [
    # sequence
    ("a match is struck, then a door slams", "a door slams, then a match is struck"),
    ("a bell, then a whistle", "a bell and a whistle"),
    ("rain before thunder", "rain after thunder"),
    ("an owl hoots after a gong sounds", "a gong sounds after an owl hoots"),
    ("before the storm", "after the storm"),
    # negation
    ("a room with people", "a room without people"),
    ("a clock that ticks", "a clock that doesn't tick"),
    ("rain", "no rain"),
    ("hardly raining", "hard rain"),
    # counts, singular and plural
    ("two gongs", "three gongs"),
    ("a gong", "two gongs"),
    ("a wolf howls", "wolves howl"),
    ("a man speaks", "men speak"),
    ("church bell", "church bells"),
    ("many horses", "a horse"),
    ("a gong sounds once", "a gong sounds twice"),
    ("120 bpm techno", "140 bpm techno"),
    ("-6 dB tone", "6 dB tone"),
    ("1.5 Hz pulse", "15 Hz pulse"),
    # on and off, up and down, in and out
    ("a lamp switched on", "a lamp switched off"),
    ("a lift going up", "a lift going down"),
    ("a drawer slides in", "a drawer slides out"),
    ("the door opens", "the door closes"),
    ("a ship approaches", "a ship departs"),
    # who does what
    ("a wolf chases a horse", "a horse chases a wolf"),
    ("a wolf is chased", "a wolf chases"),
    ("a wolf is chased by a horse", "a wolf chases a horse"),
    ("a horse chased by a loud wolf", "a loud horse chased by a wolf"),
    ("a stick in the woods", "a stick in the wood"),
    ("the bell of a church", "the church of a bell"),
    ("a nurse stops to sing", "a nurse stops singing"),
    ("an owl in a tree near a barn", "an owl in a barn near a tree"),
    ("a nurse talks to a boy", "a boy talks to a nurse"),
    ("a nurse sings and a boy coughs", "a boy sings and a nurse coughs"),
    ("a nurse sings and coughs while a boy sleeps", "a nurse sings while a boy sleeps and coughs"),
    ("a nurse and men sing", "men and a nurse cough"),
    ("a softly humming fan rattles loudly", "a loudly humming fan rattles softly"),
    ("a loudly humming fan rattles", "a humming fan rattles loudly"),
    ("a nurse inside calls a boy outside", "a nurse outside calls a boy inside"),
    ("hitting a man", "a man hitting"),
    ("a loud drum and a quiet flute", "a quiet drum and a loud flute"),
    # one word
    ("a drum", "a drummer"),
    ("tapping", "taping"),
    ("a dog barking", "a dog braking"),
    ("an engine", "an engineer"),
    ("thunder indoors", "thunder outdoors"),
    ("C# minor chord", "C minor chord"),
    ("sad piano", "happy piano"),
    ("a nurse or a boy sings", "a nurse and a boy sing"),
    # scripts that the grammar does not know
    ("犬が吠える", "猫が鳴く"),
    ("🐶 barks", "🐱 barks"),
    ("कुत्ता", "कत्ता"),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_another_sound_has_another_key(one: str, other: str) -> None:
    assert canonical_key(one) != canonical_key(other)


def test_the_key_is_readable() -> None:
    key = canonical_key("Two dogs are barking while it rains, then a door slams")
    assert key == "2 dog* bark | rain > door slam"


def test_events_come_in_the_order_of_sounding() -> None:
    events = analyse("a fire crackles after a door slams and a man shouts").events
    assert [[" ".join(chunk.words) for chunk in moment] for moment in events] == [
        ["door slam", "man shout"],
        ["fire crackle"],
    ]


@pytest.mark.parametrize(
    ("word", "base"),
    [
        ("hopping", "hop"), ("hoping", "hope"), ("tapping", "tap"), ("taping", "tape"), ("rustling", "rustle"),
        ("buzzes", "buzz"), ("sneezes", "sneeze"), ("cries", "cry"), ("echoes", "echo"), ("closes", "close"),
        ("splashing", "splash"), ("rang", "ring"), ("wolves", "wolf"), ("quietly", "quiet"), ("heavily", "heavy"),
        ("gently", "gentle"), ("family", "family"), ("glass", "glass"), ("bus", "bus"), ("zorbing", "zorb"),
        ("flummoxes", "flummox"), ("king", "king"), ("singing", "sing"), ("braking", "brake"),
    ],
)  # fmt: skip
def test_inflection_is_folded_to_a_readable_base(word: str, base: str) -> None:
    assert word_info(word).base == base


def test_only_unknown_words_are_corrected() -> None:
    assert correct_spelling("thudner") == "thunder"
    assert correct_spelling("hwolign") == "hwolign"
    assert correct_spelling("barikng") == "barking"
    for real in ("braking", "signing", "trial", "diary", "clasp", "quiet"):
        assert correct_spelling(real) == real


@pytest.mark.parametrize("names", synonyms(), ids=lambda names: names[0])
def test_every_synonym_has_the_key_of_its_set(names: list[str]) -> None:
    assert {canonical_key(f"a {name}") for name in names} == {canonical_key(f"a {names[0]}")}


def test_no_word_stands_in_two_sets_of_synonyms() -> None:
    names = [name for one in synonyms() for name in one]
    assert len(names) == len(set(names))


@given(st.text(max_size=80))
def test_any_text_has_keys_and_its_text_key_has_the_same(text: str) -> None:
    assert isinstance(canonical_key(text), str)
    if text.strip():
        assert canonical_key(text)
        assert text_key(text_key(text)) == text_key(text)


@given(
    st.lists(
        st.sampled_from("a the dog dogs barks while and then after before with , rain in two not is of".split()),  # noqa: SIM905
        min_size=1,
        max_size=14,
    )
)
def test_no_arrangement_of_conjunctions_breaks_the_grammar(words: list[str]) -> None:
    assert canonical_key(" ".join(words))
