"""docs/engines.md says of every engine of this package what its INFO says."""

from __future__ import annotations

from pathlib import Path

import pytest

from audio_pool.engine_info import EngineInfo
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
    assert steps == (f"{info.steps or '–'}, {guidance:g}" if guidance is not None else "–")
    assert (negative == "yes") == info.negative_prompt
    assert (init == "yes") == info.init_audio


@pytest.mark.parametrize(
    "info", [one for one in ENGINES if one.init_audio or one.inpaint or one.extend], ids=lambda one: one.name
)
def test_what_engines_make_of_a_sound(info):
    (able,) = [cells for cells in rows(info.name) if len(cells) == 5 and cells[1] in ("yes", "–")]
    assert [cell == "yes" for cell in able[1:4]] == [info.init_audio, info.inpaint, info.extend]


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
    (cells,) = [cells for cells in rows(info.name) if len(cells) == 5 and cells[1] == f"`{option.name}`"]
    wanted = ", ".join(option.choices) or f"{option.low:g}–{option.high:g}"
    assert cells[2] == wanted
    assert option.default is None or cells[3] == f"{option.default:g}"
