"""IPTC's word for how a sound came to be, which C2PA uses, too (cv.iptc.org/newscodes/digitalsourcetype).

Owns: ``digital_source_type``.
Must not know: any engine.
"""

from __future__ import annotations

__all__ = ["digital_source_type"]

_TERMS = "http://cv.iptc.org/newscodes/digitalsourcetype/"


def digital_source_type(implementation: str, model: str) -> str:
    """Return the term for a sound; "" of one that nobody here made.

    Args:
        implementation: of the engine that made it; one without a trained model names itself as its ``model``.
    """
    if implementation in ("", "imported"):
        return ""
    return _TERMS + ("algorithmicMedia" if model == implementation else "trainedAlgorithmicMedia")
