"""A kept parse says what parsing says, and one that is of another version or damaged is not believed."""

from __future__ import annotations

import pytest

from audio_pool.cache.guards import first_objection
from audio_pool.prompts import parses
from audio_pool.prompts.normalize import analyse
from audio_pool.prompts.parses import events_of, packed

PROMPTS = ("a dog barks, then it howls", "two cars pass by without honking", "дождь", "?!", "a man clears his throat")


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_kept_parse_is_that_of_the_prompt(prompt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = packed(prompt)
    for other in PROMPTS:
        assert first_objection(other, prompt, kept) == first_objection(other, prompt)
    wanted = analyse(prompt).events
    monkeypatch.delattr(parses, "analyse")
    assert events_of(prompt, kept) == wanted


def test_a_parse_of_another_version_or_a_damaged_one_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    prompt, wanted = PROMPTS[0], analyse(PROMPTS[0]).events
    kept = packed(PROMPTS[1])
    for damaged in (b"", kept[:-3], b"\xff" + kept, b"\x92\x02\xc0", kept.replace(b"clause", b"cl\xff\xffse")):
        assert events_of(prompt, damaged) == wanted
    monkeypatch.setattr(parses, "CANONICAL_VERSION", 1_000)
    assert events_of(prompt, kept) == wanted
