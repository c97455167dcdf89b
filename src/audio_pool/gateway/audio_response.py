"""Bytes in memory as an HTTP answer: ranges, conditions and names, as RFC 9110 and 6266 say.

Owns: AudioFile, bytes with the headers that are true of them whoever asks, and AudioResponse, one answer with them.
Must not know: the framework's routes, the pool, where the bytes come from.

An ASGI application, so that any framework can return it. The frameworks' own file responses lack ranges or
conditions, and take several times as long; what is kept never changes, so its headers are made once.
"""

from __future__ import annotations

import email.utils
import hashlib
import re
import unicodedata
import weakref
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final, Literal
from urllib.parse import quote

__all__ = ["MEDIA_TYPES", "AudioFile", "AudioResponse", "Header", "Message", "Receive", "Send", "content_disposition"]

MEDIA_TYPES: Final = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "opus": "audio/ogg; codecs=opus",
    "mp3": "audio/mpeg",
    "pcm": "audio/pcm",
    "ulaw": "audio/basic",
    "alaw": "audio/pcma",
    "png": "image/png",
}
"""What a file of each of our formats is called."""

Header = tuple[bytes, bytes]
Message = MutableMapping[str, Any]  # Any: as ASGI has it
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_MOST_RANGES = 16
"""Of one request; who asks for more gets the whole."""
_LONGEST_NAME = 120
_LARGE = 1 << 20
"""More than a connection takes at once from who does not read."""
_IMMUTABLE = b"public, max-age=31536000, immutable"
_PRIVATE = b"private, max-age=31536000, immutable"
_REVALIDATED = b"private, no-cache"
_RANGE = re.compile(r"(\d*)-(\d*)")
_TAG = re.compile(r'(W/)?("[^"]*")')


class AudioFile:
    """A file in memory. Immutable: one may serve any number of answers at a time."""

    __slots__ = ("__weakref__", "common", "data", "etag", "media_type", "modified", "refused")

    def __init__(
        self,
        data: bytes,
        *,
        media_type: str,
        sha256: str | None = None,
        name: str = "",
        attached: bool = False,
        frames: int | None = None,
        modified: float | None = None,
        immutable: bool = False,
        shared: bool = True,
    ) -> None:
        """
        Args:
            sha256: of the bytes, in hex, where it is known: the strong ETag.
            name: that it is saved under, any text.
            attached: browsers save it instead of playing it.
            frames: of the sound.
            modified: seconds since 1970.
            immutable: the address names the content: it is never asked for again.
            shared: caches between may keep it for others, too; not what only a key's owner may have.
        """
        self.etag = f'"{(sha256 or hashlib.sha256(data).hexdigest())[:40]}"'
        self.data = data if len(data) <= _LARGE else self._shared(data)
        self.media_type = media_type.encode("latin-1")
        self.modified = None if modified is None else int(modified)
        common: list[Header] = [
            (b"etag", self.etag.encode()),
            (b"accept-ranges", b"bytes"),
            (b"cache-control", (_IMMUTABLE if shared else _PRIVATE) if immutable else _REVALIDATED),
            (b"x-content-type-options", b"nosniff"),
        ]
        if self.modified is not None:
            common.append((b"last-modified", email.utils.formatdate(self.modified, usegmt=True).encode()))
        if name:
            common.append((b"content-disposition", content_disposition(name, attached=attached)))
        if frames is not None:
            common.append((b"x-audio-frames", b"%d" % frames))
        self.common: tuple[Header, ...] = tuple(common)
        """Headers of every answer with it, or that it has not changed."""
        self.refused: tuple[Header, ...] = ((b"etag", self.etag.encode()), (b"cache-control", b"no-store"))
        """Headers of an answer without it."""

    def _shared(self, data: bytes) -> bytes:
        """Return the same bytes where they are on their way to somebody already: many slow clients need them once."""
        known = _IN_USE.get(self.etag)
        if known is not None and len(known.data) == len(data):
            return known.data
        _IN_USE[self.etag] = self
        return data


_IN_USE: weakref.WeakValueDictionary[str, AudioFile] = weakref.WeakValueDictionary()
"""Large files by their ETag, which names their content."""


class AudioResponse:
    """One answer: the whole file, a part, several, or that nothing has changed.

    Args:
        headers: further ones of this answer; names in lower case, no control characters.
    """

    __slots__ = ("_file", "_headers")

    def __init__(self, file: AudioFile, headers: Iterable[Header] = ()) -> None:
        self._file = file
        self._headers = tuple(headers)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a GET or HEAD; of any other method the body is the answer to that, without conditions and ranges."""
        file, method = self._file, scope["method"]
        asked = _fields(scope["headers"]) if method in ("GET", "HEAD") else {}
        status = _condition(file, asked)
        headers = [*file.common, *self._headers]
        if status == 304:
            await _send(send, 304, headers, [])
            return
        if status == 412:
            await _send(send, 412, [*file.refused, *self._headers], [], length=0)
            return
        size = len(file.data)
        ranges = _ranges(asked.get(b"range", ""), size) if method == "GET" and _range_counts(file, asked) else None
        if ranges is None:
            body: list[bytes | memoryview] = [] if method == "HEAD" else [file.data]
            await _send(send, 200, [*headers, (b"content-type", file.media_type)], body, length=size)
        elif not ranges:
            there = (b"content-range", b"bytes */%d" % size)
            await _send(send, 416, [*file.refused, *self._headers, there], [], length=0)
        elif len(ranges) == 1:
            start, end = ranges[0]
            extent = (b"content-range", b"bytes %d-%d/%d" % (start, end - 1, size))
            told = [*headers, (b"content-type", file.media_type), extent]
            await _send(send, 206, told, [_part(file.data, start, end)], length=end - start)
        else:
            boundary, parts = _multipart(file, ranges)
            kind = b"multipart/byteranges; boundary=" + boundary
            length = sum(len(part) for part in parts)
            await _send(send, 206, [*headers, (b"content-type", kind)], parts, length=length)


async def _send(
    send: Send, status: int, headers: list[Header], body: list[bytes | memoryview], *, length: int | None = None
) -> None:
    """Send an answer. A part is handed over in one piece: the server's loop sends from it and copies nothing.

    Returns once a large answer has nearly gone: until then its file is in use, and others are sent from it.
    """
    if length is not None:
        headers.append((b"content-length", b"%d" % length))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if sum(map(len, body)) > _LARGE:
        body.append(b"")  # waits until there is room behind what lies before it
    for number, part in enumerate(body or [b""], 1):
        await send({"type": "http.response.body", "body": part, "more_body": number < len(body)})


def _part(data: bytes, start: int, end: int) -> bytes | memoryview:
    """Return a part of a file, not as a copy where it is large: who asks for nearly all of it need not read it."""
    return memoryview(data)[start:end] if end - start > _LARGE else data[start:end]


def _fields(headers: Iterable[Header]) -> dict[bytes, str]:
    """Return what is asked for by its name; of a field given twice, both."""
    found: dict[bytes, str] = {}
    for name, value in headers:
        if name in _READ:
            text = value.decode("latin-1")
            found[name] = f"{found[name]}, {text}" if name in found else text
    return found


_READ = frozenset(
    (b"range", b"if-range", b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since")
)


def _condition(file: AudioFile, asked: dict[bytes, str]) -> Literal[200, 304, 412]:
    """Weigh the conditions in the order of RFC 9110, 13.2.2."""
    if not asked:
        return 200
    if (wanted := asked.get(b"if-match")) is not None:
        if not _names(wanted, file.etag, strongly=True):
            return 412
    elif _is_newer(file, asked.get(b"if-unmodified-since")):
        return 412
    if (known := asked.get(b"if-none-match")) is not None:
        return 304 if _names(known, file.etag, strongly=False) else 200
    return 304 if _is_newer(file, asked.get(b"if-modified-since")) is False else 200


def _is_newer(file: AudioFile, than: str | None) -> bool | None:
    """Return whether the file is newer than a date; None where that cannot be said."""
    date = _date(than)
    return None if date is None or file.modified is None else file.modified > date


def _range_counts(file: AudioFile, asked: dict[bytes, str]) -> bool:
    """Return whether ``If-Range`` still means this content; a date does only where it is the very one told."""
    given = asked.get(b"if-range")
    if given is None:
        return True
    if given.lstrip().startswith(('"', "W/")):
        return given.strip() == file.etag
    return file.modified is not None and _date(given) == file.modified


def _names(field: str, etag: str, *, strongly: bool) -> bool:
    if field.strip() == "*":
        return True
    return any(tag == etag and not (weak and strongly) for weak, tag in _TAG.findall(field))


def _date(text: str | None) -> int | None:
    if not text:
        return None
    try:
        return int(email.utils.parsedate_to_datetime(text.strip()).timestamp())
    except (ValueError, TypeError, OverflowError):
        return None


def _ranges(field: str, size: int) -> list[tuple[int, int]] | None:
    """Return the parts asked for, as (first, behind the last), those that meet made one.

    Returns:
        None: none was asked for, or not in a way that counts: the whole. []: none of them is there.
    """
    unit, _, told = field.partition("=")
    if unit.strip().lower() != "bytes":
        return None
    specs = [spec.strip() for spec in told.split(",") if spec.strip()]
    if not 0 < len(specs) <= _MOST_RANGES:
        return None
    found: list[tuple[int, int]] = []
    for spec in specs:
        match = _RANGE.fullmatch(spec)
        if match is None or len(spec) > 40 or spec == "-":
            return None
        first, last = match.groups()
        if not first:
            start, end = max(0, size - int(last)), size
        else:
            start, end = int(first), min(size, int(last) + 1) if last else size
            if last and int(last) < start:
                return None
        if start < end:
            found.append((start, end))
    return _merged(found)


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the ranges in the order given; any that meet another are one, in the place of the first."""
    merged: list[tuple[int, int]] = []
    for start, end in ranges:
        for known in [one for one in merged if start <= one[1] and one[0] <= end]:
            merged.remove(known)
            start, end = min(start, known[0]), max(end, known[1])
        merged.append((start, end))
    return merged


def _multipart(file: AudioFile, ranges: list[tuple[int, int]]) -> tuple[bytes, list[bytes | memoryview]]:
    """Return a boundary that is not in the file, and the parts of a multipart/byteranges body."""
    boundary = hashlib.sha256(file.etag.encode() + repr(ranges).encode()).hexdigest()[:32].encode()
    head = b"\r\n--%s\r\ncontent-type: %s\r\ncontent-range: bytes %d-%d/%d\r\n\r\n"
    parts: list[bytes | memoryview] = []
    for start, end in ranges:
        parts += [head % (boundary, file.media_type, start, end - 1, len(file.data)), _part(file.data, start, end)]
    parts.append(b"\r\n--%s--\r\n" % boundary)
    return boundary, parts


def content_disposition(name: str, *, attached: bool = False) -> bytes:
    """Return the header's value for a file name: in ASCII for old clients, and as it is, in UTF-8.

    What is no part of a file's name on some system (slashes, colons, control characters) is left out.
    """
    name = "".join(" " if char in '\\/:*?"<>|' or unicodedata.category(char)[0] == "C" else char for char in name)
    stem, dot, suffix = " ".join(name.split()).rpartition(".")
    if not stem:  # no dot, or nothing before it
        stem, suffix = suffix, ""
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9 ._()+,-]", "_", plain)[:_LONGEST_NAME].strip(" .") or "sound"
    suffix = re.sub(r"[^A-Za-z0-9]", "", suffix)[:8]
    kind = "attachment" if attached else "inline"
    ending = dot + suffix if suffix else ""
    exact = stem[:_LONGEST_NAME].strip(" .") or "sound"
    value = f'{kind}; filename="{plain}{ending}"'
    if exact != plain:
        value += f"; filename*=UTF-8''{quote(exact + ending, safe='')}"
    return value.encode("latin-1")
