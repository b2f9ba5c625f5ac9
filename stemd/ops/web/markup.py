"""HTML as values. Text is escaped because it is text: only what this module made can be put into a page unescaped.

File names are hostile: control characters, overrides of the writing direction and undecodable bytes become escapes.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping

from stemd.core.job import printable

_VOID = frozenset({"meta", "link", "input", "br"})
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*")


class Markup:
    """A piece of a page. Made by ``h`` only."""

    __slots__ = ("_html",)

    def __init__(self, made: str) -> None:
        self._html = made

    def __str__(self) -> str:
        return self._html


#: What may stand in an element: text, elements, nothing, or several of them.
Child = str | int | Markup | None | Iterable["Child"]
Attributes = Mapping[str, str | int | float | bool | None]


def h(tag: str, attributes: Attributes | None = None, *children: Child) -> Markup:
    """The element ``tag``. An attribute that is ``True`` has no value; ``None`` or ``False``: it is not there."""
    assert _NAME.fullmatch(tag)
    start = tag + "".join(_attribute(name, value) for name, value in (attributes or {}).items())
    if tag in _VOID:
        return Markup(f"<{start}>")
    return Markup(f"<{start}>{''.join(map(_child, children))}</{tag}>")


def document(root: Markup) -> bytes:
    """A whole page."""
    return f"<!doctype html>\n{root}\n".encode()


def text(value: str) -> str:
    """Text as it stands in a page."""
    return html.escape(printable(value), quote=True)


def _child(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return str(child)
    if isinstance(child, str | int):
        return text(str(child))
    return "".join(map(_child, child))


def _attribute(name: str, value: str | float | bool | None) -> str:
    assert _NAME.fullmatch(name) and name != "style" and not name.startswith("on"), "the policy forbids it"
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{text(str(value))}"'
