"""A certificate and its private key: read, and held to what C2PA asks of those who sign.

Owns: which files are refused, and why; what is told of a certificate.
Must not know: what is signed, where the paths come from. The key never leaves this process, and no message holds it.

C2PA's certificate profile (specification, "Certificate profiles"): a version 3 end certificate, allowed to sign
(KeyUsage digitalSignature), for a purpose that is known (EKU emailProtection, documentSigning or c2pa-kp-claimSigning),
with an organisation, followed by those that it comes from.
"""

from __future__ import annotations

import datetime
import hashlib
import itertools
import os
import stat
from pathlib import Path
from typing import Any

from msgspec import Struct

from audio_pool.errors import EngineUnavailable, SigningFailed
from audio_pool.signing.library import INSTALL

__all__ = ["Credential", "read_credential"]

_MOST_BYTES = 1 << 20
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_PURPOSES = {
    "1.3.6.1.5.5.7.3.4": "emailProtection",
    "1.3.6.1.5.5.7.3.36": "documentSigning",
    "1.3.6.1.4.1.62558.2.1": "c2pa-kp-claimSigning",
}
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_LEAST_RSA_BITS = 2048
_HINT = "'audio-pool provenance init' makes a pair; provenance.certificate and provenance.private_key name it"


class Credential(Struct, frozen=True, kw_only=True):
    """What files are signed with."""

    chain: bytes
    """Certificates in PEM, the signer's first."""
    key: bytes
    """PKCS #8, PEM."""
    algorithm: str
    """C2PA's name, e.g. ``ES256``."""
    fingerprint: str
    """SHA-256 of the signer's certificate, in hex."""
    issuer: str
    """Organisation that it names."""
    not_after: float
    """Seconds since 1970."""

    def __repr__(self) -> str:
        return f"Credential(fingerprint={self.fingerprint!r}, issuer={self.issuer!r})"

    __str__ = __repr__


def read_credential(certificate: str, private_key: str, *, now: float) -> Credential:
    """Read and check both files.

    Args:
        certificate, private_key: paths of PEM files.
        now: seconds since 1970.

    Raises:
        SigningFailed: naming the file, what is wrong with it and what is allowed. EngineUnavailable: cryptography is
            not installed.
    """
    try:
        from cryptography import x509
        from cryptography.exceptions import UnsupportedAlgorithm
    except ImportError:
        raise EngineUnavailable("signing needs cryptography: not installed", hint=INSTALL) from None
    chain = _read(certificate, "certificate", private=False)
    pem = _read(private_key, "private_key", private=True)
    try:
        certificates = x509.load_pem_x509_certificates(chain)
    except (ValueError, UnsupportedAlgorithm):
        raise SigningFailed(f"certificate: {certificate} holds no certificates in PEM", hint=_HINT) from None
    leaf = certificates[0]
    key, algorithm = _key(pem, private_key)
    if key.public_key() != leaf.public_key():
        raise SigningFailed(
            f"private_key: {private_key} is not the key of the first certificate in {certificate}",
            hint="the signer's own certificate comes first in the chain",
        )
    _check_times(leaf, certificate, now)
    _check_purpose(leaf, certificate)
    _check_chain(certificates, certificate)
    from cryptography.hazmat.primitives import serialization

    return Credential(
        chain=b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates),
        key=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        algorithm=algorithm,
        fingerprint=hashlib.sha256(leaf.public_bytes(serialization.Encoding.DER)).hexdigest(),
        issuer=_organisation(leaf, certificate),
        not_after=leaf.not_valid_after_utc.timestamp(),
    )


def _read(path: str, name: str, *, private: bool) -> bytes:
    """Read a file of bounded size; a private one only its owner may read."""
    if not path:
        raise SigningFailed(f"{name}: none is given", hint=_HINT)
    try:
        descriptor = os.open(Path(path).expanduser(), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise SigningFailed(f"{name}: {path} is not a regular file")
            if private and found.st_mode & _OTHERS:
                mode = stat.S_IMODE(found.st_mode)
                raise SigningFailed(
                    f"{name}: {path} can be read by others than its owner (mode {mode:04o}), allowed is 0600 or 0400",
                    hint=f"chmod 600 {path}",
                )
            if found.st_size > _MOST_BYTES:
                raise SigningFailed(f"{name}: {path} has {found.st_size:,} bytes, allowed are {_MOST_BYTES:,}")
            return os.read(descriptor, _MOST_BYTES)
        finally:
            os.close(descriptor)
    except OSError as exc:
        raise SigningFailed(f"{name}: {path} cannot be read: {exc.strerror}", hint=_HINT) from None


def _key(pem: bytes, path: str) -> tuple[Any, str]:  # opaque: a key of cryptography's
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError:
        raise SigningFailed(f"private_key: {path} is encrypted, allowed is one without a passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise SigningFailed(f"private_key: {path} holds no private key in PEM", hint=_HINT) from None
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return key, _CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key, "ED25519"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _LEAST_RSA_BITS:
        return key, "PS256"
    raise SigningFailed(
        f"private_key: {path} is of another kind, allowed are P-256, P-384, P-521, Ed25519, RSA of 2,048 bits or more"
    )


def _check_times(leaf: Any, path: str, now: float) -> None:  # opaque: a certificate of cryptography's
    begins, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if now > ends.timestamp():
        told = f"certificate: {path} expired at {_day(ends)}"
        raise SigningFailed(told, hint="get another, and have the server read its configuration again (SIGHUP)")
    if now < begins.timestamp():
        told = f"certificate: {path} is valid from {_day(begins)} on"
        raise SigningFailed(told, hint="is this machine's clock right?")


def _check_purpose(leaf: Any, path: str) -> None:  # opaque: a certificate of cryptography's
    from cryptography import x509

    def extension(kind: Any) -> Any:  # opaque: an extension of cryptography's
        try:
            return leaf.extensions.get_extension_for_class(kind).value
        except x509.ExtensionNotFound:
            return None

    basic, usage = extension(x509.BasicConstraints), extension(x509.KeyUsage)
    purposes = extension(x509.ExtendedKeyUsage)
    if basic is not None and basic.ca:
        raise SigningFailed(
            f"certificate: {path} begins with an authority's certificate", hint="the signer's own comes first"
        )
    if usage is None or not usage.digital_signature:
        raise SigningFailed(f"certificate: {path} may not sign: KeyUsage lacks digitalSignature")
    found = () if purposes is None else tuple(one.dotted_string for one in purposes)
    if not set(found) & set(_PURPOSES):
        raise SigningFailed(
            f"certificate: {path} is for {', '.join(found) or 'no purpose that it names'}, "
            f"allowed are {', '.join(_PURPOSES.values())} (ExtendedKeyUsage)"
        )
    if extension(x509.AuthorityKeyIdentifier) is None:
        raise SigningFailed(f"certificate: {path} lacks the AuthorityKeyIdentifier that C2PA asks for")


def _check_chain(certificates: list[Any], path: str) -> None:  # opaque: certificates of cryptography's
    """Each must come from the next."""
    for number, (one, above) in enumerate(itertools.pairwise(certificates), 1):
        try:
            one.verify_directly_issued_by(above)
        except Exception:  # its kinds differ by the key's
            raise SigningFailed(
                f"certificate: {path}: certificate {number} was not issued by the one behind it",
                hint="the signer's own comes first, each followed by the one that issued it",
            ) from None


def _organisation(leaf: Any, path: str) -> str:  # opaque: a certificate of cryptography's
    from cryptography.x509.oid import NameOID

    found = leaf.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    if not found:
        raise SigningFailed(f"certificate: {path} names no organisation (O), which C2PA asks for")
    return str(found[0].value)


def _day(when: datetime.datetime) -> str:
    return when.strftime("%Y-%m-%d %H:%M UTC")
