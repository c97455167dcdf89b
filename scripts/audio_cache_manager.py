#!/usr/bin/env python3
"""Manage a cache directory of audio_pool; the same commands as ``audio-pool cache``.

    python scripts/audio_cache_manager.py stats --cache-dir DIR
"""

from audio_pool.cli.cache import group

if __name__ == "__main__":
    group(prog_name="audio_cache_manager.py")
