"""A request's options against what an engine declares: only what differs from its default is kept."""

from __future__ import annotations

import pytest

from audio_pool.engine_info import EngineInfo, OptionInfo
from audio_pool.engines.options import allowed, checked_options, option_values
from audio_pool.errors import InvalidRequest

INFO = EngineInfo(
    name="organ",
    role="generator",
    model="organ",
    licence="MIT",
    commercial_use=True,
    options=(
        OptionInfo(name="temperature", type="float", default=1.0, low=0.0, high=2.0),
        OptionInfo(name="top_k", type="int", default=250, low=0),
        OptionInfo(name="lyrics", type="str", default="", high=10),
        OptionInfo(name="sampler", type="str", default="euler", choices=("euler", "heun")),
        OptionInfo(name="tremolo", type="bool", default=False),
        OptionInfo(name="key", type="float"),
    ),
)


def test_only_what_differs_from_the_default_is_kept_sorted_by_name() -> None:
    given = {"top_k": 40, "temperature": 1, "lyrics": "la", "sampler": "euler", "tremolo": True, "key": None}
    assert checked_options(INFO, given) == (("lyrics", "la"), ("top_k", 40), ("tremolo", True))
    assert checked_options(INFO, {}) == ()
    assert checked_options(INFO, {"key": 440}) == (("key", 440.0),)


def test_numbers_take_the_options_own_type() -> None:
    (found,) = checked_options(INFO, {"top_k": 40.0})
    assert found == ("top_k", 40) and isinstance(found[1], int)
    (found,) = checked_options(INFO, {"temperature": 2})
    assert found == ("temperature", 2.0) and isinstance(found[1], float)


def test_an_engine_gets_every_option_with_its_value() -> None:
    assert option_values(INFO, {"top_k": 40}) == {
        "temperature": 1.0, "top_k": 40, "lyrics": "", "sampler": "euler", "tremolo": False, "key": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"temprature": 1.0}, "engine 'organ' has no option 'temprature'; did you mean 'temperature'?"),
        ({"xyzzy": 1.0}, "known options: temperature, top_k, lyrics, sampler, tremolo, key"),
        ({"temperature": 2.5}, "options: temperature: given 2.5, engine 'organ' allows a number, 0 to 2"),
        ({"temperature": float("nan")}, "allows a number, 0 to 2"),
        ({"temperature": True}, "given True, engine 'organ' allows a number"),
        ({"temperature": "hot"}, "given 'hot'"),
        ({"top_k": 1.5}, "top_k: given 1.5, engine 'organ' allows a whole number, at least 0"),
        ({"top_k": -1}, "top_k: given -1"),
        ({"lyrics": "la la la la"}, "allows a text, at most 10 characters"),
        ({"lyrics": 7}, "lyrics: given 7"),
        ({"sampler": "huen"}, "allows one of euler, heun; did you mean 'heun'?"),
        ({"tremolo": 1}, "tremolo: given 1, engine 'organ' allows true or false"),
    ],
)
def test_what_is_not_allowed_is_refused_by_name(given: dict[str, str | float], says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked_options(INFO, given)
    assert says in caught.value.message


def test_an_engine_without_options_says_so() -> None:
    bare = EngineInfo(name="bare", role="generator", model="bare", licence="MIT", commercial_use=True)
    with pytest.raises(InvalidRequest, match=r"engine 'bare' has no option 'eta'; it has none"):
        checked_options(bare, {"eta": 1.0})


def test_what_is_allowed_in_words() -> None:
    assert [allowed(option) for option in INFO.options] == [
        "a number, 0 to 2",
        "a whole number, at least 0",
        "a text, at most 10 characters",
        "one of euler, heun",
        "true or false",
        "a number",
    ]
