"""rsync into the inbox, over its own daemon and locally, undisturbed and cut off."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from tests.process.clients import uploads
from tests.process.clients.servers import rsyncd
from tests.process.clients.uploads import cut_off, expect, recording, recordings, run, run_together
from tests.support.daemon import Daemon, eventually

pytestmark = pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")

#: What rsync has to offer, by whether a killed transfer leaves a short file under its final name.
SAFE = {
    "default": (),
    "partial-dir": ("--partial-dir=.rsync-partial",),
    "delay-updates": ("--delay-updates",),
}
TRAPS = {
    "inplace": ("--inplace",),
    "partial": ("--partial",),
    "append-verify": ("--append-verify",),
}
SLOW = "--bwlimit=400"  # KiB per second
SECONDS, HALF_WAY = 10.0, 200_000


def test_every_mode_gives_one_finished_folder(tmp_path):
    ways = _ways()
    songs = recordings(tmp_path / "songs", *ways)
    with uploads.daemon_for(tmp_path) as daemon, rsyncd(tmp_path / "rsyncd", daemon.spool.inbox) as url:
        # slower than `settle`, so that a file which grows under its final name is looked at several times
        run_together(
            ["rsync", "-a", SLOW, *mode, songs[name], _target(daemon, url, name)] for name, mode in ways.items()
        )
        expect(daemon, songs)


def test_cut_off_and_resumed_in_time_it_is_one_whole_recording(tmp_path):
    ways = _ways()
    songs = recordings(tmp_path / "songs", *ways, seconds=SECONDS)
    with (
        uploads.daemon_for(tmp_path, uploads.PATIENT) as daemon,
        rsyncd(tmp_path / "rsyncd", daemon.spool.inbox) as url,
    ):
        for name, mode in ways.items():
            how = signal.SIGKILL if "served" in name else signal.SIGINT
            _cut_off_on_its_way(daemon, songs[name], _target(daemon, url, name), mode, how)
            if "served" in name:
                assert (daemon.spool.inbox / name).exists() == (mode in TRAPS.values())
            run("rsync", "-a", *mode, songs[name], _target(daemon, url, name))
        expect(daemon, songs)


def test_the_safe_modes_may_be_resumed_whenever(tmp_path):
    ways = {f"{mode}.wav": options for mode, options in SAFE.items()}
    songs = recordings(tmp_path / "songs", *ways, "later.wav", seconds=SECONDS)
    with uploads.daemon_for(tmp_path) as daemon, rsyncd(tmp_path / "rsyncd", daemon.spool.inbox) as url:
        for name, mode in ways.items():
            _cut_off_on_its_way(daemon, songs[name], url, mode, signal.SIGKILL)
        daemon.drop(songs["later.wav"])
        eventually(daemon.results, 60, "what came later is done")
        run_together(["rsync", "-a", *mode, songs[name], url] for name, mode in ways.items())
        expect(daemon, songs)


def test_a_short_file_under_its_final_name_is_explained_and_the_resumed_upload_is_a_new_drop(tmp_path):
    ways = {f"{mode}.wav": options for mode, options in TRAPS.items()}
    songs = recordings(tmp_path / "songs", *ways, seconds=SECONDS)
    with uploads.daemon_for(tmp_path) as daemon, rsyncd(tmp_path / "rsyncd", daemon.spool.inbox) as url:
        for name, mode in ways.items():
            _cut_off_on_its_way(daemon, songs[name], url, mode, signal.SIGKILL)
        reports = eventually(
            lambda: len(daemon.failures()) == len(songs) and daemon.failures(), 60, "all are explained"
        )
        assert {name: report["code"] for name, report in reports.items()} == dict.fromkeys(songs, "STEMD-A002")
        assert daemon.results() == {}
        run_together(["rsync", "-a", *mode, songs[name], url] for name, mode in ways.items())
        eventually(lambda: len(daemon.results()) == len(songs), 60, "the whole files are done")
        assert uploads.finished(daemon) == {Path(name).stem: uploads.sha256(song) for name, song in songs.items()}
        for short in daemon.spool.orphan.glob("*/*/source/*.wav"):
            assert songs[short.name].read_bytes().startswith(short.read_bytes())


def test_a_folder_of_songs_is_moved_with_remove_source_files(tmp_path):
    folder = tmp_path / "songs"
    songs = recordings(folder, "one.wav", "two.wav", "Ärger über Öl.wav")
    copies = {name: shutil.copyfile(path, tmp_path / name) for name, path in songs.items()}
    command = ("rsync", "-rt", "--partial-dir=.rsync-partial", "--remove-source-files", f"{folder}/")
    with uploads.daemon_for(tmp_path) as daemon, rsyncd(tmp_path / "rsyncd", daemon.spool.inbox) as url:
        run(*command, url)
        expect(daemon, copies)
        assert list(folder.iterdir()) == []
        run(*command, url)
        expect(daemon, copies)


def test_an_upload_repeated_after_it_was_taken_is_a_second_job(tmp_path):
    song = recording(tmp_path / "song.wav")
    with uploads.daemon_for(tmp_path) as daemon, rsyncd(tmp_path / "rsyncd", daemon.spool.inbox) as url:
        for number in (1, 2):
            run("rsync", "-a", song, url)
            eventually(lambda n=number: len(daemon.results()) == n, 60, f"upload {number} is done")
        assert set(daemon.results()) == {"song", "song (2)"}


def _ways() -> dict[str, tuple[str, ...]]:
    """A name for each way in: every mode, over rsync's own daemon and locally."""
    modes = (SAFE | TRAPS).items()
    return {f"{mode} {where}.wav": options for mode, options in modes for where in ("served", "local")}


def _target(daemon: Daemon, url: str, name: str) -> str:
    return url if "served" in name else f"{daemon.spool.inbox}/"


def _cut_off_on_its_way(daemon: Daemon, song: Path, target: str, options: tuple[str, ...], how: signal.Signals) -> None:
    """End a transfer half-way and wait until the receiving end, too, has noticed."""
    inbox = daemon.spool.inbox
    half_way = uploads.beyond(inbox, f"**/*{song.name}*", HALF_WAY)
    cut_off(["rsync", "-a", SLOW, *options, song, target], half_way, how)
    if target.startswith("rsync://"):
        eventually(lambda: not list(inbox.glob(f".{song.name}.??????")), 30, "the server has given up")
