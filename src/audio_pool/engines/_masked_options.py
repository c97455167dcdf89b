"""The options of masked token models, and how such a model was trained to be sampled.

Owns: MASKED, and the values that hold where a request names none.
Must not know: how tokens are drawn, any single model, the pool.
"""

from __future__ import annotations

from collections.abc import Mapping

from audio_pool.engine_info import OptionInfo
from audio_pool.engines._audiocraft import Configuration

__all__ = [
    "GUIDANCE_END",
    "LATER_STEPS",
    "MASKED",
    "SPANS",
    "STRIDE",
    "TEMPERATURE",
    "TOP_K",
    "TOP_P",
    "own_choices",
]

TEMPERATURE = OptionInfo(
    name="temperature",
    type="float",
    low=0.0,
    high=10.0,
    summary="How far the first tokens of a codebook stray from the likeliest; falls to nothing step by step. "
    "The model's own: 3, of the sound models 3.5",
)
TOP_P = OptionInfo(
    name="top_p",
    type="float",
    low=0.0,
    high=1.0,
    summary="Only the likeliest tokens that have this share of all chances together; 0: as top_k says. "
    "The model's own: 0.9, of the sound models 0.8",
)
TOP_K = OptionInfo(
    name="top_k", type="int", low=0, high=65_536, summary="With top_p 0: only so many likeliest tokens; 0: all"
)
GUIDANCE_END = OptionInfo(
    name="guidance_end",
    type="float",
    low=0.0,
    high=100.0,
    summary="Guidance at a codebook's last step; guidance_scale is that at its first. The model's own: 1",
)
LATER_STEPS = OptionInfo(
    name="later_steps",
    type="int",
    default=10,
    low=1,
    high=200,
    summary="Steps for each codebook after the first, which has 'steps' of them",
)
SPANS = OptionInfo(
    name="span_arrangement",
    type="str",
    default="nonoverlap",
    choices=("nonoverlap", "stride1"),
    summary="Tokens are drawn anew in spans that lie side by side, or begin at every token (stride1)",
)
STRIDE = OptionInfo(
    name="stride_s",
    type="float",
    low=0.1,
    high=29.0,
    summary="Sounds beyond the model's window: seconds that each further window adds; the rest it is given. By "
    "itself half a window",
)
MASKED = (TEMPERATURE, TOP_P, TOP_K, GUIDANCE_END, LATER_STEPS, SPANS, STRIDE)


def own_choices(given: Configuration) -> Mapping[str, float]:
    """Return how the model is sampled where nothing is asked for: as its training did, else as audiocraft does."""
    return {
        TEMPERATURE.name: given.number("generate.lm.temp", 3.0),
        TOP_P.name: given.number("generate.lm.top_p", 0.9),
        TOP_K.name: given.number("generate.lm.top_k", 0.0),
        GUIDANCE_END.name: given.number("generate.lm.min_cfg_coef", 1.0),
    }
