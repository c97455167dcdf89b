"""Whole requests for speech through a served pool: its length, its voices, its worker, its words and no others."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.support.served import Served
from tests.support.voice_models import FRAMES, dictionaries, kokoro, piper, scripted_phonemizer
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool import AudioClient
from audio_pool.errors import InvalidRequest, NotSupported

PHONEMES = len("həlˈO wˈɜɹld.") + 2
LENGTH_S = PHONEMES * FRAMES / 24_000
TEXT = "Hello world."


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("speech")
    model, words = kokoro(place / "kokoro"), dictionaries(place / "words")
    piper(place / "piper" / "de_DE-klein-low.onnx", rate=16_000, card="* License: CC0\n")
    python = scripted_phonemizer(place / "python")
    workers = [
        {"name": "sounds", "engines": ["stage"], "roles": ["generate", "master", "embed"]},
        {"name": "speech", "engines": ["kokoro", "piper"], "roles": ["generate"]},
    ]
    engines = {
        "kokoro": {"model": str(model), "dictionaries": str(words), "threads": 1},
        "piper": {"model": str(place / "piper"), "python": str(python), "threads": 1},
    }
    cache = {"encoder": "minilm"}
    with Served(place / "s", workers=workers, brings=("stage",), engines=engines, cache=cache) as served:
        yield served.ready()


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[AudioClient]:
    with AudioClient(served.endpoint) as client:
        yield client


def test_the_length_is_what_the_words_take_and_the_metadata_say_so(client: AudioClient, tmp_path: Path) -> None:
    out = tmp_path / "hello.wav"
    asked = {"engine": "kokoro", "duration_s": 30.0, "format": "wav", "output_path": str(out), "namespace": "length"}
    told = client.generate(TEXT, **asked).metadata
    assert told.natural_length is True and told.speech
    assert told.duration_s == pytest.approx(LENGTH_S, abs=0.001) == told.requested_duration_s
    assert any(one.startswith("duration_s_ignored:") for one in told.warnings)
    assert (told.voice, told.highpass.hz, told.highpass.why) == ("af_heart", 50.0, "engine")
    assert told.engine_details == {"voice": "af_heart", "language": "en-US", "sentences": 1}
    sound, rate = soundfile.read(out)
    assert len(sound) == pytest.approx(told.duration_s * rate, abs=2)
    again = client.generate(TEXT, engine="kokoro", voice="af_heart", namespace="length")
    assert again.metadata.cached and again.metadata.entry_id == told.entry_id
    assert again.metadata.requested_duration_s == told.duration_s
    assert not any(one.startswith("duration_differs") for one in again.metadata.warnings)
    with pytest.raises(NotSupported, match="speaks; what is said has its own length"):
        client.generate(TEXT, engine="kokoro", loop=True)


def test_pauses_stay_and_the_gate_lets_them(client: AudioClient, tmp_path: Path) -> None:
    out = tmp_path / "paused.wav"
    text = "One.\n\nTwo.\n\nOne two."
    options = {"pause_s": 1.0}
    told = client.generate(text, engine="kokoro", options=options, format="wav", output_path=str(out)).metadata
    assert told.quality.score > 90 and told.accepted, told.quality
    assert told.loudness_lufs == pytest.approx(-23.0, abs=0.5)
    sound, rate = soundfile.read(out)
    quiet = np.abs(sound if sound.ndim == 1 else sound[:, 0]) < 1e-4
    edges = np.flatnonzero(np.diff(np.concatenate([[0], quiet.astype(int), [0]])))
    pauses = [end - start for start, end in zip(edges[::2], edges[1::2], strict=True) if end - start > rate]
    assert [pause / rate for pause in pauses] == pytest.approx([2.2, 2.2], abs=0.15)


def test_five_thousand_characters_are_said_and_no_more(client: AudioClient) -> None:
    text = ("The cat sat on one apple. " * 200)[:5000]
    told = client.generate(text, engine="kokoro", options={"speed": 2.0, "pause_s": 0.0}, store=False).metadata
    assert told.duration_s > 40
    with pytest.raises(InvalidRequest, match="prompt"):
        client.generate(text + ".", engine="kokoro")
    with pytest.raises(InvalidRequest, match="given 5,000 characters, engine 'stage' takes 2,000"):
        client.generate(text, engine="stage")


def test_only_the_very_same_words_by_the_same_voice_answer(client: AudioClient) -> None:
    first = client.generate("Good morning, Smith!", engine="kokoro", namespace="words").metadata
    again = client.generate("Good morning, Smith!", engine="kokoro", namespace="words").metadata
    assert not first.cached and again.cached
    for words, changes in (
        ("A good morning to Smith!", {}),
        ("Good morning, Smith?", {}),
        ("good morning, SMITH!", {}),
        ("the sound of good morning, Smith!", {}),
        ("Good morning, Smith!", {"voice": "bf_emma"}),
        ("Good morning, Smith!", {"options": {"speed": 1.5}}),
        ("Good morning, Smith!", {"engine": "stage", "any_engine": True, "match": "tolerant", "duration_s": 0.3}),
    ):
        asked = {"engine": "kokoro", "namespace": "words", "match": "threshold", "tau_prompt_sem": 0.0, **changes}
        other = client.generate(words, **asked).metadata
        assert not other.cached, (words, changes, other.hit_reason)
    # the encoder is there, and sounds are found by meaning
    client.generate("tone of rain on a tin roof", engine="stage", namespace="words")
    near = client.generate("tone of rain on a roof of tin", engine="stage", namespace="words").metadata
    assert near.cached


def test_it_is_answered_while_the_other_worker_makes_something_long(
    served: Served, client: AudioClient, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    held = client.submit(f"hold {gate}", engine="stage", namespace="busy")
    eventually(lambda: f"hold {gate}" in served.diary(), "the long one has begun")
    told = client.generate("Hello hello.", engine="kind:speech", namespace="busy").metadata
    assert told.engine == "kokoro" and told.worker.id == "speech" and not held.done()
    gate.touch()
    assert held.result(PATIENCE_S).metadata.engine == "stage"


def test_a_voice_is_listed_and_another_name_refused_with_the_nearest(client: AudioClient) -> None:
    engines = {one.name: one for one in client.engines().engines}
    assert [voice.name for voice in engines["kokoro"].voices] == ["af_heart", "am_adam", "bf_emma"]
    assert [(voice.name, voice.language) for voice in engines["piper"].voices] == [("de_DE-klein-low", "de-DE")]
    assert engines["kokoro"].natural_length and engines["kokoro"].kinds == ("speech",)
    with pytest.raises(InvalidRequest, match="did you mean 'bf_emma'"):
        client.generate(TEXT, engine="kokoro", voice="bf_ema")
    told = client.generate("Guten Tag.", engine="piper").metadata
    assert told.voice == "de_DE-klein-low" and told.engine_details["voice_licence"] == "CC0"
    assert told.commercial_use and told.licence == "CC0"


def test_the_same_seed_is_the_same_sound(client: AudioClient) -> None:
    def said(seed: int) -> np.ndarray:
        result = client.generate("One two.", engine="piper", seed=seed, force=True, format="wav", delivery="inline")
        return soundfile.read(io.BytesIO(result.data))[0]

    assert np.array_equal(said(5), said(5)) and not np.array_equal(said(5), said(6))


def test_the_command_line_speaks(served: Served, tmp_path: Path) -> None:
    out = tmp_path / "cli.wav"
    command = [sys.executable, "-m", "audio_pool.cli", "generate", "--connect", served.endpoint, "--engine", "kokoro"]
    command += ["--voice", "am_adam", "--output", str(out), "--json", "Hello world."]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert json.loads(done.stdout)["voice"] == "am_adam", done.stdout
    assert soundfile.info(out).duration == pytest.approx(LENGTH_S, abs=0.01)


def test_it_is_heard_while_it_is_said(client: AudioClient) -> None:
    text = "One two one two one two. " * 8
    with client.stream(text, engine="kokoro", namespace="stream", bit_depth=32) as stream:
        chunks, told = list(stream), stream.result().metadata
    sent = sum(chunk.frames for chunk in chunks)
    assert told.natural_length and told.stream.pieces == "engine" and len(chunks) > 2
    assert sent == round(told.duration_s * told.sample_rate)
    whole = client.generate(text, engine="kokoro", namespace="whole").metadata
    assert told.duration_s == pytest.approx(whole.duration_s, abs=0.001)
