"""Whole folders uploaded by network clients: an album is taken once all of it is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process.clients import uploads
from tests.process.clients.servers import program, rsyncd, smbd, sshd
from tests.process.clients.uploads import beyond, cut_off, recordings, run, run_together
from tests.support.daemon import Daemon, eventually
from tests.support.spools import violations
from tests.support.system import needs_root

PROGRAMS = ("rsync", "sshd", "sftp", "smbd", "smbclient")


@needs_root
@pytest.mark.skipif(not all(map(program, PROGRAMS)), reason=f"not all of {', '.join(PROGRAMS)} are installed")
def test_albums_of_all_clients(tmp_path):
    sources = {album: _album(tmp_path / "albums" / album) for album in ("rsync", "scp", "sftp", "smb", "renamed")}
    with (
        uploads.daemon_for(tmp_path) as daemon,
        rsyncd(tmp_path / "rsyncd", daemon.spool.inbox) as url,
        sshd(tmp_path / "sshd") as ssh,
        smbd(tmp_path / "smbd", daemon.spool.inbox) as smbclient,
    ):
        inbox, albums = daemon.spool.inbox, tmp_path / "albums"
        script = tmp_path / "sftp.batch"
        script.write_text(f"""\
put -r {albums}/sftp {inbox}/
put -r {albums}/renamed {inbox}/.renamed
rename {inbox}/.renamed {inbox}/renamed
""")
        run_together([
            ["rsync", "-a", "--bwlimit=400", f"{albums}/rsync", url],
            ["scp", "-r", "-l", "3200", *ssh.options, f"{albums}/scp", f"root@127.0.0.1:{inbox}/"],
            ["sftp", "-l", "3200", *ssh.options, "-b", script, "root@127.0.0.1"],
            [*smbclient, "-c", f"lcd {albums}; prompt OFF; recurse ON; mput smb"],
        ])  # fmt: skip
        place = daemon.spool.outbox / "everyone"
        eventually(lambda: len(list(place.glob("*/album.json"))) == len(sources), 180, "all albums are complete")
        eventually(lambda: not any(daemon.spool.work.iterdir()), 30, "work/ is empty")
        assert daemon.failures() == {}
        assert len(daemon.events("album_split")) == len(sources)
        for album, songs in sources.items():
            found = {path.parent.parent for path in (place / album).rglob("source/*.wav")}
            whole = {str(folder.relative_to(place / album)): uploads.sha256(_source(folder)) for folder in found}
            assert whole == {name.removesuffix(".wav"): uploads.sha256(path) for name, path in songs.items()}
        contents = [path.read_bytes() for songs in sources.values() for path in songs.values()]
        assert violations(daemon.spool, contents) == []


@pytest.mark.skipif(program("rsync") is None, reason="rsync is not installed")
def test_an_album_with_a_partial_directory_in_it_waits_for_its_rest(tmp_path):
    songs = _album(tmp_path / "Album", seconds=8.0)
    with uploads.daemon_for(tmp_path) as daemon, rsyncd(tmp_path / "rsyncd", daemon.spool.inbox) as url:
        command = ["rsync", "-a", "--partial-dir=.rsync-partial", str(tmp_path / "Album"), url]
        cut_off([*command, "--bwlimit=400"], beyond(daemon.spool.inbox, "Album/CD1/.two*", 200_000))
        said = eventually(lambda: _refusal(daemon, "Album"), 60, "the album has settled")
        assert said["code"] == "STEMD-S009"
        assert ".rsync-partial" in said["reason"]
        run(*command)
        album = daemon.spool.outbox / "everyone" / "Album"
        eventually((album / "album.json").exists, 120, "the album is complete")
        found = {uploads.sha256(path) for path in album.rglob("source/*.wav")}
        assert found == {uploads.sha256(path) for path in songs.values()}
        assert len(daemon.events("album_split")) == 1


def _refusal(daemon: Daemon, name: str) -> dict[str, str] | None:
    """What ``stemd why`` says, where it gives a code."""
    said: dict[str, str] = daemon.ask("why", str(daemon.spool.inbox / name))
    return said if said.get("code") else None


def _album(folder: Path, seconds: float = 1.0) -> dict[str, Path]:
    folder.mkdir(parents=True)
    discs = {disc: recordings(folder / disc, "one.wav", "two.wav", seconds=seconds) for disc in ("CD1", "CD2")}
    return {f"{disc}/{name}": path for disc, songs in discs.items() for name, path in songs.items()}


def _source(folder: Path) -> Path:
    (path,) = (folder / "source").iterdir()
    return path
