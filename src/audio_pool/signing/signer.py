"""Files signed: the last thing that is done to one, in the worker that wrote it.

Owns: ``sign``: how a signature is put into a file that is complete, and that nothing half-signed is left.
Must not know: what is stated, where keys are configured.

The samples and every chunk stay as they are, byte by byte: a WAV gets one more chunk behind all others, an MP3 or FLAC
an ID3v2 tag before everything. The key's file is read for each signature: taken away, it signs nothing more.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from audio_pool.audio.storing import storing
from audio_pool.errors import EngineUnavailable, InvalidAudio, SigningFailed
from audio_pool.signing.credential import Credential, read_credential
from audio_pool.signing.embedded import SIGNABLE
from audio_pool.signing.ingredient import Ingredient
from audio_pool.signing.library import context, load
from audio_pool.tasks import Seal

__all__ = ["credential_of", "sign"]


def credential_of(seal: Seal) -> Credential:
    """Read the certificate and the key that a seal names, as they are now.

    Raises:
        SigningFailed: they cannot sign, or are others than the pool has reckoned with.
    """
    try:
        credential = read_credential(seal.certificate, seal.private_key, now=time.time())
    except EngineUnavailable as exc:
        raise SigningFailed(exc.message, hint=exc.hint) from None
    if not credential.fingerprint.startswith(seal.fingerprint):
        raise SigningFailed(
            f"certificate: {seal.certificate} is another than the pool knows",
            hint="have the server read its configuration again (SIGHUP), and ask once more",
        )
    return credential


def sign(
    path: Path,
    format: str,
    stated: Mapping[str, Any],  # opaque: the library's JSON
    seal: Seal,
    ingredients: Sequence[Ingredient] = (),
) -> None:
    """Put a signature into a complete file, in one step; an error leaves no file.

    Args:
        format: one of ``SIGNABLE``.
        stated: the manifest's definition.
        ingredients: what it says that the sound was made of.

    Raises:
        SigningFailed: the key or the library will not. StorageError: the disk is full.
    """
    beside = path.with_name(f"{path.name}.signed")
    try:
        with storing(beside):
            _sign(path, beside, SIGNABLE[format], stated, credential_of(seal), ingredients)
            os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):  # unsigned, it must reach nobody
            path.unlink()
        raise


def _sign(
    source: Path,
    target: Path,
    media_type: str,
    stated: Mapping[str, Any],  # opaque: the library's JSON
    credential: Credential,
    ingredients: Sequence[Ingredient],
) -> None:
    try:
        c2pa = load("signing")
    except EngineUnavailable as exc:
        raise SigningFailed(exc.message, hint=exc.hint) from None
    plain = [one.definition() for one in ingredients if not one.archive]
    definition = {**stated, "ingredients": plain} if plain else stated
    algorithm = getattr(c2pa.C2paSigningAlg, credential.algorithm)
    with source.open("rb") as read, target.open("w+b", buffering=0) as file:
        written = _Recorder(file)
        try:
            info = c2pa.C2paSignerInfo(algorithm, credential.chain, credential.key, None)
            with (
                context() as settings,
                c2pa.Builder(json.dumps(definition), settings) as builder,
                c2pa.Signer.from_info(info) as signer,
            ):
                for one in ingredients:
                    if one.archive:
                        builder.add_ingredient_from_archive(io.BytesIO(one.archive))
                builder.sign(signer, media_type, read, written)
        except c2pa.C2paError.NotSupported as exc:
            raise InvalidAudio(f"{source.name} cannot be signed: {exc}") from exc
        except c2pa.C2paError as exc:
            if written.error is None:
                raise SigningFailed(f"the file could not be signed: {exc}") from exc
        if written.error is not None:
            raise written.error
        os.fsync(file.fileno())


class _Recorder:
    """A file that records why it took no more: the library says no more than that it did not."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None
        self.read, self.seek, self.tell, self.flush = file.read, file.seek, file.tell, file.flush

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as exc:
            self.error = exc
            raise
        return len(data)
