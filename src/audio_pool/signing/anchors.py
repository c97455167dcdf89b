"""Who signs files here, for whoever checks a signature.

Owns: the certificates that count, and how the signer's own is told from others'.
Must not know: the private key, what is signed.

Others may be certified by the same authority: a manifest is ours only if it was signed by the very certificate.
"""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

__all__ = ["NOBODY", "Anchors", "anchors_in"]

_MOST_BYTES = 1 << 20


class Anchors(NamedTuple):
    """A chain of certificates."""

    pem: str = ""
    serial_number: str = ""
    """Of the signer's own, decimal; "": there is none, or it cannot be told."""


NOBODY = Anchors()


def anchors_in(certificate: str) -> Anchors:
    """Return the chain of a PEM file; none where no file is named, or it cannot be read."""
    if not certificate:
        return NOBODY
    try:
        handle = os.open(certificate, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return NOBODY
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return NOBODY
        data = os.read(handle, _MOST_BYTES)
    except OSError:
        return NOBODY
    finally:
        os.close(handle)
    try:
        from cryptography import x509

        chain = x509.load_pem_x509_certificates(data)
        return Anchors(data.decode("ascii"), str(chain[0].serial_number))
    except (ImportError, ValueError):  # without the extra c2pa no manifest is read either
        return NOBODY
