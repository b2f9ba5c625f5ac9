"""A spool that several users write to, and a daemon that is none of them and has no privileges.

The daemon runs as this user without any capability, so it may do no more than an ordinary account; others drop
files through a shared, set-group-id inbox.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner

from stemd.cli.main import COMMANDS, main
from tests.support.audio import write_wav
from tests.support.daemon import Daemon, eventually
from tests.support.system import in_child, public_path

__all__ = ["public_path"]

ANA, BEN, OLA, GROUP = 54_321, 54_322, 54_323, 54_300

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
def daemon(public_path: Path):
    daemon = Daemon(public_path)
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


def stemd(daemon: Daemon, uid: int, *words: str | Path) -> tuple[int, str]:
    """A command of the user ``uid``, a member of the group: its status and what it says."""
    for place in COMMANDS.values():  # a child may not be allowed to read Python's own folder
        import_module(place.partition(":")[0])
    arguments = [*map(str, words), "-c", str(daemon.config)]
    CliRunner().invoke(main, [*arguments[:1], "--help"])

    def invoke() -> tuple[int, str]:
        result = CliRunner().invoke(main, arguments)
        return result.exit_code, result.output

    return in_child(invoke, uid=uid, group=GROUP)


@pytest.fixture
def governed(daemon):
    """The same with three users that the daemon knows, and the folder of the socket as the unit makes it."""
    daemon.stop()
    users = {"ana": {"uid": ANA}, "ben": {"uid": BEN}, "ola": {"uid": OLA, "role": "operator"}}
    daemon.configure(users=users, defaults={"model": "htdemucs", "settle": "300ms", "settle_unprobed": "500ms"})
    daemon.start()
    for path in [daemon.home / "run", *(daemon.home / "run").iterdir()]:
        os.chown(path, 0, GROUP)
    return daemon


def test_a_file_in_the_shared_inbox_is_its_owners_to_steer_and_the_operators(governed, tmp_path):
    song = write_wav(tmp_path / "song.wav", seconds=1.0).read_bytes()
    as_ana(lambda: (governed.spool.inbox / "hers.wav").write_bytes(song))
    job, status = eventually(
        lambda: next(((j, s) for j, s in governed.states().items() if s["state"] == "deferred"), None), 60, "it waits"
    )
    assert status["user_id"] == "ana"
    code, said = stemd(governed, BEN, "cancel", job)
    assert (code, "STEMD-P003: ben (user) may not steer jobs of ana" in said) == (77, True), said
    assert governed.states()[job]["state"] == "deferred"
    for uid, word in ((ANA, "hold"), (OLA, "release"), (ANA, "cancel")):
        code, said = stemd(governed, uid, word, job)
        assert code == 0, said
    assert (governed.failures()["hers.wav"]["user_id"], governed.failures()["hers.wav"]["code"]) == (
        "ana",
        "STEMD-P002",
    )
    assert stemd(governed, BEN, "retry", job)[0] == 77
    assert stemd(governed, ANA, "retry", job)[0] == 0
    assert stemd(governed, ANA, "drain")[0] == 77
    assert "everyone" not in stemd(governed, ANA, "quota")[1], "a user sees what is his"
    assert stemd(governed, ANA, "quota", "ben")[0] == 77
    assert {"ana", "ben", "everyone"} <= set(stemd(governed, OLA, "quota")[1].split())
    assert stemd(governed, OLA, "drain")[0] == 0


def test_who_may_what_follows_a_reload(governed):
    assert stemd(governed, ANA, "drain")[0] == 77
    governed.configure(users={"ana": {"uid": ANA, "role": "operator"}})
    assert governed.stemd("reload").returncode == 0
    assert stemd(governed, ANA, "drain")[0] == 0
    assert stemd(governed, OLA, "resume")[0] == 77, "no user any more"


def test_an_entry_of_an_inbox_is_its_owners_to_hold(governed, tmp_path):
    assert stemd(governed, OLA, "drain")[0] == 0
    song = write_wav(tmp_path / "song.wav", seconds=1.0).read_bytes()
    hers = governed.spool.inbox / "hers.wav"
    as_ana(lambda: hers.write_bytes(song))
    assert stemd(governed, BEN, "hold", hers)[0] == 77
    assert stemd(governed, ANA, "hold", hers)[0] == 0
    assert stemd(governed, OLA, "why", hers)[0] == 0


def test_nobody_speaks_for_another(governed, tmp_path):
    song = write_wav(tmp_path / "song.wav", seconds=1.0).read_bytes()

    def as_if_ben() -> None:
        folder = governed.spool.inbox / "forged"
        folder.mkdir()
        (folder / "job.yaml").write_text("{user_id: ben, input: song.wav}")
        (folder / "song.wav").write_bytes(song)

    as_ana(as_if_ben)
    report = eventually(lambda: governed.failures().get("forged"), 60, "it is refused")
    assert (report["user_id"], report["code"]) == ("ana", "STEMD-P001")
    bens = governed.spool.root / "bens.wav"  # a file of ben's that somebody else gives a second name, in the inbox
    bens.write_bytes(song)
    os.chown(bens, BEN, GROUP)
    os.link(bens, governed.spool.inbox / "linked.wav")
    found = eventually(lambda: next((s for s in governed.states().values() if s["title"] == "linked"), None), 60)
    assert found["user_id"] == "everyone"


def test_an_album_is_its_folders_owners_with_all_that_is_in_it(governed, tmp_path):
    song = write_wav(tmp_path / "song.wav", seconds=1.0).read_bytes()
    album = governed.spool.inbox / "album"
    hidden = governed.spool.inbox / ".album"

    def make() -> None:
        hidden.mkdir()
        (hidden / "one.wav").write_bytes(song)

    as_ana(make)
    (hidden / "two.wav").write_bytes(song)
    os.chown(hidden / "two.wav", BEN, GROUP)
    (hidden / "two.wav").chmod(0o664)
    hidden.rename(album)
    found = eventually(lambda: {s["title"]: s["user_id"] for s in governed.states().values() if s["title"]}, 60)
    found = eventually(
        lambda: len(t := {s["title"]: s["user_id"] for s in governed.states().values() if s["title"]}) == 2 and t, 60
    )
    assert found == {"one": "ana", "two": "ana"}
