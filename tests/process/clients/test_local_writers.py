"""Programs on the same machine that write into the inbox: whole, slowly, in several goes, or under a second name."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.clients import uploads
from tests.process.clients.uploads import beyond, expect, recording, recordings, run
from tests.support.daemon import eventually
from tests.support.system import mounted, needs_root


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder on another file system than the spool's."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == Path(tempfile.gettempdir()).stat().st_dev:
        pytest.skip("no second file system")
    with tempfile.TemporaryDirectory(prefix="stemd-test-", dir=memory) as folder:
        yield Path(folder)


def test_everyday_programs(tmp_path, elsewhere):
    names = ("cp.wav", "cp -p.wav", "install.wav", "dd.wav", "mv.wav", "tar.wav", "cat.wav", "two.wav")
    songs, moved = recordings(tmp_path / "songs", *names), recordings(elsewhere, "mv across.wav")
    kept = _copies(tmp_path, songs | moved)
    with uploads.daemon_for(tmp_path, "3s") as daemon:  # install sets the mode of what it has closed by its name
        inbox = daemon.spool.inbox
        run("mv", moved["mv across.wav"], inbox)
        run("mv", songs["mv.wav"], inbox)
        run("cp", songs["cp.wav"], inbox)
        run("cp", "-p", songs["cp -p.wav"], inbox)
        run("install", "-m", "640", songs["install.wav"], inbox)
        run("dd", f"if={songs['dd.wav']}", f"of={inbox}/dd.wav", "bs=4096", "conv=notrunc")
        run("sh", "-c", 'tar -C "$1" -c tar.wav | tar -C "$2" -x', "sh", tmp_path / "songs", inbox)
        run("sh", "-c", 'cat <"$1" >"$2"', "sh", songs["cat.wav"], inbox / "cat.wav")
        run("sh", "-c", 'cp "$1" "$2/.two.wav" && mv "$2/.two.wav" "$2/two.wav"', "sh", songs["two.wav"], inbox)
        expect(daemon, kept)


@pytest.mark.skipif("file" not in uploads.curl_protocols(), reason="no curl that speaks file")
def test_curl_to_a_file(tmp_path):
    songs = recordings(tmp_path / "songs", "song.wav")
    with uploads.daemon_for(tmp_path) as daemon:
        run("curl", "-sS", "-o", daemon.spool.inbox / "song.wav", f"file://{songs['song.wav']}")
        expect(daemon, songs)


@pytest.mark.parametrize("into", ['cat >"$2"', 'dd of="$2" bs=4096 conv=notrunc status=none'], ids=["cat", "dd"])
def test_a_writer_that_pauses_keeps_its_file_until_it_closes_it(tmp_path, into):
    songs = recordings(tmp_path / "songs", "slow.wav", "later.wav")
    halves = songs["slow.wav"].stat().st_size // 2
    script = f'(head -c {halves} "$1"; read go; tail -c +{halves + 1} "$1") | {into}'
    with uploads.daemon_for(tmp_path) as daemon:
        target = daemon.spool.inbox / "slow.wav"
        command = ["sh", "-c", script, "sh", str(songs["slow.wav"]), str(target)]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as writer:
            eventually(beyond(target.parent, target.name, halves - 1), 30, "half of it is there")
            daemon.drop(songs["later.wav"])
            eventually(daemon.results, 60, "what came later is done")
            eventually(lambda: "still open" in daemon.stemd("why", str(target)).stdout, 30, "it is seen to be open")
            writer.communicate(b"go\n", timeout=300)
        assert writer.returncode == 0
        expect(daemon, songs)


def test_a_writer_may_close_and_reopen_within_settle(tmp_path):
    songs = recordings(tmp_path / "songs", "appended.wav", "patched.wav")
    content = {name: path.read_bytes() for name, path in songs.items()}
    with uploads.daemon_for(tmp_path, "4s") as daemon:
        target = daemon.spool.inbox / "appended.wav"
        for start in range(0, len(content["appended.wav"]), 60_000):
            with target.open("ab") as file:
                file.write(content["appended.wav"][start : start + 60_000])
        target = daemon.spool.inbox / "patched.wav"
        target.write_bytes(bytes(len(content["patched.wav"])))  # its final size from the first moment on
        piece = tmp_path / "piece"
        for number in range(-(-len(content["patched.wav"]) // 65_536)):
            piece.write_bytes(content["patched.wav"][number * 65_536 :][:65_536])
            run("dd", f"if={piece}", f"of={target}", "bs=65536", f"seek={number}", "conv=notrunc", "status=none")
        expect(daemon, songs)


def test_a_hard_link_becomes_a_private_copy(tmp_path):
    song = recording(tmp_path / "song.wav")
    before = uploads.sha256(song)
    with uploads.daemon_for(tmp_path) as daemon:
        run("ln", song, daemon.spool.inbox / "song.wav")
        eventually(daemon.results, 60, "it is done")
        (source,) = daemon.spool.outbox.glob("*/*/source/song.wav")
        assert source.stat().st_ino != song.stat().st_ino
        song.write_bytes(b"the other name lives on")
        assert uploads.sha256(source) == before


def test_an_unnamed_file_that_gets_its_name_at_the_end(tmp_path):
    songs = recordings(tmp_path / "songs", "song.wav")
    with uploads.daemon_for(tmp_path) as daemon:
        descriptor = os.open(daemon.spool.inbox, os.O_TMPFILE | os.O_WRONLY, 0o640)
        os.write(descriptor, songs["song.wav"].read_bytes())
        target = daemon.spool.inbox / "song.wav"
        proc = os.open("/proc/self/fd", os.O_RDONLY)  # without a folder Python would link the link itself
        os.link(str(descriptor), target, src_dir_fd=proc, follow_symlinks=True)
        os.close(proc)
        eventually(lambda: "still open" in daemon.stemd("why", str(target)).stdout, 30, "it is seen to be open")
        os.close(descriptor)
        expect(daemon, songs)


def test_an_inbox_that_is_polled(tmp_path):
    songs = recordings(tmp_path / "songs", "cp.wav", "mv.wav")
    kept = _copies(tmp_path, songs)
    with uploads.daemon_for(tmp_path, watch="poll") as daemon:
        assert [event["mode"] for event in daemon.events("watching")] == ["poll"]
        run("cp", songs["cp.wav"], daemon.spool.inbox)
        run("mv", songs["mv.wav"], daemon.spool.inbox)
        expect(daemon, kept)


@needs_root
@pytest.mark.skipif(shutil.which("bindfs") is None, reason="bindfs is not installed")
def test_an_inbox_on_fuse_is_polled(tmp_path):
    """The spool's root is a FUSE mount: no events come and no writers are seen, so only rest counts."""
    songs = recordings(tmp_path / "songs", "cp.wav", "slow.wav")
    backing, root = tmp_path / "backing", tmp_path / "spool"
    backing.mkdir()
    root.mkdir()
    run("bindfs", backing, root)
    try:
        with uploads.daemon_for(tmp_path, "5s") as daemon:  # no writer is seen here: longer than any of its pauses
            (watching,) = daemon.events("watching")
            assert watching["mode"] == "poll"
            assert "FUSE" in watching["why"]
            run("cp", songs["cp.wav"], backing / "inbox")  # from behind the mount, as another machine would
            content = songs["slow.wav"].read_bytes()
            with (daemon.spool.inbox / "slow.wav").open("wb", buffering=0) as file:
                for start in range(0, len(content), 4096):
                    file.write(content[start : start + 4096])
            expect(daemon, songs)
    finally:
        run("umount", "-l", root)


@needs_root
def test_an_inbox_on_overlay(tmp_path):
    songs = recordings(tmp_path / "songs", "cp.wav", "mv.wav")
    kept = _copies(tmp_path, songs)
    layers = {name: tmp_path / name for name in ("lowerdir", "upperdir", "workdir")}
    for folder in (*layers.values(), tmp_path / "spool"):
        folder.mkdir()
    options = ",".join(f"{name}={folder}" for name, folder in layers.items())
    with (
        mounted("-t", "overlay", "-o", options, "overlay", tmp_path / "spool"),
        uploads.daemon_for(tmp_path) as daemon,
    ):
        run("cp", songs["cp.wav"], daemon.spool.inbox)
        run("mv", songs["mv.wav"], daemon.spool.inbox)
        expect(daemon, kept)


def _copies(folder: Path, songs: dict[str, Path]) -> dict[str, Path]:
    """The same recordings again, because some programs move theirs."""
    return {name: Path(shutil.copy(path, folder / name)) for name, path in songs.items()}
