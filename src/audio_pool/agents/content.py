"""The blocks of an answer: words with the path first, then links, then what can be heard.

Owns: the order of blocks, and how much of an answer may be sound.
Must not know: how the sound came to be.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import msgspec
from mcp_types import AudioContent, CallToolResult, ContentBlock, ResourceLink, TextContent
from msgspec import UNSET, Struct

from audio_pool.agents.addresses import MEDIA_TYPES
from audio_pool.agents.answers import FoundSounds, SoundFile, SoundFiles
from audio_pool.errors import AudioPoolError

__all__ = ["Heard", "failure", "found", "sounds"]


class Heard(Struct, frozen=True):
    """A sound as it goes along with an answer, to be listened to."""

    data: bytes
    form: str


def sounds(
    files: Sequence[SoundFile], heard: Sequence[Heard | None], *, several: bool, dropped: int = 0
) -> CallToolResult:
    """Return the answer about files.

    Args:
        heard: one for each file; None: it does not fit.
        several: the answer's data is a list, even of one.
        dropped: further sounds that no link leads to.
    """
    silent = sum(1 for one in heard if one is None)
    lines = [file.line for file in files]
    if silent:
        lines.append("(too long to be sent along as audio: read the link)")
    if dropped:
        lines.append(f"({dropped} more left out: of the same words the pool keeps no more, see its max_per_prompt)")
    blocks: list[ContentBlock] = [TextContent(text="\n".join(lines))]
    blocks += [_link(file) for file in files]
    for one in heard:
        if one is not None:
            data = base64.b64encode(one.data).decode()
            blocks.append(AudioContent(data=data, mime_type=MEDIA_TYPES[one.form]))
    answer = SoundFiles(sounds=tuple(files)) if several else files[0]
    return CallToolResult(content=blocks, structured_content=msgspec.to_builtins(answer))


def found(page: FoundSounds) -> CallToolResult:
    """Return the answer about a page of kept sounds."""
    lines = [one.line for one in page.sounds] or ["no kept sound fits; text_to_sound_effects makes new ones"]
    if page.next is not UNSET:
        lines.append(f"there are more: after={page.next!r}")
    blocks: list[ContentBlock] = [TextContent(text="\n".join(lines))]
    for one in page.sounds:
        blocks.append(ResourceLink(name=f"sound {one.id}", uri=one.uri, title=one.text, mime_type=MEDIA_TYPES["wav"]))
    return CallToolResult(content=blocks, structured_content=msgspec.to_builtins(page))


def failure(error: AudioPoolError) -> CallToolResult:
    """Return the answer of a call that came to nothing: what was wrong, and what to do."""
    hint = f" ({error.hint})" if error.hint else ""
    again = "" if error.retry_after_ms is None else f"; try again in {error.retry_after_ms / 1000:.0f} s"
    text = f"{error.code}: {error.message}{hint}{again}"
    return CallToolResult(content=[TextContent(text=text)], is_error=True)


def _link(file: SoundFile) -> ResourceLink:
    name = file.uri.rpartition("/")[2] if file.path is UNSET else file.path.rpartition("/")[2]
    media = MEDIA_TYPES[file.format]
    return ResourceLink(name=name, uri=file.uri, title=file.text, mime_type=media, size=file.size_bytes)
