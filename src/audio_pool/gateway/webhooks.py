"""Webhooks: what came of a sound, job or batch, posted to where its client wanted it, signed and repeated.

Owns: Webhooks: what waits to be delivered, when it is tried again; the signature (Standard Webhooks).
Must not know: routes, which addresses may be called (outside.py), what an event is about.

Kept in memory and bounded: a gateway that ends forgets what it had not delivered. The same request again, under
its Idempotency-Key, has it told again, with the same ``webhook-id``; receivers drop what they have seen.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import logging
import os
import random
import secrets
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
from litestar.params import Parameter
from msgspec import Struct

from audio_pool.config import HttpConfig
from audio_pool.errors import AudioPoolError, InvalidConfig, Refused
from audio_pool.gateway.outside import Outside

__all__ = ["Event", "Sign", "WebhookUrl", "Webhooks", "read_secret", "signature"]

log = logging.getLogger(__name__)

_PREFIX = "whsec_"
_SENDERS = 8
_FIRST_PAUSE_S = 2.0
_LONGEST_PAUSE_S = 1800.0
_SECRET_BYTES = (24, 64)
"""Of a secret, as Standard Webhooks asks."""

WebhookUrl = Annotated[str | None, Parameter(max_length=2048, description="Where its end is posted to.")]
"""The query parameter of routes that take one."""
Sign = Callable[[str, int, bytes], Mapping[str, str]]
"""Headers for an id, the seconds since 1970, and a body."""


class Event(Struct, frozen=True, kw_only=True):
    """What is posted."""

    type: str
    """sound, job or batch, and what became of it: ``job.done``."""
    timestamp: str
    """ISO 8601."""
    data: msgspec.Raw
    """The sound, job or batch, as its own address tells it."""


class _Delivery:
    """One event on its way to one address."""

    def __init__(self, name: str, url: str, body: bytes, sign: Sign) -> None:
        self.name, self.url, self.body, self.sign = name, url, body, sign
        self.attempts = 0


class Webhooks:
    """Of one event loop, which must be running when ``send`` is called."""

    def __init__(self, settings: HttpConfig) -> None:
        self._outside = Outside(settings.webhook_hosts, private=settings.webhook_private)
        self._most = settings.webhook_queue
        self._most_attempts = settings.webhook_attempts
        self._secret = b""
        if settings.webhook_hosts:
            if not settings.webhook_secret_file:
                raise InvalidConfig("http.webhook_secret_file: needed with http.webhook_hosts; a missing file is made")
            self._secret = read_secret(Path(settings.webhook_secret_file).expanduser())
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """By the delivery's name."""
        self._watching: set[asyncio.Task[None]] = set()
        self._sending = asyncio.Semaphore(_SENDERS)
        self.counts = {"delivered": 0, "given_up": 0, "dropped": 0}

    def check(self, field: str, url: str | None) -> str | None:
        """Return an address that a client wants to be told at; None: none. Raises InvalidRequest, Refused."""
        if url is None:
            return None
        if not self._secret:
            raise Refused(f"{field}: this gateway calls nobody", hint="who runs it sets http.webhook_hosts")
        return self._outside.check(field, url)

    def send(self, url: str, kind: str, name: str, data: bytes, *, sign: Sign | None = None) -> bool:
        """Have an event posted, and posted again until it is taken; False: too many wait.

        Args:
            url: that ``check`` has returned.
            kind: the event's type.
            name: of what the event is about; with the type it decides the event's id.
            data: JSON.
            sign: headers in place of Standard Webhooks'; ``data`` is then the whole body.
        """
        identity = hashlib.sha256(f"{kind}\0{name}\0{url}".encode()).hexdigest()[:32]
        key = f"msg_{identity}"
        if key in self._tasks:
            return True
        if len(self._tasks) >= self._most:
            self.counts["dropped"] += 1
            log.warning("%d webhooks wait, as many as may (http.webhook_queue): %s is dropped", self._most, key)
            return False
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        event = Event(type=kind, timestamp=now, data=msgspec.Raw(data))
        body = data if sign is not None else msgspec.json.encode(event)
        task = asyncio.ensure_future(self._deliver(_Delivery(key, url, body, sign or self._signed)))
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._tasks.pop(key, None))
        return True

    def after(self, work: Coroutine[None, None, None]) -> None:
        """Have a coroutine run that waits for something to tell of and calls ``send``; bounded as calls are."""
        if len(self._watching) >= self._most:
            work.close()
            self.counts["dropped"] += 1
            log.warning("%d webhooks wait for something to tell of, as many as may (http.webhook_queue)", self._most)
            return

        async def watch() -> None:
            try:
                await work
            except AudioPoolError as exc:
                log.warning("a webhook has nothing to tell of: %s", exc)

        task = asyncio.ensure_future(watch())
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    @property
    def waiting(self) -> int:
        """Events that are not delivered yet."""
        return len(self._tasks)

    async def close(self) -> None:
        """Forget what was not delivered."""
        tasks = [*self._watching, *self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _signed(self, name: str, at: int, body: bytes) -> Mapping[str, str]:
        told = {"webhook-id": name, "webhook-timestamp": str(at)}
        return {**told, "webhook-signature": signature(self._secret, name, at, body)}

    async def _deliver(self, delivery: _Delivery) -> None:
        while True:
            delivery.attempts += 1
            async with self._sending:
                found = await self._attempt(delivery)
            if found == "":
                self.counts["delivered"] += 1
                return
            if found == "gone" or delivery.attempts >= self._most_attempts:
                self.counts["given_up"] += 1
                log.warning("webhook %s: given up after %d attempts: %s", delivery.name, delivery.attempts, found)
                return
            await asyncio.sleep(_pause_s(delivery.attempts))

    async def _attempt(self, delivery: _Delivery) -> str:
        """Post once; return "" where it was taken, ``gone`` where it never will be, else why not."""
        at = int(time.time())
        try:
            status = await self._outside.post(
                delivery.url, delivery.sign(delivery.name, at, delivery.body), delivery.body
            )
        except OSError as exc:
            return str(exc)
        except Exception as exc:  # whatever a stranger's server makes a library do
            log.exception("webhook %s met a bug", delivery.name)
            return type(exc).__name__
        if 200 <= status < 300:
            return ""
        return "gone" if status == 410 else f"status {status}"


def signature(secret: bytes, name: str, at: int, body: bytes) -> str:
    """Return the header ``webhook-signature`` of Standard Webhooks: HMAC-SHA256 over ``id.timestamp.body``."""
    digest = hmac.new(secret, b"%s.%d.%s" % (name.encode(), at, body), hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def read_secret(file: Path) -> bytes:
    """Return the secret in a file, ``whsec_`` and base64; where there is none, one is made, this user's alone.

    Raises:
        InvalidConfig: others may read the file, or it holds no secret.
    """
    try:
        if not file.exists():
            _make_secret(file)
        with file.open() as there:
            if os.fstat(there.fileno()).st_mode & 0o077:
                raise InvalidConfig(f"http.webhook_secret_file: others may read {file}", hint=f"chmod 600 {file}")
            text = there.read(1000).strip()
        secret = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidConfig(f"http.webhook_secret_file: {file} cannot be read or made: {exc}") from None
    except binascii.Error:
        secret = b""
    least, most = _SECRET_BYTES
    if not text.startswith(_PREFIX) or not least <= len(secret) <= most:
        raise InvalidConfig(
            f"http.webhook_secret_file: {file} holds none; allowed is {_PREFIX} and base64 of {least} to {most} bytes"
        )
    return secret


def _make_secret(file: Path) -> None:
    """Write a secret where there is none: as a whole or not at all, however many gateways start at a time."""
    with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f".{file.name}.") as made:  # mode 0600
        made.write(f"{_PREFIX}{base64.b64encode(secrets.token_bytes(32)).decode()}\n")
        made.flush()
        with contextlib.suppress(FileExistsError):
            os.link(made.name, file)


def _pause_s(attempts: int) -> float:
    return float(min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 4 ** (attempts - 1)) * random.uniform(0.8, 1.2))
