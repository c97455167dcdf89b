"""What is told of sounds under whatever names, and what a licence's name allows."""

from __future__ import annotations

from typing import Any

import pytest

from audio_pool.exchange.told import Told, allows_commercial_use, told_in


def test_the_first_systems_names_old_and_new_are_understood() -> None:
    both = {"path": "/out/a.wav", "prompt": "Rain", "prompt_norm": "rain"}
    old = told_in({**both, "dur": 2.0, "ts": 1.7e9})
    new = told_in({**both, "duration_s": 2.0, "timestamp": 1.7e9, "clap_similarity": 0.4})
    for one in (old, new):
        assert (one.path, one.prompt, one.timestamp) == ("/out/a.wav", "Rain", 1.7e9)
    assert (old.clap_similarity, new.clap_similarity) == (None, 0.4)
    assert not old.ignored and not new.ignored


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"File Name": " a.wav ", "Caption": "a  dog\nbarks"}, {"path": "a.wav", "prompt": "a dog barks"}),
        ({"text": "rain", "license": "CC0", "Looping": "yes"}, {"prompt": "rain", "licence": "CC0", "loop": True}),
        ({"loop": 0, "seed": "9007199254740993"}, {"loop": False, "seed": 2**53 + 1}),
        ({"ts": 1_700_000_000_000}, {"timestamp": 1.7e9}),
        ({"date": "2023-11-14T22:13:20"}, {"timestamp": 1.7e9}),
        ({"tags": "wet; outside;wet", "keywords": ["x"]}, {"tags": ("wet", "outside")}),
        ({"tags": ["wet", 3, ""], "labels": {"level": 3, "deep": {}}}, {"tags": ("wet",), "labels": {"level": 3}}),
        ({"prompt": "", "caption": "rain"}, {"prompt": "rain"}),
    ],
)
def test_fields_go_by_many_names(fields: dict[str, Any], told: dict[str, Any]) -> None:
    assert told_in(fields) == Told(**told)


def test_what_makes_no_sense_is_left_out_and_named() -> None:
    fields = {"prompt": "rain", "seed": -1, "steps": "many", "clap_score": float("nan"), "ts": True, "loop": "perhaps"}
    told = told_in(fields)
    assert told == Told(prompt="rain", ignored=("loop", "seed", "steps", "clap_score", "ts"))


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("CC0", True), ("CC0-1.0", True), ("Creative Commons 0", False), ("public domain", True), ("CC BY 4.0", True),
        ("CC-BY-SA-4.0", True), ("https://creativecommons.org/licenses/by/4.0/", True), ("Attribution", True),
        ("http://creativecommons.org/publicdomain/zero/1.0/", True), ("MIT", True), ("Apache-2.0", True),
        ("CC BY-NC 4.0", False), ("CC-BY-NC-SA", False), ("Attribution NonCommercial", False), ("Sampling+", False),
        ("https://creativecommons.org/licenses/by-nc/4.0/", False), ("research only", False), ("", False),
        ("all rights reserved", False), ("unlimited", False), ("MIT, non-commercial", False),
    ],
)  # fmt: skip
def test_only_a_licence_that_is_known_to_allow_it_does(licence: str, allowed: bool) -> None:
    assert allows_commercial_use(licence) is allowed
