"""A configuration back into the form people write: durations, sizes and modes as text, keys by their YAML names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

from pydantic.fields import FieldInfo

from stemd.core.config.faults import KeyPath, dotted
from stemd.core.config.fields import Section, Shown


def dump(section: Section) -> dict[str, Any]:
    """Plain values that ``load`` would read back into the same section."""
    return {
        field.alias or name: plain(getattr(section, name), field) for name, field in type(section).model_fields.items()
    }


def plain(value: Any, field: FieldInfo) -> Any:
    """One field's value as people write it."""
    if isinstance(value, Section):
        return dump(value)
    if isinstance(value, Mapping):
        return {key: dump(each) if isinstance(each, Section) else each for key, each in value.items()}
    form = _form(field.annotation, field.metadata)
    return form(value) if form and (value is not None or _takes_none(field)) else value


def _takes_none(field: FieldInfo) -> bool:
    """Whether the field's own form has a word for ``None`` (``paths.state``), rather than being optional."""
    return any(isinstance(each, Shown) for each in field.metadata)


def _form(annotation: Any, metadata: Any) -> Callable[[Any], Any] | None:
    for each in metadata:
        if isinstance(each, Shown):
            return each.form
    for arg in get_args(annotation):
        found = _form(arg, getattr(arg, "__metadata__", ()))
        if found:
            return found
    return None


def leaves(values: Mapping[str, Any], path: KeyPath = ()) -> Iterator[tuple[str, Any]]:
    """The dotted key and value of everything that is no section (an empty mapping counts as a value)."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*path, key))
        else:
            yield dotted((*path, key)), value
