"""``speaker``, which claims to speak, in one of two voices."""

from __future__ import annotations

from scripted_engine import ScriptedEngine

from audio_pool.engine_info import OptionInfo, VoiceInfo
from audio_pool.engines.base import EngineInfo

INFO = EngineInfo(
    name="speaker", role="generator", model="speaker", licence="Apache-2.0", commercial_use=True, sample_rate=44_100,
    channels=2, any_rate=True, gated=False, speech=True, kinds=("speech",),
    voices=(VoiceInfo(name="alba"), VoiceInfo(name="bern")),
    options=(OptionInfo(name="speed", type="float", default=1.0, low=0.5, high=2.0, summary="how fast"),),
    summary="says nothing",
)  # fmt: skip


def load(diary: str = "", **settings: object) -> ScriptedEngine:
    return ScriptedEngine(INFO)
