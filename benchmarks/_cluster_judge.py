"""What clients wrote down, held against what is promised.

Owns: the rules, and the violations with their history.
Must not know: how faults are done, processes, sockets.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Harm", "Judge", "Kept", "events_of"]

Event = dict[str, Any]
Recipe = tuple[str, int]
HEARD_S = 1.0
"""In which a removal is known on every head."""
_BY_FAULTS = {"worker_died", "worker_failed", "storage", "expired", "busy", "closed", "timeout", "disconnected"}
"""Codes that a request may be answered with while something is broken."""
_STORES = ("database", "PostgreSQL", "object store", "head ")
_EXPLAIN = {"storage": _STORES, "worker_died": ("worker", "Ray", "head "), "worker_failed": ("worker", "Ray", "head ")}
"""How the faults begin that explain a code; another one is explained by any fault."""
_LATE = {"expired", "timeout"}
_RESTARTS_S = 30.0
"""A request may wait for so long for workers to be up again after a fault, on a machine that does much else."""
_HISTORY = 14


@dataclass(slots=True)
class Harm:
    """A fault that was done."""

    what: str
    heads: tuple[str, ...]
    """Whose requests it can touch."""
    began: float
    over: float = float("inf")

    def touches(self, heads: tuple[str, ...], since: float, until: float, settling_s: float = 3.0) -> bool:
        """Whether a request to one of these in this time may have met it, or what it left for a moment."""
        return bool({*heads} & {*self.heads}) and self.began <= until and self.over + settling_s >= since


def events_of(journals: Iterable[Path]) -> list[Event]:
    """All that was written down, in order. The last line of a client that was ended in the middle may be half one."""
    found = []
    for path in journals:
        for line in path.read_text().splitlines():
            found.append(json.loads(line))
    return sorted(found, key=lambda event: event["t"])


class Kept:
    """What the database has at the end: the entries by their numbers."""

    def __init__(self, rows: list[tuple[int, str, int | None, str]]) -> None:
        self.sha256 = {entry: digest for entry, _, _, digest in rows}
        self.of: dict[Recipe, list[int]] = defaultdict(list)
        for entry, prompt, seed, _ in rows:
            if seed is not None:
                self.of[prompt, seed].append(entry)


class Judge:
    """Goes through the events once, and then through what is left."""

    def __init__(self, events: list[Event], harms: list[Harm]) -> None:
        self.events = events
        self.harms = harms
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        self.slowest_s = 0.0
        self.heard_s: list[float] = []
        """How long after a removal on one head another was asked, and did not offer it any more."""
        self.asked: dict[tuple[str, str], Event] = {}
        self.ends: list[Event] = []
        self.recipes: dict[str, Recipe] = {}
        self.durable: dict[str, int | None] = {}
        """Durable requests that had a result, and its entry."""
        self._began = min((event["t"] for event in events), default=0.0)

    def judge(self) -> None:
        """Everything that needs no look at the database."""
        self._answers()
        self._sounds()
        self._removals()

    def violate(self, what: str, *, request: str = "", recipe: Recipe | None = None, entry: int | None = None) -> None:
        """Note it, with all that is known of the request, recipe or entry, and the faults about its end."""
        concerned = [
            event
            for event in self.events
            if (request and event.get("id") == request)
            or (recipe and (event.get("prompt"), event.get("seed")) == recipe)
            or (recipe and self.recipes.get(event.get("id", "")) == recipe)
            or (entry and event.get("entry") == entry)
        ]
        lines = [self._line(event) for event in concerned[-_HISTORY:]]
        until = concerned[-1]["t"] if concerned else 0.0
        since = concerned[0]["t"] if concerned else 0.0
        for harm in self.harms:
            if harm.touches(harm.heads, since - 5.0, until) and harm.began < until:
                lines.append(
                    f"  {harm.began - self._began:8.2f}  fault until {harm.over - self._began:.2f}: {harm.what}"
                )
        self.violations.append("\n".join([what, *sorted(lines)]))

    def _line(self, event: Event) -> str:
        told = {
            name: value for name, value in event.items() if name not in ("t", "e") and value not in (None, [], False)
        }
        return f"  {event['t'] - self._began:8.2f}  {event['e']}: " + ", ".join(f"{k} {v}" for k, v in told.items())

    def harmed(
        self,
        heads: tuple[str, ...],
        since: float,
        until: float,
        settling_s: float = 5.0,
        what: tuple[str, ...] = ("",),
    ) -> bool:
        """Whether a request in this time may have met a fault, or what it left for a while.

        Args:
            what: how the faults begin that would explain it.
        """
        heads = ("a", "b") if "any" in heads else heads  # whichever it was
        return any(harm.touches(heads, since, until, settling_s) for harm in self.harms if harm.what.startswith(what))

    # -- each request has one answer, or a clear error

    def _answers(self) -> None:
        open_: dict[tuple[str, str], Event] = {}
        given_up: set[tuple[str, str]] = set()
        for event in self.events:
            kind = event["e"]
            if kind in ("over",):
                continue
            key = (event["id"], event.get("head", ""))
            if kind == "ask":
                open_[key] = event
                self.counts[f"asked: {event['kind']}"] += 1
                if event.get("seed") is not None:
                    self.recipes[event["id"]] = (event["prompt"], event["seed"])
            elif kind == "end":
                asked = open_.pop(key)
                self.slowest_s = max(self.slowest_s, event["t"] - asked["t"])
                event |= {"asked": asked["t"], "recipe": self.recipes.get(event["id"])}
                self.ends.append(event)
                self._answer(event)
            elif kind == "gone":
                open_.pop(key)
                self.counts["asked again elsewhere, for the head was gone"] += 1
            elif kind == "none":
                asked = open_.pop(key)
                given_up.add(key)
                self.counts["no answer in time"] += 1
                self.violate(f"{event['id']} had no answer at head {event['head']} in time", request=event["id"])
            elif kind == "unasked":
                if key in given_up:
                    given_up.discard(key)
                    self.counts["answers after the patience had ended"] += 1
                else:
                    self.violate(f"{event['id']} was answered twice by head {event['head']}", request=event["id"])
            elif kind in ("gave up", "never sent"):
                self.violate(f"{event['id']}: {kind}", request=event["id"])
        for id_, head in open_:
            self.violate(f"{id_} was left open at head {head}", request=id_)

    def _answer(self, event: Event) -> None:
        since, until = event["asked"], event["t"]
        if event["type"] == "result":
            if event["kind"] == "durable":
                before = self.durable.setdefault(event["id"], event["entry"])
                if before != event["entry"]:
                    self.violate(f"the durable {event['id']} had two results", request=event["id"])
            self.counts[f"answered: {event.get('how', 'removed')}"] += 1
            self.counts["not kept"] += bool(event.get("kept_not"))
            if event.get("broken"):
                self.violate(f"{event['id']} was answered with a broken file: {event['broken']}", request=event["id"])
            if event.get("kept_not") and not self.harmed((event["head"],), since, until, what=_STORES):
                self.violate(f"{event['id']} was not kept, and nothing was broken", request=event["id"])
            return
        code = event["code"]
        self.counts[f"error {code} ({event['kind']})"] += 1
        if event["kind"] in ("remove",) and code == "not_found":
            return  # it was removed by an attempt whose answer was lost, or the head has yet to hear of it
        told = f"{event['id']} ({event['kind']}) got {code}: {event.get('message', '')}"
        if code == "worker_start" and self.harmed((event["head"],), since, until, _RESTARTS_S, ("Ray's head lost",)):
            return  # no head can start a worker while there is no cluster, and one that is new has none
        if code not in _BY_FAULTS:
            self.violate(told, request=event["id"])
            return
        if code == "storage" and event["kind"] not in ("remove", "durable"):
            self.violate(f"{told}; a sound is made whatever is broken", request=event["id"])
            return
        settling_s = _RESTARTS_S if code in _LATE else 5.0
        if not self.harmed((event["head"],), since, until, settling_s, _EXPLAIN.get(code, ("",))):
            self.violate(f"{told}; nothing was broken", request=event["id"])

    # -- a recipe is one sound, the same bytes everywhere

    def _sounds(self) -> None:
        shas: dict[int, set[str]] = defaultdict(set)
        self.of_recipe: dict[Recipe, list[Event]] = defaultdict(list)
        self.removal_asked: dict[int, float] = {}
        for event in self.events:
            if event["e"] == "ask" and event["kind"] == "remove":
                self.removal_asked.setdefault(event["entry"], event["t"])
        for event in self.ends:
            if event["kind"] == "remove" or event["type"] != "result" or event.get("broken"):
                continue
            if event.get("entry") and not event["kept_not"]:
                shas[event["entry"]].add(event["sha256"])
                if event["recipe"]:
                    self.of_recipe[event["recipe"]].append(event)
        for entry, found in shas.items():
            if len(found) > 1:
                self.violate(f"entry {entry} was delivered with {len(found)} contents", entry=entry)
        self.shas = {entry: next(iter(found)) for entry, found in shas.items()}
        for recipe, events in self.of_recipe.items():
            for before, after in itertools.pairwise(events):
                if before["entry"] != after["entry"]:
                    asked = min(self.removal_asked.get(one["entry"], float("inf")) for one in (before, after))
                    if asked > after["t"]:
                        told = f"{recipe} is entry {before['entry']} and {after['entry']}, and none was removed"
                        self.violate(told, recipe=recipe)
        self.counts["sounds acknowledged as kept"] = len(shas)

    # -- what is removed is not offered

    def _removals(self) -> None:
        for removal in (one for one in self.ends if one["kind"] == "remove" and one["type"] == "result"):
            self.counts["removals acknowledged"] += 1
            entry, at, head = removal["entry"], removal["t"], removal["head"]
            for event in self.ends:
                if event["kind"] == "remove" or event["type"] != "result" or event["asked"] <= at:
                    continue
                if event.get("entry") != entry:
                    if event["head"] != head and event["recipe"] == self.recipes.get(removal["id"]):
                        self.heard_s.append(event["asked"] - at)
                    continue
                if event["head"] == head:
                    self.violate(f"entry {entry} was offered by head {head} after it had removed it", entry=entry)
                elif event["asked"] > at + HEARD_S and not self.harmed((head, event["head"]), at, event["asked"], 1.0):
                    late = event["asked"] - at
                    self.violate(f"entry {entry} was offered by the other head {late:.2f} s after", entry=entry)
                else:
                    self.counts["removed sounds that the other head still offered, in its second or cut off"] += 1

    # -- what is left at the end

    def judge_kept(self, kept: Kept) -> None:
        """Hold the database's rows against what was acknowledged."""
        gone = {one["entry"] for one in self.ends if one["kind"] == "remove" and one["type"] == "result"}
        for entry, sha in self.shas.items():
            if entry in gone and entry in kept.sha256:
                self.violate(f"entry {entry} was removed and is there", entry=entry)
            if entry in self.removal_asked:
                continue
            if entry not in kept.sha256:
                self.violate(f"entry {entry} was acknowledged as kept and is lost", entry=entry)
            elif kept.sha256[entry] != sha:
                self.violate(f"entry {entry} is kept with other bytes than were delivered", entry=entry)
        for recipe, entries in kept.of.items():
            if len(entries) > 1:
                self.violate(f"{recipe} is kept {len(entries)} times: {entries}", recipe=recipe)
        self.counts["entries at the end"] = len(kept.sha256)

    def expected(self, kept: Kept) -> dict[Recipe, int]:
        """Recipes, and the entry that every head must answer them with."""
        found = {recipe: events[-1]["entry"] for recipe, events in self.of_recipe.items()}
        return {recipe: entry for recipe, entry in found.items() if entry in kept.sha256}
