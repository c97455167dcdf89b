"""The one place where outside data becomes a typed struct: every bound checked, every error explained.

Owns: ``parse``.
Must not know: any single struct.

Struct constructors do not validate; everything that comes from outside goes through ``parse``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from audio_pool.errors import AudioPoolError, InvalidRequest, nearest_name

__all__ = ["parse"]

T = TypeVar("T")


_PATH = re.compile(r" - at (`key` in )?`\$?\.?([^`]*)`$")
_STEP = re.compile(r"\[(\d+|\.\.\.)\]|([^.\[\]]+)")
_ANY_KEY = "..."
"""What msgspec says for the key of a mapping, whichever it is."""
_UNKNOWN = re.compile(r"Object contains unknown field `([^`]*)`")


_MISSING = re.compile(r"Object missing required field `([^`]*)`")
_SHOWN = 60
_MOST_NAMED = 40
"""Of a struct's fields in one message: it is read by people."""


def parse(
    cls: type[T],
    mapping: Any,
    *,
    error: type[AudioPoolError] = InvalidRequest,
    what: str = "",
) -> T:
    """Return ``mapping`` as a ``cls``, every bound checked.

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
    """Return the same value with integral floats as integers (JSON writers differ); refuse NaN and infinity."""
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
    """Retell a msgspec message: which field, what was given, what is allowed, what it may have meant."""
    found = _PATH.search(text)
    steps = _steps(found.group(2)) if found else []
    reason = text[: found.start()] if found else text
    bad_key = found is not None and found.group(1) is not None
    if bad_key or _ANY_KEY in steps:
        steps = _with_keys(cls, mapping, text, [*steps, _ANY_KEY] if bad_key else steps)
    path = _joined(steps[:-1] if bad_key else steps)
    unknown = _UNKNOWN.search(reason)
    if unknown:
        name = unknown.group(1)
        known = sorted(_fields_at(cls, steps))
        near = nearest_name(name, known)
        where = f" in {path!r}" if path else ""
        hint = f"did you mean {near!r}?" if near else _named(known)
        return error(f"{label}: unknown field {name!r}{where}; {hint}", hint="")
    missing = _MISSING.search(reason)
    if missing:
        name = f"{path}.{missing.group(1)}" if path else missing.group(1)
        return error(f"{label}: field {name!r} is missing")
    reason = reason.replace("Expected", "allowed is").replace("Invalid enum value", "not an allowed value")
    reason = reason.replace("matching regex", "matching")
    if bad_key:
        return error(f"{label}: field {path!r}: given the name {_shown(steps[-1])}, {reason}")
    value = _value_at(mapping, steps)
    given = _shown(value)
    allowed = _choices_at(cls, steps)
    if allowed:
        near = nearest_name(str(value), allowed)
        tail = f"; did you mean {near!r}?" if near else ""
        return error(f"{label}: field {path!r}: given {given}, allowed is one of {', '.join(allowed)}{tail}")
    return error(f"{label}: field {path!r}: given {given}, {reason}")


def _named(known: list[str]) -> str:
    others = len(known) - _MOST_NAMED
    return f"known fields: {', '.join(known[:_MOST_NAMED])}{f' and {others} others' if others > 0 else ''}"


def _shown(value: Any) -> str:
    text = repr(value)
    if len(text) <= _SHOWN:
        return text
    size = f" ({len(value):,} characters)" if isinstance(value, str) else ""
    return text[:_SHOWN] + "..." + size


def _steps(path: str) -> list[str]:
    return [index or name for index, name in _STEP.findall(path)]


def _joined(steps: list[str]) -> str:
    return "".join(f"[{step}]" if step.isdigit() or step == _ANY_KEY else f".{step}" for step in steps).lstrip(".")


def _with_keys(cls: Any, mapping: Any, text: str, steps: list[str]) -> list[str]:
    """Return the steps with the key that is meant for each ``...``: the one that alone gets the same message."""
    for place, step in enumerate(steps):
        keys = _value_at(mapping, steps[:place]) if step == _ANY_KEY else None
        for key in keys if isinstance(keys, Mapping) else ():
            alone = _narrowed(mapping, steps[:place], key)
            try:
                msgspec.convert(_numbers_checked(alone, "", AudioPoolError, ""), cls, strict=True)
            except msgspec.ValidationError as exc:
                if str(exc) == text:
                    mapping, steps[place] = alone, str(key)
                    break
    return steps


def _narrowed(value: Any, steps: list[str], key: Any) -> Any:
    """Return a copy whose mapping at ``steps`` has only this key."""
    if not steps:
        return {key: value[key]}
    if isinstance(value, Mapping):
        return {name: _narrowed(item, steps[1:], key) if name == steps[0] else item for name, item in value.items()}
    return [_narrowed(item, steps[1:], key) if str(i) == steps[0] else item for i, item in enumerate(value)]


def _value_at(value: Any, steps: list[str]) -> Any:
    for step in steps:
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, (list, tuple)) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return UNSET
    return value


def _type_at(cls: Any, steps: list[str]) -> list[Any]:
    """Return the msgspec type nodes that the steps can lead to."""
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


def _fields_at(cls: Any, steps: list[str]) -> list[str]:
    return [
        field.encode_name
        for node in _type_at(cls, steps)
        if isinstance(node, msgspec.inspect.StructType)
        for field in node.fields
    ]


def _choices_at(cls: Any, steps: list[str]) -> list[str]:
    return [
        str(choice)
        for node in _type_at(cls, steps)
        if isinstance(node, msgspec.inspect.LiteralType)
        for choice in node.values
    ]
