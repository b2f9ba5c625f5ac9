"""OpenSSH's scp and sftp, and curl over sftp, into the inbox: undisturbed, cut off, resumed, renamed."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.process.clients import uploads
from tests.process.clients.servers import Ssh, program, sshd
from tests.process.clients.uploads import beyond, cut_off, expect, recording, recordings, run
from tests.support.daemon import Daemon, eventually
from tests.support.system import needs_root

pytestmark = [
    needs_root,
    pytest.mark.skipif(program("sshd") is None, reason="sshd is not installed"),
    pytest.mark.skipif(shutil.which("sftp") is None, reason="the OpenSSH client is not installed"),
]

SLOW = ("-l", "3200")  # kbit per second
SECONDS, HALF_WAY = 10.0, 200_000


def sftp(server: Ssh, *commands: str, slow: bool = False) -> tuple[list[str], str]:
    """An sftp session: its command line and what it reads; it ends at the first command that fails."""
    words = ["sftp", *(SLOW if slow else ()), *server.options, "-b", "-", "root@127.0.0.1"]
    return words, "".join(f"{command}\n" for command in commands)


def scp(server: Ssh, song: Path, target: Path, *options: str) -> list[str]:
    return ["scp", *options, *server.options, str(song), f"root@127.0.0.1:{target}/"]


def test_every_way_gives_one_finished_folder(tmp_path):
    names = ("scp.wav", "scp -O.wav", "sftp put.wav", "sftp put -p.wav", "sftp renamed.wav", "sftp -f.wav")
    songs = recordings(tmp_path / "songs", *names)
    with uploads.daemon_for(tmp_path) as daemon, sshd(tmp_path / "sshd") as server:
        inbox = daemon.spool.inbox
        run(*scp(server, songs["scp.wav"], inbox, *SLOW))
        run(*scp(server, songs["scp -O.wav"], inbox, "-O", "-p", *SLOW))
        session, script = sftp(
            server,
            f'put "{songs["sftp put.wav"]}" "{inbox}/sftp put.wav"',
            f'put -p "{songs["sftp put -p.wav"]}" "{inbox}/sftp put -p.wav"',
            f'put -f "{songs["sftp -f.wav"]}" "{inbox}/sftp -f.wav"',
            f'put "{songs["sftp renamed.wav"]}" "{inbox}/sftp renamed.wav.part"',
            f'rename "{inbox}/sftp renamed.wav.part" "{inbox}/sftp renamed.wav"',
            slow=True,
        )
        run(*session, stdin=script)
        expect(daemon, songs)


def test_a_folder_of_songs_with_sftp_and_scp(tmp_path):
    songs = recordings(tmp_path / "one", "a.wav", "b.wav") | recordings(tmp_path / "two", "c.wav", "Ärger.wav")
    with uploads.daemon_for(tmp_path) as daemon, sshd(tmp_path / "sshd") as server:
        session, script = sftp(server, f"put {tmp_path}/one/*.wav {daemon.spool.inbox}/")
        run(*session, stdin=script)
        run("scp", *server.options, *sorted((tmp_path / "two").iterdir()), f"root@127.0.0.1:{daemon.spool.inbox}/")
        expect(daemon, songs)


def test_cut_off_and_resumed_in_time_it_is_one_whole_recording(tmp_path):
    songs = recordings(tmp_path / "songs", "reput.wav", "reput SIGINT.wav", "again.wav", "part.wav", seconds=SECONDS)
    with uploads.daemon_for(tmp_path, uploads.PATIENT) as daemon, sshd(tmp_path / "sshd") as server:
        for name, how in (("reput.wav", signal.SIGKILL), ("reput SIGINT.wav", signal.SIGINT)):
            _cut_off_put(daemon, server, songs[name], name, how)
            assert (daemon.spool.inbox / name).stat().st_size < songs[name].stat().st_size
            session, script = sftp(server, f'reput "{songs[name]}" "{daemon.spool.inbox}/{name}"')
            run(*session, stdin=script)
        grown = beyond(daemon.spool.inbox, "again.wav", HALF_WAY)
        cut_off(scp(server, songs["again.wav"], daemon.spool.inbox, *SLOW), grown)
        run(*scp(server, songs["again.wav"], daemon.spool.inbox))
        _cut_off_put(daemon, server, songs["part.wav"], "part.wav.part", signal.SIGKILL)
        _finish_part(daemon, server, songs["part.wav"])
        expect(daemon, songs)


def test_a_part_may_be_resumed_and_renamed_whenever(tmp_path):
    songs = recordings(tmp_path / "songs", "song.wav", "later.wav", seconds=SECONDS)
    with uploads.daemon_for(tmp_path) as daemon, sshd(tmp_path / "sshd") as server:
        _cut_off_put(daemon, server, songs["song.wav"], "song.wav.part", signal.SIGKILL)
        daemon.drop(songs["later.wav"])
        eventually(daemon.results, 60, "what came later is done")
        assert "temporary name" in daemon.stemd("why", str(daemon.spool.inbox / "song.wav.part")).stdout
        _finish_part(daemon, server, songs["song.wav"])
        expect(daemon, songs)


def test_a_short_file_under_its_final_name_is_explained_and_the_next_upload_is_a_new_drop(tmp_path):
    song = recording(tmp_path / "song.wav", SECONDS)
    with uploads.daemon_for(tmp_path) as daemon, sshd(tmp_path / "sshd") as server:
        _cut_off_put(daemon, server, song, "song.wav", signal.SIGKILL)
        report = eventually(daemon.failures, 60, "the short file is in orphan/")["song.wav"]
        assert report["code"] == "STEMD-A002"
        assert daemon.results() == {}
        run(*scp(server, song, daemon.spool.inbox))
        eventually(daemon.results, 60, "the whole file is done")
        assert uploads.finished(daemon) == {"song": uploads.sha256(song)}


def test_a_client_that_stalls_keeps_its_file(tmp_path):
    songs = recordings(tmp_path / "songs", "stalled.wav", "later.wav", seconds=SECONDS)
    with uploads.daemon_for(tmp_path) as daemon, sshd(tmp_path / "sshd") as server:
        target = daemon.spool.inbox / "stalled.wav"
        session, script = sftp(server, f'put "{songs["stalled.wav"]}" "{target}"', slow=True)
        with uploads.started(session, stdin=script) as client:
            eventually(beyond(daemon.spool.inbox, "stalled.wav", HALF_WAY), 60, "it is half-way")
            os.killpg(client.pid, signal.SIGSTOP)
            daemon.drop(songs["later.wav"])
            eventually(daemon.results, 60, "what came later is done")
            eventually(lambda: "still open" in daemon.stemd("why", str(target)).stdout, 30, "it is seen to be open")
            os.killpg(client.pid, signal.SIGCONT)
            assert client.wait(timeout=300) == 0
        expect(daemon, songs)


@pytest.mark.skipif("sftp" not in uploads.curl_protocols(), reason="no curl that speaks sftp")
def test_curl(tmp_path):
    songs = recordings(tmp_path / "songs", "plain.wav", "renamed.wav")
    with uploads.daemon_for(tmp_path) as daemon, sshd(tmp_path / "sshd") as server:
        url = f"sftp://127.0.0.1:{server.port}{daemon.spool.inbox}"
        curl = ("curl", "-sS", "--insecure", "--user", "root:", "--key", server.key, "--pubkey", f"{server.key}.pub")
        run(*curl, "--limit-rate", "400k", "-T", songs["plain.wav"], f"{url}/plain.wav")
        rename = f"rename {daemon.spool.inbox}/renamed.wav.part {daemon.spool.inbox}/renamed.wav"
        run(*curl, "-Q", f"-{rename}", "-T", songs["renamed.wav"], f"{url}/renamed.wav.part")
        expect(daemon, songs)


def _cut_off_put(daemon: Daemon, server: Ssh, song: Path, name: str, how: signal.Signals) -> None:
    """End an sftp session while it puts ``song``, and wait until the server, too, has noticed."""
    target = daemon.spool.inbox / name
    session, script = sftp(server, f'put "{song}" "{target}"', slow=True)
    cut_off(session, beyond(daemon.spool.inbox, name, HALF_WAY), how, stdin=script)
    eventually(lambda: uploads.nobody_writes(target), 30, "the server has closed it")


def _finish_part(daemon: Daemon, server: Ssh, song: Path) -> None:
    target = daemon.spool.inbox / song.name
    session, script = sftp(server, f'reput "{song}" "{target}.part"', f'rename "{target}.part" "{target}"')
    run(*session, stdin=script)
