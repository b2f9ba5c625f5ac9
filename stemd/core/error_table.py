"""The table of everything that can go wrong: its code, its kind, what happened, and what to do about it.

Every failure a person can meet has a row here; ``stemd explain`` and ``docs/errors.md`` print them.
"""

from __future__ import annotations

from collections.abc import Mapping
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


def _table(*rows: ErrorSpec) -> Mapping[str, ErrorSpec]:
    table = {row.code: row for row in rows}
    assert len(table) == len(rows), "a code stands twice in the error table"
    return table


_C, _S, _E = ErrorClass, Stage, Exit

TABLE: Mapping[str, ErrorSpec] = _table(
    # C: configuration
    ErrorSpec(
        "STEMD-C001", _C.INVALID_JOB, _S.CONFIG, _E.BAD_CONFIG,
        "The configuration file cannot be read.",
        "Check the path given with -c/--config and that the user stemd runs as may read it; "
        "`stemd config init` writes a commented first one.",
    ),
    ErrorSpec(
        "STEMD-C002", _C.INVALID_JOB, _S.CONFIG, _E.BAD_CONFIG,
        "The configuration has faults.",
        "Mend each fault at the file:line:column it names, then run `stemd config check`.",
        "All faults are reported at once. A running daemon that is told to reload keeps its old configuration.",
    ),
    ErrorSpec(
        "STEMD-C003", _C.UNSUPPORTED, _S.CONFIG, _E.BAD_CONFIG,
        "The configuration asks for something this version cannot do.",
        "Remove the setting the message names, or install a version that has it.",
    ),
    ErrorSpec(
        "STEMD-C004", _C.IO_ERROR, _S.STARTUP, _E.BAD_CONFIG,
        "The HTTP port cannot be opened.",
        "Set `http.listen` to a free address, or to null for no port; `ss -ltnp` shows who holds it.",
    ),
    # S: spool
    ErrorSpec(
        "STEMD-S001", _C.PERMISSION, _S.STARTUP, _E.TRY_LATER,
        "Another process owns this spool.",
        "Stop the other stemd first (`systemctl stop stemd`, or see `fuser ROOT/.lock`), or give this one "
        "a spool of its own.",
    ),
    ErrorSpec(
        "STEMD-S002", _C.IO_ERROR, _S.STARTUP, _E.BAD_CONFIG,
        "The folders of the spool are not on one mount.",
        "Put inbox, work, outbox, orphan and status below one root on one file system and mount the root as "
        "a whole: a rename between two mounts cannot be atomic.",
    ),
    ErrorSpec(
        "STEMD-S003", _C.PERMISSION, _S.STARTUP, _E.BAD_CONFIG,
        "The spool cannot be written.",
        "Give the user stemd runs as write access to the spool root and its folders, and make sure the file "
        "system is not mounted read-only.",
    ),
    ErrorSpec(
        "STEMD-S004", _C.UNSUPPORTED, _S.STARTUP, _E.BAD_CONFIG,
        "The file system lacks something the spool needs.",
        "Use a local file system (ext4, XFS, btrfs, ZFS) or NFS for the spool; the message names the call that failed.",
    ),
    ErrorSpec(
        "STEMD-S005", _C.IO_ERROR, _S.STARTUP, _E.BAD_CONFIG,
        "The spool root does not exist.",
        "Mount it, or create it once: `mkdir -p ROOT`, owned by the user stemd runs as.",
    ),
    ErrorSpec(
        "STEMD-S006", _C.PERMISSION, _S.INTAKE, _E.REFUSED,
        "stemd may not read this file or folder.",
        "Let the service's user or group read it: `chmod g+r FILE` (folders `g+rwx`), with the inbox set-group-id "
        "(`chmod g+s`) so that new files inherit its group.",
        "The file stays in the inbox and is taken as soon as it can be read.",
    ),
    ErrorSpec(
        "STEMD-S007", _C.UNSUPPORTED, _S.INTAKE, _E.BAD_AUDIO,
        "This is not a regular file.",
        "Drop the file itself instead of a symbolic link, FIFO, socket or device.",
        "It stays in the inbox and is never opened.",
    ),
    ErrorSpec(
        "STEMD-S008", _C.VANISHED, _S.INTAKE, _E.NO_INPUT,
        "The file disappeared before it was taken.",
        "Nothing, if you moved it away on purpose; else drop it again.",
    ),
    ErrorSpec(
        "STEMD-S009", _C.UNSUPPORTED, _S.INTAKE, _E.BAD_AUDIO,
        "This is not something stemd takes.",
        "Drop audio files (wav, flac, mp3, ogg, opus, m4a, aiff, …), or a folder with audio files or a job.yaml. "
        "Temporary and hidden names are left alone on purpose.",
        "It stays in the inbox untouched.",
    ),
    ErrorSpec(
        "STEMD-S010", _C.INVALID_JOB, _S.INTAKE, _E.BAD_AUDIO,
        "The job description has faults.",
        "Mend each fault at the file:line:column it names and drop it again (or `stemd retry`).",
    ),
    ErrorSpec(
        "STEMD-S011", _C.INVALID_JOB, _S.INTAKE, _E.BAD_AUDIO,
        "This job_uuid was already used for other content.",
        "Give the job a job_uuid of its own, or none: stemd makes one.",
    ),
    ErrorSpec(
        "STEMD-S012", _C.INTERNAL, _S.STARTUP, _E.SOFTWARE,
        "A folder in work/ is in no known state.",
        "Look at it below orphan/_unknown/, where it was moved; nothing in it was deleted.",
    ),
    ErrorSpec(
        "STEMD-S013", _C.IO_ERROR, _S.PUBLISH, _E.GENERAL,
        "A finished file did not read back as it was written.",
        "Check the disk (`dmesg`, `smartctl -a`) and the memory; the job is done again by itself.",
    ),
    ErrorSpec(
        "STEMD-S014", _C.IO_ERROR, _S.PUBLISH, _E.GENERAL,
        "The disk reported an error.",
        "Check the disk and its mount (`dmesg`, `smartctl -a`); what was being written is thrown away and redone.",
    ),
    ErrorSpec(
        "STEMD-S015", _C.INVALID_JOB, _S.CONTROL, _E.NO_INPUT,
        "There is no such job.",
        "`stemd list` shows the jobs; an id may be shortened as long as it stays unique.",
    ),
    ErrorSpec(
        "STEMD-S016", _C.INVALID_JOB, _S.CONTROL, _E.USAGE,
        "The job's state does not allow this.",
        "`stemd status JOB` shows the state: only failed or cancelled jobs can be retried, only unfinished ones cancelled.",
    ),
    ErrorSpec(
        "STEMD-S017", _C.IO_ERROR, _S.CONTROL, _E.NOT_RUNNING,
        "No daemon is running on this spool.",
        "Start it: `systemctl start stemd`, or `stemd run` in the foreground.",
    ),
    ErrorSpec(
        "STEMD-S018", _C.INVALID_JOB, _S.CONTROL, _E.NO_INPUT,
        "There is no such file.",
        "Check the path; files that were taken are listed by `stemd list`.",
    ),
    # A: audio
    ErrorSpec(
        "STEMD-A001", _C.DECODE, _S.DECODE, _E.BAD_AUDIO,
        "The content is not audio that can be decoded.",
        "Open the file in an audio player; export it again as FLAC or WAV and drop that.",
        "The content decides, not the suffix.",
    ),
    ErrorSpec(
        "STEMD-A002", _C.DECODE, _S.DECODE, _E.BAD_AUDIO,
        "The recording is cut short: it holds fewer frames than it declares.",
        "Copy the file again from its origin (an interrupted upload?), then drop the complete one.",
    ),
    ErrorSpec(
        "STEMD-A003", _C.DECODE, _S.DECODE, _E.BAD_AUDIO,
        "The file is empty.",
        "Copy the file again from its origin; it has no bytes or no audio in it.",
    ),
    ErrorSpec(
        "STEMD-A004", _C.UNSUPPORTED, _S.DECODE, _E.BAD_AUDIO,
        "This format needs the ffmpeg program, which is not installed.",
        "Install it on the machine stemd runs on (`apt-get install ffmpeg`), then `stemd retry JOB`.",
    ),
    ErrorSpec(
        "STEMD-A005", _C.UNSUPPORTED, _S.DECODE, _E.BAD_AUDIO,
        "The sample rate or channel layout is outside what stemd handles.",
        "Convert the file to 8–192 kHz first.",
    ),
    ErrorSpec(
        "STEMD-A006", _C.UNSUPPORTED, _S.ENCODE, _E.BAD_AUDIO,
        "The output format cannot hold this audio.",
        "Ask for another `output.format` or `bit_depth`; the message says which fit.",
    ),
    # M: models
    ErrorSpec(
        "STEMD-M001", _C.MODEL_MISSING, _S.LOAD, _E.TRY_LATER,
        "The model's weights are not on this machine.",
        "Fetch them once: `stemd models fetch MODEL` (with --from DIR where there is no network). "
        "The waiting jobs then go on by themselves.",
    ),
    ErrorSpec(
        "STEMD-M002", _C.INVALID_JOB, _S.LOAD, _E.BAD_AUDIO,
        "The engine has no model of this name.",
        "`stemd models list` shows the names.",
    ),
    ErrorSpec(
        "STEMD-M003", _C.IO_ERROR, _S.LOAD, _E.GENERAL,
        "The model's file is damaged: its sha256 is not the recorded one.",
        "`stemd models fetch --force MODEL` replaces it; `stemd models verify` checks all.",
    ),
    ErrorSpec(
        "STEMD-M004", _C.UNSUPPORTED, _S.LOAD, _E.GENERAL,
        "The model's file cannot be loaded.",
        "Use a safetensors file in the form `demucs` writes; files in pickle form (.th) are refused because "
        "loading one runs code.",
    ),
    ErrorSpec(
        "STEMD-M005", _C.IO_ERROR, _S.LOAD, _E.TRY_LATER,
        "The model's weights could not be fetched.",
        "Check the network and try again, or copy the files here and use `stemd models fetch MODEL --from DIR`.",
    ),
    # E: engines
    ErrorSpec(
        "STEMD-E001", _C.INVALID_JOB, _S.LOAD, _E.BAD_AUDIO,
        "There is no engine of this name.",
        "`stemd engines` shows those installed.",
    ),
    ErrorSpec(
        "STEMD-E002", _C.UNSUPPORTED, _S.LOAD, _E.GENERAL,
        "The engine's packages are not installed or do not load.",
        "Install them into stemd's environment (`pip install 'stemd[demucs]'`); `stemd doctor` shows what is missing.",
    ),
    ErrorSpec(
        "STEMD-E003", _C.INVALID_JOB, _S.LOAD, _E.BAD_AUDIO,
        "The model cannot give the stems that were asked for.",
        "Ask for stems the model has (`stemd models list` shows them), or for another model.",
    ),
    ErrorSpec(
        "STEMD-E004", _C.INVALID_JOB, _S.LOAD, _E.BAD_AUDIO,
        "An engine option is unknown or out of range.",
        "Mend the option the message names; docs/engines.md lists each engine's options.",
    ),
    ErrorSpec(
        "STEMD-E005", _C.ENGINE_CRASH, _S.SEPARATE, _E.GENERAL,
        "The worker process died.",
        "The job is tried again by itself. If it keeps happening with one file, look at its job.log.jsonl and "
        "report it with the file.",
    ),
    ErrorSpec(
        "STEMD-E006", _C.ENGINE_CRASH, _S.SEPARATE, _E.GENERAL,
        "The engine failed while separating.",
        "The job is tried again by itself; its job.log.jsonl holds the trace.",
    ),
    ErrorSpec(
        "STEMD-E007", _C.ABANDONED, _S.SEPARATE, _E.GENERAL,
        "The job was given up after too many interruptions.",
        "Look at what interrupted it (job.log.jsonl, `journalctl -u stemd`, power), then `stemd retry JOB`.",
    ),
    # R: resources
    ErrorSpec(
        "STEMD-R001", _C.OOM, _S.SEPARATE, _E.GENERAL,
        "There was not enough memory.",
        "Give the job or the machine more memory, or ask for a smaller `options.segment`; it is tried again by itself.",
    ),
    ErrorSpec(
        "STEMD-R002", _C.TIMEOUT, _S.SEPARATE, _E.GENERAL,
        "The job ran longer than its time limit.",
        "Raise `limits.time` (engine or job), or split the recording.",
    ),
    ErrorSpec(
        "STEMD-R003", _C.DISK_FULL, _S.ENCODE, _E.TRY_LATER,
        "The disk is full.",
        "Free some space below the spool (finished folders in outbox/, old ones in orphan/); the job is tried again by itself.",
    ),
    # P: policy
    ErrorSpec(
        "STEMD-P001", _C.PERMISSION, _S.INTAKE, _E.REFUSED,
        "The job claims a user the inbox does not belong to.",
        "Drop it into that user's own inbox, or let the operator set `trust: manifest` for this inbox.",
    ),
    ErrorSpec(
        "STEMD-P002", _C.CANCELLED, _S.CONTROL, _E.GENERAL,
        "The job was cancelled.",
        "`stemd retry JOB` puts it back into the queue.",
    ),
    ErrorSpec(
        "STEMD-P003", _C.PERMISSION, _S.CONTROL, _E.REFUSED,
        "You may not do this.",
        "Ask the operator, or run the command as the service's user (`sudo -u stemd stemd …`).",
    ),
    ErrorSpec(
        "STEMD-P004", _C.PERMISSION, _S.INTAKE, _E.REFUSED,
        "The user may not use this engine or model.",
        "Ask for one of those the message names, or let the operator extend `users.NAME.engines` or `models`.",
    ),
    # X: our bug
    ErrorSpec(
        "STEMD-X001", _C.INTERNAL, _S.SEPARATE, _E.SOFTWARE,
        "stemd hit a bug of its own.",
        "Please report it with the trace from job.log.jsonl or the log; the source is untouched.",
    ),
)  # fmt: skip
