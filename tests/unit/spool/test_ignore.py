"""Which names are taken."""

import pytest

from stemd.spool import ignore

TAKEN = [
    "song.mp3", "Ø.mp3", "日本語.flac", "🎵.wav", "#1 Crush.mp3", "12:51.mp3", "a\nb.mp3", "it's \"q\".ogg",
    "x" * 240 + ".mp3",
    "\udcff\udcfe.mp3", "in.the.end.mp3", "part.mp3", "tmp.wav", "50% ~ mix.flac", "Untitled.download.mp3",
]  # fmt: skip
LEFT = [
    ".song.mp3.Xa81Zq", ".hidden.mp3", "song.mp3.part", "song.mp3.filepart", "song.mp3.crdownload", "song.mp3.partial",
    "song.mp3.opdownload", "song.mp3.aria2", "song.mp3.!ut", "song.wav.tmp", "song.wav.bak", "song.wav~", "~$song.wav",
    ".~lock.song.wav#", "#song.wav#", "Thumbs.db", "desktop.ini", "@eaDir", "#recycle", "@Recycle",
    "song.mp3:Zone.Identifier", "song.mp3:com.apple.quarantine", ".syncthing.a.mp3.tmp", ".nfs000123", ".stemd-x",
]  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_recordings_are_taken_whatever_they_are_called(name):
    assert ignore.ignored(name) is None
    assert ignore.is_audio(name)


@pytest.mark.parametrize("name", LEFT)
def test_temporary_and_foreign_names_are_left_alone(name):
    assert ignore.ignored(name) is not None


def test_suffixes_are_compared_in_lower_case():
    assert ignore.suffix("A.FLAC") == ".flac"
    assert ignore.is_audio("A.WaV")
    assert not ignore.is_audio("notes.txt")
    assert not ignore.is_audio(".mp3")


def test_a_sidecar_needs_a_recording_before_its_suffix():
    assert ignore.is_sidecar("song.mp3.job.yaml")
    assert not ignore.is_sidecar(".job.yaml")
    assert not ignore.is_sidecar("job.yaml")


@pytest.mark.parametrize(
    "name",
    [
        "song.mp3.part", "song.mp3.filepart", "song.mp3.crdownload", "song.mp3.1.partial", "in.song.mp3.",
        ".in.song.mp3.", ".song.mp3.Xa81Zq", ".song.mp3.part", ".syncthing.song.mp3.tmp", ".~tmp~", ".rsync-partial",
        "cover.jpg.tmp",
    ],
)  # fmt: skip
def test_an_upload_is_known_by_its_name(name):
    assert ignore.in_progress(name)
    assert ignore.ignored(name) is not None


@pytest.mark.parametrize(
    "name",
    [*TAKEN, ".DS_Store", "._song.mp3", "Thumbs.db", "desktop.ini", "@eaDir", "song.wav.bak", "song.wav~", "~$a.doc",
     ".~lock.a.doc#", ".album.config", ".x.sqlite", ".nfs000123", "cover.jpg", ".stemd-x"],
)  # fmt: skip
def test_litter_is_no_upload(name):
    assert not ignore.in_progress(name)
