"""What the cache takes for the same sound: minimal pairs by family and mode, beside a plain threshold.

    python -m benchmarks.cache_quality [PAIRS.csv]

The file has the columns ``label`` (1: the two prompts ask for the same, 0: for something else), ``family``
(how they differ), ``a`` and ``b``. It is for evaluation only and not part of this project. Without an
encoder only ``strict`` is shown, which needs none.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
from collections import defaultdict
from pathlib import Path

from audio_pool.cache.policy import CALIBRATIONS, Candidate, judge
from audio_pool.engines import engine_infos, load_engine
from audio_pool.models.encoders import pick_encoder
from audio_pool.prompts.normalize import analyse, canonical_key

DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "data" / "captions" / "minimal_pairs_val.csv"
MODES = ("threshold", "strict", "tolerant")
TAU = 0.70
MOST_FALSE, MOST_FALSE_FAMILY, LEAST_TRUE = 2.0, 8.0, 85.0

Pair = dict[str, str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", nargs="?", type=Path, default=DEFAULT)
    path = parser.parse_args().pairs
    if not path.is_file():
        print(f"no pairs to judge: {path} is absent (give a CSV file with label, family, a, b)")
        return 0
    with path.open(newline="", encoding="utf-8") as file:
        pairs = list(csv.DictReader(file))
    cosines, encoder = similarities(pairs)
    modes = MODES if encoder else ("strict",)
    print(f"{len(pairs)} pairs of {path.name}; encoder: {encoder or 'none here, so only strict'}; accepted, in %:\n")
    accepted = counted(pairs, cosines, encoder, modes)
    report(accepted, modes)
    print(f"\none canonical key: {key_cost(pairs):.0f} microseconds")
    return 0 if all(reached(accepted, mode) for mode in modes if mode != "threshold") else 1


def similarities(pairs: list[Pair]) -> tuple[list[float], str | None]:
    """One cosine a pair (NaN without an encoder), and the encoder's name."""
    encoder = pick_encoder("auto", engine_infos())
    if encoder is None:
        return [math.nan] * len(pairs), None
    engine = load_engine(encoder)
    texts = sorted({pair[side] for pair in pairs for side in "ab"}, key=len)
    vectors = {}
    for start in range(0, len(texts), 256):
        part = texts[start : start + 256]
        vectors.update(zip(part, engine.embed(part), strict=True))
    return [float(vectors[pair["a"]] @ vectors[pair["b"]]) for pair in pairs], encoder


def counted(
    pairs: list[Pair], cosines: list[float], encoder: str | None, modes: tuple[str, ...]
) -> dict[tuple[str, str], dict[str, list[bool]]]:
    """(label, family) -> mode -> accepted or not, one for each pair."""
    table: dict[tuple[str, str], dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    calibration = CALIBRATIONS.get(encoder or "")
    for pair, cosine in zip(pairs, cosines, strict=True):
        for mode in modes:
            candidates = [Candidate(0, pair["b"], cosine)]
            (verdict,) = judge(
                pair["a"], candidates, mode=mode, calibration=calibration, tau_prompt_sem=TAU, tau_use=0.35
            )
            table[pair["label"], pair["family"]][mode].append(verdict.accepted)
    return table


def share(outcomes: list[bool]) -> float:
    return 100 * sum(outcomes) / len(outcomes) if outcomes else math.nan


def overall(table: dict[tuple[str, str], dict[str, list[bool]]], label: str, mode: str) -> float:
    return share([one for (kind, _), modes in table.items() if kind == label for one in modes[mode]])


def reached(table: dict[tuple[str, str], dict[str, list[bool]]], mode: str) -> bool:
    worst = max((share(modes[mode]) for (label, _), modes in table.items() if label == "0"), default=0.0)
    return (
        overall(table, "0", mode) <= MOST_FALSE
        and worst <= MOST_FALSE_FAMILY
        and overall(table, "1", mode) >= LEAST_TRUE
    )


def report(table: dict[tuple[str, str], dict[str, list[bool]]], modes: tuple[str, ...]) -> None:
    print(f"{'family':<18}{'pairs':>6}" + "".join(f"{mode:>12}" for mode in modes))
    for label, title in (("0", "another sound: to be refused"), ("1", "the same sound: to be accepted")):
        print(f"-- {title}")
        for (kind, family), found in sorted(table.items()):
            if kind == label:
                print(f"{family:<18}{len(found[modes[0]]):>6}" + "".join(f"{share(found[m]):>12.1f}" for m in modes))
        total = sum(len(found[modes[0]]) for (kind, _), found in table.items() if kind == label)
        print(f"{'all':<18}{total:>6}" + "".join(f"{overall(table, label, mode):>12.2f}" for mode in modes))
    print(
        f"\naim: refused all but {MOST_FALSE:g} % (no family over {MOST_FALSE_FAMILY:g} %), accepted {LEAST_TRUE:g} %: "
        + ", ".join(f"{mode} {'reached' if reached(table, mode) else 'missed'}" for mode in modes)
    )


def key_cost(pairs: list[Pair]) -> float:
    """Microseconds of processor time for the canonical key of a new prompt of known words."""
    prompts = [pair["a"] for pair in pairs[:2000]]
    for prompt in prompts:
        canonical_key(prompt)
    analyse.cache_clear()
    start = time.process_time()
    for prompt in prompts:
        analyse.__wrapped__(prompt)
    return (time.process_time() - start) / len(prompts) * 1e6


if __name__ == "__main__":
    sys.exit(main())
