"""Where a sound comes from that is sent over HTTP."""

from __future__ import annotations

import io
from pathlib import Path

import httpx
import numpy as np
import soundfile
from tests.support.gateways import Gateway, Pool, running
from tests.support.waiting import PATIENCE_S

from audio_pool.gateway.key_file import HttpKey, create_key


def made(http: httpx.Client, prompt: str) -> bytes:
    asked = {"prompt": prompt, "duration_s": 2.0, "seed": 7}
    answer = http.post("/v1/sounds", json=asked, headers={"accept": "audio/wav"})
    assert answer.status_code == 200, answer.text
    return answer.content


def quieter(data: bytes) -> bytes:
    audio, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    file = io.BytesIO()
    soundfile.write(file, audio * np.float32(0.5), rate, format="WAV", subtype="PCM_24")
    return file.getvalue()


def sent(http: httpx.Client, data: bytes) -> httpx.Response:
    return http.post("/v1/detect", files={"sound": ("found.wav", data, "audio/wav")})


def test_a_sound_of_the_pool_is_known_as_it_is_and_edited_and_in_both_ways_to_send_it(http: httpx.Client) -> None:
    data = made(http, "heavy rain and thunder")
    whole = sent(http, data).json()
    assert (whole["verdict"], whole["by"], whole["certain"], whole["changed"]) == ("made_here", "file", True, [])
    assert (whole["name"], whole["origin"]["prompt"]) == ("found.wav", "heavy rain and thunder")
    edited = http.post("/v1/detect", content=quieter(data), headers={"content-type": "audio/wav"}).json()
    assert (edited["verdict"], edited["by"]) == ("made_here", "fingerprint")
    assert edited["changed"] == ["loudness (-6.0 dB)", "tags stripped"]


def test_what_is_not_known_and_what_is_no_sound(http: httpx.Client) -> None:
    file = io.BytesIO()
    soundfile.write(file, 0.1 * np.random.default_rng(1).standard_normal(22_050), 22_050, format="FLAC")
    told = sent(http, file.getvalue()).json()
    assert (told["verdict"], told["origin"]) == ("unknown", None)
    for answer, said in (
        (sent(http, b"no sound"), "not a sound file"),
        (http.post("/v1/detect", content=b""), "the body is empty"),
        (http.post("/v1/detect", files={"other": ("a.wav", b"x")}), "allowed is one file"),
        (http.post("/v1/detect", data={"sound": "text"}, files={"x": b""}), "allowed is one file"),
    ):
        assert answer.status_code in (400, 422), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert said in answer.json()["detail"], answer.text


def test_a_key_learns_no_prompt_of_another_namespace(pool: Pool, http: httpx.Client, tmp_path: Path) -> None:
    data = made(http, "a door creaks in a secret house")
    keys = tmp_path / "keys.json"
    key = create_key(keys, lambda sha256: HttpKey(name="guest", sha256=sha256, namespace="guest"))
    with running(Gateway(tmp_path, pool.endpoint, config=f'[http]\nkeys_file = "{keys}"\n')) as other:
        assert isinstance(other, Gateway)
        headers = {"authorization": f"Bearer {key}"}
        with httpx.Client(base_url=other.url, headers=headers, timeout=PATIENCE_S, trust_env=False) as client:
            told = sent(client, data)
            assert told.json()["verdict"] == "made_here"
            assert "secret" not in told.text
            origin = told.json()["origin"]
            assert (origin["recipe_id"], origin["seed"], "entry" in origin) == ("", None, False)
