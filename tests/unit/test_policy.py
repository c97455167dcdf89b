"""Verdicts: which rule or guard decides, and that it says so."""

from __future__ import annotations

import math

import pytest

from audio_pool.cache.policy import (
    CALIBRATIONS,
    Calibration,
    Candidate,
    Verdict,
    fallback_warning,
    first_objection,
    judge,
)

MINILM = CALIBRATIONS["minilm"]


def verdict(
    query: str,
    prompt: str,
    *,
    cosine: float = 0.95,
    clap: float | None = None,
    mode: str = "tolerant",
    calibration: Calibration | None = MINILM,
    tau: float = 0.70,
) -> Verdict:
    candidates = [Candidate(entry_id=7, prompt=prompt, cosine=cosine, clap=clap)]
    (one,) = judge(query, candidates, mode=mode, calibration=calibration, tau_prompt_sem=tau, tau_use=0.35)  # type: ignore[arg-type]
    return one


def test_a_calibration_is_a_line_through_its_point_and_one() -> None:
    assert MINILM.cosine_at(0.70) == pytest.approx(0.80)
    assert MINILM.cosine_at(1.0) == 1.0
    assert MINILM.cosine_at(0.85) == pytest.approx(0.90)
    assert CALIBRATIONS["bge"].cosine_at(0.70) > MINILM.cosine_at(0.70)


@pytest.mark.parametrize("mode", ["strict", "tolerant", "threshold", "global"])
def test_the_same_words_hit_in_every_mode_whatever_the_scores(mode: str) -> None:
    assert verdict("Rain!", "rain", cosine=math.nan, clap=-1.0, mode=mode).rule == "text"
    same_key = verdict("the wolf howled", "howling wolf", cosine=math.nan, clap=-1.0, mode=mode, calibration=None)
    assert (same_key.accepted, same_key.rule) == (True, "canonical")
    assert "wolf howl" in same_key.reason


def test_strict_takes_nothing_else() -> None:
    assert not verdict("birds sing", "a bird sings", cosine=0.999, mode="strict").accepted


@pytest.mark.parametrize(
    ("query", "prompt"),
    [
        ("a tin roof in the rain", "rain on a tin roof"),
        ("birds sing", "a bird sings"),
        ("a car crxsh", "a car crash"),
        ("strong wind noise", "strong wind"),
        ("wind in the trees", "trees in the wind"),
        ("quite heavy rain", "very heavy rain"),
    ],
)
def test_tolerant_takes_the_same_words_in_another_shape(query: str, prompt: str) -> None:
    found = verdict(query, prompt)
    assert (found.accepted, found.rule) == (True, "words")
    assert prompt in found.reason
    assert "0.950" in found.reason
    assert not verdict(query, prompt, mode="strict").accepted


GUARDED = [
    ("words", "a horse neighs", "a horse coughs"),
    ("words", "a car passes quickly", "a cat passes quickly"),
    ("words", "heavy rain", "rain"),
    ("words", "a lamp switched on", "a lamp switched off"),
    ("words", "stairs going up", "stairs going down"),
    ("role", "a man is chased by a wolf", "a man chases a wolf"),
    ("words", "a gondola drifts", "a gondoleer drifts"),
    ("negation", "a room with people", "a room with no people"),
    ("negation", "a forest without wind", "a forest with wind"),
    ("number", "three gongs", "two gongs"),
    ("number", "several cars pass", "cars pass"),
    ("number", "men speak", "a man speaks"),
    ("order", "an owl hoots, then a gong", "a gong, then an owl hoots"),
    ("order", "an owl hoots and then a gong", "an owl hoots and a gong"),
    ("role", "a wolf chases a horse", "a horse chases a wolf"),
    ("role", "a nurse talks to a boy", "a boy talks to a nurse"),
    ("role", "a big wolf chases a small horse", "a small wolf chases a big horse"),
    ("role", "loud music in a quiet room", "quiet music in a loud room"),
    ("role", "rain without wind", "wind without rain"),
    ("role", "a car passes from left to right", "a car passes from right to left"),
    ("role", "a nurse calls from a boat", "a nurse calls to a boat"),
    ("role", "a glass of water", "water on glass"),
]


@pytest.mark.parametrize(("guard", "query", "prompt"), GUARDED)
def test_a_guard_stops_what_the_cosine_would_let_through(guard: str, query: str, prompt: str) -> None:
    for one, other in ((query, prompt), (prompt, query)):
        found = verdict(one, other, cosine=0.99)
        assert not found.accepted
        assert found.rule == ""
        assert f"guard {guard}" in found.reason


def test_a_difference_names_the_words() -> None:
    assert first_objection("a horse neighs", "a mule neighs") == (
        "guard words: only the query has 'horse'; only the entry has 'mule'"
    )


def test_only_a_slip_into_an_unknown_word_is_a_typo() -> None:
    assert first_objection("a helicoptr hovers", "a helicopter hovers") is None
    assert first_objection("a helicopter hovers", "a hellicopter hovers") is None
    for one, other in [("a boat", "a boar"), ("a crow", "a crew"), ("tiger", "tigre den"), ("horse", "house")]:
        assert first_objection(one, other) is not None


def test_the_cosine_must_confirm_on_the_encoders_own_scale() -> None:
    low = verdict("birds sing", "a bird sings", cosine=0.79)
    assert not low.accepted
    assert "below 0.80" in low.reason
    assert verdict("birds sing", "a bird sings", cosine=0.81).accepted
    assert not verdict("birds sing", "a bird sings", cosine=0.81, tau=0.80).accepted
    assert not verdict("birds sing", "a bird sings", cosine=0.81, calibration=CALIBRATIONS["bge"]).accepted
    assert not verdict("birds sing", "a bird sings", cosine=math.nan).accepted


def test_what_goes_without_saying_is_named_in_the_verdict() -> None:
    found = verdict("wind blows and an owl hoots", "wind and an owl hooting")
    assert found.rule == "words"
    assert "all words agree but 'blow', which goes without saying, and cosine reaches 0.80" in found.reason
    assert "without saying" not in verdict("strong wind noise", "strong wind").reason


def test_clap_must_confirm_where_there_is_one() -> None:
    assert verdict("birds sing", "a bird sings", clap=0.36).accepted
    low = verdict("birds sing", "a bird sings", clap=0.34)
    assert not low.accepted
    assert "CLAP of query and sound 0.34 is below tau_use 0.35" in low.reason


def test_threshold_is_the_plain_cosine() -> None:
    assert verdict("a horse neighs", "a dog barks", cosine=0.70, mode="threshold", calibration=None).rule == "cosine"
    assert not verdict("a horse neighs", "a dog barks", cosine=0.69, mode="threshold").accepted
    assert not verdict("a horse neighs", "a dog barks", cosine=0.90, clap=0.1, mode="threshold").accepted
    assert verdict("a horse neighs", "a dog barks", cosine=0.01, mode="threshold", tau=0.0).accepted


def test_global_takes_the_sound_alone_and_else_is_tolerant() -> None:
    assert verdict("a horse neighs", "a dog barks", cosine=0.1, clap=0.5, mode="global").rule == "sound"
    assert not verdict("a horse neighs", "a dog barks", cosine=0.1, clap=0.2, mode="global").accepted
    assert verdict("birds sing", "a bird sings", mode="global").rule == "words"


def test_an_encoder_without_calibration_is_strict_and_warned_of() -> None:
    found = verdict("birds sing", "a bird sings", cosine=0.99, calibration=None)
    assert not found.accepted
    assert "no calibration" in found.reason
    assert fallback_warning("somebodys-own").startswith("uncalibrated_encoder: ")


def test_verdicts_come_one_for_each_in_the_order_given() -> None:
    candidates = [
        Candidate(3, "a dog barks", 0.9),
        Candidate(1, "a bird sings", 0.95),
        Candidate(2, "a singing bird", math.nan),
    ]
    found = judge("a bird sings", candidates, mode="tolerant", calibration=MINILM, tau_prompt_sem=0.7, tau_use=0.35)
    assert [(one.entry_id, one.rule) for one in found] == [(3, ""), (1, "text"), (2, "canonical")]
