"""SDKs that wait too long, come back or go away, pools that are full, and sounds to start from."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from tests.http.conftest import Gateway, running
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.client.client import AudioClient

openai = pytest.importorskip("openai", reason="OpenAI's SDK is not installed")
elevenlabs = pytest.importorskip("elevenlabs", reason="ElevenLabs' SDK is not installed")


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Gateway]]:
    """A pool that takes one request at a time, and its gateway."""
    with Served(tmp_path_factory.mktemp("n"), queue={"max_requests": 1}).ready() as served:
        gateway = Gateway(served.place, served.endpoint)
        with running(gateway):
            yield served, gateway


def speak(url: str, words: str, *, hooks: dict[str, list[object]] | None = None, **options: object) -> bytes:
    """What OpenAI's SDK does; ``hooks`` hear of its requests and answers."""
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", **options) as client:
        if hooks:
            client._client.event_hooks = hooks
        asked = {"model": "audio_pool", "voice": "alloy", "response_format": "wav", "input": words}
        return bytes(client.audio.speech.create(**asked).content)


def test_one_that_waited_too_long_comes_back_and_joins_what_it_began(stage: Served, stage_gateway: Gateway, tmp_path):
    go = tmp_path / "go"
    attempts: list[object] = []

    def sent(request: object) -> None:
        attempts.append(request)
        if len(attempts) == 2:
            go.touch()

    data = speak(stage_gateway.url, f"hold {go}", timeout=3.0, max_retries=6, hooks={"request": [sent], "response": []})
    assert soundfile.info(io.BytesIO(data)).duration == 0.2
    assert len(attempts) >= 2 and stage.diary().count(f"hold {go}") == 1, "made once"


def test_one_that_never_comes_back_is_not_worked_for(stage: Served, stage_gateway: Gateway, tmp_path):
    with pytest.raises(openai.APITimeoutError):
        speak(stage_gateway.url, f"hold {tmp_path}/never", timeout=1.0, max_retries=0)
    with AudioClient(stage.endpoint) as client:
        eventually(lambda: client.status().requests == 0, "the request ends with whoever waited for it")


def test_a_full_pool_tells_one_sdk_to_come_back_and_holds_the_other(narrow: tuple[Served, Gateway], tmp_path: Path):
    served, gateway = narrow
    go = tmp_path / "go"
    statuses: list[int] = []

    def answered(response: httpx.Response) -> None:
        statuses.append(response.status_code)
        if response.status_code == 503:
            assert int(response.headers["retry-after"]) >= 1 and response.headers["x-should-retry"] == "true"
            go.touch()

    held: list[bytes] = []

    def occupy() -> None:
        http.post("/v1/sounds", json={"prompt": f"hold {go}", "duration_s": 0.2})

    def effect() -> None:
        api = elevenlabs.ElevenLabs(base_url=gateway.url, api_key="none", httpx_client=http)
        asked = {"text": "tone c", "output_format": "pcm_8000", "duration_seconds": 0.5}
        held.append(b"".join(api.text_to_sound_effects.convert(**asked)))

    threads = [threading.Thread(target=occupy), threading.Thread(target=effect)]
    with httpx.Client(base_url=gateway.url, timeout=PATIENCE_S, trust_env=False) as http:
        try:
            threads[0].start()
            with AudioClient(served.endpoint) as client:
                eventually(lambda: client.status().requests == 1, "the pool is full")
            threads[1].start()
            hooks: dict[str, list[object]] = {"request": [], "response": [answered]}
            data = speak(gateway.url, "tone d", max_retries=10, hooks=hooks)
        finally:
            go.touch()
            for thread in threads:
                thread.join(PATIENCE_S)
    assert statuses[0] == 503 and statuses[-1] == 200 and soundfile.info(io.BytesIO(data)).duration == 0.2
    assert len(held[0]) == 8_000, "held until there was room"
    assert sorted(served.diary()) == [f"hold {go}", "tone c", "tone d"]


def start() -> bytes:
    """A sound to start from."""
    file = io.BytesIO()
    soundfile.write(file, 0.3 * np.sin(np.arange(4410) * 0.05), 44_100, format="WAV")
    return file.getvalue()


def test_stability_and_the_services_take_a_sound_to_start_from(stage: Served, stage_gateway: Gateway):
    with httpx.Client(base_url=stage_gateway.url, timeout=PATIENCE_S, trust_env=False) as http:
        form = {"prompt": (None, "tone from a sound"), "duration": (None, "1"), "strength": (None, "0.4")}
        form |= {"audio": ("a.wav", start(), "audio/wav"), "output_format": (None, "wav")}
        path = "/v2beta/audio/stable-audio-2/audio-to-audio"
        answers = [http.post(path, files=form), http.post(path, files=form)]
        assert [answer.status_code for answer in answers] == [200, 200], answers[0].text
        assert [answer.headers["x-sound-cached"] for answer in answers] == ["false", "true"], "the same bytes"
        assert stage.diary().count("tone from a sound") == 1
        asked = {"prompt": "tone from a sound", "duration": 1.0, "audio_input_b64": base64.b64encode(start()).decode()}
        told = http.post("/predict", json=asked).json()
        assert told["duration"] == 1.0 and not told["meta"]["cached"], "of other strength"
        bad = http.post("/predict", json=asked | {"audio_input_b64": base64.b64encode(b"no sound").decode()})
        assert bad.status_code == 422 and "detail" in bad.json()
