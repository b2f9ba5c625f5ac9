"""Writing a stem: which rates a format takes, and whose fault it was where a file cannot be written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemd.core.errors import StemdError
from stemd.core.job import Output
from stemd.engines.audio.encode import StemWriter
from stemd.engines.audio.formats import Target, choose
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
