"""Recordings whose header speaks for a part of them, or for none, are read to their end or not at all."""

from __future__ import annotations

import io
import struct
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemd.core.errors import StemdError
from stemd.engines.audio import containers
from stemd.engines.audio.decode import open_source
from tests.support.pictures import JPEG
from tests.unit.engines.audio import readers
from tests.unit.engines.audio.readers import make, needs_ffmpeg

RATE = 44_100
QUIET_FIRST = ("-af", "volume=0:enable='lt(t,2)'", "-ac", "2", "-ar", str(RATE))
BARE = ("-write_xing", "0")


def decoded(path: Path) -> np.ndarray:
    return np.concatenate(list(open_source(path).blocks()))


def by_ffmpeg(path: Path, rate: int = RATE) -> np.ndarray:
    command = ["ffmpeg", "-nostdin", "-v", "quiet", "-i", path, "-map", "0:a:0", "-ar", str(rate), "-ac", "2"]
    sound = subprocess.run([*command, "-f", "f32le", "pipe:1"], capture_output=True, check=True).stdout
    return np.frombuffer(sound, "<f4").reshape(-1, 2)


def joined(target: Path, *parts: Path | bytes) -> Path:
    target.write_bytes(b"".join(part if isinstance(part, bytes) else part.read_bytes() for part in parts))
    return target


def part(path: Path, *options: str, seconds: float = 3.0) -> Path:
    return make(path, *QUIET_FIRST, *options, seconds=seconds)


def without_ffmpeg(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setenv("PATH", str(path))


@needs_ffmpeg
@pytest.mark.parametrize(
    "options",
    [("-q:a", "2"), ("-abr", "1", "-b:a", "128k"), ("-b:a", "128k"), ("-q:a", "4", "-id3v2_version", "0")],
    ids=["vbr", "abr", "cbr", "vbr without tag"],
)
def test_an_mp3_without_a_length_is_read_to_its_end(tmp_path, monkeypatch, options):
    path = part(tmp_path / "a.mp3", *BARE, *options, seconds=10.0)
    wanted = by_ffmpeg(path)
    without_ffmpeg(monkeypatch, tmp_path)
    source = open_source(path)
    read = np.concatenate(list(source.blocks()))
    assert read.shape == wanted.shape
    assert np.abs(read - wanted).max() < 1e-3
    assert source.probe.expected == len(wanted)
    assert "states its length" in source.warnings[0]


@needs_ffmpeg
def test_mp3s_without_a_length_that_were_joined(tmp_path, monkeypatch):
    tag = b"APETAGEX" + bytes(5_000)
    cover = b"ID3\x03\0\0" + bytes([0, 10, 0, 0]) + bytes(10 << 14)
    first, second = (part(tmp_path / name, *BARE, "-q:a", "4") for name in ("a.mp3", "b.mp3"))
    path = joined(tmp_path / "c.mp3", cover, first, tag, cover, second, tag)
    without_ffmpeg(monkeypatch, tmp_path)
    assert len(decoded(path)) == len(decoded(first)) + len(decoded(second))


@needs_ffmpeg
@pytest.mark.parametrize("options", [("-ac", "1"), ("-ar", "48000")])
def test_mp3s_of_two_kinds_that_were_joined_need_ffmpeg(tmp_path, monkeypatch, options):
    parts = part(tmp_path / "a.mp3", *BARE), part(tmp_path / "b.mp3", *BARE, *options)
    path = joined(tmp_path / "c.mp3", *parts)
    assert len(decoded(path)) == len(by_ffmpeg(path)) > 5.9 * RATE
    without_ffmpeg(monkeypatch, tmp_path)
    assert_needs_ffmpeg(path)


@needs_ffmpeg
def test_a_joined_mp3_whose_first_part_states_its_own_length(tmp_path, monkeypatch):
    (tmp_path / "cover.jpg").write_bytes(JPEG)
    first = readers.make(
        tmp_path / "a.mp3", "-i", tmp_path / "cover.jpg", "-map", "0", "-map", "1", "-c:v", "copy", *QUIET_FIRST,
        "-metadata", "title=Eins", "-metadata", "mood=calm",
    )  # fmt: skip
    second = part(tmp_path / "b.mp3", "-metadata", "title=Zwei")
    path = joined(tmp_path / "c.mp3", first, second)
    source = open_source(path)
    read = np.concatenate(list(source.blocks()))
    assert len(read) == len(by_ffmpeg(path)) > len(decoded(first)) + 2.9 * RATE
    assert "several recordings" in source.warnings[0]
    assert (source.probe.tags["TITLE"], source.probe.tags["MOOD"]) == ("Eins", "calm")
    cover = source.cover()
    assert cover and cover.data == JPEG
    without_ffmpeg(monkeypatch, tmp_path)
    assert_needs_ffmpeg(path)
    assert len(decoded(first)) == RATE


@needs_ffmpeg
def test_an_mp3_with_tags_at_its_end_is_not_joined(tmp_path, monkeypatch):
    path = part(tmp_path / "a.mp3")
    joined(tmp_path / "b.mp3", path, b"APETAGEX" + JPEG * 100, b"TAG" + bytes(125))
    without_ffmpeg(monkeypatch, tmp_path)
    source = open_source(tmp_path / "b.mp3")
    assert sum(len(block) for block in source.blocks()) == 3 * RATE
    assert source.warnings == []


def assert_needs_ffmpeg(path: Path) -> None:
    with pytest.raises(StemdError) as caught:
        open_source(path)
    assert caught.value.code == "STEMD-A004"


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "options"),
    [("a.ogg", ("-c:a", "libvorbis")), ("a.opus", ("-c:a", "libopus", "-ar", "48000"))],
)
def test_a_chained_ogg_is_read_to_its_end(tmp_path, monkeypatch, name, options):
    parts = [part(tmp_path / f"{n}{name}", *options, "-metadata", f"title={n}") for n in range(3)]
    path = joined(tmp_path / name, *parts)
    source = open_source(path)
    count = sum(len(block) for block in source.blocks())
    assert abs(count - sum(len(decoded(each)) for each in parts)) < 0.01 * count
    assert source.probe.tags["TITLE"] == "0"
    assert "several recordings" in source.warnings[0]
    without_ffmpeg(monkeypatch, tmp_path)
    assert_needs_ffmpeg(path)
    assert len(decoded(parts[0])) > 2.9 * RATE


@pytest.mark.parametrize("frames", [1000, 44_100, 65_536, 220_500])
def test_a_flac_that_was_written_to_a_pipe(tmp_path, frames):
    path = tmp_path / "a.flac"
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, (frames, 2))
    soundfile.write(path, noise, RATE, subtype="PCM_24")
    wanted = decoded(path)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # STREAMINFO's count of samples: 36 bits, 0 where it is unknown
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert np.array_equal(decoded(path), wanted)


@needs_ffmpeg
def test_an_mp3_without_a_length_need_not_be_read_to_its_end(tmp_path):
    path = part(tmp_path / "a.mp3", *BARE, "-b:a", "320k", seconds=20.0)
    blocks = open_source(path).blocks()
    assert len(next(blocks))
    blocks.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "feeder"]


@needs_ffmpeg
@pytest.mark.parametrize("options", [(), ("-ar", "22050"), ("-q:a", "4")])
@pytest.mark.parametrize("seconds", [0.11, 1.0, 10.0])
def test_an_mp3_within_a_wav(tmp_path, options, seconds):
    path = make(tmp_path / "a.wav", "-c:a", "libmp3lame", "-ac", "2", *options, seconds=seconds)
    source = open_source(path)
    found = np.concatenate(list(source.blocks()))
    reference = by_ffmpeg(path, source.rate)
    assert abs(len(found) - len(reference)) <= 1152
    assert len(found) >= seconds * source.rate
    assert np.abs(found[: len(reference)] - reference[: len(found)]).max() < 1e-3
    assert "states its length" in source.warnings[0]


@needs_ffmpeg
def test_an_mp3_within_a_wav_that_was_cut_off(tmp_path):
    path = make(tmp_path / "a.wav", "-c:a", "libmp3lame")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(StemdError, match="STEMD-A002"):
        decoded(path)


@needs_ffmpeg
def test_an_mp3_with_a_header_of_its_own_within_a_wav(tmp_path):
    sound = part(tmp_path / "a.mp3", "-id3v2_version", "0").read_bytes()
    form = struct.pack("<HHIIHHHHIHHH", 0x55, 2, RATE, 16_000, 1, 0, 12, 1, 2, 1152, 1, 0)
    path = joined(
        tmp_path / "a.wav",
        b"RIFF" + struct.pack("<I", len(sound) + 50) + b"WAVEfmt " + struct.pack("<I", len(form)) + form,
        b"data" + struct.pack("<I", len(sound)) + sound,
    )
    assert 3 * RATE <= len(decoded(path)) <= 3 * RATE + 2500


def declaring(path: Path, size: int, after: bytes = b"") -> Path:
    """``path`` with ``size`` bytes of sound in its header, where all ends with them, and with ``after`` at its end."""
    content = bytearray(path.read_bytes())
    big = content[:4] in (b"FORM", b"RIFX", b".snd")
    at = 8 if content[:4] == b".snd" else content.index(b"SSND" if content[:4] == b"FORM" else b"data") + 4
    struct.pack_into(">I" if big else "<I", content, at, size + 8 * (content[:4] == b"FORM"))
    if content[:4] != b".snd":
        struct.pack_into(
            ">I" if big else "<I", content, 4, min(0xFFFFFFFF, at - 4 + size + 8 * (content[:4] == b"FORM"))
        )
    path.write_bytes(content + after)
    return path


@pytest.mark.parametrize(
    ("container", "subtype", "endian"),
    [
        ("WAV", "PCM_16", "FILE"), ("WAV", "PCM_U8", "FILE"), ("WAV", "FLOAT", "FILE"), ("WAV", "PCM_24", "BIG"),
        ("WAV", "ALAW", "FILE"), ("WAVEX", "PCM_24", "FILE"), ("AIFF", "PCM_16", "FILE"), ("AIFF", "PCM_24", "LITTLE"),
        ("AIFF", "PCM_S8", "FILE"), ("AU", "PCM_16", "FILE"),
    ],
)  # fmt: skip
def test_sound_beyond_what_the_header_declares_is_read(tmp_path, container, subtype, endian):
    path = tmp_path / "sound"
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, (30_000, 2))
    noise[1000:1100] = 0  # zeros at the border are sound like all else
    soundfile.write(path, noise, RATE, subtype, endian, container)
    before = decoded(path)
    width = 2 * {"PCM_16": 2, "PCM_24": 3, "FLOAT": 4}.get(subtype, 1)
    source = open_source(declaring(path, 1000 * width))
    found = np.concatenate(list(source.blocks()))
    assert np.array_equal(found[:30_000], before)
    assert len(found) - 30_000 <= 16 // width + 1  # the chunk PEAK of a float file is behind the sound
    assert "speaks of 1000 frames" in source.warnings[0]


@pytest.mark.parametrize("frames", [3000, 3001])
@pytest.mark.parametrize(
    "after",
    [
        b"",
        b"LIST" + struct.pack("<I", 5000) + bytes(range(250)) * 20,
        b"id3 " + struct.pack("<I", 90_000) + bytes(range(250)) * 20,
        b"LIST" + struct.pack("<I", 6) + b"INFOab" + bytes(5000),
        b"bext" + struct.pack("<I", 602) + b"x" * 602 + b"TAG" + b"y" * 5000,
        bytes(5000),
        b"TAG" + b"y" * 5000,
        b"APETAGEX" + b"y" * 5000,
        b"y" * 200,
    ],
)
def test_what_is_no_sound_behind_a_wav_is_left_out(tmp_path, frames, after):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.full((frames, 1), 0.5), RATE, "PCM_U8")
    if frames % 2:
        path.write_bytes(path.read_bytes().removesuffix(b"\0"))
    for padded in (after, bytes(frames % 2) + after):
        path.write_bytes(path.read_bytes()[: 44 + frames] + padded)
        source = open_source(path)
        assert sum(len(block) for block in source.blocks()) == frames
        assert source.warnings == []


ODD = b"LIST" + struct.pack("<I", 7) + b"INFOabc"


@pytest.mark.parametrize("form", ["claims it", "ends with the sound"])
@pytest.mark.parametrize(
    "after",
    [
        ODD + b"id3 " + struct.pack("<I", 30_000) + b"ID3\x03" + b"y" * 29_996,  # without the byte that makes it even
        ODD + b"\0" + b"\1\2\3\4" * 600,
        bytes(2000) + b"TAG" + b"y" * 1500,
    ],
)
def test_damaged_metadata_behind_a_wav_is_no_sound(tmp_path, after, form):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.full((3000, 1), 0.5), RATE, "PCM_U8")
    content = bytearray(path.read_bytes() + after)
    if form == "claims it":
        struct.pack_into("<I", content, 4, len(content) - 8)
    path.write_bytes(content)
    source = open_source(path)
    assert sum(len(block) for block in source.blocks()) == 3000
    assert source.warnings == []


class Counting(io.FileIO):
    """A file that knows how many bytes were read of it."""

    count = 0

    def read(self, size=-1):
        self.count += len(found := super().read(size))
        return found


@pytest.mark.parametrize("sound", [False, True])
def test_gigabytes_of_zeros_behind_a_wav_are_not_read(tmp_path, sound):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.full((3000, 1), 0.5), RATE, "PCM_U8")
    whole = 30 << 30
    with path.open("r+b") as file:
        file.truncate(whole)
        if sound:
            file.seek(whole // 2)
            file.write(b"\1\2" * (whole // 1000))
    with Counting(path) as file:
        assert containers.unclaimed(file, containers.data_chunk(file)) == (whole - 3044 if sound else 0)
        assert file.count < 16 << 20
    assert open_source(path).probe.declared == (whole - 44 if sound else 3000)


def test_what_a_form_claims_is_no_sound_whatever_it_is_called(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.full((3000, 1), 0.5), RATE, "PCM_U8")
    content = bytearray(path.read_bytes() + b"\xa9xyz" + struct.pack("<I", 5000) + b"y" * 5000)
    struct.pack_into("<I", content, 4, len(content) - 8)
    path.write_bytes(content)
    assert sum(len(block) for block in open_source(path).blocks()) == 3000


@pytest.mark.parametrize("declared", ["wrapped", "open"])
def test_a_wav_whose_size_went_round_at_4_gib(tmp_path, declared):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.full((600, 2), 0.5), RATE, "PCM_16")
    true = (1 << 32) + 2400 + 4 * RATE * 60
    declaring(path, 2400 if declared == "wrapped" else 0xFFFFFFFF, b"\x01\x40" * 4)
    with path.open("r+b") as file:
        file.truncate(44 + true)
    source = open_source(path)
    assert (source.probe.declared, source.probe.expected) == (true // 4, true // 4)
    assert "read to its end" in source.warnings[0]
    blocks = source.blocks()
    assert np.all(next(blocks)[:600] == 0.5)
    blocks.close()


def test_what_cannot_be_read_on_is_told(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.full((30_000, 1), 0.5), RATE, "IMA_ADPCM")
    source = open_source(declaring(path, 2048))
    assert "left out" in source.warnings[0]
