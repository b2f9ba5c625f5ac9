"""smbclient on a Samba share that is the inbox: undisturbed, cut off, resumed, renamed."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.process.clients import uploads
from tests.process.clients.servers import program, smbd
from tests.process.clients.uploads import beyond, cut_off, expect, recording, recordings, run
from tests.support.daemon import Daemon, eventually
from tests.support.system import needs_root

pytestmark = [
    needs_root,
    pytest.mark.skipif(program("smbd") is None, reason="smbd is not installed"),
    pytest.mark.skipif(shutil.which("smbclient") is None, reason="smbclient is not installed"),
]

SECONDS, HALF_WAY = 4.0, 60_000  # smbclient reads far ahead of what it has written


def test_every_way_gives_one_finished_folder(tmp_path):
    songs = recordings(tmp_path / "songs", "put.wav", "Über Öl & Ähren ß.wav", "renamed.wav")
    many = recordings(tmp_path / "many", "one.wav", "two.wav", "日本語.wav")
    with uploads.daemon_for(tmp_path) as daemon, smbd(tmp_path / "smbd", daemon.spool.inbox) as smbclient:
        for name in ("put.wav", "Über Öl & Ähren ß.wav"):
            run(*smbclient, "-c", f'put "{songs[name]}" "{name}"')
        _put_and_rename(smbclient, songs["renamed.wav"])
        run(*smbclient, "-c", f"lcd {tmp_path}/many; prompt OFF; recurse ON; mput *.wav")
        expect(daemon, songs | many)


def test_a_slow_client_keeps_its_file_until_it_is_done(tmp_path):
    songs = recordings(tmp_path / "songs", "slow.wav", "later.wav", seconds=SECONDS)
    with uploads.daemon_for(tmp_path) as daemon, smbd(tmp_path / "smbd", daemon.spool.inbox) as smbclient:
        target = daemon.spool.inbox / "slow.wav"
        content = songs["slow.wav"].read_bytes()
        with (
            _fed(tmp_path / "fifo", content, pause_at=len(content) // 2) as go_on,
            uploads.started([*smbclient, "-c", f'put "{tmp_path}/fifo" slow.wav']) as client,
        ):
            eventually(beyond(daemon.spool.inbox, "slow.wav", HALF_WAY), 60, "it is half-way")
            daemon.drop(songs["later.wav"])
            eventually(daemon.results, 60, "what came later is done")
            eventually(lambda: "still open" in daemon.stemd("why", str(target)).stdout, 30, "it is seen to be open")
            go_on.set()
            assert client.wait(timeout=300) == 0
        expect(daemon, songs)


def test_cut_off_and_resumed_in_time_it_is_one_whole_recording(tmp_path):
    songs = recordings(tmp_path / "songs", "again.wav", "part.wav", seconds=SECONDS)
    with (
        uploads.daemon_for(tmp_path, uploads.PATIENT) as daemon,
        smbd(tmp_path / "smbd", daemon.spool.inbox) as smbclient,
    ):
        _cut_off_put(daemon, smbclient, songs["again.wav"], "again.wav")
        assert (daemon.spool.inbox / "again.wav").stat().st_size < songs["again.wav"].stat().st_size
        run(*smbclient, "-c", f'put "{songs["again.wav"]}" again.wav')
        _cut_off_put(daemon, smbclient, songs["part.wav"], "part.wav.part")
        _put_and_rename(smbclient, songs["part.wav"])
        expect(daemon, songs)


def test_a_part_may_be_resumed_and_renamed_whenever(tmp_path):
    songs = recordings(tmp_path / "songs", "song.wav", "later.wav", seconds=SECONDS)
    with uploads.daemon_for(tmp_path) as daemon, smbd(tmp_path / "smbd", daemon.spool.inbox) as smbclient:
        _cut_off_put(daemon, smbclient, songs["song.wav"], "song.wav.part")
        daemon.drop(songs["later.wav"])
        eventually(daemon.results, 60, "what came later is done")
        mode = stat.S_IMODE((daemon.spool.inbox / "song.wav.part").stat().st_mode)
        assert mode == 0o664, "the share's masks decide who may take it"
        _put_and_rename(smbclient, songs["song.wav"])
        expect(daemon, songs)


def test_a_short_file_under_its_final_name_is_explained_and_the_next_upload_is_a_new_drop(tmp_path):
    song = recording(tmp_path / "song.wav", SECONDS)
    with uploads.daemon_for(tmp_path) as daemon, smbd(tmp_path / "smbd", daemon.spool.inbox) as smbclient:
        _cut_off_put(daemon, smbclient, song, "song.wav")
        report = eventually(daemon.failures, 60, "the short file is in orphan/")["song.wav"]
        assert report["code"] == "STEMD-A002"
        assert daemon.results() == {}
        run(*smbclient, "-c", f'put "{song}" song.wav')
        eventually(daemon.results, 60, "the whole file is done")
        assert uploads.finished(daemon) == {"song": uploads.sha256(song)}


def _put_and_rename(smbclient: tuple[str, ...], song: Path) -> None:
    run(*smbclient, "-c", f'put "{song}" {song.name}.part; rename {song.name}.part {song.name}')


def _cut_off_put(daemon: Daemon, smbclient: tuple[str, ...], song: Path, name: str) -> None:
    """End an smbclient half-way, and wait until the server, too, has noticed."""
    target, fifo = daemon.spool.inbox / name, daemon.home / f"{name}.fifo"
    content = song.read_bytes()
    with _fed(fifo, content, pause_at=len(content) // 2):
        cut_off([*smbclient, "-c", f'put "{fifo}" {name}'], beyond(daemon.spool.inbox, name, HALF_WAY))
    eventually(lambda: uploads.nobody_writes(target), 30, "the server has closed it")


@contextmanager
def _fed(fifo: Path, content: bytes, pause_at: int) -> Iterator[threading.Event]:
    """A FIFO to read a file from; after ``pause_at`` bytes nothing more comes until the event that is yielded is set.

    smbclient has no limit for its speed.
    """
    os.mkfifo(fifo)
    go_on, stop = threading.Event(), threading.Event()

    def feed() -> None:
        try:
            with fifo.open("wb", buffering=0) as pipe:
                pipe.write(content[:pause_at])
                go_on.wait()
                if not stop.is_set():
                    pipe.write(content[pause_at:])
        except BrokenPipeError:
            pass  # its reader was killed

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    try:
        yield go_on
    finally:
        stop.set()
        go_on.set()
        thread.join(timeout=10)
