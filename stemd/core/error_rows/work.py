"""Rows of the work on a recording: A (audio), M (models), E (engines), R (resources), P (policy), X (our bugs)."""

from __future__ import annotations

from stemd.core.error_rows.spec import ErrorClass, ErrorSpec, Exit, Stage

_C, _S, _E = ErrorClass, Stage, Exit

ROWS = (
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
    ErrorSpec(
        "STEMD-A007", _C.INVALID_JOB, _S.INTAKE, _E.BAD_AUDIO,
        "The cover the job brings cannot go into the stems.",
        "Save it as a JPEG or PNG of at most 16 MB, or leave `art` out: then the recording's own cover is taken.",
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
    ErrorSpec(
        "STEMD-M006", _C.PERMISSION, _S.LOAD, _E.REFUSED,
        "The model's weights are a pickle, and nobody vouches for it.",
        "Get the weights as safetensors; or, if you trust who made the file, name its sha256: "
        "`stemd models fetch MODEL --from DIR --allow-pickle SHA256`, or `models.pickles`.",
        "Loading a pickle (.th, .pt, .ckpt …) runs whatever code is in it. Those that Meta published for demucs are known "
        "by their sha256. An allowed one is converted to safetensors once, in a process of its own.",
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
    ErrorSpec(
        "STEMD-E008", _C.IO_ERROR, _S.ENCODE, _E.GENERAL,
        "The chunks of a long recording do not fit together again.",
        "Check the disk (`dmesg`, `smartctl -a`) and the memory; the job goes on by itself after the last good chunk.",
    ),
    ErrorSpec(
        "STEMD-E009", _C.MODEL_MISSING, _S.LOAD, _E.TRY_LATER,
        "The engine's own environment is not here.",
        "Make it once: `stemd engines install spleeter`. The waiting jobs then go on by themselves.",
        "Spleeter's libraries need an older Python (3.8 to 3.11) and packages of their own, so they live in a folder of "
        "their own. The command takes a few minutes and about 2.4 GB; it also repairs an environment that is damaged.",
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
    ErrorSpec(
        "STEMD-R004", _C.DISK_FULL, _S.INTAKE, _E.TRY_LATER,
        "There is no room for this job yet.",
        "Free some space below the spool (finished folders in outbox/, old ones in orphan/); it goes on by itself.",
        "The recording stays where it is. What a job needs is estimated before it is taken: chunks and stems, uncompressed.",
    ),
    ErrorSpec(
        "STEMD-R005", _C.OOM, _S.SEPARATE, _E.GENERAL,
        "The job would need more memory than there is for it.",
        "Raise `limits.memory` (engine or job), add memory, or ask for less: a smaller `options.segment`, `batch` or "
        "`mwf_window`. It is tried again by itself with smaller ones.",
        "Estimated before the separation begins, from the model and the options; the length of a recording does not count.",
    ),
    ErrorSpec(
        "STEMD-R006", _C.QUOTA, _S.INTAKE, _E.TRY_LATER,
        "So many jobs wait already that no more are taken.",
        "Nothing: it is taken by itself as jobs end. If it lasts, more or faster workers are needed, or a higher `scheduling.backlog`.",
        "The recording stays where it is.",
    ),
    ErrorSpec(
        "STEMD-R007", _C.QUOTA, _S.SEPARATE, _E.GENERAL,
        "The job took more of the disk than it may.",
        "Raise `limits.disk` (engine, inbox or job) and `stemd retry JOB`, or split the recording.",
        "Its folder in work/ counts: the source, the chunks and the results. The disk itself is not full; the job would "
        "take as much again, so it is not tried again by itself.",
    ),
    ErrorSpec(
        "STEMD-R008", _C.QUOTA, _S.SEPARATE, _E.GENERAL,
        "The job started more processes and threads than it may.",
        "Raise `limits.pids` (engine, inbox or job) and `stemd retry JOB`. If the engine should need so many, fewer "
        "threads help: `limits.cpu`.",
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
    ErrorSpec(
        "STEMD-P005", _C.QUOTA, _S.INTAKE, _E.TRY_LATER,
        "The user's quota is used up.",
        "Wait, or make room: the message names the quota; `stemd quota` shows what is used of it.",
        "With `over: defer` it stays where it is, in the inbox or in the queue, and goes on by itself; with `over: refuse` "
        "it goes to orphan/, and `stemd retry JOB` tries it again.",
    ),
    ErrorSpec(
        "STEMD-P006", _C.QUOTA, _S.INTAKE, _E.REFUSED,
        "This one job is larger than the user's whole quota.",
        "Split the recording, or let the operator raise the quota; then `stemd retry JOB`.",
    ),
    ErrorSpec(
        "STEMD-P011", _C.PERMISSION, _S.CONTROL, _E.REFUSED,
        "A legal hold lies on this: it is not deleted.",
        "When the hold is over, remove it from the configuration (`compliance.legal_hold` of the service, the inbox or the "
        "user, or `compliance.held_jobs`), `stemd reload`, and ask again.",
        "`stemd prune` leaves it too, whatever its term.",
    ),
    ErrorSpec(
        "STEMD-P012", _C.PERMISSION, _S.CONTROL, _E.REFUSED,
        "This must be kept: it is not erasable.",
        "Whoever answers for the duty to keep it decides: `compliance.erasable` of the service, the inbox or the user. "
        "It is deleted when its term has ended.",
    ),
    ErrorSpec(
        "STEMD-P013", _C.INVALID_JOB, _S.CONTROL, _E.GENERAL,
        "The erasure is done, but something is still found.",
        "Look at the files the message names: what stemd did not make, or another user's record that says the same word. "
        "Delete what is meant by hand, and erase again.",
    ),
    # X: our bug
    ErrorSpec(
        "STEMD-X001", _C.INTERNAL, _S.SEPARATE, _E.SOFTWARE,
        "stemd hit a bug of its own.",
        "Please report it with the trace from job.log.jsonl or the log; the source is untouched.",
    ),
)  # fmt: skip
