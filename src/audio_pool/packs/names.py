"""File names made of prompts.

Owns: ``slug``, ``write_unused`` and the pattern of numbered names.
Must not know: what is in the files.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import unicodedata
from pathlib import Path
from typing import BinaryIO

from audio_pool.errors import InvalidRequest, StorageError

__all__ = ["DEFAULT_PATTERN", "numbered_names", "slug", "write_unused"]

DEFAULT_PATTERN = "{slug}_{nn}"
_FIELDS = ("slug", "n", "nn")
_LONGEST_BYTES = 180
"""A file name may have 255 bytes; the rest is left to numbers, endings and temporary names."""
_MOST_ALIKE = 10_000


def slug(prompt: str, longest: int = 60) -> str:
    """Return a file name's stem for a prompt: its letters and digits in lower case, joined by underscores.

    Letters of every script are kept, so that different prompts have different names.

    Args:
        longest: characters; "sound" where the prompt has no letter and no digit.
    """
    words = re.sub(r"[\W_]+", "_", unicodedata.normalize("NFC", prompt).lower())
    short = words.strip("_")[:longest].encode()[:_LONGEST_BYTES].decode(errors="ignore")
    return short.strip("_") or "sound"


def numbered_names(pattern: str, prompt: str, count: int) -> list[str]:
    """Return ``count`` different file names' stems.

    Args:
        pattern: may hold ``{slug}`` (of the prompt), ``{n}`` (1, 2, ...) and ``{nn}`` (01, 02, ...).

    Raises:
        InvalidRequest: an unknown placeholder, no number for several names, or no plain file name.
    """
    unknown = [name for name in re.findall(r"\{(.*?)\}", pattern) if name not in _FIELDS]
    if unknown:
        allowed = ", ".join(f"{{{name}}}" for name in _FIELDS)
        raise InvalidRequest(f"name: given {pattern!r} with {{{unknown[0]}}}, allowed are {allowed}")
    if count > 1 and not re.search(r"\{nn?\}", pattern):
        raise InvalidRequest(f"name: given {pattern!r}, several files need a number: add {{n}} or {{nn}}")
    stem = slug(prompt)
    names = [
        pattern.replace("{slug}", stem).replace("{nn}", f"{number:02d}").replace("{n}", str(number))
        for number in range(1, count + 1)
    ]
    if any("/" in name or "\0" in name or name.strip(". ") == "" for name in names):
        raise InvalidRequest(f"name: given {pattern!r}, allowed is a file name without '/' and without an ending")
    return names


def write_unused(directory: Path, stem: str, suffix: str, source: BinaryIO) -> Path:
    """Write a file under the first of STEM, STEM_2, STEM_3, ... that is free; return its absolute path.

    Its mode follows the umask. Two processes never get the same name.

    Args:
        suffix: with its dot.
        source: read from where it stands to its end.

    Raises:
        StorageError: none of 10,000 names is free. OSError: it cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for number in range(1, _MOST_ALIKE + 1):
        target = directory.absolute() / f"{stem}{'' if number == 1 else f'_{number}'}{suffix}"
        try:
            file = target.open("xb")
        except FileExistsError:
            continue
        try:
            with file:
                shutil.copyfileobj(source, file, 1 << 20)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(target)
            raise
        return target
    raise StorageError(f"{directory} has {_MOST_ALIKE:,} files named {stem}{suffix}", hint="choose another directory")
