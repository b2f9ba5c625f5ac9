"""What all pages have in common: head, header, tables that read well at any width."""

from __future__ import annotations

from collections.abc import Sequence

from stemd import __version__
from stemd.core.access import Person
from stemd.ops.web.markup import Child, Markup, document, h

#: A word and a shape for each state, so that no colour is needed to tell them apart.
_SHAPES = {
    "waiting": "○", "deferred": "◔", "held": "‖", "running": "▶", "retry_wait": "↻", "publishing": "▷", "done": "✓",
    "failed": "✕", "cancelled": "⊘", "erased": "∅",
}  # fmt: skip


def page(title: str, person: Person | None, *body: Child, live: bool = False) -> bytes:
    """A page. ``live``: the script fetches it again every two seconds and exchanges what is different."""
    head = h(
        "head",
        None,
        h("meta", {"charset": "utf-8"}),
        h("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        h("meta", {"name": "color-scheme", "content": "light dark"}),
        h("title", None, title),
        h("link", {"rel": "icon", "href": "/static/icon.svg", "type": "image/svg+xml"}),
        h("link", {"rel": "stylesheet", "href": "/static/stemd.css"}),
        h("script", {"src": "/static/live.js", "defer": True}),
        h("script", {"src": "/static/player.js", "defer": True}),
    )
    pause = h("button", {"type": "button", "id": "pause", "hidden": True, "aria-pressed": "false"}, "Pause updates")
    note = h("span", {"id": "note", "hidden": True}, "")
    header = h(
        "header",
        None,
        h("a", {"class": "skip", "href": "#main"}, "To the content"),
        h(
            "nav",
            {"aria-label": "Pages"},
            h("a", {"class": "home", "href": "/"}, "stemd"),
            h("a", {"href": "/jobs"}, "All jobs"),
        ),
        h("div", {"class": "tools"}, (note, pause) if live else None, _who(person)),
    )
    footer = h("footer", None, h("p", None, f"stemd {__version__}. This page only shows; the command line steers."))
    main = h("main", {"id": "main", "tabindex": "-1"}, *body)
    return document(h("html", {"lang": "en"}, head, h("body", {"data-live": live}, header, main, footer)))


def _who(person: Person | None) -> Markup | None:
    if person is None or person.name is None:
        return None
    button = h("button", {"type": "submit"}, "Sign out")
    return h(
        "form", {"method": "post", "action": "/sign-out"}, h("bdi", None, person.name), f" ({person.role}) ", button
    )


def name(value: str) -> Markup:
    """A name that people gave: its writing direction ends where it does."""
    return h("bdi", None, value)


def state(value: str) -> Markup:
    """A state as shape and word."""
    shape = h("span", {"aria-hidden": "true"}, _SHAPES.get(value, "·"))
    return h("span", {"class": f"state {value}" if value in _SHAPES else "state"}, shape, " ", value.replace("_", " "))


def command(value: str) -> Markup:
    """A command to copy; the button appears where there is a script."""
    button = h(
        "button", {"type": "button", "class": "copy", "hidden": True, "aria-label": f"Copy the command {value}"}, "Copy"
    )
    return h("span", {"class": "command"}, h("code", None, value), " ", button)


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[Child]]) -> Markup:
    """A table; on a narrow screen each row becomes a block (which is why the roles are spelt out)."""
    head = [h("th", {"scope": "col", "role": "columnheader"}, column) for column in columns]
    body = [
        h(
            "tr",
            {"role": "row"},
            h("th", {"scope": "row", "role": "rowheader"}, row[0]),
            *(
                h("td", {"role": "cell", "data-label": column}, cell)
                for column, cell in zip(columns[1:], row[1:], strict=True)
            ),
        )
        for row in rows
    ]
    return h(
        "table",
        {"role": "table"},
        h("caption", None, caption),
        h("thead", {"role": "rowgroup"}, h("tr", {"role": "row"}, *head)),
        h("tbody", {"role": "rowgroup"}, *body),
    )


def section(identity: str, title: str, *body: Child) -> Markup:
    """A part of a page with its heading."""
    heading = h("h2", {"id": f"{identity}-title"}, title)
    return h("section", {"id": identity, "aria-labelledby": f"{identity}-title"}, heading, *body)
