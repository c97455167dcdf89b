"""Who does what: the same words tied to each other in the same way, in whatever order they were written.

Owns: ``same_roles``, the comparison of two moments of the same words.
Must not know: which words may differ (policy.py), the store, vectors.

"A baby screams and cries" and "a baby crying and screaming" say the same of the baby; "a wolf chases a horse" and
"a horse chases a wolf" do not. So not the order of words is compared but what they are tied to: a quality to its
thing, a doing to whose it is and to what it is done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from audio_pool.prompts.grammar import NEGATIONS, QUANTITIES
from audio_pool.prompts.lexicon import word_info

__all__ = ["same_roles"]

_Moment = Sequence[tuple[str, tuple[str, ...]]]
"""Chunks of one moment: kind and words."""


@dataclass(slots=True)
class _Doing:
    """A verb, and the words that it is tied to."""

    verb: str
    doer: tuple[str, ...]
    rest: list[str] = field(default_factory=list)
    """What it is done to, where and how, as written."""

    @property
    def words(self) -> tuple[str, tuple[str, ...]]:
        return self.verb, tuple(sorted((*self.doer, *self.rest)))

    @property
    def swappable(self) -> tuple[str, tuple[str, ...], tuple[str, ...]] | None:
        """Its doer and the rest where it has both: only then can the two have changed places."""
        return (self.verb, self.doer, tuple(sorted(self.rest))) if self.doer and self.rest else None


def same_roles(ours: _Moment, theirs: _Moment, loose: frozenset[str]) -> bool:
    """Return whether the words of two moments are tied to each other in the same way.

    Args:
        ours: chunks that sound together.
        theirs: other ones, of the same words.
        loose: prepositions that are compared loosely; they tie nothing.
    """
    if any(word in NEGATIONS for _, words in (*ours, *theirs) for word in words):
        return False
    mine, other = _Ties(ours, loose), _Ties(theirs, loose)
    if mine.qualities != other.qualities or mine.things != other.things:
        return False
    if Counter(one.words for one in mine.doings) != Counter(one.words for one in other.doings):
        return False
    # "blows a horn" is "a horn blows": only where both name doer and done-to must the two be the same
    verbs = {one.verb for one in mine.doings if one.swappable} & {one.verb for one in other.doings if one.swappable}
    return all(mine.swappables(verb) == other.swappables(verb) for verb in verbs)


class _Ties:
    """What the words of one moment are tied to."""

    def __init__(self, moment: _Moment, loose: frozenset[str]) -> None:
        self.qualities: Counter[tuple[str, str]] = Counter()
        """Qualities and counts, each with the thing that it stands before."""
        self.things: Counter[tuple[str, ...]] = Counter()
        """Chunks in which nothing is done, as written."""
        self.doings: list[_Doing] = []
        doer: tuple[str, ...] = ()
        for kind, words in moment:
            # "screams and cries": a verb without a doer after a clause has that clause's
            doer = self._tie(words, loose, doer if kind == "verb" else ())

    def swappables(self, verb: str) -> Counter[tuple[str, tuple[str, ...], tuple[str, ...]]]:
        return Counter(one.swappable for one in self.doings if one.verb == verb and one.swappable)

    def _tie(self, words: Sequence[str], loose: frozenset[str], inherited: tuple[str, ...]) -> tuple[str, ...]:
        """Tie one chunk's words, and return the last doer."""
        if not any(_is_verb(word) for word in words):
            self.things[tuple(words)] += 1
            return ()
        doer = list(inherited)
        doing: _Doing | None = None
        waiting: list[str] = []
        for i, word in enumerate(words):
            if word == "+":
                # what follows is done by the same one unless another is named: "a dog barks + a man speaks"
                following = next((k for k in range(i + 1, len(words)) if _is_verb(words[k])), None)
                if doing is None:
                    # "a man and a woman": two in this order
                    doer = ["+".join((*doer, ""))]
                elif following is not None and following > i + 1:
                    doer, doing, waiting = [], None, []
                continue
            if word in loose:
                continue
            if _is_verb(word):
                doing = _Doing(word, tuple(doer), waiting)
                waiting = []
                self.doings.append(doing)
                continue
            thing = _thing_after(words, i, loose)
            if thing is not None:
                self.qualities[word, thing] += 1
            if doing is not None:
                doing.rest.append(word)
            elif thing is None and _is_quality(word):
                waiting.append(word)  # "intermittent snoring": a quality of what is done
            else:
                doer.append(word)
        return tuple(doer)


def _thing_after(words: Sequence[str], at: int, loose: frozenset[str]) -> str | None:
    """Return the thing whose quality or count the word is; None where it stands before none."""
    if not _is_quality(words[at]):
        return None
    for word in words[at + 1 :]:
        if word == "+" or word in loose or _is_verb(word):
            return None
        if not _is_quality(word):
            return word
    return None


def _is_verb(word: str) -> bool:
    return word_info(word.rstrip("*~")).verb and not word.endswith("*")


def _is_quality(word: str) -> bool:
    return word in QUANTITIES or word[:1].isdigit() or word_info(word.rstrip("*~")).quality
