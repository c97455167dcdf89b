"""placeholder until merged"""
from collections.abc import Mapping

from audio_pool.engine_info import EngineInfo
from audio_pool.types import Label


def checked_options(info: EngineInfo, given: Mapping[str, Label]) -> tuple[tuple[str, Label], ...]:
    return tuple(sorted(given.items()))
