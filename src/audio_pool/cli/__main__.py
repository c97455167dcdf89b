"""``python -m audio_pool.cli``: the same as ``audio-pool``."""

from audio_pool.cli import main

main()
