"""The options of engines that draw audio tokens.

Owns: their names, ranges and what they say of themselves.
Must not know: how they are heeded (_autoregressive.py), any single model.
"""

from __future__ import annotations

from audio_pool.engine_info import OptionInfo

__all__ = ["token_options"]


def token_options(*, window_s: float = 30.0, stride_s: float = 18.0, top_k: int = 250) -> tuple[OptionInfo, ...]:
    """Return the options of an engine, with its model's window and its own defaults."""
    return (
        OptionInfo(
            name="temperature",
            type="float",
            default=1.0,
            low=0.0,
            high=3.0,
            summary="How adventurous each token is; 0 always takes the likeliest",
        ),
        OptionInfo(
            name="top_k",
            type="int",
            default=top_k,
            low=0,
            high=2048,
            summary="Only the so many likeliest tokens are drawn; 0: all",
        ),
        OptionInfo(
            name="top_p",
            type="float",
            default=1.0,
            low=0.01,
            high=1.0,
            summary="Only the likeliest tokens that share this much of all chances are drawn; 1: all",
        ),
        OptionInfo(
            name="cfg",
            type="float",
            low=0.0,
            high=20.0,
            summary="guidance_scale by the name that these models know it by; given both, this one holds",
        ),
        OptionInfo(
            name="stride_s",
            type="float",
            default=stride_s,
            low=1.0,
            high=window_s - 1.0,
            summary="Sounds beyond the model's window: seconds that each further window adds; the rest it is given",
        ),
    )
