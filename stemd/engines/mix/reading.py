"""Plain values (from a job file, a preset or a report) as the dataclasses that say what is allowed; and back.

A field's type and, where ``ranged`` or ``chosen`` made it, its bounds are the whole schema. A dataclass that may be
``None`` is an effect that may be off: ``null``, ``false`` or ``{enabled: false}`` switch it off, ``true`` or ``{}`` on.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, asdict, field, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from stemd.core.errors import StemdError

_T = TypeVar("_T")


def ranged(default: Any, low: float, high: float) -> Any:
    """A number field from ``low`` to ``high``; each number of a list alike."""
    return field(default=default, metadata=bounds(low, high))


def bounds(low: float, high: float) -> Mapping[str, float]:
    """The metadata of a field of numbers by name, each from ``low`` to ``high``."""
    return {"low": low, "high": high}


def chosen(default: Any, *choices: Any) -> Any:
    """A field that takes one of ``choices``."""
    return field(default=default, metadata={"choices": choices})


def worded(default: Any, words: str) -> Any:
    """A field of several types, with the ``words`` for what it may be."""
    return field(default=default, metadata={"words": words})


def read(kind: type[_T], value: Any, path: str) -> _T:
    """``value`` as a ``kind``; ``path`` is its place, for messages.

    Raises:
        StemdError: STEMD-E004, naming every fault.
    """
    faults: list[str] = []
    found = _read(kind, value, path, {}, faults)
    if faults:
        raise StemdError("STEMD-E004", "; ".join(faults))
    return found  # type: ignore[no-any-return]


def plain(value: Any) -> Any:
    """A dataclass made of such as plain values, without what is off or empty."""
    return _pruned(asdict(value))


def _pruned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _pruned(each) for key, each in value.items() if each is not None and each not in ((), {}, [])}
    return [_pruned(each) for each in value] if isinstance(value, list | tuple) else value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _read(kind: Any, value: Any, path: str, limits: Mapping[str, Any], faults: list[str]) -> Any:  # noqa: PLR0911
    if "choices" in limits:
        return _choice(value, path, limits["choices"], faults)
    if get_origin(kind) in (Union, types.UnionType):
        return _optional(kind, value, path, limits, faults)
    if is_dataclass(kind) and isinstance(kind, type):
        return _section(kind, value, path, faults)
    if get_origin(kind) is dict:
        if not isinstance(value, Mapping):
            return _fault(faults, path, value, "must be a mapping")
        of = get_args(kind)[1]
        return {str(key): _read(of, each, f"{path}.{key}", limits, faults) for key, each in value.items()}
    if get_origin(kind) is tuple:
        return _items(kind, value, path, limits, faults)
    if kind is Any:
        return value
    return _scalar(kind, value, path, limits, faults)


def _section(kind: type, value: Any, path: str, faults: list[str]) -> Any:
    if value is True:
        value = {}
    if not isinstance(value, Mapping):
        return _fault(faults, path, value, "must be a mapping")
    known = {each.name: each for each in fields(kind)}
    given = {}
    for key, each in value.items():
        if key == "enabled" and "enabled" not in known:
            if each is not True:  # what can be off was read as off before it came here
                _fault(faults, f"{path}.enabled", each, "must be true, or false where it can be off")
        elif key not in known:
            near = get_close_matches(str(key), known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            faults.append(f"{path} has no {key!r}; {hint}")
        else:
            given[key] = _read(_hints(kind)[key], each, f"{path}.{key}", known[key].metadata, faults)
    missing = [each.name for each in known.values() if _required(each) and each.name not in given]
    if missing:
        faults.append(f"{path} lacks {', '.join(missing)}")
    return kind(**given) if not faults else None


def _required(each: Any) -> bool:
    return each.default is MISSING and each.default_factory is MISSING


def _optional(kind: Any, value: Any, path: str, limits: Mapping[str, Any], faults: list[str]) -> Any:
    """A type or ``None``; of several types the one that fits."""
    kinds = [each for each in get_args(kind) if each is not types.NoneType]
    if types.NoneType in get_args(kind):
        off = value is None or (value is False and bool not in kinds)
        if off or (isinstance(value, Mapping) and value.get("enabled") is False and is_dataclass(kinds[0])):
            return None
    for each in kinds:
        attempt: list[str] = []
        found = _read(each, value, path, limits, attempt)
        if not attempt:
            return found
    if "words" in limits:
        return _fault(faults, path, value, f"must be {limits['words']}")
    faults.extend(attempt)
    return None


def _items(kind: Any, value: Any, path: str, limits: Mapping[str, Any], faults: list[str]) -> Any:
    of, *more = get_args(kind)
    if not isinstance(value, list | tuple) or (more and more[0] is not Ellipsis and len(value) != 1 + len(more)):
        count = "" if Ellipsis in more else f" of {1 + len(more)}"
        return _fault(faults, path, value, f"must be a list{count}")
    return tuple(_read(of, each, f"{path}[{number}]", limits, faults) for number, each in enumerate(value))


def _scalar(kind: Any, value: Any, path: str, limits: Mapping[str, Any], faults: list[str]) -> Any:
    if kind in (int, float):
        words = "a whole number" if kind is int else "a number"
        low, high = limits.get("low", -math.inf), limits.get("high", math.inf)
        if not math.isinf(low):
            words += f" from {low:g} to {high:g}"
        fits = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
        return kind(value) if fits and low <= value <= high else _fault(faults, path, value, f"must be {words}")
    words = {bool: "true or false", str: "text"}[kind]
    return value if isinstance(value, kind) else _fault(faults, path, value, f"must be {words}")


def _choice(value: Any, path: str, choices: tuple[Any, ...], faults: list[str]) -> Any:
    if any(value == each and type(value) is type(each) for each in choices):
        return value
    words = " or ".join("true" if each is True else "false" if each is False else str(each) for each in choices)
    return _fault(faults, path, value, f"must be {words}")


def _fault(faults: list[str], path: str, value: Any, words: str) -> None:
    shown = repr(value)
    faults.append(f"{path} is {shown if len(shown) < 60 else shown[:57] + '…'}; it {words}")
