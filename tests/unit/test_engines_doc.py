"""docs/engines.md says of every engine of this package what its INFO says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from audio_pool.engine_info import EngineInfo, OptionInfo
from audio_pool.engines import _own_names, engine_info, engine_names

TEXT = (Path(__file__).parents[2] / "docs" / "engines.md").read_text()
ENGINES = [engine_info(name) for name in engine_names() if name in _own_names()]


def rows(name: str) -> list[list[str]]:
    """The cells of every table row whose first cell names the engine."""
    found = []
    for line in TEXT.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and f"`{name}`" in cells[0]:
            found.append(cells)
    return found


def model_row(info: EngineInfo) -> list[str]:
    for cells in rows(info.name):
        if info.model in cells[1] or ("/" not in info.model and "built in" in cells[1]):
            return cells
        if info.model.rsplit("/", 1)[-1] in cells[1]:
            return cells
    raise AssertionError(f"no row of docs/engines.md names {info.name} with its model {info.model}")


@pytest.mark.parametrize("info", [one for one in ENGINES if one.role == "generator"], ids=lambda one: one.name)
def test_generators_figures(info):
    _, _, sound, length, steps, negative, init, _ = model_row(info)
    if info.any_rate:
        assert "any rate" in sound and length == "any"
    else:
        assert f"{info.sample_rate / 1000:g} kHz {'stereo' if info.channels == 2 else 'mono'}" in sound
        assert f"{info.shortest_s:g}–{info.longest_s:g} s" in length
    guidance = info.guidance_scale
    # in brackets: other checkpoints
    assert steps.partition(" (")[0] == (f"{info.steps or '–'}, {guidance:g}" if guidance is not None else "–")
    assert (negative in ("yes", "with guidance")) == info.negative_prompt
    assert (init != "–") == info.init_audio


@pytest.mark.parametrize(
    "info", [one for one in ENGINES if one.init_audio or one.inpaint or one.extend], ids=lambda one: one.name
)
def test_what_engines_make_of_a_sound(info):
    (able,) = [cells for cells in rows(info.name) if len(cells) == 5 and cells[1] in ("yes", "–")]
    like_it, *edits = [cell == "yes" for cell in able[1:4]]
    assert edits == [info.inpaint, info.extend] and info.init_audio >= like_it


@pytest.mark.parametrize(
    "info", [one for one in ENGINES if one.role in ("embedder", "scorer")], ids=lambda one: one.name
)
def test_embedders_and_scorers_dimensions(info):
    assert model_row(info)[2] == str(info.dimensions)


@pytest.mark.parametrize("info", ENGINES, ids=lambda one: one.name)
def test_licences(info):
    (licence,) = [cells for cells in rows(info.name) if len(cells) == 3]
    assert (licence[2] == "yes") == info.commercial_use
    if " " not in info.licence:
        assert licence[1] == info.licence


@pytest.mark.parametrize("info", [one for one in ENGINES if one.role == "generator"], ids=lambda one: one.name)
def test_kinds(info):
    (kinds,) = [cells[1] for cells in rows(info.name) if len(cells) == 2]
    assert kinds == ", ".join(info.kinds)


@pytest.mark.parametrize(
    ("info", "option"),
    [(one, option) for one in ENGINES for option in one.options],
    ids=lambda one: one.name,
)
def test_options(info, option):
    named = f"`{option.name}`"
    (cells,) = [cells for cells in rows(info.name) if len(cells) == 5 and named in cells[1].split(", ")]
    if cells[2].startswith("as of `"):  # another engine's, which is the same
        other = cells[2].split("`")[1]
        (same,) = [one for info in ENGINES if info.name == other for one in info.options if one.name == option.name]
        assert (same.type, same.low, same.high, same.choices) == (option.type, option.low, option.high, option.choices)
        return
    names = cells[1].split(", ")
    if len(names) > 1:  # a row of several: what each may be stands in its place, or all may be the same
        allowed = cells[2].split("; ") if "; " in cells[2] else cells[2].split(", ")
        told = allowed[names.index(named)] if len(allowed) == len(names) else allowed[0]
    else:
        told = cells[2]
    assert told.startswith(_allowed(option, told)), cells
    if option.default is not None and len(names) == 1:
        shown = f"{option.default:g}" if isinstance(option.default, int | float) else str(option.default)
        assert cells[3] == (shown or "none")


def _allowed(option: OptionInfo, told: str) -> str:
    """Return the beginning of what a row says that an option may be."""
    if option.choices and (short := re.search(r"\((\d+)\)$", told)):
        assert int(short.group(1)) == len(option.choices)
        assert set(told.partition(", ...")[0].split(", ")) <= set(option.choices)
        return told
    if option.choices:
        return ", ".join(option.choices) if told.count(",") == len(option.choices) - 1 else told.partition(",")[0]
    if option.type == "str":
        assert option.high is not None
        return f"to {option.high:,.0f} characters"
    return f"{option.low:g}–{option.high:g}".replace("-", "−")
