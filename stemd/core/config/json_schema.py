"""The JSON Schema of ``stemd.yaml``, for editors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stemd.core.config.dump import plain
from stemd.core.config.fields import Section
from stemd.core.config.model import Config
from stemd.core.config.validate import section_of

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a complete configuration, with defaults as people write them."""
    found = Config.model_json_schema()
    bodies = {**found["$defs"], Config.__name__: found}
    for section in _sections(Config):
        if section is not Config:
            bodies[section.__name__]["type"] = ["object", "null"]  # a section without a body is all defaults
        for name, field in section.model_fields.items():
            body = bodies[section.__name__]["properties"][field.alias or name]
            if "default" in body:
                body["default"] = plain(field.default, field)
    return {"$schema": DIALECT, **found, "title": "stemd.yaml", "description": "Configuration of stemd."}


def _sections(model: type[Section]) -> Iterator[type[Section]]:
    yield model
    for field in model.model_fields.values():
        inner = section_of(field.annotation)
        if inner:
            yield from _sections(inner)
