"""What a file's C2PA manifest says, and whether it holds.

Owns: ManifestReport, and reading one.
Must not know: how manifests are made, what is kept in the cache.

A manifest may come from anywhere: what it says is taken as text, and bounded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from audio_pool.errors import InvalidAudio, NotFound
from audio_pool.plain_mapping import PlainMapping
from audio_pool.signing.embedded import MAX_MANIFEST_BYTES, embedded_manifest
from audio_pool.signing.ingredient import SHA256_INSTANCE
from audio_pool.signing.library import context, load
from audio_pool.signing.statement import RECIPE_ASSERTION

__all__ = ["IngredientReport", "ManifestAction", "ManifestReport", "ManifestState", "read_manifest"]

ManifestState = Literal["valid", "untrusted", "invalid"]
"""valid: the file is as it was signed, by somebody trusted. untrusted: it is as it was signed, by somebody whom nobody
here knows. invalid: it was changed since, or the signature is none."""
_UNTRUSTED = "signingCredential.untrusted"
_MOST = 64
_MOST_CHARS = 2_000
_Json = Mapping[str, Any]  # opaque: a stranger's JSON, taken apart field by field


class ManifestAction(PlainMapping, Struct, frozen=True, kw_only=True):
    """One thing that was done to make the sound."""

    action: str
    """C2PA's name, e.g. ``c2pa.created``."""
    source_type: str = ""
    """IPTC's term for how it came to be."""
    software: str = ""
    """Who did it: an engine and its model."""
    when: str = ""


class IngredientReport(PlainMapping, Struct, frozen=True, kw_only=True):
    """What the sound was made of."""

    title: str = ""
    relationship: str = ""
    """``parentOf``: the sound is this one, changed. ``componentOf``: it is a part."""
    manifest: str = ""
    """Label of its own manifest; "": it came without one."""
    sha256: str = ""
    """Of the given file, in hex; "": it is not told."""
    failures: tuple[str, ...] = ()
    """What was wrong with that manifest when it was taken in."""


class ManifestReport(PlainMapping, Struct, frozen=True, kw_only=True):
    """A file's manifest, read and checked against the file."""

    state: ManifestState
    label: str = ""
    title: str = ""
    issuer: str = ""
    """Organisation that the signing certificate names."""
    common_name: str = ""
    serial_number: str = ""
    """Of the certificate, decimal."""
    time: str = ""
    """Of the signature, where an authority confirmed it; "": none did."""
    claim_generator: str = ""
    """Program and version that made the claim."""
    actions: tuple[ManifestAction, ...] = ()
    ingredients: tuple[IngredientReport, ...] = ()
    recipe: dict[str, Any] | None = None  # opaque: as the file says
    """Our own assertion; None: it was not signed by audio_pool."""
    failures: tuple[str, ...] = ()
    """C2PA's codes of what does not hold, e.g. ``assertion.dataHash.mismatch``; the signer being unknown is none."""


def read_manifest(path: Path, *, trust_anchors: str = "") -> ManifestReport | None:
    """Read a file's manifest and check it; nothing is fetched.

    Args:
        trust_anchors: certificates in PEM; who signed under one of them is trusted. "": nobody is.

    Returns:
        None: the file carries no manifest.

    Raises:
        NotFound, StorageError: the file. EngineUnavailable: there is a manifest, and c2pa-python is not installed.
        InvalidAudio: the manifest cannot be read at all.
    """
    try:
        found = embedded_manifest(path)
    except FileNotFoundError:
        raise NotFound(f"{path}: no such file") from None
    except OSError as exc:
        raise InvalidAudio(f"{path}: cannot be read: {exc.strerror}") from exc
    if found is None:
        return None
    if not found.is_readable:
        raise InvalidAudio(
            f"{path}: its manifest has {found.size_bytes:,} bytes, read are at most {MAX_MANIFEST_BYTES:,}"
        )
    c2pa = load("reading a manifest")
    try:
        with path.open("rb") as file, c2pa.Reader(found.media_type, file, context=context(trust_anchors)) as reader:
            tree = json.loads(reader.json())
    except c2pa.C2paError.ManifestNotFound:
        return None
    except (c2pa.C2paError, ValueError) as exc:
        raise InvalidAudio(f"{path}: its manifest cannot be read: {str(exc)[:_MOST_CHARS]}") from exc
    return _report(tree)


def _report(tree: _Json) -> ManifestReport:
    label = _text(tree, "active_manifest")
    manifest = _mapping(_mapping(tree, "manifests"), label)
    signature = _mapping(manifest, "signature_info")
    codes = tuple(dict.fromkeys(_text(one, "code") for one in _mappings(tree, "validation_status")))
    failures = tuple(code for code in codes if code != _UNTRUSTED)
    state: ManifestState = "invalid"
    if _text(tree, "validation_state") in ("Valid", "Trusted"):
        state = "untrusted" if _UNTRUSTED in codes else "valid"
    assertions = list(_mappings(manifest, "assertions"))
    recipe = next((_mapping(one, "data") for one in assertions if _text(one, "label") == RECIPE_ASSERTION), None)
    generator = next(_mappings(manifest, "claim_generator_info"), {})
    return ManifestReport(
        state=state,
        label=label,
        title=_text(manifest, "title"),
        issuer=_text(signature, "issuer"),
        common_name=_text(signature, "common_name"),
        serial_number=_text(signature, "cert_serial_number"),
        time=_text(signature, "time"),
        claim_generator=" ".join(filter(None, (_text(generator, "name"), _text(generator, "version")))),
        actions=tuple(_actions(assertions)),
        ingredients=tuple(map(_ingredient, _mappings(manifest, "ingredients"))),
        recipe=None if recipe is None else dict(recipe),
        failures=failures,
    )


def _actions(assertions: list[_Json]) -> Iterator[ManifestAction]:
    for assertion in assertions:
        if _text(assertion, "label") not in ("c2pa.actions", "c2pa.actions.v2"):
            continue
        for one in _mappings(_mapping(assertion, "data"), "actions"):
            agent = one.get("softwareAgent")
            software = _mapping(one, "softwareAgent")
            yield ManifestAction(
                action=_text(one, "action"),
                source_type=_text(one, "digitalSourceType"),
                software=agent[:_MOST_CHARS]
                if isinstance(agent, str)
                else " ".join(filter(None, (_text(software, "name"), _text(software, "version")))),
                when=_text(one, "when"),
            )


def _ingredient(one: _Json) -> IngredientReport:
    found = _mapping(_mapping(one, "validation_results"), "activeManifest")
    instance = _text(one, "instance_id")
    codes = (_text(failure, "code") for failure in _mappings(found, "failure"))
    return IngredientReport(
        title=_text(one, "title"),
        relationship=_text(one, "relationship"),
        manifest=_text(one, "active_manifest"),
        sha256=instance.removeprefix(SHA256_INSTANCE) if instance.startswith(SHA256_INSTANCE) else "",
        failures=tuple(dict.fromkeys(codes)),
    )


def _text(tree: _Json, key: str) -> str:
    value = tree.get(key)
    return value[:_MOST_CHARS] if isinstance(value, str) else ""


def _mapping(tree: _Json, key: str) -> _Json:
    value = tree.get(key)
    return value if isinstance(value, dict) else {}


def _mappings(tree: _Json, key: str) -> Iterator[_Json]:
    value = tree.get(key)
    yield from (one for one in (value if isinstance(value, list) else [])[:_MOST] if isinstance(one, dict))
