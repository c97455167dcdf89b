"""Given sounds worked on, for the program that holds the pool.

Owns: the question as a client would ask it, without a socket.
Must not know: sockets, how the work is done.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from audio_pool.craft import CraftReport
from audio_pool.errors import InvalidRequest
from audio_pool.init_audio import read_sent
from audio_pool.origin import VerifyReport
from audio_pool.pool.questions import answer_of
from audio_pool.pool.replies import LocalSink
from audio_pool.pool.router import Router
from audio_pool.pool.service import PoolService
from audio_pool.transport.client_messages import PROTOCOL_VERSION, CraftRequest
from audio_pool.validation import parse

__all__ = ["own_craft", "own_verify"]


def own_craft(
    router: Router,
    service: PoolService,
    fields: Mapping[str, Any],  # opaque until they are parsed
    sounds: Sequence[bytes | Path],
    timeout_s: float,
) -> CraftReport:
    """Ask and wait; ``fields`` of CraftRequest. Raises what is wrong with them, and what came of it."""
    paths, output = fields["paths"], fields["output_path"]
    absolute = {
        "craft": msgspec.to_builtins(fields["craft"]),
        "paths": [os.path.abspath(path) for path in paths],
        "output_path": None if output is None else os.path.abspath(output),
    }
    envelope = {"v": PROTOCOL_VERSION, "type": "craft", "request_id": "own"}
    asked = parse(CraftRequest, {**envelope, **fields, **absolute}, error=InvalidRequest, what="craft")
    sent = [[read_sent("sounds", one)] for one in sounds]

    def order(sink: LocalSink) -> None:
        service.crafting.ask(
            asked.craft,
            asked.form,
            asked.paths,
            sink,
            output_path=asked.output_path,
            delivery=asked.delivery,
            sounds=sent,
        )

    report, data = answer_of(router, CraftReport, order, timeout_s)
    return report if data is None else structs.replace(report, data=data)


def own_verify(
    router: Router,
    service: PoolService,
    path: str | Path | None,
    sound: bytes | Path | None,
    namespace: str | None,
    timeout_s: float,
) -> VerifyReport:
    """Ask where a file comes from, and wait. Raises what is wrong with it."""
    sent = [] if sound is None else [[read_sent("sound", sound)]]
    name = sound.name if isinstance(sound, Path) else ""
    absolute = None if path is None else os.path.abspath(path)

    def order(sink: LocalSink) -> None:
        service.verifying.ask(absolute, sink, name=name, sounds=sent, namespace=namespace)

    return answer_of(router, VerifyReport, order, timeout_s)[0]
