"""Rows of the service itself: C (configuration) and S (spool)."""

from __future__ import annotations

from stemd.core.error_rows.spec import ErrorClass, ErrorSpec, Exit, Stage

_C, _S, _E = ErrorClass, Stage, Exit

ROWS = (
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
        "STEMD-C004", _C.IO_ERROR, _S.STARTUP, _E.TRY_LATER,
        "The HTTP port cannot be opened.",
        "Set `http.listen` to a free address, or to null for no port; `ss -ltnp` shows who holds it.",
    ),
    ErrorSpec(
        "STEMD-C005", _C.UNSUPPORTED, _S.CONFIG, _E.BAD_CONFIG,
        "A setting needs a network that the service does not have.",
        "Use what the message names instead; or remove the drop-in 10-no-network.conf, or install 30-network.conf "
        "(docs/operating.md), as the message says.",
        "`handoff.directory` and `handoff.command` need no network, `stemd models fetch` uses that of the command line, and "
        "alerts leave through whoever asks for /metrics. The unit as it is shipped lets the service speak with this machine only.",
    ),
    # S: spool
    ErrorSpec(
        "STEMD-S001", _C.PERMISSION, _S.STARTUP, _E.TRY_LATER,
        "Another process owns this spool.",
        "Stop the other stemd first (`systemctl stop stemd`, or see `fuser ROOT/.lock`), or give this one "
        "a spool of its own.",
    ),
    ErrorSpec(
        "STEMD-S002", _C.IO_ERROR, _S.STARTUP, _E.TRY_LATER,
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
        "STEMD-S005", _C.IO_ERROR, _S.STARTUP, _E.TRY_LATER,
        "The spool root is not there.",
        "Mount it, or create it once: `mkdir -p ROOT`, owned by the user stemd runs as.",
        "So it is too where its mount is, but the server or the program behind it does not answer.",
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
    ErrorSpec(
        "STEMD-S019", _C.IO_ERROR, _S.STARTUP, _E.TRY_LATER,
        "The spool is not there: its root is empty.",
        "Mount it. Only for a new spool: `mkdir ROOT/inbox` once, owned by the user stemd runs as.",
        "A root with neither the marker `.stemd-spool` nor an inbox is taken for the folder below a missing mount; "
        "nothing is written there.",
    ),
    ErrorSpec(
        "STEMD-S020", _C.IO_ERROR, _S.STARTUP, _E.TRY_LATER,
        "The spool vanished while stemd was running.",
        "Mount it again; the service manager starts stemd again, and what was at work goes on where it was.",
        "Its root is another folder than at the start: unmounted, mounted over, or renamed. stemd stopped at once and "
        "wrote nothing into what is there now.",
    ),
    ErrorSpec(
        "STEMD-S021", _C.IO_ERROR, _S.CONTROL, _E.TRY_LATER,
        "The clock jumped: nothing is deleted.",
        "Check the time (`timedatectl`). If it is right, `stemd prune --force`; if not, set it right and the next run goes on.",
        "Between two runs the wall clock must go on as the machine's own does; after the machine was off, by a week at most. "
        "Otherwise a wrong date could delete everything that is kept. Nothing is deleted until the clock is back, or believed.",
    ),
)  # fmt: skip
