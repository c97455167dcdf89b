"""An object store by keys: S3 and what speaks like it, GCS, Azure, or a folder.

Owns: everything that is said to obstore, its errors as ours, and whether the store is there at all.
Must not know: rows, files of the cache, what the objects are.

While the store is not there nobody waits for it: after one failure every call fails at once, and a thread of its own
asks once a second until it answers. What obstore says goes into the log, without headers or credentials.

Threads: any.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import unquote, urlsplit

from audio_pool.cache.objects.place import ObjectPlace
from audio_pool.errors import EngineUnavailable, InvalidConfig, NotFound, StorageError

__all__ = ["Bucket", "Missing", "Stored", "Unreachable"]

_log = logging.getLogger(__name__)

WHOLE_BELOW = 16 << 20
"""Larger ones go up in parts, and are read back: the tag of such an object is no hash."""
_PART_BYTES = 5 << 20
_BLOCK_BYTES = 1 << 20
_ASK_EVERY_S = 1.0
_LONGEST_MESSAGE = 300


class Unreachable(StorageError):
    """The store does not answer, or answers with errors of its own."""


class Missing(NotFound):
    """There is no such object."""


class Stored(NamedTuple):
    """An object."""

    key: str
    size_bytes: int
    modified_at: float
    """Seconds since 1970, by the store's clock."""


class Bucket:
    """See the module; keys are relative to the prefix."""

    def __init__(self, place: ObjectPlace) -> None:
        """Open it; nothing is asked yet.

        Raises:
            EngineUnavailable: obstore is not installed. InvalidConfig: it takes no such settings.
        """
        self.location = place.url
        self._settings = place.settings
        try:
            import obstore
            import obstore.exceptions
            import obstore.store
        except ImportError as exc:
            raise EngineUnavailable(
                f"the sounds are in {place.url}, and obstore is not installed", hint="pip install 'audio-pool[cluster]'"
            ) from exc
        self._obs, self._errors = obstore, obstore.exceptions
        try:
            self._store = _opened(obstore.store, place)
        except (obstore.exceptions.BaseError, ValueError, TypeError) as exc:
            raise InvalidConfig(f"cache.blobs {place.url!r}: {_first_line(exc)}") from None
        self._lock = threading.Lock()
        self._trouble = ""
        self._asker: threading.Thread | None = None
        self._closed = threading.Event()

    # -- is it there?

    @property
    def trouble(self) -> str:
        """Why nothing is asked of it for now; "" where all is well."""
        return self._trouble

    def close(self) -> None:
        """Ask no more whether it is there again."""
        self._closed.set()

    @contextmanager
    def _speaking(self, doing: str, *, writes: bool = False) -> Iterator[None]:
        """Map what obstore raises; fail at once while the store is not there."""
        if self._trouble and threading.current_thread() is not self._asker:
            raise Unreachable(self._trouble)
        try:
            yield
        except FileNotFoundError:
            if writes:
                raise StorageError(f"{doing}: there is no bucket {self.location}", hint="make it") from None
            raise Missing(f"{doing}: {self.location} has no such object") from None
        except (self._errors.PermissionDeniedError, self._errors.UnauthenticatedError) as exc:
            _log.warning("%s: %s", self.location, _first_line(exc))
            raise StorageError(
                f"{doing}: {self.location} refuses it", hint="check the credentials and what they may do"
            ) from None
        except self._errors.AlreadyExistsError:
            raise
        except (self._errors.BaseError, OSError) as exc:
            raise self._lost(f"{doing}: {self.location} is not there ({_first_line(exc)})") from None

    def _lost(self, why: str) -> Unreachable:
        with self._lock:
            if not self._trouble and not self._closed.is_set():
                _log.error("%s; it is asked again every second", why)
                self._trouble = why
                self._asker = threading.Thread(target=self._ask_until_there, name="audio-pool-bucket", daemon=True)
                self._asker.start()
        return Unreachable(why)

    def _ask_until_there(self) -> None:
        while not self._closed.wait(_ASK_EVERY_S):
            try:
                self._obs.head(self._store, "there-is-no-such-object")
            except FileNotFoundError:
                break
            except Exception:  # whatever it is: the log has told it, and calls that need it fail at once
                continue
            break
        with self._lock:
            self._trouble, self._asker = "", None
        if not self._closed.is_set():
            _log.warning("%s is there again", self.location)

    def probe(self) -> None:
        """Write an object and delete it. Raises StorageError."""
        key = f"trials/{os.getpid()}-{threading.get_ident()}"
        with self._speaking("trying the object store", writes=True):
            self._obs.put(self._store, key, b"trial")
            self._obs.delete(self._store, key)

    # -- objects

    def put(self, key: str, source: Path, sha256: str) -> bool:
        """Store a file's bytes under the key that stands for them; an object that has them stays.

        Returns:
            True where it was there already: whoever finds no row for it may be about to put it aside.

        Raises:
            StorageError: the file does not hold these bytes; or as everything here. OSError: it cannot be read.
        """
        size = source.stat().st_size
        if size >= WHOLE_BELOW:
            return self._put_parts(key, source, size, sha256)
        data = source.read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise StorageError(f"{source} has changed while it was being kept")
        with self._speaking("storing a sound", writes=True):
            try:
                self._obs.put(self._store, key, data, mode="create", use_multipart=False)
                return False
            except self._errors.AlreadyExistsError:
                if self._obs.head(self._store, key)["size"] != len(data):  # these are its bytes, whatever lies there
                    self._obs.put(self._store, key, data, use_multipart=False)
                    return False
                return True

    def _put_parts(self, key: str, source: Path, size: int, sha256: str) -> bool:
        with self._speaking("storing a sound", writes=True):
            try:
                if self._obs.head(self._store, key)["size"] == size:
                    return True
            except FileNotFoundError:
                pass
            with source.open("rb") as file:
                self._obs.put(self._store, key, file, use_multipart=True, chunk_size=_PART_BYTES, max_concurrency=4)
        found = hashlib.sha256()
        for block in self._blocks(key, None):
            found.update(block)
        if found.hexdigest() != sha256:
            self.delete([key])
            raise StorageError(f"{self.location} has not stored {source.name} as it was sent")
        return False

    def fetch(self, key: str, into: BinaryIO, within_s: float) -> str:
        """Write an object's bytes to a file; return their SHA-256 in hex.

        Raises:
            Missing; Unreachable: it did not come, or not in time.
        """
        digest = hashlib.sha256()
        for block in self._blocks(key, time.monotonic() + within_s):
            digest.update(block)
            into.write(block)
        return digest.hexdigest()

    def _blocks(self, key: str, until: float | None) -> Iterator[bytes]:
        with self._speaking("fetching a sound"):
            found = self._obs.get(self._store, key)
            size, read = int(found.meta["size"]), 0
            for block in found.stream(min_chunk_size=_BLOCK_BYTES):
                data = bytes(block)
                read += len(data)
                yield data
                if until is not None and time.monotonic() > until:
                    raise Unreachable(f"{self.location} is slow: {read:,} of {size:,} bytes came in time")
            if read != size:
                raise OSError(f"{read:,} bytes came of {size:,}")

    def read(self, key: str) -> bytes:
        """Return a small object. Raises Missing, StorageError."""
        return b"".join(self._blocks(key, time.monotonic() + self._settings.fetch_s))

    def write(self, key: str, data: bytes, *, once: bool = False) -> bool:
        """Write a small object; with ``once`` only where there is none: False."""
        with self._speaking("writing to the object store", writes=True):
            try:
                self._obs.put(self._store, key, data, mode="create" if once else "overwrite", use_multipart=False)
            except self._errors.AlreadyExistsError:
                return False
            return True

    def look(self, key: str) -> Stored | None:
        """Return what is known of an object; None where there is none."""
        try:
            with self._speaking("looking for an object"):
                return _stored(self._obs.head(self._store, key))
        except Missing:
            return None

    def list(self, prefix: str) -> Iterator[Stored]:
        """Yield every object whose key begins with a folder's name."""
        with self._speaking("listing objects"):
            for batch in self._obs.list(self._store, prefix):
                for one in batch:
                    yield _stored(one)

    def copy(self, key: str, to: str) -> None:
        """Copy an object within the store; one that is there is replaced. Raises Missing, StorageError."""
        with self._speaking("copying an object"):
            self._obs.copy(self._store, key, to)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; one that is not there is passed over."""
        for key in keys:
            try:
                with self._speaking("deleting an object"):
                    self._obs.delete(self._store, key)
            except Missing:
                continue


def _stored(found: Mapping[str, Any]) -> Stored:  # Any: obstore's
    return Stored(found["path"], int(found["size"]), found["last_modified"].timestamp())


def _opened(stores: Any, place: ObjectPlace) -> Any:  # Any: obstore has its own types
    settings, parts = place.settings, urlsplit(place.url)
    if parts.scheme == "file":
        folder = Path(unquote(parts.path))
        folder.mkdir(parents=True, exist_ok=True)
        return stores.LocalStore(folder)
    config = _credentials(settings.credentials_file)
    if settings.endpoint:
        config |= {"endpoint": settings.endpoint} if parts.scheme != "gs" else {"base_url": settings.endpoint}
    if parts.scheme == "s3":
        config["virtual_hosted_style_request"] = str(settings.virtual_hosted).lower()
        if settings.region or not (os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")):
            config["region"] = settings.region or "us-east-1"
    return stores.from_url(
        place.url,
        config=config,
        client_options={
            "allow_http": settings.allow_http or os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true"),
            "connect_timeout": timedelta(seconds=settings.connect_timeout_s),
            "read_timeout": timedelta(seconds=settings.read_timeout_s),
            "timeout": timedelta(hours=1),  # of a whole sound: it is silence that must not last
        },
        retry_config={
            "max_retries": settings.retries,
            "retry_timeout": timedelta(seconds=settings.retry_s),
            "backoff": {
                "init_backoff": timedelta(milliseconds=50),
                "max_backoff": timedelta(milliseconds=500),
                "base": 2.0,
            },
        },
    )


def _credentials(path: str) -> dict[str, str]:
    """Return what a file of credentials says; messages name the file and never what is in it."""
    if not path:
        return {}
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise InvalidConfig(f"cache.objects.credentials_file {path} can be read by others: chmod 600 {path}")
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError):
        raise InvalidConfig(f"cache.objects.credentials_file {path} cannot be read") from None
    found = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text and not text.startswith(("#", "[")):
            name, equals, value = text.partition("=")
            if not equals:
                raise InvalidConfig(f"cache.objects.credentials_file {path}, line {number}: allowed is name = value")
            found[name.strip().lower()] = value.strip()
    return found


def _first_line(exc: BaseException) -> str:
    text = (str(exc) or type(exc).__name__).strip().splitlines()[0]
    return text[:_LONGEST_MESSAGE]
