"""The page that plays the built-in engine's sounds."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_names_its_sounds_and_they_are_loops_to_the_sample(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "listening_gallery.py"
    subprocess.run([sys.executable, str(script), str(tmp_path), "siren", "gong"], check=True, timeout=120)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert re.findall('data-sound="([a-z_]+)"', page) == ["siren_loop", "siren_once", "gong_loop", "gong_once"]
    assert "http" not in page
    for name in ("siren", "gong"):
        assert (tmp_path / "pictures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        text = (tmp_path / "sounds" / f"{name}_loop.js").read_text(encoding="utf-8")
        data = base64.b64decode(text.split('"')[3])
        assert (tmp_path / "sounds" / f"{name}_loop.ogg").read_bytes() == data
        sound, rate = soundfile.read(io.BytesIO(data), dtype="float32")
        assert (len(sound), rate) == (8 * 44_100, 44_100)
    siren = _decoded(tmp_path / "sounds" / "siren_loop.js")
    joint = np.abs(siren[0] - siren[-1]).max()
    assert joint <= 2 * np.quantile(np.abs(np.diff(siren, axis=0)), 0.999)


def _decoded(script: Path) -> np.ndarray:
    data = base64.b64decode(script.read_text(encoding="utf-8").split('"')[3])
    return np.asarray(soundfile.read(io.BytesIO(data), dtype="float32")[0])
