"""The one door through which outside data becomes a typed struct: every bound checked, every error explained.

Owns: ``parse``.
Must not know: any single struct.

Struct constructors do not validate; everything that comes from outside goes through ``parse``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from audio_pool.errors import AudioPoolError, InvalidRequest, nearest_name

__all__ = ["parse"]

T = TypeVar("T")


_PATH = re.compile(r" - at (`key` in )?`\$?\.?([^`]*)`$")


_UNKNOWN = re.compile(r"Object contains unknown field `([^`]*)`")


_MISSING = re.compile(r"Object missing required field `([^`]*)`")


_SHOWN = 60


def parse(
    cls: type[T],
    mapping: Any,
    *,
    error: type[AudioPoolError] = InvalidRequest,
    what: str = "",
) -> T:
    """``mapping`` as a ``cls``, every bound checked.

    Integral floats are accepted for integers; NaN and infinities are refused everywhere.

    Args:
        cls: a msgspec Struct type.
        mapping: what came from outside: a dict, nested as deep as ``cls`` is.
        error: the class raised.
        what: names the whole in messages; the struct's own name where empty.

    Raises:
        error: naming the field, what was given, what is allowed and, for an unknown field, the
            nearest known one.
    """
    label = what or cls.__name__
    if not isinstance(mapping, Mapping):
        raise error(f"{label}: given {_shown(mapping)}, allowed is a mapping of field names to values")
    try:
        return msgspec.convert(_numbers_checked(mapping, "", error, label), cls, strict=True)
    except msgspec.ValidationError as exc:
        raise _explained(cls, mapping, str(exc), error, label) from None
    except RecursionError:
        raise error(f"{label}: nested too deep") from None


def _numbers_checked(value: Any, path: str, error: type[AudioPoolError], label: str) -> Any:
    """The same value with integral floats as integers (JSON writers differ), NaN and infinity refused."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise error(f"{label}: field {path or '?'!r}: given {value}, allowed is a finite number")
        return int(value) if value.is_integer() and abs(value) <= 2**53 else value
    if isinstance(value, Mapping):
        return {
            key: _numbers_checked(item, f"{path}.{key}" if path else str(key), error, label)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_numbers_checked(item, f"{path}[{i}]", error, label) for i, item in enumerate(value)]
    return value


def _explained(cls: Any, mapping: Any, text: str, error: type[AudioPoolError], label: str) -> AudioPoolError:
    """A msgspec message retold: which field, what was given, what is allowed, what it may have meant."""
    found = _PATH.search(text)
    steps = _with_names(cls, mapping, _steps(found.group(2))) if found else ()
    path = _joined(steps)
    reason = text[: found.start()] if found else text
    value = _value_at(mapping, steps)
    if found and found.group(1):  # a key of that map, which stands for the value
        value = next((key for key in value if not _allowed(cls, mapping, steps, key)), UNSET)
    unknown = _UNKNOWN.search(reason)
    if unknown:
        name = unknown.group(1)
        known = sorted(_fields_at(cls, steps))
        near = nearest_name(name, known)
        where = f" in {path!r}" if path else ""
        hint = f"did you mean {near!r}?" if near else f"known fields: {', '.join(known)}"
        return error(f"{label}: unknown field {name!r}{where}; {hint}", hint="")
    missing = _MISSING.search(reason)
    if missing:
        name = f"{path}.{missing.group(1)}" if path else missing.group(1)
        return error(f"{label}: field {name!r} is missing")
    reason = reason.replace("Expected", "allowed is").replace("Invalid enum value", "not an allowed value")
    reason = reason.replace("matching regex", "matching")
    given = _shown(value)
    allowed = _choices_at(cls, steps)
    if allowed:
        near = nearest_name(str(value), allowed)
        tail = f"; did you mean {near!r}?" if near else ""
        return error(f"{label}: field {path!r}: given {given}, allowed is one of {', '.join(allowed)}{tail}")
    return error(f"{label}: field {path!r}: given {given}, {reason}")


def _shown(value: Any) -> str:
    text = repr(value)
    if len(text) <= _SHOWN:
        return text
    size = f" ({len(value):,} characters)" if isinstance(value, str) else ""
    return text[:_SHOWN] + "..." + size


_OF_A_MAP = "..."
"""msgspec's step into the values of a map; it does not say whose."""


def _steps(path: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\.\.\.|[^.\[\]]+", path))


def _joined(steps: Sequence[str]) -> str:
    return "".join(f"[{step}]" if step.isdigit() else f".{step}" for step in steps).removeprefix(".")


def _with_names(cls: type, mapping: Any, steps: Sequence[str]) -> tuple[str, ...]:
    """The steps, each one into a map by the name of a value that is not allowed."""
    named: tuple[str, ...] = ()
    for step in steps:
        if step == _OF_A_MAP:
            container = _value_at(mapping, named)
            names = container if isinstance(container, Mapping) else ()
            step = next((name for name in names if not _allowed(cls, mapping, named, name)), step)
        named = (*named, step)
    return named


def _allowed(cls: type, mapping: Any, steps: Sequence[str], name: Any) -> bool:
    """Return True if the map at ``steps`` may hold ``name`` with its value."""
    try:
        msgspec.convert(_with_one(mapping, steps, name), cls, strict=True)
    except msgspec.ValidationError:
        return False
    return True


def _with_one(value: Any, steps: Sequence[str], name: Any) -> Any:
    """The same with ``name`` alone in the map at ``steps``."""
    if not steps:
        return {name: value[name]}
    if isinstance(value, Mapping):
        return {key: _with_one(item, steps[1:], name) if key == steps[0] else item for key, item in value.items()}
    return [_with_one(item, steps[1:], name) if str(i) == steps[0] else item for i, item in enumerate(value)]


def _value_at(value: Any, steps: Sequence[str]) -> Any:
    for step in steps:
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, (list, tuple)) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return UNSET
    return value


def _type_at(cls: Any, steps: Sequence[str]) -> list[Any]:
    """The msgspec type nodes that ``steps`` can lead to."""
    nodes = [msgspec.inspect.type_info(cls)]
    for step in steps:
        following: list[Any] = []
        for node in _flattened(nodes):
            if isinstance(node, msgspec.inspect.StructType):
                following += [field.type for field in node.fields if field.encode_name == step]
            elif isinstance(node, msgspec.inspect.DictType):
                following.append(node.value_type)
            elif isinstance(node, msgspec.inspect.ListType):
                following.append(node.item_type)
        nodes = following
    return _flattened(nodes)


def _flattened(nodes: list[Any]) -> list[Any]:
    flat: list[Any] = []
    for node in nodes:
        if isinstance(node, msgspec.inspect.UnionType):
            flat += _flattened(list(node.types))
        elif isinstance(node, msgspec.inspect.Metadata):
            flat += _flattened([node.type])
        else:
            flat.append(node)
    return flat


def _fields_at(cls: Any, steps: Sequence[str]) -> list[str]:
    return [
        field.encode_name
        for node in _type_at(cls, steps)
        if isinstance(node, msgspec.inspect.StructType)
        for field in node.fields
    ]


def _choices_at(cls: Any, steps: Sequence[str]) -> list[str]:
    return [
        str(choice)
        for node in _type_at(cls, steps)
        if isinstance(node, msgspec.inspect.LiteralType)
        for choice in node.values
    ]
