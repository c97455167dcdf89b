"""The built-in engine's promises: determinism, batches, rates, lengths, loops, levels, layers, cancelling."""

from __future__ import annotations

import importlib.util
import tracemalloc
from functools import lru_cache
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.procedural_physics import centroid, description, made, mono, share, wrap_steps

from audio_pool.audio.quality import assess
from audio_pool.engines import engine_info, load_engine
from audio_pool.engines.base import Item
from audio_pool.engines.procedural.engine import ProceduralEngine
from audio_pool.engines.procedural.recipe import RECIPES
from audio_pool.errors import Cancelled, InvalidConfig, InvalidRequest, NotSupported
from audio_pool.types import frames_of

NAMES = sorted(RECIPES)
WORDS = "rain thunder wind distant heavy no without and with 120 bpm 440 hz underwater tiny metal bell"


def _item(prompt: str, **changes: object) -> Item:
    values = {"seed": 3, "duration_s": 2.0, "sample_rate": 22_050} | changes
    return Item(prompt=prompt, **values)  # type: ignore[arg-type]


def _named(name: str) -> str:
    """A prompt that asks for exactly this recipe: its first key."""
    return RECIPES[name].keys[0]


@lru_cache(maxsize=8)
def _sound(name: str, *, seed: int = 1, rate: int = 44_100, loop: bool = False) -> np.ndarray:
    """Three seconds of a recipe, made once for all tests of it: they run one recipe after the other."""
    (sound,) = ProceduralEngine().generate(
        [_item(_named(name), seed=seed, duration_s=3.0, sample_rate=rate, loop=loop)]
    )
    sound.flags.writeable = False
    return sound


def _sane(sound: np.ndarray, frames: int) -> bool:
    return (
        sound.dtype == np.float32 and sound.shape == (2, frames) and bool(np.isfinite(sound).all())
        and 0.02 < np.abs(sound).max() <= 0.99 and abs(float(sound.mean())) < 0.05
    )


@pytest.mark.parametrize("name", NAMES, scope="class")
class TestEveryRecipe:
    def test_its_first_key_asks_for_it_alone(self, name: str) -> None:
        notes = ProceduralEngine().notes(_item(_named(name)))
        assert [told["name"] for told in notes.details["recipes"]] == [name]
        assert notes.warnings == ()

    def test_same_seed_same_sound_and_another_seed_another(self, name: str) -> None:
        again = ProceduralEngine().generate(
            [_item(_named(name), seed=1, duration_s=3.0, sample_rate=22_050)]
        )[0]
        np.testing.assert_array_equal(_sound(name, rate=22_050), again)
        assert not np.array_equal(_sound(name), _sound(name, seed=2))

    def test_stereo_finite_exact_and_sane_in_level(self, name: str) -> None:
        assert _sane(_sound(name), 132_300)
        assert _sane(_sound(name, loop=True), 132_300)
        for rate, seconds in ((8000, 0.05), (44_100, 0.05), (16_000, 1.2345), (96_000, 0.25)):
            for loop in (False, True):
                item = _item(_named(name), duration_s=seconds, sample_rate=rate, loop=loop)
                assert _sane(ProceduralEngine().generate([item])[0], round(seconds * rate)), (rate, loop)

    def test_it_loops_without_a_click(self, name: str) -> None:
        sound = _sound(name, loop=True)
        step, usual = wrap_steps(sound)
        largest = float(np.abs(np.diff(sound, axis=1)).max())
        assert step <= max(2.0 * usual, 0.05 * largest, 1e-4)

    def test_the_events_are_the_same_at_every_rate(self, name: str) -> None:
        def levels(rate: int) -> np.ndarray:
            wave = mono(_sound(name, rate=rate))
            parts = np.split(wave, np.arange(1, 60) * len(wave) // 60)
            return np.log(np.sqrt([(part**2).mean() for part in parts]) + 1e-3)

        low, high = levels(22_050), levels(44_100)
        if low.std() > 0.5:  # a sound with events, not a steady one
            assert np.corrcoef(low, high)[0, 1] > 0.7

    def test_the_quality_gate_finds_no_fault_in_a_clean_sound(self, name: str) -> None:
        expects = ProceduralEngine().notes(_item(_named(name))).expects
        for loop in (False, True):
            sound = _sound(name, loop=loop)
            assert assess(sound, 44_100, frames=sound.shape[1], loop=loop, expects=expects).issues == ()

    def test_seeds_are_specimens_that_can_be_told_apart(self, name: str) -> None:
        if RECIPES[name].exact:  # one is as the other
            return
        specimens = [description(_sound(name, seed=seed)) for seed in (1, 2, 3)]
        apart = [float(np.sqrt(np.mean((one - other) ** 2))) for one, other in combinations(specimens, 2)]
        assert np.mean(apart) > 0.8


def test_alone_or_in_a_batch_the_same() -> None:
    items = [_item("rain and thunder", seed=1), _item("footsteps", seed=2, loop=True), _item("rain", seed=1)]
    together = ProceduralEngine().generate(items)
    for item, sound in zip(items, together, strict=True):
        np.testing.assert_array_equal(ProceduralEngine().generate([item])[0], sound)


def test_a_layer_does_not_depend_on_the_others() -> None:
    both = made("footsteps and heartbeat", duration_s=4)
    heart, steps = made("heartbeat", duration_s=4), made("footsteps", duration_s=4)
    # Up to the gain that keeps the mix below full scale, the mix is the sum.
    total = heart + steps
    scale = float(np.vdot(both, total) / np.vdot(total, total))
    assert np.abs(both - scale * total).max() < 0.02


def test_layers_are_all_heard() -> None:
    mix = made("heartbeat with crickets")
    assert share(mix, 20, 150) > 0.1
    assert share(mix, 3000, 6000) > 0.1


def test_long_sounds_are_painted_in_blocks_and_whole() -> None:
    sound = ProceduralEngine().generate([_item("rain and footsteps", duration_s=600.0, sample_rate=8000, loop=True)])[0]
    assert sound.shape == (2, 4_800_000)
    minutes = np.sqrt((sound.reshape(2, 10, -1).astype(np.float64) ** 2).mean(axis=(0, 2)))
    assert minutes.min() > 0.8 * minutes.max()


def test_memory_beside_the_sound_is_bounded() -> None:
    for prompt in ("rain", "siren", "door knock", "footsteps"):
        tracemalloc.start()
        sound = ProceduralEngine().generate([_item(prompt, duration_s=100.0, loop=True)])[0]
        beside = tracemalloc.get_traced_memory()[1] - sound.nbytes
        tracemalloc.stop()
        assert beside < 12e6


def test_a_pitch_too_high_for_the_rate_is_lowered_and_said() -> None:
    item = _item("16 kHz beep", sample_rate=8000)
    assert np.abs(ProceduralEngine().generate([item])[0]).max() > 0.05
    assert ProceduralEngine().notes(item).warnings == ("pitch_lowered: 16000 Hz is too high for 8000 Hz; used 3200 Hz",)
    assert ProceduralEngine().notes(_item("3 kHz beep", sample_rate=8000)).warnings == ()


def test_a_length_outside_the_limits_is_refused() -> None:
    for seconds in (0.01, 601.0):
        with pytest.raises(NotSupported, match=r"allowed are 0\.05 to 600"):
            ProceduralEngine().notes(_item("rain", duration_s=seconds))


def test_only_its_own_model() -> None:
    with pytest.raises(InvalidConfig, match="procedural"):
        load_engine("procedural", {"model": "other"})


def test_layers_limits_the_mix_to_what_the_prompt_names_first() -> None:
    both, one = (_item("rain and thunder", options=options) for options in ({}, {"layers": 1}))
    engine = ProceduralEngine()
    assert [told["name"] for told in engine.notes(one).details["recipes"]] == ["rain"]
    assert engine.notes(one).warnings == ("layers_left_out: at most 1 sound at once; left out thunder",)
    assert engine.notes(both).warnings == ()
    mixed, alone = engine.generate([both, one])
    assert not np.array_equal(mixed, alone)
    np.testing.assert_array_equal(alone, engine.generate([_item("rain")])[0])


def test_space_puts_every_layer_where_it_says() -> None:
    engine = ProceduralEngine()
    dry, hall, said = engine.generate(
        [
            _item("one footstep", duration_s=1.5),
            _item("one footstep", duration_s=1.5, options={"space": "hall"}),
            _item("one footstep in a cathedral", duration_s=1.5),
        ]
    )
    np.testing.assert_array_equal(hall, said)

    def tail(sound: np.ndarray) -> float:
        return float(np.sqrt((sound[:, 13_000:20_000] ** 2).mean()) / np.abs(sound).max())

    assert tail(hall) > 3 * tail(dry)


def test_an_option_out_of_bounds_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="layers: given 9, engine 'procedural' allows a whole number, 1 to 8"):
        ProceduralEngine().notes(_item("rain", options={"layers": 9}))
    with pytest.raises(InvalidRequest, match="one of room, hall, open; did you mean 'hall'"):
        ProceduralEngine().generate([_item("rain", options={"space": "halls"})])


@pytest.mark.skipif(
    importlib.util.find_spec("audio_pool.prompts.language") is None, reason="languages are not detected here"
)
def test_a_prompt_that_is_not_english_is_said() -> None:
    german, english = (
        ProceduralEngine().notes(_item(prompt)).warnings
        for prompt in ("Regen auf einem Blechdach", "rain on a tin roof")
    )
    assert any(warning.startswith("not_english: ") for warning in german)
    assert english == ()


def test_info_and_notes() -> None:
    info = engine_info("procedural")
    assert info.any_rate
    assert info.loop
    assert info.negative_prompt
    assert not info.requires
    notes = ProceduralEngine().notes(_item("heartbeat"))
    assert notes.loops
    assert notes.highpass_hz is not None
    assert notes.highpass_hz <= 20
    assert "noise" in ProceduralEngine().notes(_item("rain")).expects
    assert "silence" in ProceduralEngine().notes(_item("footsteps")).expects
    assert "silence" not in ProceduralEngine().notes(_item("rain and wind")).expects


def test_on_step_counts_layers_and_stops_the_run() -> None:
    seen: list[tuple[int, int]] = []
    engine = ProceduralEngine()
    items = [_item("rain and thunder"), _item("wind")]
    engine.generate(items, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]

    def stop(done: int, total: int) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        engine.generate(items, stop)
    np.testing.assert_array_equal(engine.generate(items)[1], ProceduralEngine().generate(items)[1])


def test_a_loop_played_twice_has_no_edge_in_its_level() -> None:
    for prompt in ("rain", "wind", "stream", "drone"):
        sound = made(prompt, duration_s=5, loop=True)
        rolled = np.roll(sound, sound.shape[1] // 2, axis=1)
        levels = np.sqrt((mono(rolled)[: 100 * 2205].reshape(100, 2205) ** 2).mean(axis=1))
        jumps = np.abs(np.diff(np.log(levels)))
        assert jumps[48:51].max() <= 1.5 * np.quantile(jumps, 0.98)


@settings(max_examples=40, deadline=None)
@given(
    prompt=st.one_of(
        st.text(min_size=1, max_size=60).filter(str.strip),
        st.lists(
            st.sampled_from(WORDS.split()),
            min_size=1,
            max_size=12,
        ).map(" ".join),
    ),
    seed=st.integers(0, 2**63 - 1),
    duration_s=st.floats(0.05, 4.0),
    rate=st.integers(8000, 96_000),
    loop=st.booleans(),
)
def test_anything_asked_gives_a_sane_sound(prompt: str, seed: int, duration_s: float, rate: int, loop: bool) -> None:
    item = Item(prompt=prompt, seed=seed, duration_s=duration_s, sample_rate=rate, loop=loop)
    engine = ProceduralEngine()
    sound = engine.generate([item])[0]
    assert sound.shape == (2, round(duration_s * rate))
    assert np.isfinite(sound).all()
    assert 0.002 < np.abs(sound).max() <= 1.0
    assert engine.notes(item) == engine.notes(item)


class TestAdjectives:
    def test_loud_and_quiet_change_the_level(self) -> None:
        levels = [np.abs(made(f"{word} footsteps", duration_s=3)).max() for word in ("quiet", "", "loud")]
        assert levels[0] < 0.5 * levels[1]
        assert levels[2] > 1.3 * levels[1]

    def test_distant_is_softer_and_duller(self) -> None:
        near, far = made("fire"), made("distant fire")
        assert np.abs(far).max() < 0.7 * np.abs(near).max()
        assert share(far, 2000, 20_000) < 0.5 * share(near, 2000, 20_000)

    def test_deep_and_high_move_the_pitch(self) -> None:
        assert centroid(made("deep drone")) < 0.8 * centroid(made("drone"))
        assert centroid(made("high drone")) > 1.3 * centroid(made("drone"))

    def test_muffled_and_underwater_take_the_highs(self) -> None:
        plain, muffled, under = (share(made(p), 2000, 20_000) for p in ("rain", "muffled rain", "rain underwater"))
        assert muffled < 0.3 * plain
        assert under < muffled

    def test_heavy_rain_has_more_drops_than_light_rain(self) -> None:
        light, heavy = made("light rain"), made("heavy rain")
        assert np.sqrt((heavy**2).mean()) > 1.3 * np.sqrt((light**2).mean())

    def test_indoors_rings_on(self) -> None:
        def tail(prompt: str) -> float:
            sound = made(prompt, duration_s=1.5)
            return float(np.sqrt((sound[:, 13_000:20_000] ** 2).mean()) / np.abs(sound).max())

        assert tail("one footstep indoors") > 3 * tail("one footstep")
        assert tail("one footstep in a cathedral") > 2 * tail("one footstep indoors")

    def test_metallic_rings_and_wooden_knocks(self) -> None:
        def ring(prompt: str) -> float:
            sound = made(prompt, duration_s=1.5)
            return float((sound[:, 9000:16_000] ** 2).mean() / (sound**2).mean())

        assert ring("one metallic footstep") > 5 * ring("one footstep")
        assert share(made("wooden footsteps"), 150, 1000) > share(made("footsteps"), 150, 1000)

    def test_gravel_crunches(self) -> None:
        firm, loose = made("footsteps"), made("footsteps on gravel")
        assert share(loose, 1500, 9000) > 3 * share(firm, 1500, 9000)

    def test_large_is_lower_than_small(self) -> None:
        assert centroid(made("large stream")) < centroid(made("small stream"))


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 96_000])
def test_the_shortest_sound_can_be_asked_for_at_every_rate(rate: int) -> None:
    frames = frames_of(0.05, rate)
    (made,) = ProceduralEngine().generate([Item(prompt="click", seed=1, duration_s=frames / rate, sample_rate=rate)])
    assert made.shape[1] == frames
