"""What ``audio-pool top`` shows of a pool, in any size of window."""

from __future__ import annotations

import pytest
from msgspec import structs
from tests.support.told_numbers import HEALTH, STATUS

from audio_pool.api import Health
from audio_pool.cli.top_view import Look, cut, joined, lines_of
from audio_pool.numbers import BOUNDS_S, ErrorNote, Histogram, PoolNumbers, RequestCount

NUMBERS = STATUS.numbers or PoolNumbers()
LOOK = Look(at=60.0, status=STATUS, health=HEALTH)


def told(look: Look = LOOK, before: Look | None = None, width: int = 100, height: int = 1000) -> str:
    return joined(lines_of(look, before, width=width, height=height, epoch_s=3661.0))


def test_everything_is_there() -> None:
    text = told()
    for words in (
        "audio_pool 1.2  degraded  up 1 h 1 min",
        "the queue is full",
        "generate tone 1.5 s ##--------  25%",
        'odd "name"\\n',
        "H200",
        "tone normal                    1       2",
        "the same words         70.0%        10",
        "LAST ERRORS",
        "quality every candidate was silent r1",
    ):
        assert words in text, words


@pytest.mark.parametrize("width", [1, 20, 40, 59, 60, 80, 200])
@pytest.mark.parametrize("height", [1, 10, 24])
def test_it_fits_into_any_window(width: int, height: int) -> None:
    lines = lines_of(LOOK, None, width=width, height=height, epoch_s=9.0)
    assert 0 < len(lines) <= height
    assert all(len(line.text) <= width for line in lines)


def test_in_forty_columns_no_column_of_numbers_is_lost() -> None:
    lines = told(width=40).splitlines()
    assert any(line.startswith("TIMES") and line.endswith("99 %") for line in lines)
    assert any(line.startswith("QUEUE") and line.endswith("WAITING") for line in lines)
    assert any(line.strip().startswith("generate tone") and line.endswith("25%") for line in lines)


def test_rates_and_times_are_of_what_has_come_since_the_earlier_look() -> None:
    later = Look(
        at=70.0,
        health=HEALTH,
        status=structs.replace(
            STATUS,
            numbers=structs.replace(
                NUMBERS,
                requests=(RequestCount(engine="tone", status="result", cache="exact", count=27),),
                lookups={"exact": 20, "semantic": 3, "join": 10},
                hits={"exact": 8},
                request_seconds={"exact": Histogram(counts=(1, *[0] * 9, 1, 5, *[0] * 7), sum_s=9.0)},
                stage_seconds=NUMBERS.stage_seconds,
            ),
        ),
    )
    assert len(BOUNDS_S) + 1 == 19
    text = told(later, LOOK)
    assert "2.0 sounds/s" in text
    assert "the same words         10.0%        10" in text
    exact = next(line for line in text.splitlines() if line.startswith("exact "))
    assert exact.split() == ["exact", "960", "ms", "1.2", "s", "1.3", "s", "5"]
    assert "generate " not in text.split("TIMES")[1].split("LAST")[0], "no new sound was made meanwhile"


def test_nothing_that_others_wrote_moves_the_cursor() -> None:
    nasty = ErrorNote(at=1.0, code="internal", message="\x1b[2J\nboo \u202e", request_id="\x07")
    look = structs.replace(LOOK, status=structs.replace(STATUS, numbers=structs.replace(NUMBERS, errors=(nasty,))))
    text = told(look)
    assert "\x1b" not in text and "\x07" not in text and "\\x1b[2J\\nboo" in text


def test_a_pool_that_has_done_nothing_yet() -> None:
    empty = Look(at=0.0, status=structs.replace(STATUS, workers={}, numbers=None), health=Health(state="starting"))
    text = told(empty)
    assert "nothing is under way" in text and "nothing was answered" in text and "starting" in text


def test_wide_characters_count_as_two() -> None:
    assert cut("雨の音", 4) == "雨の" and cut("rain", 3) == "rai" and cut("e\u0301xx", 2) == "e\u0301x"
