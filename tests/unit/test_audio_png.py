"""What is encoded is what a decoder finds."""

from __future__ import annotations

import io

import numpy as np
import pytest
from tests.support.png_pixels import png_colours, png_pixels

from audio_pool.audio import png

GREYS = [(step, step, step) for step in range(256)]


@pytest.mark.parametrize("colours", [2, 16, 17, 256])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (4, 8)])
def test_pixels_come_back(shape: tuple[int, int], colours: int) -> None:
    pixels = (np.arange(shape[0] * shape[1]).reshape(shape) % colours).astype(np.uint8)
    assert np.array_equal(png_pixels(png.encode(pixels, GREYS[:colours])), pixels)


@pytest.mark.parametrize("colours", [16, 256])
def test_another_decoder_sees_the_same_colours(colours: int) -> None:
    images = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    pixels = (np.arange(15).reshape(3, 5) % colours).astype(np.uint8)
    palette = [(step, 255 - step, 7) for step in range(colours)]
    data = png.encode(pixels, palette)
    with images.open(io.BytesIO(data)) as image:
        assert np.array_equal(np.asarray(image.convert("RGB")), png_colours(data))
