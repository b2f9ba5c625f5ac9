"""The mix engine as a whole, held against what it promises, by meters that are not its own."""

from __future__ import annotations

import json
from itertools import combinations, pairwise

import numpy as np
import pytest
import soundfile
import yaml

from stemd.core.job import Output
from stemd.engines.mix.presets import PRESETS
from tests.golden.mixes import (
    EVERYTHING,
    FLOAT,
    NULL,
    RATE,
    STAGES,
    Mixed,
    Stems,
    Studio,
    decoded,
    difference,
    hits,
    lufs,
    octaves,
    over,
    song,
    together,
)
from tests.unit.engines.mix import ebur128
from tests.unit.engines.mix.ebur128 import needs_ffmpeg

pytestmark = [pytest.mark.golden, pytest.mark.filterwarnings("error")]

ROLES = ("drums", "bass", "other", "vocals")
OFF: dict[str, object] = {
    "align": False,
    "auto_gain": None,
    "track": {"vocals": {"enabled": False}},
    "tonal_balance": {"enabled": False},
    "micro_dynamics": False,
    "spatial": {"enabled": False},
    "masking": False,
    "master": {"enabled": False},
}
"""Each stage with one of the ways to switch it off."""


@pytest.fixture
def studio(tmp_path) -> Studio:
    return Studio(tmp_path)


@pytest.fixture(scope="module")
def stems() -> Stems:
    return song()


@pytest.fixture(scope="module")
def usual(tmp_path_factory, stems) -> Mixed:
    """The song by the default preset, as a float file."""
    return Studio(tmp_path_factory.mktemp("usual")).mix(stems, FLOAT)


# ---- nothing, the same, in any order and by any blocks


@pytest.mark.parametrize("options", [NULL, over(FLOAT, OFF)], ids=["transparent", "each stage off"])
def test_with_every_stage_off_the_mix_is_the_sum(studio, stems, options):
    mixed = studio.mix(stems, options)
    assert difference(mixed.frames, together(stems)) <= 1e-6
    assert mixed.result.source.frames == 3 * RATE


def test_stems_of_any_length_and_of_one_channel_add_up(studio, stems):
    uneven = {"vocals": stems["vocals"][:, 0], "drums": stems["drums"][:60_001], "bass": stems["bass"][:17]}
    assert difference(studio.mix(uneven, NULL).frames, together(uneven)) <= 1e-6


def test_a_mix_has_the_same_bytes_every_time_and_in_any_order_of_its_stems(studio, stems):
    options = over(EVERYTHING, {"export": {"formats": [{"codec": "wav", "bits": 16}, {"codec": "flac"}]}})
    first, again = studio.mix(stems, options), studio.mix(stems, options)
    assert [file.sha256 for file in first.result.files] == [file.sha256 for file in again.result.files]
    reverse = dict(reversed(stems.items()))
    left, right = studio.mix(stems, over(EVERYTHING, FLOAT)), studio.mix(reverse, over(EVERYTHING, FLOAT))
    assert difference(left.frames, right.frames) <= 1e-6


def test_the_size_of_blocks_changes_nothing(studio, stems, monkeypatch):
    found = []
    for size in (1024, 65_536, 1 << 20):
        monkeypatch.setattr("stemd.engines.mix.shelf.BLOCK", size)
        monkeypatch.setattr("stemd.engines.audio.sndfile.BLOCK", size)
        found.append(studio.mix(stems, over(EVERYTHING, FLOAT)).frames)
    for other in found[1:]:
        assert difference(found[0], other) <= 1e-6


def test_progress_goes_through_all_stages_and_never_back(studio, stems):
    seen = []
    mixed = studio.mix(stems, EVERYTHING, report=seen.append)
    assert list(dict.fromkeys(each.stage for each in seen)) == list(STAGES) == list(mixed.report["stages"])
    assert all(before.fraction <= after.fraction for before, after in pairwise(seen))
    assert seen[-1].fraction == 1
    inside = {stage: {each.fraction for each in seen if each.stage == stage} for stage in STAGES}
    assert all(len(fractions) > 1 for fractions in inside.values()), "it moves inside every stage"


def test_no_effect_makes_a_stem_late(studio):
    frames = 3 * RATE
    times = {role: np.sort(np.random.default_rng(number).integers(0, frames, 12)) for number, role in enumerate(ROLES)}
    stems = {role: both(hits(times[role], frames, number)) for number, role in enumerate(ROLES)}
    chain = {"comp": {}, "saturation": {"drive_db": 2, "oversample": 8}, "deess": {}, "air": {}}
    tracks = {"drums": {}, "bass": {"saturation": {"drive_db": 2, "oversample": 2}}, "other": chain, "vocals": chain}
    mixed = studio.mix(stems, over(EVERYTHING, FLOAT, {"align": False, "spatial": False, "track": tracks}))
    spectrum = np.fft.rfft(mixed.frames.sum(axis=1))
    for role, stem in stems.items():
        found = np.fft.irfft(spectrum * np.fft.rfft(stem.sum(axis=1)).conj()).argmax()
        assert abs((found + frames // 2) % frames - frames // 2) <= 1, role


# ---- loudness and peaks


@needs_ffmpeg
@pytest.mark.parametrize(
    ("preset", "target"), [("streaming", -14.0), ("loud", -9.0), ("broadcast", -23.0), ("podcast", -16.0)]
)
def test_each_preset_has_its_loudness_and_peak_by_two_other_meters(studio, stems, preset, target):
    mixed = studio.mix(stems, {"preset": preset, **FLOAT})
    reading = ebur128.read(studio.folder, mixed.frames, RATE)
    assert reading.integrated == pytest.approx(target, abs=0.2)
    assert mixed.lufs == pytest.approx(target, abs=0.2)
    assert reading.peak <= -1.0
    measured = mixed.report["master"]["measured"]
    assert measured["integrated_lufs"] == pytest.approx(reading.integrated, abs=0.2)
    assert measured["true_peak_dbtp"] == pytest.approx(reading.peak, abs=0.3)
    assert mixed.report["master"]["loudness"]["passes"] <= 4


@needs_ffmpeg
def test_no_file_has_peaks_above_the_ceiling_however_hot_and_wide(studio, stems):
    hot = {role: (frames * 10 ** (6 / 20) / np.abs(frames).max()).astype(np.float32) for role, frames in stems.items()}
    codecs = ("wav", "flac", "mp3", "ogg", "opus")
    loud = {"loudness": {"target_lufs": -8.0}, "width": 1.5}
    options = {"preset": "loud", "master": loud, "export": {"formats": [{"codec": codec} for codec in codecs]}}
    mixed = studio.mix(hot, options)
    for file, row in zip(mixed.result.files, mixed.report["files"], strict=True):
        frames = decoded(mixed.folder / file.name, file.sample_rate)
        peak = ebur128.read(studio.folder, frames, file.sample_rate).peak
        assert peak <= -1.0, file.name
        assert row["decoded"]["true_peak_dbtp"] == pytest.approx(peak, abs=0.3), file.name
    assert [file.name for file in mixed.result.files] == [f"final_mix.{codec}" for codec in codecs]


@needs_ffmpeg
@pytest.mark.parametrize(("target", "reached"), [(-11.0, True), (-8.0, False)])
def test_a_lossy_file_limited_lower_keeps_its_loudness_or_a_warning_says_what_it_has(studio, stems, target, reached):
    noise = 0.06 * np.random.default_rng(3).standard_normal((3 * RATE, 2))
    dense = {**stems, "drums": (stems["drums"] + noise * (np.arange(3 * RATE) % 11_025 < 3000)[:, None])}
    codecs = ("wav", "ogg", "opus", "mp3")
    options = {"preset": "loud", "align": None, "export": {"formats": [{"codec": codec} for codec in codecs]}}
    mixed = studio.mix(dense, over(options, {"master": {"loudness": {"target_lufs": target}}}))
    assert any(row["lowered_db"] > 0 for row in mixed.report["files"]), "else nothing is shown"
    for file, row in zip(mixed.result.files, mixed.report["files"], strict=True):
        reading = ebur128.read(studio.folder, decoded(mixed.folder / file.name, file.sample_rate), file.sample_rate)
        assert reading.peak <= -1.0, file.name
        assert row["gain_db"] == 0, file.name
        if reached:
            assert reading.integrated == pytest.approx(target, abs=0.25), file.name
        elif file.name.endswith("wav"):
            assert file.name not in mixed.warnings, "what the whole mix lacks is said once"
        else:
            assert f"{file.name} has {row['decoded']['integrated_lufs']:.1f} LUFS instead of" in mixed.warnings
            assert reading.integrated > mixed.report["master"]["measured"]["integrated_lufs"] - 1.2
    assert ("LUFS" in mixed.warnings) is not reached


def test_a_target_out_of_reach_is_told(studio, stems):
    quiet = {role: frames * np.float32(0.01) for role, frames in stems.items()}
    mixed = studio.mix(quiet, {"preset": "transparent", "master": {"loudness": {"target_lufs": -3.0}}})
    assert "the loudness asked for was not reached" in mixed.warnings


# ---- alignment

FRAMES = 10 * RATE
TIMES = np.sort(np.random.default_rng(1).integers(RATE, FRAMES - RATE, 30))
ALIGN = over(NULL, {"align": {"enabled": True}})


def hiss(seed: int, db: float) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(FRAMES) * 10 ** (db / 20)


def both(left: np.ndarray) -> np.ndarray:
    return np.stack([left, left], axis=1).astype(np.float32)


def check_aligned(studio: Studio, stems: Stems, late: int) -> None:
    """The stem ``other`` is found ``late`` by less than 1 ms off, and lies exactly that much earlier in the mix."""
    mixed = studio.mix(stems, ALIGN)
    found = -round(mixed.report["parameters"]["tracks"]["other"]["lag_ms"] * RATE / 1000)
    assert abs(found - late) < RATE / 1000
    assert mixed.report["alignment"]["anchor"] == "drums"
    other = np.roll(np.pad(stems["other"], ((0, abs(found)), (0, 0))), -found, axis=0)
    if found > 0:
        other = other[: len(stems["other"]) - found]
    assert difference(mixed.frames, together({"drums": stems["drums"], "other": other})) <= 1e-6


@pytest.mark.parametrize("late", [13, 11_025, -4410])
def test_clicks_under_noise_are_put_in_their_place(studio, late):
    drums, other = hits(TIMES, FRAMES) + hiss(1, -40), hits(TIMES + late, FRAMES) + hiss(2, -40)
    check_aligned(studio, {"other": both(other), "drums": both(drums)}, late)


def test_a_first_onset_that_is_missing_does_not_matter(studio):
    drums, other = hits(TIMES, FRAMES) + hiss(1, -26), hits(TIMES[1:] + 3001, FRAMES) + hiss(2, -26)
    same = hits(TIMES + 3001, FRAMES)
    other = np.where(np.arange(FRAMES) < TIMES[1] + 2900, other, same + hiss(2, -26))
    check_aligned(studio, {"other": both(other), "drums": both(drums)}, 3001)


def test_a_little_bleed_is_enough(studio):
    drums = hits(TIMES, FRAMES) + hiss(5, -70)
    other = 0.3 * np.sin(2 * np.pi * 330 * np.arange(FRAMES) / RATE) + hiss(4, -60)
    other[2222:] += 0.03 * drums[:-2222]
    check_aligned(studio, {"other": both(other), "drums": both(drums)}, 2222)


@pytest.mark.parametrize("late", [30, 16_537, -4410])
def test_a_stem_that_is_moved_is_told_of_with_how_to_leave_it(studio, late):
    """An echo on a track of its own is the same sound somewhere else: whoever put it there must hear of it."""
    other = hits(TIMES + late, FRAMES) + hiss(2, -70)
    stems = {"drums": both(hits(TIMES, FRAMES) + hiss(1, -70)), "other": both(other)}
    mixed = studio.mix(stems, ALIGN)
    assert mixed.report["parameters"]["tracks"]["other"]["lag_ms"] != 0
    told = [text for text in mixed.result.warnings if "alignment" in text]
    if late == 30:
        assert told == [], "less than a millisecond"
    else:
        moved = f"other {round(abs(late) / RATE * 1000, 2):g} ms {'earlier' if late > 0 else 'later'}"
        assert [text.startswith(moved) for text in told] == [True]
        assert "against drums; `align: null`" in told[0]
    kept = studio.mix(stems, over(NULL, {"align": None}))
    assert difference(kept.frames, together(stems)) <= 1e-6


def test_what_a_move_cuts_off_is_told_with_it(studio):
    other = hits(TIMES + 4410, FRAMES) + hits([100], FRAMES, 7)
    stems = {"drums": both(hits(TIMES, FRAMES) + hiss(1, -70)), "other": both(other + hiss(2, -70))}
    (told,) = studio.mix(stems, ALIGN).result.warnings
    assert "other 100 ms earlier (what it has before that is cut off)" in told


def test_stems_that_share_nothing_are_not_moved_and_a_warning_says_so(studio):
    stems = {"drums": both(hits(TIMES, FRAMES)), "other": both(hiss(4, -20))}
    mixed = studio.mix(stems, ALIGN)
    assert difference(mixed.frames, together(stems)) <= 1e-6
    assert "other" in mixed.warnings and "alignment" in mixed.warnings
    assert mixed.report["alignment"]["found"]["other"]["sure"] is False


@pytest.mark.parametrize(("enabled", "moved"), [("auto", False), (True, True)])
def test_the_stems_of_one_separation_are_in_place(studio, enabled, moved):
    frames = {"drums": both(hits(TIMES, FRAMES)), "other": both(hits(TIMES + 441, FRAMES))}
    files = studio.write(frames)
    for role, path in files.items():
        files[role] = path.with_suffix(".flac")
        with soundfile.SoundFile(files[role], "w", RATE, 2, "PCM_24") as sound:
            sound.write(frames[role])
        mark(files[role], "01920000-0000-7000-8000-000000000001")
    mixed = studio.mix(files, over(NULL, {"align": {"enabled": enabled}}))
    assert mixed.report["parameters"]["tracks"]["other"]["lag_ms"] == (-10 if moved else 0)
    assert bool(mixed.warnings) is moved


def mark(path, job: str) -> None:
    """Write the tag that stemd's own stems have."""
    from stemd.engines.audio.encode import StemWriter
    from stemd.engines.audio.formats import choose

    frames, rate = soundfile.read(path, dtype="float32", always_2d=True)
    with StemWriter(path, choose(Output("flac", "24"), rate), frames.shape, {"STEMD_JOB_UUID": job}, None) as writer:
        writer.write(frames)
        writer.finish()


# ---- masking


def test_what_covers_the_vocals_gives_way_the_more_the_more_it_may(studio, stems):
    null = studio.mix(stems, NULL).frames
    sounding = (np.arange(len(null)) / RATE) % 2 < 1.4
    reports, inside, outside = [], [], []
    for most in (0, 2, 4, 8):
        mixed = studio.mix(stems, over(NULL, {"masking": {"max_db": most}}))
        rest = (mixed.frames - stems["vocals"])[sounding]
        power = np.square(np.abs(np.fft.rfft(rest.mean(axis=1))))
        hz = np.fft.rfftfreq(len(rest), 1 / RATE)
        inside.append(10 * np.log10(power[(hz > 300) & (hz < 4000)].sum()))
        outside.append(10 * np.log10(power[(hz < 180) | (hz > 7000)].sum()))
        reports.append(mixed.report["masking"])
        assert difference(mixed.frames, null) == 0 if most == 0 else difference(mixed.frames, null) > 1e-3
    after = [each["excess_after_db"] for each in reports[1:]]
    assert all(less > more for less, more in pairwise([reports[1]["excess_before_db"], *after]))
    assert all(less > more + 0.3 for less, more in pairwise(inside)), "as measured from outside"
    assert max(outside) - min(outside) < 0.05
    assert all(each["reductions"]["other"]["max_db"] <= most for each, most in zip(reports[1:], (2, 4, 8), strict=True))


# ---- parameters, plans, presets, references


def test_a_report_can_be_rendered_again_and_edited(studio, stems, usual):
    parameters = usual.report["parameters"]
    again = studio.mix(stems, over(FLOAT, {"parameters": parameters}))
    assert np.array_equal(again.frames, usual.frames)
    assert again.report["parameters"] == parameters
    (studio.folder / "report.json").write_text(json.dumps(usual.report))
    assert np.array_equal(studio.mix(stems, over(FLOAT, {"parameters": "report.json"})).frames, usual.frames)
    (studio.folder / "parameters.yaml").write_text(yaml.safe_dump(parameters))
    assert np.array_equal(studio.mix(stems, over(FLOAT, {"parameters": "parameters.yaml"})).frames, usual.frames)
    beside = studio.mix(stems, over(FLOAT, {"parameters": parameters, "preset": "loud", "masking": {"max_db": 9}}))
    assert np.array_equal(beside.frames, usual.frames)
    assert "without effect: masking, preset" in beside.warnings
    edited = over(parameters, {"tracks": {"other": {"gain_db": -40.0}}})
    other = studio.mix(stems, over(FLOAT, {"parameters": edited}))
    assert difference(other.frames, usual.frames) > 0.01
    assert other.report["parameters"]["tracks"]["other"]["gain_db"] == -40


def test_a_plan_renders_nothing_and_says_what_a_mix_would_do(studio, stems, usual):
    seen = []
    planned = studio.mix(stems, {"plan_only": True}, report=seen.append)
    parameters = planned.report["parameters"]
    assert [path.name for path in planned.folder.iterdir()] == ["report.json"] == list(planned.result.documents)
    assert planned.result.files == ()
    assert {each.stage for each in seen} == {"loading_stems", "aligning_stems", "exporting"}
    assert np.array_equal(studio.mix(stems, over(FLOAT, {"parameters": parameters})).frames, usual.frames)


def test_presets_differ(studio, stems, usual):
    made = {name: studio.mix(stems, {"preset": name, **FLOAT}).frames for name in PRESETS if name != "streaming"}
    made["streaming"] = usual.frames
    assert set(made) == {"streaming", "loud", "broadcast", "podcast", "transparent"}
    for left, right in combinations(made, 2):
        levelled = (made[each] / np.sqrt(np.square(made[each]).mean()) for each in (left, right))
        assert difference(*levelled) > 0.05, f"{left} and {right} differ in more than their level"


@pytest.mark.parametrize("name", ["ours.yaml", "ours.json"])
def test_a_preset_of_ones_own(studio, stems, name):
    own = {"preset": "broadcast", "master": {"loudness": {"target_lufs": -18.0}}}
    (studio.folder / name).write_text(json.dumps(own) if name.endswith("json") else yaml.safe_dump(own))
    mixed = studio.mix(stems, {"preset": name, **FLOAT})
    assert mixed.lufs == pytest.approx(-18, abs=0.2)
    assert mixed.report["preset"] == name
    louder = studio.mix(stems, {"preset": name, "master": {"loudness": {"target_lufs": -15.0}}, **FLOAT})
    assert louder.lufs == pytest.approx(-15, abs=0.2), "what the job says is over what the file says"


def test_a_reference_draws_spectrum_and_loudness_towards_it(studio, stems):
    usual = over(FLOAT, {"tonal_balance": False})
    without = studio.mix(stems, usual)
    spectrum = np.fft.rfft(without.frames, axis=0)
    tilt_db = np.clip(3 * np.log2(np.arange(1, len(spectrum) + 1) / 3 / 700), -6, 6)[:, None]
    tilted = 0.2 * np.fft.irfft(spectrum * 10 ** (tilt_db / 20), axis=0)
    soundfile.write(studio.folder / "bright.wav", tilted, RATE, subtype="FLOAT")
    wanted = octaves(tilted, RATE)
    away, loudness = [np.abs(octaves(without.frames, RATE) - wanted).mean()], [without.lufs]
    for strength in (0.5, 1):
        mixed = studio.mix(stems, over(usual, {"reference": {"file": "bright.wav", "strength": strength}}))
        away.append(np.abs(octaves(mixed.frames, RATE) - wanted).mean())
        loudness.append(mixed.lufs)
    assert away[0] > away[1] + 1 > away[2] + 1.5, away
    reference = lufs(tilted)
    assert loudness[1] == pytest.approx((loudness[0] + reference) / 2, abs=0.2)
    assert loudness[2] == pytest.approx(reference, abs=0.2)


# ---- files, rates


def test_processed_stems_are_what_the_mix_is_the_sum_of(studio, stems):
    options = over(EVERYTHING, FLOAT, {"masking": False, "master": False, "export": {"processed_stems": True}})
    mixed = studio.mix(stems, options)
    assert [file.name for file in mixed.result.files] == ["final_mix.wav", *(f"{role}.wav" for role in stems)]
    parts = {role: mixed.read(f"{role}.wav") for role in stems}
    assert difference(mixed.frames, together(parts)) <= 1e-6
    assert difference(parts["vocals"], stems["vocals"]) > 0.01
    assert sorted(path.name for path in mixed.folder.iterdir()) == sorted(
        [*(file.name for file in mixed.result.files), "report.json", "peaks.json", "waveform.png"]
    )


def test_several_formats_of_one_codec(studio, stems):
    formats = [{"codec": "wav", "bits": 16}, {"codec": "wav", "bits": 32}, {"codec": "wav", "bits": 24}]
    mixed = studio.mix(stems, over({"preset": "streaming"}, {"export": {"formats": formats}}))
    names = ["final_mix.wav", "final_mix_32.wav", "final_mix_24.wav"]
    assert [file.name for file in mixed.result.files] == names
    subtypes = [soundfile.info(mixed.folder / name).subtype for name in names]
    assert subtypes == ["PCM_16", "FLOAT", "PCM_24"]
    assert difference(mixed.read(names[0]), mixed.read(names[1])) <= 2**-14
    assert difference(mixed.read(names[2]), mixed.read(names[1])) <= 2**-22


RATES = {"low": 8000, "half": 22_050, "usual": 44_100, "video": 48_000, "high": 96_000}


@pytest.mark.parametrize(("asked", "rate"), [("source", 96_000), (48_000, 48_000), (44_100, 44_100)])
def test_stems_of_different_rates_come_together_to_the_frame(studio, asked, rate):
    seconds, files, hz = 1.5, {}, {}
    for number, (role, own) in enumerate(RATES.items()):
        frames = round(seconds * own) + number * 7
        hz[role] = 300.0 + 170 * number
        tone = 0.1 * np.sin(2 * np.pi * hz[role] * np.arange(frames) / own)
        files |= studio.write({role: both(tone)}, own)
    mixed = studio.mix(files, over(NULL, {"sample_rate": asked}))
    assert mixed.result.source.sample_rate == mixed.result.files[0].sample_rate == rate
    lengths = [-(-(round(seconds * own) + number * 7) * rate // own) for number, own in enumerate(RATES.values())]
    assert mixed.result.files[0].frames == max(lengths)
    t = np.arange(round(seconds * rate)) / rate
    wanted = sum(0.1 * np.sin(2 * np.pi * each * t) for each in hz.values())
    inner = slice(rate // 10, -rate // 10)
    assert difference(mixed.frames[: len(t), 0][inner], wanted[inner]) < 1e-4


# ---- each stage by itself

ALONE = {
    "auto_gain": {},
    "track": {"vocals": {"comp": {}}},
    "tonal_balance": {},
    "micro_dynamics": True,
    "spatial": {"width": {"other": 1.5}},
    "masking": {},
    "master": {"loudness": {"target_lufs": -18.0}},
}


@pytest.mark.parametrize("stage", ALONE)
def test_each_stage_alone_does_something(studio, stems, stage):
    mixed = studio.mix(stems, over(NULL, {stage: ALONE[stage]}))
    assert difference(mixed.frames, together(stems)) > 1e-3
    assert effects(mixed) == {stage}


@pytest.mark.parametrize("stage", ALONE)
def test_each_stage_can_be_switched_off_alone(studio, stems, stage):
    everything = over(EVERYTHING, {"track": {"bass": {"pan": 0}, "other": {"pan": 0}}})
    off = dict.fromkeys(stems, False) if stage == "track" else False
    planned = studio.mix(stems, over(everything, {stage: off, "plan_only": True}))
    assert effects(planned) == set(ALONE) - {stage}


def effects(mixed: Mixed) -> set[str]:
    """The stages that left something in the parameters."""
    parameters = mixed.report["parameters"]
    tracks = parameters["tracks"].values()
    own = ("eq", "comp", "saturation", "deess", "air")
    marks = {
        "auto_gain": any(track["auto_gain_db"] for track in tracks),
        "track": any(name in track for track in tracks for name in own) or any(track["gain_db"] for track in tracks),
        "tonal_balance": any("tonal" in track for track in tracks),
        "micro_dynamics": any("transients" in track for track in tracks),
        "spatial": any("spatial" in track for track in tracks),
        "masking": "masking" in parameters,
        "master": parameters["master"] != {"width": 1.0},
    }
    return {name for name, mark in marks.items() if mark}
