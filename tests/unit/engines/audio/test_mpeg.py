"""The frames of an MP3 are found where they are, whatever stands between them."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemd.engines.audio import mpeg
from tests.unit.engines.audio.readers import make, needs_ffmpeg


def packets(path: Path) -> list[int]:
    """The sizes of the packets ffprobe finds."""
    command = ["ffprobe", "-v", "error", "-show_entries", "packet=size", "-of", "json", path]
    answer = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return [int(each["size"]) for each in answer["packets"]]


@needs_ffmpeg
@pytest.mark.parametrize(
    ("codec", "rate", "kbits", "samples"),
    [
        ("libmp3lame", 44_100, 320, 1152), ("libmp3lame", 48_000, 32, 1152), ("libmp3lame", 32_000, 160, 1152),
        ("libmp3lame", 22_050, 96, 576), ("libmp3lame", 24_000, 160, 576), ("libmp3lame", 8_000, 8, 576),
        ("libmp3lame", 11_025, 24, 576), ("mp2", 44_100, 256, 1152), ("mp2", 22_050, 80, 1152),
    ],
)  # fmt: skip
@pytest.mark.parametrize("channels", [1, 2])
def test_the_frames_are_those_ffprobe_finds(tmp_path, codec, rate, kbits, samples, channels):
    kind = ("-c:a", codec, "-ar", rate, "-ac", channels, "-b:a", f"{kbits // 2 * channels}k")
    if kbits == 8:
        kind = (*kind[:-1], "8k")
    path = make(tmp_path / "a.mp3", *map(str, kind), "-write_xing", "0", "-f", "mp3" if codec != "mp2" else "mp2")
    with path.open("rb") as file:
        found = mpeg.survey(file)
    sizes = packets(path)
    assert (found.frames, found.samples, found.declares) == (len(sizes), len(sizes) * samples, None)
    ((start, end),) = found.spans
    assert (end - start, end) == (sum(sizes), path.stat().st_size)
    assert found.uniform and not found.beyond


@needs_ffmpeg
def test_what_stands_between_is_no_frame(tmp_path):
    path = make(tmp_path / "a.mp3", "-write_xing", "0", "-id3v2_version", "0")
    frames = path.read_bytes()
    false = b"\0" + frames[:4] + bytes(200_000)  # begins like a frame, but none follows
    tag = b"ID3\x04\0\0\0\0\x10\0" + frames[:2048]
    file = io.BytesIO(tag + frames + false + frames + b"TAG" + bytes(125))
    first = len(tag)
    second = first + len(frames) + len(false)
    assert mpeg.survey(file).spans == ((first, first + len(frames)), (second, second + len(frames)))


@needs_ffmpeg
def test_a_last_frame_that_is_cut_off_does_not_count(tmp_path):
    path = make(tmp_path / "a.mp3", "-write_xing", "0", "-id3v2_version", "0")
    content = path.read_bytes()
    whole = mpeg.survey(io.BytesIO(content))
    cut = mpeg.survey(io.BytesIO(content[:-1]))
    assert cut.frames == whole.frames - 1
    assert cut.spans == ((0, len(content) - packets(path)[-1]),)


@needs_ffmpeg
def test_what_the_header_declares(tmp_path):
    path = make(tmp_path / "a.mp3")
    content = path.read_bytes()
    found = mpeg.survey(io.BytesIO(content))
    assert found.declares == found.frames - 1 and not found.beyond
    assert mpeg.survey(io.BytesIO(content * 2)).beyond
    at = max(content.find(b"Xing"), content.find(b"Info"))
    silent = content[: at + 4] + bytes(4) + content[at + 8 :]
    assert mpeg.survey(io.BytesIO(silent)).declares is None
    vbri = content[:at] + b"VBRI" + bytes(10) + b"\0\0\0\x11" + content[at + 18 :]
    assert mpeg.survey(io.BytesIO(vbri)).declares == 17


@given(st.binary(max_size=400), st.sampled_from([b"", b"\xff\xfb\x90\x00", b"ID3\x03\0\0\0\0\0\x05", b"\xff" * 70_000]))
def test_nonsense_does_no_harm(content, start):
    found = mpeg.survey(io.BytesIO(start + content))
    assert all(first < end <= len(start + content) for first, end in found.spans)
