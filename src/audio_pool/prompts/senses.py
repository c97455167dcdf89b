"""Words that have several senses, told apart by their neighbours: a tap that drips, a tap on the shoulder.

Owns: ``in_its_sense``: which of them stands for another word here.
Must not know: how a prompt is cut into parts (normalize.py), the store, the index, engines.

A sense needs evidence. Without it a word stands for itself: "a tap" alone may be either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from audio_pool.prompts.function_words import AUXILIARIES, PREPOSITIONS
from audio_pool.prompts.lexicon import ARTICLES, WordInfo, is_listed, word_info

__all__ = ["AMBIGUOUS", "in_its_sense"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DETERMINERS = ARTICLES | _words("this that his her its their my our your another old new")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sense:
    """What a word stands for. Every condition that is given must hold; all are of base forms."""

    meant: str
    forms: tuple[str, ...] = ("", "s")
    after: frozenset[str] = frozenset()
    """One of these stands right before the word, articles and the like left out."""
    before: frozenset[str] = frozenset()
    """One of these stands right after it."""
    near: frozenset[str] = frozenset()
    """One of these stands anywhere in the prompt."""
    named: bool = False
    """It is named like a thing: "the lift", and not "a man lifts"."""
    last: bool = False
    """No thing follows that it could be a quality of: "in a flat", and not "a flat stone"."""
    never_after: frozenset[str] = frozenset()
    never_before: frozenset[str] = frozenset()
    never_near: frozenset[str] = frozenset()


_SENSES: dict[str, tuple[_Sense, ...]] = {
    "lift": (
        _Sense(meant="elevator", named=True, never_after=_words("ski chair fork"), never_before=_words("off of")),
        _Sense(
            meant="elevator", before=_words("door music bell button shaft lobby motor"), never_after=_words("ski chair")
        ),
    ),
    "tap": (
        _Sense(
            meant="faucet",
            near=_words(
                "drip run leak gush flow water sink bath bathtub bathroom kitchen turn open close basin drop trickle"
            ),
            named=True,
            never_before=_words("on at of against dance dancer shoe water"),
        ),
        _Sense(meant="faucet", after=_words("kitchen bathroom bath garden sink water mixer drip run leak gush")),
        _Sense(meant="faucet", before=_words("drip leak gush")),
    ),
    "fall": (
        _Sense(
            meant="autumn",
            forms=("",),
            before=_words("leaf forest day evening morning night foliage afternoon season wood breeze fair wind rain"),
            never_after=_words("leaf water rain rock tree"),
        ),
        _Sense(meant="autumn", forms=("",), after=_words("in during late early"), never_before=_words("of from")),
    ),
    "rock": (
        _Sense(
            meant="stone",
            named=True,
            never_after=_words("hard punk soft indie folk progressive glam classic alternative psychedelic pop"),
            never_near=_words(
                "music band guitar concert song star punk riff anthem ballad bass drummer drum guitarist solo beat jazz"
                " chair cradle roll festival singer"
            ),
        ),
    ),
    "soft": (
        _Sense(
            meant="quiet",
            forms=("",),
            before=_words(
                "music voice song melody tone note drum piano guitar flute violin cello harp organ bell chime rain wind"
                " breeze murmur speech conversation thunder footstep static noise sound beep engine sob surf heartbeat"
                " patter breath growl tap dialogue lullaby synth pad string brass clarinet saxophone trumpet rumble"
            ),
        ),
        _Sense(meant="quiet", forms=("ly",)),
    ),
    "go": (
        # "keeps going on", and not "a light goes on"
        _Sense(
            meant="continue",
            forms=("", "s", "ing", "ed"),
            before=frozenset(["on"]),
            never_after=_words("light lamp alarm siren radio television fan heater machine engine motor pump bell"),
        ),
    ),
    "flat": (
        _Sense(
            meant="apartment",
            named=True,
            last=True,
            never_after=_words("high fall lie lay c d e f g a b"),
            never_near=_words("tire note major minor music chord pitch key scale singer sharp octave voice tuning"),
        ),
    ),
    "torch": (
        _Sense(meant="flashlight", near=_words("click switch battery button beam bulb led")),
        _Sense(meant="flashlight", after=_words("pocket")),
    ),
    "gas": (_Sense(meant="gasoline", forms=("",), before=_words("pump station tank can canister cap nozzle engine")),),
    "zip": (_Sense(meant="zipper", named=True, last=True, never_before=_words("past by around along through")),),
    "underground": (
        _Sense(meant="subway", forms=("",), before=_words("train station platform carriage escalator")),
        _Sense(meant="subway", forms=("",), after=_words("london")),
    ),
    "close": (
        # an adjective before a thing: "a close lightning strike"
        _Sense(meant="nearby", forms=("",), before=_words("lightning thunder thunderclap explosion gunshot siren")),
    ),
    "mobile": (
        _Sense(meant="cellphone", named=True, last=True, near=_words("ring buzz vibrate beep call text dial charge")),
    ),
    "lighten": (
        # a common misspelling
        _Sense(
            meant="lightning",
            forms=("ing",),
            near=_words("thunder storm thunderstorm bolt strike hit flash rain crack sky thunderclap crash"),
        ),
    ),
    "cross": (_Sense(meant="angry", forms=("",), before=_words("man woman teacher mother father voice")),),
}  # fmt: skip


AMBIGUOUS = frozenset(_SENSES)
"""Base forms of words that have several senses."""


def in_its_sense(tokens: Sequence[tuple[str, WordInfo]], at: int) -> WordInfo:
    """Return the entry of the word at this place, another word's where its neighbours say that it means that."""
    _, seen = tokens[at]
    for sense in _SENSES.get(seen.base, ()):
        if seen.form in sense.forms and _holds(sense, tokens, at):
            meant = word_info(sense.meant)
            return replace(meant, form=seen.form, plural=seen.form == "s" and meant.noun and not meant.verb)
    return seen


def _holds(sense: _Sense, tokens: Sequence[tuple[str, WordInfo]], at: int) -> bool:
    before = next((seen.base for word, seen in reversed(tokens[:at]) if word not in ARTICLES), "")
    after = next((seen.base for word, seen in tokens[at + 1 :] if word not in ARTICLES and not seen.quality), "")
    near = {seen.base for _, seen in tokens}
    return (
        (not sense.after or before in sense.after)
        and (not sense.before or after in sense.before)
        and (not sense.near or not sense.near.isdisjoint(near))
        and (not sense.named or _named(tokens, at))
        and (not sense.last or _is_last(tokens, at))
        and before not in sense.never_after
        and after not in sense.never_before
        and sense.never_near.isdisjoint(near)
    )


def _named(tokens: Sequence[tuple[str, WordInfo]], at: int) -> bool:
    """Return whether a word is led like a noun: by an article, an adjective, a number, a preposition or nothing."""
    if at == 0:
        return tokens[at][1].form == "s" or len(tokens) == 1
    word, seen = tokens[at - 1]
    return (
        word in _DETERMINERS
        or seen.quality
        or not word[0].isalpha()
        or is_listed(seen.base, "place")
        or word in ("on", "in", "against", "over", "onto", "into", "with", "of", "several", "many", "some")
    )


def _is_last(tokens: Sequence[tuple[str, WordInfo]], at: int) -> bool:
    """Return whether what follows a word is no thing: nothing, a preposition, or what is done."""
    if at + 1 == len(tokens):
        return True
    word, seen = tokens[at + 1]
    return not word[0].isalpha() or word in PREPOSITIONS or word in AUXILIARIES or seen.form == "ing"
