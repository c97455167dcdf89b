"""A look at a Ray cluster by a process of its own: what its nodes have, and whether workers would get on there.

Owns: what is asked of Ray and of each node.
Must not know: what the answers mean (ray_diagnosis.py).

A process, because Ray's library ends the one that it is in when the cluster is lost. Nothing is left: no actor is made,
and the tasks ask for no resources.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from contextlib import ExitStack
from typing import Any

import msgspec
from msgspec import Struct

__all__ = ["GAVE_UP", "Engine", "Looked", "Node", "Question", "main"]

_CONNECT_S = 10.0
_NODES_S = 45.0
"""All nodes have answered by then, or are told as silent."""
_MOST_NODES = 64
GAVE_UP = 3
"""The exit code of one that took too long."""


class Engine(Struct, frozen=True, kw_only=True):
    """What an engine needs of the machine that it is loaded on."""

    name: str
    requires: tuple[str, ...] = ()
    model: str = ""
    """"": it loads none."""
    models_dir: str = ""
    revision: str = ""
    packaged: str = ""


class Question(Struct, frozen=True, kw_only=True):
    """What is asked, on the command line."""

    address: str
    within_s: float
    """The process ends itself after so long."""
    advertise: str = ""
    bind: str = ""
    """Where workers would connect; "": wherever."""
    engines: tuple[Engine, ...] = ()
    interpreters: tuple[str, ...] = ()


class Node(Struct, kw_only=True):
    """One machine of the cluster."""

    host: str
    has: dict[str, float]
    free: dict[str, float] = {}
    asked: bool = True
    """False: there are more nodes than are asked."""
    trouble: str = ""
    """Why it could not be asked."""
    python: str = ""
    version: str = ""
    """Of audio_pool; "": it is not installed there."""
    cards: int = 0
    """That a driver reports."""
    unreached: str = ""
    """Why it does not reach the head; "": it does."""
    missing: dict[str, list[str]] = {}
    """Engine -> modules that are not installed."""
    unfetched: list[str] = []
    """Models that are not there."""
    no_interpreters: list[str] = []


class Looked(Struct, kw_only=True):
    """What was found."""

    trouble: str = ""
    """Why nothing was; "": the cluster answered."""
    ray: str = ""
    python: str = ""
    endpoint: str = ""
    """Of the head, as nodes were told it."""
    taken: str = ""
    """Why nothing could be bound there: a server that runs has it, or it is none of this machine's."""
    nodes: list[Node] = []


def _on_node(asked: dict[str, Any]) -> dict[str, Any]:  # Any: JSON
    """Answer for one node. Sent there by its code, not by name: this package may not be there, or another version."""
    import importlib.util
    import platform
    import shutil
    import socket

    def lacking(module: str) -> bool:
        try:
            return importlib.util.find_spec(module) is None
        except (ImportError, ValueError):
            return True

    told: dict[str, Any] = {"python": platform.python_version(), "host": socket.gethostname()}  # Any: JSON
    try:
        host, port = asked["head"]
        socket.create_connection((host, port), timeout=5.0).close()
    except OSError as exc:
        told["unreached"] = f"{exc.strerror or exc}"
    told["no_interpreters"] = [one for one in asked["interpreters"] if shutil.which(one) is None]
    told["missing"] = {
        one["name"]: modules for one in asked["engines"] if (modules := [m for m in one["requires"] if lacking(m)])
    }
    try:
        import audio_pool
        from audio_pool.gpu import survey
        from audio_pool.models import weights

        told["version"] = audio_pool.__version__
        told["cards"] = len(survey().devices)
        told["unfetched"] = [
            one["model"]
            for one in asked["engines"]
            if one["model"]
            and weights.find(
                one["model"],
                models_dir=one["models_dir"] or None,
                revision=one["revision"],
                packaged=one["packaged"],
            )
            is None
        ]
    except Exception as exc:  # whatever another version of it raises
        told["trouble"] = f"audio_pool: {exc}"
    return told


def _listen(bind: str) -> tuple[socket.socket | None, int, str]:
    """Listen where workers would connect; return the port, and why that was not possible."""
    host, _, port = bind.removeprefix("tcp://").rpartition(":")
    host = host.strip("[]")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    wanted = int(port) if port.isdigit() else 0
    try:
        listener.bind(("" if host == "*" else host, wanted))
        listener.listen(_MOST_NODES)
    except OSError as exc:
        listener.close()
        return None, wanted, exc.strerror or str(exc)
    return listener, int(listener.getsockname()[1]), ""


def look(question: Question) -> Looked:
    """Join the cluster, and ask it and its nodes."""
    import ray

    looked = Looked(ray=ray.__version__, python=sys.version.split()[0])
    if question.address != "auto":
        host, _, port = question.address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
        except OSError as exc:
            looked.trouble = f"nobody listens at {question.address}: {exc.strerror or exc}"
            return looked
    try:
        ray.init(address=question.address, log_to_driver=False, logging_level="CRITICAL", namespace="audio_pool")
    except Exception as exc:  # opaque: Ray's own
        looked.trouble = " ".join(str(exc).split())[:600]
        return looked
    from ray._private.state import available_resources_per_node

    free = available_resources_per_node()
    found = [one for one in ray.nodes() if one["Alive"]]
    looked.nodes = [
        Node(
            host=f"{one['NodeManagerHostname']} ({one['NodeManagerAddress']})",
            has=one["Resources"],
            free=free.get(one["NodeID"], {}),
            asked=number < _MOST_NODES,
        )
        for number, one in enumerate(found)
    ]
    own = question.advertise or ray.util.get_node_ip_address()
    with ExitStack() as rest:
        listener, bound, looked.taken = _listen(question.bind or "tcp://0.0.0.0:*")
        if listener is not None:
            rest.callback(listener.close)
        looked.endpoint = f"tcp://{f'[{own}]' if ':' in own else own}:{bound}"
        _ask(question, [one["NodeID"] for one in found], looked.nodes, (own, bound))
    ray.shutdown()
    return looked


def _ask(question: Question, ids: list[str], nodes: list[Node], head: tuple[str, int]) -> None:
    """Have each node answer, all at once, within a time."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = {"head": head, "engines": msgspec.to_builtins(question.engines), "interpreters": question.interpreters}
    task = ray.remote(_on_node)
    waiting = {
        task.options(
            num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=one, soft=False)
        ).remote(asked): node
        for one, node in zip(ids, nodes, strict=True)
        if node.asked
    }
    until = time.monotonic() + _NODES_S
    while waiting:
        done, _ = ray.wait(list(waiting), timeout=max(0.0, until - time.monotonic()))
        if not done:
            break
        node = waiting.pop(done[0])
        try:
            told = ray.get(done[0])
        except Exception as exc:  # opaque: Ray's own
            node.trouble = " ".join(str(exc).split())[:300]
            continue
        for key, value in told.items():
            if key != "host":
                setattr(node, key, value)
    for node in waiting.values():
        node.trouble = f"it did not answer within {_NODES_S:g} s"


def main(arguments: list[str]) -> int:
    """Look, and say what was found as one line of JSON.

    Args:
        arguments: the question, as JSON.
    """
    question = msgspec.json.decode(arguments[0], type=Question)
    ours = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # Ray's library writes to it, too

    def give_up() -> None:
        os._exit(GAVE_UP)

    watchdog = threading.Timer(question.within_s, give_up)
    watchdog.daemon = True
    watchdog.start()
    looked = look(question)
    ours.write(msgspec.json.encode(looked) + b"\n")
    ours.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
