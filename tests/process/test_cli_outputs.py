"""Where the command line puts sounds: names, formats, modes, and files that exist already."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.support.waiting import PATIENCE_S

from audio_pool.audio import codec

SHORT = ("--duration", "0.3")


def run(place: Path, *arguments: str, umask: int = 0o022, text: bool = True) -> subprocess.CompletedProcess:
    env = {**os.environ, "AUDIO_POOL_CACHE_DIR": str(place / "cache"), "AUDIO_POOL_CACHE_ENCODER": "off"}
    return subprocess.run(
        [sys.executable, "-m", "audio_pool.cli", *arguments],
        cwd=place, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=text, timeout=PATIENCE_S, umask=umask,
    )  # fmt: skip


def generated(place: Path, *arguments: str) -> Path:
    done = run(place, "generate", "a loud beep", *SHORT, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return Path(json.loads(done.stdout)["path"])


def test_a_name_that_ends_with_a_slash_is_a_directory(tmp_path: Path) -> None:
    assert generated(tmp_path, "-o", "new/dir/") == tmp_path / "new" / "dir" / "a_loud_beep.wav"
    assert (tmp_path / "new" / "dir").is_dir()


@pytest.mark.parametrize(("arguments", "ending"), [((), "wav"), (("--format", "flac"), "flac")])
def test_a_name_without_an_ending_gets_the_formats(tmp_path: Path, arguments: tuple[str, ...], ending: str) -> None:
    path = generated(tmp_path, "-o", "x", *arguments)
    assert path == tmp_path / f"x.{ending}"
    assert codec.inspect(path)["format"] == ending
    assert not (tmp_path / "x").exists()


def test_a_name_without_an_ending_gets_the_configured_formats(tmp_path: Path) -> None:
    (tmp_path / "pool.toml").write_text('[defaults]\nformat = "ogg"\n')
    path = generated(tmp_path, "-o", "x", "--config", "pool.toml")
    assert path.name == "x.ogg"
    assert codec.inspect(path)["format"] == "ogg"


def test_a_name_of_another_format_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "generate", "beep", "-o", "x.wav", "--format", "flac")
    assert done.returncode == 2
    assert "'x.wav', which is not a name for format 'flac'" in done.stderr


def test_an_existing_file_is_replaced_only_where_that_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_text("precious")
    done = run(tmp_path, "generate", "beep", *SHORT, "-o", "x.wav")
    assert done.returncode == 2
    assert "x.wav exists already; nothing was made (give --overwrite, or another name)" in done.stderr
    assert (tmp_path / "x.wav").read_text() == "precious"
    assert not (tmp_path / "cache" / "audio").exists(), "refused before a sound was made"
    assert generated(tmp_path, "-o", "x.wav", "--overwrite") == tmp_path / "x.wav"
    assert codec.inspect(tmp_path / "x.wav")["format"] == "wav"


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_is_no_regular_file_is_never_replaced(tmp_path: Path, kind: str) -> None:
    (tmp_path / "target.wav").write_text("precious")
    if kind == "link":
        (tmp_path / "x.wav").symlink_to("target.wav")
    else:
        os.mkfifo(tmp_path / "x.wav")
    done = run(tmp_path, "generate", "beep", *SHORT, "-o", "x.wav", "--overwrite")
    assert done.returncode == 2
    assert "is not a regular file" in done.stderr
    assert (tmp_path / "target.wav").read_text() == "precious"


def test_a_device_is_not_taken_for_a_name_without_an_ending(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "device")
    done = run(tmp_path, "generate", "beep", *SHORT, "-o", "device")
    assert done.returncode == 2
    assert "is not a regular file" in done.stderr
    assert not (tmp_path / "device.wav").exists()


def test_an_empty_name_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "generate", "beep", *SHORT, "-o", "")
    assert done.returncode == 2
    assert "--output: given an empty name" in done.stderr


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_what_is_written_follows_the_umask_and_the_cache_stays_private(tmp_path: Path, umask: int) -> None:
    for arguments in (["generate", "-o", "x.wav"], ["generate", "-o", "dir/"], ["variants", "-n", "1", "-o", "takes"]):
        command, *rest = arguments
        done = run(tmp_path, command, "beep", *SHORT, *rest, umask=umask)
        assert done.returncode == 0, done.stderr
    for path in (tmp_path / "x.wav", tmp_path / "dir" / "beep.wav", tmp_path / "takes" / "beep_01.wav"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask, path
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) & 0o077 == 0


def test_a_dash_writes_the_sound_to_standard_output_and_nothing_else(tmp_path: Path) -> None:
    for arguments in ([], ["--json"]):
        done = run(tmp_path, "generate", "beep", *SHORT, "--format", "flac", "-o", "-", *arguments, text=False)
        assert done.returncode == 0, done.stderr
        (tmp_path / "x.flac").write_bytes(done.stdout)
        audio, rate = codec.read(tmp_path / "x.flac")
        assert audio.shape[1] == round(0.3 * rate)
        told = done.stderr.decode().splitlines()
        if arguments:
            assert json.loads(told[-1])["path"] == "-"
        else:
            assert "new, made by procedural" in told[-1]
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "x.flac"}


def test_an_error_leaves_standard_output_empty(tmp_path: Path) -> None:
    for arguments in ([], ["--json"]):
        elsewhere = ("--connect=ipc:///nowhere", "--config=mine.toml")
        for wrong, told in ((("--strict",), "nearest_recipe"), (elsewhere, "given with --connect")):
            done = run(tmp_path, "generate", "xyzzy", *SHORT, *wrong, "-o", "-", *arguments)
            assert done.returncode != 0
            assert done.stdout == ""
            assert told in done.stderr


@pytest.mark.parametrize(
    ("redirected", "code", "told"),
    [(">&-", 2, "standard output is closed"), (">/dev/full", 1, "standard output: No space left on device")],
)
def test_standard_output_that_takes_nothing_is_told(tmp_path: Path, redirected: str, code: int, told: str) -> None:
    env = {**os.environ, "AUDIO_POOL_CACHE_DIR": str(tmp_path / "cache"), "AUDIO_POOL_CACHE_ENCODER": "off"}
    command = f"{sys.executable} -m audio_pool.cli generate beep --duration 0.3 -o - {redirected}"
    done = subprocess.run(command, shell=True, env=env, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, "bug" in done.stderr) == (code, False)
    assert told in done.stderr


def test_an_error_of_the_system_is_json_where_that_was_asked_for(tmp_path: Path) -> None:
    done = run(tmp_path, "generate", "beep", *SHORT, "-o", "x" * 300 + ".wav", "--json")
    assert done.returncode == 1
    assert "File name too long" in json.loads(done.stdout)["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-o", "file/x.wav"], "Not a directory"),
        (["-o", "file/dir/"], "Not a directory"),
        (["--spectrogram", "no/where.png"], "no/where.png"),
        (["--spectrogram", "there.png"], "there.png exists already"),
    ],
)
def test_a_place_that_cannot_be_written_is_found_before_a_sound_is_made(
    tmp_path: Path, arguments: list[str], told: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "there.png").write_text("precious")
    done = run(tmp_path, "generate", "beep", *SHORT, *arguments)
    assert done.returncode in (1, 2)
    assert told in done.stderr
    assert "bug" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "cache").exists()
    assert (tmp_path / "there.png").read_text() == "precious"


def test_the_spectrogram_is_a_picture(tmp_path: Path) -> None:
    for arguments in (["generate", "siren", *SHORT, "-o", "x.wav"], ["inspect", "x.wav"]):
        done = run(tmp_path, *arguments, "--spectrogram", f"{arguments[0]}.png")
        assert done.returncode == 0, done.stderr
        assert (tmp_path / f"{arguments[0]}.png").read_bytes().startswith(b"\x89PNG")


def test_variants_of_two_prompts_lie_side_by_side(tmp_path: Path) -> None:
    for prompt in ("beep", "Bell!"):
        assert run(tmp_path, "variants", prompt, *SHORT, "-n", "2", "-o", "takes").returncode == 0
    names = {path.name for path in (tmp_path / "takes").iterdir()}
    assert names == {"beep_01.wav", "beep_02.wav", "bell_01.wav", "bell_02.wav"}


def test_variants_are_named_by_a_pattern(tmp_path: Path) -> None:
    done = run(tmp_path, "variants", "beep", *SHORT, "-n", "2", "--name", "ui-{slug}-{n}", "--format", "flac")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.glob("*.flac")} == {"ui-beep-1.flac", "ui-beep-2.flac"}
    refused = run(tmp_path, "variants", "beep", "-n", "2", "--name", "{prompt}")
    assert refused.returncode == 2
    assert "allowed are {slug}, {n}, {nn}" in refused.stderr


def test_variants_replace_nothing_unasked(tmp_path: Path) -> None:
    (tmp_path / "beep_02.wav").write_text("precious")
    refused = run(tmp_path, "variants", "beep", *SHORT, "-n", "3")
    assert refused.returncode == 2
    assert "beep_02.wav exists already; nothing was made" in refused.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"beep_02.wav"}
    assert run(tmp_path, "variants", "beep", *SHORT, "-n", "3", "--overwrite").returncode == 0
    assert codec.inspect(tmp_path / "beep_02.wav")["format"] == "wav"


def test_a_server_on_another_machine_sends_the_file(tmp_path: Path, server: str) -> None:
    """Its files may lie anywhere: what is delivered inline is written by the command itself."""
    for number, output in enumerate(("x.wav", "dir/", "x.wav")):
        arguments = ["--connect", server, "--delivery", "inline", "-o", output, *(["--overwrite"] if number else [])]
        done = run(tmp_path, "generate", "beep", *SHORT, *arguments, "--json")
        assert done.returncode == 0, done.stderr
        assert codec.inspect(Path(json.loads(done.stdout)["path"]))["format"] == "wav"
    sent = run(
        tmp_path, "generate", "beep", *SHORT, "--connect", server, "--delivery", "inline", "-o", "-",
        "--spectrogram", "x.png", text=False,
    )  # fmt: skip
    assert sent.returncode == 0, sent.stderr
    assert sent.stdout == (tmp_path / "x.wav").read_bytes()
    assert (tmp_path / "x.png").exists()


def test_a_server_on_this_machine_writes_the_file(tmp_path: Path, server: str) -> None:
    done = run(tmp_path, "generate", "beep", *SHORT, "--connect", server, "-o", "x")
    assert done.returncode == 0, done.stderr
    assert codec.inspect(tmp_path / "x.wav")["format"] == "wav"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    place = tmp_path_factory.mktemp("served")
    command = [sys.executable, "-m", "audio_pool.cli", "serve", "--bind", f"ipc://{place}/s"]
    command += ["--cache-dir", str(place / "cache")]
    env = {**os.environ, "AUDIO_POOL_CACHE_ENCODER": "off"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert process.stdout is not None
            assert any(line.startswith("ready") for line in process.stdout)
            yield f"ipc://{place}/s"
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


# -- pipes and devices -----------------------------------------------------------------------------


def test_a_pipe_is_written_through_where_that_was_asked_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    refused = run(tmp_path, "generate", "a loud beep", *SHORT, "-o", "pipe.wav", "--overwrite")
    assert refused.returncode == 2 and "not a regular file" in refused.stderr
    heard: list[bytes] = []
    reader = threading.Thread(target=lambda: heard.append((tmp_path / "pipe.wav").read_bytes()))
    reader.start()
    done = run(tmp_path, "generate", "a loud beep", *SHORT, "-o", "pipe.wav", "--pipe")
    reader.join(PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert heard[0][:4] == b"RIFF" and stat.S_ISFIFO((tmp_path / "pipe.wav").lstat().st_mode)
    through = run(tmp_path, "generate", "a loud beep", *SHORT, "-o", "/dev/null", "--pipe")
    assert through.returncode == 0 and stat.S_ISCHR(os.stat("/dev/null").st_mode), through.stderr
    for name in ("absent", "a file"):
        (tmp_path / "a file").touch()
        wrong = run(tmp_path, "generate", "a loud beep", *SHORT, "-o", name, "--pipe")
        assert wrong.returncode == 2 and "--pipe" in wrong.stderr
    assert (tmp_path / "a file").read_bytes() == b""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a device")
def test_a_device_is_never_replaced(tmp_path: Path) -> None:
    for name in ("full", "full.wav"):
        os.mknod(tmp_path / name, 0o666 | stat.S_IFCHR, os.makedev(1, 7))
        done = run(tmp_path, "generate", "a loud beep", *SHORT, "-o", name, "--overwrite")
        assert done.returncode == 2 and "not a regular file" in done.stderr
        assert stat.S_ISCHR((tmp_path / name).lstat().st_mode)
        full = run(tmp_path, "generate", "a loud beep", *SHORT, "-o", name, "--pipe")
        assert full.returncode == 1 and "No space left" in full.stderr


def test_the_caches_own_file_is_read_only_and_a_copy_is_not(tmp_path: Path) -> None:
    kept = generated(tmp_path)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o444
    assert stat.S_IMODE(generated(tmp_path, "--format", "ogg").stat().st_mode) == 0o444, "renditions, too"
    assert stat.S_IMODE(generated(tmp_path, "--no-store", "--force").stat().st_mode) == 0o444, "and what is not kept"
    copy = generated(tmp_path, "-o", "copy.wav")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o644 and copy.stat().st_nlink == 1
    copy.write_bytes(b"edited")
    assert kept.read_bytes()[:4] == b"RIFF"
