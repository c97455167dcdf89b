"""What is fuzzed: one function for each reader of strangers' bytes.

Owns: the readers and which errors they may answer with.
Must not know: where inputs come from (run.py, seeds.py, or a test that goes through the corpus).

A reader may refuse its input with an AudioPoolError. Any other exception, a hang or a crash is a fault; so is a
result that breaks what the target asserts.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from audio_pool.audio import codec
from audio_pool.config import load_config
from audio_pool.engines import engine_info
from audio_pool.engines.procedural import words
from audio_pool.engines.procedural.engine import RECIPES
from audio_pool.errors import AudioPoolError
from audio_pool.pool.resolve import resolve
from audio_pool.prompts import language, normalize
from audio_pool.server import image_server
from audio_pool.transport import packing, tensors
from audio_pool.transport.client_messages import GenerateRequest, decode_client
from audio_pool.transport.worker_messages import from_worker
from audio_pool.types import AudioRequest
from audio_pool.validation import parse

__all__ = ["TARGETS", "Target"]

Target = Callable[[bytes], None]

_CONFIG = load_config({}, environment={})
_ENGINES = {"procedural": engine_info("procedural")}
_BOUND = codec.InputBound(seconds=2.0)


def client_message(data: bytes) -> None:
    """A client's frame, up to what its request means."""
    named = packing.request_id_in(data)
    assert len(named) <= 128
    with contextlib.suppress(AudioPoolError):
        fields = packing.unpack(data)
        given = fields.get("request_id")
        if len(fields) <= 256:
            assert named == (given if isinstance(given, str) and len(given) <= 128 else "")
        message = decode_client(fields)
        if isinstance(message, GenerateRequest):
            resolve(parse(AudioRequest, message.request), _CONFIG, _ENGINES, init_sha256="")


def image_message(data: bytes) -> None:
    """The image server's frame."""
    image_server.is_legacy(data)
    assert isinstance(image_server.request_id_of(data), str)
    with contextlib.suppress(AudioPoolError):
        translated = image_server.to_request(data)
        parse(AudioRequest, translated.request)


def worker_message(data: bytes) -> None:
    """A worker's frame."""
    with contextlib.suppress(AudioPoolError):
        from_worker(data)


def packed(data: bytes) -> None:
    """A map that is read is written, and read again as the same."""
    with contextlib.suppress(AudioPoolError):
        value = packing.unpack(data)
        with contextlib.suppress(TypeError, ValueError, OverflowError, RecursionError):  # as Intake does
            again = packing.unpack(packing.pack(packing.encodable(value)))
            assert len(again) == len(value)


def sound_file(data: bytes) -> None:
    """A file that a request names, as its header and as its samples."""
    path = Path(f"/dev/shm/audio-pool-fuzz-{os.getpid()}")
    path.write_bytes(data)
    try:
        with contextlib.suppress(AudioPoolError):
            codec.inspect(path)
        with contextlib.suppress(AudioPoolError):
            audio, rate = codec.read(path, _BOUND)
            assert audio.dtype == np.float32 and audio.ndim == 2 and rate > 0
            assert audio.size <= _BOUND.seconds * _BOUND.samples_per_second
    finally:
        path.unlink()


def tensor(data: bytes) -> None:
    """A sound between two workers."""
    with contextlib.suppress(AudioPoolError):
        array = tensors.from_frames(data[: tensors.HEADER_BYTES], data[tensors.HEADER_BYTES :])
        assert array.nbytes == len(data) - tensors.HEADER_BYTES


def prompt(data: bytes) -> None:
    """Words, as the cache, the language's detector and the built-in engine read them."""
    text = data.decode("utf-8", "replace")[:2000]
    key = normalize.text_key(text)
    assert normalize.text_key(key) == key
    normalize.canonical_key(text)
    language.foreign_language(text)
    with contextlib.suppress(AudioPoolError):
        words.read(text, RECIPES)


TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (client_message, image_message, worker_message, packed, sound_file, tensor, prompt)
}
