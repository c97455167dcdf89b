"""TangoFlux: sound effects and ambience up to 30 s in one pass, 44.1 kHz stereo.

Owns: the names by which it is loaded as an engine.
Must not know: its files, its algorithm.
"""

from __future__ import annotations

from audio_pool.engines.tangoflux.checkpoint import Config
from audio_pool.engines.tangoflux.engine import TangoFlux, load
from audio_pool.engines.tangoflux.info import INFO, Settings

__all__ = ["INFO", "Config", "Settings", "TangoFlux", "load"]
