"""A: audio."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from stemd.engines.audio import decode
from tests.contract.provoke.bench import Bench, Seen, provokes


@provokes("STEMD-A001")
def a_letter_with_a_songs_name(bench: Bench) -> Seen:
    path = bench.home / "letter.mp3"
    path.write_text("this is not music\n" * 50)
    return bench.failed(path)


@provokes("STEMD-A002")
def an_interrupted_upload(bench: Bench) -> Seen:
    song = bench.song(seconds=1.0)
    song.write_bytes(song.read_bytes()[: song.stat().st_size // 2])
    return bench.failed(song)


@provokes("STEMD-A003")
def an_empty_file(bench: Bench) -> Seen:
    path = bench.home / "empty.wav"
    path.write_bytes(b"")
    return bench.failed(path)


@provokes("STEMD-A004")
def a_format_only_ffmpeg_knows_without_ffmpeg(bench: Bench) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("the ffmpeg program, which makes the m4a, is not installed")
    path = bench.home / "song.m4a"
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(bench.song()), str(path)], check=True)
    bench.patch.setenv("PATH", str(bench.home))
    decode.open_source(path)


@provokes("STEMD-A005")
def a_telephone_recording(bench: Bench) -> Seen:
    return bench.failed(bench.song(rate=4_000))


@provokes("STEMD-A006")
def floats_in_flac(bench: Bench) -> Seen:
    return bench.failed(bench.song(), {"output": {"format": "flac", "bit_depth": "32f"}})


@provokes("STEMD-A007")
def a_cover_that_is_no_picture(bench: Bench) -> Seen:
    song = bench.song()
    return bench.failed(song, {"art": song.name})
