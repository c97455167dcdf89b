"""Train matchers that learn from pairs, and compare them with the rules of ``cache/policy.py``.

    python scripts/train_matcher.py [--captions FOLDER] [--keep FOLDER] [--pairs 12000]

Three are tried, all on the vectors of the encoder MiniLM, all in minutes on one core:

* ``tokens``: aligns the encoder's token vectors of two prompts, softly and both ways, and compares each token with
  what it was aligned to (a small decomposable attention head, Parikh et al. 2016);
* ``words``: the same over one vector for each word by itself, which needs no encoder when prompts are judged;
* ``sentence``: a perceptron over the two prompts' sentence vectors, which the cache keeps anyway.

They are trained on ``caption_pairs.py`` with half of its words and without the families in ``HELD_OUT``, and judged
on the other half with all families; with ``--captions``, on pairs made from captions and on natural ones, too. What
each accepts of the same meanings is compared at the same rate of other meanings accepted, and the rules beside it.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from caption_pairs import EDITS, Pair, generate
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.natural_hits import VERDICTS, captions_of, verdicts_of

from audio_pool.cache.policy import CALIBRATIONS, Candidate, judge
from audio_pool.engines import load_engine

HELD_OUT = frozenset(["preposition", "roles", "synonym_trap", "manner", "object"])
"""Families that training never sees."""
MOST_FALSE, MOST_FALSE_FAMILY = 0.01, 0.05
VETOED = 0.02
"""Share of the same meanings that a veto may cost."""
LONGEST = 40
"""Tokens of a prompt that are looked at."""
WIDTH = 48
"""Of a token's vector in the head."""

Vectors = np.ndarray  # float16 [T, D], one row a token
Matcher = Callable[[Sequence[tuple[str, str]]], np.ndarray]
"""Pairs -> float32 [N], the higher the likelier the same."""


class Encoder:
    """MiniLM, with its token vectors; what was encoded once is kept."""

    def __init__(self, kept_in: Path | None) -> None:
        self._model = load_engine("minilm", {"backend": "torch"})._encoder._model
        self._tokens: dict[str, Vectors] = {}
        self._sentences: dict[str, Vectors] = {}
        self._words: dict[str, Vectors] = {}
        self._ids: dict[str, list[int]] = {}
        self._numbers: dict[str, int] = {}
        self._file = kept_in / "tokens.npz" if kept_in else None
        if self._file is not None and self._file.is_file():
            kept = np.load(self._file)
            texts = json.loads(kept["texts"].tobytes())
            self._tokens = dict(zip(texts, np.split(kept["tokens"], kept["ends"][:-1]), strict=True))
            self._sentences = dict(zip(texts, kept["sentences"], strict=True))

    def keep(self) -> None:
        """Write what was encoded, for the next time."""
        if self._file is not None:
            rows = list(self._tokens.values())
            np.savez(
                self._file,
                texts=np.frombuffer(json.dumps(list(self._tokens)).encode(), np.uint8),
                tokens=np.concatenate(rows),
                ends=np.cumsum([len(one) for one in rows]),
                sentences=np.stack([self._sentences[text] for text in self._tokens]),
            )

    def prepare(self, texts: Sequence[str]) -> None:
        new = sorted(set(texts) - self._tokens.keys(), key=len)
        for start in range(0, len(new), 128):
            part = new[start : start + 128]
            out = self._model.encode(part, batch_size=128, output_value=None, show_progress_bar=False)
            for text, found in zip(part, out, strict=True):
                length = int(found["attention_mask"].sum())
                tokens = found["token_embeddings"][1 : length - 1][:LONGEST]  # without [CLS] and [SEP]
                self._tokens[text] = tokens.cpu().numpy().astype(np.float16)
                self._sentences[text] = found["sentence_embedding"].cpu().numpy().astype(np.float16)

        unnumbered = [text for text in self._tokens if text not in self._ids]
        for start in range(0, len(unnumbered), 4096):
            part = unnumbered[start : start + 4096]
            ids = self._model.tokenizer(part)["input_ids"]
            self._ids.update((text, found[1:-1]) for text, found in zip(part, ids, strict=True))

    def prepare_words(self, texts: Sequence[str]) -> None:
        new = sorted({word for text in texts for word in words_of(text)} - self._words.keys())
        for start in range(0, len(new), 256):
            part = new[start : start + 256]
            rows = self._model.encode(part, batch_size=256, show_progress_bar=False)
            self._words.update(zip(part, rows.astype(np.float16), strict=True))
        self._numbers = {word: number for number, word in enumerate(self._words, 1)}

    def tokens(self, text: str) -> Vectors:
        vectors = self._tokens[text]
        return with_names(vectors, self._ids[text][: len(vectors)])

    def words(self, text: str) -> Vectors:
        words = words_of(text)[:LONGEST]
        return with_names(np.stack([self._words[word] for word in words]), [self._numbers[word] for word in words])

    def sentence(self, text: str) -> Vectors:
        return self._sentences[text]


def with_names(vectors: Vectors, names: Sequence[int]) -> Vectors:
    """Append the tokens' numbers, by which the head sees which of them are the very same."""
    return np.concatenate([vectors.astype(np.float32), np.array(names, np.float32)[:, None]], 1)


def words_of(text: str) -> list[str]:
    return "".join(c if c.isalnum() else " " if c != "," else " , " for c in text.lower()).split() or ["?"]


class Aligner(nn.Module):
    """Aligns two prompts' tokens both ways, compares each with its counterpart, and sums up what differs."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.project = nn.Linear(dimensions, WIDTH, bias=False)
        self.weight = nn.Linear(dimensions, 1)
        self.sharpness = nn.Parameter(torch.tensor(10.0))
        self.compare = nn.Sequential(
            nn.Linear(2 * WIDTH + 3, 40), nn.ReLU(), nn.Dropout(0.1), nn.Linear(40, 32), nn.ReLU()
        )
        self.decide = nn.Sequential(nn.Linear(64, 24), nn.ReLU(), nn.Dropout(0.1), nn.Linear(24, 1))

    def forward(self, a: torch.Tensor, b: torch.Tensor, of_a: torch.Tensor, of_b: torch.Tensor) -> torch.Tensor:
        same = a[..., -1:] == b[..., -1][:, None]
        a, b = a[..., :-1], b[..., :-1]
        x, y = (nn.functional.normalize(self.project(one), dim=-1) for one in (a, b))
        similar = x @ y.transpose(1, 2)
        left = self._side(a, x, y, similar, same, of_a, of_b)
        right = self._side(b, y, x, similar.transpose(1, 2), same.transpose(1, 2), of_b, of_a)
        return self.decide(torch.cat([left[0] + right[0], torch.maximum(left[1], right[1])], 1)).squeeze(1)

    def _side(
        self,
        raw: torch.Tensor,
        x: torch.Tensor,
        y: torch.Tensor,
        similar: torch.Tensor,
        same: torch.Tensor,
        of_x: torch.Tensor,
        of_y: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        attention = (self.sharpness * similar).masked_fill(~of_y[:, None, :], -1e4).softmax(-1)
        found = attention @ y
        place = torch.linspace(0, 1, LONGEST)[None, : x.shape[1]] * LONGEST / of_x.sum(1, keepdim=True)
        other = torch.linspace(0, 1, LONGEST)[None, : y.shape[1]] * LONGEST / of_y.sum(1, keepdim=True)
        there = (attention @ other[..., None]).squeeze(-1)
        best = similar.masked_fill(~of_y[:, None, :], -1.0).amax(-1)
        known = (same & of_y[:, None, :]).any(-1).float()
        scalars = torch.stack([best, (place - there).abs(), known], -1)
        told = self.compare(torch.cat([(x - found).abs(), x * found, scalars], -1))
        weight = torch.sigmoid(self.weight(raw)) * of_x[..., None]
        told = told * weight
        return told.sum(1) / of_x.sum(1, keepdim=True), told.amax(1)


class Cross(nn.Module):
    """Reads both prompts' tokens at once: two small transformer layers over the encoder's own token vectors."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.project = nn.Linear(dimensions, 64)
        self.side = nn.Parameter(torch.randn(2, 64) * 0.1)
        self.place = nn.Parameter(torch.randn(LONGEST, 64) * 0.1)
        self.known = nn.Parameter(torch.randn(64) * 0.1)
        layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.1, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.decide = nn.Sequential(nn.Linear(128, 24), nn.ReLU(), nn.Linear(24, 1))

    def forward(self, a: torch.Tensor, b: torch.Tensor, of_a: torch.Tensor, of_b: torch.Tensor) -> torch.Tensor:
        same = (a[..., -1:] == b[..., -1][:, None]) & of_b[:, None, :] & of_a[..., None]
        read = [
            self.project(one[..., :-1]) + self.side[k] + self.place[: one.shape[1]] + known[..., None] * self.known
            for k, (one, known) in enumerate(((a, same.any(2)), (b, same.any(1))))
        ]
        there = torch.cat([of_a, of_b], 1)
        out = self.layers(torch.cat(read, 1), src_key_padding_mask=~there)
        mean = (out * there[..., None]).sum(1) / there.sum(1, keepdim=True)
        most = out.masked_fill(~there[..., None], -1e4).amax(1)
        return self.decide(torch.cat([mean, most], 1)).squeeze(1)


class Perceptron(nn.Module):
    """Compares two sentence vectors."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2 * dimensions, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 1))

    def forward(self, a: torch.Tensor, b: torch.Tensor, _a: torch.Tensor, _b: torch.Tensor) -> torch.Tensor:
        a, b = a[:, 0], b[:, 0]
        return self.layers(torch.cat([(a - b).abs(), a * b], 1)).squeeze(1)


def padded(rows: Sequence[Vectors]) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(one) for one in rows)
    out = np.zeros((len(rows), longest, rows[0].shape[1]), np.float32)
    there = np.zeros((len(rows), longest), bool)
    for i, one in enumerate(rows):
        out[i, : len(one)] = one
        there[i, : len(one)] = True
    return torch.from_numpy(out), torch.from_numpy(there)


def trained(head: nn.Module, vectors: Callable[[str], Vectors], pairs: Sequence[Pair], epochs: int) -> Matcher:
    """Train a head, and return it as a matcher."""
    torch.manual_seed(1)
    optimizer = torch.optim.AdamW(head.parameters(), lr=2e-3, weight_decay=1e-3)
    steps = epochs * (len(pairs) // 128 + 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i].one))
    batches = [order[i : i + 128] for i in range(0, len(order), 128)]
    chance = np.random.default_rng(1)
    head.train()
    for _ in range(epochs):
        for k in chance.permutation(len(batches)):
            part = [pairs[i] for i in batches[k]]
            a, of_a = padded([vectors(pair.one) for pair in part])
            b, of_b = padded([vectors(pair.other) for pair in part])
            wanted = torch.tensor([float(pair.same) for pair in part])
            loss = nn.functional.binary_cross_entropy_with_logits(head(a, b, of_a, of_b), wanted)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    head.eval()

    def scores(texts: Sequence[tuple[str, str]]) -> np.ndarray:
        out = []
        with torch.no_grad():
            for start in range(0, len(texts), 256):
                part = texts[start : start + 256]
                a, of_a = padded([vectors(one) for one, _ in part])
                b, of_b = padded([vectors(other) for _, other in part])
                out.append(head(a, b, of_a, of_b).numpy())
        return np.concatenate(out)

    return scores


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a matcher accepts of one set at one threshold."""

    same: float
    other: float
    worst: float
    worst_family: str


def outcome(accepted: np.ndarray, pairs: Sequence[Pair]) -> Outcome:
    same = np.array([pair.same for pair in pairs])
    families: dict[str, list[bool]] = defaultdict(list)
    for yes, pair in zip(accepted.tolist(), pairs, strict=True):
        if not pair.same:
            families[pair.family].append(yes)
    worst = max(families, key=lambda name: float(np.mean(families[name])))
    return Outcome(accepted[same].mean(), accepted[~same].mean(), float(np.mean(families[worst])), worst)


def threshold(scores: np.ndarray, pairs: Sequence[Pair]) -> float:
    """Return the lowest threshold at which no more other meanings pass than may."""
    others = sorted({float(score) for score, pair in zip(scores, pairs, strict=True) if not pair.same})
    low, high = 0, len(others) - 1
    while low < high:  # both bounds fall as the threshold rises
        middle = (low + high) // 2
        found = outcome(scores > others[middle], pairs)
        if found.other <= MOST_FALSE and found.worst <= MOST_FALSE_FAMILY:
            high = middle
        else:
            low = middle + 1
    return others[low]


def by_rules(pairs: Sequence[Pair], encoder: Encoder, mode: str) -> np.ndarray:
    """What the policy accepts."""
    accepted = []
    for pair in pairs:
        a, b = (encoder.sentence(text).astype(np.float32) for text in (pair.one, pair.other))
        cosine = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        (verdict,) = judge(
            pair.one, [Candidate(0, pair.other, cosine)], mode=mode, calibration=CALIBRATIONS["minilm"],
            tau_prompt_sem=0.70, tau_use=0.35,
        )  # type: ignore[arg-type]  # fmt: skip
        accepted.append(verdict.accepted)
    return np.array(accepted)


def captions_pairs(folder: Path) -> list[Pair]:
    """Pairs made from captions by others (``minimal_pairs_val.csv``); evaluation only."""
    with (folder / "minimal_pairs_val.csv").open(newline="", encoding="utf-8") as file:
        return [Pair(row["a"], row["b"], row["label"] == "1", row["family"]) for row in csv.DictReader(file)]


def natural_pairs(folder: Path) -> list[Pair]:
    """Pairs of captions that people wrote, judged by a person: the policy's hits and near misses; evaluation only."""
    kept, asked = (captions_of(folder / f"audiocaps_{part}.csv") for part in ("train", "val"))
    texts, requests = ({row: text for text, row in rows.items()} for rows in (kept, asked))
    return [
        Pair(requests[request], texts[found], same, "natural")
        for (request, found), same in verdicts_of(VERDICTS).items()
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--captions", type=Path, help="folder of the captions that natural_hits uses")
    parser.add_argument("--keep", type=Path, help="folder to keep token vectors in, for the next time")
    parser.add_argument("--pairs", type=int, default=16_000, help="to train on")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--only", help="one of tokens, words, sentence")
    args = parser.parse_args()
    torch.set_num_threads(1)
    seen = frozenset(EDITS) - HELD_OUT
    training = list(generate(args.pairs, seed=1, half=0, families=seen))
    sets = {
        "same words, known families": list(generate(2000, seed=2, half=0, families=seen)),
        "other words, known families": list(generate(2000, seed=3, half=1, families=seen)),
        "other words, families held out": list(generate(2000, seed=4, half=1, families=HELD_OUT)),
    }
    if args.captions:
        sets["pairs made from captions"] = captions_pairs(args.captions)
        sets["natural pairs, judged"] = natural_pairs(args.captions)
    encoder = Encoder(args.keep)
    start = time.monotonic()
    texts = [text for pairs in (training, *sets.values()) for pair in pairs for text in (pair.one, pair.other)]
    encoder.prepare(texts)
    encoder.prepare_words(texts)
    encoder.keep()
    print(f"{len(set(texts))} prompts encoded in {time.monotonic() - start:.0f} s", flush=True)
    matchers: dict[str, Matcher] = {}
    for name, head, vectors in (
        ("tokens", Aligner(384), encoder.tokens),
        ("words", Aligner(384), encoder.words),
        ("cross", Cross(384), encoder.tokens),
        ("sentence", Perceptron(384), lambda text: encoder.sentence(text)[None]),
    ):
        if args.only not in (None, name):
            continue
        start = time.monotonic()
        matchers[name] = trained(head, vectors, training, args.epochs)
        size = sum(one.numel() for one in head.parameters())
        print(f"{name}: {size} weights, trained in {time.monotonic() - start:.0f} s", flush=True)
    report(sets, matchers, encoder)
    return 0


def report(sets: dict[str, list[Pair]], matchers: dict[str, Matcher], encoder: Encoder) -> None:
    """Print what each accepts, in %: same meanings, other ones, and those of the worst family."""
    calibration = sets["other words, known families"] + sets["other words, families held out"]
    thresholds = {}
    for name, matcher in matchers.items():
        scores = matcher([(pair.one, pair.other) for pair in calibration])
        of_same = scores[[pair.same for pair in calibration]]
        thresholds[name] = threshold(scores, calibration), float(np.quantile(of_same, VETOED))
    print(f"\n{'':<32}{'matcher':<22}{'same':>7}{'other':>8}  worst family")
    for title, pairs in sets.items():
        for mode in ("strict", "tolerant"):
            show(title, f"rules, {mode}", outcome(by_rules(pairs, encoder, mode), pairs))
        by_tolerant = by_rules(pairs, encoder, "tolerant")
        for name, matcher in matchers.items():
            of_set = matcher([(pair.one, pair.other) for pair in pairs])
            least, surely_not = thresholds[name]
            show(title, f"{name}", outcome(of_set > least, pairs))
            show(title, f"{name}, own threshold", outcome(of_set > threshold(of_set, pairs), pairs))
            show(title, f"rules or {name}", outcome(by_tolerant | (of_set > least), pairs))
            show(title, f"rules, {name} vetoes", outcome(by_tolerant & (of_set > surely_not), pairs))


def show(title: str, name: str, found: Outcome) -> None:
    print(
        f"{title:<32}{name:<22}{100 * found.same:>7.1f}{100 * found.other:>8.2f}"
        f"  {100 * found.worst:.1f} ({found.worst_family})"
    )


if __name__ == "__main__":
    sys.exit(main())
