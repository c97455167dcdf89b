"""The file of the HTTP door's keys: what is known of each, never the key itself.

Owns: HttpKey, how the file is read and written, how a key is made and hashed.
Must not know: requests, what a key's rights come to.

A key is 256 random bits, so its plain SHA-256 can be kept: there is nothing to guess.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from audio_pool.errors import InvalidConfig, NotFound, Refused, StorageError
from audio_pool.types import Name
from audio_pool.validation import parse

__all__ = ["HttpKey", "create_key", "hash_of", "read_keys", "revoke_key"]

_MOST_BYTES = 8 << 20
_PREFIX = "ap_"
"""Shows what a leaked text is."""
Amount = Annotated[int, Meta(ge=0, le=1_000_000)]


class HttpKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of one key. Amounts: 0 is unbounded."""

    name: Name
    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    namespace: Name | None = None
    """The only one that it reads and writes; None: any."""
    operator: bool = False
    """May change and see what is anybody's."""
    rate: Amount = 0
    """Requests a minute; as many at once where none came for a minute."""
    concurrency: Amount = 0
    """Sounds of it that are under way at a time; further ones wait."""
    queue: Amount = 100
    """Sounds of it that wait; beyond it they are answered 429."""
    created_at: float = 0.0
    """Seconds since 1970."""


class _File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    keys: list[HttpKey] = []


def hash_of(key: str) -> str:
    """Return what is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def read_keys(path: Path) -> list[HttpKey]:
    """Return the keys of a file.

    Raises:
        NotFound: there is none.
        Refused: others than its owner can read or change it.
        InvalidConfig: it is not such a file.
    """
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if found.st_uid not in (os.getuid(), 0) or stat.S_IMODE(found.st_mode) & 0o077:
                raise Refused(
                    f"{path} is of user {found.st_uid} with mode {stat.S_IMODE(found.st_mode):04o}; "
                    "allowed is a file that this user alone can read and write",
                    hint=f"chmod 600 {path}",
                )
            written = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"no file of keys at {path}", hint=f"audio-pool keys http create {path}") from None
    except OSError as exc:
        raise StorageError(f"{path} cannot be read: {exc.strerror}") from None
    if len(written) > _MOST_BYTES:
        raise InvalidConfig(f"{path} is larger than {_MOST_BYTES:,} bytes")
    try:
        tree = msgspec.json.decode(written)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidConfig(f"{path} is not JSON: {exc}") from None
    keys = parse(_File, tree, error=InvalidConfig, what=str(path)).keys
    names = [key.name for key in keys]
    if len(set(names)) < len(names):
        raise InvalidConfig(f"{path}: two keys have the same name; names must differ")
    return keys


def create_key(path: Path, wanted: Callable[[str], HttpKey]) -> str:
    """Add a key to a file, which is made where there is none; return the key, which nobody can find out again.

    Args:
        wanted: returns what is to be kept, given the hash.

    Raises:
        Refused: the file has a key of that name.
    """
    key = _PREFIX + secrets.token_urlsafe(32)
    with _changing(path):
        keys = read_keys(path) if path.exists() else []
        made = msgspec.structs.replace(wanted(hash_of(key)), created_at=time.time())
        made = parse(HttpKey, msgspec.to_builtins(made), what="key")
        if any(one.name == made.name for one in keys):
            raise Refused(f"{path} has a key {made.name!r}; revoke it first, or choose another --name")
        _write(path, [*keys, made])
    return key


def revoke_key(path: Path, name: str) -> None:
    """Take a key out of a file. Raises NotFound naming those that are there."""
    with _changing(path):
        keys = read_keys(path)
        left = [key for key in keys if key.name != name]
        if len(left) == len(keys):
            raise NotFound(f"{path} has no key {name!r}; it has {', '.join(key.name for key in keys) or 'none'}")
        _write(path, left)


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[None]:
    """Hold whoever else would change the file off."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise StorageError(f"{path.parent} cannot be written: {exc.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _write(path: Path, keys: list[HttpKey]) -> None:
    """Replace the file at once: whoever reads meanwhile has the old or the new one."""
    text = msgspec.json.format(msgspec.json.encode(_File(keys=keys)))
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(text + b"\n")
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).rename(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as exc:
        raise StorageError(f"{path} cannot be written: {exc.strerror}") from None
