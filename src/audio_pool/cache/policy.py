"""The policy of hits: judges by prompts and scores alone. Pure.

Owns: ``judge``, ``first_objection`` (two prompts against each other) and the encoders' calibrations.
Must not know: the store, the index, engines; how vectors are made.

A cosine alone is no judge: at MiniLM's 0.70, 96 % of the pairs that differ in one telling word pass. Here
words decide and the cosine only confirms: every content word must have its fellow, in the same order of
events, with the same doer. A guard that fails is named in the verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from audio_pool.cache.judgements import Judged
from audio_pool.cache.roles import same_roles
from audio_pool.cache.unsaid import without_unsaid
from audio_pool.prompts.grammar import NEGATIONS, QUANTITIES, Chunk
from audio_pool.prompts.lexicon import in_chorus, word_info
from audio_pool.prompts.normalize import Analysis, analyse, canonical_key, text_key

__all__ = ["CALIBRATIONS", "Calibration", "Candidate", "Verdict", "fallback_warning", "first_objection", "judge"]

Mode = Literal["strict", "tolerant", "threshold", "global"]
Rule = Literal["text", "canonical", "confirmed", "words", "cosine", "sound", ""]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Maps the scale of ``tau_prompt_sem`` to one encoder's cosines: a straight line through (1, 1)."""

    at_070: float
    """The cosine that tau 0.70 stands for."""

    def cosine_at(self, tau: float) -> float:
        """Return the least cosine that ``tau`` asks of this encoder."""
        return 1.0 - (1.0 - tau) * (1.0 - self.at_070) / 0.30


CALIBRATIONS = {
    # measured: minimal pairs over AudioCaps and Clotho, benchmarks/cache_quality.py
    "minilm": Calibration(at_070=0.80),
    # not measured: BGE's similarities crowd into 0.6..1 and its authors name thresholds of 0.8 to 0.9; the strict end
    "bge": Calibration(at_070=0.90),
}
"""By embedder engine. An encoder that is not here is not trusted: ``judge`` is then strict."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A cached entry that may answer."""

    entry_id: int
    prompt: str
    cosine: float
    """Of the prompts' vectors; NaN where there is none."""
    clap: float | None = None
    """CLAP(query, sound), where CLAP is configured."""
    judged: Judged = "none"
    """What people said of it for the query's words."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement on one entry, and its reason."""

    entry_id: int
    accepted: bool
    rule: Rule
    """The rule that accepted; "" where none did."""
    reason: str
    """One sentence with the rule or the guard, the scores and the matched prompt."""
    cosine: float
    clap: float | None
    unfit: bool = False
    """Its words would do; its sound does not fit the query."""


def fallback_warning(encoder: str) -> str | None:
    """Return the warning for an encoder that has no calibration, else None."""
    if encoder in CALIBRATIONS:
        return None
    return f"uncalibrated_encoder: {encoder!r} has no calibration; prompts match strictly (same text or same key)"


def judge(
    query: str,
    candidates: Sequence[Candidate],
    *,
    mode: Mode,
    calibration: Calibration | None,
    tau_prompt_sem: float,
    tau_use: float,
) -> list[Verdict]:
    """Judge which of the nearest entries answer the query: one verdict each, in the order given.

    Args:
        query: the prompt asked for.
        candidates: entries whose settings fit.
        mode: strict: same text or canonical key. tolerant: also the same words, confirmed by the cosine and,
            where there is one, by CLAP. threshold: plain cosine and CLAP. global: tolerant, or CLAP alone.
        calibration: of the encoder that made the cosines; None makes tolerant strict.
        tau_prompt_sem: 0..1 on the calibrated scale; only ``threshold`` reads it as a plain cosine.
        tau_use: least CLAP(query, sound) of a hit that is not by the same text or key.
    """
    return [_verdict(query, one, mode, calibration, tau_prompt_sem, tau_use) for one in candidates]


def _verdict(
    query: str, one: Candidate, mode: Mode, calibration: Calibration | None, tau_prompt_sem: float, tau_use: float
) -> Verdict:
    if one.judged == "wrong":
        return _verdict_by(one, "", "somebody judged it wrong for these words")
    if text_key(query) == text_key(one.prompt):
        return _verdict_by(one, "text", "the same text")
    if canonical_key(query) == canonical_key(one.prompt):
        return _verdict_by(one, "canonical", f"the same canonical key '{canonical_key(query)}'")
    if mode == "strict":
        return _verdict_by(one, "", "neither the same text nor the same canonical key")
    if one.judged == "right":
        return _verdict_by(one, "confirmed", "somebody judged it right for these words")
    unfit = one.clap is not None and one.clap < tau_use
    low_clap = f"CLAP of query and sound {one.clap or 0.0:.2f} is below tau_use {tau_use:.2f}"
    if mode == "threshold":
        if not one.cosine >= tau_prompt_sem:
            return _verdict_by(one, "", f"cosine is below tau_prompt_sem {tau_prompt_sem:.2f}")
        cosine_reaches = f"cosine reaches {tau_prompt_sem:.2f}"
        return _verdict_by(one, "", low_clap, unfit=True) if unfit else _verdict_by(one, "cosine", cosine_reaches)
    if mode == "global" and one.clap is not None and not unfit:
        return _verdict_by(one, "sound", f"CLAP of query and sound reaches tau_use {tau_use:.2f}")
    if calibration is None:
        return _verdict_by(one, "", "the encoder has no calibration, so only the same text or canonical key will do")
    least = calibration.cosine_at(tau_prompt_sem)
    if not one.cosine >= least:
        return _verdict_by(one, "", f"cosine is below {least:.2f}, which tau_prompt_sem {tau_prompt_sem:.2f} asks")
    differing = first_objection(query, one.prompt)
    if differing is not None:
        return _verdict_by(one, "", differing)
    if unfit:
        return _verdict_by(one, "", low_clap, unfit=True)
    return _verdict_by(one, "words", f"all words agree and cosine reaches {least:.2f}")


def _verdict_by(one: Candidate, rule: Rule, why: str, *, unfit: bool = False) -> Verdict:
    scores = f"cosine {one.cosine:.3f}" if one.cosine == one.cosine else "no cosine"
    if one.clap is not None:
        scores += f", CLAP {one.clap:.3f}"
    reason = f"{'hit' if rule else 'no hit'}: {why} ({scores}; matched prompt: '{one.prompt}')"
    return Verdict(one.entry_id, bool(rule), rule, reason, one.cosine, one.clap, unfit)


# -- words ------------------------------------------------------------------------------------------------

_LOOSE = frozenset(
    ["in", "on", "at", "to", "from", "into", "onto", "upon", "over", "against", "across", "along", "around", "near",
     "among", "through", "for", "about", "within", "during", "toward", "towards", "like", "beside", "between",
     "it", "its", "their", "his", "her"]
)  # fmt: skip
"""Prepositions of place, compared loosely: "rain on a tin roof" and "a tin roof in the rain". "off", "by", "up"
and the like are compared as they stand."""
_AWAY = frozenset(["from"])
_TOWARDS = frozenset(["to", "into", "onto", "toward", "towards"])
_OPPOSED = ((_AWAY, _TOWARDS), (_TOWARDS, _AWAY))
"""Opposite directions: "from left to right" is not "from right to left"."""
_LIGHT = frozenset(["sound", "noise", "occur", "audible", "present", "very", "quite", "rather", "really"])
"""Words ignored in the comparison: adding or dropping them does not change the sound."""
_SHORTEST_TYPO = 5

_Moment = list[Chunk]


def first_objection(query: str, prompt: str) -> str | None:
    """Name the first guard that objects to taking one prompt for the other; None where none does."""
    ours, theirs = _moments(analyse(query)), _moments(analyse(prompt))
    mine, other = _bag(ours), _bag(theirs)
    lacking, extra = mine - other, other - mine
    renamed = _typos(lacking, extra)
    if lacking and not extra:
        ours = without_unsaid(lacking, ours, theirs) or []
    elif extra and not lacking:
        theirs = without_unsaid(extra, theirs, ours) or []
    if (lacking and extra) or not (ours and theirs):
        return _difference(lacking, extra)
    if renamed:
        theirs = [[_renamed(chunk, renamed) for chunk in chunks] for chunks in theirs]
    if len(ours) != len(theirs) or [_bag([m]) for m in ours] != [_bag([m]) for m in theirs]:
        return "guard order: the events do not come in the same order"
    away, towards = (_led_by(ours, leads) & _led_by(theirs, others) for leads, others in _OPPOSED)
    if away or towards:
        return "guard role: the same words, but what comes from where goes there"
    for a, b in zip(ours, theirs, strict=True):
        ordered = Counter(map(_form, a)) == Counter(map(_form, b)) or _sequence(a) == _sequence(b)
        if not ordered and not same_roles(a, b, _LOOSE):
            return "guard role: the same words, but who does what differs"
    return None


def _moments(analysis: Analysis) -> list[_Moment]:
    return [[_plain(chunk) for chunk in chunks] for chunks in analysis.events]


def _renamed(chunk: Chunk, renamed: dict[str, str]) -> Chunk:
    return replace(chunk, words=tuple(renamed.get(word, word) for word in chunk.words))


def _plain(chunk: Chunk) -> Chunk:
    """Return a chunk's words without the plural where number is inaudible, and without light words."""
    words = tuple(
        word[:-1] if word.endswith("*") and in_chorus(word[:-1]) else word for word in chunk.words
    )
    return replace(chunk, words=tuple(word for word in words if word.rstrip("*") not in _LIGHT) or words)


def _bag(moments: list[_Moment]) -> Counter[str]:
    return Counter(w for chunks in moments for one in chunks for w in one.words if w not in _LOOSE and w != "+")


def _led_by(moments: list[_Moment], leads: frozenset[str]) -> set[str]:
    """Return the words that stand right after one of ``leads``."""
    return {after for chunks in moments for one in chunks for word, after in pairwise(one.words) if word in leads}


def _typos(lacking: Counter[str], extra: Counter[str]) -> dict[str, str]:
    """Take pairs of which one is a misspelling of the other out of both; return their word -> ours."""
    renamed: dict[str, str] = {}
    for word in sorted(extra):
        fellow = next((own for own in sorted(lacking) if lacking[own] and _misspelt(own, word)), None)
        if fellow is not None and lacking[fellow] == extra[word]:
            renamed[word] = fellow
            del lacking[fellow], extra[word]
    return renamed


def _misspelt(a: str, b: str) -> bool:
    """Return True where one is an unknown word one slip away from the other, a known one: never "car" and "cat"."""
    a, b = a.rstrip("*~"), b.rstrip("*~")
    if min(len(a), len(b)) < _SHORTEST_TYPO or a[0] != b[0] or not (a.isalpha() and b.isalpha()):
        return False
    return word_info(a).known != word_info(b).known and _one_slip(a, b)


def _one_slip(a: str, b: str) -> bool:
    """Return True for one letter more, less or other, or two neighbouring letters exchanged."""
    if len(a) > len(b):
        a, b = b, a
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))
    if len(a) != len(b):
        return a[at:] == b[at + 1 :]
    return a[at + 1 :] == b[at + 1 :] or (a[at : at + 2] == b[at : at + 2][::-1] and a[at + 2 :] == b[at + 2 :])


def _difference(lacking: Counter[str], extra: Counter[str]) -> str:
    ours, theirs = sorted(lacking), sorted(extra)
    words = {word.rstrip("*~") for word in (*ours, *theirs)}
    same_but_number = [w.rstrip("*") for w in ours] == [w.rstrip("*") for w in theirs]
    guard = "words"
    if words & NEGATIONS:
        guard = "negation"
    elif words & QUANTITIES or same_but_number or any(word[:1].isdigit() for word in words):
        guard = "number"
    sides = (("the query", ours), ("the entry", theirs))
    shown = [f"only {who} has {', '.join(map(repr, found))}" for who, found in sides if found]
    return f"guard {guard}: {'; '.join(shown)}"


def _form(chunk: Chunk) -> tuple[tuple[str, ...], ...]:
    """Return a chunk with its prepositional phrases sorted, and with all its parts sorted where it has no verb."""
    segments: list[list[str]] = [[]]
    for word in chunk.words:
        if word in _LOOSE:
            segments.append([])
        else:
            segments[-1].append(word)
    parts = [tuple(segment) for segment in segments if segment]
    if chunk.kind == "noun" and "+" not in chunk.words:
        return tuple(sorted(parts))
    return (*parts[:1], *sorted(parts[1:]))


def _sequence(moment: _Moment) -> list[str]:
    """Return a moment's words in order. A noun phrase keeps its "on": a "water glass" is not "water on glass"."""
    return [
        "in" if word in _LOOSE else word
        for one in moment
        for word in one.words
        if word != "+" and (word not in _LOOSE or one.kind == "noun")
    ]
