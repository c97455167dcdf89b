"""A voice's ONNX model in ONNX Runtime, whose chance follows from a seed.

Owns: the session, whether the model draws at random, and what it takes that the same seed draws the same.
Must not know: what is said, any single engine.

A model that draws has its generators inside: they are seeded when a session is made, from one number of the whole
process, and go on from call to call. So one seed is one session, made for it and thrown away. A model without such
operators, or one that is told to draw nothing, runs in the session that is kept.
"""

from __future__ import annotations

import logging
import mmap
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from audio_pool.errors import EngineError, EngineUnavailable, OutOfMemory

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["Feed", "VoiceModel", "VoiceRun"]

log = logging.getLogger(__name__)

Feed = Mapping[str, npt.NDArray[np.generic]]
"""Inputs by name, in any numeric type: they are converted to what the model declares."""

_DRAWING = (b"RandomNormal", b"RandomUniform", b"Multinomial", b"Bernoulli")
"""Names of operators that draw; those that end in Like begin with them."""
_DTYPES = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}
_SEEDS = threading.Lock()
"""ONNX Runtime's seed is the process's: nobody else may set it between the setting and the making of a session."""
_MAX_SEED = 2**31 - 1


class VoiceRun:
    """One item's way through a model: its sentences in order."""

    def __init__(self, name: str, session: InferenceSession, inputs: Mapping[str, str]) -> None:
        self._name, self._session, self._inputs = name, session, inputs
        named = [one.name for one in session.get_outputs()]
        self._wave = next((one for one in named if "dur" not in one), named[0])  # not how long each phoneme is

    def __call__(self, feed: Feed) -> npt.NDArray[np.float32]:
        """Return the wave of one run: float32 [T].

        Inputs that the model does not declare are left out.

        Raises:
            OutOfMemory, EngineError: the model failed.
        """
        given = {}
        for key, value in feed.items():
            if key in self._inputs:
                given[key] = np.asarray(value, _DTYPES.get(self._inputs[key], value.dtype))
        try:
            (wave,) = self._session.run([self._wave], given)
        except Exception as exc:  # its own C++ exceptions, without a common class
            reason = str(exc).partition("\n")[0]
            if "allocate" in reason or "bad_alloc" in reason:
                raise OutOfMemory(f"{self._name}: {reason}", hint="ask for a shorter text") from exc
            raise EngineError(f"{self._name}: the voice's model failed: {reason}") from exc
        return np.asarray(wave, np.float32).reshape(-1)


class VoiceModel:
    """One ONNX file, loaded."""

    def __init__(self, name: str, file: Path, *, device: str = "cpu", threads: int = 0) -> None:
        """
        Args:
            name: the engine's, for messages.
            device: "cpu", "cuda" or "cuda:1"; "auto" is the first GPU where ONNX Runtime has one, else the CPU.
            threads: 0 leaves the number to ONNX Runtime.

        Raises:
            EngineUnavailable: the file is missing or no model, or there is no such device.
        """
        self._name, self._file, self._threads = name, file, threads
        self._providers, self.device = _providers(name, device)
        self._draws = _draws(name, file)
        self._kept = self._session()
        self.inputs: dict[str, str] = {one.name: one.type for one in self._kept.get_inputs()}
        self.metadata: dict[str, str] = dict(self._kept.get_modelmeta().custom_metadata_map)

    def run(self, seed: int, *, draws: bool = True) -> VoiceRun:
        """Return what says the sentences of one item.

        Args:
            draws: False where the model is told to draw nothing: the kept session does, at no cost.
        """
        session = self._session(seed) if self._draws and draws else self._kept
        return VoiceRun(self._name, session, self.inputs)

    def _session(self, seed: int | None = None) -> InferenceSession:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        # idle threads that spin take the cores from what is generated beside
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            with _SEEDS:
                if seed is not None:
                    onnxruntime.set_seed(seed % _MAX_SEED + 1)  # 0 means: none
                return onnxruntime.InferenceSession(str(self._file), options, providers=self._providers)
        except Exception as exc:  # as above
            reason = str(exc).partition("\n")[0]
            raise EngineUnavailable(f"{self._name}: {self._file} does not load: {reason}") from exc


def _providers(name: str, device: str) -> tuple[list[str | tuple[str, dict[str, str]]], str]:
    """Return ONNX Runtime's names for a device, and the device. Raises EngineUnavailable."""
    import onnxruntime

    there = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if device == "cpu" or (device == "auto" and not there):
        return ["CPUExecutionProvider"], "cpu"
    if not there or not device.startswith(("cuda", "auto")):
        raise EngineUnavailable(
            f"{name}: device {device!r} was given, this ONNX Runtime has {', '.join(_devices())}",
            hint="device = 'cpu', or install onnxruntime-gpu in place of onnxruntime",
        )
    number = device.partition(":")[2] or "0"
    return [("CUDAExecutionProvider", {"device_id": number}), "CPUExecutionProvider"], f"cuda:{number}"


def _devices() -> list[str]:
    import onnxruntime

    named = {"CPUExecutionProvider": "cpu", "CUDAExecutionProvider": "cuda"}
    return [named[one] for one in onnxruntime.get_available_providers() if one in named]


def _draws(name: str, file: Path) -> bool:
    """Return True where the model's file names an operator that draws at random."""
    try:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return any(content.find(operator) >= 0 for operator in _DRAWING)
    except (OSError, ValueError) as exc:  # a ValueError: an empty file
        raise EngineUnavailable(f"{name}: {file} cannot be read: {exc}") from exc
