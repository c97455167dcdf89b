"""A chain of one's own to sign with, and what c2pa-python's own Reader says of a file."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from audio_pool.config import ProvenanceConfig
from audio_pool.signing.embedded import SIGNABLE
from audio_pool.signing.own_chain import OwnChain, make_own_chain

__all__ = ["by_the_reader", "own_chain", "signing"]


def own_chain(folder: Path, organisation: str = "A studio") -> OwnChain:
    return make_own_chain(folder, organisation, days=30, now=time.time())


def signing(chain: OwnChain, sign: str = "on") -> ProvenanceConfig:
    """The section that has files signed by it."""
    return ProvenanceConfig(
        sign=sign,  # type: ignore[arg-type]
        certificate=str(chain.certificate),
        private_key=str(chain.private_key),
    )


def by_the_reader(path: Path, anchors: str = "") -> dict[str, Any]:
    import c2pa

    settings: dict[str, Any] = {"verify": {"remote_manifest_fetch": False}}
    if anchors:
        settings["trust"] = {"trust_anchors": anchors}
    context = c2pa.Context.from_dict(settings)
    with path.open("rb") as file, c2pa.Reader(SIGNABLE[path.suffix[1:]], file, context=context) as reader:
        found: dict[str, Any] = json.loads(reader.json())
    return found
