"""Makes three sounds, then asks one again, word for word and in other words.

    make demo            the built-in engine; no GPU, no download
    make demo-semantic   with a text encoder: a hit by meaning, too

Files go to ./demo_out, the cache is ./demo_out/cache.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from audio_pool import AudioPool
from audio_pool.packs.names import slug

OUT = Path("demo_out").absolute()

REQUESTS = [
    ("rain on a tin roof", {"duration_s": 8, "loop": True}),
    ("distant thunder", {"duration_s": 6}),
    ("slow footsteps", {"duration_s": 5}),
    ("rain on a tin roof", {"duration_s": 8, "loop": True}),
    ("The sound of the rain on the tin roof.", {"duration_s": 8, "loop": True}),
]
BY_MEANING = [("a tin roof in the rain", {"duration_s": 8, "loop": True})]


def main(semantic: bool) -> int:
    config = {"cache": {"dir": str(OUT / "cache"), "encoder": "auto" if semantic else "off"}}
    started = time.perf_counter()
    with AudioPool.from_config(config) as pool:
        print(f"pool ready in {time.perf_counter() - started:.1f} s; look-up by meaning: {pool.status().semantic}")
        # made anew the first time even if an earlier demo left them in the cache
        seen: set[str] = set()
        for number, (prompt, fields) in enumerate(REQUESTS + (BY_MEANING if semantic else []), start=1):
            first = prompt not in seen and not prompt.startswith(("The sound", "a tin"))
            seen.add(prompt)
            words = slug(prompt)
            asked = time.perf_counter()
            result = pool.generate(prompt, force=first, output_path=str(OUT / f"{number}_{words}.wav"), **fields)
            took_ms = (time.perf_counter() - asked) * 1000
            data = result.metadata
            print(f"\n{prompt!r}")
            print(f"  file      {result.path}")
            print(f"  length    {data.duration_s:.3f} s at {data.sample_rate} Hz, {data.channels} channels")
            print(f"  loudness  {data.loudness_lufs:.1f} LUFS, true peak {data.true_peak_dbfs:.1f} dBFS")
            seam = f"{data.loop.seam_score:.1f} of 100" if data.loop else "- (not a loop)"
            came = f"cache, {data.hit_reason}" if data.cached else f"new, made by {data.engine}"
            print(f"  seam      {seam}")
            print(f"  from      {came}")
            print(f"  time      {took_ms:.1f} ms")
            for warning in data.warnings:
                print(f"  warning   {warning}")
    return 0


if __name__ == "__main__":
    sys.exit(main("--semantic" in sys.argv[1:]))
