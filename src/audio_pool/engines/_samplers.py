"""The samplers that a diffusion engine's option ``scheduler`` may name, and how diffusers makes each.

Owns: names, diffusers' classes and the changes of configuration behind them; how a flow's steps are handed
from one sampler to another.
Must not know: any single engine, how a step is predicted, the pool.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from audio_pool.engine_info import OptionInfo

__all__ = [
    "COSINE",
    "FLOW",
    "NOISE",
    "OPTION",
    "SHIFT",
    "Sampler",
    "built",
    "numpy_copies",
    "over_flow",
    "sampler_option",
]

OPTION = "scheduler"

SHIFT = OptionInfo(
    name="shift",
    type="float",
    default=1.0,
    low=0.1,
    high=10.0,
    summary="Where the steps of the flow lie: above 1 more of them at much noise, below 1 at little",
)
"""Of engines whose flow's steps lie evenly otherwise."""


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """One way to take the steps from noise to sound."""

    cls: str
    """A class of diffusers."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """What is other in its configuration than in the checkpoint's."""


NOISE: Mapping[str, Sampler] = {
    "ddim": Sampler(cls="DDIMScheduler"),
    "euler": Sampler(cls="EulerDiscreteScheduler"),
    "euler_ancestral": Sampler(cls="EulerAncestralDiscreteScheduler"),
    "heun": Sampler(cls="HeunDiscreteScheduler"),
    "dpmpp_2m": Sampler(cls="DPMSolverMultistepScheduler", changes={"algorithm_type": "dpmsolver++"}),
    "dpmpp_2m_karras": Sampler(
        cls="DPMSolverMultistepScheduler", changes={"algorithm_type": "dpmsolver++", "use_karras_sigmas": True}
    ),
    "dpmpp_2m_sde": Sampler(cls="DPMSolverMultistepScheduler", changes={"algorithm_type": "sde-dpmsolver++"}),
    "unipc": Sampler(cls="UniPCMultistepScheduler"),
}
"""For models that predict noise (or its kin) at the levels of a schedule of betas."""

_FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
FLOW: Mapping[str, Sampler] = {
    "euler": Sampler(cls="FlowMatchEulerDiscreteScheduler", changes={"stochastic_sampling": False}),
    "euler_stochastic": Sampler(cls="FlowMatchEulerDiscreteScheduler", changes={"stochastic_sampling": True}),
    "heun": Sampler(cls="FlowMatchHeunDiscreteScheduler"),
    "dpmpp_2m": Sampler(cls="DPMSolverMultistepScheduler", changes=_FLOW),
    "unipc": Sampler(cls="UniPCMultistepScheduler", changes=_FLOW),
}
"""For models of a rectified flow."""

COSINE: Mapping[str, Sampler] = {
    "dpmpp_2m_sde": Sampler(
        cls="CosineDPMSolverMultistepScheduler", changes={"solver_order": 2, "sigma_schedule": "exponential"}
    ),
    "dpmpp_2m_sde_karras": Sampler(
        cls="CosineDPMSolverMultistepScheduler", changes={"solver_order": 2, "sigma_schedule": "karras"}
    ),
    "dpmpp_sde": Sampler(
        cls="CosineDPMSolverMultistepScheduler", changes={"solver_order": 1, "sigma_schedule": "exponential"}
    ),
}
"""For models whose noise is told as an angle: no other class of diffusers tells it so."""


def sampler_option(samplers: Mapping[str, Sampler]) -> OptionInfo:
    """Return the option by which a request chooses one of these."""
    return OptionInfo(
        name=OPTION,
        type="str",
        choices=tuple(samplers),
        summary="How the steps are taken; unset: as the checkpoint says. heun calls the model twice a step",
    )


@contextlib.contextmanager
def numpy_copies() -> Iterator[None]:
    """Inside, diffusers' schedulers may hand tensors to numpy in the way that torch has not learned of yet."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy", DeprecationWarning)
        yield


def built(own: Any, sampler: Sampler | None, settings: Mapping[str, Any]) -> Any:
    """Return a new scheduler with no steps yet, from the configuration of the checkpoint's own.

    Args:
        own: the checkpoint's scheduler (diffusers' share no base class that says what they take).
        sampler: None: the checkpoint's own.
        settings: what the job changes in its configuration.
    """
    if sampler is None:
        return type(own).from_config(own.config, **settings)
    import diffusers

    return getattr(diffusers, sampler.cls).from_config(own.config, **{**sampler.changes, **settings})


def over_flow(own: Any, sampler: Sampler) -> Any:
    """Return the sampler with the steps of a flow's own scheduler: it takes them otherwise, not elsewhere.

    Args:
        own: a FlowMatchEulerDiscreteScheduler whose steps are set, their levels falling from at most 1 to 0.
        sampler: one of FLOW.
    """
    import diffusers
    import torch

    cls = getattr(diffusers, sampler.cls)
    if cls is type(own):
        other = cls.from_config(own.config, **sampler.changes)
        other.set_timesteps(len(own.timesteps), device="cpu")
        other.sigmas, other.timesteps = own.sigmas, own.timesteps
        return other
    other = cls(num_train_timesteps=own.config.num_train_timesteps, **sampler.changes)
    other.set_timesteps(len(own.timesteps), device="cpu")
    levels, at = own.sigmas.clone(), own.timesteps
    if other.order == 2:
        # between the first level and the last each is reached once and left once
        inner = levels[1:-1].repeat_interleave(2)
        other.sigmas = torch.cat([levels[:1], inner, levels[-1:]])
        other.timesteps = torch.cat([at[:1], at[1:].repeat_interleave(2)])
        return other
    levels[0] = min(float(levels[0]), 1.0 - 1e-6)  # they take the logarithm of what is left to 1
    other.sigmas, other.timesteps = levels, at
    return other
