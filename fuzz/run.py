"""Fuzz one target until a time is up: ``python -m fuzz.run NAME SECONDS``. Ends with libFuzzer's exit code.

Owns: how atheris is called. What it finds beside the corpus goes to ``.fuzz/NAME``, an input that fails to
``.fuzz/found/``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["audio_pool", "fuzz.targets"]):
    from fuzz.targets import TARGETS

CORPUS = Path(__file__).with_name("corpus")
WORK = Path(".fuzz")


def main(name: str, seconds: str) -> None:
    """Fuzz."""
    own, found = WORK / name, WORK / "found"
    for place in (own, found):
        place.mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=3000", "-max_len=100000"]
    options += [f"-artifact_prefix={found}/{name}-", "-print_final_stats=1", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options, str(own), str(CORPUS / name)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:3])
