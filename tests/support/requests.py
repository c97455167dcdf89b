"""Engines' infos, requests and what they resolve to, for tests of the pool's parts."""

from __future__ import annotations

from typing import Any

from audio_pool.config import Config, load_config
from audio_pool.engine_info import EngineInfo
from audio_pool.pool.resolve import ResolvedRequest, resolve
from audio_pool.types import AudioRequest
from audio_pool.validation import parse


def engine(name: str = "tone", **fields: Any) -> EngineInfo:
    """Return the info of a generator that can do most things."""
    usual: dict[str, Any] = {
        "role": "generator",
        "model": f"models/{name}",
        "licence": "MIT",
        "commercial_use": True,
        "sample_rate": 44_100,
        "channels": 2,
        "longest_s": 60.0,
    }
    return EngineInfo(name=name, **{**usual, **fields})


def config(**sections: Any) -> Config:
    """Return a configuration whose default engine is ``tone``."""
    return load_config({"defaults": {"engine": "tone"}, **sections}, environment={})


def request(prompt: str = "rain", **fields: Any) -> AudioRequest:
    """Return a checked request."""
    return parse(AudioRequest, {"prompt": prompt, **fields})


def resolved(info: EngineInfo | None = None, settings: Config | None = None, **fields: Any) -> ResolvedRequest:
    """Return what a request to this engine means."""
    info = info or engine()
    return resolve(request(**fields), settings or config(defaults={"engine": info.name}), {info.name: info})
