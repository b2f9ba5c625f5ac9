"""The same clip in many formats, rates and layouts: frames, rate and channels kept, and nothing lost in the sum."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemd.core.job import Output
from stemd.engines.audio.decode import fold
from stemd.engines.demucs_engine import DemucsEngine
from tests.golden import shares
from tests.unit.engines.audio import readers

pytestmark = pytest.mark.golden
SECONDS, ODD = 20, 13


@dataclass(frozen=True)
class Clip:
    """One form of the clip. ``codec``: options for ffmpeg, else libsndfile's container and subtype are used."""

    name: str
    rate: int
    channels: int
    container: str = ""
    subtype: str = ""
    codec: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}-{self.rate}-{self.channels}"

    def make(self, folder: Path) -> tuple[Path, np.ndarray]:
        """The file, and what is in it: frames × channels, decoded by another program where the codec changes it."""
        sound = shares.music(SECONDS, self.rate, self.channels)[: SECONDS * self.rate - ODD]
        path, wav = folder / self.name, folder / "clip-as.wav"
        if not self.codec:
            soundfile.write(path, sound, self.rate, self.subtype, format=self.container)
            return path, shares.read(path)
        soundfile.write(wav, sound, self.rate, "PCM_24")
        subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-i", wav, *self.codec, path], check=True)
        command = ["ffmpeg", "-nostdin", "-v", "error", "-i", path, "-f", "f64le", "pipe:1"]
        raw = subprocess.run(command, capture_output=True, check=True).stdout
        decoded = np.frombuffer(raw).reshape(-1, self.channels)
        return path, decoded[: len(sound)]


CLIPS = [
    Clip("a.wav", 44_100, 2, "WAV", "PCM_16"),
    Clip("b.wav", 48_000, 2, "WAV", "PCM_24"),
    Clip("c.wav", 96_000, 2, "WAV", "FLOAT"),
    Clip("d.flac", 88_200, 2, "FLAC", "PCM_24"),
    Clip("e.flac", 16_000, 1, "FLAC", "PCM_16"),
    Clip("f.aiff", 22_050, 2, "AIFF", "PCM_24"),
    Clip("g.w64", 192_000, 1, "W64", "PCM_24"),
    Clip("h.rf64", 176_400, 2, "RF64", "PCM_24"),
    Clip("i.caf", 11_025, 1, "CAF", "PCM_16"),
    Clip("j.wav", 8_000, 1, "WAV", "PCM_16"),
    Clip("k.wav", 48_000, 6, "WAV", "PCM_24"),
    Clip("l.ogg", 32_000, 2, "OGG", "VORBIS"),
    Clip("m.mp3", 44_100, 2, codec=("-c:a", "libmp3lame", "-b:a", "192k")),
    Clip("n.mp3", 22_050, 1, codec=("-c:a", "libmp3lame", "-b:a", "64k")),
    Clip("o.m4a", 44_100, 2, codec=("-c:a", "aac", "-b:a", "192k")),
    Clip("p.m4a", 48_000, 2, codec=("-c:a", "alac")),
    Clip("q.opus", 48_000, 2, codec=("-c:a", "libopus", "-b:a", "128k")),
]


def check(clip: Clip, folder: Path, **engine) -> None:
    source, original = clip.make(folder)
    channels = min(2, clip.channels)
    result, out = shares.run(folder, source, options={"residual": "file"}, **engine)
    expected = SECONDS * clip.rate - ODD
    assert (result.source.frames, result.source.sample_rate, result.source.channels) == (expected, clip.rate, channels)
    assert [each.stem for each in result.files] == [*shares.STEMS, "residual"]
    for each in result.files:
        info = soundfile.info(out / each.name)
        assert (info.frames, info.samplerate, info.channels) == (expected, clip.rate, channels)
        assert (each.frames, each.sample_rate, each.channels) == (expected, clip.rate, channels)
    total = sum(shares.read(out / each.name) for each in result.files)
    assert shares.level(total - 10 ** (result.gain_db / 20) * fold(original)) <= -90
    assert ("6 channels were folded to 2" in result.warnings) == (clip.channels == 6)


@readers.needs_ffmpeg
@pytest.mark.parametrize("clip", CLIPS, ids=str)
def test_the_same_clip(clip, tmp_path):
    check(clip, tmp_path)


@readers.needs_ffmpeg
@pytest.mark.slow
@pytest.mark.parametrize("clip", [CLIPS[4], CLIPS[8], CLIPS[14]], ids=str)
def test_the_same_clip_through_a_real_model(clip, tmp_path):
    engine = DemucsEngine()
    check(clip, tmp_path, engine=engine, model=engine.load("nano", tmp_path, "cpu"))


@pytest.mark.parametrize("residual", ["off", "other", "file"])
@pytest.mark.parametrize(("form", "depth"), [("wav", "24"), ("wav", "32f"), ("flac", "24")])
def test_what_becomes_of_the_rest(residual, form, depth, tmp_path):
    original, source = shares.music(5, 44_100, 2), tmp_path / "a.wav"
    soundfile.write(source, original, 44_100, "PCM_24")
    result, out = shares.run(tmp_path, source, options={"residual": residual}, output=Output(form, depth))
    assert len(result.files) == (5 if residual == "file" else 4)
    files = {each.stem: shares.read(out / each.name) for each in result.files}
    assert shares.level(files["vocals"] - 0.1 * original) <= -90
    missing = shares.level(sum(files.values()) - original)
    assert missing > -30 if residual == "off" else missing <= -90
