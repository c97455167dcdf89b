"""A client of this package that is given the addresses of both heads, and writes down what it is told.

    python -m benchmarks._cluster_roamer PLAN.json

It asks for one sound after the other, new ones and some again, and never says where: that is its client's to find.

Owns: what it asks. Must not know: which faults there are, what is right.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from benchmarks._cluster_client import RATE, Journal, heard, planned, told_to_end

from audio_pool import AudioClient
from audio_pool.errors import AudioPoolError

__all__ = ["TIMEOUT_S", "main"]

TIMEOUT_S = 30.0


def roam(plan: dict[str, Any], journal: Journal) -> None:
    """Ask until told to end."""
    dice, ending = random.Random(f"{plan['seed']} {journal.by}"), told_to_end()
    known: list[tuple[str, int]] = []
    number = 0
    with AudioClient(list(plan["heads"].values()), timeout_s=TIMEOUT_S) as client:
        while not ending.is_set():
            number += 1
            prompt, seed, kind = f"rain number {number} of {journal.by}", number, "roaming"
            if known and dice.random() < 0.4:
                prompt, seed = dice.choice(known[-30:])
            elif plan["durable"] and dice.random() < 0.5:
                kind = "durable"
            about = {"id": f"{journal.by}-{number}", "head": "any"}
            journal.note("ask", **about, kind=kind, prompt=prompt, seed=seed)
            try:
                result = client.generate(
                    prompt,
                    seed=seed,
                    duration_s=0.5,
                    sample_rate=RATE,
                    format="flac",
                    bit_depth=24,
                    durable=kind == "durable",
                    request_id=about["id"],
                )
            except AudioPoolError as exc:
                journal.note("end", **about, kind=kind, type="error", code=exc.code, message=exc.message[:200])
            else:
                data = Path(result.path).read_bytes() if result.path else None
                journal.note("end", **about, kind=kind, type="result", **heard(result.metadata, data))
                known.append((prompt, seed))
            ending.wait(dice.expovariate(1 / plan["pause_s"]))
    journal.note("over", asked=number)


def main() -> None:
    plan = planned()
    with Journal(plan) as journal:
        roam(plan, journal)


if __name__ == "__main__":
    main()
