"""An audio_pool gateway, asked over HTTP with the standard library alone.

Owns: the address and the key, errors in words, a job that is followed and cancelled.
Must not know: ComfyUI.

    AUDIO_POOL_GATEWAY   address, else http://127.0.0.1:8080
    AUDIO_POOL_KEY       where the gateway has keys; no widget, since a picture that ComfyUI saves carries all widgets
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

DEFAULT_ADDRESS = "http://127.0.0.1:8080"
_ASK_S = 30.0
_LOOK_S = 1
"""How often a job is looked at, and whether somebody has interrupted it."""
_FINAL = ("done", "failed", "cancelled", "expired")
# this machine's pool is asked for, or one that is named: no proxy knows either
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class GatewayError(RuntimeError):
    """What came in the way, in words for whoever looks at the node."""


class Gateway:
    """One gateway.

    Args:
        address: e.g. ``http://127.0.0.1:8080``; empty: the environment's, else that one.
    """

    def __init__(self, address: str = "") -> None:
        chosen = address.strip() or os.environ.get("AUDIO_POOL_GATEWAY", "").strip() or DEFAULT_ADDRESS
        if not chosen.startswith(("http://", "https://")):
            raise GatewayError(f"gateway: given {chosen!r}, allowed is an address such as {DEFAULT_ADDRESS}")
        self.address = chosen.rstrip("/")

    def make(
        self,
        fields: Mapping[str, Any],
        *,
        on_progress: Callable[[float], None] = lambda fraction: None,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> tuple[dict[str, Any], bytes] | None:
        """Return what is known of a sound, and its file; None: it was interrupted, and the pool has stopped.

        Args:
            fields: of a request, e.g. ``prompt``, ``duration_s``, ``loop``.
            on_progress: called with 0..1.
            interrupted: asked every second.
        """
        job = self._json("POST", "/v1/sounds", fields, {"prefer": "respond-async"})
        try:
            while job["state"] not in _FINAL:
                if interrupted():
                    self._cancel(job["url"])
                    return None
                on_progress(_fraction(job))
                job = self._json("GET", job["url"], None, {"prefer": f"wait={_LOOK_S}"})
        except BaseException:
            self._cancel(job["url"])
            raise
        if job["state"] != "done":
            error = job["error"] or {"message": f"the job is {job['state']}", "hint": ""}
            raise GatewayError(_told(error["message"], error["hint"]))
        on_progress(1.0)
        return job["sound"], self._bytes(job["url"] + "/audio")

    def search(self, **fields: str) -> list[dict[str, Any]]:
        """Return kept sounds, the best or the newest first."""
        asked = urllib.parse.urlencode({name: value for name, value in fields.items() if value})
        found: list[dict[str, Any]] = self._json("GET", f"/v1/sounds?{asked}")["sounds"]
        return found

    def sound(self, number: int) -> dict[str, Any]:
        """Return what is known of a kept sound."""
        return self._json("GET", f"/v1/sounds/{number}")

    def file(self, number: int) -> bytes:
        """Return a kept sound as a WAV file of 32-bit floats."""
        return self._bytes(f"/v1/sounds/{number}/audio?format=wav&bit_depth=32")

    def _cancel(self, url: str) -> None:
        try:
            self._send("DELETE", url)
        except GatewayError:  # it has just ended, or the gateway has gone: nobody waits for it either way
            pass

    def _bytes(self, path: str) -> bytes:
        return self._send("GET", path, None, {"accept": "audio/wav"})

    def _json(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._send(method, path, body, headers))
        return answer

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        request = urllib.request.Request(self.address + path, method=method, headers=dict(headers or {}))
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("content-type", "application/json")
        key = os.environ.get("AUDIO_POOL_KEY", "").strip()
        if key:
            request.add_header("authorization", f"Bearer {key}")
        try:
            with _OPENER.open(request, timeout=_ASK_S) as response:
                data: bytes = response.read()
                return data
        except urllib.error.HTTPError as exc:
            with exc:
                raise GatewayError(_problem(exc.code, exc.read())) from None
        except OSError as exc:
            reason = getattr(exc, "reason", exc)
            raise GatewayError(
                f"no gateway answers at {self.address} ({reason}). Start one with "
                "'audio-pool serve --http 127.0.0.1:8080', or set the node's gateway or AUDIO_POOL_GATEWAY."
            ) from None


def _fraction(job: Mapping[str, Any]) -> float:
    """How far a job is: making a sound is nearly all of it."""
    progress = job["progress"]
    if not progress:
        return 0.0
    return {"generate": 0.9 * progress["fraction"], "score": 0.92, "master": 0.95}.get(progress["stage"], 0.0)


def _problem(status: int, body: bytes) -> str:
    try:
        told = json.loads(body)
        words = _told(str(told["detail"]), str(told.get("hint", "")))
    except (ValueError, KeyError, TypeError):
        return f"the gateway answered {status}: {body[:200]!r}; is it one of audio_pool?"
    return f"{words} Set AUDIO_POOL_KEY for ComfyUI." if status == 401 else words


def _told(message: str, hint: str) -> str:
    return f"audio_pool: {message}" + (f" ({hint})" if hint else "") + "."
