"""Speech: processor seconds for a second of sound on one thread, and what a seed costs.

Voices cannot be had here, so their vocoders are built in their real sizes with random weights: the convolutions of
HiFi-GAN as Piper's medium and high voices have it, and of Kokoro's iSTFTNet. They are most of the work; a text
encoder, a flow and Kokoro's decoder come on top. What does not depend on weights is measured as it is: phonemes from
the dictionary, and a model of that size opened, once for each seed.
"""

from __future__ import annotations

import importlib.util
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from audio_pool.engines._onnx_graph import OnnxGraph
from audio_pool.engines._speech.pronouncing import Pronouncer
from audio_pool.engines._speech.voice_model import VoiceModel

TEXT = "The quick brown fox jumps over the lazy dog near the riverbank while twenty seven pods wait. "
SOUND_S = 4.0
_RULES = Path(__file__).parents[1] / "src" / "audio_pool" / "engines" / "_speech" / "letters_us.txt"
_SHAPES: dict[str, dict[str, Any]] = {
    "Piper medium": {"rate": 22_050, "hop": 256, "enter": 192, "first": 256, "ups": ((8, 16), (8, 16), (4, 8)),
                     "kernels": ((3, (1, 2)), (5, (2, 6)), (7, (3, 12))), "twice": False, "out": 1, "more_mb": 55},
    "Piper high": {"rate": 22_050, "hop": 256, "enter": 192, "first": 512, "ups": ((8, 16), (8, 16), (2, 4), (2, 4)),
                   "kernels": ((3, (1, 3, 5)), (7, (1, 3, 5)), (11, (1, 3, 5))), "twice": True, "out": 1,
                   "more_mb": 58},
    "Kokoro": {"rate": 24_000, "hop": 300, "enter": 512, "first": 512, "ups": ((10, 20), (6, 12)),
               "kernels": ((3, (1, 3, 5)), (7, (1, 3, 5)), (11, (1, 3, 5))), "twice": True, "out": 22,
               "more_mb": 240},
}  # fmt: skip
"""Of published configurations; ``more_mb`` brings a file to its real size."""


class _Vocoder:
    """One vocoder as a graph: upsampling by transposed convolutions, residual blocks after each."""

    def __init__(self, shape: dict[str, Any]) -> None:
        self.graph, self.shape, self.rng = OnnxGraph("vocoder"), shape, np.random.default_rng(0)
        self.made = 0

    def weights(self, *axes: int) -> str:
        self.made += 1
        scale = 1 / np.sqrt(np.prod(axes[1:]))
        values = (self.rng.standard_normal(axes, np.float32) * scale).astype(np.float32)
        return self.graph.constant(f"w{self.made}", values)

    def conv(self, value: str, given: int, gives: int, kernel: int, dilation: int = 1) -> str:
        pad = dilation * (kernel - 1) // 2
        weight = self.weights(gives, given, kernel)
        return self.graph.node("Conv", value, weight, kernel_shape=[kernel], dilations=[dilation], pads=[pad, pad])

    def encoded(self) -> bytes:
        shape, graph = self.shape, self.graph
        channels = shape["first"]
        value = graph.input("z", "float32", [1, shape["enter"], "t"])
        drawn = graph.node("RandomNormalLike", value, mean=0.0, scale=1.0)
        rest = graph.constant("rest", np.zeros((shape["more_mb"] << 20) // 4, np.float32))
        size = graph.node("Size", value)
        nothing = graph.node("Gather", rest, graph.node("Sub", size, size), axis=0)
        value = graph.node("Add", graph.node("Add", value, drawn), nothing)
        value = self.conv(value, shape["enter"], channels, 7)
        for stride, kernel in shape["ups"]:
            value = graph.node("LeakyRelu", value, alpha=0.1)
            pad = (kernel - stride) // 2
            value = graph.node("ConvTranspose", value, self.weights(channels, channels // 2, kernel),
                               kernel_shape=[kernel], strides=[stride], pads=[pad, pad])  # fmt: skip
            channels //= 2
            value = self.blocks(value, channels)
        wave = graph.node("Tanh", self.conv(value, channels, shape["out"], 7), name="wave")
        graph.output(wave, "float32", [1, shape["out"], "n"])
        return graph.encoded()

    def blocks(self, value: str, channels: int) -> str:
        graph, total = self.graph, ""
        for kernel, dilations in self.shape["kernels"]:
            one = value
            for dilation in dilations:
                step = self.conv(graph.node("LeakyRelu", one, alpha=0.1), channels, channels, kernel, dilation)
                if self.shape["twice"]:
                    step = self.conv(graph.node("LeakyRelu", step, alpha=0.1), channels, channels, kernel)
                one = graph.node("Add", one, step)
            total = graph.node("Add", total, one) if total else one
        return total


def rows() -> list[dict[str, Any]]:
    found = [_vocoder(name, shape) for name, shape in _SHAPES.items()]
    spec = importlib.util.find_spec("misaki")
    if spec is not None and spec.origin is not None:
        found.append(_phonemes(Path(spec.origin).parent / "data"))
    return found


def _vocoder(name: str, shape: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "voice.onnx")
        file.write_bytes(_Vocoder(shape).encoded())
        model = VoiceModel("speech", file, threads=1)
        frames = round(SOUND_S * shape["rate"] / shape["hop"])
        feed = {"z": np.random.default_rng(1).standard_normal((1, shape["enter"], frames), np.float32)}
        model.run(1, draws=False)(feed)
        took = min(_timed(lambda: model.run(1, draws=False)(feed)) for _ in range(3))
        opened = min(_timed(lambda: model.run(2)) for _ in range(3))
        size = file.stat().st_size / 1e6
    return {"what": f"{name}, vocoder", "file_mb": round(size), "cpu_s_per_s": took / SOUND_S, "opened_s": opened}


def _phonemes(folder: Path) -> dict[str, Any]:
    loaded = _timed(lambda: Pronouncer([folder / "us_gold.json", folder / "us_silver.json"], _RULES, british=False))
    pronouncer = Pronouncer([folder / "us_gold.json", folder / "us_silver.json"], _RULES, british=False)
    took = min(_timed(lambda: pronouncer.phonemes(TEXT)) for _ in range(9))
    return {"what": "phonemes, a sentence", "cpu_s_per_s": took / (len(TEXT) / 15), "opened_s": loaded}


def _timed(work: Any) -> float:
    started = time.process_time()  # of all threads: what runs beside does not count
    work()
    return time.process_time() - started
