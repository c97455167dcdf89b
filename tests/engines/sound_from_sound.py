"""What engines that start from a sound are held to: more or less like it, a part of it made anew, more of it.

An engine's test module subclasses FromSound, or calls it with its own tiny engine: ``engine`` is the fixture.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from audio_pool.audio.seam import seam_score
from audio_pool.engines import Item
from audio_pool.engines._paste import FADE_S
from audio_pool.errors import Cancelled, InvalidRequest

SECONDS, NEW_S = 1.2, (0.5, 0.75)
STRENGTHS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)


def given(engine: Any, seconds: float = SECONDS, seed: int = 0) -> np.ndarray:
    """A noise, float32 [C, T], that is no engine's own."""
    rng, rate = np.random.default_rng(seed), engine.info.sample_rate
    return (0.2 * rng.standard_normal((engine.info.channels, round(seconds * rate)))).astype(np.float32)


def item(**more: Any) -> Item:
    known = {"prompt": "rain on a tin roof", "seed": 7, "duration_s": SECONDS, "steps": 3}
    return Item(**{**known, **more})


class FromSound:
    def test_no_strength_gives_the_sound_itself(self, engine):
        sound, rate = given(engine), engine.info.sample_rate
        alone, beside = (
            engine.generate([*others, item(init_audio=sound, init_strength=0.0)])[-1] for others in ([], [item()])
        )
        np.testing.assert_array_equal(alone, sound)
        np.testing.assert_array_equal(beside, sound)
        longer = engine.generate([item(init_audio=sound, init_strength=0.0, duration_s=1.4)])[0]
        np.testing.assert_array_equal(longer[:, : sound.shape[1]], sound)
        assert longer.shape[1] == round(1.4 * rate) and not longer[:, sound.shape[1] :].any()
        mono = engine.generate([item(init_audio=sound[:1], init_strength=0.0)])[0]
        np.testing.assert_array_equal(mono, np.repeat(sound[:1], engine.info.channels, 0))

    def test_the_more_strength_the_farther_from_the_sound(self, engine):
        sound = given(engine)
        found = [
            engine.latents([item(init_audio=sound, init_strength=strength, steps=10, guidance_scale=1.0)])[0]
            for strength in STRENGTHS
        ]
        away = [float(np.square(one - found[0]).mean()) for one in found]
        assert away[0] == 0 and away == sorted(away), away
        assert all(farther > 1.02 * nearer for nearer, farther in pairwise(away)), away

    def test_a_part_is_made_anew_and_the_rest_is_the_sound(self, engine):
        sound, rate = given(engine), engine.info.sample_rate
        asked = item(init_audio=sound, mask=NEW_S)
        made = engine.generate([asked])[0]
        start, end, fade = (round(seconds * rate) for seconds in (*NEW_S, FADE_S))
        assert made.shape == sound.shape and made.dtype == np.float32
        np.testing.assert_array_equal(made[:, : start - fade], sound[:, : start - fade])
        np.testing.assert_array_equal(made[:, end + fade :], sound[:, end + fade :])
        inside = made[:, start:end]
        assert np.abs(inside - sound[:, start:end]).mean() > 0.02
        other = engine.generate([item(init_audio=sound, mask=NEW_S, seed=8)])[0]
        assert np.abs(other[:, start:end] - inside).max() > 1e-3
        if engine.info.channels == 2:  # what is around it counts, not only its own place
            elsewhere = sound.copy()
            elsewhere[:, : start // 2] *= -1
            assert np.abs(engine.latents([item(init_audio=elsewhere, mask=NEW_S)])[0]
                          - engine.latents([asked])[0]).max() > 1e-3  # fmt: skip
        together = engine.generate([item(), asked, item(init_audio=sound, mask=(0.1, 0.2))])
        np.testing.assert_allclose(together[1], made, atol=1e-4 * np.abs(made).max())
        np.testing.assert_array_equal(together[2][:, end:], sound[:, end:])

    def test_latents_outside_the_part_are_the_sounds_own(self, engine):
        sound = given(engine)
        kept = engine.latents([item(init_audio=sound, init_strength=0.0)])[0]
        made = engine.latents([item(init_audio=sound, mask=NEW_S)])[0]
        axis, length = engine.time_axis - 1, engine._latent_samples() / engine.info.sample_rate
        changed = np.nonzero(np.abs(made - kept).max(tuple(n for n in range(kept.ndim) if n != axis)) > 1e-5)[0]
        assert changed[0] * length == pytest.approx(NEW_S[0], abs=length)
        assert (changed[-1] + 1) * length == pytest.approx(NEW_S[1], abs=length)
        assert len(changed) == changed[-1] - changed[0] + 1

    def test_a_sound_goes_on_past_its_end(self, engine):
        sound, rate = given(engine), engine.info.sample_rate
        asked = item(init_audio=sound, extend_s=0.4, duration_s=SECONDS + 0.4)
        made = engine.generate([asked])[0]
        kept = sound.shape[1] - round(FADE_S * rate)
        assert made.shape == (len(sound), sound.shape[1] + round(0.4 * rate))
        np.testing.assert_array_equal(made[:, :kept], sound[:, :kept])
        assert made[:, sound.shape[1] :].std() > 1e-3
        # a longer sound than the model makes: its end is what counts
        long = np.concatenate([given(engine, 5.0, seed=1), sound], axis=1)
        longer = engine.generate([item(init_audio=long, extend_s=0.4, duration_s=SECONDS + 5.4)])[0]
        until = long.shape[1] - round(FADE_S * rate)
        np.testing.assert_array_equal(longer[:, :until], long[:, :until])
        assert longer.shape[1] == long.shape[1] + round(0.4 * rate)
        assert longer[:, -round(0.01 * rate) :].any(), "what is added sounds to its end"
        for part in ({"extend_s": 0.4, "duration_s": SECONDS + 5.4}, {"mask": (2.0, 2.2), "duration_s": SECONDS + 5.0}):
            said = engine.notes(item(init_audio=long, **part)).warnings
            assert not any(warning.startswith("silent_end") for warning in said), part

    def test_joints_are_no_places_of_their_own(self, engine):
        """By the measure of loops' seams, at both ends of each crossfade; the joints' craft is test_paste.py's."""
        sound, rate, fade = given(engine), engine.info.sample_rate, round(FADE_S * engine.info.sample_rate)
        part = engine.generate([item(init_audio=sound, mask=NEW_S)])[0]
        more = engine.generate([item(init_audio=sound, extend_s=0.4, duration_s=SECONDS + 0.4)])[0]
        start, end = (round(seconds * rate) for seconds in NEW_S)
        for whole, place in ((part, start - fade), (part, end), (more, sound.shape[1] - fade)):
            assert seam_score(whole, rate, fade, place) > 50.0

    def test_cancel_between_steps_leaves_the_next_part_unharmed(self, engine):
        asked, seen = item(init_audio=given(engine), mask=NEW_S), []
        before = engine.generate([asked])[0]

        def stop(done: int, total: int) -> None:
            seen.append((done, total))
            if done == 2:
                raise Cancelled("stop")

        with pytest.raises(Cancelled):
            engine.generate([asked], stop)
        assert seen == [(1, 3), (2, 3)]
        np.testing.assert_array_equal(engine.generate([asked])[0], before)

    @pytest.mark.parametrize(
        ("wrong", "why"),
        [
            ({"mask": (0.5, 0.75), "init_audio": None}, "without init_audio"),
            ({"extend_s": 0.4, "init_audio": None}, "without init_audio"),
            ({"mask": (0.75, 0.5)}, r"mask: given \(0\.75, 0\.5\), allowed is"),
            ({"mask": (0.5, 1.3)}, r"mask: given 0\.5 to 1\.3 s, allowed are .* which has 1\.2 s"),
            ({"mask": (0.5, 0.75), "extend_s": 0.4}, "mask: given with extend_s"),
            ({"extend_s": float("nan")}, "extend_s: given nan"),
            ({"extend_s": 0.4}, r"duration_s: given 1\.2, allowed is that of init_audio and extend_s: 1\.6 s"),
        ],
        ids=lambda value: "" if isinstance(value, str) else "-".join(value),
    )
    def test_what_cannot_be_is_refused(self, engine, wrong, why):
        with pytest.raises(InvalidRequest, match=f"{engine.info.name}: .*{why}"):
            engine.notes(item(**{"init_audio": given(engine), **wrong}))
