"""What the other tests of this folder lean on sees what it is there to see."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import Browser
from tests.browser.browsing import Tab, opened
from tests.browser.conftest import OpenTab
from tests.support.gateways import Gateway

BARE = "/livez"
"""Some JSON: a page that brings nothing of its own."""
PLAY = """async () => {
  const context = new AudioContext({sampleRate: 22050});
  const buffer = new AudioBuffer({length: 2205, numberOfChannels: 2, sampleRate: 22050});
  for (const channel of [0, 1]) {
    buffer.getChannelData(channel).set(Float32Array.from({length: 2205}, (_, at) => Math.sin(at / 7 + channel)));
  }
  const source = new AudioBufferSourceNode(context, {buffer, loop: true});
  source.connect(context.destination);
  source.start();
}"""


def bare(open_tab: OpenTab, **how: int | bool) -> Tab:
    tab = open_tab(**how)
    tab.expects("favicon")  # which a browser asks for where the page names none
    tab.open(BARE)
    return tab


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("() => { console.error('all is lost') }", "all is lost"),
        ("() => { setTimeout(() => { throw new Error('thrown') }) }", "thrown"),
        ("() => fetch('/v1/no-such-thing').then(() => undefined)", "404"),
    ],
)
def test_what_goes_wrong_in_a_page_fails_its_test(browser: Browser, gateway: Gateway, wrong: str, told: str) -> None:
    def visit() -> None:
        with opened(browser, gateway.url) as tab:
            tab.open(BARE).evaluate(wrong)
            tab.page.evaluate("() => new Promise(done => setTimeout(done))")  # what is thrown later has been told of

    with pytest.raises(AssertionError, match=told):
        visit()


def test_what_a_test_brings_about_itself_is_no_failure(open_tab: OpenTab) -> None:
    tab = bare(open_tab)
    tab.expects("404")
    assert tab.page.evaluate("() => fetch('/v1/no-such-thing').then(answer => answer.status)") == 404


def test_a_loop_that_is_played_is_heard_turn_after_turn(open_tab: OpenTab) -> None:
    tab = bare(open_tab)
    tab.page.evaluate(PLAY)
    assert tab.played() == 1
    heard = tab.heard(turns=2.4)
    assert (heard.loop, heard.rate, heard.context_rate, heard.frames) == (True, 22050, 22050, 2205)
    one = np.sin(np.arange(2205)[:, None] / 7 + np.arange(2)).astype(np.float32)
    assert np.abs(heard.samples - np.tile(one, (3, 1))[: len(heard.samples)]).max() < 1e-6
    assert len(heard.samples) == 5292


def test_a_tab_is_as_wide_and_as_dark_as_it_was_asked_for(open_tab: OpenTab) -> None:
    page = bare(open_tab, width=320, dark=True).page
    assert page.evaluate("() => [innerWidth, matchMedia('(prefers-color-scheme: dark)').matches]") == [320, True]
