"""What goes without saying: words that one of two prompts may have and the other lack, unheard.

Owns: the two lists, and ``without_unsaid``, which strikes such words from a prompt.
Must not know: how prompts are parsed, what else may differ (policy.py), the store.

"Rain falls" is "rain", "a cat meows" is "meowing", "a car engine revs" is "a car revs". Each word here needs its
companion in both prompts, beside it in its own. The policy strikes words from one of the two prompts only, so that
"falls" for "stops" and "briefly" for "continuously" stay differences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from audio_pool.prompts.grammar import Chunk
from audio_pool.prompts.lexicon import word_info

__all__ = ["without_unsaid"]

_IMPLIED = {
    word: frozenset(companions.split())
    for word, companions in (
        # what a thing does anyway
        ("blow", "wind gale breeze gust horn whistle"),
        ("fall", "rain snow hail drizzle downpour raindrop"),
        ("play", "music song melody"),
        ("ring", "telephone cellphone doorbell bell"),
        ("rumble", "thunder"),
        ("wail", "siren"),
        ("blare", "siren"),
        ("honk", "horn"),
        ("run", "engine rev idle"),
        ("fire", "gunshot"),
        ("crash", "wave"),
        # who or what alone does it
        ("person", "snore sneeze cough burp laugh speak whisper hiccup sniff clap applaud whistle fart sob type"),
        ("cat", "meow purr"),
        ("dog", "bark"),
        ("bird", "chirp tweet"),
        ("duck", "quack"),
        ("cow", "moo"),
        ("horse", "neigh"),
        ("pig", "oink"),
        ("owl", "hoot"),
        ("frog", "ribbit"),
        ("pigeon", "coo"),
        ("audience", "applaud"),
        ("crowd", "applaud cheer"),
        ("clock", "ticktock"),
        ("water", "splash drip gurgle bubble trickle"),
        ("food", "sizzle fry"),
        ("wing", "flap flutter"),
        # of what, with what and where it is
        ("engine", "car truck vehicle motorcycle motorboat bus rev idle"),
        ("vehicle", "engine"),
        ("adult", "man woman"),
        ("computer", "keyboard"),
        ("ocean", "wave"),
        ("sea", "wave"),
        ("seashore", "wave"),
        ("pan", "fry sizzle"),
        ("cookware", "fry sizzle"),
        ("grill", "sizzle"),
        ("sky", "thunder"),
    )
}
"""A word -> those of which one must stand in the same moment of both prompts."""
_SLIGHT = frozenset(["constant", "consistent", "brief", "together"])
"""How it is by default, or hardly heard: what is asked for goes on for as long as the sound lasts."""
_NEAR = frozenset(["nearby", "foreground"])
"""Where it is by default."""

_FAR = frozenset(["distant", "background"])
_DOERS = frozenset(
    ["person", "cat", "dog", "bird", "duck", "cow", "horse", "pig", "owl", "frog", "pigeon", "audience", "crowd"]
)
"""Those who do what stands beside them; the other prompt may mean someone whom it names."""

_Moment = list[Chunk]


def without_unsaid(words: Counter[str], having: list[_Moment], other: list[_Moment]) -> list[_Moment] | None:
    """Return the moments of a prompt without words that only it has; None where one of them says something.

    Args:
        words: what only this prompt has, as written in its chunks.
        having: its moments.
        other: the moments of the prompt that lacks them.
    """
    if not all(_unsaid(word, count, having, other) for word, count in words.items()):
        return None
    left = [
        [replace(one, words=rest) for one in moment if (rest := tuple(w for w in one.words if w not in words))]
        for moment in having
    ]
    return [moment for moment in left if moment]


def _unsaid(word: str, count: int, having: list[_Moment], other: list[_Moment]) -> bool:
    chunks = [chunk for moment in having for chunk in moment if word in chunk.words]
    if sum(chunk.words.count(word) for chunk in chunks) != count:
        return False  # the other prompt has it, too, elsewhere
    base = word.rstrip("*~")
    if base == "begin":
        return all(_begins_something(chunk.words) for chunk in chunks)
    if base == "brief" and any(chunk.kind != "clause" for chunk in chunks):
        return False  # "a brief bang" is one
    if base in _SLIGHT:
        return True
    present = {bare for moment in other for chunk in moment for bare in _bases(chunk.words)}
    if base in _NEAR:
        return not present & _FAR  # beside something far it tells the two apart
    companions = _IMPLIED.get(base, frozenset()) & present
    if base in _DOERS:
        companions -= _done_by_someone(other)
    return all(_bases(chunk.words) & companions for chunk in chunks)


def _bases(words: Iterable[str]) -> set[str]:
    return {word.rstrip("*~") for word in words}


def _done_by_someone(moments: list[_Moment]) -> set[str]:
    """Return the words in chunks of which a doer is named, there or in the clause before them."""
    found: set[str] = set()
    for moment in moments:
        named = False
        for chunk in moment:
            # "children laugh and speak": a verb without a doer after a clause has that clause's
            named = chunk.kind == "clause" or (chunk.kind == "verb" and named)
            if named:
                found |= _bases(chunk.words)
    return found


def _begins_something(words: tuple[str, ...]) -> bool:
    """Return whether "begin" stands before what is begun: "starts to bark", not "the engine starts"."""
    after = words[words.index("begin") + 1 :]
    return bool(after) and word_info(after[0].rstrip("*~")).verb
