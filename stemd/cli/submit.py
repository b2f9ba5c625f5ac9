"""``stemd submit``: drop files safely, and wait for their stems if asked to."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stemd.cli import drop, options, report
from stemd.cli.follow import Followed, exit_status, follow
from stemd.core.errors import Exit, StemdError
from stemd.core.job import JobId, new_job_id, printable
from stemd.core.request import takes_several
from stemd.ops.snapshot import owner_of
from stemd.spool import ignore, probes
from stemd.spool.layout import Spool
from stemd.spool.survey import is_staged

if TYPE_CHECKING:
    from stemd.core.config import Config


def _stems(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    """``4``, ``all`` or ``vocals,drums``, as a job's description has it."""
    if value is None or value == "all":
        return value
    return int(value) if re.fullmatch(r"[0-9]{1,9}", value) else [part.strip() for part in value.split(",")]


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE…")
@click.option("--inbox", help="Drop into this configured inbox.")
@click.option("--user", help="Drop into this user's inbox.")
@click.option("--engine", help="demucs, spleeter, mix …; instead of the inbox's.")
@click.option("--model", help="A model of that engine.")
@click.option("--stems", callback=_stems, help="2, 4, 5, 6, all, or names: vocals,drums.")
@click.option("--format", "container", help="flac, wav, ogg, opus, mp3 …")
@click.option("--wait", is_flag=True, help="Show progress and end with the job's result.")
@options.common_with_spool
def submit(
    config_file: Path | None, as_json: bool, spool: Path | None, files: tuple[Path, ...], wait: bool, **given: Any
) -> int:
    """Drop FILEs into the inbox, safely; --wait for their stems.

    Each is copied under a hidden name, flushed to the disk, and then renamed into place. A folder may be named where it
    is one job: the stems of a mix, or anything with a job.yaml in it. A file takes the settings along that stand beside
    it (song.mp3.job.yaml), unless options say others.

    With --wait the exit status is that of the first job that failed (65 bad audio, 69 no daemon, …), 0 if all are done.
    The job's id is known at once with --wait, --json or any setting; else `stemd list` shows it.
    """
    config = options.loaded(config_file, spool).config
    settings = _settings(**{key: given[key] for key in ("engine", "model", "stems", "container")})
    chosen = bool(settings)
    root = Spool(config.spool[0])
    door, owner = _door(config, given["inbox"], given["user"])
    if owner is not None:
        settings["user_id"] = owner
    staged = bool(settings) or wait or as_json
    several = takes_several(given["engine"] or config.inbox(door).engine or config.defaults.engine)
    for file in files:
        if file.is_dir() and (several or is_staged(file)):
            drop.check_folder(file)
        else:
            drop.check(file)
    described = {file: None if file.is_dir() else _beside(file, chosen) for file in files}
    drops = [put(config, root, door, file, settings if staged else None, described[file]) for file in files]
    if not as_json:
        for each in drops:
            report.note(f"dropped {each.path}" + (f" as job {each.job_id}" if each.job_id else ""))
        if not wait and owner_of(root) is None:
            report.note(f"no daemon is running on {root.root}: it is taken as soon as one is")
    if not wait:
        if as_json:
            report.document(jobs=[_fields(each) for each in drops])
        return Exit.OK
    return wait_for(config, root, drops, as_json)


def put(
    config: Config,
    root: Spool,
    door: str | None,
    file: Path,
    settings: Mapping[str, Any] | None,
    described: Mapping[str, Any] | None = None,
) -> drop.Drop:
    """Drop one file behind a door; with ``settings`` (which may be empty), or where it is ``described`` already, as a
    staged job with an id of its own: so song and settings come as one, whatever name is free."""
    probes.present(root)
    folder = root.inbox / door if door else root.inbox
    if not folder.is_dir():
        raise StemdError(
            "STEMD-S005", f"{printable(str(folder))} is not there", remedy="Start `stemd run`: it makes it."
        )
    taken = frozenset(config.inboxes) | frozenset(config.users) if door is None else frozenset()
    if file.is_dir():
        return _put_folder(file, folder, taken, settings)
    if settings is None and described is None:
        return drop.drop_file(file, folder, taken)
    return drop.drop_job(file, folder, taken, {"job_uuid": new_job_id(), **(described or {}), **(settings or {})})


def _beside(file: Path, chosen: bool) -> dict[str, Any] | None:
    """What the file of settings beside a song says, where there is one, and options have not ``chosen`` others.

    Raises:
        StemdError: STEMD-S010, it has faults.
    """
    path = file.with_name(file.name + ignore.SIDECAR_SUFFIX)
    if not os.path.isfile(path):  # noqa: PTH113  a name may be too long for one beside it
        return None
    if chosen:
        report.note(f"{path} is left out: the options say what is wanted")
        return None
    from stemd.core.config import parse_job, tree
    from stemd.core.config.jobfile import MAX_BYTES

    with path.open("rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    wanted = parse_job(data, path.name).job_uuid
    report.note(f"{path} goes with it")
    said = tree.read(data, path.name, MAX_BYTES).data or {}
    return said if wanted is None else {**said, "job_uuid": wanted}


def _put_folder(file: Path, folder: Path, taken: frozenset[str], settings: Mapping[str, Any] | None) -> drop.Drop:
    """Drop a folder: with the description it has, or, where settings are given or waited for, one of our own."""
    if not is_staged(file):
        described = None if settings is None else {"job_uuid": new_job_id(), **settings}
        return drop.drop_folder(file, folder, taken, described)
    if settings:
        remedy = "Say it in the job's own description, or remove that file."
        raise StemdError("STEMD-S010", f"{printable(file.name)} says itself what it is (job.yaml)", remedy=remedy)
    own = _own_id(file) if settings is not None else None
    return replace(drop.drop_folder(file, folder, taken, None), job_id=own)


def _own_id(folder: Path) -> JobId:
    """The id that a staged job names, by which it can be followed.

    Raises:
        StemdError: STEMD-S010, it names none.
    """
    from stemd.core.config import parse_job

    name = next(name for name in ignore.JOB_FILES if (folder / name).exists())
    if (wanted := parse_job((folder / name).read_bytes(), name).job_uuid) is None:
        remedy = f"Write a UUID into {name} (`job_uuid:`), or leave out --wait and --json."
        raise StemdError("STEMD-S010", f"{printable(folder.name)} names no job_uuid to be followed by", remedy=remedy)
    return wanted


def wait_for(config: Config, root: Spool, drops: list[drop.Drop], as_json: bool) -> int:
    """Follow dropped jobs to their end, with a progress bar on a terminal; returns the exit status."""
    from stemd.cli import render

    jobs = [Followed(root, each.job_id or "", each.path) for each in drops]
    with render.progress(jobs, quiet=as_json) as show:
        views = {job.job_id: job.view for job in follow(config, jobs, show) if job.view is not None}
    ordered = [views[job.job_id] for job in jobs]
    if as_json:
        report.document(jobs=[{**_fields(each), **view.to_dict()} for each, view in zip(drops, ordered, strict=True)])
    else:
        for view in ordered:
            report.result(view)
    return next((status for status in map(exit_status, ordered) if status), Exit.OK)


def _fields(each: drop.Drop) -> dict[str, Any]:
    return {"file": printable(str(each.source)), "path": printable(str(each.path)), "job_uuid": each.job_id}


def _settings(engine: str | None, model: str | None, stems: Any, container: str | None) -> dict[str, Any]:
    """What the job's description says; checked as strictly as the daemon will, before anything is copied."""
    import json

    given = {"engine": engine, "model": model, "stems": stems, "output": {"format": container} if container else None}
    settings = {key: value for key, value in given.items() if value is not None}
    if settings:
        from stemd.core.config import parse_job

        parse_job(json.dumps({"input": "x.wav", **settings}).encode(), "options")
    return settings


def _door(config: Config, inbox: str | None, user: str | None) -> tuple[str | None, str | None]:
    """The folder below inbox/ to drop into, and the user the job must name there."""
    if inbox is not None and inbox not in config.inboxes:
        known = ", ".join(config.inboxes) or "none"
        raise click.BadParameter(f"there is no inbox {inbox!r}; configured: {known}", param_hint="--inbox")
    if inbox is None and user is not None and user not in config.users:
        known = ", ".join(config.users) or "none"
        raise click.BadParameter(f"there is no user {user!r}; configured: {known}", param_hint="--user")
    if inbox is None:
        return user, None
    trusted = config.inbox(inbox).trust == "manifest"
    if trusted and user is None:
        raise click.BadParameter(f"inbox {inbox} takes only jobs that name their user", param_hint="--user")
    return inbox, user
