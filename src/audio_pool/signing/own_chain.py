"""A chain of one's own: an authority and a certificate of it that may sign, for who has none of a known authority.

Owns: making both, and writing them so that only their owner reads the key.
Must not know: what is signed.

Readers say of such a signature that it holds, and that they do not know the signer, unless they are given the
authority's certificate. The authority's key is thrown away: nobody can issue more in its name.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from pathlib import Path
from typing import Any

from msgspec import Struct

from audio_pool.errors import Conflict, EngineUnavailable, StorageError
from audio_pool.signing.library import INSTALL

__all__ = ["OwnChain", "make_own_chain"]

_CERTIFICATE, _KEY, _AUTHORITY = "certificate.pem", "private_key.pem", "authority.pem"
_EARLIER_S = 300.0
"""Clocks differ."""


class OwnChain(Struct, frozen=True, kw_only=True):
    """Where the files lie."""

    certificate: Path
    private_key: Path
    authority: Path
    """What readers are to trust."""
    not_after: float
    """Seconds since 1970."""


def make_own_chain(folder: Path, organisation: str, *, days: int, now: float) -> OwnChain:
    """Make an authority, a certificate and its key, and write them to ``folder``.

    Args:
        days: how long it may sign.
        now: seconds since 1970.

    Raises:
        Conflict: files are there already. StorageError: the folder takes none. EngineUnavailable: cryptography is not
            installed.
    """
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        raise EngineUnavailable("making a certificate needs cryptography: not installed", hint=INSTALL) from None
    ends = now + days * 86_400.0
    made = OwnChain(
        certificate=folder / _CERTIFICATE,
        private_key=folder / _KEY,
        authority=folder / _AUTHORITY,
        not_after=ends,
    )
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    between = _moment(now - _EARLIER_S), _moment(ends)
    authority = _authority(organisation, authority_key, between)
    leaf = _leaf(organisation, key, authority_key, between)
    pem = [one.public_bytes(serialization.Encoding.PEM) for one in (leaf, authority)]
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    written: list[Path] = []
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, data, mode in (
            (made.private_key, private, 0o600),
            (made.certificate, b"".join(pem), 0o644),
            (made.authority, pem[1], 0o644),
        ):
            _write_new(path, data, mode)
            written.append(path)
    except OSError as exc:
        for path in written:
            with contextlib.suppress(OSError):
                path.unlink()
        if isinstance(exc, FileExistsError):
            raise Conflict(f"{exc.filename} is there already", hint="name another folder, or move it away") from None
        raise StorageError(f"{folder} takes no files: {exc.strerror}") from exc
    return made


def _write_new(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _moment(when: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(when, datetime.UTC)


def _authority(organisation: str, key: Any, between: tuple[datetime.datetime, datetime.datetime]) -> Any:
    # opaque: keys and certificates of cryptography's
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    name = _name(organisation, "authority")
    return (
        x509.CertificateBuilder(
            name, name, key.public_key(), x509.random_serial_number(), between[0], between[1]
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_files=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _leaf(organisation: str, key: Any, authority_key: Any, between: tuple[datetime.datetime, datetime.datetime]) -> Any:
    # opaque: keys and certificates of cryptography's
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID

    issuer, name = _name(organisation, "authority"), _name(organisation, "sound files")
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    return (
        x509.CertificateBuilder(
            issuer, name, key.public_key(), x509.random_serial_number(), between[0], between[1]
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_files=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(above, critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _name(organisation: str, common: str) -> Any:  # opaque: a name of cryptography's
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{organisation[:40]} {common}"),
        ]
    )


def _usage(*, signs_files: bool) -> Any:  # opaque: an extension of cryptography's
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=signs_files,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=not signs_files,
        crl_sign=not signs_files,
        encipher_only=False,
        decipher_only=False,
    )
