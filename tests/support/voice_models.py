"""Tiny voices in the official layouts: ONNX files whose sound follows from every input, and what lies beside them.

Each phoneme is 25 ms of a tone of its own, longer or shorter by the speed; a style or a speaker shifts all tones, and
noise is drawn where the model is told to. So what is said, by whom and how fast can be read off the wave.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from audio_pool.engines._onnx_graph import OnnxGraph, property_entry

FRAMES = 600
"""Samples of a phoneme at a speed of 1."""
KOKORO_RATE, PIPER_RATE = 24_000, 22_050
SYMBOLS = "_^$ !',-.:;?abcdefghijklmnopqrstuvwxyzæçðøŋœɐɑɒɔəɛɜɡɪɹʃʊʌʒˈˌːθ"
"""Of Piper's phonemes: what its English needs."""
WORDS = {
    "hello": "həlˈO", "world": "wˈɜɹld", "the": "ði", "a": "ˈA", "cat": "kˈæt", "sat": "sˈæt", "on": "ˌɔn", "doctor":
    "dˈɑktəɹ", "smith": "smˈɪθ", "five": "fˈIv", "one": "wˈʌn", "two": "tˈu",
    "read": {"DEFAULT": "ɹˈid", "VBD": "ɹˈɛd"},
    "record": {"DEFAULT": "ɹˈɛkəɹd", "VERB": "ɹəkˈɔɹd"}, "to": "tu", "walk": "wˈɔk", "apple": "ˈæpᵊl", "good": "ɡˈʊd",
    "morning": "mˈɔɹnɪŋ", "used": {"DEFAULT": "jˈuzd", "VBD": "jˈust"}, "F": "ˈɛf", "B": "bˈi", "I": "ˈI", "S": "ˈɛs",
    "U": "jˈu", "house": "hˈWs", "boat": "bˈOt", "us": "ˈʌs", "happy": "hˈæpi",
}  # fmt: skip


def kokoro(
    path: Path, *, voices: Mapping[str, int] | None = None, packed: bool = False, speed: str = "float32"
) -> Path:
    """A directory as onnx-community has it (``packed``: as kokoro-onnx does): one style number a voice."""
    graph = OnnxGraph("kokoro")
    ids = graph.input("tokens" if packed else "input_ids", "int64", [1, "n"])
    style = graph.input("style", "float32", [1, 256])
    rate = graph.input("speed", speed, [1])
    if speed != "float32":
        rate = graph.node("Cast", rate, to=1)
    flat = graph.node("Reshape", ids, graph.constant("flat", np.array([-1], np.int64)))
    timbre = graph.node("ReduceMean", style, keepdims=0)
    wave = _spoken(graph, flat, rate, timbre, KOKORO_RATE, graph.constant("noise", np.array(0.01, np.float32)))
    if packed:  # newer ones tell how long each phoneme is, too
        graph.output(graph.node("Abs", ids, name="duration"), "int64", [1, "n"])
    out = graph.node("Reshape", wave, graph.constant("row", np.array([1, -1], np.int64)), name="waveform")
    graph.output(out, "float32", [1, "t"])
    file = path / ("kokoro-v1.0.onnx" if packed else "onnx/model.onnx")
    file.parent.mkdir(parents=True)
    file.write_bytes(graph.encoded())
    styles = {
        name: np.full((510, 1, 256), number, np.float32)
        for name, number in (voices or {"af_heart": 0, "am_adam": 1, "bf_emma": 2, "jf_alpha": 3}).items()
    }
    if packed:
        with (path / "voices-v1.0.bin").open("wb") as opened:
            np.savez(opened, **styles)
    else:
        (path / "voices").mkdir()
        for name, rows in styles.items():
            rows.tofile(path / "voices" / f"{name}.bin")
    return path


def dictionaries(path: Path) -> Path:
    """Pronouncing dictionaries as misaki's, of a few words."""
    path.mkdir(parents=True)
    for kind in ("us", "gb"):
        (path / f"{kind}_gold.json").write_text(json.dumps(WORDS))
        (path / f"{kind}_silver.json").write_text(json.dumps({"walked": "wˈɔkt"}))
    return path


def piper(
    path: Path,
    *,
    speakers: Mapping[str, int] | None = None,
    rate: int = PIPER_RATE,
    card: str = "",
    voice: str = "en-us",
) -> Path:
    """``path`` (X.onnx) with its X.onnx.json, and a MODEL_CARD where one is given."""
    graph = OnnxGraph("piper")
    ids = graph.input("input", "int64", ["b", "n"])
    graph.input("input_lengths", "int64", ["b"])
    scales = graph.input("scales", "float32", [3])
    sid = graph.input("sid", "int64", ["b"]) if speakers else ""
    flat = graph.node("Reshape", ids, graph.constant("flat", np.array([-1], np.int64)))
    noise, length = (
        graph.node("Gather", scales, graph.constant(f"at{place}", np.array(place, np.int64)), axis=0)
        for place in (0, 1)
    )
    timbre = graph.constant("timbre", np.array(0.0, np.float32))
    if sid:
        timbre = graph.node("ReduceMean", graph.node("Cast", sid, to=1), keepdims=0)
    faster = graph.node("Div", graph.constant("unit", np.array(1.0, np.float32)), length)
    noise = graph.node("Mul", noise, graph.constant("tenth", np.array(0.1, np.float32)))
    wave = _spoken(graph, flat, faster, timbre, rate, noise)
    out = graph.node("Reshape", wave, graph.constant("row", np.array([1, 1, -1], np.int64)), name="output")
    graph.output(out, "float32", ["b", 1, "t"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(graph.encoded() + property_entry("made_by", "a test"))
    config = {
        "audio": {"sample_rate": rate, "quality": "medium"},
        "espeak": {"voice": voice},
        "language": {"code": path.name.partition("-")[0]},
        "inference": {"noise_scale": 0.667, "length_scale": 1.0, "noise_w": 0.8},
        "phoneme_type": "espeak",
        "phoneme_id_map": {symbol: [number] for number, symbol in enumerate(SYMBOLS)},
        "num_symbols": len(SYMBOLS),
        "num_speakers": len(speakers or {"": 0}),
        "speaker_id_map": dict(speakers or {}),
    }
    path.with_name(f"{path.name}.json").write_text(json.dumps(config))
    if card:
        (path.parent / "MODEL_CARD").write_text(card)
    return path


def _spoken(graph: OnnxGraph, ids: str, speed: str, timbre: str, rate: int, noise: str) -> str:
    """Return float32 [T]: 200 Hz and 4 Hz for each phoneme's number, 20 Hz for the timbre, at half of full scale."""
    scalar = graph.constant("none", np.array([], np.int64))
    pace = graph.node("Reshape", speed, scalar)
    count = graph.node("Cast", graph.node("Size", ids), to=1)
    per = graph.constant("frames", np.array(FRAMES, np.float32))
    length = graph.node("Div", graph.node("Mul", count, per), pace)
    zero, one = (graph.constant(f"c{value}", np.array(value, np.float32)) for value in (0, 1))
    times = graph.node("Range", zero, graph.node("Floor", length), one)
    place = graph.node("Floor", graph.node("Div", graph.node("Mul", times, pace), per))
    last = graph.node("Sub", count, one)
    index = graph.node("Cast", graph.node("Min", place, last), to=7)
    number = graph.node("Cast", graph.node("Gather", ids, index, axis=0), to=1)
    shift = graph.node("Mul", timbre, graph.constant("c20", np.array(20, np.float32)))
    hertz = graph.node("Mul", number, graph.constant("c4", np.array(4, np.float32)))
    hertz = graph.node("Add", graph.node("Add", hertz, graph.constant("c200", np.array(200, np.float32))), shift)
    angle = graph.constant("angle", np.array(2 * np.pi / rate, np.float32))
    turns = graph.node("Mul", graph.node("Mul", hertz, times), angle)
    tone = graph.node("Mul", graph.node("Sin", turns), graph.constant("half", np.array(0.5, np.float32)))
    drawn = graph.node("RandomNormalLike", tone, mean=0.0, scale=1.0)
    return graph.node("Add", tone, graph.node("Mul", drawn, noise))


_PHONEMIZER = """
import json, os, sys, time
print(json.dumps({"protocol": 1, "version": "scripted"}), flush=True)
for count, line in enumerate(sys.stdin, 1):
    request = json.loads(line)
    fault = BEHAVES(count, request["text"])
    if fault == "dies":
        os._exit(9)
    if fault == "silent":
        time.sleep(600)
    if fault == "garbage":
        print("I am no JSON", flush=True)
        continue
    with open(request["config"]) as file:
        known = json.load(file)["phoneme_id_map"]
    letters = [one for one in request["text"].lower() if one in known]
    ids = [number for one in letters for number in [*known[one], 0]]
    answer = {"ids": [1, 0, *ids, 2] if any(map(str.isalnum, letters)) else []}
    if fault == "refuses":
        answer = {"error": "ValueError: no"}
    print(json.dumps({"id": request["id"], **answer}), flush=True)
"""


def scripted_phonemizer(path: Path, behaves: str = "lambda count, text: ''") -> Path:
    """An "interpreter" that speaks the phonemizer's protocol whatever it is to run; each letter is its phoneme.

    Args:
        behaves: Python, from the number of a request since its start, and its text, to a fault: dies, silent, garbage,
            refuses.
    """
    script = path.with_suffix(".py")
    script.write_text(_PHONEMIZER.replace("BEHAVES", f"({behaves})"))
    path.write_text(f"#!/bin/sh\nexec '{sys.executable}' '{script}'\n")
    path.chmod(0o755)
    return path


def piper_python() -> str:
    """The interpreter that has piper-tts: this one, else that of AUDIO_POOL_PIPER_PYTHON; "" where there is none."""
    if importlib.util.find_spec("piper") is not None:
        return sys.executable
    return os.environ.get("AUDIO_POOL_PIPER_PYTHON", "")
