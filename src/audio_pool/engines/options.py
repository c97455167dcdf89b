"""Checks a request's ``options`` against what an engine declares.

Owns: ``checked_options`` (for whoever takes requests in) and ``option_values`` (for the engine itself).
Must not know: any single engine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from audio_pool.engine_info import EngineInfo, OptionInfo
from audio_pool.errors import InvalidRequest, nearest_name
from audio_pool.types import Label

__all__ = ["allowed", "checked_options", "option_values"]


def checked_options(info: EngineInfo, given: Mapping[str, Label]) -> tuple[tuple[str, Label], ...]:
    """Return the given options that differ from the engine's defaults, sorted by name. Pure.

    None means the default. A whole float is taken for an integer, an integer for a float.

    Raises:
        InvalidRequest: naming the option, what was given and what is allowed; for an unknown one the
            nearest known name.
    """
    known = {option.name: option for option in info.options}
    checked: list[tuple[str, Label]] = []
    for name in sorted(given):
        option = known.get(name)
        if option is None:
            raise InvalidRequest(_unknown(info, name))
        value = _checked(info, option, given[name])
        if value is not None and value != option.default:
            checked.append((name, value))
    return tuple(checked)


def option_values(info: EngineInfo, given: Mapping[str, Label]) -> dict[str, Label]:
    """Return every option of the engine by name: as given, else its default.

    Raises:
        InvalidRequest: as ``checked_options``.
    """
    return {option.name: option.default for option in info.options} | dict(checked_options(info, given))


def allowed(option: OptionInfo) -> str:
    """Return in words what an option may be: "a number, 0 to 1"."""
    if option.choices:
        return "one of " + ", ".join(option.choices)
    noun = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text"}[option.type]
    if option.low is None and option.high is None:
        return noun
    unit = " characters" if option.type == "str" else ""
    if option.high is None:
        return f"{noun}, at least {option.low:g}{unit}"
    if option.low is None:
        return f"{noun}, at most {option.high:g}{unit}"
    return f"{noun}, {option.low:g} to {option.high:g}{unit}"


def _unknown(info: EngineInfo, name: str) -> str:
    names = [option.name for option in info.options]
    near = nearest_name(name, names)
    if near:
        hint = f"did you mean {near!r}?"
    elif names:
        hint = f"known options: {', '.join(names)}"
    else:
        hint = "it has none"
    return f"options: engine {info.name!r} has no option {name!r}; {hint}"


def _checked(info: EngineInfo, option: OptionInfo, value: Label) -> Label:
    """Return the value in the option's own type.

    Raises:
        InvalidRequest: another type, out of range, or no choice.
    """
    if value is None:
        return None
    found: Label = None
    size = 0.0
    match option.type:
        case "bool" if isinstance(value, bool):
            return value
        case "int" if isinstance(value, int | float) and not isinstance(value, bool):
            if float(value).is_integer():
                found, size = int(value), float(value)
        case "float" if isinstance(value, int | float) and not isinstance(value, bool):
            if math.isfinite(value):
                found, size = float(value), float(value)
        case "str" if isinstance(value, str):
            found, size = value, float(len(value))
    in_range = (option.low is None or size >= option.low) and (option.high is None or size <= option.high)
    if found is None or not in_range or (option.choices and found not in option.choices):
        near = nearest_name(value, option.choices) if isinstance(value, str) else None
        hint = f"; did you mean {near!r}?" if near else ""
        raise InvalidRequest(
            f"options: {option.name}: given {value!r}, engine {info.name!r} allows {allowed(option)}{hint}"
        )
    return found
