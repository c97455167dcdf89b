"""Structs that can be read like mappings of plain values.

Owns: PlainMapping, which a struct takes as a base: its attributes are keys, its values plain data as on the wire.
Must not know: any such struct.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any

import msgspec
from msgspec import UNSET

__all__ = ["PlainMapping"]


class PlainMapping:
    """Lets a struct be read like a mapping of plain values, keyed and valued as on the wire."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:  # Any: plain data of every field's own type
        """Return plain data, nested structs included, as it is encoded on the wire."""
        plain: dict[str, Any] = _plain(self)
        return plain

    def __getitem__(self, key: str) -> Any:
        name = _names(type(self)).get(key)
        value = UNSET if name is None else getattr(self, name)
        if value is UNSET:
            raise KeyError(key)
        return _plain(value)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of ``key``, or ``default``."""
        if key not in self:
            return default
        return self[key]

    def __contains__(self, key: object) -> bool:
        name = _names(type(self)).get(str(key))
        return name is not None and getattr(self, name) is not UNSET

    def __iter__(self) -> Iterator[str]:
        return (key for key in _names(type(self)) if key in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def keys(self) -> KeysView[str]:
        return self.to_dict().keys()

    def values(self) -> ValuesView[Any]:
        return self.to_dict().values()

    def items(self) -> ItemsView[str, Any]:
        return self.to_dict().items()


def _plain(value: Any) -> Any:  # Any: plain data of every field's own type
    """Return the value as it is encoded on the wire: maps, lists, scalars."""
    return _lists(msgspec.to_builtins(value))


def _lists(value: Any) -> Any:
    """Return the same value with lists for tuples, which ``to_builtins`` leaves."""
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_lists(item) for item in value]
    return value


_NAMES: dict[type, dict[str, str]] = {}


def _names(cls: type) -> dict[str, str]:
    """Map each key on the wire to its attribute."""
    if cls not in _NAMES:
        _NAMES[cls] = {field.encode_name: field.name for field in msgspec.structs.fields(cls)}
    return _NAMES[cls]


Mapping.register(PlainMapping)
