"""c2pa-python, loaded when it is needed: 53 MB that most processes never touch.

Owns: what is said where it is missing, and that it never reaches for the network.
Must not know: what is signed or read.
"""

from __future__ import annotations

import importlib.util
import json
from typing import Any

from audio_pool.errors import EngineUnavailable

__all__ = ["INSTALL", "context", "is_installed", "load"]

INSTALL = "pip install 'audio-pool[c2pa]'"
_LIBRARIES = ("c2pa", "cryptography")


def is_installed() -> bool:
    """Return whether files can be signed and manifests read here; nothing is loaded."""
    return all(importlib.util.find_spec(name) is not None for name in _LIBRARIES)


def load(doing: str) -> Any:  # opaque: a library without types
    """Return the module ``c2pa``.

    Args:
        doing: what it is needed for, as the error says it.

    Raises:
        EngineUnavailable: it is not installed.
    """
    try:
        import c2pa
    except ImportError as exc:
        raise EngineUnavailable(f"{doing} needs c2pa-python: not installed ({exc})", hint=INSTALL) from None
    return c2pa


def context(trust_anchors: str = "") -> Any:  # opaque: the library's own
    """Return the settings of one reading or signing: nothing is fetched, whatever a manifest points to.

    Args:
        trust_anchors: certificates in PEM whose signatures count as trusted, beside none.
    """
    settings: dict[str, Any] = {
        "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_after_sign": False},
        "builder": {"thumbnail": {"enabled": False}},
    }
    if trust_anchors:
        settings["trust"] = {"trust_anchors": trust_anchors}
    return load("signing").Context.from_json(json.dumps(settings))
