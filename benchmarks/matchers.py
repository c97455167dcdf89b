"""The rules of matching beside matchers that learn: one table, over the same sets.

    python scripts/train_matcher.py --keep FOLDER
    python -m benchmarks.matchers [--captions FOLDER] [--weights FOLDER] [--keep FOLDER] [--sheet FILE.csv]

Sets: the held-out half of meaning_pairs, the pairs of cache_quality, the requests of natural_hits; of the last two,
what is absent is left out. A matcher's thresholds come with its weights and were chosen on generated pairs. It stands
alone; or it vetoes what the rules took for the same by their words; or it accepts what they refused although the
cosine sufficed. "In hindsight" has the lowest threshold at which what it alone accepts of the pairs is within the
bounds of train_matcher.py, chosen on the very pairs it is judged by: who does not know the answers chooses no better.

Natural hits are judged by the verdicts of natural_hits; ``--sheet`` writes those that have none, shuffled, to be
judged blind.
"""

from __future__ import annotations

import argparse
import csv
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from benchmarks import cache_quality, meaning_pairs, natural_hits
from benchmarks.__main__ import table
from scripts.caption_pairs import Pair
from scripts.train_matcher import HEADS, OUT, Encoder, Matcher, Outcome, file_of, outcome, scores, threshold

from audio_pool.cache.policy import CALIBRATIONS, Candidate, Verdict, judge
from audio_pool.prompts.normalize import analyse, text_key

CALIBRATION = CALIBRATIONS["minilm"]
TAU, TAU_USE = natural_hits.TAU, 0.35
COSINE = CALIBRATION.cosine_at(TAU)
HALF, CAPTIONS = "held-out half", "captions' pairs"
COSTED = 400
"""Pairs by which a decision's cost is measured."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Pairs of prompts in a row, and what the rules say of each."""

    texts: list[tuple[str, str]]
    verdicts: list[Verdict]

    @property
    def by_rules(self) -> np.ndarray:
        return np.array([one.accepted for one in self.verdicts], bool)

    @property
    def by_words(self) -> np.ndarray:
        """Accepted, though neither text nor key is the same."""
        return np.array([one.rule == "words" for one in self.verdicts], bool)

    @property
    def near_enough(self) -> np.ndarray:
        return np.array([one.cosine for one in self.verdicts]) >= COSINE


@dataclass(frozen=True, slots=True)
class Known:
    """A set of pairs whose answer is known."""

    pairs: list[Pair]
    judged: Judged


@dataclass(frozen=True, slots=True)
class Natural:
    """Requests and the kept prompts near each of them."""

    judged: Judged
    rows: list[natural_hits.Pair]
    """Of each pair's request and kept prompt."""
    requests: int


@dataclass(frozen=True, slots=True)
class Way:
    """A way to decide."""

    title: str
    accepted: Callable[[Judged, np.ndarray], np.ndarray]
    """Which pairs it takes for the same, by the rules' verdicts and the matcher's scores."""
    rules_first: bool = True
    """Whether, of several prompts it accepts, it prefers one that the rules accept."""


def ways_of(name: str, matcher: Matcher, hindsight: float) -> list[Way]:
    over, under = matcher.accepts_over, matcher.vetoes_under
    return [
        Way(f"{name} alone", lambda judged, found: found > over, rules_first=False),
        Way(f"rules and {name}", lambda judged, found: judged.by_rules & ~(judged.by_words & (found < under))),
        Way(f"rules or {name}", lambda judged, found: judged.by_rules | (judged.near_enough & (found > over))),
        Way(f"{name} alone, in hindsight", lambda judged, found: found > hindsight, rules_first=False),
        Way(
            f"rules or {name}, in hindsight",
            lambda judged, found: judged.by_rules | (judged.near_enough & (found > hindsight)),
        ),
    ]


RULES = [
    Way("rules, strict", lambda judged, _: judged.by_rules & ~judged.by_words),
    Way("rules, tolerant", lambda judged, _: judged.by_rules),
]
Row = dict[str, str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--captions", type=Path, default=natural_hits.CAPTIONS, help="folder of the caption files")
    parser.add_argument("--weights", type=Path, default=OUT, help="folder that scripts/train_matcher.py wrote to")
    parser.add_argument("--keep", type=Path, help="folder to keep vectors in, for the next time")
    parser.add_argument("--sheet", type=Path, help="write natural hits without a verdict, to judge, to this file")
    args = parser.parse_args()
    files = {name: path for name in HEADS if (path := file_of(name, args.weights)).is_file()}
    if not files:
        print(f"no weights in {args.weights}: make them with python scripts/train_matcher.py --out {args.weights}")
        return 0
    torch.set_num_threads(1)
    encoder = Encoder(args.keep)
    known, natural = known_sets(args.captions, encoder), natural_set(args.captions, args.keep, encoder)
    sheet: dict[natural_hits.Pair, tuple[str, str]] = {}
    verdicts = natural_hits.verdicts_of(natural_hits.VERDICTS)
    rows = [
        row_of(way, {title: np.zeros(len(one.pairs)) for title, one in known.items()}, known)
        | natural_row(way, np.zeros(len(natural.rows)), natural, verdicts, sheet)
        for way in RULES
    ]
    costs = {"rules": rules_cost(known[HALF])}
    for row in rows:
        row["us"] = f"{costs['rules']:.0f}"
    for name, path in files.items():
        matcher = Matcher.load(name, path)
        found = {title: scores(matcher.head, encoder.tokens, one.judged.texts) for title, one in known.items()}
        of_natural = scores(matcher.head, encoder.tokens, natural.judged.texts)
        costs[name] = head_cost(matcher, encoder, known[HALF])
        hindsight = max(threshold(found[title], one.pairs) for title, one in known.items())
        for way in ways_of(name, matcher, hindsight):
            row = row_of(way, found, known) | natural_row(way, of_natural, natural, verdicts, sheet)
            row["us"] = f"{costs[name] + (costs['rules'] if way.rules_first else 0):.0f}"
            rows.append(row)
    print("\n".join(table(rows)))
    print(
        f"\n{natural.requests} natural requests; us: of one processor, one decision on a pair; a matcher also needs "
        f"the tokens' vectors of both prompts: {encoding_cost(encoder, known[HALF]):.0f} us a prompt to make, or "
        f"{kept_bytes(encoder, natural) / 1000:.1f} kB a prompt to keep"
    )
    if args.sheet:
        write_sheet(args.sheet, sheet)
    return 0


def judged(texts: Sequence[tuple[str, str]], cosines: Sequence[float]) -> Judged:
    verdicts = [
        judge(
            one, [Candidate(0, other, cosine)], mode="tolerant", calibration=CALIBRATION,
            tau_prompt_sem=TAU, tau_use=TAU_USE,
        )[0]
        for (one, other), cosine in zip(texts, cosines, strict=True)
    ]  # fmt: skip
    return Judged(list(texts), verdicts)


def known_sets(captions: Path, encoder: Encoder) -> dict[str, Known]:
    sets = {HALF: meaning_pairs.made("held_out")}
    made_of_captions = captions / cache_quality.DEFAULT.name
    if made_of_captions.is_file():
        with made_of_captions.open(newline="", encoding="utf-8") as file:
            sets[CAPTIONS] = list(csv.DictReader(file))
    found = {}
    for title, rows in sets.items():
        pairs = [Pair(row["a"], row["b"], row["label"] == "1", row["family"]) for row in rows]
        encoder.prepare([text for pair in pairs for text in (pair.one, pair.other)])
        texts = [(pair.one, pair.other) for pair in pairs]
        found[title] = Known(pairs, judged(texts, [encoder.cosine(*one) for one in texts]))
    return found


def natural_set(captions: Path, keep: Path | None, encoder: Encoder) -> Natural:
    kept_at, asked_at = (captions / f"audiocaps_{part}.csv" for part in ("train", "val"))
    if not (kept_at.is_file() and asked_at.is_file()):
        return Natural(Judged([], []), [], 0)
    kept, asked = natural_hits.captions_of(kept_at), natural_hits.captions_of(asked_at)
    known = {text_key(prompt) for prompt in kept}
    requests = [prompt for prompt in asked if text_key(prompt) not in known]
    vectors = (natural_hits.encoded(texts, "minilm", keep) for texts in (list(kept), requests))
    near = natural_hits.near_prompts(list(kept), requests, *vectors)
    texts = [(prompt, one) for prompt, found in zip(requests, near, strict=True) for one, _ in found]
    encoder.prepare([text for pair in texts for text in pair])
    rows = [(asked[prompt], kept[one]) for prompt, one in texts]
    return Natural(judged(texts, [cosine for found in near for _, cosine in found]), rows, len(requests))


def row_of(way: Way, found: dict[str, np.ndarray], known: dict[str, Known]) -> Row:
    row = {"matcher": way.title}
    for title, one in known.items():
        row |= cells(title, outcome(way.accepted(one.judged, found[title]), one.pairs))
    return row


def cells(title: str, found: Outcome) -> Row:
    worst = f" ({100 * found.worst:.0f} of {found.worst_family})" if found.worst else ""
    return {
        f"{title}: changed": f"{100 * found.other:.2f}{worst}",
        f"{title}: same": f"{100 * found.same:.1f}",
    }


def natural_row(
    way: Way,
    found: np.ndarray,
    natural: Natural,
    verdicts: dict[natural_hits.Pair, bool],
    sheet: dict[natural_hits.Pair, tuple[str, str]],
) -> Row:
    """Count requests that find something, and how many of those that were judged are right; fill the sheet."""
    if not natural.requests:
        return {}
    by_rules = natural.judged.by_rules & way.rules_first

    def rank(i: int) -> tuple[bool, float]:
        return bool(by_rules[i]), 0.0 if by_rules[i] else float(found[i])

    hits: dict[int, int] = {}
    for i in np.flatnonzero(way.accepted(natural.judged, found)).tolist():
        best = hits.setdefault(natural.rows[i][0], i)
        if rank(i) > rank(best):  # of those that the rules accept the nearest stays, which is the first
            hits[natural.rows[i][0]] = i
    known = [verdicts[natural.rows[i]] for i in hits.values() if natural.rows[i] in verdicts]
    sheet.update((natural.rows[i], natural.judged.texts[i]) for i in hits.values() if natural.rows[i] not in verdicts)
    return {
        "natural: found": f"{100 * len(hits) / natural.requests:.2f}",
        "right": f"{sum(known)} of {len(known)}",
        "not judged": str(len(hits) - len(known)),
    }


def rules_cost(known: Known) -> float:
    """Microseconds of one processor for the rules' decision on a pair of new prompts of known words."""
    part = random.Random(1).sample(range(len(known.pairs)), COSTED)
    analyse.cache_clear()
    start = time.process_time()
    judged([known.judged.texts[i] for i in part], [known.judged.verdicts[i].cosine for i in part])
    return (time.process_time() - start) / COSTED * 1e6


def head_cost(matcher: Matcher, encoder: Encoder, known: Known) -> float:
    """Microseconds of one processor for the head's decision on a pair, eight at once, as a look-up offers them."""
    part = [known.judged.texts[i] for i in random.Random(1).sample(range(len(known.pairs)), COSTED)]
    start = time.process_time()
    scores(matcher.head, encoder.tokens, part, at_once=natural_hits.REUSE_K)
    return (time.process_time() - start) / COSTED * 1e6


def encoding_cost(encoder: Encoder, known: Known) -> float:
    """Microseconds of one processor for the token vectors of a prompt, eight at once."""
    part = [known.judged.texts[i][1] for i in random.Random(1).sample(range(len(known.pairs)), COSTED)]
    start = time.process_time()
    for first in range(0, COSTED, natural_hits.REUSE_K):
        encoder.encode(part[first : first + natural_hits.REUSE_K])
    return (time.process_time() - start) / COSTED * 1e6


def kept_bytes(encoder: Encoder, natural: Natural) -> float:
    prompts = {other for _, other in natural.judged.texts} or {"rain falls"}
    return float(np.mean([encoder.tokens(one)[:, :-1].size * 2 for one in prompts]))


def write_sheet(path: Path, sheet: dict[natural_hits.Pair, tuple[str, str]]) -> None:
    rows = [(*rows, "", *texts) for rows, texts in sheet.items()]
    random.Random(1).shuffle(rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["request", "kept", "same", "asked", "offered"])
        writer.writerows(rows)
    print(f"{len(rows)} pairs to judge in {path}: write 1 or 0 under 'same'")


if __name__ == "__main__":
    sys.exit(main())
