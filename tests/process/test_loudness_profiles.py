"""Loudness by use through a served pool: profiles built in and of its own, asked for and by configuration."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import PATIENCE_S

from audio_pool import AudioClient
from audio_pool.audio import codec, loudness
from audio_pool.errors import InvalidRequest
from audio_pool.results import SoundMetadata

CONFIG = """
[cache]
encoder = "off"
[sound]
loudness_profile = "quiet"
[loudness.quiet]
target_lufs = -30.0
true_peak_dbfs = -6.0
[loudness.phone]
target_lufs = -16.0
true_peak_dbfs = -3.0
mono = "always"
limiter = true
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AudioClient]:
    home = tmp_path_factory.mktemp("served")
    (home / "pool.toml").write_text(CONFIG)
    command = [sys.executable, "-m", "audio_pool.cli", "serve", "--config", str(home / "pool.toml")]
    command += ["--bind", f"ipc://{home}/s", "--cache-dir", str(home / "cache")]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        with AudioClient(f"ipc://{home}/s", timeout_s=PATIENCE_S) as client:
            yield client
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE_S) == 0
    finally:
        server.kill()
        server.wait(PATIENCE_S)


def made(client: AudioClient, prompt: str, **fields: Any) -> tuple[float, float, int, SoundMetadata]:
    """Loudness and true peak of the very file, its channels, and what was told of it."""
    result = client.generate(prompt, duration_s=2.0, seed=3, timeout_s=PATIENCE_S, **fields)
    assert result.path is not None
    audio, rate = codec.read(Path(result.path))
    lufs = loudness.loudness_lufs(audio, rate)
    if result.metadata.loudness_lufs is not None:
        assert lufs == pytest.approx(result.metadata.loudness_lufs, abs=0.2)
    return lufs, loudness.true_peak_dbfs(audio, rate), len(audio), result.metadata


def test_the_profile_of_the_configuration_holds_where_a_request_names_none(client: AudioClient) -> None:
    lufs, peak, channels, _ = made(client, "rain")
    assert lufs == pytest.approx(-30, abs=0.3)
    assert peak <= -6
    assert channels == 2


def test_a_request_names_another_built_in_or_of_the_configuration(client: AudioClient) -> None:
    for name, target, ceiling, channels in (("film", -27, -2, 2), ("broadcast", -23, -1, 2), ("phone", -16, -3, 1)):
        lufs, peak, found, told = made(client, "rain", loudness_profile=name)
        assert lufs == pytest.approx(target, abs=0.5), name
        assert peak <= ceiling + 0.05, name
        assert found == channels
        assert told.target_lufs == target


def test_what_a_request_says_itself_is_stronger_than_its_profile(client: AudioClient) -> None:
    lufs, _, _, _ = made(client, "rain", loudness_profile="film", target_lufs=-35.0)
    assert lufs == pytest.approx(-35, abs=0.3)


def test_a_game_places_one_shots_in_mono_and_web_reaches_its_loudness_for_strokes(client: AudioClient) -> None:
    _, _, channels, _ = made(client, "slow footsteps", loudness_profile="game")
    assert channels == 1
    lufs, peak, _, told = made(client, "slow footsteps", loudness_profile="web", limiter=True)
    assert lufs == pytest.approx(-14, abs=0.5)
    assert peak <= -0.95
    assert not told.warnings
    # without a limiter the very same sound falls short of it, and says so of what was delivered
    lufs, _, _, told = made(client, "slow footsteps", loudness_profile="web")
    assert told.cached
    assert [warning.split(",")[0] for warning in told.warnings] == [
        f"loudness_limited: {told.loudness_lufs:.1f} LUFS instead of -14.0"
    ]


def test_a_profile_that_is_none_is_refused_and_those_there_are_named(client: AudioClient) -> None:
    with pytest.raises(InvalidRequest, match="phone"):
        made(client, "rain", loudness_profile="telephone")
