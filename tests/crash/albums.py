"""An album for the crash tests: the daemon's calls from its arrival to its end, one job done, one failed; a restart."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from stemd.core.errors import StemdError
from stemd.core.job import Job, new_job_id
from stemd.spool import album, attempts, claim, deliver, durable, intake, ledger, recover, steps
from stemd.spool.intake import Candidate, Door, Kind
from stemd.spool.layout import Spool, WorkDir
from stemd.spool.recover import Found
from tests.crash.run_scenario import mark
from tests.crash.scenarios import SOURCE, Pipeline
from tests.support.spools import violations

BAD = b"what no engine can read" * 50
COVER = b"a picture of the band"
BACK = b"a picture of their backs"
LITTER = b"what a file manager leaves"


def drop_album(spool: Spool) -> None:
    folder = spool.inbox / "Album"
    (folder / "CD1").mkdir(parents=True)
    (folder / "CD1" / "good.wav").write_bytes(SOURCE)
    (folder / "CD1" / "good.wav.job.yaml").write_text("stems: 2\n")
    (folder / "CD1" / "back.jpg").write_bytes(BACK)
    (folder / "bad.wav").write_bytes(BAD)
    (folder / "cover.jpg").write_bytes(COVER)
    (folder / ".DS_Store").write_bytes(LITTER)


class AlbumPipeline(Pipeline):
    """What the daemon does with albums and the jobs they are split into."""

    def take_in(self) -> WorkDir:
        path = self.spool.inbox / "Album"
        candidate = Candidate(path, Door(None, self.spool.inbox), Kind.ALBUM, intake.identity(path))
        work = claim.claim(self.spool, candidate, new_job_id())
        assert work is not None
        return work

    def split(self, work: WorkDir) -> list[WorkDir]:
        assert album.split(self.spool, work, self.config)
        return album.members(self.spool, work)

    def bring_to_end(self, work: WorkDir) -> None:
        work, job = self.seal(work)
        self.go_on(work, job)

    def go_on(self, work: WorkDir, job: Job) -> None:
        if job.source.name == "bad.wav":
            attempts.record_start(work.attempts, "stub")
            attempts.record_end(work.attempts, "attempt", StemdError("STEMD-A002").to_dict())
            deliver.to_orphan(self.spool, work, StemdError("STEMD-A002"), "everyone")
        else:
            assert job.request.stems == 2, "the song's description came along"
            self.separate(work, job)
            deliver.to_outbox(self.spool, work, job)

    def go_on_after(self, found: recover.Recovered) -> None:
        """Do with a recovered folder what the daemon does."""
        work, job = found.work, found.job
        if found.found in {Found.PUBLISHED, Found.FAILED, Found.ALBUM} or not work.path.exists():
            return  # ended, or taken over from its album a moment ago
        assert found.found is not Found.STUCK, found.error
        if job is None and claim.read_origin(work)["kind"] == Kind.ALBUM.value:
            for member in self.split(work):
                self.bring_to_end(member)
        elif job is None:
            self.bring_to_end(work)
        elif found.found is Found.STAGED:
            deliver.to_outbox(self.spool, work, job)
        else:
            self.go_on(work, job)

    def finish_albums(self) -> None:
        for work in list(self.spool.jobs()):
            if ledger.is_split(work):
                assert album.finish(self.spool, work), "all its jobs have ended"


def life(pipeline: Pipeline) -> None:
    """From the inbox to ``album.json``."""
    daemon = AlbumPipeline(pipeline.spool)
    work = daemon.take_in()
    for member in daemon.split(work):
        daemon.bring_to_end(member)
    assert album.finish(daemon.spool, work)


def given_up(pipeline: Pipeline) -> None:
    """The disk refuses when the first of its recordings is out; a person tries again later."""
    daemon = AlbumPipeline(pipeline.spool)
    work = daemon.take_in()
    really = durable.fsync

    def refuse(path: Path) -> None:
        if (
            path.name == "CD1"
            and path.parent.name == "Album"
            and "src" in path.parts
            and list(daemon.spool.outbox.glob("*/*"))
        ):
            raise StemdError("STEMD-S014")
        really(path)

    durable.fsync = refuse
    try:
        album.split(daemon.spool, work, daemon.config)
    except StemdError as error:
        durable.fsync = really
        out = album.members(daemon.spool, work)
        orphan = deliver.to_orphan(daemon.spool, work, error, "everyone")
        for member in out:
            daemon.bring_to_end(member)
        work = deliver.retry(daemon.spool, orphan, work.job_id)
    for member in daemon.split(work):
        daemon.bring_to_end(member)
    assert album.finish(daemon.spool, work)


def carried_off(pipeline: Pipeline) -> None:
    """A consumer takes the album's folder away before its first recording is done."""
    daemon = AlbumPipeline(pipeline.spool)
    out = daemon.split(daemon.take_in())
    away = daemon.spool.root / "away"
    (daemon.spool.outbox / "everyone" / "Album").rename(away)
    for folder in (away.parent, daemon.spool.outbox / "everyone"):
        durable.fsync(folder)
    mark("carried off")
    for member in out:
        daemon.bring_to_end(member)


class KilledError(BaseException):
    """Ends a scenario in the middle, as SIGKILL does: what the kernel was told stays."""


def killed_at(name: str) -> Callable[[Pipeline], None]:
    """The daemon is killed right after a step, and started again; the machine runs on."""

    def scenario(pipeline: Pipeline) -> None:
        def kill(step: str) -> None:
            mark(step)
            if step == name:
                raise KilledError

        steps.install(kill)
        try:
            life(pipeline)
        except KilledError:
            steps.install(mark)
        restart(pipeline.spool)

    return scenario


def restart(spool: Spool) -> None:
    """Start again and work until everything has ended."""
    daemon = AlbumPipeline(spool)
    for found in list(recover.recover(spool)):
        daemon.go_on_after(found)
    if (spool.inbox / "Album").exists():
        for member in daemon.split(daemon.take_in()):
            daemon.bring_to_end(member)
    for orphan in list(spool.orphan.glob("everyone/Album.*")):
        work = deliver.retry(spool, orphan, (durable.read_json(orphan / "error.json") or {})["job_uuid"])
        for member in daemon.split(work):
            daemon.bring_to_end(member)
    daemon.finish_albums()


def wrong(spool: Spool, *, keep: bool = True) -> list[str]:
    """What is not as it should be when everything has ended: nothing lost, nothing twice, the album complete."""
    found = violations(spool, [BAD, COVER, BACK, LITTER, *([SOURCE] if keep else [])])
    places = sorted(str(path.relative_to(spool.outbox)) for path in spool.outbox.glob("*/*"))
    if places != ["everyone/Album"]:
        found.append(f"in the outbox is {places}")
    inside = {path.name for path in (spool.outbox / "everyone" / "Album").glob("*")}
    if inside != {"CD1", "cover.jpg", ".DS_Store", "album.json"}:
        found.append(f"in the album is {sorted(inside)}")
    document = durable.read_json(spool.outbox / "everyone" / "Album" / "album.json") or {}
    states = {job["source"]: (job["state"], job["result"].split("/")[0]) for job in document.get("jobs", ())}
    if states != {"CD1/good.wav": ("done", "CD1"), "bad.wav": ("failed", "orphan")}:
        found.append(f"album.json says {document.get('jobs')}")
    if left := [path.name for path in (*spool.work.iterdir(), *spool.inbox.iterdir())]:
        found.append(f"left over: {left}")
    return found


if __name__ == "__main__":  # in a process of its own, to be watched from outside
    watched = Spool(Path(sys.argv[1]))
    drop_album(watched)
    mark("arrived")
    steps.install(mark)
    scenarios = {"life": life, "given_up": given_up, "carried_off": carried_off}
    scenarios.get(sys.argv[2], killed_at(sys.argv[2]))(Pipeline(watched))
    mark("end")
