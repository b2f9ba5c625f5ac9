"""The one exception. Its codes, kinds and remedies stand in ``stemd.core.error_table``.

The rest of the code raises ``StemdError("STEMD-A002", …)`` and never invents a code, a class or a remedy of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stemd.core.error_table import DISK_TROUBLE, NEVER_RETRIED, TABLE, ErrorClass, ErrorSpec, Exit, Stage

__all__ = ["DISK_TROUBLE", "NEVER_RETRIED", "TABLE", "ErrorClass", "ErrorSpec", "Exit", "Stage", "StemdError"]


class StemdError(Exception):
    """Any expected failure. Raised with a code of ``TABLE`` and a message that says what happened *here*.

    ``remedy`` replaces the table's remedy where the place knows a more exact one (a command to paste);
    ``detail`` carries machine-readable facts into ``error.json`` and logs.
    """

    def __init__(
        self, code: str, message: str = "", *, remedy: str | None = None, detail: Mapping[str, Any] | None = None
    ) -> None:
        self.spec = TABLE[code]
        self.message = message or self.spec.summary
        self.remedy = remedy or self.spec.remedy
        self.detail = dict(detail or {})
        super().__init__(f"{code}: {self.message}")

    @property
    def code(self) -> str:
        return self.spec.code

    @property
    def error_class(self) -> ErrorClass:
        return self.spec.error_class

    def to_dict(self) -> dict[str, Any]:
        """The JSON form used by ``error.json``, ``status/`` and the worker's wire."""
        return {
            "code": self.code,
            "class": self.spec.error_class.value,
            "stage": self.spec.stage.value,
            "message": self.message,
            "remedy": self.remedy,
            "retryable": self.spec.retryable,
            **({"detail": self.detail} if self.detail else {}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> StemdError:
        """The inverse of ``to_dict``; an unknown code becomes STEMD-X001 and keeps its message."""
        code = str(data.get("code", ""))
        if code not in TABLE:
            return cls("STEMD-X001", f"unknown code {code!r}: {data.get('message', '')}")
        return cls(code, str(data.get("message", "")), remedy=data.get("remedy"), detail=data.get("detail"))
