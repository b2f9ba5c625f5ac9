"""A site with a spool, people and jobs."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from stemd.core.config import load
from stemd.core.job import new_job_id
from stemd.ops import web
from stemd.ops.health import Health
from stemd.ops.metrics import Metrics
from stemd.ops.view import DaemonView
from stemd.spool import probes, sidecar
from stemd.spool.layout import Spool

ROLES = {"ana": "user", "bo": "user", "vera": "viewer", "otto": "operator", "ada": "admin"}
STEMS = ("vocals", "drums")


def token(name: str) -> str:
    return f"the token of {name}".replace(" ", "-")


class Place:
    """A spool with jobs of several people, a daemon's view that tests replace, and clients for it."""

    def __init__(self, spool: Spool, home: Path) -> None:
        self.spool, self.heard, self.refused = spool, [], []
        users = {
            name: {"role": role, "token_sha256": hashlib.sha256(token(name).encode()).hexdigest()}
            for name, role in ROLES.items()
        }
        flags = {"spool": str(spool.root), "paths.models": str(home / "models"), "users": users, "http.audio": True}
        self.config = load(None, flags, {}).config
        self.view = DaemonView(True, "serving", loop_at=time.monotonic(), jobs={"running": 1, "waiting": 2})
        self.health, self.metrics = Health(self.config, (spool,), home / "models"), Metrics(("demucs",))

    def client(self, *, local: bool = True, **how) -> TestClient:
        site = web.Site(
            lambda: self.view,
            lambda: self.config,
            self.health,
            self.metrics,
            local=local,
            heard=lambda person, job, name: self.heard.append((person.name, job.job_uuid, name)),
            refused=lambda person, action, job: self.refused.append(
                (person and person.name, action, job and job.job_uuid)
            ),
        )
        client = TestClient(web.application(site), "http://localhost:9814", raise_server_exceptions=False, **how)
        client.headers.pop("accept")
        return client

    def get(self, path: str, **how):
        return self.client().get(path, **how)

    def as_(self, name: str) -> TestClient:
        client = self.client(local=False)
        client.headers["authorization"] = f"Bearer {token(name)}"
        return client

    @contextmanager
    def owned(self) -> Iterator[None]:
        """A daemon owns the spool, as far as anybody can see."""
        held = probes.take_lock(self.spool)
        yield
        os.close(held)

    # ---- jobs

    def job(self, user: str = "ana", state: str = "running", **fields) -> str:
        job_id = new_job_id()
        sidecar.write_status(self.spool, job_id, {"user_id": user, "state": state, "title": "song", **fields})
        return job_id

    def done(self, user: str = "ana", title: str = "song", **fields) -> str:
        """A finished job with a folder in the outbox."""
        job_id = self.job(user, "done", title=title, result=f"outbox/{user}/{title}", **fields)
        folder = self.spool.outbox / user / title
        folder.mkdir(parents=True)
        rows = []
        for stem in STEMS:
            (folder / f"{stem}.flac").write_bytes(f"fLaC the sound of {stem}".encode() * 100)
            rows.append(_row(folder / f"{stem}.flac", stem))
        (folder / "peaks.json").write_text(json.dumps(_peaks()))
        manifest = {
            "job_uuid": job_id,
            "user_id": user,
            "files": rows,
            "documents": [{"name": "peaks.json", "sha256": "", "bytes": 1}],
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))
        _log(folder, [{"event": "claimed", "name": "song.wav"}, {"event": "separated", "trace": "secret"}])
        return job_id

    def failed(self, user: str = "ana", title: str = "song", **fields) -> str:
        job_id = new_job_id()
        folder = self.spool.orphan / user / f"{title}.{job_id[-8:]}"
        folder.mkdir(parents=True)
        why = {"code": "STEMD-A001", "class": "decode", "message": "no audio in it", "remedy": "Send audio."}
        report = {"job_uuid": job_id, "user_id": user, **why, "log_tail": ["secret"], "attempts": []}
        (folder / "error.json").write_text(json.dumps(report))
        _log(folder, [{"event": "claimed"}, {"event": "giving_up", **why}])
        result = str(folder.relative_to(self.spool.root))
        status = {"user_id": user, "state": "failed", "title": title, "reason": why, "result": result} | fields
        sidecar.write_status(self.spool, job_id, status)
        return job_id

    def folder(self, job_id: str) -> Path:
        status = json.loads(self.spool.status_file(job_id).read_text())
        return self.spool.root / status["result"]


def _row(path: Path, stem: str) -> dict[str, object]:
    data = path.read_bytes()
    facts = {"name": path.name, "stem": stem, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    return {**facts, "frames": 441000, "sample_rate": 44100, "channels": 2, "peak": 0.5, "lufs": -14.2}


def _peaks() -> dict[str, object]:
    form = {"version": 2, "channels": len(STEMS), "sample_rate": 44100, "samples_per_pixel": 4410, "bits": 16}
    data = [value for point in range(100) for _ in STEMS for value in (-300 * point, 320 * point)]
    return {**form, "length": 100, "data": data, "stems": list(STEMS)}


def _log(folder: Path, events: list[dict[str, object]]) -> None:
    lines = [json.dumps({"at": f"2026-01-01T00:00:0{n}Z", **event}) for n, event in enumerate(events)]
    (folder / "job.log.jsonl").write_text("\n".join(lines) + "\n")


@pytest.fixture
def place(spool: Spool, tmp_path: Path) -> Place:
    (spool.inbox / "ana").mkdir(exist_ok=True)
    return Place(spool, tmp_path)
