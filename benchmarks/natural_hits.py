"""How often one person's words find what another's have filled the cache with, and whether it is the same sound.

    python -m benchmarks.natural_hits [FOLDER] [--keep FOLDER] [--sheet FILE.csv] [--refusals] [--unseen]

The captions of ``audiocaps_train.csv`` are the cache's content, those of ``audiocaps_val.csv`` the requests;
requests that the cache has word for word are not counted. Both files are for evaluation only and not part of
this project. The rules were read against those requests; ``--unseen`` takes others, every twentieth caption of the
cache itself, left out of it.

Whether a hit is right is a matter of judgement: ``--sheet`` writes the hits, shuffled together with as many near
misses that were refused, without saying which is which. A person's verdicts on them, by row numbers alone, are
kept in ``natural_verdicts.csv`` and ``natural_unseen_verdicts.csv``, and give the precision of what the policy accepts
today.
"""

from __future__ import annotations

import argparse
import csv
import random
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audio_pool.cache.policy import CALIBRATIONS, Candidate, Verdict, judge
from audio_pool.engines import engine_infos, load_engine
from audio_pool.models.encoders import pick_encoder
from audio_pool.prompts.normalize import canonical_key, text_key

CAPTIONS = Path(__file__).resolve().parents[2] / "shared" / "data" / "captions"
VERDICTS = Path(__file__).with_name("natural_verdicts.csv")
UNSEEN_VERDICTS = Path(__file__).with_name("natural_unseen_verdicts.csv")
EVERY = 20
MODES = ("strict", "tolerant")
LEAST = {"strict": 9.0, "tolerant": 12.0}
LEAST_PRECISION = 99.0
TAU, REUSE_K = 0.70, 8
JUDGED = 300

Prompts = dict[str, int]
"""A caption -> the number of its first row in the file, from 1."""
Pair = tuple[int, int]
"""Rows of a request and of a kept prompt."""
Vectors = np.ndarray[tuple[int, int], np.dtype[np.float32]]


@dataclass(frozen=True, slots=True)
class Look:
    """One request, and the verdicts on the prompts that are nearest to it."""

    prompt: str
    found: dict[str, tuple[str, Verdict] | None]
    """By mode: the prompt that answers, and why."""
    refused: tuple[str, Verdict] | None
    """The nearest prompt that tolerant matching refused."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("captions", nargs="?", type=Path, default=CAPTIONS, help="folder of the two files")
    parser.add_argument("--keep", type=Path, help="folder to keep the captions' vectors in, for the next time")
    parser.add_argument("--sheet", type=Path, help="write pairs to judge, blind, to this file")
    parser.add_argument("--unseen", action="store_true", help="ask for captions that no rule was read against")
    parser.add_argument("--refusals", action="store_true", help="count what the nearest ones were refused for")
    args = parser.parse_args()
    kept_at, asked_at = (args.captions / f"audiocaps_{part}.csv" for part in ("train", "val"))
    encoder = pick_encoder("auto", engine_infos())
    if not (kept_at.is_file() and asked_at.is_file()) or encoder is None:
        print(f"nothing to measure: {kept_at} or {asked_at} is absent, or no encoder is installed")
        return 0
    kept, asked = captions_of(kept_at), captions_of(asked_at)
    of_kept = encoded(list(kept), encoder, args.keep)
    if args.unseen:
        asked = {prompt: row for i, (prompt, row) in enumerate(kept.items()) if i % EVERY == 0}
        of_kept = of_kept[[prompt not in asked for prompt in kept]]
        kept = {prompt: row for prompt, row in kept.items() if prompt not in asked}
    known = {text_key(prompt) for prompt in kept}
    requests = {prompt: row for prompt, row in asked.items() if text_key(prompt) not in known}
    looks = looked_up(list(kept), list(requests), of_kept, encoded(list(requests), encoder, args.keep), encoder)
    print(f"{len(kept)} kept prompts, {len(requests)} requests; {len(asked) - len(requests)} more kept word for word")
    shares = {mode: 100 * sum(look.found[mode] is not None for look in looks) / len(looks) for mode in MODES}
    verdicts = verdicts_of(UNSEEN_VERDICTS if args.unseen else VERDICTS)
    precise = True
    for mode in MODES:
        hits = {(requests[one.prompt], kept[hit[0]]) for one in looks if (hit := one.found[mode]) is not None}
        judged = [verdicts[hit] for hit in hits if hit in verdicts]
        right = 100 * sum(judged) / len(judged) if judged else 0.0
        precise &= right >= LEAST_PRECISION
        print(
            f"{mode:<10}{shares[mode]:6.2f} % found (aim: {LEAST[mode]:g}); "
            f"{right:.2f} % of {len(judged)} judged hits right (aim: {LEAST_PRECISION:g}); {len(hits)} hits in all"
        )
    if args.refusals:
        print_refusals(looks)
    if args.sheet:
        write_sheet(args.sheet, looks, requests, kept, verdicts)
    return 0 if precise and all(shares[mode] >= LEAST[mode] for mode in MODES) else 1


def captions_of(path: Path) -> Prompts:
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row["caption"] for row in csv.DictReader(file)]
    return {caption: row for row, caption in reversed(list(enumerate(rows, 1)))}


def verdicts_of(path: Path) -> dict[Pair, bool]:
    """Verdicts by rows of request and kept prompt: whether the sound of one would do for the other."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {(int(row["request"]), int(row["kept"])): row["same"] == "1" for row in csv.DictReader(file)}


def encoded(texts: list[str], encoder: str, folder: Path | None) -> Vectors:
    """Encode texts, or read what was kept of them: float32 [N, D]."""
    path = folder / f"{encoder}-{len(texts)}.npy" if folder else None
    if path is not None and path.is_file():
        return np.load(path).astype(np.float32)
    engine = load_engine(encoder)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    parts = [engine.embed([texts[i] for i in order[start : start + 256]]) for start in range(0, len(order), 256)]
    vectors = np.concatenate(parts)[np.argsort(order)]
    if path is not None:
        np.save(path, vectors.astype(np.float16))
    return vectors


def near_prompts(
    kept: list[str], requests: list[str], of_kept: Vectors, asked: Vectors
) -> list[list[tuple[str, float]]]:
    """Return, for each request, the kept prompts of its canonical key and the nearest to it, with their cosines."""
    by_key: dict[str, list[int]] = {}
    for i, prompt in enumerate(kept):
        by_key.setdefault(canonical_key(prompt), []).append(i)
    found = []
    for prompt, vector in zip(requests, asked, strict=True):
        cosines = of_kept @ vector
        nearest = np.argpartition(-cosines, REUSE_K)[:REUSE_K].tolist()
        near = sorted({*nearest, *by_key.get(canonical_key(prompt), [])}, key=lambda i: -cosines[i])
        found.append([(kept[i], float(cosines[i])) for i in near])
    return found


def looked_up(kept: list[str], requests: list[str], of_kept: Vectors, asked: Vectors, encoder: str) -> list[Look]:
    """Judge, for each request, the kept prompts of its canonical key and those that are nearest to it."""
    calibration = CALIBRATIONS.get(encoder)
    looks = []
    for prompt, near in zip(requests, near_prompts(kept, requests, of_kept, asked), strict=True):
        candidates = [Candidate(i, kept_prompt, cosine) for i, (kept_prompt, cosine) in enumerate(near)]
        judged = {
            mode: judge(prompt, candidates, mode=mode, calibration=calibration, tau_prompt_sem=TAU, tau_use=0.35)
            for mode in MODES
        }
        found = {
            mode: next(((near[one.entry_id][0], one) for one in verdicts if one.accepted), None)
            for mode, verdicts in judged.items()
        }
        refused = next(((near[one.entry_id][0], one) for one in judged["tolerant"] if not one.accepted), None)
        looks.append(Look(prompt, found, refused))
    return looks


def print_refusals(looks: list[Look]) -> None:
    """Count the guards that refused the nearest prompt of those requests that found nothing."""
    missed = [look.refused[1].reason for look in looks if look.found["tolerant"] is None and look.refused]
    guards = Counter(reason.removeprefix("no hit: ").partition(":")[0].partition(" below")[0] for reason in missed)
    for guard, count in guards.most_common():
        print(f"{count:6d} refused by {guard}")


def write_sheet(path: Path, looks: list[Look], requests: Prompts, kept: Prompts, verdicts: dict[Pair, bool]) -> None:
    """Write hits that have no verdict yet and as many refusals, shuffled; nothing tells one from the other."""
    chance = random.Random(1)
    hits = [(one.prompt, hit[0]) for one in looks if (hit := one.found["tolerant"]) is not None]
    misses = [(one.prompt, one.refused[0]) for one in looks if one.found["tolerant"] is None and one.refused]
    open_hits = [pair for pair in hits if (requests[pair[0]], kept[pair[1]]) not in verdicts]
    part = chance.sample(open_hits, min(JUDGED, len(open_hits)))
    # the likeliest refusals: the sheet must not give away by its wide misses which pairs are hits
    misses = [pair for pair in misses if (requests[pair[0]], kept[pair[1]]) not in verdicts]
    misses.sort(key=lambda pair: -shared_words(*pair))
    part += misses[: len(part) // 2]
    chance.shuffle(part)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["request", "kept", "same", "asked", "offered"])
        writer.writerows([requests[asked], kept[offered], "", asked, offered] for asked, offered in part)
    print(f"{len(part)} pairs to judge in {path}: write 1 or 0 under 'same'")


def shared_words(one: str, other: str) -> float:
    """Share of the first prompt's words that the other has, too."""
    words = set(one.lower().split())
    return len(words & set(other.lower().split())) / len(words)


if __name__ == "__main__":
    sys.exit(main())
