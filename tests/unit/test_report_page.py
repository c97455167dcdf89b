"""The page of figures: whole, offline, safe against what prompts say, and its plots true to scale."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from tests.support.cache_sounds import sound

from audio_pool.api import AnswersOver, CacheStats, KeptOver, PromptCount, Spread
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.cache.uses import Counted
from audio_pool.cli.cache import group
from audio_pool.cli.report_page import page
from audio_pool.cli.svg_plot import Bar, Line, plot

DAY_S = 86_400.0
NOW = 20_000 * DAY_S + 7_200.0
EVIL = "</td><script src=//x></script> \u202e & \x1b[31m"
FULL = CacheStats(
    total_items=1234,
    total_size_mb=20_480.0,
    masters_size_mb=15_360.0,
    cache_dir="/srv/<cache>",
    answers={"exact": 6, "semantic": 1, "new_generation": 3},
    hit_rate=0.7,
    saved_generation_s=9000.0,
    hourly=(AnswersOver(start=NOW - 7200, answers={"exact": 1}),),
    daily=(
        AnswersOver(start=NOW - 7200 - 3 * DAY_S, answers={"exact": 5, "new_generation": 3}, saved_s=10.0),
        AnswersOver(start=NOW - 7200, answers={"semantic": 1, "exact": 1}, saved_s=3.5),
    ),
    kept_daily=(KeptOver(start=NOW - 7200 - DAY_S, entries=3, size_mb=1.0),),
    ages_days=Spread(edges=(0, 1, 7, 30, 90, 365), entries=(1, 0, 2, 0, 0, 1)),
    quality=Spread(edges=(90, 95, 100), entries=(1, 3)),
    engines={EVIL: 2},
    top_prompts=(PromptCount(namespace="default", prompt=EVIL, times=7, last=NOW),),
    worth_warming=(PromptCount(namespace=EVIL, prompt="wolf", times=4, last=NOW),),
)


class Tags(HTMLParser):
    """Checks that every tag is closed where it should be, and collects what they are."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("found", [FULL, CacheStats(total_items=0, total_size_mb=0.0)])
def test_it_is_whole_and_needs_nothing_else(found: CacheStats) -> None:
    text = page(found, NOW)
    tags = Tags(text).seen
    assert not {tag for tag, _ in tags} & {"script", "link", "img", "iframe", "object", "image", "use"}
    assert not [attrs for _, attrs in tags if any(name in ("src", "href") or name.startswith("on") for name in attrs)]
    assert not re.search(r"https?:|url\(|@import", text)
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ElementTree.fromstring(svg)
    assert "prefers-color-scheme: dark" in text and "default-src 'none'" in text


def test_what_prompts_say_is_text_and_nothing_else() -> None:
    text = page(FULL, NOW)
    assert text.count("&lt;/td&gt;&lt;script src=//x&gt;&lt;/script&gt; \\u202e &amp; \\x1b[31m") >= 2
    assert "\u202e" not in text and "\x1b" not in text
    assert "/srv/&lt;cache&gt;" in text


def test_figures_are_told() -> None:
    text = page(FULL, NOW)
    for told in ("1,234", "20.0 GB", "70.0%", "2.5 h", "wolf"):
        assert told in text
    assert text.count(": none</title>") == 2, "two days without an answer stand between those with one"
    assert "exact" in text and "the same words 5, made anew 3; 62.5% hits" in text


def test_every_colour_of_a_plot_has_its_value_in_both_modes() -> None:
    text = page(FULL, NOW)
    drawn = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    for css in set(re.findall(r'class="([a-z_]+)"', drawn)):
        assert f".{css} {{" in text, css
    used, light, dark = set(re.findall(r"var\(--(\w+)\)", text)), *text.split("@media (prefers-color-scheme: dark)")[:2]
    for name in used:
        assert f"--{name}: #" in light and f"--{name}: #" in dark.split("}")[0], name


def heights(svg: str, css: str) -> list[float]:
    tree = ElementTree.fromstring(svg)
    return [float(rect.attrib["height"]) for rect in tree.iter("rect") if rect.attrib["class"] == css]


def test_bars_are_as_high_as_their_values_and_stand_on_each_other() -> None:
    bars = [Bar("a", (("x", 30.0), ("y", 10.0)), ""), Bar("b", (("x", 15.0), ("y", 0.0)), "")]
    svg = plot("t", bars)
    first, second = heights(svg, "x")
    assert first == pytest.approx(2 * second, rel=0.01)
    (other,) = heights(svg, "y")
    assert other == pytest.approx(first / 3, rel=0.01)
    drawn = [rect.attrib for rect in ElementTree.fromstring(svg).iter("rect")]
    upper, lower = next(r for r in drawn if r["class"] == "y"), next(r for r in drawn if r["class"] == "x")
    assert float(upper["y"]) + other == pytest.approx(float(lower["y"]), abs=0.02)


def test_a_line_has_gaps_and_a_scale_of_its_own() -> None:
    bars = [Bar(str(n), (("x", 1.0),), "") for n in range(5)]
    tree = ElementTree.fromstring(plot("t", bars, line=Line("rate", (0.0, 1.0, None, 0.5, 0.5))))
    lines = [line.attrib["points"].split() for line in tree.iter("polyline")]
    assert [len(points) for points in lines] == [2, 2]
    rows = [float(point.split(",")[1]) for points in lines for point in points]
    assert rows[0] - rows[1] == pytest.approx(2 * (rows[0] - rows[2]))


def test_the_command_writes_a_file_and_replaces_none_unasked(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "cache")
    entry = store.entries.put(sound(store.blobs.incoming, "rain & thunder", seed=1), {})
    store.uses.record(Counted({entry.id or 0: 2}, {"exact": (2, 4.0)}, {("default", "a wolf"): 3}), NOW)
    store.close()
    command = ["report", str(tmp_path / "r.html"), "--cache-dir", str(tmp_path / "cache")]
    assert CliRunner().invoke(group, command).exit_code == 0
    text = (tmp_path / "r.html").read_text()
    assert "rain &amp; thunder" in text and "a wolf" in text
    refused = CliRunner().invoke(group, command)
    assert (refused.exit_code, "--overwrite" in refused.output) == (2, True)
    assert CliRunner().invoke(group, [*command, "--overwrite"]).exit_code == 0
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["r.html"]
