"""Sounds sent over HTTP, worked on and sent back."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from tests.support.gateways import Gateway, running
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S

from audio_pool.gateway.key_file import HttpKey, create_key

RATE = 22_050


def noise(seed: int = 0) -> bytes:
    file = io.BytesIO()
    audio = 0.1 * np.random.default_rng(seed).standard_normal(2 * RATE)
    soundfile.write(file, audio, RATE, format="WAV", subtype="PCM_24")
    return file.getvalue()


def post(http: httpx.Client, craft: Any, *sounds: bytes, accept: str = "*/*", **form: Any) -> httpx.Response:
    files = [("sound", (f"{number}.wav", data, "audio/wav")) for number, data in enumerate(sounds)]
    data = {"craft": json.dumps(craft), **({"form": json.dumps(form)} if form else {})}
    return http.post("/v1/craft", data=data, files=files, headers={"accept": accept})


def test_a_sound_is_looped_and_comes_back_as_a_file(http: httpx.Client) -> None:
    answer = post(http, {"kind": "loop", "crossfade_s": 0.3}, noise(), accept="audio/flac")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "audio/flac" and answer.headers["x-sound-loop"] == "true"
    assert float(answer.headers["x-sound-seam"]) > 90
    audio, rate = soundfile.read(io.BytesIO(answer.content))
    assert rate == RATE and len(audio) / rate == pytest.approx(float(answer.headers["x-sound-duration"]))


def test_several_are_mixed_and_told_of_as_json(http: httpx.Client) -> None:
    answer = post(http, {"kind": "mix", "levels_db": [0, -6], "offsets_s": [0, 1]}, noise(), noise(1), format="ogg")
    told = answer.json()
    assert told["report"]["duration_s"] == pytest.approx(3.0) and told["report"]["path"] is None
    assert [one["name"] for one in told["report"]["given"]] == ["sound 1", "sound 2"]
    assert soundfile.info(io.BytesIO(base64.b64decode(told["audio"]))).format == "OGG"
    checked = post(http, {"kind": "check", "loop": True}, noise()).json()
    assert checked["audio"] is None and checked["report"]["loop"]["seam_score"] > 50


def test_what_is_wrong_is_a_problem_that_says_what_is_allowed(http: httpx.Client) -> None:
    for answer, status, said in (
        (post(http, {"kind": "loop"}), 400, "paths, sounds: given 0"),
        (post(http, {"kind": "loop"}, noise(), noise()), 400, "given 2, allowed for this are 1"),
        (post(http, {"kind": "melt"}, noise()), 400, "melt"),
        (post(http, {"kind": "convert"}, noise(), format="wav", bit_rate=64), 400, "bit_rate"),
        (post(http, {"kind": "check"}, b"no sound at all"), 400, "not a sound file"),
        (post(http, {"kind": "convert"}, noise(), accept="audio/mpeg", format="wav"), 406, "Accept"),
        (http.post("/v1/craft", json={"craft": {"kind": "check"}}), 400, ""),
        (http.post("/v1/craft", data={"sound": "text"}, files={"x": b""}), 400, "sound: allowed are files"),
    ):
        assert answer.status_code in (status, 422), (said, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert said in answer.json()["detail"], answer.text


def test_it_is_one_of_the_sounds_that_a_key_may_have_under_way(stage: Served, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    key = create_key(keys, lambda sha256: HttpKey(name="one", sha256=sha256, concurrency=1, queue=0))
    with running(Gateway(tmp_path, stage.endpoint, config=f'[http]\nkeys_file = "{keys}"\n')) as gateway:
        assert isinstance(gateway, Gateway)
        headers = {"authorization": f"Bearer {key}"}
        with httpx.Client(base_url=gateway.url, headers=headers, timeout=PATIENCE_S, trust_env=False) as client:
            held = {"prompt": f"hold {tmp_path}/never"}
            job = client.post("/v1/sounds", json=held, headers={"prefer": "respond-async"}).json()
            refused = post(client, {"kind": "check"}, noise())
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many")
            assert client.delete(f"/v1/jobs/{job['id']}").status_code < 300
