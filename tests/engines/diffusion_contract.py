"""What every diffusers engine is held to; each engine's test module subclasses Contract.

The measure is the plain library pipeline on the same checkpoint, one sound at a time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.plain_pipelines import PLAIN

from audio_pool.engines import Generator, Item, engine_info, load_engine
from audio_pool.errors import Cancelled, EngineUnavailable, InvalidConfig, InvalidRequest, NotSupported


def item(prompt: str = "rain on a tin roof", seed: int = 7, duration_s: float = 0.8, **more: Any) -> Item:
    return Item(**{"prompt": prompt, "seed": seed, "duration_s": duration_s, "steps": 4, **more})


MIXED = [
    item(guidance_scale=3.0),
    item("dog", 1, 0.8, guidance_scale=5.0),
    item("the low wind on the sea", 2**63 - 1, 0.4),
    item("a dog", 3, 0.8, negative_prompt="music"),
    item("bark", 4, 0.8, guidance_scale=1.0),
    item("bark", 5, 0.8, steps=3),
]


def close(found: np.ndarray, wanted: np.ndarray, tolerance: float = 1e-4) -> None:
    """Equal to a share of the sound's own level: some random checkpoints are quiet."""
    assert found.shape == wanted.shape
    assert np.abs(wanted).max() > 1e-3
    assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()


WRONG_ITEMS: list[dict[str, Any]] = [
    {"duration_s": 0.0},
    {"duration_s": float("nan")},
    {"steps": 0},
    {"seed": -1},
    {"guidance_scale": float("inf")},
    {"init_strength": 1.5},
    {"init_audio": np.zeros(10, np.float32)},
    {"prompt": 7},
]
"""One of each kind: tests/unit/test_engine_items.py has every field and every wrong type."""


class Contract:
    name = ""
    option: tuple[str, float]
    """An option of the engine and a value that is not its default."""
    usual_warnings: tuple[str, ...] = ()
    """What it says of every short sound."""
    plain_samplers: tuple[str, ...] | None = None
    """Those that the plain pipeline can be given, too; None: all."""
    given_sound = True
    """It makes sounds from given ones."""
    half_error = 0.06
    """Most that half precision may change its latents, on average and in shares of their level."""
    negative = True
    """It knows what is not wanted."""

    @classmethod
    def build(cls, directory: Path) -> Path:
        from tests.support import checkpoints

        made: Path = getattr(checkpoints, cls.name)(directory)
        return made

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return cls.build(tmp_path_factory.mktemp("models") / cls.name)

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, model: Path) -> Any:
        return load_engine(cls.name, {"model": model, "device": "cpu", "dtype": "float32"})

    @pytest.fixture(scope="class")
    @classmethod
    def plain(cls, model: Path) -> Any:
        """Of an item: the library pipeline's own sound, float32 [C, T]."""
        return PLAIN[cls.name](model)

    def test_sounds_are_the_plain_pipelines_alone_and_in_a_mixed_batch(self, engine, plain):
        mixed = [one for one in MIXED if self.negative or not one.negative_prompt]
        together = engine.generate(mixed)
        for wanted, found in zip(mixed, together, strict=True):
            assert found.dtype == np.float32
            assert found.shape == (engine.info.channels, round(wanted.duration_s * engine.info.sample_rate))
            close(found, plain(wanted))
            close(engine.generate([wanted])[0], found)

    def test_every_input_changes_the_sound(self, engine):
        base = engine.generate([item()])[0]
        others = [
            item(seed=8),
            item("dog bark"),
            item(guidance_scale=1.5),
            *([item(negative_prompt="dog")] if self.negative else []),
            item(steps=5),
        ]
        for other in others:
            assert np.abs(engine.generate([other])[0] - base).max() > 1e-3 * np.abs(base).max(), other

    def test_an_option_is_the_plain_pipelines_alone_and_beside_others(self, engine, plain):
        asked = item(options=dict([self.option]))
        together = engine.generate([item(), asked])
        assert np.abs(together[1] - together[0]).max() > 1e-3 * np.abs(together[0]).max()
        close(together[0], plain(item()))
        close(together[1], plain(asked))
        close(engine.generate([asked])[0], together[1])

    def test_a_sampler_is_the_plain_pipelines_alone_and_beside_others(self, engine, plain):
        (option,) = (one for one in engine.info.options if one.name == "scheduler")
        assert option.default is None
        assert len(option.choices) >= 3
        base, calls = engine.latents([item()])[0], 0
        neighbour = item("dog", 8, 0.4, steps=1)
        beside = engine.latents([neighbour])[0]

        def counted(done: int, total: int) -> None:
            nonlocal calls
            calls += 1
            assert (done, total >= done) == (calls, True)

        others = []
        for name in option.choices:
            asked, calls = item(options={"scheduler": name}), 0
            found, unchanged = engine.latents([asked, neighbour], counted)
            assert calls == 1 + (7 if name == "heun" else 4)  # the second order calls the model twice a step
            np.testing.assert_allclose(unchanged, beside, atol=1e-4)
            if self.plain_samplers is None or name in self.plain_samplers:
                close(engine.generate([asked])[0], plain(asked))
            close(engine.latents([asked])[0], found)
            others.append(np.abs(found - base).max() > 1e-3)
        assert sum(others) >= len(others) - 1  # all but the checkpoint's own
        known = option.choices[0]
        with pytest.raises(InvalidRequest, match=rf"scheduler: given .* allows one of .*did you mean '{known}'"):
            engine.notes(item(options={"scheduler": known[:-1]}))

    def test_an_option_that_it_does_not_have_or_allow_is_refused(self, engine):
        name, _ = self.option
        with pytest.raises(InvalidRequest, match=f"no option '{name}s'; did you mean '{name}'"):
            engine.notes(item(options={f"{name}s": 1.0}))
        with pytest.raises(InvalidRequest, match=rf"options: {name}: given -1\.0, .* allows a number, "):
            engine.generate([item(options={name: -1.0})])

    def test_its_info_says_what_was_loaded_under_its_name(self, engine, model):
        assert (engine.info.name, engine.info.implementation) == (self.name, self.name)
        assert (engine.info.model, engine.info.model_revision) == (str(model), "")
        assert (engine.info.dtype, engine.info.quantization, engine.device) == ("float32", "none", "cpu")
        assert isinstance(engine, Generator)
        settings = {"model": model, "device": "cpu", "dtype": "bfloat16", "quantization": "8bit"}
        named = load_engine(self.name, settings, name="quick_one", kinds=["sketches"])
        assert (named.info.name, named.info.implementation, named.info.kinds) == (
            "quick_one", self.name, ("sketches",),
        )  # fmt: skip
        assert (named.info.dtype, named.info.quantization) == ("bfloat16", "8bit-torchao")
        with pytest.raises(NotSupported, match=r"^quick_one makes at most"):
            named.notes(item(duration_s=1000.0))

    def test_what_shares_a_pass_is_what_it_says_must_be_alike(self, engine):
        one = item(guidance_scale=3.0)
        others = {
            "prompt": item("wind", 8, guidance_scale=3.0),
            "steps": item(guidance_scale=3.0, steps=3),
            "length": item(guidance_scale=3.0, duration_s=0.4),
            "guidance": item(guidance_scale=1.0),
            "options": item(guidance_scale=3.0, options=dict([self.option])),
        }
        apart = {name for name, other in others.items() if engine.passes([one, other]) == [[0], [1]]}
        assert apart == set(engine.info.batch_alike) - {"init_audio"}
        assert engine.passes([one, item(seed=8, guidance_scale=5.0)]) == [[0, 1]]
        assert engine.info.max_batch == engine.settings.max_batch

    def test_several_waveforms_of_a_prompt_differ(self, engine):
        sounds = engine.generate([item(seed=seed, steps=2) for seed in range(3)])
        for one in range(3):
            for other in range(one):
                assert np.abs(sounds[one] - sounds[other]).max() > 1e-2 * np.abs(sounds[one]).max()

    @pytest.mark.parametrize("seconds", [0.05, 0.29, 0.33333, 1.00003])
    def test_exact_length(self, engine, seconds):
        sound = engine.generate([item(duration_s=seconds, steps=1)])[0]
        assert sound.shape == (engine.info.channels, round(seconds * engine.info.sample_rate))
        assert sound[:, -1].any()

    def test_progress_counts_every_step(self, engine):
        seen = []
        engine.generate([item(), item("dog"), item(steps=2)], lambda *at: seen.append(at))
        assert seen == [(done, 6) for done in range(1, 7)]

    def test_cancel_between_steps_leaves_the_next_run_unharmed(self, engine):
        before = engine.generate([item()])[0]
        seen = []

        def stop(done: int, total: int) -> None:
            seen.append(done)
            if done == 2:
                raise Cancelled("stop")

        with pytest.raises(Cancelled):
            engine.generate([item(), item("dog")], stop)
        assert seen == [1, 2]
        np.testing.assert_array_equal(engine.generate([item()])[0], before)

    def test_refused_or_said(self, engine):
        longest = engine.info.longest_s
        with pytest.raises(NotSupported, match="at most"):
            engine.generate([item(duration_s=longest + 1)])
        with pytest.raises(NotSupported, match="voice"):
            engine.notes(item(voice="anna"))
        if not engine.info.loop:
            with pytest.raises(NotSupported, match="loop"):
                engine.notes(item(loop=True))
        assert engine.notes(item()).warnings == self.usual_warnings
        if not self.negative:
            with pytest.raises(NotSupported, match="negative prompt"):
                engine.generate([item(negative_prompt="dog")])
            return
        (said,) = engine.notes(item(guidance_scale=1.0, negative_prompt="dog")).warnings
        assert said.startswith("negative_prompt_unused: ")
        said = engine.notes(item("dog " * 300, negative_prompt="sea " * 300)).warnings
        assert {"prompt_truncated", "negative_prompt_truncated"} <= {each.split(":")[0] for each in said}

    def test_words_beyond_what_the_model_reads_are_said_and_change_nothing(self, engine):
        unwanted = "sea " if self.negative else ""
        long, longer = (item("dog " * many, negative_prompt=unwanted * many, steps=1) for many in (600, 900))
        np.testing.assert_array_equal(engine.generate([long])[0], engine.generate([longer])[0])

    @pytest.mark.parametrize("wrong", WRONG_ITEMS, ids=lambda wrong: next(iter(wrong)))
    def test_wrong_items_are_refused_by_the_fields_name(self, engine, wrong):
        with pytest.raises(InvalidRequest, match=f"{self.name}: {next(iter(wrong))}: given .*allowed is"):
            engine.generate([item(**wrong)])

    def test_a_missing_or_broken_model_is_named(self, model, tmp_path):
        fetch = f"audio-pool models fetch {self.name}"
        with pytest.raises(EngineUnavailable, match=rf"nowhere.*{fetch}"):
            load_engine(self.name, {"model": str(tmp_path / "nowhere"), "device": "cpu"})
        with pytest.raises(EngineUnavailable, match=rf"{engine_info(self.name).model}.*{fetch}"):
            load_engine(self.name, {"device": "cpu"})
        with pytest.raises(EngineUnavailable, match=rf"{tmp_path}.*{fetch}"):
            load_engine(self.name, {"model": tmp_path, "device": "cpu"})
        with pytest.raises(InvalidConfig, match=r"'quantisation'.*'quantization'"):
            load_engine(self.name, {"model": model, "quantisation": "8bit"})

    @pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
    def test_half_precision_is_close(self, engine, model, dtype):
        half = load_engine(self.name, {"model": model, "device": "cpu", "dtype": dtype})
        wanted = engine.latents([item()])[0]
        found = half.latents([item()])[0]
        assert half.dtype == getattr(torch, dtype)
        error = np.abs(found - wanted).mean() / np.abs(wanted).mean()
        assert 0 < error < self.half_error
        assert np.isfinite(half.generate([item()])[0]).all()

    def test_audio_to_audio_spans_the_given_sound_and_none_of_it(self, engine):
        if not self.given_sound:
            pytest.skip("it makes none from given ones")
        rate, channels = engine.info.sample_rate, engine.info.channels
        time = np.arange(rate) / rate
        tone = (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)[None].repeat(channels, 0)
        noise = np.random.default_rng(0).normal(0.0, 0.3, (channels, rate)).astype(np.float32)

        def made(given: np.ndarray | None, strength: float | None = None, seed: int = 7) -> np.ndarray:
            return engine.latents([item(seed=seed, init_audio=given, init_strength=strength, steps=10)])[0]

        kept, some = made(tone, 0.0), made(tone, 0.3)
        np.testing.assert_array_equal(made(tone, 0.0, seed=8), kept)  # nothing but the given sound
        np.testing.assert_array_equal(made(tone, 1.0), made(None))  # nothing of it
        assert np.abs(some - made(noise, 0.3)).mean() > 1e-3  # some of it
        assert np.abs(some - made(tone, 0.3, seed=8)).mean() > 1e-3  # and something new
        assert np.abs(some - kept).mean() > 1e-3
        np.testing.assert_array_equal(made(tone), made(tone, 0.5))
        least, seen = item(init_audio=tone, init_strength=0.01), []
        touched = engine.latents([least], lambda *at: seen.append(at))[0]
        assert seen, "any strength above 0 takes a step"
        assert np.abs(touched - made(tone, 0.0)).max() > 0
        barely = item(init_audio=tone, init_strength=0.99, steps=1)
        assert np.abs(engine.latents([barely])[0] - engine.latents([item(steps=1)])[0]).max() > 0
        mixed = [item(), item(init_audio=tone, init_strength=0.3, steps=10)]
        np.testing.assert_allclose(engine.latents(mixed)[1], some, atol=1e-4)
