"""A job at each point of its way, made by the spool's own functions."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stemd.core.config import Config, load
from stemd.core.job import Job, JobId, new_job_id
from stemd.spool import claim, deliver, durable, intake, sidecar
from stemd.spool.intake import Candidate, Door, Kind
from stemd.spool.layout import Spool, WorkDir
from stemd.spool.survey import is_staged
from tests.support.system import public_path

__all__ = ["public_path"]

SOURCE = b"a recording, as far as the spool is concerned" * 20


def measured(files: list[dict[str, Any]]) -> dict[str, Any]:
    """What a worker measures, for a stub of an engine."""
    source = {"frames": 1, "sample_rate": 44_100, "channels": 2, "format": "wav"}
    return {
        "engine_version": "1", "model": {"name": "stub", "sha256": "0"}, "source": source, "files": files,
        "gain_db": 0.0, "settings": {}, "attempts": 1, "chunks": {}, "timings": {}, "resources": {}, "warnings": [],
    }  # fmt: skip


@dataclass
class Way:
    """The calls of daemon and worker, one by one."""

    spool: Spool
    config: Config

    def configure(self, **settings: Any) -> None:
        flags = {key.replace("__", "."): value for key, value in settings.items()}
        self.config = load(None, {"spool": str(self.spool.root), **flags}, {}).config

    def candidate(self, path: Path, door: str | None = None) -> Candidate:
        kind = Kind.FILE if not path.is_dir() else Kind.STAGED if is_staged(path) else Kind.ALBUM
        description = path.with_name(f"{path.name}.job.yaml")
        folder = self.spool.inbox / door if door else self.spool.inbox
        return Candidate(
            path, Door(door, folder), kind, intake.identity(path), description if description.exists() else None
        )

    def drop(self, name: str = "song.wav", content: bytes = SOURCE) -> Path:
        path = self.spool.inbox / name
        path.write_bytes(content)
        return path

    def drop_staged(self, job: str = "input: song.wav\n", name: str = "staged") -> Path:
        folder = self.spool.inbox / name
        folder.mkdir()
        (folder / "song.wav").write_bytes(SOURCE)
        (folder / "job.yaml").write_text(job)
        return folder

    def claim(self, path: Path, job_id: JobId | None = None) -> WorkDir:
        work = claim.claim(self.spool, self.candidate(path), job_id or new_job_id())
        assert work is not None
        return work

    def seal(self, work: WorkDir) -> tuple[WorkDir, Job]:
        sealed = claim.seal(self.spool, work, self.config)
        assert sealed is not None
        return sealed

    def sealed(self, path: Path | None = None) -> tuple[WorkDir, Job]:
        return self.seal(self.claim(path or self.drop()))

    def stage(self, work: WorkDir, job: Job) -> None:
        """What a worker leaves: two stems, their sidecars, the manifest."""
        work.partial.mkdir(mode=0o700)
        files = []
        for stem in ("vocals", "drums"):
            content = f"{stem} of {job.job_uuid}".encode()
            durable.write(work.partial / f"{stem}.flac", content)
            digest = hashlib.sha256(content).hexdigest()
            files.append({"name": f"{stem}.flac", "stem": stem, "sha256": digest, "bytes": len(content)})
        deliver.stage(work, job, sidecar.manifest(job, measured(files)), {"TITLE": "Song"})

    def staged(self, path: Path | None = None) -> tuple[WorkDir, Job]:
        work, job = self.sealed(path)
        self.stage(work, job)
        return work, job

    def published(self, path: Path | None = None) -> tuple[Path, Job]:
        work, job = self.staged(path)
        return deliver.to_outbox(self.spool, work, job), job


@pytest.fixture
def way(spool: Spool) -> Way:
    return Way(spool, load(None, {"spool": str(spool.root)}, {}).config)
