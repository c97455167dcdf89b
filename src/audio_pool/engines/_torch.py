"""The device side of every torch engine: settings, precision, placement, memory limits, compilation.

Owns: TorchSettings and what each of its fields does to a model's modules; the libraries' progress bars.
Must not know: any single engine, the pool. Imports torch (and accelerate, diffusers' hooks) only
inside functions, so that settings can be checked without them.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct

from audio_pool.engines._settings import Device, ModelSettings
from audio_pool.errors import DeviceLost, EngineUnavailable, InvalidConfig, OutOfMemory
from audio_pool.gpu import Memory, amd_memory, nvidia_memory, parse_bytes

if TYPE_CHECKING:
    import torch

__all__ = [
    "CompileShape",
    "MemoryCap",
    "Placement",
    "TorchSettings",
    "device_at_work",
    "device_errors",
    "device_lost",
    "device_memory",
    "dtype_of",
    "first_line",
    "no_bars",
    "on_device",
    "settle_device",
    "weight_bytes",
]

# How the CPU's allocator, CUDA's driver and cuBLAS say it, each as a plain RuntimeError.
_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED")

Batch = Annotated[int, Meta(ge=1, le=64)]
Seconds = Annotated[float, Meta(gt=0.0, le=600.0)]


class CompileShape(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A batch to compile for at load, so that no request waits for the compiler."""

    items: Batch = 1
    duration_s: Seconds


class TorchSettings(ModelSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Device, precision and memory of a model. The same fields on every torch engine that generates."""

    device: Device = "auto"
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """"auto": bfloat16 on a GPU that has it, float16 on an older one, float32 on a CPU."""
    quantization: Literal["none", "8bit", "4bit"] = "none"
    """Of the text encoders' and the denoiser's linear layers; activations stay in ``dtype``."""
    quantization_backend: Literal["auto", "torchao", "quanto", "bitsandbytes"] = "auto"
    """"auto": torchao for 8 bit, quanto for 4 bit. bitsandbytes needs a GPU."""
    offload: Literal["none", "model", "sequential", "group"] = "none"
    """What waits in main memory: "model" all parts but the one that works; "group" and "sequential" all
    layers but the one that works, moved in blocks or one by one (least memory, slowest)."""
    offload_modules: list[str] = []
    """Only these parts wait in main memory: "encoder", "denoiser", "decoder", or parts by their names."""
    attention_slicing: bool = False
    vae_slicing: bool = False
    """Decode one sound at a time."""
    chunked_decode: bool = False
    """Decode a sound in overlapping pieces of time."""
    max_memory: str | None = None
    """A hard cap for this engine on the GPU, such as "4GB"."""
    check_memory: bool = True
    """Look at the device's free memory before loading, and refuse where the model will not fit."""
    compile: bool = False
    """torch.compile (with CUDA graphs on a GPU) on denoiser and decoder."""
    compile_mode: Literal["full", "kernels", "graphs"] = "full"
    """On a GPU. "full": fused kernels in CUDA graphs; "kernels": fused kernels, launched one by one;
    "graphs": the libraries' own kernels in CUDA graphs, without a compiler."""
    compile_shapes: list[CompileShape] = []
    """Batches to warm at load."""
    max_batch: Annotated[int, Meta(ge=1, le=64)] = 8
    """Most sounds in one pass; with guidance each takes two rows."""

    def refuse_ignored(self) -> None:
        """Refuse settings that would change nothing, or could not work, beside the others.

        Raises:
            InvalidConfig: naming the setting, why, and what to do.
        """
        if self.quantization == "none" and self.quantization_backend != "auto":
            raise InvalidConfig(
                f"quantization_backend = {self.quantization_backend!r} does nothing with quantization = 'none': set "
                "quantization = '8bit' or '4bit', or leave it out"
            )
        if not self.compile:
            for name, given in {"compile_shapes": self.compile_shapes, "compile_mode": self.compile_mode}.items():
                if given not in ([], "full"):
                    raise InvalidConfig(f"{name} does nothing without compile = true: set that, or leave it out")
        elif self.offload != "none" or self.offload_modules:
            raise InvalidConfig("compile = true needs its weights to stay in place: leave out offload")
        for shape in self.compile_shapes:
            if shape.items > self.max_batch:
                raise InvalidConfig(
                    f"compile_shapes: given items = {shape.items}, of which max_batch = {self.max_batch} allows no "
                    "pass: raise max_batch, or lower items"
                )


@contextlib.contextmanager
def no_bars() -> Iterator[None]:
    """Inside, the libraries imported so far draw no progress bars: not in a log, nor among a command's answers."""
    loggings = [
        each
        for name in ("diffusers.utils.logging", "transformers.utils.logging")
        if (each := sys.modules.get(name)) is not None and each.is_progress_bar_enabled()
    ]
    for each in loggings:
        each.disable_progress_bar()
    try:
        yield
    finally:
        for each in loggings:
            each.enable_progress_bar()


def first_line(exc: BaseException) -> str:
    """Return the first line of a library's message, or the name of its class where it says nothing."""
    lines = str(exc).strip().splitlines()
    return lines[0] if lines else type(exc).__name__


def settle_device(name: str) -> torch.device:
    """Return the torch device that a setting names.

    Raises:
        EngineUnavailable: where this machine does not have it.
    """
    import torch

    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if count <= (device.index or 0):
            raise EngineUnavailable(
                f"device {name!r}: torch sees {count} GPU{'' if count == 1 else 's'} in this process",
                hint="set device = 'cpu' or 'auto', or check CUDA_VISIBLE_DEVICES and the driver",
            )
        return torch.device("cuda", device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise EngineUnavailable("device 'mps' is not there", hint="set device = 'cpu' or 'auto'")
    return device


def on_device(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Return a context in which a GPU is torch's current one.

    What names no device (events, streams, questions about the hardware, kernels of Triton and quanto) means
    the current one: for an engine on cuda:1 it would otherwise be cuda:0, whose memory it has no business in.
    """
    import torch

    context: contextlib.AbstractContextManager[object] = (
        torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
    )
    return context


def dtype_of(name: str, device: torch.device) -> torch.dtype:
    """Return the torch dtype that a setting names, "auto" settled for the device."""
    import torch

    if name == "auto":
        if device.type != "cuda":
            return torch.float32
        with on_device(device):
            return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def device_memory(device: torch.device) -> Memory | None:
    """Return the memory of a GPU, all processes counted; None on a CPU or where nobody can tell."""
    import torch

    if device.type != "cuda":
        return None
    properties = torch.cuda.get_device_properties(device)
    if torch.version.hip:
        address = [getattr(properties, f"pci_{part}_id", 0) for part in ("domain", "bus", "device")]
        found = amd_memory("{:04x}:{:02x}:{:02x}.0".format(*address))
    else:
        found = nvidia_memory(f"GPU-{properties.uuid}")
    if found is None:
        free, total = torch.cuda.mem_get_info(device)
        found = Memory(free_bytes=free, total_bytes=total, source="torch")
    return found


class MemoryCap:
    """``max_memory``: an engine's share of a GPU, whatever else its process has there.

    torch knows one limit for a process. An engine that has a cap sets it for the time of its own work: what
    others hold, and its share on top.
    """

    def __init__(self, max_memory: str | None, device: torch.device) -> None:
        """
        Raises:
            InvalidConfig: a cap where the device is no GPU.
        """
        self._device = device
        self._cap = parse_bytes(max_memory) if max_memory is not None else None
        self._own = 0
        """Bytes that the engine keeps between its runs."""
        if max_memory is not None and device.type != "cuda":
            raise InvalidConfig(f"max_memory = {max_memory!r} limits a GPU; the device is {device}: leave it out")

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Inside, the engine cannot have more than its share."""
        if self._cap is None:
            yield
            return
        import torch

        others = max(0, torch.cuda.memory_allocated(self._device) - self._own)
        allowed = others + self._cap
        if torch.cuda.memory_reserved(self._device) > allowed:
            torch.cuda.empty_cache()  # blocks that are cached are given out without a look at the limit
        # a card sold as 4 GB shows a little less; a cap above what there is caps nothing
        total = torch.cuda.get_device_properties(self._device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, allowed / total), self._device)
        try:
            yield
            # not after an error: its traceback still holds the tensors of the failed pass
            self._own = max(0, torch.cuda.memory_allocated(self._device) - others)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, self._device)


def device_lost(device: torch.device) -> bool:
    """Return True if a GPU answers this process with errors only.

    A fault in a kernel leaves a CUDA context so for good. Asked by the device itself, not by the message of an
    error: others read alike and are over once they are raised.
    """
    import torch

    if device.type != "cuda":
        return False
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        return True
    return False


@contextlib.contextmanager
def device_at_work(engine: str, device: torch.device) -> Iterator[None]:
    """Inside, the device is torch's current one.

    Raises:
        DeviceLost: in place of whatever a lost device raised.
    """
    try:
        with on_device(device):
            yield
    except RuntimeError as exc:
        if device_lost(device):
            raise DeviceLost(f"{engine}: {device} is lost to this process: {first_line(exc)}") from exc
        raise


@contextlib.contextmanager
def device_errors(
    engine: str, device: torch.device, max_memory: str | None, items: int, advice: str = ""
) -> Iterator[None]:
    """Inside ``device_at_work``, turn out-of-memory errors into ours, and give the cached memory back.

    Args:
        engine: its name, for the message.
        device: where it works.
        max_memory: the setting, for the message.
        items: sounds of the pass; 0 while loading.
        advice: what would take less memory and is not done yet.
    """
    import torch

    try:
        with device_at_work(engine, device):
            yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as exc:
        known = isinstance(exc, (torch.OutOfMemoryError, MemoryError))
        if not known and not any(sign in str(exc) for sign in _OUT_OF_MEMORY):
            raise
        at_work = f"with {items} sound{'' if items == 1 else 's'} at once" if items else "while loading"
        message = f"{engine}: out of memory on {device} {at_work}"
        if max_memory:
            message += f" (max_memory = {max_memory!r})"
        # without the cause: its traceback holds every tensor of the failed pass
        raised = "raise max_memory, or " if max_memory else ""
        error = OutOfMemory(message, hint=raised + (advice or "ask for fewer sounds at once, or shorter ones"))
    else:
        return
    if device.type == "cuda":
        torch.cuda.empty_cache()
    raise error


def weight_bytes(module: torch.nn.Module) -> int:
    """Return the bytes that a module's parameters and buffers take, quantised ones as they are stored."""
    seen: dict[int, int] = {}

    def count(tensor: Any) -> None:
        if hasattr(tensor, "__tensor_flatten__") and type(tensor).__module__.split(".")[0] != "torch":
            names, _ = tensor.__tensor_flatten__()
            for name in names:
                count(getattr(tensor, name))
        else:
            seen[tensor.data_ptr()] = tensor.untyped_storage().nbytes()

    for tensor in (*module.parameters(), *module.buffers()):
        count(tensor)
    return sum(seen.values())


class Placement:
    """Moves a model's parts to its device and back.

    A model is parts (named modules), each belonging to a stage: "encoder", "denoiser" or "decoder".
    An engine does each stage's work inside ``with placement.stage(name)``; parts that wait in main
    memory come to the device for that time and go back whatever happens inside. Explicit moves, not
    forward hooks: a hook misses methods other than ``forward`` (CLAP's ``get_text_features``), and an
    aborted run leaves its part behind.
    """

    def __init__(
        self,
        stages: Mapping[str, Mapping[str, torch.nn.Module]],
        settings: TorchSettings,
        device: torch.device,
    ) -> None:
        """Put every part where it starts.

        Args:
            stages: stage -> part's name -> module; a part may belong to several stages.
            settings: offload and offload_modules.
            device: where the work is done.

        Raises:
            InvalidConfig: offload_modules names what the model does not have.
        """
        self.device = device
        self._stages = {stage: dict(parts) for stage, parts in stages.items()}
        parts = {name: module for group in self._stages.values() for name, module in group.items()}
        self.waiting = self._chosen(settings, list(parts))
        self._here: list[torch.nn.Module] = []
        """Parts of the innermost stage that wait in main memory otherwise."""
        if settings.offload in ("sequential", "group"):
            for name, module in parts.items():
                if name in self.waiting:
                    _hooked(module, settings.offload, device)
                else:
                    module.to(device)
            self.waiting = frozenset()
            return
        for name, module in parts.items():
            module.to("cpu" if name in self.waiting else device)

    def _chosen(self, settings: TorchSettings, parts: list[str]) -> frozenset[str]:
        if not settings.offload_modules:
            return frozenset(parts if settings.offload != "none" else ())
        chosen: set[str] = set()
        for name in settings.offload_modules:
            if name in self._stages:
                chosen.update(self._stages[name])
            elif name in parts:
                chosen.add(name)
            else:
                known = ", ".join([*self._stages, *parts])
                raise InvalidConfig(f"offload_modules: given {name!r}, allowed is any of {known}")
        return frozenset(chosen)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Keep a stage's parts on the device for as long as the context lasts.

        A stage inside another sends the outer one's parts to wait meanwhile: the device never holds two.
        """
        outer = self._here
        here = [module for part, module in self._stages[name].items() if part in self.waiting]
        leaving = [module for module in outer if not any(module is one for one in here)]
        coming = [module for module in here if not any(module is one for one in outer)]
        self._here = here
        try:
            for module in leaving:
                module.to("cpu")
            for module in coming:
                module.to(self.device)
            yield
        finally:
            self._here = outer
            for module in coming:
                module.to("cpu")
            for module in leaving:
                module.to(self.device)


def _hooked(module: Any, how: str, device: torch.device) -> None:
    """Let layers come to the device one by one ("sequential") or in groups, as they are needed."""
    import torch

    if how == "sequential":
        from accelerate import cpu_offload

        cpu_offload(module, device, offload_buffers=True)
        return
    from diffusers.hooks import apply_group_offloading

    apply_group_offloading(
        module,
        onload_device=device,
        offload_device=torch.device("cpu"),
        offload_type="leaf_level",
        use_stream=device.type == "cuda",
    )
