"""A crash after every step of the protocol, then recovery, then the invariants.

Each scenario runs in a forked child that ends without any clean-up at its k-th step; the parent recovers as a
restarted daemon does, finishes what is left, and checks the spool. k goes up until the scenario survives.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stemd.core.config import load
from stemd.core.errors import StemdError
from stemd.core.job import Job, new_job_id
from stemd.spool import attempts, claim, deliver, durable, intake, recover, sidecar, steps
from stemd.spool.intake import Candidate, Door, Kind
from stemd.spool.layout import Spool, WorkDir
from tests.support.spools import make_spool, violations
from tests.unit.spool.conftest import measured

SOURCE = b"a recording, as far as the spool is concerned" * 100


class Pipeline:
    """The daemon's and worker's calls to the spool, in their order, with an engine that writes two small files."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.config = load(None, {"spool": str(spool.root), **EXTRA}, {}).config

    def claim(self) -> WorkDir:
        path = next(self.spool.inbox.iterdir())
        kind = Kind.STAGED if path.is_dir() else Kind.FILE
        candidate = Candidate(path, Door(None, self.spool.inbox), kind, intake.identity(path))
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
        assert (work.src / job.source.path).read_bytes() == SOURCE
        files = []
        for stem in ("vocals", "drums"):
            content = f"{stem} of {job.job_uuid}".encode()
            durable.write(work.partial / f"{stem}.flac", content)
            digest = hashlib.sha256(content).hexdigest()
            files.append({"name": f"{stem}.flac", "stem": stem, "sha256": digest, "bytes": len(content)})
        deliver.stage(work, job, sidecar.manifest(job, measured(files)), {})
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
        deliver.to_outbox(self.spool, work, job)


EXTRA: dict[str, str] = {}


def drop(spool: Spool) -> None:
    (spool.inbox / "Ø song.wav").write_bytes(SOURCE)


def drop_staged(spool: Spool) -> None:
    folder = spool.inbox / "staged"
    folder.mkdir()
    (folder / "s.wav").write_bytes(SOURCE)
    (folder / "job.yaml").write_text("input: s.wav\njob_uuid: 0192f0c1-0000-7000-8000-000000000001\n")


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
    orphan = next(pipeline.spool.orphan.glob("*/*"))
    job_id = json.loads((orphan / "error.json").read_text())["job_uuid"]
    work = deliver.retry(pipeline.spool, orphan, job_id)
    record = durable.read_json(work.job)
    assert record is not None
    pipeline.separate(work, Job.from_dict(record))
    deliver.to_outbox(pipeline.spool, work, Job.from_dict(record))


def run_until(step: int, scenario: Callable[[Pipeline], None], spool: Spool) -> str:
    """Run the scenario in a child that dies right after its ``step``-th step; ``"end"`` if it came through."""
    child = os.fork()
    if child == 0:
        seen = 0

        def hook(name: str) -> None:
            nonlocal seen
            seen += 1
            if seen == step:
                os._exit(77)

        try:
            steps.install(hook)
            scenario(Pipeline(spool))
            os._exit(0)
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, 77}, f"the scenario itself failed after step {step}"
    return "end" if status == 0 else "crash"


def restart(spool: Spool) -> None:
    pipeline = Pipeline(spool)
    for found in list(recover.recover(spool)):
        pipeline.finish(found)
    for path in list(spool.inbox.iterdir()):
        assert not path.name.endswith(".job.yaml") or len(list(spool.inbox.iterdir())) == 1
        work, job = pipeline.seal(pipeline.claim())
        pipeline.separate(work, job)
        deliver.to_outbox(spool, work, job)


@pytest.mark.parametrize("arrive", [drop, drop_staged])
@pytest.mark.parametrize("keep", ["keep", "delete"])
@pytest.mark.parametrize("scenario", [whole, failing, failing_late, retried])
def test_a_crash_after_any_step_loses_nothing(tmp_path: Path, arrive, scenario, keep, monkeypatch):
    monkeypatch.setitem(EXTRA, "defaults.source", keep)
    step, points = 0, 0
    while True:
        step += 1
        spool = make_spool(tmp_path / str(step))
        arrive(spool)
        ended = run_until(step, scenario, spool)
        between = violations(spool, [SOURCE] if keep == "keep" else [], idle=False)
        # recovered twice in a row: recovery itself must be repeatable
        restart(spool)
        restart(spool)
        after = violations(spool, [SOURCE] if keep == "keep" else [])
        assert (between, after) == ([], []), f"crash after step {step}"
        done = list(spool.outbox.glob("*/*/manifest.json"))
        failed = list(spool.orphan.glob("*/*/error.json"))
        assert len(done) + len(failed) == 1, f"crash after step {step}"
        if ended == "end":
            break
        points += 1
    assert points >= 10


def test_recovery_crashing_at_every_step_is_recovered_too(tmp_path: Path):
    for first in (4, 8, 11, 14, 16):
        for second in range(1, 30):
            spool = make_spool(tmp_path / f"{first}-{second}")
            drop(spool)
            run_until(first, whole, spool)
            ended = run_until(second, lambda pipeline: restart(pipeline.spool), spool)
            restart(spool)
            assert violations(spool, [SOURCE]) == [], f"crash after {first}, then after {second} of recovery"
            if ended == "end":
                break


def test_a_damaged_stage_is_done_again_never_published(tmp_path: Path):
    spool = make_spool(tmp_path / "spool")
    drop(spool)
    pipeline = Pipeline(spool)
    work, job = pipeline.seal(pipeline.claim())
    pipeline.separate(work, job)
    (work.partial / "vocals.flac").write_bytes(b"bit rot")
    (found,) = recover.recover(spool)
    assert found.found is recover.Found.WORKING
    assert list(spool.outbox.glob("*/*")) == []
    pipeline.finish(found)
    assert violations(spool, [SOURCE]) == []


def test_a_folder_in_no_known_state_is_put_aside_never_deleted(tmp_path: Path):
    spool = make_spool(tmp_path / "spool")
    (spool.work / "strange").mkdir()
    (spool.work / "strange" / "file").write_text("somebody's")
    (spool.work / "stray.txt").write_text("somebody's too")
    assert list(recover.recover(spool)) == []
    aside = spool.orphan / "_unknown"
    assert (aside / "strange" / "file").read_text() == "somebody's"
    assert (aside / "stray.txt").read_text() == "somebody's too"
    assert (aside / "strange.reason.txt").read_text()
    assert list(spool.work.iterdir()) == []


def test_a_worker_that_outlived_its_daemon_is_waited_for_then_killed(tmp_path: Path):
    from stemd.spool import joblock

    spool = make_spool(tmp_path / "spool")
    drop(spool)
    work = Pipeline(spool).claim()
    child = os.fork()
    if child == 0:
        with joblock.hold(work):
            time.sleep(60)
        os._exit(0)
    while not joblock.held(work):
        time.sleep(0.01)
    assert joblock.holders(work) == {child}
    joblock.release(work, patience=0.2)
    assert not joblock.held(work)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
