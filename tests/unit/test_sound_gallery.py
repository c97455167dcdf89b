"""The page of sounds is what the command makes, and shows every recipe."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
from tests.support.png_pixels import png_pixels

from audio_pool.engines.procedural.recipe import RECIPES

ROOT = Path(__file__).resolve().parents[2]


def _gallery() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sound_gallery", ROOT / "scripts" / "sound_gallery.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date_and_every_recipe_has_its_picture() -> None:
    gallery = _gallery()
    assert (ROOT / "docs" / "sounds.md").read_text(encoding="utf-8") == gallery.page(), (
        "run python scripts/sound_gallery.py"
    )
    pictures = {path.stem: path.stat().st_size for path in (ROOT / "docs" / "sounds").glob("*.png")}
    assert set(pictures) == set(RECIPES)
    assert max(pictures.values()) <= 15_000


def test_a_picture_shows_a_tone_where_it_is() -> None:
    gallery = _gallery()
    seconds = np.arange(int(gallery.SECONDS * gallery.RATE)) / gallery.RATE
    tone = np.tile(0.5 * np.sin(2 * np.pi * 3000 * seconds), (2, 1))
    tone[:, : tone.shape[1] // 2] = 0
    pixels = png_pixels(gallery.picture(tone))
    assert pixels.shape == (gallery.HEIGHT, gallery.WIDTH)
    rows = np.arange(gallery.HEIGHT)
    hz = gallery.LOW_HZ * (gallery.HIGH_HZ / gallery.LOW_HZ) ** ((gallery.HEIGHT - 1 - rows) / gallery.HEIGHT)
    column = pixels[:-4, 3 * gallery.WIDTH // 4 + 1]
    assert abs(hz[int(np.argmax(column))] / 3000 - 1) < 0.1
    assert pixels[5:-5, gallery.WIDTH // 4 + 1].max() < 8
