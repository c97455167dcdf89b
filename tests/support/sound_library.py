"""Directories of sounds as others leave them: of the first system, and of a sound library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

RATE = 44_100


def tone(
    hz: float, *, duration_s: float = 0.5, rate: int = RATE, channels: int = 2, steady: bool = False
) -> np.ndarray:
    """Float32 [T, C]: a tone with a second one beside it, which the gate has nothing against."""
    t = np.arange(round(duration_s * rate)) / rate
    fading = np.ones_like(t) if steady else np.exp(-4 * t)
    one = 0.3 * np.sin(2 * np.pi * hz * t) * fading
    other = 0.2 * np.sin(2 * np.pi * 1.5 * hz * t) * fading
    return np.stack([one + other, one - 0.5 * other][:channels], axis=1).astype(np.float32)


def first_system(place: Path, prompts: tuple[str, ...]) -> list[dict[str, Any]]:
    """Write ``meta.jsonl`` and sounds as the first system does, with the paths of another machine."""
    (place / "renders").mkdir(parents=True)
    lines = []
    for number, prompt in enumerate(prompts):
        soundfile.write(place / "renders" / f"{number}.wav", tone(200 + 50 * number), RATE)
        line: dict[str, Any] = {"path": f"/srv/elsewhere/renders/{number}.wav", "prompt": prompt, "prompt_norm": prompt}
        old = {"ts": 1.7e9 + number, "dur": 0.5}
        new = {"timestamp": 1.7e9 + number, "duration_s": 0.5, "clap_similarity": 0.4}
        lines.append({**line, **(new if number % 2 else old)})
    (place / "meta.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return lines
