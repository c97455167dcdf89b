"""A part of a sound made anew, and a sound continued: by our own route, by Stability's and by fal's."""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

RATE = 44_100
GIVEN = (0.1 * np.random.default_rng(0).standard_normal((2 * RATE, 2))).astype(np.float32)
PLAIN = {"highpass_hz": "0", "format": "wav", "bit_depth": "32"}


def file_of(audio: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, audio, RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()


def post(http: httpx.Client, path: str = "/v1/sounds", field: str = "init_audio", **fields: Any) -> httpx.Response:
    files = {field: ("given.wav", file_of(GIVEN), "audio/wav")}
    return http.post(path, data={"prompt": "heavy rain", **fields}, files=files, headers={"accept": "audio/*"})


def heard(answer: httpx.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    audio, rate = soundfile.read(io.BytesIO(answer.content), dtype="float32", always_2d=True)
    assert rate == RATE
    return audio


def is_given(found: np.ndarray, start: int, end: int) -> bool:
    """The samples are the given sound's, at the one gain that mastering gives the whole."""
    wanted, part = GIVEN[start:end], found[start:end]
    gain = float((part * wanted).sum() / (wanted * wanted).sum())
    return gain > 0.05 and bool(np.abs(part - gain * wanted).max() < 1e-4)


def test_a_part_is_made_anew_between_what_stays(http: httpx.Client) -> None:
    found = heard(post(http, mask_start_s="0.8", mask_end_s="1.2", **PLAIN))
    assert len(found) == len(GIVEN), "as long as the sound that was sent"
    start, end = round(0.75 * RATE), round(1.25 * RATE)
    assert is_given(found, RATE // 10, start) and is_given(found, end, len(GIVEN) - RATE // 10)
    assert not is_given(found, round(0.85 * RATE), round(1.15 * RATE))
    shorter = heard(post(http, mask_start_s="0.8", mask_end_s="1.2", duration_s="1.5", **PLAIN))
    assert len(shorter) == round(1.5 * RATE) and is_given(shorter, RATE // 10, start)


def test_a_sound_goes_on(http: httpx.Client) -> None:
    found = heard(post(http, extend_s="1", **PLAIN))
    assert len(found) == len(GIVEN) + RATE
    assert is_given(found, RATE // 10, round(1.95 * RATE)) and np.abs(found[2 * RATE : -RATE // 2]).max() > 0.01


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"mask_start_s": "1", "mask_end_s": "2.5"}, "mask_end_s: given 2.5, allowed are at most the 2 s of init"),
        ({"mask_start_s": "1"}, "give both or neither"),
        ({"extend_s": "599"}, "extend_s: given 599, allowed is 0 to 598"),
        ({"init_strength": "0.5"}, "cannot start from a sound"),
    ],
)
def test_what_cannot_be_made_of_it_is_told(http: httpx.Client, fields: dict[str, str], told: str) -> None:
    answer = post(http, **fields)
    assert answer.status_code == 422 and told in answer.json()["detail"], answer.text
    words = {name: float(value) for name, value in fields.items()}
    assert http.post("/v1/sounds", json={"prompt": "rain", **words}).status_code == 422, "there is no sound"


def test_stability_s_inpaint_is_served(http: httpx.Client) -> None:
    path = "/v2beta/audio/stable-audio-2/inpaint"
    asked = {"mask_start": "0.8", "mask_end": "1.2", "output_format": "wav", "bit_depth": "32", "highpass_hz": "0"}
    found = heard(post(http, path, "audio", **asked))
    assert len(found) == len(GIVEN) and is_given(found, RATE // 10, round(0.75 * RATE))
    cut = heard(post(http, path, "audio", mask_start="0.8", duration="1", output_format="wav"))
    assert len(cut) == RATE, "to the end of what is asked for"
    missing = post(http, path, "audio", mask_start="0.8")
    assert missing.status_code == 400 and "mask_end: is missing" in missing.json()["errors"][0]
    beyond = post(http, path, "audio")
    assert beyond.status_code == 400, "by its own defaults it begins after 30 s"


def test_fal_s_inpaint_and_outpaint_are_served(http: httpx.Client) -> None:
    uri = f"data:audio/wav;base64,{base64.b64encode(file_of(GIVEN)).decode()}"

    def run(app: str, **more: Any) -> httpx.Response:
        return http.post(f"/fal/run/{app}", json={"prompt": "heavy rain", "audio_url": uri, **more})

    for app, names in (
        ("fal-ai/stable-audio-25/inpaint", ("mask_start", "mask_end")),
        ("fal-ai/ace-step/audio-inpaint", ("start_time", "end_time")),
        ("audio_pool/procedural", ("mask_start_s", "mask_end_s")),
    ):
        told = run(app, **dict(zip(names, (0.8, 1.2), strict=True))).json()
        assert told["duration"] == 2.0, (app, told)
    longer = run("fal-ai/ace-step/audio-outpaint", extend_after_duration=0.5, extend_before_duration=0)
    assert longer.json()["duration"] == 2.5
    assert run("fal-ai/ace-step/audio-outpaint", extend_before_duration=3).status_code == 422
