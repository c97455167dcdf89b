"""``cache calibrate``: an encoder that nobody measured, measured on a cache, and trusted by whoever has it open."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.support.cache_sounds import recipe, sound
from tests.support.engine_packages import engine_package
from tests.support.engines.reader_engine import Reader
from tests.support.png_pixels import png_pixels
from tests.support.waiting import PATIENCE_S

from audio_pool.cache.sound_cache import SoundCache
from audio_pool.types import Query

MADE_OF = ["tin", "glass", "wooden", "stone", "copper", "paper", "plastic", "straw", "brick", "bamboo", "leather"]
SAME = [(f"rain on a {what} roof", f"a {what} roof in the rain") for what in MADE_OF]
OTHERS = [(f"rain on a {what} roof", f"snow on a {what} roof") for what in MADE_OF]
UNLIKE = ("birds", "church bell", "motor", "jazz", "fox", "a duck quacks", "glass", "zip", "vuvuzela", "mewing kitten")
QUERY = Query(temperature=0.0)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return engine_package(tmp_path_factory.mktemp("package"), "reader")


@pytest.fixture
def cache(tmp_path: Path):
    """Open here all the while: another process than the one that measures."""
    opened = SoundCache(tmp_path / "cache")
    for seed, prompt in enumerate((SAME[0][0], *UNLIKE)):
        vector = Reader().embed([prompt])[0]
        opened.put(sound(opened.incoming, prompt, seed=seed), {"reader": vector})
    yield opened
    opened.close()


def command(package: Path, tmp_path: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    place = str(tmp_path / "cache")
    told = [sys.executable, "-m", "audio_pool.cli", "cache", "calibrate", "--encoder", "reader", "--cache-dir", place]
    return [*told, *arguments], {**os.environ, "PYTHONPATH": str(package)}


def run(package: Path, tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    told, env = command(package, tmp_path, *arguments)
    return subprocess.run(
        told, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S
    )  # fmt: skip


def found(cache: SoundCache, prompt: str) -> bool:
    vectors = {"reader": Reader().embed([prompt])[0].astype(np.float32)}
    return cache.find_near(recipe(prompt), QUERY, vectors).hit is not None


def test_an_encoder_is_trusted_once_it_is_measured_and_no_more_when_that_is_forgotten(
    cache: SoundCache, package: Path, tmp_path: Path
) -> None:
    asked = "a tin roof in the rain"
    assert not found(cache, asked), "nobody measured it"
    few = run(package, tmp_path)
    assert few.returncode == 2 and "needed are 10 of each" in few.stderr
    rows = [f"{a},{b},{verdict}" for pairs, verdict in ((SAME, "right"), (OTHERS, "wrong")) for a, b in pairs]
    (tmp_path / "pairs.csv").write_text("\n".join(["query,prompt,verdict", *rows]))
    given = ["--pairs", str(tmp_path / "pairs.csv"), "--json"]
    only = run(package, tmp_path, *given, "--measure-only", "--plot", str(tmp_path / "only.png"))
    assert only.returncode == 0, only.stderr
    assert json.loads(only.stdout)["kept"] is False and not found(cache, asked)
    done = run(package, tmp_path, *given, "--error", "0.05")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["space"], told["same_pairs"] + told["different_pairs"] > 20) == ("reader", True)
    assert told["accepted_different"] <= 0.05 and told["accepted_same"] == 1.0 and told["at_070"] < told["plain"]
    assert png_pixels(Path(told["plot"]).read_bytes()).shape == (520, 900)
    assert Path(told["plot"]).parent == tmp_path / "cache"
    assert found(cache, asked)
    forgotten = json.loads(run(package, tmp_path, "--forget", "--json").stdout)
    assert forgotten == {"space": "reader", "forgotten": True}
    assert not found(cache, asked)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("query,prompt\na,b\n", "no column verdict"),
        ("query,prompt,verdict\na,b,right\nc,d,perhaps\n", "line 3: given 'perhaps'"),
        ("query,prompt,verdict\n,b,right\n", "line 2"),
    ],
)
def test_a_csv_that_cannot_be_used_is_refused_by_its_line(text: str, named: str, tmp_path: Path) -> None:
    from audio_pool.cli.calibrating import pairs_from
    from audio_pool.errors import InvalidRequest

    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(InvalidRequest, match=named):
        pairs_from(tmp_path / "pairs.csv")


def test_questions_at_a_terminal_are_kept_and_teach(cache: SoundCache, package: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    told, env = command(package, tmp_path)
    asking = subprocess.Popen(
        told, env=env, stdin=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    os.write(ours, b"y\nn\ns\nq\n")
    _, said = asking.communicate(timeout=PATIENCE_S)
    os.close(ours)
    os.close(theirs)
    assert asking.returncode == 2 and "needed are 10 of each" in said
    kept = [one.given for one in cache.store.judgements.newest(9)]
    assert [(one.verdict, one.source) for one in kept] == [("wrong", "calibration"), ("right", "calibration")]
    assert all(repr(one.query) in said for one in kept)
    assert found(cache, kept[1].query) or cache.find_exact(recipe(kept[1].query), QUERY).hit is not None
