"""The whole way from a file to verified stems: interruption, sums, gain, formats, tags, full disks."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemd.core.errors import StemdError
from stemd.core.job import Output
from stemd.engines.audio import flac_tags, vorbis_comment
from stemd.engines.base import CancelledError, SeparationRequest
from stemd.engines.separate import separate
from tests.golden.conftest import RATE, noise

pytestmark = pytest.mark.golden


@pytest.fixture
def ask(tmp_path):
    """Make a request for an array: ``ask(mix, **fields)``, always in the same folder of its ``name``."""

    def make(mix, rate=RATE, name="job", source="song.wav", subtype="FLOAT", **fields) -> SeparationRequest:
        home = tmp_path / name
        for folder in ("chunks", "out"):
            (home / folder).mkdir(parents=True, exist_ok=True)
        soundfile.write(home / source, mix, rate, subtype=subtype)
        settings = {"stems": 4, "output": Output("wav", "24"), **fields}
        return SeparationRequest(home / source, home / "chunks", home / "out", **settings)

    return make


def content(request: SeparationRequest) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in request.out.iterdir()}


def stop_at(fraction: float):
    def report(progress):
        if progress.fraction >= fraction:
            raise CancelledError

    return report


def nothing(progress) -> None:
    """A report that is not looked at."""


@pytest.mark.parametrize("at", [0.0, 0.3, 0.6, 0.85, 0.93])
def test_interrupted_and_resumed_is_bit_identical(at, ask, engine_of):
    mix, options = noise(40_001), {"shifts": 2, "batch": 2}
    whole = ask(mix, name="whole", checkpoint=0.5, options=options)
    separate(*engine_of("mixed"), whole, nothing)
    broken = ask(mix, name="broken", checkpoint=0.5, options=options)
    with pytest.raises(CancelledError):
        separate(*engine_of("mixed"), broken, stop_at(at))
    seen = []
    result = separate(*engine_of("mixed"), broken, seen.append)
    assert content(broken) == content(whole)
    assert result.chunks["total"] == 11
    assert (result.chunks["reused"] > 0) == (at > 0.25)
    assert result.warnings == ()
    if at > 0.9:
        assert result.chunks["reused"] == 11


def test_a_damaged_chunk_is_done_again(ask, engine_of):
    request = ask(noise(20_001), checkpoint=0.5)
    separate(*engine_of("hd"), request, nothing)
    before = content(request)
    damaged = request.chunks / "000002.f32"
    data = bytearray(damaged.read_bytes())
    data[100] ^= 1
    damaged.write_bytes(data)
    result = separate(*engine_of("hd"), request, nothing)
    assert result.chunks == {"total": 6, "reused": 2, "resumes": 1}
    assert "damaged" in result.warnings[0]
    assert content(request) == before


@pytest.mark.parametrize("change", [{"options": {"overlap": 0.3}}, {"stems": ("vocals",)}])
def test_other_settings_do_not_use_the_chunks(change, ask, engine_of):
    mix = noise(9_001)
    separate(*engine_of("hd"), ask(mix), nothing)
    result = separate(*engine_of("hd"), ask(mix, **change), nothing)
    assert result.chunks["reused"] == 0 and "changed since" in result.warnings[0]


def test_another_source_does_not_use_the_chunks(ask, engine_of):
    separate(*engine_of("hd"), ask(noise(9_001)), nothing)
    result = separate(*engine_of("hd"), ask(noise(9_001, seed=1)), nothing)
    assert result.chunks["reused"] == 0 and "track" in result.warnings[0]


def test_progress_rises_to_one(ask, engine_of):
    seen = []
    separate(*engine_of("mixed"), ask(noise(40_001)), seen.append)
    fractions = [each.fraction for each in seen]
    assert fractions == sorted(fractions) and fractions[-1] == 1 and fractions[0] >= 0
    assert list(dict.fromkeys(each.stage for each in seen)) == ["decode", "separate", "encode"]


@pytest.mark.parametrize("depth", ["16", "24"])
def test_vocals_and_accompaniment_are_the_source_to_the_last_bit(depth, ask, engine_of):
    request = ask(noise(20_001), stems=2, output=Output("flac", depth), subtype=f"PCM_{depth}")
    separate(*engine_of("hd"), request, nothing)
    read = {p.stem: soundfile.read(p, dtype="int32")[0].astype(np.int64) for p in request.out.iterdir()}
    source = soundfile.read(request.source, dtype="int32")[0]
    assert np.array_equal(read["vocals"] + read["accompaniment"], source)


@pytest.mark.parametrize("rate", [RATE, 11_025])
@pytest.mark.parametrize("residual", ["file", "other"])
def test_all_stems_with_the_residual_are_the_source(residual, rate, ask, engine_of):
    mix = noise(20_001)
    request = ask(mix, rate, options={"residual": residual})
    result = separate(*engine_of("hd"), request, nothing)
    assert len(result.files) == (5 if residual == "file" else 4)
    total = sum(soundfile.read(path, dtype="float64")[0] for path in request.out.iterdir())
    assert np.abs(total - 10 ** (result.gain_db / 20) * mix).max() < 10 ** (-90 / 20)


def test_one_gain_for_all_where_pcm_would_clip(ask, engine_of):
    loud = noise(20_001) * 4
    free = ask(loud, name="float", output=Output("wav", "32f"), options={"residual": "file"})
    unity = separate(*engine_of("hd"), free, nothing)
    assert unity.gain_db == 0 and max(each.peak for each in unity.files) > 1
    request = ask(loud, output=Output("flac", "24"), options={"residual": "file"})
    result = separate(*engine_of("hd"), request, nothing)
    gain = 10 ** (result.gain_db / 20)
    assert result.gain_db < 0
    assert 0.9999 < max(each.peak for each in result.files) < 1
    for each in result.files:
        expected = soundfile.read(free.out / f"{each.stem}.wav")[0] * gain
        assert np.abs(soundfile.read(request.out / each.name)[0] - expected).max() < 2e-6


@pytest.mark.parametrize(
    ("name", "depth", "subtype"),
    [("flac", "16", "PCM_16"), ("flac", "24", "PCM_24"), ("wav", "16", "PCM_16"), ("wav", "24", "PCM_24"),
     ("wav", "32f", "FLOAT"), ("ogg", "24", "VORBIS"), ("mp3", "24", "MPEG_LAYER_III"), ("opus", "24", "OPUS")],
)  # fmt: skip
def test_formats(name, depth, subtype, ask, engine_of):
    request = ask(noise(20_001) * 0.5, stems=("vocals",), output=Output(name, depth))
    result = separate(*engine_of("hd"), request, nothing)
    (file,) = result.files
    info = soundfile.info(request.out / f"vocals.{name}")
    assert (info.subtype, info.samplerate, info.channels, info.frames) == (subtype, RATE, 2, 20_001)
    assert file.sha256 == content(request)[f"vocals.{name}"]
    assert file.bytes == (request.out / f"vocals.{name}").stat().st_size
    assert file.lufs is not None and file.lufs < 0


def test_a_rate_the_codec_lacks_is_said(ask, engine_of):
    request = ask(noise(20_000), 11_025, stems=("vocals",), output=Output("opus"))
    result = separate(*engine_of("hd"), request, nothing)
    assert result.files[0].sample_rate == 12_000 and result.files[0].frames == -(-20_000 * 12_000 // 11_025)
    assert "12000" in result.warnings[0]


def test_another_output_rate(ask, engine_of):
    request = ask(noise(20_001), stems=2, output=Output("wav", "24", 16_000))
    result = separate(*engine_of("hd"), request, nothing)
    assert {(each.frames, each.sample_rate) for each in result.files} == {(40_002, 16_000)}


@pytest.mark.parametrize("output", [Output("flac", "32f"), Output("xyz"), Output("wav", "8"), Output("flac", "24", 1)])
def test_forms_that_cannot_be(output, ask, engine_of):
    with pytest.raises(StemdError) as caught:
        separate(*engine_of("hd"), ask(noise(100), output=output), nothing)
    assert caught.value.code == "STEMD-A006"


def test_tags(ask, engine_of):
    request = ask(
        noise(9_001),
        source="x.flac",
        subtype="PCM_24",
        stems=("vocals",),
        output=Output("flac", "24"),
        tags={"artist": "Ána", "album": "B"},
        stamp={"STEMD_JOB_UUID": "0192", "STEMD_ENGINE": "demucs"},
    )
    flac_tags.write(request.source, {"TITLE": "Song", "ALBUM": "A", "ISRC": "XX", "REPLAYGAIN_TRACK_GAIN": "1"})
    result = separate(*engine_of("hd"), request, nothing)
    header = (request.out / "vocals.flac").read_bytes()
    found = vorbis_comment.unpack(next(block for kind, block in flac_tags.parse(header) if kind == 4))
    assert found == {
        "TITLE": "Song (vocals)", "ALBUM": "B", "ISRC": "XX", "ARTIST": "Ána",
        "STEMD_JOB_UUID": "0192", "STEMD_ENGINE": "demucs", "STEMD_STEM": "vocals",
    }  # fmt: skip
    assert result.source.tags["TITLE"] == "Song"
    wav = ask(noise(9_001), name="wav", stems=("vocals",), tags={"title": "T", "artist": "A"})
    separate(*engine_of("hd"), wav, nothing)
    with soundfile.SoundFile(wav.out / "vocals.wav") as sound:
        assert (sound.title, sound.artist) == ("T (vocals)", "A")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with 3 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "stemd", folder], check=False).returncode
    ):
        pytest.skip("cannot mount a tmpfs")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("form", [("wav", "24"), ("flac", "24"), ("ogg", "24")])
@pytest.mark.parametrize("full", ["chunks", "out"])
def test_a_full_disk(full, form, ask, engine_of, small_disk):
    mix = np.random.default_rng(0).uniform(-0.5, 0.5, (RATE * 20, 2))
    request = ask(mix, output=Output(*form))
    fields = {name: getattr(request, name) for name in ("source", "chunks", "out", "stems", "output")}
    (small_disk / "filler").write_bytes(bytes(2_990_000 if full == "out" else 1_500_000))
    with pytest.raises(StemdError) as caught:
        separate(*engine_of("hd"), SeparationRequest(**{**fields, full: small_disk}), nothing)
    assert caught.value.code == "STEMD-R003"
    if full == "out":
        result = separate(*engine_of("hd"), request, nothing)
        assert result.chunks["reused"] == result.chunks["total"]


def test_failures_of_the_engine_have_a_code(ask, engine_of, monkeypatch):
    engine, model = engine_of("hd")

    def broken(error):
        def separate_segments(lane, batch):
            raise error

        return separate_segments

    for error, code in ((RuntimeError("x"), "STEMD-E006"), (MemoryError(), "STEMD-R001")):
        monkeypatch.setattr(engine, "separate_segments", broken(error))
        with pytest.raises(StemdError) as caught:
            separate(engine, model, ask(noise(9_001)), nothing)
        assert caught.value.code == code
    monkeypatch.setattr(engine, "separate_segments", lambda lane, batch: dict.fromkeys(model.stems, batch * np.nan))
    with pytest.raises(StemdError) as caught:
        separate(engine, model, ask(noise(9_001)), nothing)
    assert caught.value.code == "STEMD-E006"


def test_result_is_plain_data(ask, engine_of):
    result = separate(*engine_of("hd"), ask(noise(9_001), options={"residual": "file"}), nothing)
    assert json.loads(json.dumps(dict(result.settings)))["residual"] == "file"
    assert result.source.format == "wav/float" and isinstance(Path(result.files[0].name).suffix, str)
