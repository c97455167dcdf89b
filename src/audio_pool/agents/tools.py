"""What each tool does.

Owns: Tools: from a call's arguments to the pool's requests, and from its sounds to files.
Must not know: how calls come in (server.py), what an answer's blocks are (content.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mcp_types import CallToolResult
from msgspec import UNSET, Struct, UnsetType, structs

from audio_pool.agents import content
from audio_pool.agents.addresses import MEDIA_TYPES, sound_in, sound_uri
from audio_pool.agents.answers import FoundSound, FoundSounds, SoundFile
from audio_pool.agents.arguments import (
    FileFormat,
    SaveSound,
    SearchSounds,
    Speak,
    TextToSoundEffects,
    Variants,
)
from audio_pool.agents.asker import Asker
from audio_pool.agents.content import Heard
from audio_pool.agents.making import Fields, made
from audio_pool.agents.output_folder import OutputFolder, stem_and_format
from audio_pool.agents.progress_notes import Report
from audio_pool.errors import AudioPoolError, InvalidRequest, NotFound, StorageError
from audio_pool.gateway.told import public
from audio_pool.results import AudioResult, SoundMetadata
from audio_pool.validation import parse

__all__ = ["Tools"]

_SPOKEN = "kind:speech"
_AS_HEARD = "mp3"
"""What is too large to go along as it is goes along as this, which is enough to listen to."""
_HEARD_KBPS = (128, 96, 64, 48, 32)


class Tools:
    """The tools of one server.

    Args:
        folder: files are written there; None: callers are elsewhere, and read links.
        most_audio_bytes: of sound in one answer; 0: none.
    """

    def __init__(self, folder: OutputFolder | None, most_audio_bytes: int) -> None:
        self._folder = folder
        self._most_audio_bytes = most_audio_bytes
        self._calls: set[asyncio.Task[Any]] = set()  # opaque: tasks of the protocol's, each of which calls a tool
        self._by_name: dict[str, Callable[[Asker, Mapping[str, Any], Report], Awaitable[CallToolResult]]] = {
            "text_to_sound_effects": self._text_to_sound_effects,
            "variants": self._variants,
            "search_sounds": self._search_sounds,
            "save_sound": self._save_sound,
            "speak": self._speak,
        }

    async def call(
        self, name: str, arguments: Mapping[str, Any], asker: Asker, report: Report
    ) -> CallToolResult:  # opaque: arguments are whatever an agent sent; each tool parses them
        """Return what a tool answers. Raises AudioPoolError; KeyError: there is no such tool."""
        tool = self._by_name[name]
        given = {key: value for key, value in arguments.items() if value is not None}
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        try:
            return await tool(asker, given, report)
        finally:
            self._calls.discard(task)

    async def stop(self, within_s: float) -> None:
        """Cancel every call that is under way."""
        calls = list(self._calls)
        for call in calls:
            call.cancel()
        if calls:
            await asyncio.wait(calls, timeout=within_s)

    async def read(self, uri: str, asker: Asker) -> tuple[bytes, str]:
        """Return the bytes behind a link, and their media type. Raises NotFound, AudioPoolError."""
        found = sound_in(uri)
        if found is not None:
            await asker.reach()
            file = await self._kept(asker, *found)
            return file.data, MEDIA_TYPES[file.form]
        if self._folder is None:
            raise NotFound(f"{uri}: no sound of this server", hint="read the links that its tools answer with")
        return await asyncio.to_thread(self._folder.read, uri)

    # -- the tools

    async def _text_to_sound_effects(self, asker: Asker, given: Mapping[str, Any], report: Report) -> CallToolResult:
        asked = parse(TextToSoundEffects, given, what="text_to_sound_effects")
        stem, form = stem_and_format(asked.text, _or_none(asked.file_name), _form(asked.format))
        fields = _given(
            prompt=asked.text,
            duration_s=asked.duration_seconds,
            loop=asked.loop,
            seed=asked.seed,
            engine=asked.engine,
            presets=asked.presets,
        )
        return await self._made_one(asker, {**fields, "format": form}, stem, report)

    async def _speak(self, asker: Asker, given: Mapping[str, Any], report: Report) -> CallToolResult:
        asked = parse(Speak, given, what="speak")
        stem, form = stem_and_format(asked.text, _or_none(asked.file_name), _form(asked.format))
        fields = _given(prompt=asked.text, voice=asked.voice, engine=_SPOKEN)
        return await self._made_one(asker, {**fields, "format": form}, stem, report)

    async def _variants(self, asker: Asker, given: Mapping[str, Any], report: Report) -> CallToolResult:
        asked = parse(Variants, given, what="variants")
        if (asked.text is UNSET) == (asked.sound_id is UNSET):
            raise InvalidRequest("variants: allowed is one of text and sound_id; give the words, or the id")
        await asker.reach()
        like: Fields = {"prompt": asked.text}
        count = asked.count
        if asked.sound_id is not UNSET:
            sound = await asker.client.library.sound(asked.sound_id, namespace=asker.namespace)
            like = {} if sound.metadata is UNSET else _asked_like(sound.metadata)
            count += 1  # it may be among them itself
        text = str(like["prompt"])
        stem, form = stem_and_format(text, _or_none(asked.file_name), _form(asked.format))
        given_fields = _given(
            duration_s=asked.duration_seconds, loop=asked.loop, engine=asked.engine, presets=asked.presets
        )
        fields = {**like, **given_fields}
        results = await made(
            asker, [{**fields, "format": form, "variant": number} for number in range(1, count + 1)], report
        )
        others = [one for one in results if one.metadata.entry_id is None or one.metadata.entry_id != asked.sound_id]
        others = others[: asked.count]
        stay = others if self._folder else await self._that_stay(asker, others)
        return await self._answer(asker, stay, stem, form, several=True, dropped=len(others) - len(stay))

    async def _search_sounds(self, asker: Asker, given: Mapping[str, Any], report: Report) -> CallToolResult:
        asked = parse(SearchSounds, given, what="search_sounds")
        await asker.reach()
        fields = _given(
            meaning=asked.meaning,
            loop=asked.loop,
            shortest_s=asked.shortest_seconds,
            longest_s=asked.longest_seconds,
            limit=asked.limit,
            after=asked.after,
            namespace=asker.namespace,
        )
        page = await asker.client.library.search(asked.words, **fields)
        sounds = tuple(FoundSound.of(one, sound_uri(one.id, "wav")) for one in page.sounds)
        return content.found(FoundSounds.of(page, sounds))

    async def _save_sound(self, asker: Asker, given: Mapping[str, Any], report: Report) -> CallToolResult:
        asked = parse(SaveSound, given, what="save_sound")
        await asker.reach()
        sound = await asker.client.library.sound(asked.sound_id, namespace=asker.namespace)
        stem, form = stem_and_format(sound.prompt, _or_none(asked.file_name), _form(asked.format))
        kept = await self._kept(asker, asked.sound_id, form)
        result = AudioResult(request_id="", path="", metadata=kept.metadata, data=kept.data)
        return await self._answer(asker, [result], stem, form, several=False)

    async def _that_stay(self, asker: Asker, results: Sequence[AudioResult]) -> list[AudioResult]:
        """Return those that a link can lead to: of the same words a pool keeps a few, and lets others go for them.

        Raises StorageError: none of them.
        """
        ids = [one.metadata.entry_id for one in results if one.metadata.entry_id is not None]
        kept: set[int] = set()
        if ids:
            page = await asker.client.library.search(ids=ids, limit=len(ids), namespace=asker.namespace)
            kept = {one.id for one in page.sounds}
        stay = [one for one in results if one.metadata.entry_id in kept]
        if results and not stay:
            raise _not_kept()
        return stay

    # -- files

    async def _made_one(self, asker: Asker, fields: Fields, stem: str, report: Report) -> CallToolResult:
        await asker.reach()
        results = await made(asker, [fields], report)
        return await self._answer(asker, results, stem, str(fields["format"]), several=False)

    async def _answer(
        self, asker: Asker, results: Sequence[AudioResult], stem: str, form: str, *, several: bool, dropped: int = 0
    ) -> CallToolResult:
        files = []
        for result in results:
            data = result.data or b""
            path = await asyncio.to_thread(self._folder.write, stem, form, data) if self._folder else None
            files.append(_told(result.metadata, form, data, path))
        room = self._most_audio_bytes // len(results)
        heard = [await self._heard(asker, result, form, room) for result in results] if room else []
        return content.sounds(files, heard, several=several, dropped=dropped)

    async def _heard(self, asker: Asker, result: AudioResult, form: str, room: int) -> Heard | None:
        """Return a sound as it goes along with an answer; None: it has no room, however it is written."""
        data = result.data or b""
        if len(data) <= room:
            return Heard(data, form)
        if result.metadata.entry_id is None or form == _AS_HEARD:
            return None
        most_kbps = room * 8 / 1000 / max(result.metadata.duration_s, 0.1)
        rate = next((one for one in _HEARD_KBPS if one < most_kbps), None)
        if rate is None:
            return None
        try:
            smaller = await self._kept(asker, result.metadata.entry_id, _AS_HEARD, bit_rate=rate)
        except AudioPoolError:  # the file is there, which is what was asked for
            return None
        return Heard(smaller.data, _AS_HEARD) if len(smaller.data) <= room else None

    async def _kept(self, asker: Asker, entry: int, form: str, **written: int) -> _KeptFile:
        file = await asker.client.library.file(
            entry, namespace=asker.namespace, format=form, delivery="inline", **written
        )
        metadata = structs.replace(file.metadata, cached=True)
        return _KeptFile(file.data if isinstance(file.data, bytes) else b"", form, metadata)


class _KeptFile(Struct, frozen=True):
    """A kept sound's file."""

    data: bytes
    form: str
    metadata: SoundMetadata


def _told(metadata: SoundMetadata, form: str, data: bytes, path: Path | None) -> SoundFile:
    if path is not None:
        return SoundFile.of(metadata, form=form, size_bytes=len(data), uri=path.as_uri(), path=str(path))
    if metadata.entry_id is None:
        raise _not_kept()
    uri = sound_uri(metadata.entry_id, form)
    return SoundFile.of(public(metadata), form=form, size_bytes=len(data), uri=uri, path=None)


def _not_kept() -> StorageError:
    return StorageError(
        "the sound is not kept by the pool, so that no link can lead to it",
        hint="let the pool keep sounds (cache.enabled), or run this server where its files are wanted",
    )


def _asked_like(metadata: SoundMetadata) -> dict[str, Any]:
    """Return what to ask for to get sounds like one: opaque, fields of AudioRequest."""
    fields: dict[str, Any] = {"prompt": metadata.prompt, "loop": metadata.is_loop, "engine": metadata.engine}
    if metadata.natural_length is UNSET:
        fields["duration_s"] = metadata.requested_duration_s or metadata.duration_s
    if metadata.negative_prompt:
        fields["negative_prompt"] = metadata.negative_prompt
    if metadata.voice is not None:
        fields["voice"] = metadata.voice
    if metadata.options:
        fields["options"] = metadata.options
    return fields


def _given(**fields: Any) -> dict[str, Any]:
    """Return the fields that were given: opaque, of AudioRequest or SoundSearch, which check them."""
    return {name: value for name, value in fields.items() if value is not UNSET}


def _or_none(value: str | UnsetType) -> str | None:
    return None if value is UNSET else value


def _form(value: FileFormat | UnsetType) -> FileFormat | None:
    return None if value is UNSET else value
