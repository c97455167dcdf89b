"""What is said against a prompt, and that it is said where a sound is asked for."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from tests.support.requests import engine, resolved

from audio_pool.cli import main
from audio_pool.engine_info import EngineInfo
from audio_pool.engines import Item, load_engine
from audio_pool.prompts.lint import Reader, lint
from audio_pool.tasks import GeneratePart
from audio_pool.worker.planned import plan_of


def names(prompt: str, **asked: Any) -> list[str]:
    return [finding.name for finding in lint(prompt, **asked)]


@pytest.mark.parametrize(
    ("prompt", "name", "told"),
    [
        ("a nice sound", "prompt_vague", "name it"),
        ("something epic", "prompt_vague", "name it"),
        ("very loud", "prompt_vague", "name it"),
        ("12345!", "prompt_vague", "no word in it"),
        ("a loud, quiet dog barking", None, ""),
        ("a loud quiet dog barking", "prompt_contradictory", "'loud' and 'quiet'"),
        ("slow fast footsteps", "prompt_contradictory", "'slow' and 'fast'"),
        ("silent thunder", "prompt_contradictory", "'silent' and a sound"),
        ("thunder, no thunder", "prompt_contradictory", "'thunder' is wanted and not wanted"),
        ("a castle, then a party, then a crash, then silence", "prompt_several_scenes", "'then'"),
        ("cut to: a street at night", "prompt_several_scenes", "cut to"),
        ("a man says 'hello my dear friend'", "prompt_asks_for_words", "hello my dear friend"),
        ("a woman says: go now", "prompt_asks_for_words", "kind:speech"),
        ("a man saying hello world", "prompt_asks_for_words", "man saying hello"),
        ("a woman softly says good morning", "prompt_asks_for_words", "kind:speech"),
        ("please speak the words open the door", "prompt_asks_for_words", "speak the words"),
        ("a narrator over soft rain", "prompt_asks_for_words", "narrator"),
        ("Regen auf dem Dach", "prompt_language", "looks like German"),
        ("photorealistic forest, 4k", "prompt_seen_not_heard", "'photorealistic' is for the eye"),
        ("rain for 10 seconds", "prompt_states_length", "ask for it by duration_s"),
        ("a seamless loop of rain", "prompt_states_loop", "loop = true"),
    ],
)
def test_what_makes_bad_sounds_is_named_with_what_helps(prompt: str, name: str | None, told: str) -> None:
    found = lint(prompt)
    assert [one.name for one in found] == ([name] if name else [])
    assert all(told in one.sentence for one in found)


@pytest.mark.parametrize(
    "prompt",
    [
        "rain on a tin roof",
        "white noise",
        "boss music",
        "UI click",
        "zzzz",
        "footsteps of 2 men",
        "a car passes at 50 mph",
        "an 80s synth",
        "a dog's bark and the cat's meow",
        "a man speaks, then a door closes",
        "a woman saying something in the next room",
        "a man says a few words",
        "people saying words loudly in a hall",
        "a bird says chirp",
        "crickets chirp loudly on a quiet summer night",
        "a loud bang followed by a quiet hiss",
        "rain on a roof, no thunder",
        "fire and no wood crackle",
        "ein",
    ],
)
def test_an_ordinary_prompt_is_left_alone(prompt: str) -> None:
    assert names(prompt) == []


def test_what_is_asked_beside_the_prompt_counts() -> None:
    assert names("rain and wind", negative_prompt="wind") == ["prompt_contradictory"]
    assert names("rain and wind", negative_prompt="thunder") == []
    assert names("a knock, then steps", loop=True) == ["prompt_order_in_a_loop"]
    assert names("seamless rain", loop=True) == []


def test_what_is_to_be_said_is_nobodys_business() -> None:
    assert names("Regen. He said: silent thunder, 4k, for 10 seconds", reader=Reader(speech=True)) == []


def test_a_reader_of_other_languages_is_not_told_to_read_english() -> None:
    assert names("Regen auf dem Dach", reader=Reader(languages=("de",))) == []
    assert names("Regen auf dem Dach", reader=Reader(languages=())) == []


def test_the_sound_that_is_made_says_so_once() -> None:
    class Anything:
        def __init__(self, info: EngineInfo) -> None:
            self.info, self.device = info, "cpu"

        def notes(self, item: Item):
            return load_engine("mock").notes(item)

    def warnings(maker, info: EngineInfo, prompt: str) -> list[str]:
        found = resolved(info, prompt=prompt)
        part = GeneratePart(job=1, recipe=found.recipe, seeds=[1], mastering=SimpleNamespace(shape=found.shape))
        return [one.partition(":")[0] for one in plan_of(maker, info, part, 600.0)[0].notes.warnings]

    info = engine(languages=("en",))
    assert warnings(Anything(info), info, "silent thunder") == ["prompt_contradictory"]
    assert warnings(Anything(info), info, "thunder") == []
    built_in = load_engine("procedural")
    assert warnings(built_in, built_in.info, "Regen auf dem Dach").count("not_english") == 1
    assert "prompt_language" not in warnings(built_in, built_in.info, "Regen auf dem Dach")


def run(*args: str, given: str = "") -> tuple[int, str]:
    result = CliRunner().invoke(main, ["prompt", "check", *args], input=given)
    return result.exit_code, result.output


def test_the_command_says_what_it_found_and_fails_where_it_found_something() -> None:
    code, said = run("rain on a tin roof")
    assert (code, said) == (0, "rain on a tin roof: nothing to say against it\n")
    code, said = run("rain", "silent thunder")
    assert code == 1
    assert "rain: nothing to say against it\nsilent thunder\n  prompt_contradictory: " in said
    code, said = run("-", "--json", given="rain\n\nsomething epic\n")
    told = json.loads(said)
    assert code == 1
    assert [one["prompt"] for one in told["prompts"]] == ["rain", "something epic"]
    assert [one["name"] for one in told["prompts"][1]["findings"]] == ["prompt_vague"]


def test_the_command_refuses_what_a_request_would_be_refused_for() -> None:
    assert run(" ")[0] == 2
    code, said = run("rain", "--engine", "procedurl")
    assert code == 2 and "did you mean 'procedural'" in said
    code, said = run("rain", "--engine", "minilm")
    assert code == 2 and "makes no sounds" in said
    assert run("rain", "--engine", "kind:effects")[0] == 0


@pytest.mark.parametrize(
    "prompt",
    [
        "'tis the season, " + "rain falls " * 180,
        "the dogs' " + "'a bark and a howl " * 100,
        "'a b" + " " * 1900,
        "„a " * 660,
        '"a b ' * 400,
    ],
)
def test_a_quote_that_nothing_closes_costs_no_more_than_its_prompt_is_long(prompt: str) -> None:
    # in the time of one that can be read in many ways the worker would be taken for hung
    lint(prompt)


@pytest.mark.parametrize("prompt", ["a man says 'go  home now'", "'go on then', she says", "‘ have a nice day ’"])
def test_words_in_single_quotes_are_words(prompt: str) -> None:
    assert names(prompt) == ["prompt_asks_for_words"]
