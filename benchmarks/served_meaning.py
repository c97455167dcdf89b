"""A look-up by meaning, served: what was never asked in these words, answered by what was kept in others.

In turns with the zmq ping-pong. Needs the extra ``semantic``.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from typing import Any

import msgpack
from benchmarks import routing
from benchmarks._pingpong import ping_pong

NOUNS = [
    *("badger", "heron", "walrus", "hedgehog", "pelican", "camel", "stallion", "toad", "peacock", "otter", "magpie"),
    *("jackal", "hippo", "parrot", "vulture", "calf", "lynx", "turkey", "donkey", "raccoon", "falcon", "mouse", "dog"),
    *("cat", "wolf", "lion", "horse", "cow", "sheep", "goat"),
]
PLACES = ["water", "mud", "snow", "sand", "leaves"]
CONFIG = (
    '[cache]\nencoder = "minilm"\nmatch = "tolerant"\n[limits]\nawait_encoder = true\n'
    '[[workers]]\nname = "w"\nengines = ["procedural"]\n'
)


def rows() -> list[dict[str, Any]]:
    """Median of the look-ups that hit, beside the ping-pong and where the processor time goes."""
    with tempfile.TemporaryDirectory() as place, ping_pong() as floor, routing._Server(place, text=CONFIG) as server:
        client = server.client()

        def ask(prompt: str) -> tuple[str, float]:
            request = {"prompt": prompt, "duration_s": 1, "format": "flac"}
            message = {"v": 1, "type": "generate", "request_id": "m", "request": request}
            begun = time.perf_counter()
            client.send(msgpack.packb(message))
            answer = client.recv()
            took_ms = (time.perf_counter() - begun) * 1e3
            found = msgpack.unpackb(answer)
            assert found["type"] == "result", found
            if any("semantic_unavailable" in one for one in found["metadata"]["warnings"]):
                raise RuntimeError("the encoder did not come up: is the extra 'semantic' installed?")
            return found["metadata"]["cache_type"], took_ms

        places = list(itertools.product(NOUNS, PLACES))
        for noun, where in places:
            ask(f"a {noun} splashes in {where}")
        time.sleep(3.0)  # until the index has been told of all of them
        took, pings, used = [], [], server.cpu_s()
        for noun, where in places:
            pings.append(_ping_ms(floor))
            kind, ms = ask(f"a {noun} splashing about in some {where}")
            if kind == "semantic":
                took.append(ms)
        used = (server.cpu_s() - used) / len(places) * 1e3
    p50, ping = statistics.median(took), statistics.median(pings)
    return [
        {"what": "a new wording found by meaning, served, p50", "value": round(p50, 2), "unit": "ms",
         "against": f"{len(took)} of {len(places)} hit (reach 2.5 ms); p90 {sorted(took)[len(took) * 9 // 10]:.2f}"},
        {"what": "zmq ping-pong of the same moments", "value": round(ping, 3), "unit": "ms", "against": "floor"},
        {"what": "the server's own processor time for each", "value": round(used, 2), "unit": "ms",
         "against": "without the worker's, who encodes"},
    ]  # fmt: skip


def _ping_ms(floor: Any) -> float:
    routing._echo_floor(floor)
    begun = time.perf_counter()
    routing._echo_floor(floor)
    return (time.perf_counter() - begun) * 1e3
