"""Fewer bits for a module's weights, by whichever library the settings name.

Owns: the in-place quantisation of linear layers with torchao, quanto or bitsandbytes.
Must not know: any single engine, the pool. Imports each library only when it is asked for.
"""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from audio_pool.engines._torch import on_device
from audio_pool.errors import EngineUnavailable, InvalidConfig

if TYPE_CHECKING:
    import torch

    from audio_pool.engines._torch import TorchSettings

__all__ = ["quantization_of", "quantize", "replaceable"]


_HINTS = {
    ("bitsandbytes", 8): "pip install bitsandbytes",
    ("bitsandbytes", 4): "pip install bitsandbytes",
    ("torchao", 4): "leave out quantization_backend: quanto stores 4 bit",
}


def quantization_of(settings: TorchSettings) -> str:
    """Return what the settings come to, such as "8bit-torchao"; "none" where weights stay as they are."""
    if settings.quantization == "none":
        return "none"
    return f"{settings.quantization}-{_backend(settings)}"


def _backend(settings: TorchSettings) -> str:
    if settings.quantization_backend != "auto":
        return settings.quantization_backend
    return "torchao" if settings.quantization == "8bit" else "quanto"


def quantize(module: torch.nn.Module, settings: TorchSettings, device: torch.device) -> None:
    """Quantise the weights of a module's linear layers in place (activations stay as they are).

    Raises:
        EngineUnavailable: the library for it is not installed.
        InvalidConfig: bitsandbytes without a GPU.
    """
    if settings.quantization == "none":
        return
    bits = 8 if settings.quantization == "8bit" else 4
    backend = _backend(settings)
    if backend == "bitsandbytes" and device.type != "cuda":
        raise InvalidConfig(f"quantization_backend = 'bitsandbytes' needs a GPU; the device is {device}")
    work: dict[str, Callable[[Any, int, torch.device], None]] = {
        "torchao": _torchao,
        "quanto": _quanto,
        "bitsandbytes": _bitsandbytes,
    }
    try:
        with on_device(device):
            work[backend](module, bits, device)
    except ImportError as exc:
        raise EngineUnavailable(
            f"quantization = {settings.quantization!r} with {backend}: {exc}",
            hint=_HINTS.get((backend, bits), "pip install 'audio-pool[quantization]'"),
        ) from exc


def _torchao(module: Any, bits: int, device: torch.device) -> None:
    import torch

    with warnings.catch_warnings():
        # torchao 0.18 registers constants the way torch 2.13 no longer wants it to
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"torchao\.")
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torchao\.")
        from torchao.quantization import Int8WeightOnlyConfig, quantize_

    if bits == 8:
        quantize_(module, Int8WeightOnlyConfig())
        return
    # 4 bit in torchao is packed for bfloat16 kernels of a GPU; on a CPU it would only look like 4 bit
    if not any(parameter.dtype == torch.bfloat16 for parameter in module.parameters()):
        raise InvalidConfig("4 bit with torchao needs dtype = 'bfloat16' on a GPU; use quanto")
    from torchao.quantization import Int4WeightOnlyConfig

    quantize_(module, Int4WeightOnlyConfig(group_size=64))


def _quanto(module: Any, bits: int, device: torch.device) -> None:
    import torch
    from optimum import quanto
    from optimum.quanto.library.extensions import get_extension, is_extension_available

    weight = next(module.parameters())
    half = weight.dtype == torch.float16
    nvidia = device.type == "cuda" and torch.version.hip is None
    if bits == 4 and half and nvidia and torch.cuda.get_device_capability(device)[0] >= 8:
        # there quanto would compile a kernel of its own, which needs the CUDA toolkit; on AMD's cards it has none
        raise InvalidConfig("quantization = '4bit' on this GPU: set dtype = 'bfloat16', not 'float16'")
    for name in ("quanto_cpp", "quanto_cuda", "quanto_hip"):
        # quanto compiles its unpacking into its own package directory at first use: over a minute, and
        # an error without a compiler
        if is_extension_available(name) and get_extension(name)._lib is None:
            get_extension(name)._lib = types.SimpleNamespace(unpack=_unpacked)
    quanto.quantize(module, weights=quanto.qint8 if bits == 8 else quanto.qint4)
    quanto.freeze(module)


def _unpacked(packed: torch.Tensor, bits: int) -> torch.Tensor:
    """uint8 [N * 8 / bits, ...], one value each, from uint8 [N, ...] that hold several."""
    import torch

    return torch.cat([(packed >> shift) & (2**bits - 1) for shift in range(0, 8, bits)])


def replaceable(module: torch.nn.Module, bits: int) -> list[tuple[str, torch.nn.Linear]]:
    """Return the linear layers, by name, that may be replaced by ones whose stored weights are whole numbers.

    Four bits are stored as uint8. Where a library looks at a weight's type to cast what goes in (T5 at the last
    product of each block, ``wo``, which it keeps in float32 for its range), that type must stay a real one: the
    library names those layers itself.
    """
    import torch

    kept: set[str] = set()
    for prefix, part in module.named_modules():
        for leaf in getattr(part, "_keep_in_fp32_modules", None) or () if bits == 4 else ():
            within = f"{prefix}." if prefix else ""
            kept.update(within + name for name, _ in part.named_modules() if leaf in name.split("."))
    return [
        (name, layer)
        for name, layer in module.named_modules()
        if type(layer) is torch.nn.Linear and name not in kept
    ]


def _bitsandbytes(module: Any, bits: int, device: torch.device) -> None:
    import bitsandbytes as bnb

    for name, layer in replaceable(module, bits):
        shape = (layer.in_features, layer.out_features, layer.bias is not None)
        if bits == 8:
            new = bnb.nn.Linear8bitLt(*shape, has_fp16_weights=False)
            new.weight = bnb.nn.Int8Params(layer.weight.data, requires_grad=False, has_fp16_weights=False)
        else:
            new = bnb.nn.Linear4bit(*shape, compute_dtype=layer.weight.dtype, quant_type="nf4")
            new.weight = bnb.nn.Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4")
        new.bias = layer.bias
        owner, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(owner), leaf, new)
