"""What the disk keeps one part of a turn from must cost the other parts nothing."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import ParamSpec

from stemd.core.errors import DISK_TROUBLE, ErrorClass, StemdError
from stemd.ops import logs

P = ParamSpec("P")

#: How long what the disk refused is left alone (seconds).
PAUSE, REST = 1.0, 30.0


def survives(action: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> bool:
    """Do a part of the turn; whether it went through. The disk's troubles are told, whatever else goes on its way."""
    try:
        action(*args, **kwargs)
    except StemdError as error:
        if error.error_class not in DISK_TROUBLE:
            raise
        logs.get().error("disk_trouble", code=error.code, reason=error.message, remedy=error.remedy)
        return False
    return True


def bug(error: StemdError) -> dict[str, str]:
    """What the log needs beyond the reason where a bug is behind it: its trace."""
    if error.error_class is not ErrorClass.INTERNAL:
        return {}
    return {"trace": "".join(traceback.format_exception(error))}
