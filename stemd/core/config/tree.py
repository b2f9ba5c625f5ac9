"""YAML and JSON read into plain values, with the line and column of every key and value.

The scalars are those of YAML 1.2's core schema: ``NO`` is text (Norway), ``0640`` is text (a mode), ``12:30`` is text.
Files are bounded in bytes, depth and number of values, and aliases of text count against the bytes too, so that a
hostile one costs nothing.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from stemd.core.config.faults import Fault, KeyPath, Mark

MAX_DEPTH = 40
MAX_VALUES = 20_000

_BASE: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_SURROGATES = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_TAG = "tag:yaml.org,2002:"


class _Loader(_BASE):  # type: ignore[misc]
    """PyYAML's loader with YAML 1.2's implicit types in place of 1.1's."""


for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(f"^(?:{_pattern})$"), _first)


def _finite(text: str) -> float:
    """A number with a point or an exponent; one beyond what a float holds would be read as infinity."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large")
    return value


_CONVERT: dict[str, Any] = {
    "str": str,
    "null": lambda text: None,
    "bool": lambda text: text.lower() == "true",
    "int": int,
    "float": _finite,
}


@dataclass
class Document:
    """A file as read: ``data`` is plain values, ``marks`` the place of each by its path, ``faults`` what hindered."""

    data: Any = None
    marks: dict[KeyPath, Mark] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


class _UnreadableError(Exception):
    """Reading stops here; the fault is in the document already."""


def read(content: bytes, source: str, max_bytes: int) -> Document:
    """Read one YAML document (a JSON one, where ``source`` ends in ``.json``); never raises."""
    document = Document(marks={(): Mark(source, 1, 1)})
    try:
        text = _decode(content, source, max_bytes, document)
        if source.endswith(".json"):
            _read_json(text, source, max_bytes, document)
        else:
            _compose(text, source, max_bytes, document)
    except _UnreadableError:
        document.data = None
    return document


def scalar(text: str, source: str) -> Document:
    """One value as YAML writes it (from the environment): ``4``, ``30m``, ``[a, b]``."""
    document = read(text.encode("utf-8", "surrogateescape"), source, 65536)
    bare = Mark(source)
    document.marks = dict.fromkeys(document.marks, bare)
    document.faults = [Fault(source, None, None, fault.key, fault.message) for fault in document.faults]
    return document


def _decode(content: bytes, source: str, max_bytes: int, document: Document) -> str:
    if len(content) > max_bytes:
        raise _stop(document, Mark(source, 1, 1), f"the file is larger than {max_bytes // 1024} KiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = error.start - before.rfind(b"\n")
        raise _stop(document, Mark(source, line, column), "the file is not UTF-8 text") from None


def _stop(document: Document, mark: Mark, message: str, path: KeyPath = ()) -> _UnreadableError:
    """Note why reading ends; what to raise."""
    document.faults.append(Fault.at(mark, path, message))
    return _UnreadableError()


def _compose(text: str, source: str, max_bytes: int, document: Document) -> None:
    """Parse ``text`` as YAML into ``document``."""
    try:
        depth = 0
        for event in yaml.parse(text, Loader=_Loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise _stop(document, _mark(event, source), "nested too deep")
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        mark = Mark(source, at.line + 1, at.column + 1) if at else Mark(source, 1, 1)
        raise _stop(document, mark, f"not valid YAML: {error.problem or error.context}") from error
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        mark = Mark(source, before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise _stop(document, mark, "not valid YAML: a control character") from error
    if root is not None:
        document.data = _Builder(source, document, max_bytes).build(root, (), Mark(source, 1, 1))


def _mark(node: Any, source: str) -> Mark:
    return Mark(source, node.start_mark.line + 1, node.start_mark.column + 1)


class _Builder:
    """Turns YAML nodes into values; aliases are followed, and count each time: no more than ``characters`` in all."""

    def __init__(self, source: str, document: Document, characters: int) -> None:
        self.source, self.document, self.values, self.characters = source, document, 0, characters

    def build(self, node: yaml.Node, path: KeyPath, mark: Mark) -> Any:
        self.values += 1
        self.spend(node, path, mark)
        if self.values > MAX_VALUES or len(path) > MAX_DEPTH:
            raise _stop(self.document, mark, "too many values (an alias that repeats itself?)", path[:1])
        self.document.marks[path] = mark
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(each, (*path, i), _mark(each, self.source)) for i, each in enumerate(node.value)]
        convert = _CONVERT.get(node.tag.removeprefix(_TAG))
        if convert is None:
            self.fault(node, path, f"the tag {node.tag} is not supported here")
            return None
        try:
            return convert(node.value)
        except ValueError:
            self.fault(node, path, "this number cannot be read")
            return None

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode):
                self.fault(key_node, path, "a key must be text")
            elif key in result:
                first = self.document.marks[(*path, key)]
                self.fault(key_node, (*path, key), f"stands twice (first in line {first.key_line})")
            else:
                value, at = _mark(value_node, self.source), _mark(key_node, self.source)
                mark = Mark(self.source, value.line, value.column, at.line, at.column)
                self.spend(key_node, path, at)
                result[key] = self.build(value_node, (*path, key), mark)
        return result

    def spend(self, node: yaml.Node, path: KeyPath, mark: Mark) -> None:
        """A scalar's text is part of the file's: only with aliases can there be more of it than a file may have."""
        if isinstance(node, yaml.ScalarNode):
            self.characters -= len(node.value)
        if self.characters < 0:
            raise _stop(self.document, mark, "too much text (an alias that repeats itself?)", path[:1])

    def fault(self, node: yaml.Node, path: KeyPath, message: str) -> None:
        self.document.faults.append(Fault.at(_mark(node, self.source), path, message))


def _read_json(text: str, source: str, max_bytes: int, document: Document) -> None:
    """Values as JSON has them; places from reading the same text as YAML, of which JSON is nearly a part."""
    try:
        data = json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise _stop(document, Mark(source, error.lineno, error.colno), f"not valid JSON: {error.msg}") from error
    except (RecursionError, ValueError):
        raise _stop(document, Mark(source, 1, 1), "not valid JSON: nested too deep, or a number that is none") from None
    _compose(_SURROGATES.sub(lambda pair: "x" * len(pair[0]), text), source, max_bytes, document)
    document.data = data


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is not a number")
