"""``audio-pool clap`` on a tiny checkpoint and real files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from safetensors.numpy import load_file
from tests.support import clap_checkpoints

from audio_pool.cli.clap import group, softmax
from audio_pool.engines import load_engine
from audio_pool.errors import InvalidAudio, InvalidRequest, NotFound

RATE = 44_100


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("cli") / "clap"
    clap_checkpoints.save_directory(folder)
    return str(folder)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    noise = (0.1 * np.random.default_rng(0).standard_normal((RATE * 2, 2))).astype(np.float32)
    soundfile.write(folder / "noise.wav", noise, RATE, subtype="FLOAT")
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    soundfile.write(folder / "tone.flac", tone, RATE)
    (folder / "broken.wav").write_bytes(b"RIFF nothing")
    return folder


def run(model: str, *arguments: str):
    return CliRunner().invoke(group, [*arguments, "--model", model])


def told(ran):
    assert ran.exit_code == 0, ran.exception
    return json.loads(ran.stdout)


def test_embed_gives_the_engines_vectors_in_the_order_asked(model, sounds, tmp_path):
    wav, output = str(sounds / "noise.wav"), tmp_path / "vectors.safetensors"
    body = told(run(model, "embed", "rain", wav, "a dog", "--json", "--output", str(output)))
    assert [row["kind"] for row in body["vectors"]] == ["text", "audio", "text"]
    clap = load_engine("clap", {"model": model})
    sound = soundfile.read(wav, dtype="float32")[0].T
    words, heard = clap.embed_text(["rain", "a dog"]), clap.embed_audio([sound], RATE)
    expected = np.stack([words[0], heard[0], words[1]])
    np.testing.assert_allclose([row["vector"] for row in body["vectors"]], expected, atol=1e-6)
    np.testing.assert_allclose(load_file(output)["vectors"], expected, atol=1e-6)
    assert body["dimensions"] == 16


def test_text_option_takes_a_files_name_for_words(model, sounds):
    wav = str(sounds / "noise.wav")
    assert told(run(model, "embed", "--text", wav, "--json"))["vectors"][0]["kind"] == "text"


def test_similarity_of_a_sound_with_itself_words_and_another(model, sounds):
    noise, tone = str(sounds / "noise.wav"), str(sounds / "tone.flac")
    assert run(model, "similarity", noise, noise).stdout == "1.0000\n"
    other = told(run(model, "similarity", noise, tone, "--json"))["similarity"]
    assert -1 <= other < 0.99
    mixed = told(run(model, "similarity", noise, "rain", "--json"))
    assert [one["kind"] for one in mixed["inputs"]] == ["audio", "text"]


def test_zero_shot_orders_labels_by_cosine_and_shares_add_up(model, sounds):
    labels = ["rain", "a dog", "the sea at night"]
    rows = told(run(model, "zero-shot", str(sounds / "tone.flac"), *labels, "--json"))["labels"]
    assert sorted(row["label"] for row in rows) == sorted(labels)
    assert sum(row["score"] for row in rows) == pytest.approx(1, abs=1e-5)
    cosines = [row["similarity"] for row in rows]
    assert cosines == sorted(cosines, reverse=True)
    clap = load_engine("clap", {"model": model})
    tone = soundfile.read(sounds / "tone.flac", dtype="float32", always_2d=True)[0].T
    expected = clap.embed_audio([tone], RATE)[0] @ clap.embed_text([f"This is a sound of {rows[0]['label']}."])[0]
    assert cosines[0] == pytest.approx(expected, abs=1e-5)
    bare = told(run(model, "zero-shot", str(sounds / "tone.flac"), "rain", "--template", "{}", "--json"))
    assert bare["labels"][0]["score"] == 1 and bare["labels"][0]["similarity"] != pytest.approx(cosines[0], abs=1e-6)


def test_softmax_uses_the_models_scale():
    np.testing.assert_allclose(softmax(np.float32([0.1, 0.0]), 10.0), [np.e / (np.e + 1), 1 / (np.e + 1)], rtol=1e-5)
    assert np.isfinite(softmax(np.float32([1, -1]), 1e4)).all()


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (("similarity", "gone.wav", "rain"), NotFound, "no sound file 'gone.wav'"),
        (("zero-shot", "rain", "dog"), NotFound, "no sound file 'rain'"),
        (("zero-shot", "{folder}/tone.flac", "dog", "--template", "a sound"), InvalidRequest, "template"),
        (("embed", " "), InvalidRequest, "empty text"),
        (("embed", "{folder}/broken.wav"), InvalidAudio, "broken.wav"),
        (("embed", "rain", "--output", "x.npy"), InvalidRequest, ".safetensors"),
        (("embed", "rain", "--engine", "mock"), InvalidRequest, "scorer"),
    ],
)
def test_what_cannot_be_is_refused(model, sounds, arguments, error, says):
    given = [argument.replace("{folder}", str(sounds)) for argument in arguments]
    ran = run(model, *given) if "--engine" not in given else CliRunner().invoke(group, given)
    assert isinstance(ran.exception, error), ran.exception
    assert says in str(ran.exception)


def test_click_itself_answers_missing_arguments_with_two():
    assert CliRunner().invoke(group, ["zero-shot", "x.wav"]).exit_code == 2
