"""Kokoro by tiny models in both published layouts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.engines.speech_contract import SpeechContract, item
from tests.support.voice_models import FRAMES, KOKORO_RATE, dictionaries, kokoro

from audio_pool.engines import configured_info, load_engine
from audio_pool.engines._onnx_graph import property_entry
from audio_pool.engines.kokoro import Kokoro
from audio_pool.errors import EngineUnavailable, InvalidConfig

VOICES = ["af_heart", "am_adam", "bf_emma"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("kokoro")
    kokoro(place / "hub")
    kokoro(place / "packed", packed=True)
    dictionaries(place / "words")
    return place


def loaded(place: Path, model: str = "hub", **settings: object) -> Kokoro:
    return load_engine(
        "kokoro", {"model": str(place / model), "dictionaries": str(place / "words"), "threads": 1, **settings}
    )


@pytest.fixture(scope="module")
def engine(place: Path) -> Iterator[Kokoro]:
    engine = loaded(place)
    yield engine
    engine.close()


class TestKokoro(SpeechContract):
    pass


def tone_at(sound: np.ndarray, phoneme: int) -> float:
    """Hz of one phoneme of a tiny model: 4 for its number, and 200."""
    part = sound[0, phoneme * FRAMES + 100 : (phoneme + 1) * FRAMES - 100]
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), 1 << 17))
    return float(np.argmax(spectrum) * KOKORO_RATE / (1 << 17))


def test_each_phoneme_has_its_number_between_two_zeros(engine) -> None:
    (sound,) = engine.generate([item("Hello.")])
    ids = [0, 50, 83, 54, 156, 31, 4, 0]  # h ə l ˈ O .
    assert sound.shape[1] == FRAMES * len(ids)
    assert [round((tone_at(sound, place) - 200) / 4) for place in range(len(ids))] == ids


def test_the_packed_layout_says_the_same(engine, place: Path) -> None:
    packed = loaded(place, "packed")
    np.testing.assert_array_equal(packed.generate([item()])[0], engine.generate([item()])[0])
    assert [voice.name for voice in packed.info.voices] == VOICES
    by_file = loaded(place, "packed/kokoro-v1.0.onnx")
    np.testing.assert_array_equal(by_file.generate([item()])[0], engine.generate([item()])[0])


def test_voices_are_listed_with_their_english_without_loading(place: Path) -> None:
    info = configured_info("reader", "kokoro", settings={"model": str(place / "hub"), "voice": "bf_emma"})
    assert [(one.name, one.language) for one in info.voices] == [
        ("bf_emma", "en-GB"), ("af_heart", "en-US"), ("am_adam", "en-US"),
    ]  # fmt: skip
    assert info.natural_length and info.speech and info.name == "reader"
    assert configured_info("kokoro", settings={"model": str(place / "nowhere")}).voices == ()
    loaded_info = loaded(place, voice="am_adam").info
    assert loaded_info.voices[0].name == "am_adam" and loaded_info.dtype == "float32"
    with pytest.raises(InvalidConfig, match=r"voice: given 'bf_ema'.* did you mean 'bf_emma'"):
        loaded(place, voice="bf_ema")


def test_a_voices_style_is_that_of_its_number_of_phonemes(place: Path, tmp_path: Path) -> None:
    kokoro(tmp_path / "m")
    rows = np.repeat(np.arange(510, dtype=np.float32)[:, None], 256, axis=1)
    rows.tofile(tmp_path / "m" / "voices" / "af_heart.bin")
    engine = load_engine("kokoro", {"model": str(tmp_path / "m"), "dictionaries": str(place / "words")})
    (sound,) = engine.generate([item("One.")])  # w ˈ ʌ n . are five: row 4, 20 Hz each
    assert tone_at(sound, 0) == pytest.approx(200 + 4 * 20, abs=3)


def test_a_vocabulary_is_the_models_own_where_it_has_one(place: Path, tmp_path: Path) -> None:
    own = {"vocab": {one: 100 + place_ for place_, one in enumerate("həlˈO.")}}
    kokoro(tmp_path / "config")
    (tmp_path / "config" / "config.json").write_text(json.dumps(own))
    kokoro(tmp_path / "tokenizer")
    (tmp_path / "tokenizer" / "tokenizer.json").write_text(json.dumps({"model": own}))
    kokoro(tmp_path / "inside")
    with (tmp_path / "inside" / "onnx" / "model.onnx").open("ab") as file:
        file.write(property_entry("kokoro_config", json.dumps(own)))
    for layout in ("config", "tokenizer", "inside"):
        engine = load_engine("kokoro", {"model": str(tmp_path / layout), "dictionaries": str(place / "words")})
        (sound,) = engine.generate([item("Hello.")])
        assert round((tone_at(sound, 1) - 200) / 4) == 100, layout


def test_a_model_of_whole_speeds_is_given_whole_ones(place: Path, tmp_path: Path) -> None:
    kokoro(tmp_path / "m", speed="int64")
    engine = load_engine("kokoro", {"model": str(tmp_path / "m"), "dictionaries": str(place / "words")})
    plain, little, twice = engine.generate([item("One.", options={"speed": speed}) for speed in (1, 1.2, 2)])
    assert plain.shape == little.shape and twice.shape[1] == pytest.approx(plain.shape[1] / 2, abs=2)


def test_more_phonemes_than_the_model_takes_are_said_in_parts(engine) -> None:
    (sound,) = engine.generate([item("1,234,567 " * 25)])  # within 300 characters, far beyond 510 phonemes
    assert sound.shape[1] > 510 * FRAMES


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda m: (m / "onnx" / "model.onnx").unlink(), "has no ONNX file"),
        (lambda m: (m / "onnx" / "model.onnx").write_bytes(b"version https://git-lfs"), r"model\.onnx"),
        (lambda m: [one.unlink() for one in (m / "voices").iterdir()], "has no voices"),
        (lambda m: (m / "voices" / "af_heart.bin").write_bytes(b"x" * 10), "voice 'af_heart' in .* cannot be read"),
    ],
    ids=["no model", "no onnx", "no voices", "torn voice"],
)
def test_a_part_that_is_missing_or_torn_is_named(place: Path, tmp_path: Path, spoil, said: str) -> None:
    kokoro(tmp_path / "m")
    spoil(tmp_path / "m")
    with pytest.raises(EngineUnavailable, match=said):
        load_engine("kokoro", {"model": str(tmp_path / "m"), "dictionaries": str(place / "words")})


def test_another_model_and_missing_dictionaries_are_named(place: Path, tmp_path: Path) -> None:
    from tests.support.voice_models import piper

    piper(tmp_path / "m" / "model.onnx")
    kokoro(tmp_path / "voices_of")
    (tmp_path / "voices_of" / "voices").rename(tmp_path / "m" / "voices")
    with pytest.raises(EngineUnavailable, match="takes input, input_lengths, scales; Kokoro takes"):
        loaded(tmp_path, "m", dictionaries=str(place / "words"))
    with pytest.raises(EngineUnavailable, match=r"has no us_gold\.json and no gb_gold\.json"):
        loaded(place, dictionaries=str(tmp_path))
