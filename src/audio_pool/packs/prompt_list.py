"""Lists of prompts: which sounds a file asks for, line by line.

Owns: the three formats, and what is said of a line that is no request.
Must not know: what is done with the requests.

    anything else       one prompt a line; empty lines, and those that begin with ``#``, are passed over
    .csv                a heading with the fields of a request, ``prompt`` among them; an empty cell is not given
    .jsonl, .ndjson     one object with the fields of a request a line, or one text
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import msgspec

from audio_pool.api import as_request
from audio_pool.errors import InvalidRequest, NotFound, nearest_name
from audio_pool.types import AudioRequest

__all__ = ["PromptLine", "prompt_lines"]

_FIELDS = {field.name: field.type for field in msgspec.structs.fields(AudioRequest)}
_AS_JSON = ("options", "metadata", "tags", "presets")
"""Fields whose cell is JSON."""


class PromptLine(NamedTuple):
    """One sound that is asked for, or why it is none."""

    number: int
    """Of the line, from 1."""
    prompt: str
    request: AudioRequest | InvalidRequest


def prompt_lines(path: Path, fields: Mapping[str, Any]) -> Iterator[PromptLine]:  # opaque until as_request checks them
    """Yield what a file asks for.

    Args:
        path: its ending says which format it has.
        fields: of every request; a line's own are stronger.

    Raises:
        NotFound: there is no such file.
        InvalidRequest: a CSV's heading is wrong, the file is not UTF-8, or cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, asked in _asked(path, file):
                if isinstance(asked, InvalidRequest):
                    yield PromptLine(number, "", asked)
                    continue
                prompt = str(asked.get("prompt", ""))
                try:
                    yield PromptLine(number, prompt, as_request({**fields, **asked}, {}))
                except InvalidRequest as exc:
                    yield PromptLine(number, prompt, exc)
    except FileNotFoundError:
        raise NotFound(f"no list of prompts at {path}", hint="check its path") from None
    except OSError as exc:
        raise InvalidRequest(f"{path} cannot be read: {exc.strerror}") from None
    except UnicodeDecodeError as exc:
        raise InvalidRequest(f"{path} is not UTF-8: {exc.reason} at byte {exc.start}") from None


def _asked(path: Path, file: TextIO) -> Iterator[tuple[int, dict[str, Any] | InvalidRequest]]:
    match path.suffix.lower():
        case ".csv":
            yield from _from_csv(path, file)
        case ".jsonl" | ".ndjson":
            yield from _from_json(file)
        case _:
            for number, line in enumerate(file, 1):
                text = line.strip()
                if text and not text.startswith("#"):
                    yield number, {"prompt": text}


def _from_json(file: Iterable[str]) -> Iterator[tuple[int, dict[str, Any] | InvalidRequest]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            value = msgspec.json.decode(line)
        except msgspec.DecodeError as exc:
            yield number, InvalidRequest(f"not JSON: {exc}")
            continue
        if isinstance(value, str):
            value = {"prompt": value}
        if isinstance(value, dict):
            yield number, value
        else:
            yield number, InvalidRequest(f"given {type(value).__name__}, allowed is an object or a text")


def _from_csv(path: Path, file: TextIO) -> Iterator[tuple[int, dict[str, Any] | InvalidRequest]]:
    rows = csv.reader(file, strict=True)
    heading = [name.strip() for name in next(rows, [])]
    for name in heading:
        if name not in _FIELDS:
            near = nearest_name(name, _FIELDS)
            hint = f"did you mean {near!r}?" if near else "allowed are the fields of a request"
            raise InvalidRequest(f"{path}: the heading names {name!r}, which no request has; {hint}")
    if "prompt" not in heading:
        raise InvalidRequest(f"{path}: the heading has no 'prompt'; it is {', '.join(heading) or 'empty'}")
    while True:
        before = rows.line_num + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as exc:
            yield before, InvalidRequest(f"not CSV: {exc}")
            continue
        if not any(cell.strip() for cell in row):
            continue
        if len(row) > len(heading):
            yield before, InvalidRequest(f"given {len(row)} cells, the heading has {len(heading)}")
            continue
        yield before, _cells(dict(itertools.zip_longest(heading, row, fillvalue="")))


def _cells(row: Mapping[str, str]) -> dict[str, Any] | InvalidRequest:
    found: dict[str, Any] = {}
    for name, text in row.items():
        if not text.strip():
            continue
        try:
            if name in _AS_JSON:
                found[name] = msgspec.json.decode(text)
            else:
                found[name] = msgspec.convert(text.strip(), _FIELDS[name], strict=False)
        except msgspec.ValidationError as exc:
            return InvalidRequest(f"{name}: given {text!r}, {str(exc).replace('Expected', 'allowed is')}")
        except msgspec.DecodeError:
            return InvalidRequest(f"{name}: given {text!r}, allowed is JSON")
    return found
