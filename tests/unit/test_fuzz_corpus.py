"""Every input that fuzzing begins with, and every one that found a fault: each reader takes or refuses it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz import seeds
from fuzz.targets import TARGETS

CORPUS = sorted(seeds.CORPUS.glob("*/*"))


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: f"{file.parent.name}-{file.name}")
def test_an_input_of_the_corpus_does_no_harm(file: Path) -> None:
    TARGETS[file.parent.name](file.read_bytes())


def test_every_target_has_inputs_and_the_corpus_is_small() -> None:
    assert {file.parent.name for file in CORPUS} == set(TARGETS) == set(seeds.seeds())
    assert sum(file.stat().st_size for file in CORPUS) < 500_000


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_survives_what_is_cut_short_or_altered(name: str) -> None:
    for data in seeds.seeds()[name]:
        for place in range(0, min(len(data), 400), 7):
            TARGETS[name](data[:place])
            TARGETS[name](data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
