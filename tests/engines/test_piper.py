"""Piper by tiny voices, its phonemizer's process, and that nothing here imports it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from tests.engines.speech_contract import SpeechContract, item
from tests.support.voice_models import FRAMES, PIPER_RATE, SYMBOLS, piper, piper_python, scripted_phonemizer
from tests.support.waiting import eventually

from audio_pool.engines import configured_info, load_engine
from audio_pool.engines._speech.phonemizer import Phonemizer
from audio_pool.engines.piper import Piper
from audio_pool.errors import EngineError, EngineUnavailable, InvalidConfig

CARD = "# Model card for tiny\n\n* Language: en_US\n\n## Dataset\n\n* URL: https://example.com\n* License: {}\n"
PYTHON = piper_python()
real = pytest.mark.skipif(not PYTHON, reason="piper-tts is not installed: pip install 'audio-pool[piper]'")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("piper")
    voices = place / "voices"
    piper(voices / "en" / "en_US-tiny-low.onnx", speakers={"ann": 0, "bob m.": 3}, card=CARD.format("CC BY 4.0"))
    piper(voices / "de" / "de_DE-klein-x_low.onnx", rate=16_000, voice="de", card=CARD.format("CC0"))
    scripted_phonemizer(place / "python")
    return place


def loaded(place: Path, **settings: object) -> Piper:
    given = {"model": str(place / "voices"), "python": str(place / "python"), "threads": 1, **settings}
    return load_engine("piper", given)


@pytest.fixture(scope="module")
def engine(place: Path) -> Iterator[Piper]:
    engine = loaded(place, voice="en_US-tiny-low.ann")
    yield engine
    engine.close()


class TestPiper(SpeechContract):
    pass


@real
class TestWithPipersOwnPhonemizer(SpeechContract):
    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, place: Path) -> Iterator[Piper]:
        engine = loaded(place, voice="en_US-tiny-low.ann", python=PYTHON)
        yield engine
        engine.close()

    def test_a_voice_of_letters_says_letters(self, engine: Piper, tmp_path: Path) -> None:
        config = json.loads(engine._speakers["en_US-tiny-low.ann"].config.read_text()) | {"phoneme_type": "text"}
        own = tmp_path / "en_US-letters.onnx.json"
        own.write_text(json.dumps(config))
        expected = [number for letter in "^abc" for number in (SYMBOLS.index(letter), 0)] + [SYMBOLS.index("$")]
        assert engine._phonemizer.numbers(own, "abc") == expected

    def test_a_stop_within_a_sentence_ends_nothing(self, engine: Piper) -> None:
        config = engine._speakers["en_US-tiny-low.ann"].config
        ids = engine._phonemizer.numbers(config, "See nr. five now.")
        assert ids.count(SYMBOLS.index(".")) == 1 and ids[-1] == SYMBOLS.index("$") and ids.count(ids[-1]) == 1


def tone_at(sound: np.ndarray, place: int, rate: int = PIPER_RATE) -> float:
    part = sound[0, place * FRAMES + 100 : (place + 1) * FRAMES - 100]
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), 1 << 17))
    return float(np.argmax(spectrum) * rate / (1 << 17))


def test_a_speaker_is_chosen_by_the_voices_name(engine) -> None:
    plain = {"options": {"noise_scale": 0, "noise_w": 0}}
    ann, bob = engine.generate([item("abc", voice=f"en_US-tiny-low.{name}", **plain) for name in ("ann", "bob_m")])
    assert ann.shape == bob.shape and tone_at(bob, 2) - tone_at(ann, 2) == pytest.approx(3 * 20, abs=3)
    assert round((tone_at(ann, 2) - 200) / 4) == SYMBOLS.index("a")


def test_voices_are_listed_with_language_rate_and_licence_without_loading(place: Path, tmp_path: Path) -> None:
    info = configured_info("piper", settings={"model": str(place / "voices"), "voice": "en_US-tiny-low.bob_m"})
    assert [(one.name, one.language) for one in info.voices] == [
        ("en_US-tiny-low.bob_m", "en-US"), ("de_DE-klein-x_low", "de-DE"), ("en_US-tiny-low", "en-US"),
        ("en_US-tiny-low.ann", "en-US"),
    ]  # fmt: skip
    assert (info.sample_rate, info.commercial_use, info.languages) == (PIPER_RATE, True, ("en", "de"))
    assert set(info.licence.split("; ")) == {"CC BY 4.0", "CC0"}
    with pytest.raises(InvalidConfig, match=r"given 'en_US-tiny-lo'.* did you mean 'en_US-tiny-low'"):
        loaded(place, voice="en_US-tiny-lo")
    one = piper(tmp_path / "en_GB-own-low.onnx")
    told = configured_info("piper", settings={"model": str(one)})
    assert [voice.name for voice in told.voices] == ["en_GB-own-low"] and not told.commercial_use
    assert told.licence == "not told: the voice has no MODEL_CARD"


@pytest.mark.parametrize(
    ("licence", "free"),
    [("CC BY 4.0", True), ("public domain", True), ("CC0", True), ("CC BY-SA 4.0", True), ("MIT", True),
     ("CC-BY-NC-SA 4.0", False), ("CC BY-NC 4.0", False), ("Blizzard 2013 license: research only", False),
     ("See URL", False), ("", False), ("Unknown", False), ("CC BY-ND 4.0", False)],
)  # fmt: skip
def test_what_a_card_says_decides_about_commercial_use(tmp_path: Path, licence: str, free: bool) -> None:
    piper(tmp_path / "en_US-a-low.onnx", card=CARD.format(licence))
    assert configured_info("piper", settings={"model": str(tmp_path)}).commercial_use is free


def test_one_voice_that_is_not_free_makes_the_engine_one_that_is_not(tmp_path: Path) -> None:
    piper(tmp_path / "a" / "en_US-a-low.onnx", card=CARD.format("CC0"))
    piper(tmp_path / "b" / "en_US-b-low.onnx", card=CARD.format("CC BY-NC 4.0"))
    info = configured_info("piper", settings={"model": str(tmp_path)})
    assert not info.commercial_use and info.licence == "CC0; CC BY-NC 4.0"


def test_a_voice_of_another_rate_comes_at_the_engines(engine) -> None:
    plain = {"noise_scale": 0, "noise_w": 0}
    (german,) = engine.generate([item("abc", voice="de_DE-klein-x_low", options=plain)])
    notes = engine.notes(item(voice="de_DE-klein-x_low"))
    assert notes.details == {"voice": "de_DE-klein-x_low", "language": "de-DE", "sentences": 4, "voice_licence": "CC0"}
    assert german.shape[1] == pytest.approx(9 * FRAMES * PIPER_RATE / 16_000, abs=4)


def test_no_noise_is_drawn_where_none_is_asked_for_and_no_model_opened(engine, monkeypatch) -> None:
    opened = []
    session = type(engine._models[next(iter(engine._models))])._session
    monkeypatch.setattr(
        "audio_pool.engines._speech.voice_model.VoiceModel._session",
        lambda self, seed=None: opened.append(seed) or session(self, seed),
    )
    quiet = {"noise_scale": 0.0, "noise_w": 0.0, "pause_s": 0}
    first, second = engine.generate([item(seed=1, options=quiet), item(seed=2, options=quiet)])
    np.testing.assert_array_equal(first, second)
    assert opened == []
    noisy, noisier = engine.generate([item(seed=5, options={**quiet, "noise_scale": value}) for value in (0.1, 1.0)])
    assert opened == [5, 5]
    most = FRAMES * 20  # of the first sentence, before any pause
    assert np.std((noisy - first)[:, :most]) < np.std((noisier - first)[:, :most])


def test_only_so_many_models_are_kept(place: Path) -> None:
    engine = loaded(place, loaded_voices=1)
    for voice in ("en_US-tiny-low", "de_DE-klein-x_low", "en_US-tiny-low.ann"):
        engine.generate([item("abc", voice=voice)])
        assert len(engine._models) == 1
    engine.close()


# -- the process -------------------------------------------------------------------------------------------


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_child_that_is_killed_is_started_again_and_ends_with_its_engine(place: Path) -> None:
    engine = loaded(place)
    (before,) = engine.generate([item("abc")])
    pid = engine._phonemizer.pid
    os.kill(pid, signal.SIGKILL)
    np.testing.assert_array_equal(engine.generate([item("abc")])[0], before)
    assert engine._phonemizer.pid != pid and not alive(pid)
    pid = engine._phonemizer.pid
    engine.close()
    assert not alive(pid)


def test_it_ends_when_its_parent_is_killed(place: Path) -> None:
    code = (
        "import sys, time\n"
        "from audio_pool.engines._speech.phonemizer import Phonemizer\n"
        f"print(Phonemizer('piper', {str(place / 'python')!r}).pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        child = psutil.Process(pid)
        parent.kill()
    gone = (psutil.NoSuchProcess, psutil.ZombieProcess)

    def ended() -> bool:
        try:
            return child.status() == psutil.STATUS_ZOMBIE
        except gone:
            return True

    eventually(ended, "the phonemizer ends with its parent")


@pytest.mark.parametrize("fault", ["dies", "silent", "garbage"])
def test_a_fault_is_answered_by_one_new_child_and_then_by_an_error(place: Path, tmp_path: Path, fault: str) -> None:
    config = next((place / "voices").rglob("*.json"))
    once = scripted_phonemizer(tmp_path / "once", f"lambda count, text: {fault!r} if count == 2 else ''")
    phonemizer = Phonemizer("piper", str(once), answer_s=0.5 if fault == "silent" else 10.0)
    answers = [phonemizer.numbers(config, "abc") for _ in range(3)]
    assert answers[0] and answers == [answers[0]] * 3
    phonemizer.close()
    always = scripted_phonemizer(tmp_path / "always", f"lambda count, text: {fault!r}")
    phonemizer = Phonemizer("piper", str(always), answer_s=0.2)
    with pytest.raises(EngineError, match="the phonemizer's process failed twice"):
        phonemizer.numbers(config, "abc")
    phonemizer.close()
    assert not alive(phonemizer.pid)


def test_what_it_refuses_is_said_and_costs_no_child(place: Path, tmp_path: Path) -> None:
    refuses = scripted_phonemizer(tmp_path / "refuses", "lambda count, text: 'refuses' if 'x' in text else ''")
    phonemizer = Phonemizer("piper", str(refuses))
    pid, config = phonemizer.pid, next((place / "voices").rglob("*.json"))
    with pytest.raises(EngineError, match="cannot be turned into phonemes: ValueError: no"):
        phonemizer.numbers(config, "x")
    assert phonemizer.numbers(config, "abc") and phonemizer.pid == pid
    phonemizer.close()


def test_an_interpreter_without_piper_is_named_with_what_helps(place: Path, tmp_path: Path) -> None:
    for python in (str(tmp_path / "none"), "/bin/true", "/bin/cat"):
        with pytest.raises(EngineUnavailable, match=r"none|true|cat") as caught:
            loaded(place, python=python)
        assert "python" in caught.value.hint
    if sys.executable != PYTHON:
        with pytest.raises(EngineUnavailable, match="ModuleNotFoundError: No module named 'piper'"):
            loaded(place, python=sys.executable)


@real
def test_nothing_here_imports_what_is_under_the_gpl(place: Path) -> None:
    code = (
        "import sys\n"
        "from audio_pool.engines import load_engine, Item\n"
        f"engine = load_engine('piper', {{'model': {str(place / 'voices')!r}, 'python': {PYTHON!r}}})\n"
        "engine.generate([Item(prompt='Good morning, Dr. Smith.', seed=1, duration_s=1.0)])\n"
        "engine.close()\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('piper', 'espeakbridge')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"
