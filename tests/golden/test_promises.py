"""What every separation promises, whatever the engine: lengths, silence, gain, numbers, very large files."""

from __future__ import annotations

import shutil
import struct
import subprocess

import numpy as np
import pytest
import soundfile

from stemd.core.errors import StemdError
from stemd.core.job import Output
from stemd.engines.audio import ffmpeg, formats
from stemd.engines.audio.decode import open_source
from stemd.engines.audio.encode import StemWriter
from tests.golden import shares
from tests.golden.shares import SharesEngine
from tests.unit.engines.audio import readers

pytestmark = pytest.mark.golden
RATE = 44_100
RATES = [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000]
LOSSY = ("ogg", "opus", "mp3")


@pytest.fixture
def song(tmp_path):
    """Write an array as a recording: ``song(samples, rate=…, subtype=…)``."""

    def write(samples, rate=RATE, subtype="FLOAT", name="song.wav"):
        soundfile.write(tmp_path / name, samples, rate, subtype)
        return tmp_path / name

    return write


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", RATES)
def test_frames_rate_and_channels(song, tmp_path, rate, channels):
    frames = rate // 2 + 7
    result, out = shares.run(
        tmp_path, song(shares.music(1, rate, channels)[:frames], rate), output=Output("flac", "24")
    )
    for each in result.files:
        info = soundfile.info(out / each.name)
        assert (info.frames, info.samplerate, info.channels) == (frames, rate, channels)
        assert (each.frames, each.sample_rate, each.channels) == (frames, rate, channels)
    assert (result.source.frames, result.source.sample_rate, result.source.channels) == (frames, rate, channels)


@pytest.mark.parametrize("rate", [8_000, 44_100, 192_000])
@pytest.mark.parametrize("frames", [1, 2, 100, 5_000])
def test_shorter_than_a_segment(song, tmp_path, frames, rate):
    mix = shares.music(1, rate, 2)[:frames]
    result, out = shares.run(tmp_path, song(mix, rate), options={"residual": "file"}, output=Output("wav", "32f"))
    files = [shares.read(out / each.name) for each in result.files]
    assert {len(each) for each in files} == {frames}
    assert np.isfinite(files).all()
    assert shares.level(sum(files) - mix) <= -120


@pytest.mark.parametrize("form", LOSSY)
@pytest.mark.parametrize("frames", [1, 100, 5_000])
def test_short_ones_in_lossy_formats(song, tmp_path, frames, form):
    result, out = shares.run(tmp_path, song(shares.music(1, RATE, 2)[:frames]), output=Output(form))
    for each in result.files:
        expected = -(-frames * each.sample_rate // RATE)
        assert (len(shares.read(out / each.name)), each.frames) == (expected, expected)


def test_no_frames_is_an_error(song, tmp_path):
    with pytest.raises(StemdError) as caught:
        shares.run(tmp_path, song(np.zeros((0, 2))))
    assert caught.value.code == "STEMD-A003"


@pytest.mark.parametrize("form", [("flac", "16"), ("wav", "32f"), ("ogg", "24"), ("mp3", "24"), ("stem.mp4", "24")])
def test_silence_gives_silence(song, tmp_path, form):
    if form[0] == "stem.mp4" and not ffmpeg.installed():
        pytest.skip("ffmpeg is not installed")
    result, out = shares.run(tmp_path, song(np.zeros((50_000, 2))), output=Output(*form))
    for each in result.files:
        assert (each.peak, each.lufs) == (0, None)
        if form[0] != "stem.mp4":
            assert not shares.read(out / each.name).any()
    assert result.gain_db == 0


@pytest.mark.parametrize("form", [("flac", "16"), ("flac", "24"), ("wav", "24")])
def test_clipping_material_gets_one_gain(song, tmp_path, form):
    mix = shares.music(2, RATE, 2) * 6
    engine = SharesEngine(drums=0.0, bass=1.4, vocals=-0.7)
    result, out = shares.run(tmp_path, song(mix), engine, options={"residual": "file"}, output=Output(*form))
    gain = 10 ** (result.gain_db / 20)
    assert gain < 0.5
    total = sum(shares.read(out / each.name) for each in result.files)
    step = 2.0 ** (1 - int(form[1]))
    assert np.abs(total - gain * mix).max() <= 3 * step
    assert np.abs(shares.read(out / f"bass.{form[0]}") - gain * 1.4 * mix).max() <= 2 * step
    assert np.abs(shares.read(out / f"vocals.{form[0]}") + gain * 0.7 * mix).max() <= 2 * step
    assert 0.999 < max(each.peak for each in result.files) < 1


def test_float_has_room_for_loud_material(song, tmp_path):
    mix = shares.music(1, RATE, 2) * 30
    result, out = shares.run(tmp_path, song(mix), options={"residual": "file"}, output=Output("wav", "32f"))
    assert result.gain_db == 0
    assert max(each.peak for each in result.files) > 1
    assert shares.level((sum(shares.read(out / each.name) for each in result.files) - mix) / 30) <= -120


def test_no_numbers_count_as_nothing(song, tmp_path):
    mix = shares.music(1, RATE, 2).astype(np.float32)
    broken = mix.copy()
    broken[100:110, 0], broken[200, 1], broken[300] = np.nan, np.inf, -np.inf
    good = np.where(np.isfinite(broken), broken, 0)
    result, out = shares.run(tmp_path, song(broken), options={"residual": "file"})
    assert "no finite numbers" in result.warnings[0] and len(result.warnings) == 1
    files = [shares.read(out / each.name) for each in result.files]
    assert np.isfinite(files).all()
    assert shares.level(sum(files) - good) <= -90


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [9e9, -1e10, -1.1e10, 1e19, 1e25, 3e38])
def test_one_absurd_sample_ends_no_job(song, tmp_path, value):
    mix = shares.music(1, RATE, 2).astype(np.float32)
    broken = mix.copy()
    broken[300, 1] = value
    result, out = shares.run(tmp_path, song(broken), options={"residual": "file"}, output=Output("wav", "32f"))
    assert bool(result.warnings) is (abs(value) > 1e10)
    files = [shares.read(out / each.name) for each in result.files]
    assert np.isfinite(files).all()
    mix[300, 1] = broken[300, 1] if abs(value) <= 1e10 else 0
    assert np.abs(sum(files) - mix).max() <= 1e-6 * np.abs(mix).max()


def test_only_silence_and_no_numbers(song, tmp_path):
    result, out = shares.run(tmp_path, song(np.full((1000, 2), np.nan, np.float32)))
    assert not any(shares.read(out / each.name).any() for each in result.files)


def test_more_channels_are_folded_and_reported(song, tmp_path):
    mix = shares.music(1, 48_000, 6) / 3
    result, out = shares.run(tmp_path, song(mix, 48_000), options={"residual": "file"})
    half = 0.5**0.5
    left = mix[:, 0] + half * mix[:, 2] + half * mix[:, 4]
    right = mix[:, 1] + half * mix[:, 2] + half * mix[:, 5]
    total = sum(shares.read(out / each.name) for each in result.files)
    assert shares.level(total / 10 ** (result.gain_db / 20) - np.stack([left, right], axis=1)) <= -90
    assert (result.source.channels, result.warnings) == (2, ("6 channels were folded to 2",))


@readers.needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp3", "libmp3lame"), ("a.m4a", "aac"), ("a.ogg", "libvorbis"), ("a.opus", "libopus")],
)
@pytest.mark.parametrize("frames", [48_000 * 3 + 100, 48_000, 1000])
def test_an_encoder_s_delay_and_padding_are_no_part_of_the_audio(song, tmp_path, name, codec, frames):
    time = np.arange(frames) / 48_000
    mix = np.stack([0.4 * np.sin(2 * np.pi * (300 + 900 * time) * time), 0.3 * np.sin(2 * np.pi * 441 * time)], axis=1)
    path = tmp_path / name
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", song(mix, 48_000), "-c:a", codec, "-b:a", "192k", path]
    subprocess.run(command, check=True)
    result, out = shares.run(tmp_path, path, options={"residual": "file"})
    total = sum(shares.read(out / each.name) for each in result.files)
    assert len(total) == frames
    if frames > 1000:
        middle = slice(2000, frames - 2000)
        error = (total - mix)[middle]
        assert 10 * np.log10(np.square(mix[middle]).sum() / np.square(error).sum()) > 25


def sparse_rf64(path, frames: int, frame: int) -> int:
    """An RF64 of stereo float: a header and nothing; returns where the samples begin."""
    size = frames * frame
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 2, RATE, RATE * frame, frame, 32)
    head = struct.pack("<4sI4s4sIQQQI", b"RF64", 0xFFFFFFFF, b"WAVE", b"ds64", 28, size + 72, size, frames, 0)
    head += form + struct.pack("<4sI", b"data", 0xFFFFFFFF)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)
    return len(head)


def sparse_w64(path, frames: int, frame: int) -> int:
    """The same as Wave64."""
    size = frames * frame
    riff = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
    guid = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
    form = b"fmt " + guid + struct.pack("<QHHIIHH", 40, 3, 2, RATE, RATE * frame, frame, 32)
    data = b"data" + guid + struct.pack("<Q", 24 + size)
    body = b"wave" + guid + form + data
    with path.open("wb") as file:
        file.write(riff + struct.pack("<Q", 24 + len(body) + size) + body)
        start = file.tell()
        file.truncate(start + size)
    return start


@pytest.mark.parametrize("make", [sparse_rf64, sparse_w64])
def test_sources_of_more_than_4_gib(tmp_path, make):
    frames, frame = (5 << 30) // 8 + 3, 8
    path = tmp_path / "long.wav"
    start = make(path, frames, frame)
    last = np.array([[0.25, -0.5]], "<f4")
    with path.open("r+b") as file:
        file.seek(start + (frames - 1) * frame)
        file.write(last.tobytes())
    source = open_source(path)
    assert (source.probe.declared, source.rate, source.channels) == (frames, RATE, 2)
    assert source.warnings == []
    blocks = source.blocks()
    assert not next(blocks).any()
    blocks.close()
    with soundfile.SoundFile(path) as sound:
        sound.seek(frames - 1)
        assert np.array_equal(sound.read(dtype="float32", always_2d=True), last)
    with path.open("r+b") as file:
        file.truncate(start + (frames - 9) * frame)
    with pytest.raises(StemdError) as caught:
        open_source(path)
    assert caught.value.code == "STEMD-A002"
    assert "lacks 9 of the frames" in str(caught.value)


@pytest.mark.slow
def test_a_source_of_more_than_4_gib_is_decoded_to_its_end(tmp_path):
    frames = (4 << 30) // 8 + 1_000_003
    sparse_rf64(tmp_path / "long.wav", frames, 8)
    source = open_source(tmp_path / "long.wav")
    assert sum(len(block) for block in source.blocks()) == frames == source.facts().frames


def test_a_wav_becomes_an_rf64_beyond_its_limit(song, tmp_path, monkeypatch):
    mix = shares.music(2, RATE, 2)
    source = song(mix)
    assert formats.choose(Output("wav", "24"), RATE).container_for(711_000_000, 2) == "RF64"
    assert formats.choose(Output("wav", "24"), RATE).container_for(711_000_000, 1) == "WAV"
    monkeypatch.setattr(formats, "WAV_LIMIT", 500_000)
    result, out = shares.run(tmp_path, source, options={"residual": "file"}, tags={"title": "Long"})
    for each in result.files:
        assert soundfile.info(out / each.name).format == "RF64"
        again = open_source(out / each.name)
        assert again.probe.declared == len(mix)
        assert again.probe.tags["TITLE"] == f"Long ({each.stem})"
    assert shares.level(sum(shares.read(out / each.name) for each in result.files) - mix) <= -90


@pytest.mark.slow
def test_a_wav_of_more_than_4_gib_is_written(tmp_path):
    frames, channels = (4 << 30) // 8 + 50_000, 2
    target = formats.choose(Output("wav", "32f"), RATE)
    if shutil.disk_usage(tmp_path).free < 8 << 30:
        pytest.skip("less than 8 GiB of disk are free")
    block = shares.music(30, RATE, channels).astype(np.float32)
    with StemWriter(tmp_path / "a.wav", target, (frames, channels), {"TITLE": "Long"}) as writer:
        for start in range(0, frames, len(block)):
            writer.write(block[: frames - start])
        writer.finish()
    source = open_source(tmp_path / "a.wav")
    assert (source.probe.declared, source.probe.format) == (frames, "rf64/float")
    assert source.probe.tags == {"TITLE": "Long"}
    with soundfile.SoundFile(tmp_path / "a.wav") as sound:
        sound.seek(frames - frames % len(block))
        assert np.array_equal(sound.read(dtype="float32"), block[: frames % len(block)])
