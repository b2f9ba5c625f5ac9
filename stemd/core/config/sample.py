"""The commented reference file: every key with its meaning and its default, written from the model."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.fields import FieldInfo

from stemd.core.config import tree
from stemd.core.config.dump import plain
from stemd.core.config.engines import BUILT_IN, EngineConfig
from stemd.core.config.fields import Section, is_section
from stemd.core.config.model import Config
from stemd.core.config.validate import section_of

_HEAD = """\
# yaml-language-server: $schema=./stemd.schema.json
#
# stemd.yaml: every key, its meaning and its default. Only `spool` is required.
#
# Order: defaults < this file < stemd.yaml.d/*.yaml beside it < STEMD_SECTION__KEY in the environment < flags.
# Durations: 500ms, 2s, 30m, 4h, 30d. Sizes: 512MiB, 6GiB (powers of 1024), 10GB (of 1000).
# null: no limit, off, for ever.
# `stemd config check` finds all faults at once; `stemd config show --origin` says where each value comes from.
"""
_PLAIN = re.compile(r"[A-Za-z0-9/][A-Za-z0-9/._+-]*(:[A-Za-z0-9/._+-]+)*")


def reference() -> str:
    """A complete ``stemd.yaml``: descriptions as comments, defaults as values, examples commented out."""
    lines = [_HEAD.rstrip()]
    for name, field in Config.model_fields.items():
        lines += ["", *_entry(field.alias or name, field, "")]
    return "\n".join(lines) + "\n"


def flow(value: Any) -> str:
    """A value on one line, as ``tree.read`` reads it back."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(key)}: {flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and tree.scalar(value, "").data == value:
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return json.dumps(value, ensure_ascii=False)


def _entry(key: str, field: FieldInfo, indent: str) -> Iterator[str]:
    yield from _comment(field.description or "", indent)
    inner = section_of(field.annotation)
    if inner is EngineConfig:
        yield f"{indent}engines:"
        yield from _engines(indent + "  ")
    elif is_section(field.default_factory) and inner:
        yield f"{indent}{key}:"
        yield from _body(inner, indent + "  ")
    elif inner:
        yield f"{indent}# {key}:"
        for name, example in field.examples[0].items() if field.examples else ():
            yield f"{indent}#   {name}: {flow(example)}"
    elif field.is_required():
        yield f"{indent}{key}: {flow(field.examples[0]) if field.examples else ''}"
    elif field.examples and (field.default_factory or field.default is None):
        yield f"{indent}# {key}: {flow(field.examples[0])}"
    else:
        yield f"{indent}{key}: {flow(plain(field.default, field))}"


def _body(section: type[Section], indent: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield from _entry(field.alias or name, field, indent)


def _engines(indent: str) -> Iterator[str]:
    """The first built-in engine in full, of the others what differs."""
    first, *others = BUILT_IN
    yield f"{indent}{first}:"
    yield from _body(EngineConfig, indent + "  ")
    for name in others:
        yield f"{indent}{name}: {flow(BUILT_IN[name])}"


def _comment(text: str, indent: str) -> Iterator[str]:
    for line in textwrap.wrap(text, 110 - len(indent)):
        yield f"{indent}# {line}"
