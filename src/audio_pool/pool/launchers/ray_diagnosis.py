"""What ``audio-pool doctor --cluster`` says of a Ray cluster and its nodes.

Owns: what a look at the cluster (ray_look.py) means for the workers that a configuration asks for.
Must not know: Ray, which this process never imports; the command, other parts of a cluster.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct

from audio_pool import __version__
from audio_pool.finding import Finding
from audio_pool.pool.launchers.ray_look import GAVE_UP, Engine, Looked, Node, Question

__all__ = ["WITHIN_S", "Wanted", "findings_of", "look"]

WITHIN_S = 120.0
_MOST_TOLD = 8


class Wanted(Struct, frozen=True, kw_only=True):
    """Workers alike, that Ray is to find places for."""

    name: str
    count: int
    asks: dict[str, float]
    """By Ray's names: CPU, GPU, memory, and its own."""
    engines: tuple[str, ...] = ()
    python: str = ""
    """"": that of the node."""


def look(address: str, bind: str, advertise: str, engines: Sequence[Engine], wanted: Sequence[Wanted]) -> Looked:
    """Have a process look at the cluster, for two minutes at most."""
    question = Question(
        address=address,
        within_s=WITHIN_S,
        bind=bind,
        advertise=advertise,
        engines=tuple(engines),
        interpreters=tuple({one.python: None for one in wanted if one.python}),
    )
    # -P: a folder of this name where the command was called is not Ray
    command = [sys.executable, "-P", "-m", "audio_pool.pool.launchers.ray_look", msgspec.json.encode(question).decode()]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=WITHIN_S + 10.0,
            check=False,
            stdin=subprocess.DEVNULL,
            env={"RAY_USAGE_STATS_ENABLED": "0", **os.environ},
        )
    except subprocess.TimeoutExpired:
        return Looked(trouble=f"no answer within {WITHIN_S:g} s")
    try:
        return msgspec.json.decode(done.stdout, type=Looked)
    except msgspec.DecodeError:
        said = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        if done.returncode == GAVE_UP:
            return Looked(trouble=f"the cluster at {address} does not answer within {WITHIN_S:g} s")
        return Looked(trouble=f"Ray's library ended: {said[-1][:300] if said else f'exit code {done.returncode}'}")


def findings_of(
    looked: Looked, address: str, engines: Sequence[Engine], wanted: Sequence[Wanted], *, ships: bool
) -> Iterator[Finding]:
    """Yield what there is to say.

    Args:
        looked: what was found.
        ships: models that are here are brought to nodes that lack them; ``engines`` have no model that is here then.
    """
    if looked.trouble:
        yield Finding("ray", "problem", looked.trouble, _mend(looked.trouble, address))
        return
    cards, cores = (sum(node.has.get(name, 0.0) for node in looked.nodes) for name in ("GPU", "CPU"))
    told = (
        f"Ray {looked.ray} on Python {looked.python}: {_counted(len(looked.nodes), 'node')} with "
        f"{_counted(int(cores), 'core')} and {_counted(int(cards), 'GPU')}"
    )
    yield Finding("ray", "ok", told)
    yield from _link(looked)
    yield from _places(looked.nodes, wanted, runs=bool(looked.taken))
    for node in looked.nodes[:_MOST_TOLD]:
        yield from _node(node, looked, engines, wanted, ships)
    rest = [node for node in looked.nodes[_MOST_TOLD:] if node.asked]
    wrong = [one for node in rest for one in _node(node, looked, engines, wanted, ships) if one.state != "ok"]
    yield from wrong[:_MOST_TOLD]
    if len(looked.nodes) > _MOST_TOLD:
        told = f"{len(rest) - len({one.what for one in wrong})} of {len(looked.nodes) - _MOST_TOLD} more are well"
        asked = sum(node.asked for node in looked.nodes)
        told += f"; {asked} of {len(looked.nodes)} were asked" if asked < len(looked.nodes) else ""
        yield Finding("further nodes", "ok" if not wrong else "note", told)


def _mend(trouble: str, address: str) -> str:
    low = trouble.lower()
    if "no module named 'ray'" in low:
        return "pip install 'audio-pool[cluster]'"
    if "mismatch" in low:
        return "the same Ray and the same Python, to its last number, on every machine"
    if address == "auto":
        return "make this machine a node: ray start --address=HOST:6379, with --num-cpus=0 --num-gpus=0 to give nothing"
    if "nobody listens" in low:
        return "on the cluster's first machine: ray start --head --port=6379; does a firewall lie between?"
    return f"make this machine a node: ray start --address={address}, with --num-cpus=0 --num-gpus=0 to give nothing"


def _link(looked: Looked) -> Iterator[Finding]:
    """Say whether workers would reach the head."""
    asked = [node for node in looked.nodes if node.asked and node.python]
    far = [node for node in asked if node.unreached]
    taken = f" (taken here: {looked.taken}; by the server, if it runs)" if looked.taken else ""
    if looked.taken and far:
        mend = "set cluster.bind to an address of this machine, and a port that nothing else has"
        yield Finding("cluster.bind", "problem", f"{looked.endpoint} cannot be bound: {looked.taken}", mend)
    elif far:
        names = ", ".join(node.host for node in far[:_MOST_TOLD])
        told = (
            f"{len(far)} of {_counted(len(asked), 'node')} do not reach {looked.endpoint}: {names}: {far[0].unreached}"
        )
        mend = (
            "set cluster.advertise to this machine's name there, and cluster.bind to a port that the firewall lets in"
        )
        yield Finding("cluster.advertise", "problem", told, mend)
    elif asked:
        told = f"{looked.endpoint} is reached from {_counted(len(asked), 'node')}{taken}"
        yield Finding("cluster.advertise", "ok", told)


def _places(nodes: Sequence[Node], wanted: Sequence[Wanted], *, runs: bool) -> Iterator[Finding]:
    """Say how many of the workers find a place at the same time: first in an empty cluster, then in today's.

    Args:
        runs: this head's own workers have places already.
    """
    whole, now = _placed([node.has for node in nodes], wanted), _placed([node.free for node in nodes], wanted)
    for one in wanted:
        fit = sum(whole[one.name])
        what = f"worker {one.name}"
        asks = " and ".join(f"{_amount(name, amount)}" for name, amount in one.asks.items() if amount) or "nothing"
        told = f"asks for {asks}, {one.count} times; {fit} of them fit"
        if fit < one.count:
            mend = f"more nodes, or count = {fit}; where Ray's autoscaler adds nodes, these are what it adds them for"
            if not fit:
                has = "; ".join(f"{node.host} has {_shown(node.has)}" for node in nodes[:_MOST_TOLD])
                told += f". {has}"
                mend = "a node that has it (ray start --num-gpus, --resources), or ask for less"
            yield Finding(what, "note" if fit else "problem", told, mend)
        elif sum(now[one.name]) < one.count and not runs:
            told += f", but {one.count - sum(now[one.name])} would wait now: others have their places"
            mend = (
                "more nodes, or a lower count: each head asks for workers of its own. All is well where this head runs"
            )
            yield Finding(what, "note", told, mend)
        else:
            spread = ", ".join(f"{n} on {node.host}" for n, node in zip(whole[one.name], nodes, strict=True) if n)
            yield Finding(what, "ok", f"{told}: {spread}")


def _placed(has: Sequence[dict[str, float]], wanted: Sequence[Wanted]) -> dict[str, list[int]]:
    """Return how many workers of each name get a place on each node, those that ask for most first."""
    rooms = [_Room(one) for one in has]
    found = {one.name: [0] * len(rooms) for one in wanted}
    for one in sorted(wanted, key=lambda one: (-one.asks.get("GPU", 0.0), -sum(map(bool, one.asks.values())))):
        for _ in range(one.count):
            place = next((number for number, room in enumerate(rooms) if room.take(one.asks)), None)
            if place is None:
                break
            found[one.name][place] += 1
    return found


class _Room:
    """What is left of one node. A part of a card comes from one card, whole ones from untouched ones."""

    def __init__(self, has: dict[str, float]) -> None:
        whole = int(has.get("GPU", 0.0))
        part = has.get("GPU", 0.0) - whole
        self._cards = [1.0] * whole + ([part] if part > 0 else [])
        self._has = {name: amount for name, amount in has.items() if name != "GPU"}

    def take(self, asks: dict[str, float]) -> bool:
        """Take what a worker asks for, all of it or nothing."""
        if any(self._has.get(name, 0.0) < amount - 1e-9 for name, amount in asks.items() if amount and name != "GPU"):
            return False
        cards = asks.get("GPU", 0.0)
        fit = [n for n, left in enumerate(self._cards) if left >= min(cards, 1.0) - 1e-9] if cards else []
        if cards and len(fit) < max(1, int(cards)):
            return False
        for number in sorted(fit, key=lambda n: self._cards[n])[: max(1, int(cards))]:
            self._cards[number] -= min(cards, 1.0)
        for name, amount in asks.items():
            if name != "GPU" and amount:
                self._has[name] -= amount
        return True


def _node(
    node: Node, looked: Looked, engines: Sequence[Engine], wanted: Sequence[Wanted], ships: bool
) -> Iterator[Finding]:
    """Say what one node has and lacks, of what workers need that may be placed there."""
    what = f"node {node.host}"
    if not node.python:
        yield Finding(
            what, "problem", node.trouble or "was not asked", "see its log: ray logs, /tmp/ray/session_latest"
        )
        return
    told = f"audio_pool {node.version}, Python {node.python}; {_shown(node.has)}"
    if not node.version or node.version != __version__:
        told = f"{node.trouble or f'has audio_pool {node.version}'}; {__version__} is here"
        yield Finding(what, "problem", told, f"pip install 'audio-pool[cluster]=={__version__}' there")
        return
    hosts = [one for one in wanted if _placed([node.has], [msgspec.structs.replace(one, count=1)])[one.name] == [1]]
    loaded = {engine for one in hosts if not one.python for engine in one.engines}
    wrong = []
    for engine in engines:
        if engine.name in loaded and engine.name in node.missing:
            wrong.append((f"{engine.name} needs {', '.join(node.missing[engine.name])}", "install it there"))
        if engine.name in loaded and engine.model in node.unfetched:
            how = "audio-pool models fetch ENGINE there" + (", or here: it is brought there then" if ships else "")
            wrong.append((f"the model {engine.model} of {engine.name} is neither there nor here", how))
    for python in dict.fromkeys(one.python for one in hosts if one.python in node.no_interpreters):
        wrong.append((f"{python} is not there", "audio-pool env create NAME there"))
    for trouble, mend in wrong:
        yield Finding(what, "problem", trouble, mend)
    counted = int(node.has.get("GPU", 0.0))
    if not wrong and counted != node.cards and (counted or node.cards):
        told += f"; the driver there reports {_counted(node.cards, 'card')}"
        mend = "ray start --num-gpus as many as there are; without a driver, cards are taken as Ray counts them"
        yield Finding(what, "note", told, mend)
    elif not wrong:
        yield Finding(what, "ok", told)


def _shown(has: dict[str, float]) -> str:
    """Return a node's resources in words, without Ray's own marks."""
    kept = {name: amount for name, amount in has.items() if not name.startswith(("node:", "object_store"))}
    return ", ".join(_amount(name, amount) for name, amount in sorted(kept.items())) or "nothing"


def _amount(name: str, amount: float) -> str:
    return f"{amount / 2**30:.1f} GB of memory" if name == "memory" else f"{amount:g} {name}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
