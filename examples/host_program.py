"""A host program: an installation whose scenes ask for sound while it goes on drawing.

    python examples/host_program.py [OUTPUT_DIRECTORY]

One generator for the whole program; every scene awaits its own sound, and the drawing never waits.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from audio_pool import create_audio_generator
from audio_pool.generator import AudioGenerator

SCENES = {
    "harbour": "gentle ocean waves and distant wind",
    "forge": "crackling fire and a deep machine hum",
    "harbour at night": "gentle ocean waves and distant wind",
}


async def draw(frames: list[int]) -> None:
    """Stand for the program's own work: count the frames that it drew meanwhile."""
    while True:
        frames[0] += 1
        await asyncio.sleep(1 / 60)


async def play(generator: AudioGenerator, scene: str, prompt: str) -> str:
    path = await generator.generate_audio(prompt)
    made = path.metadata
    how = f"cache ({made['hit_reason']})" if made["cached"] else made["cache_type"]
    print(f"{scene}: {Path(path).name}, {made['duration_s']:g} s, {made['loudness_lufs']} LUFS, {how}")
    return str(path)


async def main(output: Path) -> int:
    generator = create_audio_generator(
        {
            "strategy": "prompt2audio",
            "duration_s": 6,
            "enable_seamless_loop": True,
            "target_lufs": -23,
            "candidates": 2,
            "cache_dir": str(output / "cache"),
            "use_bge": False,  # None takes the encoder that is installed, for look-ups by meaning
            "pre_warm": True,
        },
        output,
    )
    frames = [0]
    drawing = asyncio.create_task(draw(frames))
    try:
        for scene, prompt in SCENES.items():
            await play(generator, scene, prompt)
        # the same sound for several scenes at once is made once
        both = await asyncio.gather(*(play(generator, f"hall {number}", "slow applause") for number in (1, 2)))
        print(f"{frames[0]} frames were drawn meanwhile; {len(set(both))} files for two halls")
    finally:
        drawing.cancel()
        generator.stop()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else "out").absolute())))
