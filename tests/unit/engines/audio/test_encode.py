"""Writing a stem: which rates a format takes, and whose fault it was where a file cannot be written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemd.core.errors import StemdError
from stemd.core.job import Output
from stemd.engines.audio import id3, riff
from stemd.engines.audio.encode import StemWriter
from stemd.engines.audio.formats import Target, choose
from stemd.engines.audio.verify import verified
from stemd.worker.rlimits import files_within

FRAMES = 100_000


def write(path: Path, target: Target, tags: dict[str, str] | None = None) -> StemWriter:
    """A file of noise, one channel."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (FRAMES, 1)).astype(np.float32)
    with StemWriter(path, target, noise.shape, tags or {}) as writer:
        writer.write(noise)
        writer.finish()
    return writer


def fails(path: Path, target: Target) -> str:
    with pytest.raises(StemdError) as caught:
        write(path, target)
    return caught.value.code


@pytest.mark.parametrize(
    ("rate", "written"),
    [
        (65_534, 65_534), (65_535, 65_535), (65_536, 65_540), (88_112, 88_120), (88_200, 88_200), (95_904, 95_910),
        (96_096, 96_100), (176_576, 176_580), (191_999, 192_000), (192_000, 192_000),
    ],
)  # fmt: skip
def test_flac_takes_the_next_rate_that_its_frames_can_say(rate, written, tmp_path):
    target = choose(Output("flac", "24"), rate)
    write(tmp_path / "a.flac", target)
    found = soundfile.info(tmp_path / "a.flac")
    assert (found.samplerate, found.frames) == (target.rate, FRAMES) == (written, FRAMES)


def test_what_a_format_refuses_is_not_the_disks_fault(tmp_path):
    assert fails(tmp_path / "a.flac", replace(choose(Output("flac", "24"), 96_000), rate=95_904)) == "STEMD-A006"


@pytest.mark.parametrize("form", ["flac", "wav", "ogg", "opus", "mp3"])
@pytest.mark.parametrize("limit", [10, 10_000])
def test_a_file_beyond_the_jobs_limit_says_so(form, limit, tmp_path):
    with pytest.raises(StemdError) as caught, files_within(limit):
        write(tmp_path / "a", choose(Output(form), 48_000))
    assert caught.value.code == "STEMD-R007"


@pytest.mark.parametrize("length", [999, 1000, 4000, 51_200, 130_000])
def test_long_tags_do_not_break_a_wav(length, tmp_path):
    path, names = tmp_path / "a.wav", ("TITLE", "ARTIST", "ALBUM", "DATE", "GENRE", "COMMENT", "COPYRIGHT")
    tags = dict.fromkeys(names, "x" + "ä" * (length // 2))
    written = write(path, choose(Output("wav"), 48_000), tags)
    assert verified("a", written, (FRAMES, 1), lambda frames: None).frames == FRAMES
    with soundfile.SoundFile(path) as sound:
        assert sound.comment == sound.title == "x" + "ä" * min(length // 2, 499)
    assert id3.parse(riff.read_id3(path))[0] == tags


def test_what_cannot_be_read_back_is_not_what_was_written(tmp_path):
    path = tmp_path / "a.wav"
    written = write(path, choose(Output("wav"), 48_000))
    path.write_bytes(b"RIFF" + bytes(1000))
    with pytest.raises(StemdError) as caught:
        verified("a", written, (FRAMES, 1), lambda frames: None)
    assert caught.value.code == "STEMD-S013"
