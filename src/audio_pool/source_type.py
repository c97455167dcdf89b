"""IPTC's word for how a sound came to be, which C2PA uses, too (cv.iptc.org/newscodes/digitalsourcetype).

Owns: ``digital_source_type``, ``source_type_of_mix``.
Must not know: any engine.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["digital_source_type", "source_type_of_mix"]

_TERMS = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_COMPOSITE = "compositeSynthetic"


def digital_source_type(implementation: str, model: str, *, given: bool = False) -> str:
    """Return the term for a sound; "" of one that nobody here made.

    Args:
        implementation: of the engine that made it; one without a trained model names itself as its ``model``.
        given: it was made of a sound that was given: changed in part, continued, or like it.
    """
    if implementation in ("", "imported"):
        return ""
    trained = model != implementation
    if given:
        return _TERMS + ("compositeWithTrainedAlgorithmicMedia" if trained else _COMPOSITE)
    return _TERMS + ("trainedAlgorithmicMedia" if trained else "algorithmicMedia")


def source_type_of_mix(types: Iterable[str]) -> str:
    """Return the term for several sounds made into one: theirs where it is one; "" where none of them has any."""
    every = set(types)
    if len(every) == 1:
        return every.pop()
    return _TERMS + _COMPOSITE if every else ""
