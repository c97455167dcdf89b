"""Where a run's time goes: kernels, launches, waits and gaps, out of torch's profiler."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

LAUNCHES = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx", "cudaGraphLaunch",
            "hipLaunchKernel", "hipExtModuleLaunchKernel", "hipGraphLaunch")  # fmt: skip
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "hipStreamSynchronize")
COPIES = ("cudaMemcpyAsync", "cudaMemcpy", "hipMemcpyAsync", "hipMemcpyWithStream")
SHOWN = 25


@dataclass(frozen=True, kw_only=True)
class Span:
    """An event: microseconds."""

    name: str
    start: float
    end: float
    on_device: bool


def busy(spans: Iterable[tuple[float, float]]) -> float:
    """The length of the union of intervals."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def figures(spans: Sequence[Span], steps: int) -> dict[str, Any]:
    """Counts per step, and how long the device worked and waited in between."""
    kernels = [span for span in spans if span.on_device]
    counts = collections.Counter(span.name for span in spans if not span.on_device)
    found: dict[str, Any] = {
        "steps": steps,
        "kernels_per_step": round(len(kernels) / steps, 1),
        "launches_per_step": round(sum(counts[name] for name in LAUNCHES) / steps, 1),
        "waits_per_step": round(sum(counts[name] for name in WAITS) / steps, 2),
        "copies_per_step": round(sum(counts[name] for name in COPIES) / steps, 2),
    }
    if kernels:
        whole = max(span.end for span in kernels) - min(span.start for span in kernels)
        worked = busy((span.start, span.end) for span in kernels)
        found |= {
            "device_ms": round(whole / 1000, 3),
            "busy_ms": round(worked / 1000, 3),
            "gaps": f"{1 - worked / whole:.0%}" if whole else "",
        }
    return found


def longest(spans: Sequence[Span], *, on_device: bool) -> list[str]:
    """A line for each of the names that take most, with milliseconds and calls."""
    took: collections.Counter[str] = collections.Counter()
    calls: collections.Counter[str] = collections.Counter()
    for span in spans:
        if span.on_device == on_device:
            took[span.name] += span.end - span.start  # type: ignore[assignment]  # fractions of microseconds
            calls[span.name] += 1
    return [f"{total / 1000:10.3f} ms {calls[name]:7d} x  {name[:120]}" for name, total in took.most_common(SHOWN)]


def recorded(work: Callable[[], Any], device: str) -> list[Span]:
    """Run ``work`` once under the profiler."""
    from torch.profiler import ProfilerActivity, profile

    gpu = device.startswith("cuda")
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    with profile(activities=activities) as profiler:
        work()
        if gpu:
            torch.cuda.synchronize()
    return [
        Span(
            name=event.name,
            start=event.time_range.start,
            end=event.time_range.end,
            on_device=event.device_type != torch.autograd.DeviceType.CPU,
        )
        for event in profiler.events()
    ]
