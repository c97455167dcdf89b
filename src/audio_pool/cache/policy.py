"""The policy of hits: judges by prompts and scores alone. Pure.

Owns: ``judge`` and the encoders' calibrations.
Must not know: the store, the index, engines; how vectors are made; how two prompts' words compare (guards.py).

A cosine alone is no judge: at MiniLM's 0.70, 96 % of the pairs that differ in one telling word pass. Here
words decide and the cosine only confirms: every content word must have its fellow, in the same order of
events, with the same doer. A guard that fails is named in the verdict.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from audio_pool.cache.guards import first_objection, unsaid_between
from audio_pool.cache.judgements import Judged
from audio_pool.prompts.normalize import canonical_key, text_key
from audio_pool.prompts.spelling import is_misspelt

__all__ = [
    "CALIBRATIONS",
    "MODELS",
    "Calibration",
    "Candidate",
    "Verdict",
    "fallback_warning",
    "first_objection",
    "judge",
]

_MISSPELT = 0.4
"""On the scale of ``tau_prompt_sem``: so much less is asked where one prompt has a misspelt word, which no encoder has
seen, and which costs that much of the cosine. All other words must agree all the same."""

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
MODELS = {"minilm": re.compile("all-minilm-l(6|12)-v2"), "bge": re.compile("bge-(small|base|large)-en")}
"""Models, by their names or those of their directories, whose cosines are those that the calibrations speak of."""


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
    same: Literal["text", "canonical", "", None] = None
    """Which of its keys is the query's, where whoever keeps keys has looked; None: its prompt is parsed for it."""
    parse: bytes = b""
    """Its prompt's, as it was kept (prompts/parses.py); b"": none, and it is parsed where it must be."""


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


def fallback_warning(encoder: str) -> str:
    """Return the warning for an encoder that has no calibration."""
    return (
        f"uncalibrated_encoder: nothing is known of the cosines of {encoder!r}, so prompts match strictly (same text "
        "or same key); audio-pool cache calibrate measures it"
    )


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
    same = one.same if one.same is not None else _same_key(query, one.prompt)
    if same == "text":
        return _verdict_by(one, "text", "the same text")
    if same == "canonical":
        return _verdict_by(one, "canonical", f"the same canonical key '{canonical_key(query)}'")
    if mode == "strict":
        return _verdict_by(one, "", "neither the same text nor the same canonical key")
    if one.judged == "right":
        return _verdict_by(one, "confirmed", "somebody judged it right for these words")
    unfit = one.clap is not None and one.clap < tau_use
    low_clap = f"CLAP of query and sound {one.clap:.2f} is below tau_use {tau_use:.2f}" if unfit else ""
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
    if not one.cosine >= least and is_misspelt(query) != is_misspelt(one.prompt):
        least = calibration.cosine_at(tau_prompt_sem - _MISSPELT)
    if not one.cosine >= least:
        return _verdict_by(one, "", f"cosine is below {least:.2f}, which tau_prompt_sem {tau_prompt_sem:.2f} asks")
    differing = first_objection(query, one.prompt, one.parse)
    if differing is not None:
        return _verdict_by(one, "", differing)
    if unfit:
        return _verdict_by(one, "", low_clap, unfit=True)
    unsaid = unsaid_between(query, one.prompt, one.parse)
    but = f" but {', '.join(map(repr, unsaid))}, which goes without saying," if unsaid else ""
    return _verdict_by(one, "words", f"all words agree{but} and cosine reaches {least:.2f}")


def _same_key(query: str, prompt: str) -> Literal["text", "canonical", ""]:
    if text_key(query) == text_key(prompt):
        return "text"
    return "canonical" if canonical_key(query) == canonical_key(prompt) else ""


def _verdict_by(one: Candidate, rule: Rule, why: str, *, unfit: bool = False) -> Verdict:
    scores = f"cosine {one.cosine:.3f}" if one.cosine == one.cosine else "no cosine"
    if one.clap is not None:
        scores += f", CLAP {one.clap:.3f}"
    reason = f"{'hit' if rule else 'no hit'}: {why} ({scores}; matched prompt: '{one.prompt}')"
    return Verdict(one.entry_id, bool(rule), rule, reason, one.cosine, one.clap, unfit)
