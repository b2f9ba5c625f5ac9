"""Every bound of a number, wherever it is declared, is kept: its edge is tried at each key of the model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from stemd.core.config import Config, load, schema
from stemd.core.config.fields import Section
from stemd.core.config.jobfile import _Job
from stemd.core.config.validate import section_of
from stemd.core.errors import StemdError

#: By how much the first number outside lies beyond the bound.
_BEYOND = {
    "gt": 0, "ge": -1, "lt": 0, "le": 1,
    "exclusiveMinimum": 0, "minimum": -1, "exclusiveMaximum": 0, "maximum": 1,
}  # fmt: skip
#: Waited for, or divided by: none of these may be nothing.
_NEVER_NOTHING = (
    "chunking.checkpoint", "scheduling.aging", "self_audit.every", "self_audit.rate", "handoff.timeout",
    "alerts.canary.every",
)  # fmt: skip


def sections(model: type[Section], prefix: str = "") -> Iterator[tuple[str, type[Section]]]:
    yield prefix, model
    for name, field in model.model_fields.items():
        if (inner := section_of(field.annotation)) is not None:
            yield from sections(inner, f"{prefix}{field.alias or name}.")


def annotated(metadata: Any, annotation: Any) -> Iterator[tuple[str, Any]]:
    """The bounds that a field's type and its ``Field`` name."""
    for each in metadata:
        yield from ((kind, getattr(each, kind)) for kind in ("gt", "ge", "lt", "le") if hasattr(each, kind))
        yield from annotated(getattr(each, "metadata", ()), None)
    for arg in get_args(annotation):
        yield from annotated(getattr(arg, "__metadata__", ()), arg)


def described(body: Any) -> Iterator[tuple[str, Any]]:
    """The bounds that its JSON Schema names."""
    yield from ((kind, body[kind]) for kind in _BEYOND if kind in body)
    for each in body.get("anyOf", ()):
        yield from described(each)


def edges() -> Iterator[tuple[str, type[Section], str, Any]]:
    document = schema()
    bodies = {**document["$defs"], "Config": document}
    for root, prefix in ((Config, ""), (_Job, "job.yaml: ")):
        for path, section in sections(root, prefix):
            properties = bodies.get(section.__name__, {}).get("properties", {}) if root is Config else {}
            for name, field in section.model_fields.items():
                key = field.alias or name
                for kind, bound in {
                    *annotated(field.metadata, field.annotation),
                    *described(properties.get(key, {})),
                }:
                    yield f"{path}{key} {kind} {bound}", section, key, bound + _BEYOND[kind]


EDGES = {label: rest for label, *rest in sorted(edges(), key=lambda edge: edge[0])}  # workers collect in one order


def test_bounds_are_found_wherever_they_are_declared() -> None:
    assert {label.split(" ")[-2] for label in EDGES} == _BEYOND.keys() - {"lt"}
    assert {"retry.tries ge 1", "alerts.disk.below le 1", "chunking.checkpoint minimum 0.001"} <= EDGES.keys()


@pytest.mark.parametrize("label", EDGES)
def test_what_lies_beyond_a_bound_is_refused(label: str) -> None:
    section, key, edge = EDGES[label]
    with pytest.raises(ValidationError) as caught:
        section.model_validate({key: edge})
    assert key in {error["loc"][0] for error in caught.value.errors()}


@pytest.mark.parametrize("key", _NEVER_NOTHING)
@pytest.mark.parametrize("nothing", [0, "0s", "0.0ms", "0B", "0.4B"])
def test_what_is_waited_for_or_divided_by_is_never_nothing(key: str, nothing: object) -> None:
    with pytest.raises(StemdError, match=rf"{key}: must be a (duration|size)"):
        load(flags={"spool": "/s", key: nothing}, environ={})
