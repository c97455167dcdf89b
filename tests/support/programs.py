"""Programs that some tests need and no package brings; without them these are skipped, and say what to install."""

from __future__ import annotations

import shutil

import pytest

__all__ = ["needs_ffmpeg"]

needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None,
    reason="there is no ffmpeg: apt-get install ffmpeg",
)
