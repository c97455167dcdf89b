"""Train a matcher that learns from generated pairs which prompts ask for the same sound.

    python scripts/train_matcher.py [--head tokens|cross] [--out FOLDER] [--keep FOLDER] [--pairs N]

Both heads read the token vectors that the encoder MiniLM makes of two prompts; its weights stay as they are.

* ``tokens`` aligns the tokens of two prompts, softly and both ways, and compares each with what it was aligned to
  (decomposable attention, Parikh et al. 2016);
* ``cross`` reads the tokens of both at once in two small transformer layers.

They learn from the scenes of ``caption_pairs.py`` alone: half of its words, without the families in ``HELD_OUT``. The
two thresholds, over which a matcher accepts and under which it vetoes, are chosen on the same families in the other
half of the words. The same command makes the same weights; ``python -m benchmarks.matchers`` compares them with the
rules of ``cache/policy.py``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.caption_pairs import EDITS, Pair, generate

from audio_pool.engines import load_engine

HELD_OUT = frozenset(["preposition", "roles", "synonym_trap", "manner", "object"])
"""Families that neither training nor the choice of thresholds sees, unless others are named."""
MOST_FALSE, MOST_FALSE_FAMILY = 0.01, 0.05
"""Shares of other meanings that may be accepted, of all and of one family."""
VETOED = 0.02
"""Share of the same meanings that a veto may cost."""
LONGEST = 40
"""Tokens of a prompt that are looked at."""
WIDTH = 48
"""Of a token's vector in the aligning head."""
DIMENSIONS = 384
OUT = Path("bench_out")

Vectors = np.ndarray  # float32 [T, D + 1], one row a token; the last column is its number
Tokens = Callable[[str], Vectors]


class Encoder:
    """MiniLM's token vectors; what was encoded once is kept."""

    def __init__(self, kept_in: Path | None = None) -> None:
        self._model = load_engine("minilm", {"backend": "torch"})._encoder._model
        self._tokens: dict[str, np.ndarray] = {}
        self._sentences: dict[str, np.ndarray] = {}
        self._ids: dict[str, list[int]] = {}
        self._file = kept_in / "tokens.npz" if kept_in else None
        if self._file is not None and self._file.is_file():
            kept = np.load(self._file)
            texts = json.loads(kept["texts"].tobytes())
            self._tokens = dict(zip(texts, np.split(kept["tokens"], kept["ends"][:-1]), strict=True))
            self._sentences = dict(zip(texts, kept["sentences"], strict=True))
        self._number()

    def prepare(self, texts: Sequence[str]) -> None:
        """Encode texts, and keep what is new for the next time."""
        new = sorted(set(texts) - self._tokens.keys(), key=lambda text: (len(text), text))
        for start in range(0, len(new), 128):
            part = new[start : start + 128]
            for text, (tokens, sentence) in zip(part, self.encode(part), strict=True):
                self._tokens[text], self._sentences[text] = tokens, sentence
        self._number()
        if new and self._file is not None:
            rows = list(self._tokens.values())
            np.savez(
                self._file,
                texts=np.frombuffer(json.dumps(list(self._tokens)).encode(), np.uint8),
                tokens=np.concatenate(rows),
                ends=np.cumsum([len(one) for one in rows]),
                sentences=np.stack([self._sentences[text] for text in self._tokens]),
            )

    def encode(self, texts: list[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return each text's token vectors, without [CLS] and [SEP], and its sentence vector: float16."""
        out = self._model.encode(texts, batch_size=len(texts), output_value=None, show_progress_bar=False)
        lengths = [int(found["attention_mask"].sum()) - 1 for found in out]
        tokens = [found["token_embeddings"][1:end][:LONGEST] for found, end in zip(out, lengths, strict=True)]
        return [
            (one.cpu().numpy().astype(np.float16), found["sentence_embedding"].cpu().numpy().astype(np.float16))
            for one, found in zip(tokens, out, strict=True)
        ]

    def _number(self) -> None:
        new = [text for text in self._tokens if text not in self._ids]
        for start in range(0, len(new), 4096):
            part = new[start : start + 4096]
            ids = self._model.tokenizer(part)["input_ids"]
            self._ids.update((text, found[1:-1]) for text, found in zip(part, ids, strict=True))

    def tokens(self, text: str) -> Vectors:
        """Return a prompt's token vectors, with the tokens' numbers, which tell which of them are the very same."""
        vectors = self._tokens[text].astype(np.float32)
        numbers = np.array(self._ids[text][: len(vectors)], np.float32)
        return np.concatenate([vectors, numbers[:, None]], 1)

    def cosine(self, one: str, other: str) -> float:
        a, b = (self._sentences[text].astype(np.float32) for text in (one, other))
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


class Aligner(nn.Module):
    """Aligns two prompts' tokens both ways, compares each with its counterpart, and sums up what differs."""

    def __init__(self, dimensions: int = DIMENSIONS) -> None:
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

    def __init__(self, dimensions: int = DIMENSIONS) -> None:
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


HEADS: dict[str, type[nn.Module]] = {"tokens": Aligner, "cross": Cross}


def padded(rows: Sequence[Vectors]) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(one) for one in rows)
    out = np.zeros((len(rows), longest, rows[0].shape[1]), np.float32)
    there = np.zeros((len(rows), longest), bool)
    for i, one in enumerate(rows):
        out[i, : len(one)] = one
        there[i, : len(one)] = True
    return torch.from_numpy(out), torch.from_numpy(there)


def scores(head: nn.Module, tokens: Tokens, texts: Sequence[tuple[str, str]], at_once: int = 256) -> np.ndarray:
    """Score pairs of prompts: float32 [N], the higher the likelier the same."""
    out = []
    with torch.no_grad():
        for start in range(0, len(texts), at_once):
            part = texts[start : start + at_once]
            a, of_a = padded([tokens(one) for one, _ in part])
            b, of_b = padded([tokens(other) for _, other in part])
            out.append(head(a, b, of_a, of_b).numpy())
    return np.concatenate(out) if out else np.zeros(0, np.float32)


def trained(name: str, tokens: Tokens, pairs: Sequence[Pair], epochs: int) -> nn.Module:
    """Train a head."""
    torch.manual_seed(1)
    head = HEADS[name]()
    optimizer = torch.optim.AdamW(head.parameters(), lr=2e-3, weight_decay=1e-3)
    steps = epochs * -(-len(pairs) // 128)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i].one))
    batches = [order[i : i + 128] for i in range(0, len(order), 128)]
    chance = np.random.default_rng(1)
    head.train()
    for _ in range(epochs):
        for k in chance.permutation(len(batches)):
            part = [pairs[i] for i in batches[k]]
            a, of_a = padded([tokens(pair.one) for pair in part])
            b, of_b = padded([tokens(pair.other) for pair in part])
            wanted = torch.tensor([float(pair.same) for pair in part])
            loss = nn.functional.binary_cross_entropy_with_logits(head(a, b, of_a, of_b), wanted)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return head.eval()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a matcher accepts of one set: shares."""

    same: float
    other: float
    worst: float
    """Of the family of which most is accepted wrongly."""
    worst_family: str


def outcome(accepted: np.ndarray, pairs: Sequence[Pair]) -> Outcome:
    same = np.array([pair.same for pair in pairs])
    families: dict[str, list[bool]] = defaultdict(list)
    for yes, pair in zip(accepted.tolist(), pairs, strict=True):
        if not pair.same:
            families[pair.family].append(yes)
    worst = max(families, key=lambda name: float(np.mean(families[name])))
    return Outcome(accepted[same].mean(), accepted[~same].mean(), float(np.mean(families[worst])), worst)


def threshold(found: np.ndarray, pairs: Sequence[Pair]) -> float:
    """Return the lowest threshold at which no more other meanings pass than may."""
    others = sorted({float(score) for score, pair in zip(found, pairs, strict=True) if not pair.same})
    low, high = 0, len(others) - 1
    while low < high:  # both bounds fall as the threshold rises
        middle = (low + high) // 2
        passed = outcome(found > others[middle], pairs)
        if passed.other <= MOST_FALSE and passed.worst <= MOST_FALSE_FAMILY:
            high = middle
        else:
            low = middle + 1
    return others[low]


@dataclass(frozen=True, slots=True)
class Matcher:
    """A trained head and its thresholds."""

    head: nn.Module
    accepts_over: float
    vetoes_under: float

    def save(self, path: Path) -> None:
        weights = {name: value.numpy().astype(np.float16) for name, value in self.head.state_dict().items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, _thresholds=np.array([self.accepts_over, self.vetoes_under]), **weights)

    @staticmethod
    def load(name: str, path: Path) -> Matcher:
        with np.load(path) as kept:
            over, under = kept["_thresholds"].tolist()
            weights = {key: torch.from_numpy(kept[key].astype(np.float32)) for key in kept.files if key[0] != "_"}
        head = HEADS[name]()
        head.load_state_dict(weights)
        return Matcher(head.eval(), over, under)


def file_of(name: str, folder: Path = OUT) -> Path:
    return folder / f"matcher-{name}.npz"


def made(name: str, encoder: Encoder, families: frozenset[str], count: int, epochs: int) -> Matcher:
    """Train a matcher and choose its thresholds, on generated pairs alone."""
    training = list(generate(count, seed=1, half=0, families=families))
    choosing = list(generate(4000, seed=3, half=1, families=families))
    encoder.prepare([text for pair in training + choosing for text in (pair.one, pair.other)])
    head = trained(name, encoder.tokens, training, epochs)
    found = scores(head, encoder.tokens, [(pair.one, pair.other) for pair in choosing])
    under = float(np.quantile(found[[pair.same for pair in choosing]], VETOED))
    return Matcher(head, threshold(found, choosing), under)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--head", choices=sorted(HEADS), action="append", help="the one to train; else all")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the weights")
    parser.add_argument("--keep", type=Path, help="folder to keep token vectors in, for the next time")
    parser.add_argument("--pairs", type=int, default=32_000, help="to train on")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--hold-out", nargs="*", choices=sorted(EDITS), default=sorted(HELD_OUT), help="families")
    args = parser.parse_args()
    held_out, seen = frozenset(args.hold_out), frozenset(EDITS) - frozenset(args.hold_out)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    encoder = Encoder(args.keep)
    judged = {
        f"{title}, other words": list(generate(2000, seed=seed, half=1, families=families))
        for title, seed, families in (("training families", 5, seen), ("families held out", 4, held_out))
        if families
    }
    encoder.prepare([text for pairs in judged.values() for pair in pairs for text in (pair.one, pair.other)])
    for name in args.head or sorted(HEADS):
        start = time.process_time()
        path = file_of(name, args.out)
        made(name, encoder, seen, args.pairs, args.epochs).save(path)
        matcher = Matcher.load(name, path)
        weights = sum(one.numel() for one in matcher.head.parameters())
        digest = hashlib.sha256(b"".join(one.numpy().tobytes() for one in matcher.head.state_dict().values()))
        print(
            f"{path}: {weights} weights, {path.stat().st_size // 1000} kB, sha256 {digest.hexdigest()[:16]}, "
            f"{time.process_time() - start:.0f} s of one processor",
            flush=True,
        )
        for title, pairs in judged.items():
            found = outcome(
                scores(matcher.head, encoder.tokens, [(p.one, p.other) for p in pairs]) > matcher.accepts_over, pairs
            )
            print(
                f"  {title}: same {100 * found.same:.1f} %, other {100 * found.other:.2f} %, "
                f"worst {100 * found.worst:.1f} % ({found.worst_family})"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
