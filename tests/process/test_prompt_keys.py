"""Canonical keys are stored, so they must not depend on the process that makes them."""

from __future__ import annotations

import subprocess
import sys

from audio_pool.prompts.normalize import canonical_key


def test_keys_are_the_same_in_every_process() -> None:
    prompt = "Gulls cry, waves crash and a horn blows loudly before 2 men shout"
    code = f"from audio_pool.prompts.normalize import canonical_key; print(canonical_key({prompt!r}))"
    for seed in ("0", "77"):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True,
            env={"PYTHONHASHSEED": seed},
        )  # fmt: skip
        assert done.stdout.strip() == canonical_key(prompt)
