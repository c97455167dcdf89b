"""What an engine returns is held to its contract where it is returned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from audio_pool.engine_info import EngineInfo, Notes
from audio_pool.engines import Embedder, Generator, Item, Scorer
from audio_pool.errors import EngineError, EngineUnavailable, NotSupported
from audio_pool.worker.checked import CheckedEmbedder, CheckedGenerator, CheckedScorer, checked_info, unusable

RATE = 8000
INFO = EngineInfo(
    name="bells", role="generator", model="m", licence="MIT", commercial_use=True, sample_rate=RATE, channels=2
)
READER = EngineInfo(name="reader", role="embedder", model="m", licence="MIT", commercial_use=True, dimensions=3)
ITEM = Item(prompt="rain", seed=5, duration_s=0.5)
FRAMES = RATE // 2


class Engine:
    """Returns whatever it is given."""

    device = "cpu"
    info = INFO

    def __init__(self, returned: Any, logit_scale: Any = 10.0) -> None:
        self.returned = returned
        self.logit_scale = logit_scale
        self.closed = False

    def notes(self, item: Item) -> Any:
        if isinstance(self.returned, Exception):
            raise self.returned
        return self.returned

    def generate(self, items: Sequence[Item], on_step: Any = None) -> Any:
        return self.notes(items[0])

    def embed(self, texts: Sequence[str]) -> Any:
        return self.returned

    def embed_text(self, texts: Sequence[str]) -> Any:
        return self.returned

    def embed_audio(self, sounds: Any, sample_rate: int) -> Any:
        return self.returned

    def close(self) -> None:
        self.closed = True


def sound(channels: int = 2, frames: int = FRAMES, dtype: Any = np.float32) -> Any:
    return np.zeros((channels, frames), dtype)


def generate(returned: Any, *, items: int = 1, **info: Any) -> Any:
    engine = CheckedGenerator(Engine(returned), msgspec.structs.replace(INFO, **info))
    return engine.generate([ITEM] * items)


@pytest.mark.parametrize("frames", [FRAMES - 2, FRAMES, FRAMES + 2])
def test_a_sound_as_it_was_asked_for_goes_through(frames: int) -> None:
    (one,) = generate([sound(frames=frames)])
    assert one.shape == (2, frames)


@pytest.mark.parametrize("channels", [1, 2])
def test_an_engine_that_does_not_say_how_many_channels_may_have_one_or_two(channels: int) -> None:
    generate([sound(channels)], channels=0)


def test_a_rate_that_was_asked_for_counts_where_the_engine_heeds_it() -> None:
    item = Item(prompt="rain", seed=5, duration_s=0.5, sample_rate=16_000)
    heeds = msgspec.structs.replace(INFO, any_rate=True)
    CheckedGenerator(Engine([sound(frames=8000)]), heeds).generate([item])
    with pytest.raises(EngineError):
        CheckedGenerator(Engine([sound(frames=8000)]), INFO).generate([item])


@pytest.mark.parametrize(
    ("returned", "came"),
    [
        ([sound(frames=10)], r"float32 \[2, 10\]"),
        ([sound(frames=FRAMES - 3)], rf"float32 \[2, {FRAMES - 3}\]"),
        ([sound(frames=FRAMES + 3)], rf"float32 \[2, {FRAMES + 3}\]"),
        ([sound(8820)], r"float32 \[8820, 4000\]"),
        ([sound(1)], r"float32 \[1, 4000\]"),
        ([sound().T], r"float32 \[4000, 2\]"),
        ([sound()[0]], r"float32 \[4000\]"),
        ([sound()[None]], r"float32 \[1, 2, 4000\]"),
        ([sound(dtype=np.float64)], r"float64 \[2, 4000\]"),
        ([sound(dtype=np.int16)], r"int16 \[2, 4000\]"),
        ([sound(dtype=np.complex64)], r"complex64"),
        ([sound(dtype=object)], r"object"),
        ([sound().tolist()], "a list"),
        ([None], "a NoneType"),
        ([b"RIFF"], "a bytes"),
    ],
)
def test_a_sound_that_is_not_what_was_asked_for_is_refused_by_name(returned: Any, came: str) -> None:
    with pytest.raises(EngineError, match=f"engine 'bells' returned {came}.*0.5 s at 8,000 Hz.*allowed is") as caught:
        generate(returned)
    assert "adding-an-engine.md" in caught.value.hint


@pytest.mark.parametrize(
    ("returned", "came"),
    [([], "0 sounds"), ([sound()] * 3, "3 sounds"), (None, "a NoneType"), (sound(), "float32"), ("no", "a str")],
)
def test_as_many_sounds_as_items(returned: Any, came: str) -> None:
    with pytest.raises(EngineError, match=rf"engine 'bells' returned {came}.*for 2 items"):
        generate(returned, items=2)


def test_what_an_engine_raises_goes_through() -> None:
    with pytest.raises(NotSupported):
        generate(NotSupported("not this"))
    with pytest.raises(ZeroDivisionError):
        generate(ZeroDivisionError())


def test_which_samples_are_of_no_use() -> None:
    one = sound(frames=4)
    assert unusable(one) == ""
    one[0, :3] = np.nan, np.inf, -np.inf
    one[1, 0] = 1e7
    assert unusable(one).startswith("4 of 8 samples")


def test_notes_are_plain_and_can_be_encoded() -> None:
    notes = Notes(warnings=("torn \udcff",), details={"torn \udcff": ["\udcff"]}, expects=frozenset({"noise"}))
    said = CheckedGenerator(Engine(notes), INFO).notes(ITEM)
    assert said.warnings == ("torn ?",) and said.details == {"torn ?": ["?"]} and said.expects == {"noise"}


@pytest.mark.parametrize(
    "notes",
    [
        None, {}, Notes(details={"x": np.float32(1)}), Notes(details={"x": float("nan")}),
        Notes(warnings=(1,)), Notes(warnings="text"), Notes(highpass_hz="low"), Notes(loops=3),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_notes_that_are_none_are_the_engines_fault(notes: Any) -> None:
    with pytest.raises(EngineError, match="notes of engine 'bells'"):
        CheckedGenerator(Engine(notes), INFO).notes(ITEM)


def vectors(*rows: list[float], dtype: Any = np.float32) -> Any:
    return np.array(rows, dtype)


@pytest.mark.parametrize("returned", [vectors([1, 0, 0]), vectors([0, 0.6, 0.8]), vectors([0.995, 0, 0])])
def test_a_vector_of_unit_length_goes_through(returned: Any) -> None:
    np.testing.assert_array_equal(CheckedEmbedder(Engine(returned), READER).embed(["rain"]), returned)
    np.testing.assert_array_equal(CheckedScorer(Engine(returned), READER).embed_text(["rain"]), returned)
    assert CheckedScorer(Engine(returned), READER).embed_audio([sound()], RATE) is returned


@pytest.mark.parametrize(
    ("returned", "came"),
    [
        (vectors([1, 0]), r"float32 \[1, 2\]"),
        (vectors([1, 0, 0], [1, 0, 0]), r"float32 \[2, 3\]"),
        (vectors([1, 0, 0])[0], r"float32 \[3\]"),
        (vectors([1, 0, 0], dtype=np.float64), "float64"),
        ([[1.0, 0.0, 0.0]], "a list"),
        (None, "a NoneType"),
        (vectors([0, 0, 0]), "a vector of length 0"),
        (vectors([3, 0, 4]), "a vector of length 5"),
        (vectors([np.nan, 0, 0]), "a vector of length nan"),
        (vectors([np.inf, 0, 0]), "a vector of length inf"),
    ],
)
def test_a_vector_that_is_none_is_refused_by_name(returned: Any, came: str) -> None:
    for ask in (
        lambda: CheckedEmbedder(Engine(returned), READER).embed(["rain"]),
        lambda: CheckedScorer(Engine(returned), READER).embed_text(["rain"]),
        lambda: CheckedScorer(Engine(returned), READER).embed_audio([sound()], RATE),
    ):
        with pytest.raises(EngineError, match=f"engine 'reader' returned {came}"):
            ask()


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), "ten", None])
def test_a_scale_is_a_positive_number(scale: Any) -> None:
    with pytest.raises(EngineError, match="logit_scale"):
        _ = CheckedScorer(Engine(None, scale), READER).logit_scale


def test_a_checked_engine_is_one_of_its_role_and_is_closed_with_it() -> None:
    engine = Engine(None)
    generator, embedder, scorer = (
        CheckedGenerator(engine, INFO), CheckedEmbedder(engine, READER), CheckedScorer(engine, READER)
    )  # fmt: skip
    assert isinstance(generator, Generator) and isinstance(embedder, Embedder)
    for one in (generator, embedder, scorer):
        engine.closed = False
        one.close()
        assert engine.closed
    assert isinstance(CheckedScorer(Engine(None), READER), Scorer)


def test_what_an_engine_says_of_itself_is_checked() -> None:
    assert checked_info(INFO, "bells") == INFO
    with pytest.raises(EngineUnavailable, match=r"INFO of engine 'bells'.*sample_rate"):
        checked_info(msgspec.structs.replace(INFO, sample_rate="x"), "bells")


def test_what_speaks_may_take_as_long_as_it_takes_up_to_its_most() -> None:
    talker = msgspec.structs.replace(INFO, natural_length=True, speech=True, longest_s=2.0)

    def returns(frames: int) -> Any:
        return CheckedGenerator(Engine([sound(frames=frames)]), talker).generate([ITEM])

    assert [returns(frames)[0].shape[1] for frames in (1, FRAMES, 2 * RATE)] == [1, FRAMES, 2 * RATE]
    for frames in (0, 2 * RATE + 9):
        with pytest.raises(EngineError, match=r"for 4 characters \(seed 5\); allowed is float32 \[2, 1 to 16002\]"):
            returns(frames)
