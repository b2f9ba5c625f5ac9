"""An album: a dropped folder whose recordings become jobs of their own, and whose folder comes back in the outbox.

Steps L1–L9. The claimed tree is emptied by renames only, each of which a restart can repeat: what is still in it has
not been dealt with. The album's folder stands in the outbox, with its inner folders, before any result does: no
finished folder ever contains another.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from stemd.core.config import Config
from stemd.core.errors import StemdError
from stemd.core.job import SCHEMA_VERSION, JobState, decode_name, encode_name, new_job_id, printable
from stemd.core.request import permissions, user_for
from stemd.spool import claim, deliver, durable, intake, lease, ledger, ownership
from stemd.spool.ignore import SIDECAR_SUFFIX
from stemd.spool.intake import Kind
from stemd.spool.layout import Spool, WorkDir, names, safe_title
from stemd.spool.ledger import Album, Member
from stemd.spool.settle import Writers
from stemd.spool.sidecar import iso
from stemd.spool.steps import step
from stemd.spool.survey import Survey, survey


def split(spool: Spool, work: WorkDir, config: Config) -> bool:
    """Make jobs of the album's recordings; ``False`` while somebody still writes to one of its files.

    After an error it can be called again, at once or after a restart, and goes on where it was; ``members`` are the
    jobs that are out.

    Raises:
        StemdError: the disk failed, or the album is at fault (what is left of it belongs into orphan/).
    """
    if lease.writers(work.src) is Writers.SOME:
        return False
    origin = claim.read_origin(work)
    tree = work.src / decode_name(origin["name"])
    album = ledger.read(work) or _plan(work, tree, origin, config)
    place = _reserve(spool, work, tree, album)
    with durable.io_errors("make an album's folders"):
        work.building.mkdir(mode=0o700, exist_ok=True)
    durable.fsync(work.path)
    for number, member in enumerate(album.members):
        belongs = {"job_uuid": work.job_id, "number": number, "place": str(PurePosixPath(place, member.place))}
        _hand_out(spool, work, tree, member, {**origin, "album": belongs, "dropper": album.user_id})
    _flush_jobs(spool)
    _remove_emptied(work)
    return True


def members(spool: Spool, work: WorkDir) -> list[WorkDir]:
    """The jobs that the album has been split into so far and that have not been sealed."""
    album = ledger.read(work)
    out = [spool.job(member.job_uuid) for member in album.members] if album else []
    return [job for job in out if job.src.is_dir() and any(job.src.iterdir()) and not job.job.exists()]


# ---- L1: the plan


def _plan(work: WorkDir, tree: Path, origin: Mapping[str, Any], config: Config) -> Album:
    """Decide, once and for all, which jobs there are, and what the folders are called in the outbox."""
    if (refusal := intake.refused_inside(tree)) is not None:
        raise refusal.error
    user = user_for(config, origin["inbox"], None, ownership.dropper(config, tree))
    mode, group = permissions(config, origin["inbox"])
    found = survey(tree)
    folders = _folders(found)
    kinds = [(path, Kind.FILE) for path in found.recordings] + [(path, Kind.STAGED) for path in found.staged]
    jobs = tuple(Member(new_job_id(), kind, path, folders[_parent(path)]) for path, kind in sorted(kinds))
    album = Album(work.job_id, user, safe_title(tree.name), tree.name, mode, group, folders, jobs)
    durable.write_json(work.album, album.to_dict())
    step("L1")
    return album


def _parent(path: str) -> str:
    return os.path.dirname(path)  # noqa: PTH120  text: "" is the album's own folder


def _folders(found: Survey) -> dict[str, str]:
    """Each folder with anything in it, from the top down, and where it will stand in the album's."""
    needed = {""}
    for path in (*found.recordings, *found.staged, *found.others):
        needed.update(str(parent) for parent in PurePosixPath(path).parents)
    places = {"": ""}
    for folder in (folder for folder in found.folders if folder in needed and folder):
        home = places[_parent(folder)]
        wanted = (str(PurePosixPath(home, name)) for name in names(safe_title(PurePosixPath(folder).name)))
        places[folder] = next(place for place in wanted if place not in places.values())
    return places


# ---- L2–L4: the album's folder


def _reserve(spool: Spool, work: WorkDir, tree: Path, album: Album) -> str:
    """Put the album's folder into the outbox, with whatever is no recording. Returns its name there."""
    note = durable.read_json(work.place)
    if note is None or work.skeleton.exists():
        _build(work, tree, album)
        place = _publish(spool, work, album)
    else:
        place = spool.root / note["path"]
    durable.fsync(place.parent)
    step("L4")
    return place.name


def _build(work: WorkDir, tree: Path, album: Album) -> None:
    with durable.io_errors("make an album's folders"):
        for place in album.folders.values():
            (work.skeleton / place).mkdir(mode=0o700, exist_ok=True)
    durable.fsync_tree(work.skeleton)
    durable.fsync(work.path)
    step("L2")
    found = survey(tree)
    for path in found.others:
        if _parent(path) in album.folders:  # else it came after all, and is told of in the end
            _move(tree / path, work.skeleton / album.folders[_parent(path)])
    deliver.grant(work.skeleton, album.mode, album.group)
    durable.fsync_tree(work.skeleton)
    for folder in found.folders:
        durable.fsync(tree / folder)
    step("L3")


def _move(path: Path, folder: Path) -> None:
    """Move a file by its own name, numbered where something else has that name."""
    for name in names(path.name):
        try:
            durable.rename(path, folder / name)
        except FileExistsError:
            if not durable.same_file(path, folder / name):
                continue
            path.unlink()  # what a power cut left of half a rename
        return


def _publish(spool: Spool, work: WorkDir, album: Album) -> Path:
    """The name of an album that is not complete stays its own even if a consumer has taken the folder away."""
    home = deliver.user_folder(spool.outbox, album.user_id, album.mode, album.group)
    others = [durable.read_json(other.place) for other in spool.jobs() if other.path != work.path]
    taken = {other["path"] for other in others if other}

    def relative(name: str) -> str:
        return str((home / name).relative_to(spool.root))

    wanted = (name for name in names(album.title) if relative(name) not in taken)

    def note(target: Path) -> None:
        durable.write_json(work.place, {"path": relative(target.name)})
        step("L4a")

    target = deliver.rename_free(work.skeleton, home, wanted, note)
    step("L4b")
    return target


# ---- L5–L7: the jobs


def _hand_out(spool: Spool, work: WorkDir, tree: Path, member: Member, origin: Mapping[str, Any]) -> None:
    """Make a claimed job of one recording; it is in work/ with everything that belongs to it, or not at all."""
    job, source = WorkDir(work.building / member.job_uuid), tree / member.path
    place = next((path for path in (source, job.src / source.name) if os.path.lexists(path)), None)
    if place is None:
        ledger.note_missing(work, origin["album"]["number"], member.job_uuid)
        return
    own = {"kind": member.kind.value, "name": encode_name(source.name), "identity": list(intake.identity(place))}
    claim.prepare(job, {**origin, **own})
    _move_into(source, job.src)
    if os.path.lexists(sidecar := source.with_name(source.name + SIDECAR_SUFFIX)):  # there may be no room for its name
        _move_into(sidecar, job.src)
    step("L5")
    durable.fsync(job.src)
    durable.fsync(source.parent)
    ledger.note(spool, job, JobState.WAITING)
    step("L6")
    durable.rename(job.path, spool.job(member.job_uuid).path)
    step("L6b")
    _flush_jobs(spool)


def _flush_jobs(spool: Spool) -> None:
    """Make sure of the jobs that are out, also of one after which the daemon was killed; before any of them goes on."""
    durable.fsync(spool.work)


def _move_into(path: Path, folder: Path) -> None:
    """Move what is still there; of two names that a power cut left of one file the later stays."""
    try:
        durable.rename(path, folder / path.name)
    except FileNotFoundError:
        return
    except FileExistsError:
        if not durable.same_file(path, folder / path.name):
            raise
        path.unlink()


def _remove_emptied(work: WorkDir) -> None:
    """Remove the folders, which are empty by now; a file that came after all stays, and is an error."""
    with durable.io_errors("remove an album's emptied folder"):
        for folder, _, files in os.walk(work.src, topdown=False):
            if files:
                message = f"{printable(files[0])!r} came into the album after it was taken"
                raise StemdError("STEMD-S014", message, remedy="Drop it again.")
            with suppress(FileNotFoundError):
                Path(folder).rmdir()
    step("L7")


# ---- L9: the end


def finish(spool: Spool, work: WorkDir) -> Path | None:
    """When all jobs of an album have ended: tell how in ``album.json``, and forget it. Returns its folder.

    ``None`` while jobs go on.

    Raises:
        StemdError: the disk failed; to be called again.
    """
    album = ledger.read(work)
    ends = ledger.ends(work)
    if album is None or work.src.exists() or len(ends) < len(album.members):
        return None
    place = PurePosixPath((durable.read_json(work.place) or {})["path"]).name
    try:
        user = deliver.user_folder(spool.outbox, album.user_id, album.mode, album.group)
        home = deliver.open_place(user, place, album.mode, album.group)
        durable.write_json(
            work.summary,
            _summary(
                album,
                (durable.read_json(work.origin) or {}).get("inbox"),
                str(home.relative_to(spool.root)),
                ends.items(),
            ),
            ready=lambda path: deliver.grant_if_possible(path, album.mode, album.group),
        )
        _publish_summary(work, home)
    except FileNotFoundError as error:
        raise StemdError("STEMD-S014", f"the folder {place!r} was taken away while it was written to") from error
    step("L9")
    durable.write(work.published, b"")
    deliver.retire(spool, work)
    return home


def _publish_summary(work: WorkDir, home: Path) -> None:
    """Nothing is replaced but the album's own ``album.json``, which a crash may have kept from being the last step."""
    path = home / "album.json"
    with suppress(OSError):
        if (durable.read_json(path) or {}).get("job_uuid") == work.job_id:
            path.unlink()
    deliver.rename_free(work.summary, home, chain([path.name], names(path.name)))
    durable.fsync(home)


def _summary(
    album: Album, inbox: str | None, home: str, ends: Iterable[tuple[int, Mapping[str, Any]]]
) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "job_uuid": album.job_uuid,
        "user_id": album.user_id,
        "inbox": inbox,
        "title": album.title,
        "source": encode_name(album.source),
        "created_at": iso(time.time()),
        "jobs": [
            {"source": encode_name(album.members[number].path), **ledger.entry(end, home)}
            for number, end in sorted(ends)
        ],
    }
