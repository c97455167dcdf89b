"""Names of models and voices where an engine speaks."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from tests.http.conftest import Gateway, running
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S

CONFIG = """
[http.voices.narrator]
engine = "speaker"
voice = "bern"
"""


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    workers = [{"name": "w", "engines": ["stage", "speaker"]}]
    brings = ("stage", "speaker")
    with Served(tmp_path_factory.mktemp("v"), workers=workers, brings=brings).ready() as served:
        gateway = Gateway(served.place, served.endpoint, config=CONFIG)
        with running(gateway), httpx.Client(base_url=gateway.url, timeout=PATIENCE_S, trust_env=False) as http:
            yield http


def spoken(http: httpx.Client, **asked: object) -> httpx.Response:
    asked = {"model": "tts-1", "input": "good morning", "response_format": "wav", "duration_seconds": 0.2} | asked
    return http.post("/v1/audio/speech", json=asked)


@pytest.mark.parametrize(
    ("voice", "meant"),
    [("alba", "alba"), ("bern", "bern"), ("alloy", "alba"), ("ash", "bern"), ("narrator", "bern"),
     ({"id": "bern"}, "bern")],
)  # fmt: skip
def test_a_model_of_speech_is_an_engine_that_speaks_and_a_voice_is_its_own(http, voice, meant) -> None:
    answer = spoken(http, voice=voice, instructions="in a whisper", stream_format="sse")
    assert answer.status_code == 200, answer.text
    assert (answer.headers["x-sound-engine"], answer.headers["x-sound-voice"]) == ("speaker", meant)


def test_what_is_said_is_the_input_alone_and_a_sound_has_no_voice(http) -> None:
    answer = spoken(http, voice="alba", instructions="in a whisper")
    assert "instructions" in answer.headers["x-ignored-fields"]
    kept = http.get(f"/v1/sounds/{answer.headers['x-sound-id']}").json()
    assert kept["prompt"] == "good morning", kept
    sound = spoken(http, model="stage", voice="anybody", instructions="far away", input="tone a")
    assert sound.status_code == 200 and "x-sound-voice" not in sound.headers
    assert http.get(f"/v1/sounds/{sound.headers['x-sound-id']}").json()["prompt"] == "tone a, far away"


def test_a_voice_that_no_engine_has_is_refused_with_those_there_are(http) -> None:
    answer = spoken(http, voice="albo")
    assert answer.status_code == 404 and "did you mean 'alba'" in answer.json()["error"]["message"]
    assert answer.json()["error"]["param"] == "voice"
    assert {voice["voice_id"] for voice in http.get("/v1/voices").json()["voices"]} == {"narrator", "alba", "bern"}


@pytest.mark.parametrize(("voice", "meant"), [("alba", "alba"), ("narrator", "bern")])
def test_text_is_said_by_whichever_engine_has_the_voice(http, voice, meant) -> None:
    asked = {"text": "good evening", "duration_s": 0.2, "voice_settings": {"stability": 1.0}}
    answer = http.post(f"/v1/text-to-speech/{voice}/stream", params={"output_format": "pcm_8000"}, json=asked)
    assert (answer.status_code, len(answer.content)) == (200, 3_200)
    assert answer.headers["x-sound-voice"] == meant and answer.headers["x-ignored-fields"] == "voice_settings"


def test_a_speed_is_heeded_by_an_engine_that_has_one(http) -> None:
    plain, native = spoken(http, voice="alba"), {"options": {"speed": 1.5}}
    by_option = spoken(http, voice="alba", **native)
    said = {"text": "good morning", "duration_s": 0.2, "voice_settings": {"speed": 1.5}}
    answers = [
        spoken(http, voice="alba", speed=1.5),
        spoken(http, model="kind:speech", voice="alba", speed=1.5),
        http.post("/v1/text-to-speech/alba", json=said),
    ]
    for answer in answers:
        assert answer.status_code == 200 and "x-ignored-fields" not in answer.headers, answer.text
        assert answer.headers["x-sound-id"] == by_option.headers["x-sound-id"] != plain.headers["x-sound-id"]
    assert spoken(http, model="stage", voice="x", speed=1.5).headers["x-ignored-fields"] == "speed"
    refused = spoken(http, voice="alba", speed=3.0)
    assert refused.status_code == 400 and "0.5 to 2" in refused.json()["error"]["message"]


def test_voices_are_looked_for_by_the_client_that_does_so(http) -> None:
    sdk = pytest.importorskip("elevenlabs", reason="elevenlabs is not installed: make test-http")
    client = sdk.ElevenLabs(base_url=str(http.base_url), api_key="none", httpx_client=http)
    found = client.voices.search(search="alb")
    assert [voice.voice_id for voice in found.voices] == ["alba"] and not found.has_more and found.total_count == 1
    assert client.voices.search().total_count == 3
