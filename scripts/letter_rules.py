"""Learn letter-to-sound rules from a pronouncing dictionary, for words that no dictionary has.

    python scripts/letter_rules.py us_gold.json src/audio_pool/engines/_speech/letters_us.txt

The dictionary is JSON, word -> phonemes (one character each, a stress mark before its vowel), as the package misaki has
them. Letters and phonemes are aligned by expectation maximisation (a letter is none, one or two phonemes); a rule is a
letter between neighbours, kept where its words are spoken otherwise than the shorter rules say. Every tenth word is
left out of the learning and tells how many words and phonemes the rules get right.
"""

from __future__ import annotations

import collections
import json
import math
import re
import sys
from collections.abc import Iterable
from pathlib import Path

CONTEXTS = ((0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 3), (3, 3), (3, 4), (4, 4))
"""Neighbours to the left and to the right, shortest first: the order in which rules are looked for, backwards."""
LEAST = 3
"""Words that a rule must be learned from."""
ROUNDS = 6
UNIT = re.compile("[ˈˌ]?.ː?")
Aligned = list[tuple[str, str]]


def entries(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    """Return words of small letters with their phonemes, a stress mark and a length mark with its vowel."""
    found = []
    for word, said in json.loads(path.read_text("utf-8")).items():
        phones = said if isinstance(said, str) else said["DEFAULT"]
        if phones and re.fullmatch("[a-z]{2,}", word):
            found.append((word, tuple(UNIT.findall(phones))))
    return found


def align(word: str, units: tuple[str, ...], cost: dict[tuple[str, str], float], floor: float) -> Aligned | None:
    """Return the likeliest share of the phonemes for each letter; None: there are too many of them."""
    best: list[dict[int, tuple[float, int]]] = [{0: (0.0, 0)}]
    for letter in word:
        reached: dict[int, tuple[float, int]] = {}
        for at, (spent, _) in best[-1].items():
            for size in (0, 1, 2):
                if at + size > len(units):
                    break
                chunk = "".join(units[at : at + size])
                price = spent + cost.get((letter, chunk), floor + 3.0 * (size != 1))
                if at + size not in reached or price < reached[at + size][0]:
                    reached[at + size] = (price, size)
        best.append(reached)
    at = len(units)
    if at not in best[-1]:
        return None
    shares = []
    for place in range(len(word), 0, -1):
        size = best[place][at][1]
        shares.append((word[place - 1], "".join(units[at - size : at])))
        at -= size
    return shares[::-1]


def aligned(words: list[tuple[str, tuple[str, ...]]]) -> list[Aligned]:
    """Return every word's alignment, by expectation maximisation with hard counts."""
    cost: dict[tuple[str, str], float] = {}
    found: list[Aligned] = []
    for number in range(ROUNDS):
        some = words[:: 4 if number < ROUNDS - 1 else 1]
        found = [one for word, units in some if (one := align(word, units, cost, 9.0)) is not None]
        pairs = collections.Counter(pair for one in found for pair in one)
        letters = collections.Counter(letter for one in found for letter, _ in one)
        cost = {pair: -math.log(count / letters[pair[0]]) for pair, count in pairs.items()}
    return found


def context(word: str, place: int, left: int, right: int) -> str:
    """Return a letter with its neighbours: "ca(t)##"."""
    padded = f"####{word}####"
    at = place + 4
    return f"{padded[at - left : at]}({padded[at]}){padded[at + 1 : at + 1 + right]}"


def learn(found: Iterable[Aligned]) -> dict[str, str]:
    """Return the rules: context -> phonemes."""
    rules: dict[str, str] = {}
    spoken = [("".join(letter for letter, _ in one), [share for _, share in one]) for one in found]
    for left, right in CONTEXTS:
        counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        said_now: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        for word, shares in spoken:
            for place, share in enumerate(shares):
                key = context(word, place, left, right)
                counts[key][share] += 1
                said_now[key][ruled(rules, word, place) or ""] += 1
        for key, count in counts.items():
            share, often = count.most_common(1)[0]
            now = said_now[key].most_common(1)[0][0]
            if (left, right) == (0, 0) or (share != now and often >= LEAST and often >= count[now] + 2):
                rules[key] = share
    return rules


def ruled(rules: dict[str, str], word: str, place: int) -> str | None:
    """Return the phonemes of a letter by the longest rule."""
    for left, right in reversed(CONTEXTS):
        key = context(word, place, left, right)
        if key in rules:
            return rules[key]
    return None


def main() -> None:
    """Learn, measure, write."""
    words = entries(Path(sys.argv[1]))
    kept = [one for place, one in enumerate(words) if place % 10]
    rules = learn(aligned(kept))
    right = right_bare = 0
    test = words[::10]
    for word, units in test:
        said = "".join(ruled(rules, word, place) or "" for place in range(len(word)))
        right += said == "".join(units)
        right_bare += re.sub("[ˈˌ]", "", said) == re.sub("[ˈˌ]", "", "".join(units))
    print(f"{len(rules):,} rules; of {len(test):,} unseen words {right / len(test):.1%} right, "
          f"{right_bare / len(test):.1%} but for stress")  # fmt: skip
    Path(sys.argv[2]).write_text("".join(f"{key} {rules[key]}\n" for key in sorted(rules)), "utf-8")


if __name__ == "__main__":
    main()
