"""Checks for the options of any engine; each failure is STEMD-E004 and names the option."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from stemd.core.errors import StemdError


def check_names(engine: str, options: Mapping[str, Any], known: type[Any]) -> None:
    """Refuse names that are no fields of the dataclass ``known``."""
    names = [field.name for field in fields(known)]
    for name in options:
        if name not in names:
            near = get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}, residual"
            raise StemdError("STEMD-E004", f"{engine} has no option {name!r}; {hint}")


def number(options: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    """A number from ``low`` to ``high``."""
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise StemdError("STEMD-E004", f"{name} is {value!r}; it must be a number from {low:g} to {high:g}")
    return value


def whole(options: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    """A whole number from ``low`` to ``high``."""
    value = number(options, name, default, low, high)
    if not isinstance(value, int):
        raise StemdError("STEMD-E004", f"{name} is {value!r}; it must be a whole number")
    return value


def choice(options: Mapping[str, Any], name: str, default: str, choices: Sequence[str]) -> str:
    """One of ``choices``."""
    value = options.get(name, default)
    if value not in choices:
        raise StemdError("STEMD-E004", f"{name} is {value!r}; it must be {' or '.join(choices)}")
    return str(value)


def flag(options: Mapping[str, Any], name: str, default: bool) -> bool:
    """True or false."""
    value = options.get(name, default)
    if not isinstance(value, bool):
        raise StemdError("STEMD-E004", f"{name} is {value!r}; it must be true or false")
    return value
