"""A page of the console in a real browser, watched for everything that goes wrong in it.

Owns: Tab, how one is opened (dark, narrow, on a slow network), what it heard.
Must not know: any view.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request

__all__ = ["Tab", "opened"]

_WATCH = """
window.__violations = [];
document.addEventListener("securitypolicyviolation", event => {
  window.__violations.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sourceFile ?? ""}`);
});
window.__started = [];
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (...when) {
  if (this.context instanceof AudioContext) {
    window.__started.push({node: this, when, rate: this.context.sampleRate});
  }
  return start.apply(this, when);
};
"""
"""Notes what the Content-Security-Policy refuses, and every buffer that the page plays."""

_RENDER = """async ([number, turns]) => {
  const {node} = window.__started.at(number);
  const {buffer} = node, length = Math.round(buffer.length * turns);
  const offline = new OfflineAudioContext(buffer.numberOfChannels, length, buffer.sampleRate);
  const source = offline.createBufferSource();
  Object.assign(source, {buffer, loop: node.loop, loopStart: node.loopStart, loopEnd: node.loopEnd});
  source.connect(offline.destination);
  source.start();
  const rendered = await offline.startRendering();
  const written = floats => {
    const bytes = new Uint8Array(floats.buffer), some = 32768;
    let text = "";
    for (let at = 0; at < bytes.length; at += some) text += String.fromCharCode(...bytes.subarray(at, at + some));
    return btoa(text);
  };
  const channels = [...Array(buffer.numberOfChannels).keys()];
  return {
    frames: buffer.length, rate: buffer.sampleRate, loop: node.loop, playbackRate: node.playbackRate.value,
    contextRate: node.context.sampleRate, channels: channels.map(one => written(rendered.getChannelData(one))),
  };
}"""


class Heard:
    """A buffer that the page played, rendered as the browser would play it for so many turns."""

    def __init__(self, told: dict) -> None:
        self.frames: int = told["frames"]
        self.rate: float = told["rate"]
        """Of the buffer."""
        self.context_rate: float = told["contextRate"]
        """Of the context that played it."""
        self.loop: bool = told["loop"]
        self.playback_rate: float = told["playbackRate"]
        channels = [np.frombuffer(base64.b64decode(one), np.float32) for one in told["channels"]]
        self.samples: NDArray[np.float32] = np.stack(channels, 1)
        """float32 [T, C]."""


class Tab:
    """One page and what went wrong in it.

    Whatever the browser writes as an error, every exception, and every refusal by the page's own policy is a failure,
    unless a test has said that it brings it about (``expects``).
    """

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.context = context
        self.address = address
        self.page: Page = context.new_page()
        self._wrong: list[str] = []
        self._expected: list[re.Pattern[str]] = []
        self._streams: set[Request] = set()
        self.page.add_init_script(_WATCH)
        self.page.on("console", self._said)
        self.page.on("request", self._asked)
        self.page.on("requestfinished", self._ended)
        self.page.on("requestfailed", self._ended)
        self.page.on("pageerror", lambda error: self._wrong.append(f"exception: {error}"))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            self._wrong.append(f"{message.type}: {message.text} ({message.location.get('url', '')})")

    def _asked(self, request: Request) -> None:
        if request.headers.get("accept") == "text/event-stream":
            self._streams.add(request)

    def _ended(self, request: Request) -> None:
        self._streams.discard(request)

    def streams(self) -> int:
        """How many streams of events the page listens to."""
        self.page.evaluate("() => 0")  # whatever has happened is heard of by then
        return len(self._streams)

    def expects(self, pattern: str) -> None:
        """Take messages of this kind for what the test itself brings about."""
        self._expected.append(re.compile(pattern))

    def open(self, path: str = "/") -> Page:
        """Go to an address of the gateway."""
        self.page.goto(self.address + path)
        return self.page

    def troubles(self) -> list[str]:
        """Whatever went wrong so far and was not expected."""
        refused = self.page.evaluate("() => window.__violations ?? []") if not self.page.is_closed() else []
        wrong = [*self._wrong, *(f"refused by the policy: {one}" for one in refused)]
        return [one for one in wrong if not any(pattern.search(one) for pattern in self._expected)]

    def slow(self, latency_ms: int = 400, kbit_s: int = 400) -> None:
        """Make the network a slow phone's from now on."""
        rate = kbit_s * 1000 // 8
        session = self.context.new_cdp_session(self.page)
        session.send("Network.enable")
        conditions = {"offline": False, "latency": latency_ms, "downloadThroughput": rate, "uploadThroughput": rate}
        session.send("Network.emulateNetworkConditions", conditions)

    def offline(self, off: bool = True) -> None:
        """Take the network away, or give it back."""
        self.context.set_offline(off)

    def sideways(self) -> int:
        """Pixels by which the page is wider than its window."""
        return int(self.page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth"))

    def played(self) -> int:
        """How many buffers the page has begun to play so far."""
        return int(self.page.evaluate("() => window.__started.length"))

    def heard(self, number: int = -1, turns: float = 2.5) -> Heard:
        """The buffer that was played last (or ``number``), rendered for so many of its lengths at its own rate."""
        return Heard(self.page.evaluate(_RENDER, [number, turns]))


@contextmanager
def opened(
    browser: Browser, address: str, *, width: int = 1280, height: int = 800, dark: bool = False, still: bool = True
) -> Iterator[Tab]:
    """Open a tab; fail at its end if anything went wrong in it.

    Args:
        address: of the gateway.
        still: the person wants no movement, as most tests do.
    """
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce" if still else "no-preference",
        accept_downloads=True,
    )
    context.set_default_timeout(60_000)
    try:
        tab = Tab(context, address)
        yield tab
        troubles = tab.troubles()
    finally:
        context.close()
    assert not troubles, troubles
