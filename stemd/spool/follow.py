"""What follows a job: its stems, as one job of another inbox, without anybody touching a file.

Steps N1 and N2. The next job is prepared whole in ``work/J/next`` before the result is published: afterwards the stems
belong to whoever takes them. One rename lets it out, before the job's own folder is retired, so it happens once.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from typing import Any

from stemd.core.job import SCHEMA_VERSION, Job, encode_name, new_job_id
from stemd.spool import durable
from stemd.spool.intake import Kind
from stemd.spool.layout import Spool, WorkDir
from stemd.spool.steps import step

#: Bytes of a title that are kept.
_LONGEST = 190


def prepare(work: WorkDir, job: Job, document: Mapping[str, Any]) -> None:
    """Step N1, in the worker: copies of the stems that the manifest ``document`` names, and how they are to be mixed.

    Nothing is prepared where nothing follows, or where the result is no file per stem.
    """
    durable.remove_tree(work.next)
    stems = {file["stem"]: file["name"] for file in document["files"] if "tracks" not in file}
    if job.request.next is None or not stems:
        return
    name = job.title.encode()[:_LONGEST].decode(errors="ignore") + " (mix)"
    following = WorkDir(work.next)
    with durable.io_errors("copy the stems for the job that follows"):
        folder = following.src / name
        folder.mkdir(parents=True)
        for file in stems.values():
            shutil.copyfile(work.partial / file, folder / file)
        (folder / "job.json").write_text(json.dumps(_description(job, stems), ensure_ascii=False), "utf-8")
        origin = {
            "inbox": job.request.next,
            "kind": Kind.STAGED.value,
            "name": encode_name(name),
            "claimed_at": time.time(),
            "user_id": job.user_id,
            "follows": job.job_uuid,
            "job_uuid": new_job_id(),
        }
        following.origin.write_text(json.dumps(origin))
    durable.fsync_tree(work.next)
    step("N1")


def _description(job: Job, stems: Mapping[str, str]) -> dict[str, Any]:
    """What binds the job binds the one that follows it."""
    description = {
        "schema_version": SCHEMA_VERSION,
        "inputs": stems,
        "tags": dict(job.request.tags),
        "priority": job.request.priority,
    }
    return description if job.request.retention is None else {**description, "retention": job.request.retention}


def release(spool: Spool, work: WorkDir) -> WorkDir | None:
    """Step N2: the result is published; what follows, if anything does, is a job of its own now, and is returned."""
    origin = durable.read_json(WorkDir(work.next).origin)
    if origin is None:
        return None
    following = spool.job(origin["job_uuid"])
    durable.rename(work.next, following.path)
    durable.fsync(spool.work)
    step("N2")
    return following
