"""How often each rule of the prompt lint speaks up on captions that people wrote of real recordings.

    python -m benchmarks.prompt_lint [--captions FOLDER] [--show NAME]

A caption describes a sound that exists, so that nearly every finding is a false alarm; what is left are captions that
do ask for words or name four scenes. ``--show`` prints what one rule found.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections import Counter
from pathlib import Path

from benchmarks.natural_hits import CAPTIONS

from audio_pool.prompts.lint import lint

BAD = (
    "a nice sound", "cool ambience", "something epic", "silent thunder", "a loud quiet dog", "thunder, no thunder",
    "a man says 'where have you been'", "cut to: a castle", "Regen auf dem Dach", "4k photorealistic forest",
    "rain for 10 seconds", "seamless loop of rain", "rain, then wind, then a crash, then silence",
)  # fmt: skip
"""Prompts that each deserve a finding."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--captions", type=Path, default=CAPTIONS, help="folder of the caption files")
    parser.add_argument("--show", default="", help="a rule's name")
    asked = parser.parse_args()
    missed = [prompt for prompt in BAD if not lint(prompt)]
    print(f"bad prompts without a finding: {len(missed)} of {len(BAD)} {missed or ''}")
    files = sorted(asked.captions.glob("*[lc]*_val.csv")) + sorted(asked.captions.glob("*_train.csv"))
    texts = [
        text
        for file in files
        if "pairs" not in file.name
        for row in csv.DictReader(file.open(newline="", encoding="utf-8"))
        for name, text in row.items()
        if name and name.startswith("caption") and text
    ]
    if not texts:
        print(f"no captions in {asked.captions}")
        return 1
    began = time.process_time()
    found = [(text, finding) for text in texts for finding in lint(text)]
    each_us = (time.process_time() - began) / len(texts) * 1e6
    print(f"{len(texts):,} captions, {each_us:.0f} us of processor each")
    for name, count in Counter(finding.name for _, finding in found).most_common():
        print(f"{name:24} {count:6,}  {100 * count / len(texts):.2f} %")
    for text, finding in found:
        if finding.name == asked.show:
            print(f"  {text}: {finding.sentence}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
