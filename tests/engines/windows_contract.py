"""What every engine is held to that makes sounds longer than its model and loops of itself.

Measured on what it makes: levels, spectra and sample steps where windows meet against those elsewhere. That a random
model's sound is steady says that the windows do no harm; what a trained one makes of them, no test here can know.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from msgspec import structs
from tests.engines.diffusion_contract import item

from audio_pool.audio.seam import seam_score
from audio_pool.engines import Item, Streams, load_engine
from audio_pool.engines._windows import line
from audio_pool.errors import Cancelled, NotSupported


def level_db(audio: np.ndarray) -> float:
    return float(10 * np.log10(np.square(audio, dtype=np.float64).mean() + 1e-12))


def bands_db(audio: np.ndarray) -> np.ndarray:
    """Levels in eight bands of equal width, of whole frames of 1,024 samples."""
    frames = audio[0, : audio.shape[1] // 1024 * 1024].reshape(-1, 1024) * np.hanning(1024)
    power = np.square(np.abs(np.fft.rfft(frames))).mean(axis=0)
    return 10 * np.log10(power[:512].reshape(8, 64).mean(axis=1) + 1e-12)




class Windowed:
    name: str
    long_s: float
    """Of a sound of at least three windows."""
    loops_s: tuple[float, float, float]
    """Of loops shorter than a window: two of them, seen in different ways, and one that is longer."""
    options: ClassVar[dict[str, Any]] = {}
    """What a sampler is asked for, such as noise at every step: windows draw their own."""

    @classmethod
    def asked(cls, duration_s: float, **more: Any) -> Item:
        more = {"steps": 3, "guidance_scale": 2.0, "options": cls.options, **more}
        return item(duration_s=duration_s, **more)

    @staticmethod
    def build(directory: Path) -> Path:
        """Build a checkpoint of a short window."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, tmp_path_factory: pytest.TempPathFactory) -> Any:
        model = cls.build(tmp_path_factory.mktemp("short") / cls.name)
        return load_engine(cls.name, {"model": model, "device": "cpu", "dtype": "float32"})

    @pytest.fixture(scope="class")
    @classmethod
    def long(cls, engine: Any) -> dict[str, Any]:
        """One long sound, made alone, and again piece by piece."""
        wanted = cls.asked(cls.long_s)
        seen: list[tuple[int, int]] = []
        (sound,) = engine.generate([wanted], lambda *at: seen.append(at))
        pieces, steps_before = [], []
        done = 0

        def count(step: int, total: int) -> None:
            nonlocal done
            done = step

        for piece in engine.pieces(wanted, count):
            pieces.append(piece)
            steps_before.append(done)
        layout = engine._layout()
        windows = line(layout.frames(sound.shape[1]), layout)
        return {
            "asked": wanted, "sound": sound, "seen": seen, "pieces": pieces, "steps_before": steps_before,
            "windows": windows, "layout": layout,
        }  # fmt: skip

    def test_a_longer_sound_is_made_in_windows_and_is_the_same_in_a_batch(self, engine, long):
        wanted, sound, windows = long["asked"], long["sound"], long["windows"]
        assert engine.info.longest_s == 600.0
        assert len(windows) >= 3
        assert sound.shape == (engine.info.channels, round(wanted.duration_s * engine.info.sample_rate))
        assert sound[:, -1].any()
        total = 3 * len(windows)
        assert long["seen"] == [(done, total) for done in range(1, total + 1)]
        other = self.asked(self.long_s, prompt="dog", seed=1)
        together = engine.generate([other, wanted])
        np.testing.assert_allclose(together[1], sound, atol=1e-4 * np.abs(sound).max())
        assert np.abs(together[0] - sound).max() > 1e-3 * np.abs(sound).max()

    def test_its_pieces_are_the_sound_and_the_first_comes_after_one_window(self, engine, long):
        assert isinstance(engine, Streams)
        assert engine.info.streams
        assert len(long["pieces"]) == len(long["windows"])
        assert all(piece.dtype == np.float32 and piece.shape[1] for piece in long["pieces"])
        np.testing.assert_array_equal(np.concatenate(long["pieces"], axis=1), long["sound"])
        assert long["steps_before"] == [3 * number for number in range(1, len(long["windows"]) + 1)]
        short = self.asked(0.3)
        (only,) = engine.pieces(short)
        np.testing.assert_array_equal(only, engine.generate([short])[0])

    def test_no_level_timbre_or_step_tells_where_windows_meet(self, engine, long):
        sound, layout, rate = long["sound"], long["layout"], engine.info.sample_rate
        shared = np.zeros(sound.shape[1], bool)
        for window in long["windows"][1:]:
            shared[window.start * layout.samples : (window.start + layout.overlap) * layout.samples] = True
        # what is averaged or replaced badly is quieter or duller there than elsewhere
        assert abs(level_db(sound[:, shared]) - level_db(sound[:, ~shared])) < 1.0
        assert np.abs(bands_db(sound[:, shared]) - bands_db(sound[:, ~shared])).max() < 1.0
        begun = [window.start * layout.samples for window in long["windows"][1:]]
        places = sorted({*begun, *(start + layout.overlap * layout.samples for start in begun)})
        at_joints = [seam_score(sound, rate, 0, place) for place in places if place < sound.shape[1]]
        elsewhere = [seam_score(sound, rate, 0, int(place)) for place in np.linspace(0.1, 0.9, 9) * sound.shape[1]]
        assert np.median(at_joints) >= np.median(elsewhere) - 3.0
        assert min(at_joints) > 60.0  # a click or a jump of level is below a half of that
        # and by the latents themselves, of which some tiny decoders show little: of several sounds, as they are few
        several = [self.asked(self.long_s, seed=seed) for seed in range(8 if layout.fixed else 1)]
        latents = np.moveaxis(np.stack(engine.latents(several)), engine.time_axis, 0)
        steps = np.square(np.diff(latents, axis=0)).mean(axis=tuple(range(1, latents.ndim))) ** 0.5
        begun = [window.start for window in long["windows"][1:]]
        assert max(steps[start - 1] for start in begun) <= np.percentile(steps, 99)
        inside = np.concatenate([latents[start : start + layout.overlap] for start in begun])
        assert abs(level_db(inside) - level_db(latents)) < 1.0

    def test_a_cancel_in_the_second_window_leaves_the_next_run_unharmed(self, engine, long):
        def stop(done: int, total: int) -> None:
            if done == 4:
                raise Cancelled("stop")

        with pytest.raises(Cancelled):
            engine.generate([long["asked"]], stop)
        run = engine.pieces(long["asked"], stop)
        first = next(run)
        with pytest.raises(Cancelled):
            next(run)
        np.testing.assert_array_equal(first, long["pieces"][0])
        again = engine.pieces(long["asked"])
        np.testing.assert_array_equal(next(again), first)
        again.close()

    @pytest.mark.parametrize("which", range(3))
    def test_a_loop_closes_on_itself(self, engine, which):
        seconds = self.loops_s[which]
        wanted = self.asked(seconds, loop=True)
        rate = engine.info.sample_rate
        assert engine.info.loop
        assert engine.notes(wanted).loops
        (turn,) = engine.generate([wanted])
        assert turn.shape == (engine.info.channels, round(seconds * rate))
        steps = np.abs(np.diff(turn, axis=1))
        assert np.abs(turn[:, 0] - turn[:, -1]).max() <= np.percentile(steps, 99.9)
        around = np.roll(turn, turn.shape[1] // 2, axis=1)
        middle = turn.shape[1] // 2
        elsewhere = [seam_score(turn, rate, 0, int(place)) for place in np.linspace(0.1, 0.9, 9) * turn.shape[1]]
        assert seam_score(turn, rate, 0) >= min(elsewhere) - 3.0
        # an end that fades, as those of a plain decode do, would make no step at all
        near = around[:, middle - rate // 50 : middle + rate // 50]
        quietest = min(
            level_db(turn[:, start : start + near.shape[1]])
            for start in range(near.shape[1], turn.shape[1] - 2 * near.shape[1], near.shape[1])
        )
        assert level_db(near) >= quietest - 1.0
        other = self.asked(seconds, loop=True, prompt="dog", seed=1)
        np.testing.assert_allclose(engine.generate([other, wanted])[1], turn, atol=1e-4 * np.abs(turn).max())
        assert np.abs(engine.generate([self.asked(seconds)])[0] - turn).max() > 1e-2 * np.abs(turn).max()

    def test_a_turn_decoded_from_anywhere_is_the_same_turn(self, engine):
        """Nothing of the decode knows where the turn begins: what it needs is wrapped around both ends."""
        shape = list(engine._noise_shape(engine._job(0, item())))
        shape[engine.time_axis - 1] = 21
        latents = torch.randn(1, *shape, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            turn = engine._decode_turn(latents)
            moved = engine._decode_turn(latents.roll(4, engine.time_axis))
        samples = engine._layout().samples
        assert turn.shape[-1] == 21 * samples
        error = (moved - turn.roll(4 * samples, -1)).abs().max() / turn.abs().max()
        assert error < 1e-5

    def test_what_is_decoded_in_pieces_is_what_one_decode_makes(self, engine, long):
        """To rounding where the decoder's reach is finite; where it normalises over all it sees, by its level."""
        latents = torch.from_numpy(engine.latents([long["asked"]])[0])[None]
        sound = long["sound"]
        with torch.no_grad():
            whole = engine._decode(latents, sound.shape[1])[0, :, : sound.shape[1]].numpy()
        error = np.sqrt(np.square(whole - sound).mean() / np.square(whole).mean())
        assert error < (1e-5 if long["layout"].fixed else 0.1)

    def test_a_pass_is_no_wider_than_a_window_and_no_larger_than_max_batch(self, engine, monkeypatch):
        seen = []
        predict = engine._predict

        def watched(rows: torch.Tensor, *more: Any) -> Any:
            seen.append((len(rows), rows.shape[engine.time_axis]))
            return predict(rows, *more)

        monkeypatch.setattr(engine, "_predict", watched)
        monkeypatch.setattr(engine, "settings", structs.replace(engine.settings, max_batch=2))
        several = [self.asked(self.loops_s[2], seed=seed, loop=True, steps=1) for seed in (1, 2, 3)]
        engine.generate([*several, *(self.asked(self.long_s, seed=seed, steps=1) for seed in (1, 2, 3))])
        assert max(rows for rows, _ in seen) == 4  # two, each with and without its prompt
        assert max(width for _, width in seen) == engine._layout().window

    def test_a_loop_that_no_whole_frames_come_near_is_not_promised(self, engine):
        """A third of a second is 7.2 latent frames, or 8.3: 2.5 per cent would be heard."""
        odd = item(duration_s=0.333, loop=True)
        assert not engine.notes(odd).loops
        with pytest.raises(NotSupported, match="makes no loops of itself"):
            engine.generate([odd])
        assert engine.notes(item(duration_s=0.333)).warnings == ()


class ShortMel(Windowed):
    """Trained, so we say, on 2.56 s, and made at a time up to 4 s: the checkpoint itself knows no length."""

    long_s = 6.0
    options: ClassVar[dict[str, Any]] = {"eta": 0.7}
    loops_s = (2.0, 2.04, 4.0)  # 50 latent frames close on themselves, 51 are no whole number of the UNet's

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, tmp_path_factory: pytest.TempPathFactory) -> Any:
        model = cls.build(tmp_path_factory.mktemp("short") / cls.name)
        engine = load_engine(cls.name, {"model": model, "device": "cpu", "dtype": "float32"})
        engine.trained_s, engine.info = 2.56, structs.replace(engine.info, window_s=4.0)
        return engine

    def test_longer_ones_are_made_of_what_it_was_trained_on(self, engine):
        (said,) = engine.notes(self.asked(4.0)).warnings
        assert said.startswith("beyond_training_length: ")
        assert engine.notes(self.asked(self.long_s)).warnings == ()

    def test_compiled_a_loop_closes_by_windows_and_tiles_instead(self, engine, monkeypatch):
        """Compiled code keeps the padding that it was compiled with."""
        wanted = self.asked(2.0, loop=True)
        latents = torch.from_numpy(engine.latents([wanted])[0])[None]
        with torch.no_grad():
            ring = engine._decode_turn(latents)
            monkeypatch.setattr(engine, "_closes", lambda: False)
            tiled = engine._decode_turn(latents)
        assert tiled.shape == ring.shape
        assert (tiled - ring).square().mean().sqrt() < 0.3 * ring.square().mean().sqrt()
        (turn,) = engine.generate([wanted])
        assert np.abs(turn[:, 0] - turn[:, -1]).max() <= np.percentile(np.abs(np.diff(turn, axis=1)), 99.9)
        assert seam_score(turn, engine.info.sample_rate, 0) > 60.0
