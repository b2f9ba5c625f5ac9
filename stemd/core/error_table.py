"""The table of everything that can go wrong.

Every failure a person can meet has a row in it; ``stemd explain`` and ``docs/errors.md`` print them.
"""

from __future__ import annotations

from collections.abc import Mapping

from stemd.core.error_rows import service, work
from stemd.core.error_rows.spec import DISK_TROUBLE, NEVER_RETRIED, ErrorClass, ErrorSpec, Exit, Stage

__all__ = ["DISK_TROUBLE", "NEVER_RETRIED", "TABLE", "ErrorClass", "ErrorSpec", "Exit", "Stage"]


def _table(*rows: ErrorSpec) -> Mapping[str, ErrorSpec]:
    table = {row.code: row for row in rows}
    assert len(table) == len(rows), "a code stands twice in the error table"
    return table


TABLE: Mapping[str, ErrorSpec] = _table(*service.ROWS, *work.ROWS)
