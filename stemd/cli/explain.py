"""``stemd explain CODE``: the page of an error, from the one table; ``docs/errors.md`` is made from it too."""

from __future__ import annotations

from pathlib import Path

import click

from stemd.cli import options, report
from stemd.core.errors import TABLE, ErrorSpec

_FAMILIES = {
    "C": "Configuration",
    "S": "Spool",
    "A": "Audio",
    "M": "Models",
    "E": "Engines",
    "R": "Resources",
    "P": "Policy",
    "X": "Bugs of ours",
}


@click.command()
@click.argument("code", required=False)
@click.option("--markdown", is_flag=True, hidden=True, help="The whole table as docs/errors.md.")
@options.common
def explain(config_file: Path | None, as_json: bool, code: str | None, markdown: bool) -> None:
    """The page of an error: what CODE means and what to do. Without CODE, all of them.

    CODE may be given as `STEMD-S006`, `stemd-s006` or `S006`.
    """
    if markdown:
        click.echo(errors_markdown(), nl=False)
    elif code is None and as_json:
        report.document(errors=[_fields(row) for row in TABLE.values()])
    elif code is None:
        click.echo(
            report.table(("CODE", "CLASS", "SUMMARY"), [(r.code, r.error_class, r.summary) for r in TABLE.values()])
        )
    else:
        row = lookup(code)
        report.document(**_fields(row)) if as_json else click.echo(page(row))


def lookup(code: str) -> ErrorSpec:
    """The row of a code as people type it."""
    wanted = code.strip().upper()
    row = TABLE.get(wanted) or TABLE.get(f"STEMD-{wanted}")
    if row is None:
        raise click.BadParameter(f"there is no code {code!r}; `stemd explain` lists them all", param_hint="CODE")
    return row


def page(row: ErrorSpec) -> str:
    """One error for a person."""
    again = "by itself, later" if row.retryable else "not by itself; `stemd retry JOB` does"
    lines = [
        f"{row.code}  {row.summary}",
        "",
        f"What to do:   {row.remedy}",
        *([f"Good to know: {row.detail}"] if row.detail else []),
        "",
        f"Class {row.error_class} · while: {row.stage} · tried again {again} · exit status {row.exit}",
    ]
    return "\n".join(lines)


def errors_markdown() -> str:
    """``docs/errors.md``."""
    lines = [
        "# Error codes",
        "",
        "Every failure has a code, and every code has a remedy. `stemd explain CODE` prints the same in a terminal.",
        "This page is made from the table in `stemd/core/errors.py` by `stemd explain --markdown > docs/errors.md`.",
    ]
    for letter, title in _FAMILIES.items():
        rows = [row for row in TABLE.values() if row.code.startswith(f"STEMD-{letter}")]
        lines += ["", f"## {letter}: {title}", *(line for row in rows for line in _section(row))]
    return "\n".join(lines) + "\n"


def _section(row: ErrorSpec) -> list[str]:
    return [
        "",
        f"### {row.code}",
        "",
        row.summary,
        "",
        f"**What to do:** {row.remedy}",
        *(["", row.detail] if row.detail else []),
        "",
        f"Class `{row.error_class}`, while: {row.stage}; "
        f"{'tried again by itself' if row.retryable else 'not tried again by itself'}; exit status {row.exit}.",
    ]


def _fields(row: ErrorSpec) -> dict[str, object]:
    return {
        "code": row.code,
        "class": row.error_class.value,
        "stage": row.stage.value,
        "summary": row.summary,
        "remedy": row.remedy,
        "detail": row.detail,
        "retryable": row.retryable,
        "exit": row.exit,
    }
