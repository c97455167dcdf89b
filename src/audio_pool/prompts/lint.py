"""Find what makes a prompt give bad sounds, by plain rules, and say what to do.

Owns: the rules and their words.
Must not know: any engine (what is told of it comes as ``Reader``), the pool.

A finding is advice: nothing is refused. A rule speaks up only where it is nearly always right, because advice that
is mostly wrong is not read: ``python -m benchmarks.prompt_lint`` counts how often each does on captions that people
wrote of real recordings.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from audio_pool.prompts.function_words import FUNCTION_WORDS, NEGATIONS, PRONOUNS
from audio_pool.prompts.language import foreign_language
from audio_pool.prompts.lexicon import word_info

__all__ = ["Finding", "Reader", "lint"]


class Finding(NamedTuple):
    """One thing that is likely to make a bad sound."""

    name: str
    """Of the rule: ``prompt_vague``, say."""
    sentence: str
    """What was found, and what helps."""

    def __str__(self) -> str:
        return f"{self.name}: {self.sentence}"


class Reader(NamedTuple):
    """Who is to read the prompt."""

    speech: bool = False
    """It speaks: the words are what is said, and no rule is about those."""
    languages: tuple[str, ...] = ("en",)
    """Whose prompts it understands; empty: not said."""


_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
# no part of these can be read in two ways: an apostrophe that nothing closes must not cost more than its prompt is long
_QUOTED = re.compile(
    r"""["“„«]\s*[^\W\d_][^\s"“”„«»]*\s[^"“”„«»]*["”»]"""
    r"""|(?<!\w)['‘]\s*[^\s'‘’]+\s+[^\s'‘’]+\s[^'‘’]+['’](?!\w)"""
)
_SAID = re.compile(
    r"\b(?:say(?:s|ing)?|said|announc(?:es?|ing)|read(?:s|ing)? (?:out|aloud))(?:\s*:|\s+(?:that|the words?)\b)"
    r"|\bspeak(?:s|ing)? the words?\b"
)
_SAYS_WHAT = re.compile(
    r"\b(?:m[ae]n|wom[ae]n|boys?|girls?|child(?:ren)?|kids?|persons?|people|someone|somebody|s?he|they|voices?|hosts?|robots?"
    r"|speakers?|announcers?|reporters?|presenters?)\s+(?:\w+ly\s+)?(?:is\s+|are\s+)?(?:say(?:s|ing)?|said)\s+"
    r"(?!(?:some|any|no)thing\b|(?:things|stuff|words|an?|some|in|to|at|on|over|into|from|with|while|and|as|by|for|through"
    r"|before|after|then|but|or|near|out|it|this|\w+ly)\b)[a-z']+"
)
_SPOKEN = re.compile(
    r"\b(?:voice-?overs?|narrat(?:ion|or|ed|es|ing)|text[- ]to[- ]speech|tts|audiobook|spoken words?|lyrics)\b"
)
_LATER = re.compile(
    r"\b(?:then|next|finally|afterwards?|followed by|after (?:that|which|this)|before (?:it|they)|later"
    r"|cut(?:s|ting)? to|transition(?:s|ing)? (?:in)?to|scene \d+)\b"
)
_CUT = re.compile(r"\b(?:cut(?:s|ting)? to|scene (?:\d+|one|two|three)|transition(?:s|ing)? (?:in)?to)\b")
_SEEN = re.compile(
    r"\b(?:photo-?realistic|hyper-?realistic|ultra-?realistic|[48]k|u?hd|hdr|1080p|bokeh|wallpaper|octane render"
    r"|unreal engine|trending on artstation|depth of field|cinematic lighting|golden hour|wide shot|close-?up shot"
    r"|camera (?:pans?|zooms?)|colou?r grading|concept art|illustration|oil painting|screenshot)\b"
)
_LENGTH = re.compile(
    r"\b(?:for |lasting )?(\d+(?:\.\d+)?)[ -]?(?:s|secs?|seconds?|mins?|minutes?)(?: long\b| loop\b| of\b|[.,]?$)"
)
_LOOPED = re.compile(r"\b(?:seamless(?:ly)?|loopable|looping|looped|perfect loop)\b(?! (?:drum|pedal))")
_PART = re.compile(r"[,;.:]|\b(?:and|while|as|with|then|followed by|before|after|but|or|into)\b")

_GENERIC = frozenset(
    """
    sound sounds audio effect effects sfx fx clip recording sample track file something anything stuff thing things
    ambience ambiance ambient atmosphere soundscape vibe vibes mood feel feeling background loop
    """.split()  # noqa: SIM905
)
"""What any sound is."""
_PRAISE = frozenset(
    """
    nice good great cool awesome amazing beautiful perfect best better lovely pretty epic interesting random any
    different special unique new quality high professional realistic real satisfying pleasant
    """.split()  # noqa: SIM905
)
"""What is said of a sound without saying which."""
_OPPOSED = tuple(
    (frozenset(one.split()), frozenset(other.split()))
    for one, other in (
        ("loud deafening booming thunderous", "quiet silent faint soft hushed inaudible"),
        ("fast quick rapid", "slow"),
        ("shrill", "deep"),
        ("distant faraway", "close nearby"),
        ("tiny small little", "huge gigantic enormous"),
        ("dry", "reverberant echoing"),
        ("calm peaceful serene", "violent furious frantic"),
    )
)
"""Qualities that one sound cannot have both of."""
_ALL_OPPOSED = frozenset().union(*(one | other for one, other in _OPPOSED))
_SILENCE = frozenset({"silent", "soundless"})
_MOST_LATER = 2
"""Words like "then" in one prompt; captions of real recordings have one."""


def lint(
    prompt: str,
    reader: Reader = Reader(),  # noqa: B008 - a NamedTuple does not change
    *,
    negative_prompt: str = "",
    loop: bool = False,
) -> tuple[Finding, ...]:
    """Return what makes this prompt likely to give a bad sound, the gravest first; empty where nothing does. Pure.

    Args:
        prompt: 1 character or more.
        reader: the engine, as far as it matters.
        negative_prompt: what is not wanted.
        loop: a loop is asked for.
    """
    if reader.speech:
        return ()
    foreign = _foreign(prompt, reader)
    if foreign:  # the other rules read English
        return (foreign,)
    text = prompt.casefold()
    return tuple(
        finding
        for finding in (
            _vague(text),
            _speech(prompt, text),
            _contradictory(text, negative_prompt.casefold()),
            _scenes(text, loop),
            _seen(text),
            _settings(text, loop),
        )
        if finding
    )


def _foreign(prompt: str, reader: Reader) -> Finding | None:
    if reader.languages != ("en",):
        return None
    language = foreign_language(prompt)
    if not language:
        return None
    return Finding("prompt_language", f"looks like {language}; the engine understands English: say it in English")


def _vague(text: str) -> Finding | None:
    words = _WORD.findall(text)
    if not words:
        return Finding("prompt_vague", "no word in it; name what is heard, where, and how")
    telling = [word for word in words if word not in FUNCTION_WORDS | _GENERIC | _PRAISE | PRONOUNS | NEGATIONS]
    if telling and not all(_only_how(word) for word in telling):
        return None
    return Finding("prompt_vague", "it does not say what makes the sound; name it, as in 'rain on a tin roof'")


def _only_how(word: str) -> bool:
    """Return whether a word says how something is and names nothing: "loud", "softly", "very"."""
    if word in ("very", "really", "so", "quite", "make", "me", "give", "please", "want", "need", "my", "game", "video"):
        return True
    info = word_info(word)
    return info.quality and not info.noun and not info.verb


def _speech(prompt: str, text: str) -> Finding | None:
    quoted, said = _QUOTED.search(prompt), _SAID.search(text) or _SAYS_WHAT.search(text) or _SPOKEN.search(text)
    if not quoted and not said:
        return None
    found = (quoted or said).group(0)  # type: ignore[union-attr]
    return Finding(
        "prompt_asks_for_words",
        f"{found!r}: a model of sounds babbles and says no words; ask an engine that speaks (engine = 'kind:speech')",
    )


def _contradictory(text: str, negative: str) -> Finding | None:
    for part in _PART.split(text):
        words = _WORD.findall(part.replace("high-pitched", "shrill").replace("low-pitched", "deep"))
        both = _both_of_one(words)
        if both:
            return Finding("prompt_contradictory", f"{both[0]!r} and {both[1]!r} of one sound; keep one of them")
        if len(words) > 1 and words[0] in _SILENCE and any(word_info(word).noun for word in words[1:]):
            return Finding("prompt_contradictory", f"{words[0]!r} and a sound to be heard; leave one of them out")
    denied = _denied(text)
    unwanted = denied or (_named(text) & _named(negative))
    if unwanted:
        where = "wanted and not wanted in one prompt" if denied else "in the prompt and in negative_prompt"
        return Finding("prompt_contradictory", f"{min(unwanted)!r} is {where}; take it out of one of them")
    return None


def _both_of_one(words: list[str]) -> tuple[str, str] | None:
    """Return two opposed qualities of one thing: nothing but further qualities stands between them."""
    before: list[str] = []
    for word in words:
        bare = word.removesuffix("ly")
        for one, other in (*_OPPOSED, *((other, one) for one, other in _OPPOSED)):
            opposed = [first for first in before if first.removesuffix("ly") in one]
            if opposed and bare in other:
                return opposed[0], word
        info = word_info(word)
        before = [*before, word] if info.quality or word in _ALL_OPPOSED or bare != word else []
    return None


def _denied(text: str) -> set[str]:
    """Return what a text both denies and names elsewhere."""
    denied: set[str] = set()
    named: set[str] = set()
    negated = False
    for match in re.finditer(r"[^\W\d_]+(?:'[^\W\d_]+)?|[,;.:]", text):
        word = match.group(0)
        if word in (",", ";", ".", ":") or word in ("but", "and", "with", "only", "just"):
            negated = False
        elif word in ("no", "without"):
            negated = True
        elif (info := word_info(word)).noun and word not in FUNCTION_WORDS | _GENERIC:
            (denied if negated else named).add(info.base)
    return denied & named


def _named(text: str) -> set[str]:
    return {
        info.base
        for word in _WORD.findall(text)
        if word not in FUNCTION_WORDS | _GENERIC and (info := word_info(word)).noun
    }


def _scenes(text: str, loop: bool) -> Finding | None:
    cut, later = _CUT.search(text), _LATER.findall(text)
    if cut or len(later) > _MOST_LATER:
        found = cut.group(0) if cut else ", ".join(repr(word) for word in dict.fromkeys(later))
        return Finding(
            "prompt_several_scenes",
            f"several scenes in one prompt ({found}); a model mixes them up: ask for each and put them in a row",
        )
    if loop and later:
        return Finding(
            "prompt_order_in_a_loop",
            f"{later[0]!r}: a loop has no beginning and no end; describe what goes on all the time",
        )
    return None


def _seen(text: str) -> Finding | None:
    match = _SEEN.search(text)
    if match is None:
        return None
    return Finding("prompt_seen_not_heard", f"{match.group(0)!r} is for the eye; say what is heard")


def _settings(text: str, loop: bool) -> Finding | None:
    length = _LENGTH.search(text)
    if length:
        return Finding(
            "prompt_states_length",
            f"{length.group(0).strip(' .,')!r}: words do not set the length; ask for it by duration_s",
        )
    looped = _LOOPED.search(text)
    if looped and not loop:
        return Finding(
            "prompt_states_loop", f"{looped.group(0)!r}: words do not make a loop; ask for it by loop = true"
        )
    return None
