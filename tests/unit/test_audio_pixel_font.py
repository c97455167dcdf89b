"""Labels: every character has a glyph of its own, and any text can be drawn."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from audio_pool.audio.pixel_font import render, width

ASCII = [chr(code) for code in range(32, 127)]


def test_no_two_characters_look_alike() -> None:
    drawn = {character: render(character).tobytes() for character in ASCII}
    drawn[" "] = b""  # alone it is white space, and dropped
    assert len(set(drawn.values())) == len(ASCII)
    assert all(render(character).any() for character in ASCII if character != " ")


def test_text_is_as_wide_as_it_says_at_any_scale() -> None:
    for scale in (1, 2, 3):
        assert render("10 kHz", scale).shape == (9 * scale, width("10 kHz", scale))
    assert np.array_equal(render("a b", 2)[::2, ::2], render("a b"))


def test_accents_are_dropped_and_other_scripts_replaced() -> None:
    assert np.array_equal(render("café"), render("cafe"))
    assert np.array_equal(render("雨"), render("?"))


@given(st.text(max_size=30))
def test_any_text_can_be_drawn(text: str) -> None:
    assert render(text, 2).shape == (18, width(text, 2))
