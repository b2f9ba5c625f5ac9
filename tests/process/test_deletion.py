"""Prune, erase and the audit trail with a real daemon."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from stemd.core.job import new_job_id
from tests.support.audio import write_wav
from tests.support.daemon import Daemon, eventually

STUB = {"engine": "stub", "model": "stub", "settle": "300ms", "settle_unprobed": "500ms"}
USER = "zaide-42"
NAME = "unreleased Zaïde take"


def content(path: Path) -> bytes:
    """What is in a file; nothing of a folder, or of what goes at this moment."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        return b""


def traces(daemon: Daemon, *words: str) -> list[str]:
    """Where any of the words stands: in spool and state, names and contents, and in the daemon's log."""
    wanted = [form for word in words for form in (word.encode(), json.dumps(word)[1:-1].encode())]
    walked = os.walk(daemon.spool.root)  # passes over folders that go at this moment
    found = (Path(folder, name) for folder, folders, files in walked for name in (*folders, *files))
    paths = [path for path in found if path != daemon.spool.inbox / USER]
    return [
        str(path)
        for path in (*paths, daemon.log)
        if any(word in os.fsencode(path.relative_to(daemon.home)) for word in wanted)
        or any(word in content(path) for word in wanted)
    ]


def dropped(daemon: Daemon, user: str, name: str, seconds: float = 0.3) -> None:
    made = write_wav(daemon.home / "made.wav", seconds)
    made.write_bytes(made.read_bytes() + name.encode())
    made.rename(daemon.spool.inbox / user / f"{name}.wav")


def test_a_user_is_erased_while_one_of_his_jobs_runs(tmp_path: Path):
    with Daemon(tmp_path, defaults=STUB, users={USER: {}, "ben": {}}) as daemon:
        for user in (USER, "ben"):
            dropped(daemon, user, f"{NAME} of {user}" if user == USER else "ben's song")
        eventually(lambda: len(daemon.results()) == 2, 60, "both are done")
        (daemon.spool.inbox / USER / "bad.wav").write_bytes(b"no audio: " + NAME.encode())
        eventually(lambda: list(daemon.spool.orphan.glob(f"{USER}/*/error.json")), 60, "one has failed")
        dropped(daemon, USER, f"{NAME} two", 120.0)
        running = eventually(lambda: daemon.in_state("running") or daemon.in_state("waiting"), 60, "one is at work")
        hashes = [manifest["source"]["sha256"] for manifest in daemon.results().values()
                  if manifest["user_id"] == USER]  # fmt: skip
        listed = daemon.ask("erase", "--user", USER, "--dry-run")
        assert running["job_uuid"] in listed["jobs"]
        assert traces(daemon, USER, NAME, *hashes)
        receipt = daemon.ask("erase", "--user", USER, "--yes")
        assert receipt["verified"]
        assert running["job_uuid"] in receipt["jobs"]
        assert traces(daemon, USER, NAME, *hashes) == []
        assert list(daemon.results()) == ["ben's song"]
        head = f"{receipt['audit']['seq']}:{receipt['audit']['hash']}"
        assert daemon.stemd("audit", "verify", "--head", head).returncode == 0
        dropped(daemon, USER, "a new one")
        eventually(lambda: "a new one" in daemon.results(), 60, "new songs are welcome")
        assert daemon.stemd("audit", "spool").returncode == 0


def test_what_was_erased_does_not_come_back(tmp_path: Path):
    job = new_job_id()
    with Daemon(tmp_path, defaults=STUB, inboxes={"stager": {"trust": "manifest"}}) as daemon:

        def deliver() -> None:
            folder = tmp_path / "job"
            folder.mkdir()
            write_wav(folder / "song.wav", 0.3)
            (folder / "job.yaml").write_text(f"input: song.wav\njob_uuid: {job}\nuser_id: {USER}\n")
            folder.rename(daemon.spool.inbox / "stager" / "delivered")

        deliver()
        eventually(daemon.results, 60, "it is done")
        backup = tmp_path / "backup"
        shutil.copytree(daemon.spool.root / "outbox", backup)
        assert daemon.ask("erase", "--job", job, "--yes")["jobs"] == [job]
        assert daemon.states()[job].keys() == {"schema_version", "job_uuid", "state", "updated_at"}
        deliver()
        eventually(lambda: daemon.events("acknowledged"), 60, "it is delivered once more")
        eventually(lambda: not list(daemon.spool.work.glob("[!.]*")), 30, "it is let go")
        shutil.copytree(backup, daemon.spool.outbox, dirs_exist_ok=True)
        assert daemon.ask("prune")["deleted"] == {"outbox": 1}
        assert daemon.results() == {}
        assert daemon.metric('stemd_retention_deleted_total{area="outbox"}') == 1


def test_the_timer_prunes_with_the_daemon_and_without(tmp_path: Path):
    terms = {"outbox": "0s", "status": None}
    with Daemon(tmp_path, defaults=STUB, users={"ben": {}}, retention=terms) as daemon:
        dropped(daemon, "ben", "one")
        eventually(daemon.results, 60, "it is done")
        assert daemon.ask("prune", "--dry-run")["due"] == {"outbox": 1}
        assert daemon.ask("prune")["deleted"] == {"outbox": 1}
        dropped(daemon, "ben", "two")
        eventually(daemon.results, 60, "the other is done")
        daemon.stop()
        assert daemon.ask("prune")["deleted"] == {"outbox": 1}
        assert daemon.stemd("audit", "verify").returncode == 0
        events = [json.loads(line)["event"] for line in daemon.stemd("audit", "export").stdout.splitlines()]
        assert {"started", "configured", "role_changed", "claimed", "accepted", "ended", "pruned"} <= set(events)
        mine = daemon.stemd("audit", "export", "--user", "ben").stdout
        assert 0 < len(mine.splitlines()) < len(events)
        assert "ben" not in mine


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare(1)")
def test_a_job_needs_no_network(tmp_path: Path):
    """In a network namespace of its own, in which there is nothing, not even a loopback that is up."""
    daemon = Daemon(tmp_path)
    write_wav(daemon.spool.inbox / "song.wav", 1.0)
    command = [sys.executable, "-m", "stemd", "run", "--once", "-c", str(daemon.config)]
    done = subprocess.run(["unshare", "-n", *command], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert list(daemon.results()) == ["song"]


def test_who_listens_and_who_is_refused_is_in_the_trail(tmp_path: Path):
    tokens = {name: hashlib.sha256(f"token-of-{name}".encode()).hexdigest() for name in ("ana", "ben", "vera")}
    users = {name: {"token_sha256": token, "role": "viewer" if name == "vera" else "user"}
             for name, token in tokens.items()}  # fmt: skip
    with Daemon(tmp_path, defaults=STUB, users=users, http={"tokens": "always", "audio": True}) as daemon:
        dropped(daemon, "ana", "hers")
        manifest = eventually(daemon.results, 60, "it is done")["hers"]
        job, sound = manifest["job_uuid"], manifest["files"][0]["name"]
        address = f"http://{daemon.events('http_listening')[-1]['address']}"

        def asked(name: str, path: str) -> int:
            request = urllib.request.Request(address + path, headers={"Authorization": f"Bearer token-of-{name}"})
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return answer.status
            except urllib.error.HTTPError as error:
                return error.code

        eventually(lambda: daemon.states()[job]["state"] == "done", 60, "its status says so too")
        eventually(lambda: asked("ana", f"/api/jobs/{job}") == 200, 60, "the port shows it")
        for _ in range(3):
            assert asked("ana", f"/jobs/{job}/files/{sound}") == 200
            assert asked("ben", f"/jobs/{job}/files/{sound}") == 404
            assert asked("vera", f"/jobs/{job}/files/{sound}") == 403
            assert asked("eve", f"/jobs/{job}/files/{sound}") == 401
        trail = [json.loads(line) for line in daemon.stemd("audit", "export").stdout.splitlines()]
        assert [each["event"] for each in trail].count("heard") == 3
        told = [each for each in trail if each["event"] == "refused"]
        assert [(each["action"], each["actor"]["role"]) for each in told] == [
            ("see", "user"), ("hear", "viewer"), ("sign_in", "stranger"),
        ], "once a minute each"  # fmt: skip
        (owner,) = {each["user"] for each in trail if each["event"] == "heard"}
        assert [each.get("user") for each in told] == [owner, owner, None]
        assert daemon.stemd("audit", "verify").returncode == 0
