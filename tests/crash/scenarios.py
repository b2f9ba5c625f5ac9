"""What the crash tests run: the daemon's and worker's calls to the spool, from arrival to end, and a restart."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np

from stemd.core.config import load
from stemd.core.errors import StemdError
from stemd.core.job import Job, new_job_id
from stemd.engines.checkpoint import ChunkStore
from stemd.engines.mix.shelf import Shelf
from stemd.spool import attempts, claim, deliver, durable, ignore, intake, recover, sidecar
from stemd.spool.intake import Candidate, Door, Kind
from stemd.spool.layout import Spool, WorkDir
from tests.unit.spool.conftest import measured

SOURCE = b"a recording, as far as the spool is concerned" * 100


class Pipeline:
    """The daemon's and worker's calls to the spool, in their order, with an engine that writes two small files."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.config = load(None, {"spool": str(spool.root), **EXTRA}, {}).config

    def claim(self) -> WorkDir:
        path = arrived(self.spool)[0]
        kind = Kind.STAGED if path.is_dir() else Kind.FILE
        beside = path.with_name(path.name + ignore.SIDECAR_SUFFIX)
        sidecar = beside if beside.exists() else None
        candidate = Candidate(path, Door(None, self.spool.inbox), kind, intake.identity(path), sidecar)
        work = claim.claim(self.spool, candidate, new_job_id())
        assert work is not None
        return work

    def seal(self, work: WorkDir) -> tuple[WorkDir, Job]:
        sealed = claim.seal(self.spool, work, self.config)
        assert sealed is not None
        return sealed

    def separate(self, work: WorkDir, job: Job) -> None:
        attempts.record_start(work.attempts, "stub")
        deliver.unstage(work)
        work.partial.mkdir()
        with work.log.open("a") as log:
            log.write("a line of the job's log\n")
            log.flush()
            os.fsync(log.fileno())  # stemd does not, but the disk may have it: then its copy must be there too
        for role, each in job.inputs.items():
            assert (work.src / each.path).read_bytes().startswith(f"{role} of ".encode())
        assert job.inputs or (work.src / job.source.path).read_bytes() == SOURCE
        files = []
        for stem in ("final_mix",) if job.inputs else ("vocals", "drums"):
            content = f"{stem} of {job.job_uuid}".encode()
            durable.write(work.partial / f"{stem}.flac", content)
            digest = hashlib.sha256(content).hexdigest()
            files.append({"name": f"{stem}.flac", "stem": stem, "sha256": digest, "bytes": len(content)})
        several = {"inputs": {role: {} for role in job.inputs}, "documents": []} if job.inputs else {}
        deliver.stage(work, job, sidecar.manifest(job, {**measured(files), **several}), {})
        attempts.record_end(work.attempts, "done")

    def finish(self, found: recover.Recovered) -> None:
        """Bring a recovered job to its end."""
        work, job = found.work, found.job
        if found.found in {recover.Found.PUBLISHED, recover.Found.FAILED}:
            return
        assert found.found is not recover.Found.STUCK, found.error
        if job is None:
            work, job = self.seal(work)
        if found.found is not recover.Found.STAGED:
            self.separate(work, job)
        self.publish(work, job)

    def publish(self, work: WorkDir, job: Job) -> None:
        """Publish a job, and see the one that follows it to its end."""
        let_out: list[WorkDir] = []
        deliver.to_outbox(self.spool, work, job, let_out.append)
        for following in let_out:
            work, job = self.seal(following)
            self.separate(work, job)
            deliver.to_outbox(self.spool, work, job)


EXTRA: dict[str, str] = {}


def drop(spool: Spool) -> None:
    (spool.inbox / "Ø song.wav").write_bytes(SOURCE)


def drop_described(spool: Spool) -> None:
    drop(spool)
    (spool.inbox / "Ø song.wav.job.yaml").write_text("output: {bit_depth: 16}\n")


def drop_linked(spool: Spool) -> None:
    """A file that has a second name, outside the spool."""
    drop(spool)
    os.link(spool.inbox / "Ø song.wav", spool.root.with_name("second name"))


def drop_unknown(spool: Spool) -> None:
    """A folder in work/ that no stemd can have made, all of it on the disk."""
    strange = spool.work / "0192f0c1-0000-7000-8000-000000000009"
    strange.mkdir()
    (strange / "precious").write_bytes(SOURCE)
    durable.fsync_tree(strange)
    durable.fsync(spool.work)


def at_work_with_two_names(spool: Spool) -> None:
    """A sealed job whose removal from the inbox did not reach the disk (its flush had failed)."""
    drop(spool)
    pipeline = Pipeline(spool)
    work, _ = pipeline.seal(pipeline.claim())
    os.link(work.src / "Ø song.wav", spool.inbox / "Ø song.wav")
    durable.fsync(spool.inbox)


def arrived(spool: Spool) -> list[Path]:
    """What lies in the inbox, without the descriptions beside it."""
    return [path for path in spool.inbox.iterdir() if not ignore.is_sidecar(path.name)]


def drop_staged(spool: Spool) -> None:
    folder = spool.inbox / "staged"
    folder.mkdir()
    (folder / "s.wav").write_bytes(SOURCE)
    (folder / "job.yaml").write_text("input: s.wav\njob_uuid: 0192f0c1-0000-7000-8000-000000000001\n")


def nothing(spool: Spool | Pipeline) -> None:
    """As arrival: what is to be claimed lies in the inbox already. As scenario: only a restart."""
    if isinstance(spool, Pipeline):
        restart(spool.spool)


def whole(pipeline: Pipeline) -> None:
    work, job = pipeline.seal(pipeline.claim())
    pipeline.separate(work, job)
    deliver.to_outbox(pipeline.spool, work, job)


def failing(pipeline: Pipeline) -> None:
    work, _ = pipeline.seal(pipeline.claim())
    attempts.record_start(work.attempts, "stub")
    attempts.record_end(work.attempts, "attempt", StemdError("STEMD-A002").to_dict())
    deliver.to_orphan(pipeline.spool, work, StemdError("STEMD-A002"), "everyone")


def failing_late(pipeline: Pipeline) -> None:
    work, job = pipeline.seal(pipeline.claim())
    pipeline.separate(work, job)
    deliver.to_orphan(pipeline.spool, work, StemdError("STEMD-S013"), "everyone")


def retried(pipeline: Pipeline) -> None:
    failing(pipeline)
    work = put_back(pipeline)
    record = durable.read_json(work.job)
    assert record is not None
    pipeline.separate(work, Job.from_dict(record))
    deliver.to_outbox(pipeline.spool, work, Job.from_dict(record))


def retried_early(pipeline: Pipeline) -> None:
    """Refused before it was sealed, then put back."""
    deliver.to_orphan(pipeline.spool, pipeline.claim(), StemdError("STEMD-S010"), "everyone")
    work, job = pipeline.seal(put_back(pipeline))
    pipeline.separate(work, job)
    deliver.to_outbox(pipeline.spool, work, job)


def refused(pipeline: Pipeline) -> None:
    """At fault itself: to orphan/ without an attempt."""
    work = pipeline.claim()
    try:
        pipeline.seal(work)
    except StemdError as error:
        deliver.to_orphan(pipeline.spool, work, error, "everyone")


def put_back(pipeline: Pipeline) -> WorkDir:
    orphan = next(pipeline.spool.orphan.glob("*/*"))
    job_id = json.loads((orphan / "error.json").read_text())["job_uuid"]
    return deliver.retry(pipeline.spool, orphan, job_id)


def restart(spool: Spool) -> None:
    pipeline = Pipeline(spool)
    for found in list(recover.recover(spool)):
        pipeline.finish(found)
    for _ in arrived(spool):
        work, job = pipeline.seal(pipeline.claim())
        pipeline.separate(work, job)
        pipeline.publish(work, job)


def chunked(pipeline: Pipeline) -> None:
    """A separation that keeps three checkpoints, each of which is counted, and is then cut off."""
    work, _ = pipeline.seal(pipeline.claim())
    attempts.record_start(work.attempts, "stub")
    work.chunks.mkdir()
    store = chunk_store(work)
    store.open()
    for _ in range(3):
        store.append(np.ones((4, 1, 2), np.float32))
        attempts.record_checkpoint(work.attempts)


def mixed(pipeline: Pipeline) -> None:
    """A mix that finishes three tracks, needs the first no more, and is then cut off."""
    work, _ = pipeline.seal(pipeline.claim())
    attempts.record_start(work.attempts, "mix")
    work.chunks.mkdir()
    shelf = mix_shelf(work)
    shelf.open()
    for number in range(3):
        shelf.put(f"track {number}", [np.ones((64, 2), np.float32)] * 2, lambda: {"level": -20.0})
        attempts.record_checkpoint(work.attempts)
    shelf.drop("track 0", "track 2")


def mix_shelf(work: WorkDir) -> Shelf:
    return Shelf(work.chunks, {"settings": "stub"})


def chunk_store(work: WorkDir) -> ChunkStore:
    return ChunkStore(work.chunks, {"model": "stub"}, total=16, shape=(1, 2), chunk=4)
