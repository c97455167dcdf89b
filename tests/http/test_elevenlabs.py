"""ElevenLabs' own client: sound effects in all formats, music, models, the account, errors."""

from __future__ import annotations

import io

import httpx
import numpy as np
import pytest
import soundfile
from tests.support.waiting import PATIENCE_S

from audio_pool.gateway.dialects.output_format import EFFECT_FORMATS

sdk = pytest.importorskip("elevenlabs", reason="ElevenLabs' SDK is not installed")
from elevenlabs.core import ApiError  # noqa: E402
from elevenlabs.errors import UnprocessableEntityError  # noqa: E402


@pytest.fixture(scope="module")
def client(gateway):
    with httpx.Client(timeout=PATIENCE_S, trust_env=False) as connections:
        yield sdk.ElevenLabs(base_url=gateway.url, api_key="none", httpx_client=connections)


def effect(client, **asked) -> bytes:
    return b"".join(client.text_to_sound_effects.convert(**({"text": "waves on a beach"} | asked)))


def test_there_are_twenty_eight_formats():
    assert len(EFFECT_FORMATS) == len(set(EFFECT_FORMATS)) == 28


@pytest.mark.parametrize("name", EFFECT_FORMATS)
def test_every_output_format_has_its_rate_and_the_length_asked_for(client, name):
    data = effect(client, duration_seconds=1.0, output_format=name, prompt_influence=None)
    kind, rate, *bit_rate = name.split("_")
    if kind in ("pcm", "ulaw", "alaw"):
        assert len(data) == int(rate) * (2 if kind == "pcm" else 1)
        return
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        assert (file.samplerate, file.frames) == (int(rate), int(rate))
        assert {"mp3": "MP3", "opus": "OGG", "wav": "WAV"}[kind] == file.format
    if bit_rate:
        assert len(data) * 8 / 1000 < 1.25 * int(bit_rate[0]) + 32, "one second, and its tags"


def test_all_formats_are_of_one_kept_sound(client):
    asked = {"text": "a drip", "duration_seconds": 0.5}
    told = []
    for name in ("mp3_22050_32", "wav_48000", "ulaw_8000"):
        with client.text_to_sound_effects.with_raw_response.convert(**asked, output_format=name) as answer:
            told.append(answer.headers)
    assert len({headers["x-sound-id"] for headers in told}) == 1
    assert [headers["x-sound-cached"] for headers in told] == ["false", "true", "true"]
    assert told[0]["character-cost"] == "6"


@pytest.mark.parametrize("name", ["wav_44100", "wav_22050", "pcm_16000"])
def test_a_loop_has_no_seam(client, name):
    data = effect(client, duration_seconds=2.0, loop=True, output_format=name)
    if name.startswith("pcm"):
        sound, rate = np.frombuffer(data, "<i2")[:, None] / 2**15, int(name.partition("_")[2])
    else:
        sound, rate = soundfile.read(io.BytesIO(data))
    assert len(sound) == 2 * rate
    steps = np.abs(np.diff(np.concatenate([sound, sound[:1]]), axis=0)).max(axis=1)
    assert steps[-1] <= np.quantile(steps, 0.999), "the step across the joint is like those within"


@pytest.mark.parametrize(
    ("wrong", "place"),
    [({"text": ""}, ["body", "text"]), ({"duration_seconds": 99.0}, ["body", "duration_seconds"]),
     ({"prompt_influence": 2.0}, ["body", "prompt_influence"]),
     ({"output_format": "aac_44100"}, ["query", "output_format"])],
)  # fmt: skip
def test_a_wrong_field_is_told_as_a_list(client, wrong, place):
    with pytest.raises(UnprocessableEntityError) as caught:
        effect(client, **wrong)
    assert [fault["loc"] for fault in caught.value.body["detail"]] == [place]


def test_every_fault_is_told_at_once_and_null_is_absent(http):
    body = {"text": None, "duration_seconds": 99, "loop": None, "prompt_influence": "much"}
    answer = http.post("/v1/sound-generation", json=body)
    assert answer.status_code == 422
    assert {fault["loc"][1]: fault["type"] for fault in answer.json()["detail"]} == {
        "text": "missing", "duration_seconds": "value_error", "prompt_influence": "value_error",
    }  # fmt: skip


def test_an_unknown_model_or_voice_is_not_found(client):
    with pytest.raises(ApiError) as caught:
        effect(client, model_id="eleven_text_to_sound_v9")
    assert caught.value.status_code == 404
    assert caught.value.body["detail"]["code"] == caught.value.body["detail"]["status"] == "model_not_found"
    with pytest.raises(ApiError) as caught:
        list(client.text_to_speech.convert("21m00Tcm4TlvDq8ikWAM", text="hello"))
    detail = caught.value.body["detail"]
    assert (caught.value.status_code, detail["code"]) == (404, "voice_not_found")
    assert "no engine here has" in detail["message"] and len(detail["request_id"]) == 32


def test_music_is_composed_and_streamed(client):
    asked = {"prompt": "calm piano, no drums", "music_length_ms": 3000}
    data = b"".join(client.music.compose(**asked))
    assert soundfile.info(io.BytesIO(data)).duration == 3.0
    assert b"".join(client.music.stream(**asked)) == data, "the very same"
    assert len(b"".join(client.music.compose(**asked, output_format="pcm_16000"))) == 96_000


def test_detailed_music_is_a_clean_file_with_its_plan(client):
    asked = {"prompt": "calm piano, no drums", "music_length_ms": 3000, "output_format": "wav_22050"}
    found = client.music.compose_detailed(**asked)
    assert found.json["composition_plan"]["positive_global_styles"] == ["calm piano"]
    assert found.json["composition_plan"]["negative_global_styles"] == ["drums"]
    assert found.json["song_metadata"]["title"] == "Calm piano"
    assert found.audio == b"".join(client.music.compose(**asked)), "nothing of the envelope is left at its end"
    assert found.filename.endswith(".wav")


def test_a_plan_is_made_of_words_and_composed(client):
    plan = client.music.composition_plan.create(prompt="slow strings and harp without drums", music_length_ms=30_000)
    assert plan.positive_global_styles == ["slow strings", "harp"] and plan.negative_global_styles == ["drums"]
    assert [section.section_name for section in plan.sections] == ["Intro", "Verse", "Chorus", "Outro"]
    assert sum(section.duration_ms for section in plan.sections) == 30_000
    short = client.music.composition_plan.create(prompt="harp", music_length_ms=4000, source_composition_plan=None)
    data = b"".join(client.music.compose(composition_plan=short, output_format="pcm_8000"))
    assert len(data) == 4 * 16_000
    newer = {"chunks": [{"text": "harp", "duration_ms": 3000, "positive_styles": ["slow"]}]}
    assert len(b"".join(client.music.compose(composition_plan=newer, output_format="pcm_8000"))) == 3 * 16_000


@pytest.mark.parametrize(
    ("asked", "place"),
    [({}, "prompt"), ({"prompt": "harp", "music_length_ms": 10}, "music_length_ms"),
     ({"composition_plan": {"sections": []}}, "composition_plan"),
     ({"composition_plan": {"sections": [{"section_name": "x", "duration_ms": 1}]}}, "composition_plan")],
)  # fmt: skip
def test_what_is_no_music_is_told(http, asked, place):
    answer = http.post("/v1/music", json=asked)
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"] == ["body", place]


def test_models_voices_and_the_account(client):
    assert {"eleven_text_to_sound_v2", "music_v1", "procedural"} <= {model.model_id for model in client.models.list()}
    assert client.user.get().subscription.tier == client.user.subscription.get().tier == "self_hosted"
    assert client.voices.get_all().voices == []
