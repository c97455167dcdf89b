"""LAION's own package against ours, on the same random weights of full size.

The package cannot live in this interpreter (it needs numpy below 2). Name one that has it in
AUDIO_POOL_LAION_PYTHON to run the comparison; without, that test is skipped and says so.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.support import clap_checkpoints

from audio_pool.engines import engine_info, load_engine
from audio_pool.engines._laion_checkpoint import checkpoint_in
from audio_pool.engines.laion_clap import _nothing_fetched
from audio_pool.errors import EngineUnavailable

SOURCE = Path(__file__).parents[2] / "src"
PYTHON = os.environ.get("AUDIO_POOL_LAION_PYTHON") or (
    sys.executable if importlib.util.find_spec("laion_clap") else ""
)
TEXTS = ["rain on a tin roof", "a dog", "the sea at night"]
RATE = 44_100

THEIRS = """
import sys
sys.path.insert(0, {source!r})
import numpy as np, torch
from audio_pool.engines import load_engine
from audio_pool.engines.laion_clap import _nothing_fetched

torch.set_num_threads(1)
torch.manual_seed(3)
with _nothing_fetched(None):
    import laion_clap
    module = laion_clap.CLAP_Module(enable_fusion=False, device="cpu", amodel={audio_model!r})
with torch.no_grad():
    for name, weight in module.model.named_parameters():
        if weight.ndim >= 2 and "extractor" not in name:
            weight.normal_(std=weight[0].numel() ** -0.5)
        elif name.endswith("bias"):
            weight.normal_(std=0.05)
state = {{"module." + name: value for name, value in module.model.state_dict().items()}}
state["module.text_branch.embeddings.position_ids"] = torch.arange(514)[None]
torch.save({{"epoch": 1, "name": "random", "state_dict": state}}, {checkpoint!r})
del module, state
scorer = load_engine("laion_clap", model={checkpoint!r}, text_model={tokenizer!r})
given = np.load({sounds!r})
np.savez(
    {vectors!r},
    text=scorer.embed_text({texts!r}),
    sound=scorer.embed_audio([given[name] for name in sorted(given.files)], {rate}),
    scale=scorer.logit_scale,
)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not PYTHON,
    reason="laion-clap is not installed here; name an interpreter that has it in AUDIO_POOL_LAION_PYTHON",
)
@pytest.mark.parametrize("audio_model", ["HTSAT-tiny", "HTSAT-base"])
def test_the_package_and_ours_give_the_same_vectors(audio_model, tmp_path):
    clap_checkpoints.save_tokenizer(tmp_path / "roberta-base")
    rng = np.random.default_rng(1)
    sounds = {
        "a": rng.standard_normal((2, 3 * RATE)).astype(np.float32) * 0.1,
        "b": np.sin(2 * np.pi * 440 * np.arange(13 * RATE) / RATE).astype(np.float32)[None] * 0.5,
        "c": rng.standard_normal((1, 10 * RATE)).astype(np.float32) * 0.01,
    }
    np.savez(tmp_path / "sounds.npz", **sounds)
    checkpoint = tmp_path / "630k-random.pt"
    script = THEIRS.format(
        source=str(SOURCE), audio_model=audio_model, checkpoint=str(checkpoint), texts=TEXTS, rate=RATE,
        tokenizer=str(tmp_path / "roberta-base"), sounds=str(tmp_path / "sounds.npz"),
        vectors=str(tmp_path / "vectors.npz"),
    )  # fmt: skip
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(
        [PYTHON, "-W", "ignore", "-c", script], env=environment, capture_output=True, text=True, timeout=240
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    theirs = np.load(tmp_path / "vectors.npz")
    ours = load_engine("clap", {"model": str(checkpoint)})
    np.testing.assert_allclose(ours.embed_text(TEXTS), theirs["text"], atol=1e-4)
    np.testing.assert_allclose(ours.embed_audio([sounds[name] for name in "abc"], RATE), theirs["sound"], atol=1e-4)
    assert ours.logit_scale == pytest.approx(float(theirs["scale"]), rel=1e-5)
    assert np.abs(theirs["sound"][0] - theirs["sound"][1]).max() > 1e-2, "random weights that tell sounds apart"


def test_without_the_package_the_engine_says_what_it_needs():
    if importlib.util.find_spec("laion_clap"):
        pytest.skip("laion-clap is installed here")
    assert engine_info("laion_clap").dimensions == 512
    with pytest.raises(EngineUnavailable, match="needs laion_clap"):
        load_engine("laion_clap")


def test_what_is_replaced_for_loading_is_put_back():
    import transformers

    owners = (transformers.BertTokenizer, transformers.RobertaTokenizer, transformers.RobertaModel)
    before = [owner.from_pretrained for owner in owners]
    mark = object()
    with _nothing_fetched(mark):
        assert transformers.RobertaTokenizer.from_pretrained("roberta-base") is mark
        assert transformers.BertTokenizer.from_pretrained("bert-base-uncased") is None
    assert [owner.from_pretrained for owner in owners] == before
    with pytest.raises(KeyError), _nothing_fetched(mark):
        raise KeyError
    assert [owner.from_pretrained for owner in owners] == before


def test_a_directory_of_checkpoints_stands_for_the_usual_one(tmp_path):
    with pytest.raises(EngineUnavailable, match="holds 0 checkpoints"):
        checkpoint_in(tmp_path)
    (tmp_path / "630k-best.pt").touch()
    assert checkpoint_in(tmp_path).name == "630k-best.pt"
    (tmp_path / "music_speech.pt").touch()
    with pytest.raises(EngineUnavailable, match="holds 2 checkpoints"):
        checkpoint_in(tmp_path)
    (tmp_path / "630k-audioset-best.pt").touch()
    assert checkpoint_in(tmp_path).name == "630k-audioset-best.pt"
