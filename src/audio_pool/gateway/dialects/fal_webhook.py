"""fal's webhooks: what is posted when a request of its queue has ended, and the signature that its users verify.

Owns: the body, the ED25519 key and its signature, the key set (JWKS) at ``/.well-known/jwks.json``.
Must not know: how a post is sent and repeated (gateway/webhooks.py), what an app answers with (fal.py).

The key is derived from ``http.webhook_secret_file``, so all gateways with that file sign alike.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import UNSET, Struct, UnsetType

from audio_pool.config import HttpConfig
from audio_pool.errors import NotSupported
from audio_pool.gateway.webhooks import Sign, read_secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["FalEvent", "FalSigner"]

_DERIVED = b"audio_pool: fal webhooks, ed25519"


class FalEvent(Struct, frozen=True, kw_only=True):
    """What is posted."""

    request_id: str
    gateway_request_id: str
    status: str
    """OK or ERROR."""
    payload: object | None = None
    """What the app answers with; of an error, its body."""
    error: str | UnsetType = UNSET


class FalSigner:
    """One gateway's key.

    Args:
        settings: of ``[http]``.
    """

    def __init__(self, settings: HttpConfig) -> None:
        self._file = settings.webhook_secret_file if settings.webhook_hosts else ""

    @functools.cached_property
    def _key(self) -> Ed25519PrivateKey:
        try:
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        except ModuleNotFoundError:
            raise NotSupported(
                "fal_webhook: signing needs cryptography, which is not installed", hint="pip install 'audio-pool[http]'"
            ) from None
        secret = read_secret(Path(self._file).expanduser())
        return Ed25519PrivateKey.from_private_bytes(hmac.new(secret, _DERIVED, hashlib.sha256).digest())

    def signing(self, request_id: str, user_id: str) -> Sign:
        """Return what signs the posts about one request. Raises NotSupported."""
        key = self._key

        def sign(name: str, at: int, body: bytes) -> Mapping[str, str]:
            told = "\n".join((request_id, user_id, str(at), hashlib.sha256(body).hexdigest()))
            return {
                "x-fal-webhook-request-id": request_id,
                "x-fal-webhook-user-id": user_id,
                "x-fal-webhook-timestamp": str(at),
                "x-fal-webhook-signature": key.sign(told.encode()).hex(),
            }

        return sign

    def key_set(self) -> dict[str, list[dict[str, str]]]:
        """Return the public key as JWKS; without webhooks there is none."""
        if not self._file:
            return {"keys": []}
        public = self._key.public_key().public_bytes_raw()
        x = base64.urlsafe_b64encode(public).decode().rstrip("=")
        key_id = hashlib.sha256(public).hexdigest()[:16]
        return {"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": key_id, "x": x}]}
