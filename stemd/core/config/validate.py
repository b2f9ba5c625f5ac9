"""A merged tree against a model: pydantic's errors as faults in our words, with places and suggestions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from stemd.core.config import units
from stemd.core.config.faults import MOST, Fault, KeyPath, Mark, did_you_mean
from stemd.core.config.fields import Section, is_section

Locate = Callable[[KeyPath], Mark]

_MUST_BE = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "string_too_short": "text, not empty",
    "model_type": "a mapping",
    "mapping_type": "a mapping",
    "dict_type": "a mapping",
    "finite_number": "a number",
}


def faults_of(error: ValidationError, model: type[Section], locate: Locate) -> list[Fault]:
    """One fault for each of pydantic's errors. What was perhaps meant is looked for where it will be shown only."""
    found = sorted(((*_place(detail, locate), detail) for detail in error.errors(include_url=False)), key=_order)
    return [
        Fault.at(mark, path, _message(detail, path, model if number < MOST else None))
        for number, (mark, path, detail) in enumerate(found)
    ]


def _order(found: tuple[Mark, KeyPath, ErrorDetails]) -> tuple[bool, str, int, int]:
    return found[0].order


def _place(detail: ErrorDetails, locate: Locate) -> tuple[Mark, KeyPath]:
    bad_key = "[key]" in detail["loc"]
    path = tuple(part for part in detail["loc"] if part != "[key]")
    mark = locate(path)
    return mark.key if bad_key or detail["type"] == "extra_forbidden" else mark, path


def _message(detail: ErrorDetails, path: KeyPath, model: type[Section] | None) -> str:
    """What is wrong, with what of ``model`` was perhaps meant."""
    kind, context, given = detail["type"], detail.get("ctx", {}), units.show(detail["input"])
    if kind == "value_error":
        return str(context["error"])
    if kind == "extra_forbidden":
        return f"unknown key{_suggest(path, model) if model else ''}"
    if kind == "missing":
        return "is required"
    if kind == "literal_error":
        allowed = str(context["expected"]).replace("'", "")
        words = allowed.replace(" or ", ", ").split(", ")
        return f"must be {allowed}, not {given}{did_you_mean(detail['input'], words) if model else ''}"
    if kind in _MUST_BE:
        return f"must be {_MUST_BE[kind]}, not {given}"
    return f"{detail['msg'][:1].lower()}{detail['msg'][1:].replace('input should be', 'must be')}, not {given}"


def _suggest(path: KeyPath, model: type[Section]) -> str:
    """The nearest key of the same mapping; else where in the tree a key of this name belongs."""
    section = section_at(model, path[:-1])
    near = did_you_mean(path[-1], key_names(section)) if section else ""
    if near:
        return near
    elsewhere = [dotted for dotted, name in _all_keys(model) if name == path[-1]]
    return f" (did you mean {' or '.join(elsewhere[:2])}?)" if elsewhere else ""


def key_names(model: type[Section]) -> list[str]:
    """The keys of a section as written in YAML."""
    return [field.alias or name for name, field in model.model_fields.items()]


def section_of(annotation: Any) -> type[Section] | None:
    """The section inside an annotation such as ``Section | None`` or ``Mapping[Name, Section]``."""
    if is_section(annotation):
        return annotation  # type: ignore[no-any-return]
    return next((found for arg in get_args(annotation) if (found := section_of(arg))), None)


def is_mapping(annotation: Any) -> bool:
    """Whether a field holds sections by name."""
    return any(getattr(each, "__origin__", None) is Mapping for each in (annotation, *get_args(annotation)))


def section_at(model: type[Section], path: KeyPath) -> type[Section] | None:
    """The section that the mapping at ``path`` is read into."""
    rest = list(path)
    current: type[Section] | None = model
    while rest and current:
        key = rest.pop(0)
        field = next((field for name, field in current.model_fields.items() if key in {name, field.alias}), None)
        current = section_of(field.annotation) if field else None
        if field and is_mapping(field.annotation):
            if not rest:
                return None
            rest.pop(0)
    return current


def _all_keys(model: type[Section], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        key = field.alias or name
        yield prefix + key, key
        inner = section_of(field.annotation)
        if inner:
            yield from _all_keys(inner, f"{prefix}{key}.{'NAME.' if is_mapping(field.annotation) else ''}")


def without(data: dict[str, Any], error: ValidationError) -> dict[str, Any]:
    """A copy of ``data`` without the values that are at fault, so that the rest can be checked too."""
    pruned = copy.deepcopy(data)
    for detail in error.errors(include_url=False):
        path = [part for part in detail["loc"] if part != "[key]"]
        parent: Any = pruned
        for part in path[:-1]:
            parent = parent.get(part) if isinstance(parent, dict) else None
        if path and isinstance(parent, dict):
            parent.pop(path[-1], None)
    return pruned
