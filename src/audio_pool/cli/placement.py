"""What ``audio-pool doctor`` says of where a configuration's engines go: by device, what they take, what will not fit.

Owns: that account, from what engines say of themselves before they are loaded and what a driver says of its cards.
Must not know: how engines are loaded (worker/), which one is in memory when (scheduler/residency.py).

What a model takes is its parameters as they are stored; what its work takes comes on top, and is a guess until it was
measured (docs/small-gpus.md). Two workers of one device have two copies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from msgspec import Struct, field

from audio_pool.config import Config, EngineConfig, WorkerConfig
from audio_pool.config.cluster_checks import on_nodes
from audio_pool.engine_info import EngineInfo
from audio_pool.errors import AudioPoolError
from audio_pool.gpu import Survey, parse_bytes, shown, visible
from audio_pool.pool.plan import configured, told_bytes, workers_of

__all__ = ["WORK_BYTES", "Placement", "placements"]

WORK_BYTES = 1 << 30
"""What sounds in the making take beside the models; more where they are long or many."""


class Placement(NamedTuple):
    """One device, and what is to be said of it."""

    device: str
    state: Literal["ok", "note", "problem"]
    told: str
    mend: str = ""


class _Hosted(NamedTuple):
    """An engine on a device."""

    engine: str
    worker: str
    size_bytes: int
    keeps: bool
    """In memory from its worker's start to its end."""


class _Device(Struct):
    """A device as the configuration uses it."""

    name: str
    total_bytes: int | None = None
    """None: nobody says."""
    free_bytes: int | None = None
    hosted: list[_Hosted] = field(default_factory=list)


def placements(config: Config, found: Survey) -> Iterator[Placement]:
    """Yield what goes where under a configuration, a device at a time.

    Args:
        found: the cards of this machine.
    """
    infos: dict[str, EngineInfo] = {}
    devices: dict[str, _Device] = {}
    for worker in workers_of(config):
        for engine in worker.engines:
            if engine not in infos:
                try:
                    infos[engine] = configured(engine, config)
                except AudioPoolError:  # told of elsewhere, or another interpreter's
                    continue
            own = config.engines.get(engine, EngineConfig())
            device = _device_of(worker, own, config, found)
            size = _size(own, infos[engine], on_gpu=device.name.startswith("gpu"))
            hosted = _Hosted(engine, worker.name, size, own.preload is True and own.keep_alive_s is None)
            devices.setdefault(device.name, device).hosted.append(hosted)
    for device in devices.values():
        yield _told(device, devices, config.memory.reserve_bytes)


def _device_of(worker: WorkerConfig, engine: EngineConfig, config: Config, found: Survey) -> _Device:
    """Return the device on which a worker loads an engine."""
    if on_nodes(worker, config.cluster):
        return _Device(f"{'gpu' if worker.gpus else 'node'} by Ray, for {worker.name}")
    if worker.device:
        return _Device(f"device {worker.device}", config.devices[worker.device].memory_bytes)
    wanted = str(engine.settings.get("device", "auto"))
    if worker.gpu == "" or wanted == "cpu":
        return _Device("CPU")
    number = int(wanted.partition(":")[2] or 0) if wanted.partition(":")[2].isdigit() or ":" not in wanted else 0
    try:
        seen = visible(found.devices, worker.gpu)
    except AudioPoolError:
        seen = []
    entries = [entry.strip() for entry in (worker.gpu or "").split(",") if entry.strip()]
    if number < len(seen):
        card = seen[number]
        return _Device(f"gpu {card.index} ({card.name})", card.total_bytes, card.free_bytes)
    if worker.gpu is None:
        return _Device("CPU" if wanted == "auto" else "gpu 0")
    return _Device(f"gpu {entries[number] if number < len(entries) else entries[0]}")


def _size(engine: EngineConfig, info: EngineInfo, *, on_gpu: bool) -> int:
    size = told_bytes(engine, info, on_gpu=on_gpu)
    cap = engine.settings.get("max_memory")
    return min(size, parse_bytes(str(cap))) if cap else size


def _told(device: _Device, devices: Mapping[str, _Device], reserve: int) -> Placement:
    weighty = [one for one in device.hosted if one.size_bytes]
    kept = sum(one.size_bytes for one in weighty if one.keeps)
    come_and_go = [one for one in weighty if not one.keeps]
    told = "; ".join(part for part in (_listed(device.hosted, True), _listed(device.hosted, False)) if part)
    alone = [one.engine for one in device.hosted if _only_there(one.engine, device, devices)]
    where = f"; nowhere else: {', '.join(dict.fromkeys(alone))}" if len(devices) > 1 and alone else ""
    if device.total_bytes is None or not weighty:
        unsaid = "; how much memory it has is not known here" if weighty and device.name != "CPU" else ""
        return Placement(device.name, "note" if unsaid else "ok", told + unsaid + where)
    room = device.total_bytes - reserve - WORK_BYTES
    less = f"{shown(reserve)} in reserve and about {shown(WORK_BYTES)} for sounds at work"
    has = f"of {shown(device.total_bytes)} less {less}"
    largest = max(come_and_go, key=lambda one: one.size_bytes, default=None)
    if kept > room:
        return Placement(
            device.name,
            "problem",
            f"{told}: what is kept from the start takes {shown(kept)} {has}",
            'preload = false or "auto" for those that are asked for least; dtype, quantization (docs/small-gpus.md); '
            "or another device",
        )
    if largest is not None and kept + largest.size_bytes > room:
        beside = f" beside the {shown(kept)} that are kept" if kept else ""
        return Placement(
            device.name,
            "problem",
            f"{told}: {largest.engine} takes {shown(largest.size_bytes)}{beside}, {has}",
            "dtype, quantization or offload (docs/small-gpus.md), or host it on a larger device",
        )
    every = kept + sum(one.size_bytes for one in come_and_go)
    fits = (
        f"together {shown(every)} {has}: all at once"
        if every <= room
        else f"together {shown(every)} {has}: not all at once, the least recently used makes room"
    )
    if device.free_bytes is not None and device.free_bytes - reserve < kept + WORK_BYTES:
        now = f"; only {shown(device.free_bytes)} are free now, whoever has the rest"
        return Placement(device.name, "note", f"{told}; {fits}{now}{where}")
    return Placement(device.name, "ok", f"{told}; {fits}{where}")


def _listed(hosted: Sequence[_Hosted], keeps: bool) -> str:
    """Return the engines that are kept, or those that come and go, in words."""
    names = [
        f"{one.engine} {shown(one.size_bytes)}" if one.size_bytes else one.engine
        for one in hosted
        if one.keeps == keeps
    ]
    counted = dict.fromkeys(names)
    words = ", ".join(f"{names.count(name)} x {name}" if names.count(name) > 1 else name for name in counted)
    return f"{'kept' if keeps else 'when asked for'}: {words}" if words else ""


def _only_there(engine: str, device: _Device, devices: Mapping[str, _Device]) -> bool:
    """Return True for an engine that no other device has: it waits while this one is lent."""
    return not any(one.engine == engine for other in devices.values() if other is not device for one in other.hosted)
