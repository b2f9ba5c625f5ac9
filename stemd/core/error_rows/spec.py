"""What a row of the error table says: its code, its kind, what happened, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ErrorClass(StrEnum):
    """What kind of trouble it is. A closed list: also metric labels and the key of the retry policy."""

    DECODE = "decode"
    UNSUPPORTED = "unsupported"
    MODEL_MISSING = "model_missing"
    OOM = "oom"
    TIMEOUT = "timeout"
    ENGINE_CRASH = "engine_crash"
    DISK_FULL = "disk_full"
    IO_ERROR = "io_error"
    PERMISSION = "permission"
    QUOTA = "quota"
    VANISHED = "vanished"
    INVALID_JOB = "invalid_job"
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"
    INTERNAL = "internal"


class Stage(StrEnum):
    """Where on a job's path (or around it) the trouble arose."""

    CONFIG = "config"
    STARTUP = "startup"
    INTAKE = "intake"
    LOAD = "load"
    DECODE = "decode"
    SEPARATE = "separate"
    ENCODE = "encode"
    PUBLISH = "publish"
    CONTROL = "control"


class Exit:
    """Exit statuses of the command line (``sysexits.h`` where it has a word for it)."""

    OK = 0
    GENERAL = 1
    USAGE = 2
    BAD_AUDIO = 65
    NO_INPUT = 66
    NOT_RUNNING = 69
    SOFTWARE = 70
    TRY_LATER = 75
    REFUSED = 77
    BAD_CONFIG = 78
    INTERRUPTED = 130


#: Classes whose jobs are never tried again by themselves.
NEVER_RETRIED = frozenset(
    {
        ErrorClass.DECODE,
        ErrorClass.UNSUPPORTED,
        ErrorClass.INVALID_JOB,
        ErrorClass.PERMISSION,
        ErrorClass.QUOTA,
        ErrorClass.VANISHED,
        ErrorClass.CANCELLED,
    }
)

#: Classes that tell of the disk, not of the job: they may pass, and they must not end the daemon.
DISK_TROUBLE = frozenset({ErrorClass.DISK_FULL, ErrorClass.IO_ERROR})


@dataclass(frozen=True, slots=True)
class ErrorSpec:
    """One row of the table.

    ``summary`` says what happened in general, ``remedy`` what a person does about it, ``detail`` (optional) what
    else helps to understand it. ``exit`` is the status a command ends with when this is its result.
    """

    code: str
    error_class: ErrorClass
    stage: Stage
    exit: int
    summary: str
    remedy: str
    detail: str = ""

    @property
    def retryable(self) -> bool:
        """Whether stemd tries again by itself."""
        return self.error_class not in NEVER_RETRIED
