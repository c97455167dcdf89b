"""A given sound, as the manifest of what is made of it names it: with the manifest that it came with, unchanged.

Owns: Ingredient; how one is read from a file.
Must not know: what is made of it.

What a given file's manifest points to elsewhere is not fetched, and one that cannot be read, or is larger than anybody
means it to be, is named by its content hash alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from audio_pool.errors import EngineUnavailable
from audio_pool.signing.carried import GIVEN, GIVEN_TITLE
from audio_pool.signing.embedded import embedded_manifest
from audio_pool.signing.library import context, load

__all__ = ["MAX_ARCHIVE_BYTES", "SHA256_INSTANCE", "Ingredient", "Relationship", "carried_of", "ingredient_of"]

log = logging.getLogger(__name__)

MAX_ARCHIVE_BYTES = 1 << 20
SHA256_INSTANCE = "urn:sha256:"
"""An ingredient's instance, where it is told by its content."""
Relationship = Literal["parentOf", "componentOf"]


class Ingredient(Struct, frozen=True, kw_only=True):
    """What a sound is made of."""

    label: str
    """Within the manifest that names it."""
    title: str
    relationship: Relationship = "parentOf"
    sha256: str = ""
    """Of the given file, in hex; "": not known."""
    archive: bytes = b""
    """Its own manifest and what was found of it, as C2PA keeps ingredients; empty: it came without one."""

    def definition(self) -> dict[str, Any]:  # opaque: the library's JSON
        """Return it as a manifest's definition holds it, where it came without a manifest."""
        told: dict[str, Any] = {"label": self.label, "title": self.title, "relationship": self.relationship}
        if self.sha256:
            told["instance_id"] = f"{SHA256_INSTANCE}{self.sha256}"
        return told


def ingredient_of(
    path: Path, *, label: str, title: str, sha256: str = "", relationship: Relationship = "parentOf"
) -> Ingredient:
    """Return a given file as an ingredient.

    Args:
        label: within the manifest that names it.
        sha256: of the file, in hex; one that has become another meanwhile has no say. "": whatever lies there.

    Raises:
        EngineUnavailable: it has a manifest, and c2pa-python is not installed.
    """
    plain = Ingredient(label=label, title=title, sha256=sha256, relationship=relationship)
    try:
        found = embedded_manifest(path)
        if found is None or (sha256 and _sha256(path) != sha256):
            return plain
    except OSError as exc:
        log.warning("a given sound cannot be looked at for its manifest: %s", exc)
        return plain
    if not found.is_readable:
        log.warning("a given sound's manifest of %d bytes is too large to be carried", found.size_bytes)
        return plain
    c2pa = load("carrying a manifest")
    try:
        with c2pa.Builder(json.dumps({"claim_generator_info": [{"name": "audio_pool"}]}), context()) as builder:
            with path.open("rb") as file:
                builder.add_ingredient(plain.definition(), found.media_type, file)
            archive = io.BytesIO()
            builder.write_ingredient_archive(label, archive)
    except (c2pa.C2paError, OSError) as exc:
        log.warning("a given sound's manifest cannot be carried: %s", str(exc)[:500])
        return plain
    data = archive.getvalue()
    if len(data) > MAX_ARCHIVE_BYTES:
        log.warning("a given sound's manifest comes to %d bytes, which is too large to be carried", len(data))
        return plain
    return Ingredient(label=label, title=title, sha256=sha256, relationship=relationship, archive=data)


def carried_of(path: Path) -> tuple[bytes, tuple[str, ...]]:
    """Return a given file's manifest as an archive, and a warning where it has one that is not carried."""
    try:
        found = embedded_manifest(path)
        archive = ingredient_of(path, label=GIVEN, title=GIVEN_TITLE).archive if found is not None else b""
    except (EngineUnavailable, OSError) as exc:
        return b"", (f"manifest_not_carried: {exc}",)
    lost = found is not None and not archive
    return archive, ("manifest_not_carried: it cannot be read, or is too large",) if lost else ()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
