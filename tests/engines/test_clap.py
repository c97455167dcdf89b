"""CLAP on tiny random checkpoints: both layouts, independence of the batch, windows, refusals."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import soxr
import torch
from tests.support import clap_checkpoints
from transformers import ClapFeatureExtractor

from audio_pool.engines import engine_info, load_engine
from audio_pool.engines._clap import WINDOW, mean_of_windows, mono_at_rate, windows
from audio_pool.engines.base import Scorer
from audio_pool.errors import EngineUnavailable, InvalidAudio, InvalidConfig

RATE = 48_000


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> Path:
    """``tiny/`` and ``630k-tiny.pt`` with the same weights, ``roberta-base/`` beside them."""
    home = tmp_path_factory.mktemp("clap")
    model = clap_checkpoints.save_directory(home / "tiny")
    clap_checkpoints.save_laion(home / "630k-tiny.pt", model)
    clap_checkpoints.save_tokenizer(home / "roberta-base")
    return home


@pytest.fixture(scope="module")
def clap(checkpoints):
    return load_engine("clap", {"model": str(checkpoints / "tiny")})


def noise(seconds: float, seed: int, *, channels: int = 1, rate: int = RATE) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((channels, round(seconds * rate)))
    return (0.1 * drawn).astype(np.float32)


def tone(hz: float, seconds: float, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)[None]


TEXTS = ["rain on a tin roof", "a dog", "the sea at night", "dogs, far away", "rain on a tin roof", ""]


def test_is_a_scorer_with_the_models_own_figures(clap, checkpoints):
    assert isinstance(clap, Scorer)
    assert clap.info.dimensions == 16
    assert clap.info.model == str(checkpoints / "tiny")
    assert engine_info("clap").model == "laion/clap-htsat-unfused"
    assert clap.logit_scale == pytest.approx(1 / 0.07, rel=1e-5)


def test_texts_are_unit_rows_in_order_whatever_their_lengths(clap):
    vectors = clap.embed_text(TEXTS)
    assert vectors.shape == (6, 16) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(vectors[0], vectors[4])
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3
    for row, text in enumerate(TEXTS):
        np.testing.assert_allclose(clap.embed_text([text])[0], vectors[row], atol=1e-6)


def test_texts_equal_the_librarys_own_padded_features(clap, checkpoints):
    from transformers import AutoTokenizer, ClapModel

    model = ClapModel.from_pretrained(checkpoints / "tiny").eval()
    tokens = AutoTokenizer.from_pretrained(checkpoints / "tiny")(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        theirs = model.get_text_features(tokens["input_ids"], attention_mask=tokens["attention_mask"])
    np.testing.assert_allclose(clap.embed_text(TEXTS), theirs.pooler_output.numpy(), atol=1e-5)


def test_a_text_beyond_77_tokens_is_cut_and_says_so(clap, caplog):
    long = "rain sea dog " * 60
    with caplog.at_level("WARNING"):
        cut = clap.embed_text([long])
    assert "77" in caplog.text
    np.testing.assert_array_equal(cut, clap.embed_text([long + "thunder"]))


def test_sounds_equal_the_librarys_own_features_where_it_draws_nothing(clap, checkpoints):
    from transformers import ClapModel

    model = ClapModel.from_pretrained(checkpoints / "tiny").eval()
    sounds = [noise(10.0, 1), tone(440, 2.5), noise(0.7, 2)]
    features = ClapFeatureExtractor.from_pretrained(checkpoints / "tiny")(
        [sound[0] for sound in sounds], sampling_rate=RATE, return_tensors="pt"
    )
    with torch.inference_mode():
        theirs = model.get_audio_features(features["input_features"]).pooler_output.numpy()
    np.testing.assert_allclose(clap.embed_audio(sounds, RATE), theirs, atol=1e-5)


def test_a_sound_alone_and_in_a_batch_is_the_same_vector_every_time(clap):
    sounds = [noise(23.0, 3), tone(440, 1.0), noise(0.3, 4), tone(1000, 14.0), noise(12.0, 5)]
    together = clap.embed_audio(sounds, RATE)
    assert together.shape == (5, 16)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(together, clap.embed_audio(sounds, RATE))
    for row, sound in enumerate(sounds):
        np.testing.assert_allclose(clap.embed_audio([sound], RATE)[0], together[row], atol=1e-6)


def test_numpys_and_torchs_random_states_are_left_alone(clap, checkpoints):
    np.random.seed(7)
    torch.manual_seed(7)
    expected = np.random.random(), torch.rand(1).item()
    np.random.seed(7)
    torch.manual_seed(7)
    clap.embed_audio([noise(31.0, 6)], RATE)
    clap.embed_text(["rain"])
    load_engine("clap", {"model": str(checkpoints / "630k-tiny.pt")})
    assert (np.random.random(), torch.rand(1).item()) == expected


def test_a_long_sound_is_the_mean_of_its_start_middle_and_end(clap):
    start, middle, end = tone(300, 10.0), noise(10.0, 8), tone(2000, 10.0)
    whole = clap.embed_audio([np.concatenate([start, middle, end], axis=1)], RATE)[0]
    parts = clap.embed_audio([start, middle, end], RATE)
    mean = parts.mean(axis=0)
    np.testing.assert_allclose(whole, mean / np.linalg.norm(mean), atol=1e-5)


def test_windows_are_whole_and_reach_both_ends():
    sound = np.arange(WINDOW + 4, dtype=np.float32)
    assert [part[0] for part in windows(sound)] == [0, 2, 4]
    assert all(part.size == WINDOW for part in windows(sound))
    assert len(windows(sound[:WINDOW])) == 1


def test_mean_of_windows_keeps_sounds_apart():
    vectors = np.array([[1, 0], [0, 1], [0, -1]], np.float32)
    np.testing.assert_allclose(mean_of_windows(vectors, [2, 1]), [[0.5**0.5, 0.5**0.5], [0, -1]], atol=1e-6)
    assert mean_of_windows(np.zeros((0, 2), np.float32), []).shape == (0, 2)


def test_a_sound_at_another_rate_or_in_stereo_is_heard_the_same(clap):
    """A 440 Hz tone is the same sound at 44.1 kHz; stereo is folded by its mean."""
    at_48, at_44 = tone(440, 4.0), tone(440, 4.0, 44_100)
    vectors = clap.embed_audio([at_48], RATE)[0], clap.embed_audio([at_44], 44_100)[0]
    assert vectors[0] @ vectors[1] > 0.9999
    both = np.concatenate([2 * at_48, 0 * at_48])
    np.testing.assert_allclose(clap.embed_audio([both], RATE)[0], vectors[0], atol=1e-6)
    resampled = mono_at_rate(at_44, 44_100)
    np.testing.assert_array_equal(resampled, soxr.resample(at_44[0], 44_100, 48_000))


def test_nothing_in_gives_nothing_out(clap):
    assert clap.embed_text([]).shape == (0, 16)
    assert clap.embed_audio([], RATE).shape == (0, 16)


@pytest.mark.parametrize(
    ("sound", "rate", "says"),
    [
        (np.zeros((1, 0), np.float32), RATE, "with samples in it"),
        (np.zeros((1, 2, 3), np.float32), RATE, "allowed is"),
        (np.full((1, 100), np.nan, np.float32), RATE, "not finite"),
        (np.zeros((1, 100), np.float32), 0, "1000..768000"),
    ],
)
def test_what_is_no_sound_is_refused(clap, sound, rate, says):
    with pytest.raises(InvalidAudio, match=says):
        clap.embed_audio([sound], rate)


def test_a_laion_checkpoint_gives_the_same_vectors(clap, checkpoints):
    converted = load_engine("clap", {"model": str(checkpoints / "630k-tiny.pt")})
    np.testing.assert_allclose(converted.embed_text(TEXTS), clap.embed_text(TEXTS), atol=1e-6)
    sounds = [noise(3.0, 9), noise(12.0, 10)]
    np.testing.assert_allclose(converted.embed_audio(sounds, RATE), clap.embed_audio(sounds, RATE), atol=1e-6)


def test_a_laion_checkpoint_may_hold_a_numpy_figure_but_no_code(checkpoints, tmp_path):
    model = clap_checkpoints.tiny_model(320)
    text = str(checkpoints / "roberta-base")
    clap_checkpoints.save_laion(tmp_path / "scored.pt", model, best=np.float64(0.9), auc=np.float32(0.5))
    assert load_engine("clap", {"model": str(tmp_path / "scored.pt"), "text_model": text}).info.dimensions == 16
    clap_checkpoints.save_laion(tmp_path / "code.pt", model, trainer=pickle.Unpickler)
    with pytest.raises(EngineUnavailable, match="more than tensors"):
        load_engine("clap", {"model": str(tmp_path / "code.pt"), "text_model": text})


def test_a_laion_checkpoint_without_all_tensors_or_with_others_is_refused(checkpoints, tmp_path):
    text = str(checkpoints / "roberta-base")
    for name, change in (
        ("less", lambda state: state.pop("module.audio_branch.norm.bias")),
        ("more", lambda state: state.update({"module.audio_branch.extra.weight": torch.zeros(2)})),
    ):
        state = clap_checkpoints.laion_state(clap_checkpoints.tiny_model(320))
        change(state)
        torch.save({"state_dict": state}, tmp_path / f"{name}.pt")
        with pytest.raises(EngineUnavailable, match=r"does not fit CLAP.*(norm\.bias|extra\.weight)"):
            load_engine("clap", {"model": str(tmp_path / f"{name}.pt"), "text_model": text})


def test_a_laion_checkpoint_needs_its_tokenizer_and_says_where_from(checkpoints, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    alone = tmp_path / "630k-alone.pt"
    alone.write_bytes((checkpoints / "630k-tiny.pt").read_bytes())
    with pytest.raises(EngineUnavailable, match="roberta-base") as caught:
        load_engine("clap", {"model": str(alone)})
    assert "text_model" in caught.value.hint and "audio-pool models fetch" in caught.value.hint
    load_engine("clap", {"model": str(alone), "models_dir": str(checkpoints)})


def test_fused_checkpoints_are_refused_in_both_layouts(checkpoints, tmp_path):
    model = clap_checkpoints.save_directory(tmp_path / "fused", fused=True)
    with pytest.raises(InvalidConfig, match="fusion"):
        load_engine("clap", {"model": str(tmp_path / "fused")})
    clap_checkpoints.save_laion(tmp_path / "fused.pt", model)
    with pytest.raises(InvalidConfig, match="fusion"):
        load_engine("clap", {"model": str(tmp_path / "fused.pt"), "text_model": str(checkpoints / "roberta-base")})


def test_a_model_that_is_not_here_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EngineUnavailable, match="laion/clap-htsat-unfused") as caught:
        load_engine("clap")
    assert "audio-pool models fetch clap" in caught.value.message


def test_a_directory_with_missing_tensors_is_not_filled_with_chance(checkpoints, tmp_path):
    from safetensors.torch import load_file, save_file

    for file in (checkpoints / "tiny").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(tmp_path / "model.safetensors")
    state.pop("audio_projection.linear2.weight")
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EngineUnavailable, match=r"audio_projection\.linear2\.weight"):
        load_engine("clap", {"model": str(tmp_path)})


@pytest.mark.parametrize(
    ("setting", "error", "says"),
    [
        ({"dtype": "int4"}, InvalidConfig, "float32"),
        ({"batch_size": 0}, InvalidConfig, "batch_size.*>= 1"),
        ({"batch_size": "8"}, InvalidConfig, "batch_size"),
        ({"batchsize": 8}, InvalidConfig, "did you mean 'batch_size'"),
        ({"text_model": "roberta-base"}, InvalidConfig, "its own tokenizer"),
        ({"device": "nonsense"}, InvalidConfig, "device"),
        ({"device": "cuda:99"}, EngineUnavailable, "cuda:99"),
    ],
)
def test_settings_out_of_bounds_are_refused(checkpoints, setting, error, says):
    with pytest.raises(error, match=says):
        load_engine("clap", {"model": str(checkpoints / "tiny"), **setting})


def test_small_batches_change_nothing(clap, checkpoints):
    one = load_engine("clap", {"model": str(checkpoints / "tiny"), "batch_size": 1, "device": "auto"})
    np.testing.assert_allclose(one.embed_text(TEXTS), clap.embed_text(TEXTS), atol=1e-6)
    sounds = [noise(21.0, 12), tone(440, 1.0)]
    np.testing.assert_allclose(one.embed_audio(sounds, RATE), clap.embed_audio(sounds, RATE), atol=1e-6)


def test_half_precision_stays_near(clap, checkpoints):
    half = load_engine("clap", {"model": str(checkpoints / "tiny"), "dtype": "bfloat16"})
    sounds = [noise(3.0, 11), tone(440, 3.0)]
    near = (half.embed_audio(sounds, RATE) * clap.embed_audio(sounds, RATE)).sum(axis=1)
    assert near.min() > 0.99
