"""``/`` and ``/console/NAME``: the page on which people make, hear and find sounds.

Owns: the page's files as they go out, and the rules that a browser keeps for them.
Must not know: what the page does; it asks the same routes as any other client.

The files lie in the folder ``console`` and are sent as they are written: there is no build. They are read once, and
a browser that has them is told so by their ETag. They need no key, as nothing of anybody's is in them.
"""

from __future__ import annotations

import gzip
from pathlib import Path

from litestar import HttpMethod, Router, route

from audio_pool.errors import NotFound
from audio_pool.gateway.audio_response import AudioFile, AudioResponse, Header
from audio_pool.gateway.door import Door
from audio_pool.gateway.http_request import HttpRequest, header_of

__all__ = ["CONTENT_SECURITY_POLICY", "FOLDER", "router"]

FOLDER = Path(__file__).with_name("console")
_PAGE = "index.html"
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""What a file of the page may be; others in the folder are not handed out."""
CONTENT_SECURITY_POLICY = "; ".join((
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' blob:",
    "media-src blob:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
))  # fmt: skip
"""Nothing from elsewhere, nothing written into the page as text, no frame around it."""
_HEADERS: tuple[Header, ...] = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"vary", b"accept-encoding"),
)
_PACKED: tuple[Header, ...] = (*_HEADERS, (b"content-encoding", b"gzip"))
_OPT = {"public": True, "undocumented": True}


class _File:
    """A file of the page, as it is and packed."""

    def __init__(self, path: Path) -> None:
        data, media_type = path.read_bytes(), _MEDIA_TYPES[path.suffix]
        packed = gzip.compress(data, mtime=0)
        self.plain = AudioFile(data, media_type=media_type)
        self.packed = AudioFile(packed, media_type=media_type) if len(packed) < len(data) else None

    def answer(self, encodings: str) -> AudioResponse:
        """Return the answer to a browser that takes these encodings."""
        if self.packed is not None and _takes_gzip(encodings):
            return AudioResponse(self.packed, _PACKED)
        return AudioResponse(self.plain, _HEADERS)


def router(door: Door) -> Router:
    """Return the routes."""
    files = {path.name: _File(path) for path in sorted(FOLDER.iterdir()) if path.suffix in _MEDIA_TYPES}
    methods = [HttpMethod.GET, HttpMethod.HEAD]

    @route("/", http_method=methods, opt=_OPT)
    async def page(request: HttpRequest) -> AudioResponse:
        return files[_PAGE].answer(header_of(request, b"accept-encoding"))

    @route("/console/{name:str}", http_method=methods, opt=_OPT)
    async def part(request: HttpRequest, name: str) -> AudioResponse:
        if name not in files:
            raise NotFound(f"the console has no file {name!r:.80}")
        return files[name].answer(header_of(request, b"accept-encoding"))

    return Router("/", route_handlers=[page, part])


def _takes_gzip(encodings: str) -> bool:
    """Return whether an Accept-Encoding takes gzip."""
    for one in encodings.lower().split(","):
        name, _, weight = one.partition(";")
        if name.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
