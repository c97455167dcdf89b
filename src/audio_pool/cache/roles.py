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
from itertools import groupby

from audio_pool.prompts.function_words import NEGATIONS, PLACES, PREPOSITIONS, QUANTITIES
from audio_pool.prompts.grammar import Chunk
from audio_pool.prompts.lexicon import is_listed, word_info

__all__ = ["same_roles"]

_Moment = Sequence[Chunk]
"""What sounds together."""

_TYING = frozenset(
    """
    in on at to from into onto over under through across against around along near behind between beside among
    inside outside like for above below toward towards past upon within throughout underneath
    """.split()  # noqa: SIM905
)
"""Prepositions that belong to the word after them."""


@dataclass(slots=True)
class _Doing:
    """A verb, and the words that it is tied to."""

    verb: str
    doer: tuple[str, ...]
    rest: list[str] = field(default_factory=list)
    """What it is done to, where and how, as written."""

    @property
    def words(self) -> tuple[str, tuple[str, ...], bool]:
        # "blows a horn" is "a horn blows", but "chases a wolf" is not "a wolf chases"
        alone = is_listed(self.verb.rstrip("~"), "ergative")
        return self.verb, tuple(sorted((*self.doer, *self.rest))), bool(self.doer) and not alone

    def swapped(self, other: _Doing) -> bool:
        """Return whether doer and done-to may have changed places: they can where both doings name both."""
        if not (self.doer and self.rest and other.doer and other.rest):
            return False
        # "in a cave a wolf howls": a place said first stands before the doer
        least = min(len(self.doer), len(other.doer))
        return self.doer[-least:] != other.doer[-least:]


def same_roles(ours: _Moment, theirs: _Moment, loose: frozenset[str]) -> bool:
    """Return whether the words of two moments are tied to each other in the same way.

    Args:
        ours: chunks that sound together.
        theirs: other ones, of the same words.
        loose: prepositions that are compared loosely; they tie nothing.
    """
    if any(word in NEGATIONS for one in (*ours, *theirs) for word in one.words):
        return False
    mine, other = _Ties(ours, loose), _Ties(theirs, loose)
    if mine.qualities != other.qualities or mine.things != other.things:
        return False
    if any(mine.piles[names] != other.piles[names] for names in mine.piles.keys() & other.piles.keys()):
        return False
    if Counter(one.words for one in mine.doings) != Counter(one.words for one in other.doings):
        return False
    # "blows a horn" is "a horn blows": only where both name doer and done-to must the two be the same
    return all(
        any(one.words == fellow.words and not one.swapped(fellow) for fellow in other.doings) for one in mine.doings
    )


class _Ties:
    """What the words of one moment are tied to."""

    def __init__(self, moment: _Moment, loose: frozenset[str]) -> None:
        self.qualities: Counter[tuple[str, str]] = Counter()
        """Qualities and counts, each with the thing that it stands before."""
        self.things: Counter[tuple[str, ...]] = Counter()
        """Chunks in which nothing is done, as written."""
        self.piles: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
        """Things that stand side by side, sorted -> as written: a "car horn" is no "horn car"."""
        self.doings: list[_Doing] = []
        doer: tuple[str, ...] = ()
        for chunk in moment:
            # "screams and cries": a verb without a doer after a clause has that clause's
            doer = self._tie(chunk.words, loose, doer if chunk.kind == "verb" else ())

    def _tie(self, words: Sequence[str], loose: frozenset[str], inherited: tuple[str, ...]) -> tuple[str, ...]:
        """Tie one chunk's words, and return the last doer."""
        verbs = _verbs(words)
        for aside, found in groupby(enumerate(words), key=lambda at: at[0] not in verbs and _is_thing(at[1])):
            pile = tuple(word for _, word in found)
            if aside and len(pile) > 1:
                self.piles.setdefault(tuple(sorted(pile)), set()).add(pile)
        if not verbs:
            self.things[tuple(words)] += 1
            return ()
        doer = list(inherited)
        doing: _Doing | None = None
        waiting: list[str] = []
        for i, word in enumerate(words):
            if word == "+":
                # what follows is done by the same one unless another is named: "a dog barks + a man speaks"
                following = next((k for k in verbs if k > i), None)
                if doing is None:
                    # "a man and a woman": two in this order
                    doer = ["+".join((*doer, ""))]
                elif following is not None and following > i + 1:
                    doer, doing, waiting = [], None, []
                continue
            if word in loose:
                continue
            if i in verbs:
                doing = _Doing(word, tuple(doer), waiting)
                waiting = []
                self.doings.append(doing)
                continue
            if word in _TYING and i + 1 < len(words):
                # "into a wall on a street": which place is of which preposition
                self.qualities[word, words[i + 1]] += 1
            thing = _thing_after(words, i, verbs, loose)
            if thing is not None:
                self.qualities[word, thing] += 1
            if doing is not None:
                doing.rest.append(word)
            elif thing is None and _is_quality(word):
                waiting.append(word)  # "intermittent snoring": a quality of what is done
            else:
                doer.append(word)
        return tuple(doer)


def _thing_after(words: Sequence[str], at: int, verbs: Sequence[int], loose: frozenset[str]) -> str | None:
    """Return the thing whose quality or count the word is; None where it stands before none."""
    if not _is_quality(words[at]):
        return None
    for i in range(at + 1, len(words)):
        if words[i] == "+" or words[i] in loose or i in verbs:
            return None
        if not _is_quality(words[i]):
            return words[i]
    return None


def _verbs(words: Sequence[str]) -> list[int]:
    """Return where the verbs stand; a word that may be a noun, too, is one before another verb: "a crow caws"."""
    found = [i for i, word in enumerate(words) if word_info(word.rstrip("*~")).verb and not word.endswith("*")]
    return found[1:] if len(found) > 1 and word_info(words[found[0]]).noun else found


def _is_thing(word: str) -> bool:
    return word != "+" and not _is_quality(word) and word not in PREPOSITIONS and word not in PLACES


def _is_quality(word: str) -> bool:
    return word in QUANTITIES or word[:1].isdigit() or word_info(word.rstrip("*~")).quality
