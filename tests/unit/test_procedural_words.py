"""Reading prompts: which recipes, whose adjectives, what is ruled out, what is nearest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pytest

from audio_pool.engine_info import EngineInfo
from audio_pool.engines.base import Item, Vectors
from audio_pool.engines.procedural.engine import ProceduralEngine
from audio_pool.engines.procedural.recipe import RECIPES
from audio_pool.engines.procedural.tokens import key_stems, stem
from audio_pool.engines.procedural.words import Reading, nearest_by_words, read


def _read(prompt: str, negative: str = "") -> Reading:
    return read(prompt, RECIPES, negative_prompt=negative)


def _names(prompt: str, negative: str = "") -> list[str]:
    return [layer.recipe.name for layer in _read(prompt, negative).layers]


@pytest.mark.parametrize(
    ("prompt", "names"),
    [
        ("rain", ["rain"]),
        ("It is RAINING!", ["rain"]),
        ("rain on a tin roof", ["rain_on_metal"]),
        ("rain falling on a corrugated metal roof", ["rain_on_metal"]),
        ("a tin roof in the rain", ["rain_on_metal"]),
        ("raindrops on leaves", ["rain_on_leaves"]),
        ("rain and a tin roof", ["rain_on_metal"]),
        ("rain, wind and thunder", ["rain", "wind", "thunder"]),
        ("wind with rain", ["wind", "rain"]),
        ("rain rain rain", ["rain"]),
        ("rain without thunder", ["rain"]),
        ("rain, no thunder", ["rain"]),
        ("rain but no thunder or wind", ["rain"]),
        ("rain without thunder or wind, and footsteps", ["rain", "footsteps"]),
        ("no thunder and rain", ["rain"]),
        ("there isn't any wind, only waves", ["ocean_waves"]),
        ("not too heavy rain", ["rain"]),
        ("stormy weather", ["rain", "wind", "thunder"]),
        ("a storm without rain", ["wind", "thunder"]),
        ("waves crashing on the beach", ["ocean_waves"]),
        ("a heart beating", ["heartbeat"]),
        ("someone is walking", ["footsteps"]),
        ("rain on a cafe's ambience", ["rain", "crowd"]),
        ("dark ambience", ["drone"]),
        ("ambient drone with rain", ["drone", "rain"]),
        ("police siren", ["siren"]),
        ("a car's horn", ["horn"]),
        ("fire engine", ["siren"]),
        ("birds in the forest", ["birds", "wind"]),
        ("a spaceship door", ["whoosh"]),
        ("a crowd cheering in a stadium", ["applause"]),
        ("8-bit jump", ["jump"]),
        ("boss battle drums", ["drums"]),
        ("a battle in the distance", ["explosion", "machine_gun"]),
        ("a motorcycle engine revs up and then idles", ["motorcycle"]),
        ("a tavern with music", ["crowd", "fire", "chords"]),
    ],
)
def test_the_recipes_named(prompt: str, names: list[str]) -> None:
    assert _names(prompt) == names


def test_a_negative_prompt_leaves_a_recipe_out() -> None:
    assert _names("rain and thunder", "thunder") == ["rain"]
    assert "thunder" not in _names("thunder", "thunder")


def test_adjectives_belong_to_the_sound_beside_them() -> None:
    layers = _read("heavy rain with distant thunder and slow, quiet footsteps indoors").layers
    given = {layer.recipe.name: layer.adjectives for layer in layers}
    assert given == {"rain": ("heavy",), "thunder": ("distant",), "footsteps": ("slow", "quiet", "indoors")}
    assert layers[0].character.intensity == 2
    assert layers[1].character.distance > 0
    assert layers[2].character.speed < 1


def test_adjectives_of_what_no_recipe_names_apply_to_no_layer() -> None:
    layers = _read("birds chirp, and two women speak loudly").layers
    assert layers[0].adjectives == ()


def test_adjectives_alone_at_the_end_apply_to_all_layers() -> None:
    layers = _read("rain and wind, underwater").layers
    assert all(layer.character.cutoff_hz for layer in layers)


def test_a_negated_adjective_is_not_applied() -> None:
    assert _read("not too heavy rain").layers[0].character.intensity == 1


def test_numbers_set_tempo_pitch_and_count() -> None:
    assert _read("footsteps at 120 BPM").layers[0].character.bpm == 120
    assert _read("440hz beep").layers[0].character.hz == 440
    assert _read("2 kHz beep").layers[0].character.hz == 2000
    assert _read("three beeps").layers[0].character.count == 3


def test_a_prompt_that_nothing_fits_gets_the_nearest_recipe_and_a_warning() -> None:
    reading = _read("xyzzy fnord")
    assert [layer.by for layer in reading.layers] == ["nearest"]
    assert reading.warnings == ("nearest_recipe: nothing fits 'xyzzy fnord'; used 'drone'",)
    assert reading.unused == ("xyzzy", "fnord")
    assert _names("hartbeet") == ["heartbeat"]  # by spelling
    assert _names("an avalanche") == ["thunder"]  # by related words
    assert _names("дождь")  # never nothing


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("an ogre", "roar"),
        ("zombie groan", "roar"),
        ("parrot", "birds"),
        ("a lizard", "frogs"),
        ("scissors", "click"),
        ("a sedan", "engine"),
    ],
)
def test_what_no_recipe_makes_gets_one_of_its_kind(prompt: str, name: str) -> None:
    assert [(layer.recipe.name, layer.by) for layer in _read(prompt).layers] == [(name, "nearest")]


def test_sounds_that_are_left_out_beside_others_are_warned_of() -> None:
    reading = _read("a unicorn standing in the rain")
    assert [layer.recipe.name for layer in reading.layers] == ["rain"]
    assert reading.warnings == ("not_heard: no recipe for 'unicorn', 'standing'",)
    for silent in (
        "an owl in the forest",
        "rain, no unicorn",
        "cheering crowd in a stadium",
        "a dog barking in the rain",
    ):
        assert _read(silent).warnings == (), silent


@pytest.mark.parametrize(
    ("prompt", "language"),
    [("Regen auf einem Blechdach", "German"), ("дождь по крыше", "text in Cyrillic"), ("wind in den Bäumen", "German")],
)
def test_a_prompt_that_is_not_english_is_warned_of(prompt: str, language: str) -> None:
    warnings = _read(prompt).warnings
    assert warnings[0] == f"not_english: the built-in engine knows English; this prompt looks like {language}"


@pytest.mark.parametrize("name", RECIPES)
def test_what_names_a_recipe_is_english(name: str) -> None:
    for key in RECIPES[name].keys:
        assert not [warning for warning in _read(key).warnings if warning.startswith("not_english")], key


def test_the_nearest_is_never_what_was_ruled_out() -> None:
    assert "thunder" not in _names("no thunder")
    assert nearest_by_words(["thunder"], RECIPES, {"thunder"}) != "thunder"
    assert nearest_by_words([], RECIPES, {"drone"}) != "drone"


@pytest.mark.parametrize(
    ("forms", "same"),
    [
        (("rain", "rains", "raining", "rained"), True),
        (("clap", "clapping", "claps"), True),
        (("crash", "crashes", "crashing"), True),
        (("berry", "berries"), True),
        (("ring", "ringing"), True),
        (("his", "hiss"), False),
        (("bus", "but"), False),
    ],
)
def test_stems_of_one_words_forms_are_alike(forms: Sequence[str], same: bool) -> None:
    assert (len({stem(form) for form in forms}) == 1) is same


class LetterEncoder:
    """An Embedder that knows words by their letter triples."""

    info = EngineInfo(name="letters", role="embedder", model="letters", licence="Apache-2.0", commercial_use=True)

    def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(texts), 512), dtype=np.float32)
        for row, text in enumerate(texts):
            for k in range(len(text) - 2):
                digest = hashlib.sha256(text[k : k + 3].lower().encode()).digest()
                vectors[row, int.from_bytes(digest[:4], "little") % 512] += 1
        return vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-9)

    def close(self) -> None:
        """Nothing is held."""


def test_an_encoder_chooses_by_meaning_where_words_fit_nothing() -> None:
    engine = ProceduralEngine()
    engine.use_encoder(LetterEncoder())
    notes = engine.notes(Item(prompt="thunderlike crackliness", seed=1, duration_s=1.0))
    assert notes.details["recipes"][0]["matched_by"] == "meaning"
    assert notes.details["recipes"][0]["name"] == "thunder"
    assert notes.warnings[0].startswith("nearest_recipe: ")
    named = engine.notes(Item(prompt="rain", seed=1, duration_s=1.0))
    assert named.details["recipes"][0]["matched_by"] == "words"


# -- honest readings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_named_by_its_caption_and_keys(name: str) -> None:
    recipe = RECIPES[name]
    for text in (recipe.summary, *recipe.keys):
        reading = _read(text)
        assert ([layer.recipe.name for layer in reading.layers], reading.warnings) == ([name], ()), text


def test_no_two_recipes_share_a_key() -> None:
    owners: dict[frozenset[str], str] = {}
    for recipe in RECIPES.values():
        for key in recipe.keys:
            assert owners.setdefault(frozenset(key_stems(key)), recipe.name) == recipe.name, key


@pytest.mark.parametrize(
    ("prompt", "names"),
    [
        ("an audience applauding", ["applause"]),
        ("rain drumming on a tin roof", ["rain_on_metal"]),
        ("a laser gun firing", ["laser"]),
        ("crickets chirping", ["crickets"]),
        ("people walking in a hall", ["footsteps"]),
        ("a howling wind", ["wind"]),
        ("a train passing by", ["train"]),
        ("a church bell ringing, drums beating", ["bell", "drums"]),
    ],
)
def test_a_verb_belongs_to_its_subject(prompt: str, names: list[str]) -> None:
    assert _names(prompt) == names


@pytest.mark.parametrize("ruled_out", ["rain", "fire", "bell", "engine", "birds", "music"])
def test_nothing_of_the_kind_that_is_ruled_out_is_offered(ruled_out: str) -> None:
    for prompt, negative in ((f"no {ruled_out}", ""), (f"without any {ruled_out}", ""), (ruled_out, ruled_out)):
        (layer,) = _read(prompt, negative).layers
        stems = {part for key in layer.recipe.keys for part in key_stems(key)}
        assert stem(ruled_out) not in stems, (prompt, layer.recipe.name)


@pytest.mark.parametrize(
    ("prompt", "unheard"),
    [
        ("thunder for a boss", "'boss'"),
        ("wind at the statue, plugh", "'statue', 'plugh'"),
        ("rain on a Tuesday", "'tuesday'"),
    ],
)
def test_every_word_that_named_nothing_is_told(prompt: str, unheard: str) -> None:
    assert _read(prompt).warnings == (f"not_heard: no recipe for {unheard}",)


def test_spelling_and_split_compounds_are_read() -> None:
    assert _names("thunder and brids") == ["thunder", "birds"]
    assert _names("a door bell") == _names("a doorbell")
    assert _names("heart beat") == ["heartbeat"]


def test_a_plural_asks_for_several() -> None:
    assert _read("explosions").layers[0].character.several
    assert _read("repeated knocks").layers[0].character.several
    assert not _read("an explosion").layers[0].character.several


DIFFERENT = [
    ("chainsaw", "diesel engine"),
    ("doorbell", "gong"),
    ("piano", "guitar"),
    ("drip", "river"),
    ("motorcycle", "tractor"),
    ("gunshot", "explosion"),
    ("flute", "violin"),
    ("organ", "choir"),
    ("dog barking", "cat meowing"),
    ("cow", "sheep"),
    ("wolf howling", "police siren"),
    ("vacuum cleaner", "refrigerator"),
    ("hair dryer", "fan"),
    ("printer", "typing"),
    ("typewriter", "keyboard typing"),
    ("white noise", "brown noise"),
    ("pink noise", "radio static"),
    ("zipper", "paper"),
    ("camera shutter", "button click"),
    ("telephone ringing", "alarm clock"),
    ("dial tone", "beep"),
    ("helicopter", "jet"),
    ("pouring water", "boiling water"),
    ("waterfall", "rain"),
    ("whip crack", "gunshot"),
    ("sword clash", "anvil"),
    ("keys jingling", "chain rattling"),
    ("laughing", "crying baby"),
    ("whispering", "speech"),
    ("coin", "power up"),
    ("confirm", "error"),
    ("sonar ping", "notification"),
    ("crow", "owl"),
    ("seagull", "songbird"),
    ("horse", "footsteps"),
    ("bee", "mosquito swarm in a server room"),
    ("magic spell", "whoosh"),
    ("wind chimes", "church bell"),
    ("fireworks", "thunder"),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_things_are_different_sounds(one: str, other: str) -> None:
    assert _names(one) != _names(other)
    assert not _read(one).warnings


@pytest.mark.parametrize(
    ("prompt", "names"),
    [
        ("heavy breathing", ["breath"]),
        ("keys jingling", ["keys"]),
        ("pouring a glass of water", ["pouring"]),
        ("a cat purring", ["purr"]),
        ("machine gun fire in the distance", ["machine_gun"]),
        ("a man coughing", ["cough"]),
        ("a woman screaming", ["scream"]),
        ("children laughing", ["laughter"]),
        ("an old typewriter clattering", ["typewriter"]),
        ("a horse galloping on gravel", ["horse"]),
        ("sword fight", ["sword"]),
        ("car passing by on a wet road", ["car_passing"]),
        ("power drill", ["drill"]),
        ("church organ music", ["organ"]),
        ("a bee buzzing around a flower", ["bee"]),
        ("toilet flush", ["running_water"]),
        ("water dripping in a cave", ["drip"]),
        ("a rooster crowing at dawn", ["rooster"]),
        ("an owl hooting at night", ["owl", "crickets"]),
        ("seagulls at the beach", ["gull", "ocean_waves"]),
    ],
)
def test_free_prompts(prompt: str, names: list[str]) -> None:
    assert _names(prompt) == names


@pytest.mark.parametrize(
    ("prompt", "names"),
    [
        ("a person snores loudly", ["snore"]),
        ("high heels on marble", ["footsteps"]),
        ("someone climbing stairs", ["footsteps"]),
        ("footsteps on a wooden floor", ["footsteps"]),
        ("an error buzz", ["error"]),
        ("a shotgun blast indoors", ["gunshot"]),
        ("a plasma rifle shot", ["laser"]),
        ("a car door slam", ["thud"]),
        ("a lightning strike", ["thunder"]),
        ("an elevator ding", ["notification"]),
        ("a jet plane taking off", ["jet"]),
        ("a train passing", ["train"]),
        ("wind in the trees", ["wind"]),
        ("leaves rustling in the wind", ["leaves", "wind"]),
        ("a dragon roaring", ["roar"]),
        ("a roaring fire", ["fire"]),
        ("a dog growling", ["dog"]),
        ("rain dripping on leaves", ["rain_on_leaves"]),
        ("steam hissing from a pipe", ["steam"]),
        ("a referee's whistle", ["whistle"]),
        ("a kick drum and a snare", ["kick", "snare"]),
        ("a drum loop", ["drums"]),
    ],
)
def test_what_is_understood_is_not_told_as_unheard(prompt: str, names: list[str]) -> None:
    reading = _read(prompt)
    assert ([layer.recipe.name for layer in reading.layers], reading.warnings) == (names, ())


@pytest.mark.parametrize(
    "prompt",
    ["a velcro strap", "a harmonica", "trumpet", "sneezing", "a goose", "jackhammer", "woodpecker", "a rocket",
     "cutlery", "a lawnmower", "cash register", "a turkey", "dishwasher"],
)  # fmt: skip
def test_a_word_that_another_sound_only_stands_in_for_is_told(prompt: str) -> None:
    assert _read(prompt).warnings[0].startswith("nearest_recipe: ")


def test_a_pronoun_is_no_count() -> None:
    assert _read("three short beeps and a long one").layers[0].character.count == 3
    assert _read("three beeps, then one").layers[0].character.count == 3
    assert _read("one beep").layers[0].character.count == 1
