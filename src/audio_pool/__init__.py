"""audio_pool: ask in words, get a finished sound.

Owns: the public names, loaded when first used, so that ``import audio_pool`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audio_pool.cache.manage import AudioSemanticCache
    from audio_pool.client.async_client import AsyncAudioClient
    from audio_pool.client.client import AudioClient
    from audio_pool.errors import AudioPoolError
    from audio_pool.generator import create_audio_generator
    from audio_pool.pool.pool import AudioPool
    from audio_pool.results import AudioResult
    from audio_pool.types import AudioRequest

__version__ = "0.1.0"

__all__ = [
    "AsyncAudioClient",
    "AudioClient",
    "AudioPool",
    "AudioPoolError",
    "AudioRequest",
    "AudioResult",
    "AudioSemanticCache",
    "create_audio_generator",
]

_HOMES = {
    "AsyncAudioClient": "audio_pool.client.async_client",
    "AudioClient": "audio_pool.client.client",
    "AudioPool": "audio_pool.pool.pool",
    "AudioPoolError": "audio_pool.errors",
    "AudioRequest": "audio_pool.types",
    "AudioResult": "audio_pool.results",
    "AudioSemanticCache": "audio_pool.cache.manage",
    "create_audio_generator": "audio_pool.generator",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'audio_pool' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
