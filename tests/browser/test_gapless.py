"""A loop that the page plays has no gap: what goes out is the file, sample for sample, turn after turn."""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from playwright.sync_api import Page, expect
from tests.browser.conftest import OpenTab
from tests.browser.making import made
from tests.support.gateways import Gateway
from tests.support.waiting import PATIENCE_S

Samples = NDArray[np.float32]
TURNS = 2.5

_AS_WIRED = """async turns => {
  const {player, wire} = await import("/console/player.js");
  const {buffer} = player.current, {numberOfChannels, sampleRate} = buffer;
  const offline = new OfflineAudioContext(numberOfChannels, Math.round(buffer.length * turns), sampleRate);
  wire(offline, player.current);
  const rendered = await offline.startRendering();
  const channels = [...Array(numberOfChannels).keys()].map(one => rendered.getChannelData(one));
  return channels.map(one => new Uint8Array(one.buffer, one.byteOffset, one.byteLength).toBase64());
}"""
"""What player.js connects for the very clip that plays, in a context that renders instead of sounding."""

_DECODED = """async url => {
  const {player} = await import("/console/player.js");
  const {buffer} = await player.decode(await (await fetch(url)).arrayBuffer(), {loop: true});
  const floats = [...Array(buffer.numberOfChannels).keys()].map(one => buffer.getChannelData(one));
  const channels = floats.map(one => new Uint8Array(one.buffer, one.byteOffset, one.byteLength));
  return {rate: buffer.sampleRate, channels: channels.map(one => one.toBase64())};
}"""


def samples(channels: list[str]) -> Samples:
    return np.stack([np.frombuffer(base64.b64decode(one), np.float32) for one in channels], 1)


def file_of(http: httpx.Client, entry: int, **asked: Any) -> tuple[Samples, int]:
    answer = http.get(f"/v1/sounds/{entry}/audio", params=asked)
    assert answer.status_code == 200, answer.text
    data, rate = soundfile.read(io.BytesIO(answer.content), dtype="float32", always_2d=True)
    return data, int(rate)


@pytest.fixture(scope="module")
def http(gateway: Gateway) -> Any:
    with httpx.Client(base_url=gateway.url, timeout=PATIENCE_S, trust_env=False) as client:
        yield client


def loop_of(page: Page, prompt: str) -> None:
    made(page, prompt, seconds=1.3, loop=True)
    expect(page.get_by_role("button", name=f"Pause {prompt}")).to_be_visible()


def newest(http: httpx.Client) -> int:
    return int(http.get("/v1/sounds", params={"limit": 1}).json()["sounds"][0]["id"])


def test_a_loop_is_heard_as_its_file_turn_after_turn(open_tab: OpenTab, http: httpx.Client) -> None:
    tab = open_tab()
    page = tab.open("/#make")
    loop_of(page, "rain on a tin roof")
    file, rate = file_of(http, newest(http), format="flac", bit_depth=24)
    heard = tab.heard(turns=TURNS)
    assert heard.loop and heard.playback_rate == 1.0
    assert heard.rate == heard.context_rate == rate, "neither decoded nor played at another rate than its own"
    assert heard.frames == len(file)
    assert np.array_equal(heard.samples, np.tile(file, (3, 1))[: len(heard.samples)]), "bit for bit"


def test_nothing_between_the_file_and_the_loudspeaker_changes_it(open_tab: OpenTab, http: httpx.Client) -> None:
    page = open_tab().open("/#make")
    loop_of(page, "waves on a beach")
    file, _ = file_of(http, newest(http), format="flac", bit_depth=24)
    wired = samples(page.evaluate(_AS_WIRED, TURNS))
    assert np.array_equal(wired, np.tile(file, (3, 1))[: len(wired)])
    joint = len(file)
    bend = np.abs(np.diff(wired, 2, axis=0)).max(1)
    assert bend[joint - 3 : joint + 2].max() <= 1.05 * bend[: joint - 3].max(), "the joint is no rougher than the rest"


@pytest.mark.parametrize("asked", [
    {"format": "wav", "bit_depth": 24}, {"format": "wav", "bit_depth": 32}, {"format": "flac", "bit_depth": 24},
    {"format": "wav", "bit_depth": 24, "sample_rate": 48000}, {"format": "flac", "bit_depth": 24, "sample_rate": 22050},
], ids=lambda asked: "-".join(map(str, asked.values())))  # fmt: skip
def test_a_file_is_decoded_at_its_own_rate_whatever_it_is(
    open_tab: OpenTab, http: httpx.Client, asked: dict[str, Any]
) -> None:
    body = {"prompt": "a low hum", "duration_s": 0.5, "loop": True}
    entry = http.post("/v1/sounds", json=body).json()["id"]
    file, rate = file_of(http, entry, **asked)
    query = "&".join(f"{name}={value}" for name, value in asked.items())
    told = open_tab().open("/#make").evaluate(_DECODED, f"/v1/sounds/{entry}/audio?{query}")
    assert told["rate"] == rate == asked.get("sample_rate", 44100)
    assert np.array_equal(samples(told["channels"]), file)


def test_the_rate_of_a_lossy_file_is_read_from_its_head(open_tab: OpenTab, http: httpx.Client) -> None:
    entry = http.post("/v1/sounds", json={"prompt": "a low hum", "duration_s": 0.5, "loop": True}).json()["id"]
    page = open_tab().open("/#make")
    for format_, rate in (("ogg", 44100), ("mp3", 44100), ("opus", 48000)):
        told = page.evaluate(_DECODED, f"/v1/sounds/{entry}/audio?format={format_}")
        assert told["rate"] == rate, format_


def test_another_sound_goes_on_from_the_same_place(open_tab: OpenTab) -> None:
    """A against B."""
    page = open_tab().open("/#make")
    loop_of(page, "rain on a tin roof")
    place = page.evaluate("""async () => {
      const {player, Clip} = await import("/console/player.js");
      const a = player.current, b = new Clip(a.buffer, true);
      player.pause();
      player.seek(a, 0.9);
      await player.swap(b);
      const [, from] = window.__started.at(-1).when;
      return {from, playing: player.isPlaying(b), other: player.isPlaying(a)};
    }""")
    assert place == {"from": 0.9, "playing": True, "other": False}
