"""Sources of many kinds become the same frames in every pass, or an error that says what is wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemd.core.errors import StemdError
from stemd.engines.audio.decode import fold, open_source

FRAMES = 100_003
RATE = 44_100
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def tone(frames: int = FRAMES, rate: int = RATE, channels: int = 2) -> np.ndarray:
    time = np.arange(frames) / rate
    return np.stack([0.3 * np.sin(2 * np.pi * (440 + 110 * c) * time) for c in range(channels)], axis=1)


def decoded(path: Path) -> np.ndarray:
    return np.concatenate(list(open_source(path).blocks()))


def fails(path: Path) -> str:
    with pytest.raises(StemdError) as caught:
        decoded(path)
    return caught.value.code


def ffmpeg(source: Path, target: Path, *options: str) -> Path:
    subprocess.run(["ffmpeg", "-nostdin", "-y", "-v", "error", "-i", source, *options, target], check=True)
    return target


def cut(path: Path, share: float = 0.6) -> Path:
    content = path.read_bytes()
    target = path.with_name(f"cut-{path.name}")
    target.write_bytes(content[: int(len(content) * share)])
    return target


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(), RATE, subtype="PCM_24")
    return path


@pytest.mark.parametrize(
    ("name", "container", "subtype"),
    [
        ("a.wav", "WAV", "PCM_16"), ("a.wav", "WAV", "PCM_24"), ("a.wav", "WAV", "FLOAT"), ("a.flac", "FLAC", "PCM_24"),
        ("a.aiff", "AIFF", "PCM_24"), ("a.w64", "W64", "PCM_24"), ("a.rf64", "RF64", "PCM_24"),
        ("a.caf", "CAF", "PCM_24"),
        ("a.ogg", "OGG", "VORBIS"), ("a.mp3", "MP3", "MPEG_LAYER_III"),
    ],
)  # fmt: skip
def test_reads(tmp_path, name, container, subtype):
    path = tmp_path / name
    soundfile.write(path, tone(), RATE, format=container, subtype=subtype)
    source = open_source(path)
    first = np.concatenate(list(source.blocks()))
    assert np.array_equal(first, np.concatenate(list(source.blocks())))
    assert (source.facts().frames, source.rate, source.channels) == (FRAMES, RATE, 2)
    assert first.dtype == np.float32
    assert np.abs(first - tone())[:-2000].max() < 0.02
    assert source.warnings == []


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "options", "frames"),
    [
        ("a.mp3", [], FRAMES),
        ("a.opus", [], -(-FRAMES * 48_000 // RATE)),
        ("a.m4a", [], FRAMES),
        ("c.m4a", ["-movie_timescale", "44100"], FRAMES),
        ("b.m4a", ["-c:a", "alac"], FRAMES),
        ("a.mka", ["-c:a", "flac"], FRAMES),
        ("a.wv", [], FRAMES),
    ],
)
def test_reads_what_ffmpeg_makes(tmp_path, wav, name, options, frames):
    source = open_source(ffmpeg(wav, tmp_path / name, *options))
    count = sum(len(block) for block in source.blocks())
    assert abs(count - frames) <= (1 if name == "a.opus" else 0)
    assert source.facts().channels == 2


@needs_ffmpeg
@pytest.mark.parametrize(("name", "options"), [("a.mp3", ["-write_xing", "0", "-id3v2_version", "0"]), ("a.aac", [])])
def test_without_a_header_takes_what_decodes_and_says_so(tmp_path, wav, name, options):
    path = ffmpeg(wav, tmp_path / name, *options)
    source = open_source(path)
    assert sum(len(block) for block in source.blocks()) >= FRAMES
    assert "states its length" in source.warnings[0]
    assert 0 < len(decoded(cut(path))) < FRAMES


@pytest.mark.parametrize(
    ("name", "container"),
    [("a.wav", "WAV"), ("a.flac", "FLAC"), ("a.aiff", "AIFF"), ("a.w64", "W64"), ("a.rf64", "RF64"), ("a.caf", "CAF")],
)
def test_cut_short(tmp_path, name, container):
    path = tmp_path / name
    soundfile.write(path, tone(), RATE, format=container, subtype="PCM_24")
    assert fails(cut(path)) == "STEMD-A002"
    content = path.read_bytes()
    path.write_bytes(content[:-12])
    assert fails(path) == "STEMD-A002"


STATING = (
    ("AVR", "PCM_16", 2, RATE), ("AVR", "PCM_S8", 1, RATE), ("SVX", "PCM_16", 1, RATE), ("SVX", "PCM_S8", 1, RATE),
    ("NIST", "PCM_24", 2, RATE), ("VOC", "PCM_16", 2, RATE), ("VOC", "PCM_U8", 1, RATE), ("MAT4", "PCM_16", 2, RATE),
    ("MAT4", "DOUBLE", 1, RATE), ("MAT5", "FLOAT", 2, RATE), ("MAT5", "PCM_U8", 1, RATE), ("MPC2K", "PCM_16", 2, RATE),
    ("MPC2K", "PCM_16", 1, RATE), ("WVE", "ALAW", 1, 8000), ("SDS", "PCM_16", 1, RATE), ("SDS", "PCM_24", 1, RATE),
    ("AU", "PCM_24", 2, RATE), ("WAV", "PCM_16", 2, RATE),
)  # fmt: skip


@pytest.mark.parametrize(
    ("container", "subtype", "channels", "rate", "endian"),
    [
        (*each, endian)
        for each in STATING
        for endian in ("FILE", "BIG", "LITTLE")
        if soundfile.check_format(*each[:2], endian)
    ],
)
def test_cut_short_in_any_container_that_states_its_length(tmp_path, container, subtype, channels, rate, endian):
    path = tmp_path / "sound"
    soundfile.write(path, tone(5000, rate, channels), rate, subtype, endian, container)
    source = open_source(path)
    assert sum(len(block) for block in source.blocks()) == 5000
    assert source.warnings == []
    assert fails(cut(path)) == "STEMD-A002"
    path.write_bytes(path.read_bytes()[:-200])
    assert fails(path) == "STEMD-A002"


@pytest.mark.parametrize("container", ["IRCAM", "PAF", "PVF", "XI"])
def test_a_container_without_a_length_says_so(tmp_path, container):
    path = tmp_path / "sound"
    soundfile.write(path, tone(5000, channels=1), RATE, "DPCM_16" if container == "XI" else "PCM_16", format=container)
    assert "does not state its length" in open_source(cut(path)).warnings[0]


@needs_ffmpeg
@pytest.mark.parametrize(("name", "options"), [("a.mp3", []), ("a.m4a", ["-movflags", "+faststart"]), ("a.mka", [])])
def test_cut_short_by_ffmpegs_formats(tmp_path, wav, name, options):
    assert fails(cut(ffmpeg(wav, tmp_path / name, *options))) == "STEMD-A002"


def test_a_wav_whose_size_was_never_filled_in_is_read_to_its_end(tmp_path, wav):
    content = bytearray(wav.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = b"\xff\xff\xff\xff"
    wav.write_bytes(content)
    assert len(decoded(wav)) == FRAMES


def test_no_audio(tmp_path, monkeypatch):
    (tmp_path / "empty.wav").write_bytes(b"")
    assert fails(tmp_path / "empty.wav") == "STEMD-A003"
    soundfile.write(tmp_path / "none.wav", np.zeros((0, 2)), RATE)
    assert fails(tmp_path / "none.wav") == "STEMD-A003"
    assert fails(tmp_path / "gone.wav") == "STEMD-S008"
    (tmp_path / "text.mp3").write_bytes(b"not audio at all " * 100)
    if shutil.which("ffmpeg"):
        assert fails(tmp_path / "text.mp3") == "STEMD-A001"
    (tmp_path / "noise.raw").write_bytes(bytes(1000))
    assert fails(tmp_path / "noise.raw") in ("STEMD-A001", "STEMD-A004")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert fails(tmp_path / "text.mp3") == "STEMD-A004"


@needs_ffmpeg
def test_a_play_list_is_no_audio(tmp_path, wav):
    (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{wav}\n#EXT-X-ENDLIST\n")
    (tmp_path / "list.ffconcat").write_text(f"ffconcat version 1.0\nfile {wav.name}\n")
    assert fails(tmp_path / "list.m3u8") == "STEMD-A001"
    assert fails(tmp_path / "list.ffconcat") == "STEMD-A001"


@pytest.mark.parametrize("rate", [4_000, 384_000])
def test_rates_out_of_range(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", tone(1000, rate), rate)
    assert fails(tmp_path / "a.wav") == "STEMD-A005"


def test_samples_that_are_no_numbers_become_silence(tmp_path):
    frames = tone(100).astype(np.float32)
    frames[10, 0], frames[11, 1] = np.nan, np.inf
    soundfile.write(tmp_path / "a.wav", frames, RATE, subtype="FLOAT")
    source = open_source(tmp_path / "a.wav")
    read = np.concatenate(list(source.blocks()))
    assert read[10, 0] == 0 and read[11, 1] == 0 and np.array_equal(read[20:], frames[20:])
    assert len(source.warnings) == 1


@pytest.mark.parametrize("name", [b"\xff\xfe \x80.wav", b"song.txt", "späße\n*?.wav".encode(), b"-i x.wav"])
def test_any_bytes_in_the_name(tmp_path, wav, name):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    shutil.copyfile(wav, path)
    assert len(decoded(path)) == FRAMES


@needs_ffmpeg
def test_any_bytes_in_the_name_for_ffmpeg(tmp_path, wav):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/concat:\xff|x.m4a"))
    shutil.copyfile(ffmpeg(wav, tmp_path / "a.m4a", "-c:a", "alac"), path)
    assert len(decoded(path)) == FRAMES


def test_six_channels_fold_by_bs775():
    block = np.eye(6, dtype=np.float32)
    half = np.float32(0.5**0.5)
    assert np.allclose(fold(block), [[1, 0], [0, 1], [half, half], [0, 0], [half, 0], [0, half]])
    assert np.allclose(fold(block, False), [[1, 0], [half, half], [0, 1], [half, 0], [0, half], [0, 0]])


def surround(path: Path, layout: str, channels: int, *options: str) -> Path:
    """A file that says its channels are of this ``layout`` of ffmpeg; each has a tone of its own, 200 Hz and up."""
    time = np.arange(48_000) / 48_000
    tones = np.stack([0.1 * np.sin(2 * np.pi * (200 + 100 * c) * time) for c in range(channels)], axis=1)
    soundfile.write(path.with_name("tones.wav"), tones, 48_000, subtype="FLOAT")
    return ffmpeg(path.with_name("tones.wav"), path, "-af", f"channelmap=channel_layout={layout}", *options)


def heard(frames: np.ndarray, channels: int) -> np.ndarray:
    """How much of each tone of ``surround`` is on the left and on the right."""
    middle = frames[4_800:43_200]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))[:, None], axis=0)) / len(middle) * 40
    return np.array([spectrum[round((200 + 100 * c) * 0.8)] for c in range(channels)])


HALF = 0.5**0.5
LEFT, RIGHT, CENTRE, NOWHERE, BEHIND = [1, 0], [0, 1], [HALF, HALF], [0, 0], [0.5, 0.5]
PAIR = [[HALF, 0], [0, HALF]]
FOLDED = {
    "3.0": [LEFT, RIGHT, CENTRE],
    "5.0": [LEFT, RIGHT, CENTRE, *PAIR],
    "5.1": [LEFT, RIGHT, CENTRE, NOWHERE, *PAIR],
    "6.1": [LEFT, RIGHT, CENTRE, NOWHERE, BEHIND, *PAIR],
    "7.1": [LEFT, RIGHT, CENTRE, NOWHERE, *PAIR, *PAIR],
}


@needs_ffmpeg
@pytest.mark.parametrize("layout", FOLDED)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.wav", ["-c:a", "pcm_f32le"]), ("a.flac", []), ("a.ogg", ["-q:a", "8"]), ("a.mka", ["-c:a", "flac"]),
        ("a.opus", ["-mapping_family", "1", "-b:a", "500k"]),
    ],
)  # fmt: skip
def test_every_channel_goes_where_it_sounds_from(tmp_path, name, options, layout):
    wanted = np.array(FOLDED[layout], float)
    found = heard(decoded(surround(tmp_path / name, layout, len(wanted), *options)), len(wanted))
    assert np.abs(found - wanted).max() < 0.03


@needs_ffmpeg
@pytest.mark.parametrize(
    ("layout", "wanted"),
    [
        ("2.1", [LEFT, RIGHT, NOWHERE]),
        ("3.0", [LEFT, RIGHT, CENTRE]),
        ("quad", [[0.5, 0], [0, 0.5], [0.5, 0], [0, 0.5]]),
        ("4.0", [[0.5, 0], [0, 0.5], [HALF / 2, HALF / 2], [HALF / 2, HALF / 2]]),
    ],
)
@pytest.mark.parametrize(("name", "codec"), [("a.mka", "flac"), ("a.ac3", "ac3")])
def test_what_ffmpeg_reads_is_of_the_layout_that_is_folded(tmp_path, name, codec, layout, wanted):
    path = surround(tmp_path / name, layout, len(wanted), "-c:a", codec, "-b:a", "640k")
    assert np.abs(heard(decoded(path), len(wanted)) - np.array(wanted, float)).max() < 0.03


@needs_ffmpeg
@pytest.mark.parametrize("layout", FOLDED)
def test_folds_as_ffmpeg_does(tmp_path, layout):
    path = surround(tmp_path / "a.wav", layout, len(FOLDED[layout]), "-c:a", "pcm_f32le")
    theirs = soundfile.read(ffmpeg(path, tmp_path / "b.wav", "-ac", "2", "-c:a", "pcm_f32le"), dtype="float32")[0]
    assert np.abs(decoded(path) - theirs).max() < 1e-6


def test_other_layouts_fold_by_even_and_odd(tmp_path):
    frames = tone(1000, channels=4)
    soundfile.write(tmp_path / "a.wav", frames, RATE, subtype="FLOAT")
    source = open_source(tmp_path / "a.wav")
    read = np.concatenate(list(source.blocks()))
    assert np.allclose(read, np.stack([frames[:, ::2].mean(1), frames[:, 1::2].mean(1)], axis=1), atol=1e-6)
    assert source.warnings == ["4 channels were folded to 2"]
