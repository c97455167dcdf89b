"""A model hub on the loopback interface: enough of its protocol for the hub library to fetch from it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" * 6 + "c0ff"
LFS_BYTES = 1 << 20


class Hub:
    """What the hub holds and how it behaves; tests change it while it serves."""

    def __init__(self) -> None:
        self.models: dict[str, dict[str, bytes]] = {}
        self.licences: dict[str, str] = {}
        self.refusals: dict[str, tuple[int, str]] = {}
        """Model -> (status, X-Error-Code)."""
        self.stall_after: int | None = None
        """Bytes of a large file after which the server falls silent."""
        self.stalled = threading.Event()
        self.released = threading.Event()
        self.asked: list[tuple[str, int]] = []
        """(file, first byte) of every body asked for."""
        self.tokens: set[str] = set()
        self.url = ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        hub = self.hub
        hub.tokens.add(self.headers.get("Authorization", ""))
        path = unquote(urlsplit(self.path).path)
        api = path.startswith("/api/models/")
        repo = "/".join(path.removeprefix("/api/models").strip("/").split("/")[:2])
        if repo in hub.refusals and (api is False or hub.refusals[repo][1] != "GatedRepo"):
            self._refuse(*hub.refusals[repo])
        elif repo not in hub.models:
            self._refuse(404, "RepoNotFound")
        elif api and "/revision/" in path and path.rsplit("/", 1)[1] not in ("main", COMMIT):
            self._refuse(404, "RevisionNotFound")
        elif api:
            entries = [_entry(name, data) for name, data in sorted(hub.models[repo].items())]
            if "/tree/" in path:
                told: object = [{"type": "file", "path": entry["rfilename"], "oid": entry["blobId"], **entry}
                                for entry in entries]  # fmt: skip
            else:
                told = {"id": repo, "sha": COMMIT, "siblings": entries, "private": False, "tags": [],
                        "cardData": {"license": hub.licences.get(repo, "mit")}}  # fmt: skip
            self._send(200, json.dumps(told).encode(), {"Content-Type": "application/json"}, body)
        else:
            name = path.split(f"/resolve/{COMMIT}/", 1)[-1]
            if name not in hub.models[repo]:
                self._refuse(404, "EntryNotFound")
            else:
                self._send_file(name, hub.models[repo][name], body)

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": "refused"}, True)

    def _send_file(self, name: str, data: bytes, body: bool) -> None:
        first = int((self.headers.get("Range") or "bytes=0-").split("=")[1].split("-")[0])
        entry = _entry(name, data)
        lfs = entry.get("lfs")
        etag = lfs["sha256"] if isinstance(lfs, dict) else entry["blobId"]
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        if body:
            self.hub.asked.append((name, first))
        self._send(206 if first else 200, data[first:], headers, body)

    def _send(self, status: int, data: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if not body or self.command == "HEAD":
            return
        stall = self.hub.stall_after
        try:
            if stall is not None and len(data) > stall:
                self.wfile.write(data[:stall])
                self.wfile.flush()
                self.hub.stalled.set()
                self.hub.released.wait(60)
                self.close_connection = True
                return
            self.wfile.write(data)
        except OSError:
            self.close_connection = True


def _entry(name: str, data: bytes) -> dict[str, object]:
    entry: dict[str, object] = {
        "rfilename": name,
        "size": len(data),
        "blobId": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
    }
    if len(data) >= LFS_BYTES:
        digest = hashlib.sha256(data).hexdigest()
        entry["lfs"] = {"sha256": digest, "oid": digest, "size": len(data), "pointerSize": 134}
    return entry


@contextmanager
def serving() -> Iterator[Hub]:
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.released.set()
        server.shutdown()
        server.server_close()
        thread.join(10)
