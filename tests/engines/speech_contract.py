"""What holds for every engine that speaks."""

from __future__ import annotations

import numpy as np
import pytest

from audio_pool.engines import Item
from audio_pool.engines._speech.speaking import SpeakingEngine
from audio_pool.errors import Cancelled, InvalidRequest, NotSupported

TEXT = "Hello world. The cat sat on the apple... Good morning, Dr. Smith!\n\nOne, two."


def item(prompt: str = TEXT, **changes: object) -> Item:
    return Item(**{"prompt": prompt, "seed": 7, "duration_s": 1.0, **changes})


class SpeechContract:
    """Subclasses have a fixture ``engine`` whose first two voices differ, with a model that draws noise."""

    def test_the_same_item_is_the_same_sound_alone_and_in_any_batch(self, engine: SpeakingEngine) -> None:
        (alone,) = engine.generate([item()])
        others = [item("Two cats.", seed=8), item(), item(voice=engine.info.voices[1].name)]
        _, among, another = engine.generate(others)
        assert alone.dtype == np.float32 and alone.shape[0] == 1 and np.isfinite(alone).all()
        np.testing.assert_array_equal(alone, among)
        (reseeded,) = engine.generate([item(seed=8)])
        assert not np.array_equal(alone[:, : reseeded.shape[1]], reseeded[:, : alone.shape[1]])
        assert not np.array_equal(alone[:, : another.shape[1]], another[:, : alone.shape[1]])

    def test_a_length_is_what_the_words_take(self, engine: SpeakingEngine) -> None:
        short, long_ = engine.generate([item("One.", duration_s=30.0), item("One one one one one.", duration_s=0.1)])
        assert short.shape[1] < 2 * engine.info.sample_rate and long_.shape[1] > 2 * short.shape[1]
        slow, quick = engine.generate([item("One two.", options={"speed": speed}) for speed in (0.5, 2)])
        assert slow.shape[1] == pytest.approx(4 * quick.shape[1], rel=0.02)

    def test_pieces_in_a_row_are_the_sound(self, engine: SpeakingEngine) -> None:
        pieces = list(engine.pieces(item()))
        assert engine.info.streams and len(pieces) == 4 == engine.notes(item()).details["sentences"]
        np.testing.assert_array_equal(np.concatenate(pieces, axis=1), engine.generate([item()])[0])

    def test_pauses_are_as_long_as_what_is_between_says(self, engine: SpeakingEngine) -> None:
        rate = engine.info.sample_rate
        pauses = [one.shape[1] - bare.shape[1] for one, bare in zip(
            engine.pieces(item(options={"pause_s": 0.5})), engine.pieces(item(options={"pause_s": 0.0})), strict=True
        )]  # fmt: skip
        assert pauses[0] == 0 and [round(pause / rate, 1) for pause in pauses[1:]] == [0.5, 0.8, 1.1]

    def test_no_edge_clicks(self, engine: SpeakingEngine) -> None:
        (sound,) = engine.generate([item(options={"pause_s": 0.3})])
        steps = np.abs(np.diff(sound[0]))
        quiet = np.flatnonzero(np.abs(sound[0]) < 1e-7)
        # into a silence and out of it by no more than a few hundredths, where the tones step by tenths
        assert steps[quiet[quiet < len(steps)]].max() < 0.02 < steps.max()
        assert np.abs(sound[0, [0, -1]]).max() < 0.01

    def test_levels_are_left_as_they_are_made(self, engine: SpeakingEngine) -> None:
        text = "One two one two. Hello hello hello. The cat sat."
        levels = [np.sqrt(np.mean(piece**2)) for piece in engine.pieces(item(text, options={"pause_s": 0.0}))]
        assert 20 * np.log10(max(levels) / min(levels)) < 1.0

    def test_progress_counts_sentences_and_a_cancel_leaves_no_trace(self, engine: SpeakingEngine) -> None:
        seen: list[tuple[int, int]] = []

        def cancel(done: int, total: int) -> None:
            seen.append((done, total))
            if done == 5:
                raise Cancelled("enough")

        with pytest.raises(Cancelled, match="enough"):
            engine.generate([item(), item()], cancel)
        assert seen == [(done, 8) for done in range(1, 6)]
        np.testing.assert_array_equal(engine.generate([item()])[0], engine.generate([item(), item()])[1])

    def test_five_thousand_characters_are_said(self, engine: SpeakingEngine) -> None:
        text = ("The cat sat on one apple. " * 200)[:5000]
        (sound,) = engine.generate([item(text, options={"speed": 2.0, "pause_s": 0.1})])
        assert sound.shape[1] > 20 * engine.info.sample_rate
        with pytest.raises(InvalidRequest, match="given 5,001 characters"):
            engine.notes(item("x" * 5001))

    def test_what_takes_too_long_is_refused(self, engine: SpeakingEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        import msgspec

        monkeypatch.setattr(engine, "info", msgspec.structs.replace(engine.info, longest_s=1.0))
        with pytest.raises(InvalidRequest, match="more than 1 s to say"):
            engine.generate([item("One two one two one two. " * 9)])

    @pytest.mark.parametrize("text", ["...", "—", "?!"])
    def test_nothing_to_be_said_is_an_error(self, engine: SpeakingEngine, text: str) -> None:
        with pytest.raises(InvalidRequest, match="nothing in it that voice"):
            engine.generate([item(text)])

    def test_what_it_cannot_do_is_refused(self, engine: SpeakingEngine) -> None:
        name = engine.info.voices[1].name
        with pytest.raises(InvalidRequest, match=f"did you mean '{name}'"):
            engine.notes(item(voice=name[:-1]))
        with pytest.raises(InvalidRequest, match=r"speed: given 3, .* allows a number, 0\.5 to 2"):
            engine.notes(item(options={"speed": 3}))
        for changes in ({"loop": True}, {"negative_prompt": "noise"}, {"init_audio": np.zeros((1, 9), np.float32)}):
            with pytest.raises(NotSupported):
                engine.notes(item(**changes))
        assert engine.notes(item()).expects == {"pauses", "decay", "mono"}
