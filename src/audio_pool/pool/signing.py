"""Whether files are signed, and with what: decided when the pool starts, and when it reads its configuration again.

Owns: what ``[provenance]`` comes to on this machine; which formats are signed; what a result says of it. The key is
looked at here and left where it is: workers read it.
Must not know: how files are signed (signing/), requests.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Literal

from msgspec import UNSET, Struct, UnsetType, structs

from audio_pool.config import ProvenanceConfig
from audio_pool.errors import EngineUnavailable, InvalidConfig, InvalidRequest, SigningFailed
from audio_pool.reports import SignatureReport
from audio_pool.results import SoundMetadata
from audio_pool.signing.embedded import SIGNABLE
from audio_pool.signing.library import INSTALL, is_installed
from audio_pool.signing.statement import label_of
from audio_pool.tasks import Seal
from audio_pool.types import Rendition

__all__ = ["UNSIGNED", "Signing", "signature_report", "signing_of"]

log = logging.getLogger(__name__)

_FINGERPRINT_CHARS = 16
"""Enough to tell certificates apart; it stands in the names that kept files are found by."""


class Signing(Struct, frozen=True, kw_only=True):
    """What of a pool's files is signed."""

    mode: Literal["off", "auto", "on"] = "off"
    seal: Seal | None = None
    """None: nothing is."""
    why_not: str = ""
    """``auto``: why nothing can be signed here."""

    def for_file(self, format: str, *, streamed: bool = False, raw: bool = False) -> tuple[Seal | None, str]:
        """Return what a file is signed with, or why it is not; neither where signing is off.

        Args:
            streamed: its samples are sent before there is a whole file.
            raw: its samples are sent, and no file.

        Raises:
            InvalidRequest: all files are to be signed, and this one cannot be.
        """
        if self.mode == "off":
            return None, ""
        why = ""
        if streamed:
            why = "stream: samples that are sent while a sound is made cannot be signed"
        elif raw:
            why = "delivery: samples without a file cannot be signed"
        elif format not in SIGNABLE:
            why = f"format: given {format!r}, which cannot be signed; allowed are {', '.join(SIGNABLE)}"
        if self.mode == "on" and why:
            raise InvalidRequest(why, hint="this pool signs all files (provenance.sign is 'on')")
        return (None, why) if why else (self.seal, self.why_not)


    def sealed(
        self, rendition: Rendition, *, streamed: bool = False, raw: bool = False
    ) -> tuple[Rendition, Seal | None, str]:
        """Return how a file is written that is signed where it can be, with what, or why not; see ``for_file``."""
        seal, why_not = self.for_file(rendition.format, streamed=streamed, raw=raw)
        return (rendition if seal is None else structs.replace(rendition, signed=seal.fingerprint)), seal, why_not


UNSIGNED = Signing()


def signing_of(provenance: ProvenanceConfig) -> Signing:
    """Return what a configuration comes to, with its certificate and key looked at.

    Raises:
        InvalidConfig: all files are to be signed, and none can be.
    """
    if provenance.sign == "off":
        return UNSIGNED
    try:
        return Signing(mode=provenance.sign, seal=_seal(provenance))
    except (SigningFailed, EngineUnavailable) as exc:
        if provenance.sign == "on":
            raise InvalidConfig(f"provenance.sign: given 'on', and {exc.message}", hint=exc.hint) from None
        log.warning("files are not signed: %s", exc.message)
        return Signing(mode="auto", why_not=exc.message)


def _seal(provenance: ProvenanceConfig) -> Seal:
    if not is_installed():
        raise EngineUnavailable("signing needs c2pa-python: not installed", hint=INSTALL)
    from audio_pool.signing.credential import read_credential  # for those who sign

    certificate, private_key = (_absolute(path) for path in (provenance.certificate, provenance.private_key))
    found = read_credential(certificate, private_key, now=time.time())
    return Seal(
        certificate=certificate,
        private_key=private_key,
        fingerprint=found.fingerprint[:_FINGERPRINT_CHARS],
        issuer=found.issuer,
    )


def _absolute(path: str) -> str:
    """Return where a path leads for a worker, too; "" where none is given."""
    return os.path.abspath(os.path.expanduser(path)) if path else ""


def signature_report(
    stored: SoundMetadata, rendition: Rendition, seal: Seal | None, why_not: str
) -> SignatureReport | UnsetType:
    """Return what a result says of its file's signature; UNSET where nobody asked for one.

    Args:
        stored: of the sound.
        seal: what the file is signed with.
        why_not: why it is not.
    """
    if seal is None or not rendition.signed:
        return SignatureReport(why=why_not) if why_not else UNSET
    return SignatureReport(
        signed=True,
        manifest=label_of(stored.prompt, stored.engine, stored.seed, stored.generation_timestamp, rendition),
        issuer=seal.issuer if seal.fingerprint == rendition.signed else "",
        certificate=rendition.signed,
    )
