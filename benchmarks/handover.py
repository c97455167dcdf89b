"""10.6 MB from one process to another: by leased slot, by fresh file, inline, against memcpy.

Run it alone with ``python -m benchmarks.handover``; ``rows()`` is what ``make bench`` prints.
The tensor is 30 s of stereo float32 at 44.1 kHz. One round is: the reader asks, the writer hands the
tensor over and tells so over zmq ipc, the reader has an array of it and has looked at both its ends.
Below it are its parts, by the one clock of both processes; and what no hand-over of one copy can be quicker than: the
same copy between the same two messages, into memory of the writer's own.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import safetensors.numpy
import zmq

from audio_pool.tasks import Grant, TensorRef
from audio_pool.transport.arena import Arena
from audio_pool.transport.tensors import SlotReader, SlotWriter, from_frames, to_frames

SHAPE = (2, 30 * 44_100)
DEADLINE_MS = 20_000
TURNS, WARM = 11, 3
PARTS = ("a slot leased, the grant's way", "the writer's copy and header", "the reference's way", "the reader's look")


def _sound() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)


def serve(endpoint: str, directory: str) -> None:
    """The writing process: answers each request with the tensor, in the way asked for."""
    socket = zmq.Context.instance().socket(zmq.REP)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(endpoint)
    sound = _sound()
    own = np.empty_like(sound)
    writer = SlotWriter(directory)
    while True:
        way, argument = socket.recv_multipart()
        began = time.monotonic_ns()
        if way == b"ping":
            socket.send(b"x" * 100)
        elif way == b"own":
            np.copyto(own, sound)
            socket.send(b"x" * 100)
        elif way == b"slot":
            ref = writer.write(msgspec.msgpack.decode(argument, type=Grant), sound, "bench")
            told = msgspec.msgpack.encode(ref)
            socket.send_multipart([told, b"%d %d" % (began, time.monotonic_ns())])
        elif way == b"file":
            safetensors.numpy.save_file({"tensor": sound}, argument.decode())
            socket.send(argument)
        elif way == b"inline":
            socket.send_multipart(to_frames(sound, "bench"), copy=False)
        else:
            return


def _p50s_ms(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median of each, in turns: the machine's mood is the same for all."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(TURNS):
        for name, work in works.items():
            for number in range(rounds // TURNS + WARM):
                start = time.perf_counter()
                work()
                if turn and number >= WARM:  # the first ones fault pages in, and caches hold the former's bytes
                    times[name].append(time.perf_counter() - start)
    return {name: float(np.median(took) * 1e3) for name, took in times.items()}


def rows(rounds: int = 200) -> list[dict[str, object]]:
    """One row a way: ``what``, ``p50_ms``, ``times_floor`` (memcpy of the same bytes, same run)."""
    with contextlib.ExitStack() as stack:
        root = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=root)))
        arena = Arena.create(base / "arenas", 256 << 20)
        stack.callback(arena.close)
        context = zmq.Context()
        stack.callback(context.destroy, 0)
        socket = context.socket(zmq.REQ)
        socket.setsockopt(zmq.RCVTIMEO, DEADLINE_MS)
        endpoint = f"ipc://{base}/bench"
        socket.bind(endpoint)
        command = [sys.executable, "-m", "benchmarks.handover", "--serve", endpoint, str(arena.directory)]
        writer = subprocess.Popen(command)
        stack.callback(writer.wait, 10)
        stack.callback(writer.kill)
        figures = _measure(socket, arena, base, rounds)
    floor = figures["memcpy of the same bytes"]
    return [
        {"what": what, "p50_ms": round(ms, 3), "times_floor": round(ms / floor, 2)} for what, ms in figures.items()
    ]


def _measure(socket: zmq.Socket, arena: Arena, base: Path, rounds: int) -> dict[str, float]:
    sound = _sound()
    target = np.empty_like(sound)
    ends = (sound.flat[0], sound.flat[-1])
    reader = SlotReader(arena.directory)
    fresh = str(base / "fresh.safetensors")

    def look(array: np.ndarray) -> None:
        assert (array.flat[0], array.flat[-1]) == ends

    parts: list[tuple[int, ...]] = []

    def ping(way: bytes = b"ping") -> None:
        socket.send_multipart([way, b""])
        socket.recv()

    def by_slot() -> None:
        began = time.monotonic_ns()
        grant = arena.lease(sound.nbytes, "writer")
        assert grant is not None
        socket.send_multipart([b"slot", msgspec.msgpack.encode(grant)])
        told, at = socket.recv_multipart()
        back = time.monotonic_ns()
        ref = msgspec.msgpack.decode(told, type=TensorRef)
        arena.transfer(ref, "writer", "reader")
        with reader.borrow(ref) as array:
            look(array)
        arena.release(ref)
        there, copied = map(int, at.split())
        parts.append((there - began, copied - there, back - copied, time.monotonic_ns() - back))

    def by_file() -> None:
        socket.send_multipart([b"file", fresh.encode()])
        socket.recv()
        look(safetensors.numpy.load_file(fresh)["tensor"])
        os.unlink(fresh)

    def inline() -> None:
        socket.send_multipart([b"inline", b""])
        header, payload = socket.recv_multipart(copy=False)
        look(from_frames(header.bytes, payload.buffer))

    figures = _p50s_ms(
        {
            "memcpy of the same bytes": lambda: np.copyto(target, sound),
            "zmq ipc ping-pong, 100 bytes": ping,
            "10.6 MB into the writer's own memory, told alike": lambda: ping(b"own"),
            "10.6 MB by leased slot": by_slot,
        },
        rounds,
    )
    figures |= _p50s_ms(
        {"10.6 MB by fresh safetensors file in tmpfs": by_file, "10.6 MB inline, two zmq frames": inline},
        rounds // 4,
    )
    socket.send_multipart([b"stop", b""])
    reader.close()
    for name, took in zip(PARTS, np.median(parts[rounds // TURNS :], axis=0), strict=True):
        figures[f"  by leased slot: {name}"] = float(took) / 1e6
    return figures


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
    else:
        for row in rows():
            print(f"{row['what']:<50} {row['p50_ms']:>8} ms  {row['times_floor']:>6} x memcpy")
