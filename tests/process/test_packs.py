"""Packs built through a real pool: twice the same, byte by byte; interrupted and gone on with; frozen; by commands."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec import structs
from tests.support.waiting import PATIENCE_S

from audio_pool import AudioClient, AudioPool
from audio_pool.audio import codec
from audio_pool.cli import main
from audio_pool.config import CacheConfig, Config, ServerConfig
from audio_pool.errors import Conflict
from audio_pool.packs.batch import make_list, write_report
from audio_pool.packs.pack_build import Built, build
from audio_pool.packs.pack_check import check
from audio_pool.packs.pack_lock import read_lock, write_lock
from audio_pool.packs.pack_manifest import read_manifest
from audio_pool.packs.pack_plan import plan_of
from audio_pool.packs.prompt_list import prompt_lines

EXAMPLES = Path(__file__).parents[2] / "examples" / "packs"
SMALL = """
[pack]
name = "small"
seed = 2
[defaults]
duration_s = 0.4
[[items]]
name = "click"
prompt = "short click"
variants = 3
[[items]]
name = "hum"
prompt = "deep engine hum"
loop = true
duration_s = 1.0
format = "flac"
"""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AudioPool]:
    place = tmp_path_factory.mktemp("pool")
    config = Config(
        cache=CacheConfig(dir=str(place / "cache"), encoder="off"), server=ServerConfig(bind=f"ipc://{place}/s.sock")
    )
    with AudioPool(config, serve=True) as pool:
        yield pool


def built(pool: AudioPool | AudioClient, folder: Path, **options: object) -> Built:
    made, lock = read_manifest(folder), read_lock(folder)
    here = isinstance(pool, AudioPool)
    return build(pool, folder, made, lock, plan_of(made, lock, folder), here=here, **options)  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def small(folder: Path, text: str = SMALL) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "pack.toml").write_text(text)
    return folder


def test_a_pack_is_the_same_bytes_wherever_it_is_built(pool: AudioPool, tmp_path: Path) -> None:
    first, second = small(tmp_path / "a"), small(tmp_path / "b")
    assert len(built(pool, first).made) == 4
    # by another way, from another cache: nothing in it says when, where or from what it was made
    other = Config(cache=CacheConfig(enabled=False, dir=str(tmp_path / "none"), encoder="off"))
    with AudioPool(other) as cold:
        fresh = built(cold, second)
    assert fresh.there_already == 0 and contents(first) == contents(second)
    (tmp_path / "b/sounds/sound/click_02.ogg").unlink()
    with AudioClient(pool.endpoint, timeout_s=PATIENCE_S) as client:
        again = built(client, second, frozen=True)
    assert (again.made, again.there_already, again.kept) == (["sound/click_02.ogg"], 1, 3)
    assert contents(first) == contents(second)
    told = codec.inspect(first / "sounds/sound/hum.flac")
    assert told["loop"] is not None and "generation_timestamp" not in told["comment"]
    assert told["recipe"]["recipe_id"] == next(one.recipe for one in read_lock(first).files if one.item == "hum")


def test_only_what_changed_is_made_again_and_frozen_refuses_it(pool: AudioPool, tmp_path: Path) -> None:
    folder = small(tmp_path / "p")
    built(pool, folder)
    assert built(pool, folder).made == []
    small(folder, SMALL.replace('"short click"', '"long click"').replace('name = "hum"', 'name = "drone"'))
    with pytest.raises(Conflict, match=r"frozen: sound/click_01\.ogg would be another"):
        built(pool, folder, frozen=True)
    done = built(pool, folder)
    assert sorted(done.made) == [*(f"sound/click_0{n}.ogg" for n in (1, 2, 3)), "sound/drone.flac"]
    assert done.removed == ["sound/hum.flac"]
    (folder / "sounds/sound/drone.flac").write_bytes(b"mine")
    assert built(pool, folder).edited == ["sound/drone.flac"]
    assert (folder / "sounds/sound/drone.flac").read_bytes() == b"mine"
    assert built(pool, folder, overwrite=True).made == ["sound/drone.flac"]
    assert not list(check(folder, read_manifest(folder), read_lock(folder)))


def test_what_was_interrupted_goes_on_where_it_stopped(pool: AudioPool, tmp_path: Path) -> None:
    folder = small(tmp_path / "p")

    def stop(progress: Built) -> None:
        if len(progress.made) == 2:
            raise KeyboardInterrupt

    first = built(pool, folder, at_once=1, on_progress=stop)
    assert first.interrupted and 2 <= len(first.made) < 4
    assert {one.file for one in read_lock(folder).files} == set(first.made)
    second = built(pool, folder)
    assert second.kept == len(first.made) and len(second.made) == 4 - len(first.made)


def test_a_failure_is_listed_and_the_rest_is_done(pool: AudioPool, tmp_path: Path) -> None:
    folder = small(tmp_path / "p", SMALL.replace('variants = 3', 'engine = "nobody"'))
    done = built(pool, folder)
    assert [one.file for one in done.failed] == ["sound/click.ogg"] and "nobody" in done.failed[0].message
    assert done.made == ["sound/hum.flac"]
    noisy = small(tmp_path / "q", SMALL.replace("duration_s = 1.0", "duration_s = 1.0\nmax_noise_floor_dbfs = -110"))
    built(pool, noisy)
    hum = next(one for one in read_lock(noisy).files if one.item == "hum")
    assert hum.warnings[-1].startswith("noise_floor: ")
    (noisy / "sounds/sound/hum.flac").unlink()
    assert built(pool, noisy, frozen=True).made == ["sound/hum.flac"]
    small(noisy, (noisy / "pack.toml").read_text().replace("seed = 2", 'seed = 2\nversion = "2.0.0"'))
    with pytest.raises(Conflict, match=r"frozen: the pack would be small 2\.0\.0"):
        built(pool, noisy, frozen=True)


def test_what_is_somebodys_stays_his(pool: AudioPool, tmp_path: Path) -> None:
    folder = small(tmp_path / "p")
    sounds = folder / "sounds/sound"
    sounds.mkdir(parents=True)
    (sounds / "click_02.ogg").write_bytes(b"mine")  # it was never built
    first = built(pool, folder)
    assert [one.file for one in first.failed] == ["sound/click_02.ogg"] and "was not built" in first.failed[0].message
    (sounds / "hum.flac").write_bytes(b"mine, too")
    small(folder, SMALL.replace('"deep engine hum"', '"high engine hum"'))
    assert built(pool, folder).edited == ["sound/hum.flac"]
    small(folder, SMALL.replace('name = "hum"', 'name = "drone"'))
    gone = built(pool, folder)
    assert gone.removed == [] and gone.edited == ["sound/hum.flac"]
    assert [(sounds / name).read_bytes() for name in ("click_02.ogg", "hum.flac")] == [b"mine", b"mine, too"]
    assert built(pool, folder, overwrite=True).made == ["sound/click_02.ogg"]
    # what a killed build has written and not locked is its own
    whole = (folder / "pack.lock").read_bytes()
    lock = read_lock(folder)
    assert lock is not None
    write_lock(folder, structs.replace(lock, files=lock.files[1:]))
    assert built(pool, folder).made == [lock.files[0].file] and (folder / "pack.lock").read_bytes() == whole


def test_one_build_at_a_time_in_a_folder(pool: AudioPool, tmp_path: Path) -> None:
    folder, met = small(tmp_path / "p"), []

    def another(_: Built) -> None:
        with pytest.raises(Conflict, match="another build is under way"):
            built(pool, folder)
        met.append(True)

    assert built(pool, folder, on_progress=another).made and met


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.iterdir()))
def test_the_examples_are_built_in_line(pool: AudioPool, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    shutil.copytree(EXAMPLES / name, folder)
    done = built(pool, folder)
    made, lock = read_manifest(folder), read_lock(folder)
    assert not done.failed and not list(check(folder, made, lock))
    for one in lock.files:
        wanted = one.asked["target_lufs"]
        assert one.loudness_lufs is None or abs(one.loudness_lufs - wanted) < 1.0, one.file


def test_the_commands(pool: AudioPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runner, connect = CliRunner(), ["--connect", pool.endpoint or ""]

    def run(*arguments: str) -> str:
        done = runner.invoke(main, list(arguments))
        assert done.exit_code == 0, (arguments, done.output)
        return done.output

    (tmp_path / "list.txt").write_text("short click\nlow buzz\n")
    assert "2 items" in run("pack", "import", "list.txt", "made")
    (tmp_path / "made/pack.toml").write_text((tmp_path / "made/pack.toml").read_text() + "duration_s = 0.3\n")
    assert "2 to make" in run("pack", "plan", "made")
    assert "2 made" in run("pack", "build", "made", *connect)
    assert "0 made (0 of them from the cache), 2 as they were" in run("pack", "build", "made")
    assert "2 files, 0 not" in run("pack", "check", "made")
    assert "3 files" in run("pack", "export", "made", "--target", "plain", "-o", "out")
    run("pack", "export", "made", "--target", "fmod", "-o", "fmod")
    if shutil.which("node"):  # it is JavaScript, at least
        subprocess.run(["node", "--check", tmp_path / "fmod/import_fmod.js"], check=True, timeout=PATIENCE_S)
    assert run("pack", "diff", "made", "made") == ""
    assert "an example" in run("pack", "init", "fresh")
    assert "exists already" in runner.invoke(main, ["pack", "init", "fresh"]).output
    (tmp_path / "made/sounds/sound/low_buzz.ogg").write_bytes(b"")
    bad = runner.invoke(main, ["pack", "check", "made", "--json"])
    assert bad.exit_code == 1 and len(json.loads(bad.stdout)["wrong"]) == 1
    assert runner.invoke(main, ["pack", "build", "nowhere"]).exit_code == 2


def test_a_list_is_made_into_a_folder_with_a_report(pool: AudioPool, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("prompt,duration_s,engine\ndog bark,0.4,\ndog bark,0.4,\nrain,0.5,nobody\n")
    out = tmp_path / "out"
    runner, connect = CliRunner(), ["--connect", pool.endpoint or ""]
    done = runner.invoke(main, ["batch", str(tmp_path / "list.csv"), "-o", str(out), "--format", "ogg", *connect])
    assert done.exit_code == 1 and "line 4: 'rain'" in done.stderr
    with (out / "report.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["status"]) for row in rows] == [
        ("dog_bark.ogg", "made"), ("dog_bark_02.ogg", "made"), ("", "failed"),
    ]  # fmt: skip
    assert (out / "dog_bark.ogg").read_bytes() != (out / "dog_bark_02.ogg").read_bytes()
    again = make_list(pool, prompt_lines(tmp_path / "list.csv", {"format": "ogg"}), out, "wav")
    assert [row.status for row in again] == ["there", "there", "failed"]
    (tmp_path / "list.txt").write_text("dog bark\ndog bark\ndog bark 02\n=1+1\n")
    rows = make_list(pool, prompt_lines(tmp_path / "list.txt", {"format": "ogg", "duration_s": 0.4}), out, "wav")
    assert [(row.file, row.status) for row in rows] == [
        ("dog_bark.ogg", "there"), ("dog_bark_02.ogg", "there"), ("dog_bark_02_02.ogg", "made"), ("1_1.ogg", "made"),
    ]  # fmt: skip
    with write_report(out, rows).open(newline="") as file:  # no spreadsheet reckons with what somebody asked for
        assert [row["prompt"] for row in csv.DictReader(file)][2:] == ["dog bark 02", "'=1+1"]
