"""The first services' API: an address for each, with its own defaults and bounds."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import httpx
import pytest
import soundfile
from tests.http.conftest import Gateway, Pool, running
from tests.support.waiting import PATIENCE_S

from audio_pool import __version__

CONFIG = """
[http.services.audioldm2]
bind = "127.0.0.1:0"
[http.services.stable-audio]
bind = "127.0.0.1:0"
api = "stable_audio"
engine = "procedural"
[http.models."*"]
[http.models.rainmaker]
engine = "nothing"
[http.voices.narrator]
engine = "procedural"
"""


@pytest.fixture(scope="module")
def ports(pool: Pool) -> Iterator[tuple[httpx.Client, httpx.Client, httpx.Client]]:
    """The door itself, and either service."""
    gateway = Gateway(pool.place, pool.endpoint, config=CONFIG, name="services")
    with running(gateway):
        urls = [gateway.url, gateway.hear("listening")["url"], gateway.hear("listening")["url"]]
        first, second, third = (httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) for url in urls)
        with first, second, third:
            yield first, second, third


def test_each_address_says_which_service_it_is(ports):
    told = [port.get("/health").json() for port in ports]
    assert [one["service"] for one in told] == ["audio_pool", "audioldm2", "stable-audio"]
    assert {(one["status"], one["version"]) for one in told} == {("ok", __version__)}


def test_a_prediction_is_a_sound_with_its_timing_trace_and_version(ports):
    _, audioldm2, _ = ports
    traced = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
    asked = {"prompt": "rain", "duration": 1.5}
    answer = audioldm2.post("/predict?client_job_id=game:7.rain_1-a", json=asked, headers=traced)
    told = answer.json()
    assert answer.status_code == 200 and set(told) == {"audio_b64", "sample_rate", "duration", "meta"}
    with soundfile.SoundFile(io.BytesIO(base64.b64decode(told["audio_b64"]))) as file:
        assert (file.format, file.samplerate, file.frames) == ("WAV", told["sample_rate"], 1.5 * told["sample_rate"])
    assert told["duration"] == 1.5
    assert told["meta"]["version"] == __version__ and told["meta"]["timing"]["total"] > 0
    assert told["meta"]["trace"]["client_job_id"] == "game:7.rain_1-a" and told["meta"]["trace"]["request_id"]
    assert told["meta"]["trace"]["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert audioldm2.post("/predict", json=asked).json()["meta"]["trace"]["trace_id"] is None


def test_format_gives_others_and_ten_seconds_are_the_default(ports):
    told = ports[2].post("/predict", json={"prompt": "rain", "format": "flac", "engine": "procedural"}).json()
    assert base64.b64decode(told["audio_b64"])[:4] == b"fLaC"
    assert (told["duration"], told["meta"]["format"], told["meta"]["engine"]) == (10.0, "flac", "procedural")


@pytest.mark.parametrize(
    ("port", "wrong", "field"),
    [
        (1, {"num_inference_steps": 501}, "num_inference_steps"),
        (2, {"num_inference_steps": 201}, "num_inference_steps"),
        (1, {"num_inference_steps": 9}, "num_inference_steps"),
        (1, {"guidance_scale": 0.9}, "guidance_scale"),
        (2, {"guidance_scale": 20.5}, "guidance_scale"),
        (1, {"duration": 0.9}, "duration"),
        (2, {"duration": 31}, "duration"),
        (1, {"prompt": None}, "prompt"),
        (1, {"audio_input_b64": "%%%"}, "audio_input_b64"),
        (1, {"audio_input_b64": "data:audio/wav;base64,"}, "audio_input_b64"),
        (1, {"format": "aac"}, "format"),
    ],
)
def test_bounds_are_those_of_the_service(ports, port, wrong, field):
    answer = ports[port].post("/predict", json={"prompt": "rain"} | wrong)
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"] == ["body", field]


@pytest.mark.parametrize(("port", "within"), [(1, {"num_inference_steps": 500, "guidance_scale": 20.0}),
                                              (2, {"num_inference_steps": 200, "guidance_scale": 1})])  # fmt: skip
def test_bounds_are_included(ports, port, within):
    assert ports[port].post("/predict", json={"prompt": "rain", "duration": 1.0} | within).status_code == 200


@pytest.mark.parametrize("name", ["", "a" * 257, "a b", "a\n", "ä", "a/b"])
def test_a_job_s_name_must_match(ports, name):
    answer = ports[1].post("/predict", params={"client_job_id": name}, json={"prompt": "rain"})
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"] == ["query", "client_job_id"]


def test_the_table_of_names_is_the_configuration_s(ports):
    door = ports[0]
    asked = {"input": "rain", "voice": "anybody", "response_format": "wav", "duration_seconds": 0.5}
    answer = door.post("/v1/audio/speech", json=asked | {"model": "nobody-knows-me"})
    assert (answer.status_code, answer.headers["x-sound-engine"]) == (200, "procedural")
    answer = door.post("/v1/audio/speech", json=asked | {"model": "rainmaker"})
    assert answer.status_code == 404 and "nothing" in answer.json()["error"]["message"]
    said = door.post("/v1/text-to-speech/narrator", params={"output_format": "wav_8000"}, json={"text": "rain"})
    assert (said.status_code, said.headers["x-sound-sample-rate"]) == (200, "8000")
    assert [voice["voice_id"] for voice in door.get("/v1/voices").json()["voices"]] == ["narrator"]
    assert {"rainmaker", "procedural"} <= {model["id"] for model in door.get("/v1/models").json()["data"]}
