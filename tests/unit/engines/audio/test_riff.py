"""ID3 chunks in WAV, RF64 and AIFF."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from stemd.engines.audio import id3, riff
from stemd.engines.audio.containers import missing_frames
from stemd.engines.audio.cover import Cover
from tests.support.pictures import PNG
from tests.unit.engines.audio import readers


@pytest.mark.parametrize("container", ["WAV", "RF64"])
@pytest.mark.parametrize("frames", [1000, 1001])
@pytest.mark.parametrize("title", ["even", "odd"])
def test_appended_and_read(tmp_path, container, frames, title):
    path = tmp_path / "a.wav"
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (frames, 1))
    soundfile.write(path, sound, 44_100, "PCM_24", format=container)
    before = soundfile.read(path)[0]
    tag = id3.build({"TITLE": title}, Cover("image/png", PNG))
    riff.append_id3(path, tag)
    assert riff.read_id3(path) == tag
    assert np.array_equal(soundfile.read(path)[0], before)
    assert soundfile.info(path).format == container
    with path.open("rb") as file:
        assert missing_frames(file) == 0
    size = path.stat().st_size - 8
    head = path.read_bytes()[:28]
    assert (
        int.from_bytes(head[4:8], "little") if container == "WAV" else int.from_bytes(head[20:28], "little")
    ) == size


def test_a_float_wav_does_not_say_when_it_was_written(tmp_path):
    path, sound = tmp_path / "a.wav", np.full((100, 2), 0.5, np.float32)
    soundfile.write(path, sound, 44_100, "FLOAT")
    before = path.read_bytes()
    time = before.index(b"PEAK") + 12
    assert any(before[time : time + 4])
    riff.zero_peak_time(path)
    assert path.read_bytes() == before[:time] + bytes(4) + before[time + 4 :]
    assert np.array_equal(soundfile.read(path)[0], sound)


@readers.needs_ffmpeg
@pytest.mark.parametrize("container", ["WAV", "RF64"])
def test_an_independent_reader_agrees(tmp_path, container):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros((1001, 2)), 44_100, "PCM_24", format=container)
    riff.append_id3(path, id3.build({"TITLE": "Ä", "STEMD_STEM": "vocals"}, Cover("image/png", PNG)))
    tags = readers.tags(path)
    assert (tags["TITLE"], tags["STEMD_STEM"]) == ("Ä", "vocals")
    assert readers.picture(path) == PNG


@readers.needs_ffmpeg
def test_aiff_as_other_programs_write_it(tmp_path):
    path = readers.make(tmp_path / "a.aiff", "-write_id3v2", "1", "-metadata", "title=Ä", "-metadata", "mood=calm")
    assert id3.parse(riff.read_id3(path))[0]["MOOD"] == "calm"


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"RIFF\0\0\0\0WAVE", b"RIFF\0\0\0\0WAVEid3 \xff\xff\xff\x7f", b"OggS" * 9]
)
def test_nothing_there(tmp_path, content):
    (tmp_path / "a.wav").write_bytes(content)
    assert riff.read_id3(tmp_path / "a.wav") == b""
