"""A spool that several users write to, and a daemon that is none of them and has no privileges.

The daemon runs as this user without any capability, so it may do no more than an ordinary account; others drop
files through a shared, set-group-id inbox.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path

import pytest

from tests.support.audio import write_wav
from tests.support.daemon import Daemon, eventually

ANA, GROUP = 54_321, 54_300

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to act as several users"),
    pytest.mark.skipif(shutil.which("setpriv") is None, reason="the setpriv program is not installed"),
]

UNPRIVILEGED = [
    "setpriv", "--bounding-set=-all", "--inh-caps=-all", f"--groups={GROUP}", "--no-new-privs", sys.executable,
]  # fmt: skip


def as_ana(action) -> None:
    """Do something as another user who shares only the group."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([GROUP])
            os.setgid(GROUP)
            os.setuid(ANA)
            os.umask(0o007)
            action()
            os._exit(0)
        except BaseException as error:
            os.write(2, f"{error}\n".encode())
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def daemon(tmp_path: Path):
    for folder in (tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    daemon = Daemon(tmp_path)
    daemon.python = UNPRIVILEGED
    for area in ("inbox", "outbox", "orphan", "status"):
        folder = daemon.spool.root / area
        folder.mkdir(exist_ok=True)
        os.chown(folder, 0, GROUP)
        folder.chmod(0o2775)
    with daemon:
        yield daemon


def test_another_users_drop_is_taken_and_its_result_is_shared(daemon, tmp_path):
    song = write_wav(tmp_path / "song.wav", seconds=1.0).read_bytes()
    as_ana(lambda: (daemon.spool.inbox / "hers.wav").write_bytes(song))
    eventually(daemon.results, 60, "it is done")
    folder = daemon.spool.outbox / "everyone" / "hers"
    for path in (folder, folder / "vocals.flac", folder / "manifest.json"):
        assert path.stat().st_gid == GROUP, path
    assert stat.S_IMODE((folder / "vocals.flac").stat().st_mode) == 0o640
    assert (folder / "source" / "hers.wav").stat().st_uid == ANA
    as_ana((folder / "vocals.flac").read_bytes)
    as_ana(lambda: shutil.rmtree(folder / "source"))


def test_what_cannot_be_read_is_named_and_taken_once_it_can(daemon, tmp_path):
    song = write_wav(tmp_path / "song.wav", seconds=1.0).read_bytes()
    secret = daemon.spool.inbox / "secret.wav"

    def drop() -> None:
        secret.touch(mode=0o600)
        secret.write_bytes(song)

    as_ana(drop)
    said = eventually(lambda: "STEMD-S006" in daemon.stemd("why", str(secret)).stderr, 30, "why says so")
    assert said
    assert daemon.results() == {}
    as_ana(lambda: secret.chmod(0o660))
    eventually(daemon.results, 60, "it is taken now")
