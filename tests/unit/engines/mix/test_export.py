"""Finished files: what decodes is what was given, no louder than promised, and the same in every run."""

import subprocess
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import welch

from stemd.core.errors import StemdError
from stemd.engines.mix.export import Dither, Exported, Stream, Wanted, export
from stemd.engines.mix.settings import Format
from tests.unit.engines.mix import ebur128
from tests.unit.engines.mix.signals import blocks, song, tone

RATE = 44_100
LOSSLESS = [Format("wav", 16), Format("wav", 24), Format("wav", 32), Format("flac", 16), Format("flac", 24)]
LOSSY = [Format("ogg"), Format("opus"), Format("mp3")]


def of(frames: np.ndarray, rate: int = RATE, size: int = 65_536) -> Stream:
    return Stream(lambda: blocks(frames, size), rate, len(frames))


def wanted(folder: Path, form: Format, **more) -> Wanted:
    return Wanted(folder / f"final_mix.{form.codec}", "final_mix", form, tags={"TITLE": "mix"}, **more)


def made(folder: Path, frames: np.ndarray, form: Format, size: int = 65_536, **more) -> tuple[Exported, np.ndarray]:
    """The export and what libsndfile decodes from it."""
    found = export(of(frames, size=size), wanted(folder, form, **more), lambda count: None)
    return found, soundfile.read(folder / found.file.name, dtype="float32", always_2d=True)[0]


def hot(length: float, seed: int) -> np.ndarray:
    """A master driven into a square, true peak about −1.3 dBTP: what a coder cannot follow."""
    t = np.arange(round(length * RATE)) / RATE
    noise = np.random.default_rng(seed).standard_normal((len(t), 2)) * np.exp(-(t % 0.25) * 20)[:, None]
    tones = np.stack([np.sin(2 * np.pi * hz * t) + 0.5 * np.sin(2 * np.pi * 3.1 * hz * t) for hz in (110, 147)], 1)
    return (0.45 * np.clip(2 * tones + noise, -1, 1)).astype(np.float32)


@pytest.mark.parametrize(("form", "dither"), list(product(LOSSLESS, ["tpdf", "none"])))
def test_a_lossless_file_nulls(tmp_path, form, dither):
    frames = song(1.0, RATE) * np.float32(0.8)
    found, decoded = made(tmp_path, frames, form, dither=dither)
    steps = 0.0 if form.bits == 32 else 0.5 if dither == "none" else 1.5
    assert np.abs(decoded.astype(np.float64) - frames).max() <= steps * 2.0 ** (1 - form.bits) * (1 + 1e-3)
    assert (found.gain_db, found.tries, found.warnings) == (0.0, 1, ())
    assert found.file.stem == "final_mix" and found.file.frames == len(frames)
    assert found.file.peak == np.abs(decoded).max()
    assert found.measured.integrated_lufs == found.file.lufs


@pytest.mark.parametrize("form", LOSSY)
def test_a_lossy_file_has_all_frames_and_sounds_alike(tmp_path, form):
    frames = song(2.0, RATE) * np.float32(0.5)
    found, decoded = made(tmp_path, frames, form)
    rate = 48_000 if form.codec == "opus" else RATE
    assert (found.file.sample_rate, len(decoded)) == (rate, -(-len(frames) * rate // RATE))
    whole, _ = made(tmp_path, frames, Format("wav", 32))
    assert found.measured.integrated_lufs == pytest.approx(whole.measured.integrated_lufs, abs=0.3)


def test_flac_has_no_floats(tmp_path):
    with pytest.raises(StemdError) as raised:
        made(tmp_path, song(0.1, RATE), Format("flac", 32))
    assert raised.value.code == "STEMD-A006"


@pytest.mark.parametrize("form", LOSSLESS + LOSSY)
@pytest.mark.parametrize("frames", [1, 2, 700])
def test_short_tracks(tmp_path, form, frames):
    found, decoded = made(tmp_path, song(1.0, RATE)[-frames:], form, ceiling_dbtp=-1.0)
    assert len(decoded) == found.file.frames


@pytest.mark.parametrize("form", LOSSLESS + LOSSY)
def test_silence_stays_silent(tmp_path, form):
    found, decoded = made(tmp_path, np.zeros((30_000, 2), np.float32), form, ceiling_dbtp=-1.0)
    assert np.abs(decoded).max() < 1e-30 and (form.codec == "opus" or not decoded.any())
    assert (found.measured.true_peak_dbtp, found.file.lufs, found.tries, found.warnings) == (None, None, 1, ())


@pytest.mark.parametrize("form", LOSSLESS[:4] + LOSSY)
def test_two_runs_and_all_block_sizes_give_the_same_samples(tmp_path, form):
    """Opus and Ogg number their streams by chance, so it is what decodes that is compared."""
    frames = hot(1.0, 3)
    first, once = made(tmp_path, frames, form, ceiling_dbtp=-3.0)
    for size in (1024, len(frames)):
        again, more = made(tmp_path, frames, form, size=size, ceiling_dbtp=-3.0)
        assert np.array_equal(once, more)
        assert replace(again.file, sha256="") == replace(first.file, sha256="")
        if form.codec in ("wav", "flac"):
            assert again.file.sha256 == first.file.sha256


def test_the_dither_leaves_the_error_without_mean_tone_or_modulation():
    """A sine of a tenth of a step is lost by rounding alone; with dither it is there, in even noise."""
    step, t = 2.0**-15, np.arange(1 << 19) / RATE
    quiet = 0.1 * step * np.sin(2 * np.pi * 1000 * t)
    frames = np.stack([quiet, quiet + 0.3 * step], axis=1).astype(np.float32)
    rounded = np.rint(Dither(16, "x").added(frames) / step) * step
    error = (rounded - frames) / step
    assert np.abs(error).max() <= 1.5 + 1e-3
    assert np.abs(error.mean(axis=0)).max() < 0.005
    assert np.square(error).mean(axis=0) == pytest.approx([0.25, 0.25], rel=0.02)
    assert abs(np.corrcoef(error.T)[0, 1]) < 0.01
    _, power = welch(error[:, 1], RATE, nperseg=1024)
    assert power[2:-2].max() < 1.35 * power[2:-2].mean() and power[2:-2].min() > 0.7 * power[2:-2].mean()
    assert rounded[:, 0] @ quiet / (quiet @ quiet) == pytest.approx(1, abs=0.1)


def test_dither_differs_by_name_and_keeps_mono_and_silent_channels():
    mono = np.repeat(song(0.2, RATE)[:, :1], 2, axis=1)
    dithered = Dither(16, "vocals").added(mono)
    assert np.array_equal(dithered[:, 0], dithered[:, 1])
    assert not np.array_equal(dithered, Dither(16, "drums").added(mono))
    assert not Dither(16, "vocals").added(mono * np.float32([1, 0]))[:, 1].any()


@pytest.mark.parametrize("form", [Format("wav", 16), Format("flac", 24), Format("ogg")])
def test_what_would_clip_is_softer_as_a_whole(tmp_path, form):
    frames = tone(4, 1, RATE, hz=441) * np.float32([1, 0.5])
    found, decoded = made(tmp_path, frames, form)
    assert found.gain_db == pytest.approx(-4, abs=0.01) and found.tries == 2
    assert [text for text in found.warnings if "4.0 dB" in text]
    if form.codec != "ogg":
        gain = np.float32(10 ** (found.gain_db / 20))
        assert np.abs(decoded - frames * gain).max() <= 1.5 * 2.0 ** (1 - form.bits) * (1 + 1e-3)
    if form.bits == 16:  # nor is the dither of the highest samples clipped
        error = decoded[:, 0] - frames[:, 0] * gain
        assert abs(error[frames[:, 0] == frames.max()].mean()) < 0.1 * 2.0**-15


def test_full_scale_and_floats_are_left_alone(tmp_path):
    at_full = np.float32([[1, -1], [-1, 1]]).repeat(500, axis=0)
    found, decoded = made(tmp_path, at_full, Format("wav", 16), dither="none")
    assert (found.gain_db, found.warnings) == (0, ()) and decoded.max() == 1 - 2.0**-15
    found, decoded = made(tmp_path, 4 * at_full, Format("wav", 32))
    assert (found.gain_db, found.tries, found.warnings) == (0, 1, ()) and decoded.max() == 4


@ebur128.needs_ffmpeg
@pytest.mark.parametrize(("form", "seed"), list(product(LOSSY, [0, 1])))
def test_a_lossy_file_holds_its_ceiling_by_anyones_meter(tmp_path, form, seed):
    frames = hot(5.0, seed)
    free, _ = made(tmp_path, frames, form)
    ceiling = min(-1.0, free.measured.true_peak_dbtp - 0.7)  # always one that it does not hold by itself
    found, _ = made(tmp_path, frames, form, ceiling_dbtp=ceiling)
    assert found.tries > 1 and found.gain_db < 0 and not found.warnings
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / found.file.name, "-f", "f32le", "-c:a", "pcm_f32le", "-"]
    decoded = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, "<f4").reshape(-1, 2)
    assert ebur128.read(tmp_path, decoded, found.file.sample_rate).peak <= ceiling
    assert found.gain_db > -4


@pytest.mark.parametrize("helps", [True, False])
def test_a_lossy_file_is_of_a_stream_limited_lower_and_softer_only_where_that_does_not_help(tmp_path, helps):
    frames = hot(2.0, 0)
    asked: list[float] = []

    def lower(by_db: float, on_block):
        asked.append(by_db)
        most = np.float32(10 ** (-by_db / 20) * np.abs(frames).max()) if helps else np.float32(9)
        return lambda: blocks(np.clip(frames, -most, most), 65_536)

    free, _ = made(tmp_path, frames, Format("mp3"))
    ceiling = free.measured.true_peak_dbtp - 0.7
    whole = replace(of(frames), lower=lower)
    found = export(whole, wanted(tmp_path, Format("mp3"), ceiling_dbtp=ceiling), lambda count: None)
    assert found.measured.true_peak_dbtp <= ceiling and not found.warnings
    assert asked == sorted(asked) and found.lowered_db == asked[-1] > 0
    assert (found.gain_db == 0) is helps
    assert found.tries == len(asked) + (1 if helps else 2)


def test_a_ceiling_that_cannot_be_held_is_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr("stemd.engines.mix.export._MOST_TRIES", 1)
    found, _ = made(tmp_path, hot(1.0, 0), Format("ogg"), ceiling_dbtp=-6.0)
    assert found.tries == 1 and found.gain_db == 0
    assert "above the -6.0 dBTP" in found.warnings[0]
    found, _ = made(tmp_path, hot(1.0, 0), Format("wav", 24), ceiling_dbtp=-6.0)
    assert "above the -6.0 dBTP" in found.warnings[0]


@pytest.mark.parametrize("form", [Format("wav", 24), Format("opus")])
def test_progress_goes_on_while_the_file_is_read_back(tmp_path, form):
    told: list[int] = []
    export(of(song(6.0, RATE) * np.float32(0.5), size=20_000), wanted(tmp_path, form), told.append)
    frames = 6 * RATE
    assert sum(told) == pytest.approx(2 * frames, rel=1e-3)
    assert max(told) < frames / 2 and len(told) > 4


def test_what_progress_raises_ends_it(tmp_path):
    def stop(count: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        export(of(song(1.0, RATE)), wanted(tmp_path, Format("wav", 24)), stop)


@pytest.mark.parametrize("rate", [8_000, 96_000, 192_000])
def test_any_rate(tmp_path, rate):
    found = export(of(song(0.5, rate), rate), wanted(tmp_path, Format("flac", 24)), lambda count: None)
    assert found.file.sample_rate == rate
