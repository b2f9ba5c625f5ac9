"""From figures to parameters."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from stemd.core.errors import StemdError
from stemd.core.stem_roles import FAMILIES
from stemd.engines.mix import presets
from stemd.engines.mix.analysis import Analysis
from stemd.engines.mix.curves import curve
from stemd.engines.mix.meter import Measured
from stemd.engines.mix.parameters import Filter, Parameters, Track
from stemd.engines.mix.plan import check_roles, plan, trimmed
from stemd.engines.mix.settings import Settings, parse
from stemd.engines.mix.spectrum import third_octaves

RATE = 48_000
CENTRES = third_octaves(RATE)


def stem(lufs=-20.0, crest=15.0, correlation=0.5, bands=None) -> Analysis:
    measured = Measured(60.0, lufs, 6.0, -15.0, -16.0, -3.0, -2.9, crest, correlation)
    found = curve("pop", CENTRES) - 30 if bands is None else bands
    return Analysis(measured, tuple(float(each) for each in found))


SILENT = Analysis(Measured(60.0, None, None, None, None, None, None, None, None), None)


def settings(**options) -> Settings:
    return parse(options, presets.PRESETS["transparent"])


def tracks(options: Settings, **stems) -> dict[str, Track]:
    return plan(options, stems, {}, RATE).parameters.tracks


def test_transparent_is_nothing_at_all():
    found = plan(settings(), {"vocals": stem(), "drums": stem()}, {}, RATE)
    assert found.parameters == Parameters({"vocals": Track(trim_db=0.0), "drums": Track(trim_db=0.0)})
    assert found.warnings == ()


def test_a_family_keeps_its_balance_and_reaches_its_target_together():
    gain = {"targets_lufs": {"drums": -20.0}}
    found = tracks(settings(auto_gain=gain), kick=stem(-18.0), hats=stem(-30.0))
    assert found["kick"].auto_gain_db == found["hats"].auto_gain_db
    together = 10 * np.log10(10 ** (-18 / 10) + 10 ** (-30 / 10))
    assert together + found["kick"].auto_gain_db == pytest.approx(-20.0, abs=0.01)


def test_a_role_may_have_a_target_of_its_own():
    gain = {"targets_lufs": {"drums": -20.0, "hats": -25.0}}
    found = tracks(settings(auto_gain=gain), kick=stem(-18.0), hats=stem(-30.0))
    assert (found["kick"].auto_gain_db, found["hats"].auto_gain_db) == (-2.0, 5.0)


@pytest.mark.parametrize("role", [family for family in FAMILIES if family != "vocals"])
def test_a_podcast_has_all_music_14_db_below_the_voice(role):
    options = parse({}, presets.PRESETS["podcast"])
    for bed in (-40.0, -12.0, -6.0):
        found = tracks(options, vocals=stem(-35.0), **{role: stem(bed)})
        assert (-35 + found["vocals"].auto_gain_db) - (bed + found[role].auto_gain_db) == pytest.approx(14)


def test_a_podcast_does_not_bring_out_what_is_hardly_there():
    found = plan(parse({}, presets.PRESETS["podcast"]), {"vocals": stem(-18.0), "drums": stem(-58.0)}, {}, RATE)
    assert found.parameters.tracks["drums"].auto_gain_db == 18.0
    assert any("drums: +18.0 dB" in text and "auto_gain.max_boost_db" in text for text in found.warnings)


def test_gains_have_a_limit_and_silence_gets_none():
    limited = settings(auto_gain={"targets_lufs": {"bass": -10, "drums": -23}, "max_db": 6})
    found = plan(limited, {"bass": stem(-40.0), "pad": SILENT, "kick": stem(-10), "hats": stem(-30)}, {}, RATE)
    gains = {role: track.auto_gain_db for role, track in found.parameters.tracks.items()}
    assert gains == {"bass": 6.0, "pad": 0.0, "kick": -6.0, "hats": -6.0}
    told = [text for text in found.warnings if "max_db" in text]
    assert [text.partition(" of gain")[0] for text in told] == ["bass: +6.0 dB", "kick, hats: -6.0 dB"]
    assert "+30.0 dB" in told[0]
    enough = replace(limited, auto_gain=replace(limited.auto_gain, max_db=30))
    assert not [text for text in plan(enough, {"bass": stem(-40.0)}, {}, RATE).warnings if "max_db" in text]


@pytest.mark.parametrize(
    ("amount", "crest", "expected"), [(1.0, 10.0, 6.0), (1.0, 20.0, None), (-1.0, 18.0, -6.0), (-1.0, 8.0, None)]
)
def test_onsets_are_raised_where_they_are_flat_and_tamed_where_they_are_not(amount, crest, expected):
    found = tracks(settings(micro_dynamics={"amount": amount}), drums=stem(crest=crest))["drums"].transients
    assert (found.attack_db if found else None) == expected


def test_width_needs_two_channels_and_is_not_given_to_what_is_out_of_phase():
    wide = settings(spatial={"mono_below_hz": 100, "width": {"other": 1.5}})
    found = plan(wide, {"a": stem(), "b": stem(correlation=1.0), "c": stem(correlation=-0.5)}, {}, RATE)
    widths = {role: track.spatial and track.spatial.width for role, track in found.parameters.tracks.items()}
    assert widths == {"a": 1.5, "b": None, "c": 1.0}
    assert any("out of phase" in text for text in found.warnings)


def test_a_blend_on_the_curve_is_left_alone_whatever_it_lacks():
    balanced = settings(tonal_balance={"curve": "pop", "max_db": 3})
    whole = curve("pop", CENTRES) - 30
    dull = np.where(CENTRES > 4000, -150.0, whole)
    assert tracks(balanced, a=stem(bands=whole))["a"].tonal == ()
    assert tracks(balanced, a=stem(bands=dull))["a"].tonal == ()


def test_what_stands_out_is_lowered_where_it_comes_from():
    whole = curve("pop", CENTRES) - 30
    boomy = np.where((CENTRES > 99) & (CENTRES < 160), whole + 12, whole)
    quiet = whole - 20
    found = tracks(settings(tonal_balance={"curve": "pop", "max_db": 3}), bass=stem(bands=boomy), pad=stem(bands=quiet))
    assert [(each.hz, each.db) for each in found["bass"].tonal if each.db < 0] == [(125.0, -3.0)]
    assert found["pad"].tonal == ()


def test_a_reference_s_spectrum_and_loudness_count_by_its_strength():
    whole = curve("pop", CENTRES) - 30
    bright = stem(-10.0, bands=np.where(CENTRES > 3000, whole + 6, whole))
    options = settings(
        reference={"file": "r.wav", "strength": 0.5}, master={"loudness": {"target_lufs": -14}, "limiter": True}
    )
    found = plan(options, {"a": stem()}, {}, RATE, bright).parameters
    assert found.master.loudness.target_lufs == -12.0
    assert any(each.hz >= 4000 and 1 < each.db < 4 for each in found.tracks["a"].tonal)
    ignored = plan(options, {"a": stem()}, {}, RATE, SILENT)
    assert ignored.parameters.master.loudness.target_lufs == -14.0
    assert any("reference" in text for text in ignored.warnings)
    short = replace(bright, measured=replace(bright.measured, integrated_lufs=None))
    assert plan(options, {"a": stem()}, {}, RATE, short) == ignored, "so short a one has a spectrum, but no loudness"
    loud = replace(bright, measured=replace(bright.measured, integrated_lufs=3.0))
    full = parse({"reference": {"file": "r.wav", "strength": 1.0}, "master": {"loudness": True}}, {})
    assert plan(full, {"a": stem()}, {}, RATE, loud).parameters.master.loudness.target_lufs == -3.0


def test_lags_are_times():
    found = plan(settings(), {"a": stem(), "b": stem()}, {"b": -441}, 44_100).parameters.tracks
    assert found["b"].lag_ms == -10.0
    assert [found["b"].lag(rate) for rate in (44_100, 48_000, 96_000)] == [-441, -480, -960]
    assert all(Track(lag_ms=round(1000 * lag / 44_100, 6)).lag(44_100) == lag for lag in range(0, 500_000, 997))


def test_masking_is_between_those_that_are_there():
    masked = settings(masking={"max_db": 4, "range_hz": [5000, 250]})
    found = plan(masked, {"lead vox": stem(), "pad": stem(), "bass": stem()}, {}, RATE).parameters.masking
    assert (found.protect, found.duck, found.low_hz, found.high_hz) == (("lead vox",), ("pad",), 250, 5000)
    assert plan(masked, {"bass": stem()}, {}, RATE).parameters.masking is None


def test_a_trim_gives_back_what_the_effects_took():
    given = Parameters({"a": Track(auto_gain_db=3, gain_db=1), "b": Track(trim_db=-2.5), "c": Track()})
    found = trimmed(given, {"a": -20.0, "b": -20.0, "c": None}, {"a": -18.5, "b": -10.0, "c": None})
    assert [found.parameters.tracks[role].trim_db for role in "abc"] == [2.5, -2.5, 0.0]
    assert found.warnings == ()


def test_a_trim_that_was_given_is_taken_as_it_is():
    given = {"a": Track(trim_db=-20.0), "b": Track(trim_db=24.0), "c": Track(trim_db=1.234)}
    found = trimmed(Parameters(given), dict.fromkeys("abc", -20.0), dict.fromkeys("abc", -50.0))
    assert (found.parameters.tracks, found.warnings) == (given, ())


def test_a_trim_that_is_found_has_a_limit_and_a_warning_says_where_it_bites():
    given = Parameters({"a": Track(), "b": Track(), "c": Track()})
    found = trimmed(given, dict.fromkeys("abc", -20.0), {"a": -50.0, "b": 10.5, "c": -43.9})
    assert [found.parameters.tracks[role].trim_db for role in "abc"] == [24.0, -24.0, 23.9]
    assert [text.partition(":")[0] for text in found.warnings] == ["a", "b"]
    assert "+24 dB instead of +30.0 dB" in found.warnings[0]


def test_roles_that_are_not_there_are_named():
    with pytest.raises(StemdError) as caught:
        check_roles(settings(align={"anchor": "drumz"}, track={"lead": {"pan": 1}, "bass": {}}), ["drums", "vocals"])
    assert "align.anchor" in caught.value.message
    assert "'drums'" in caught.value.message
    assert "'lead'" in caught.value.message
    assert "bass" not in caught.value.message.replace("its stems are", "")
    check_roles(settings(align={"anchor": "drums"}), ["kick"])


def test_true_keeps_what_a_preset_says_and_a_role_what_its_family_has():
    streaming = presets.PRESETS["streaming"]
    assert parse({"master": True, "auto_gain": True}, streaming) == parse({}, streaming)
    lead = parse({"track": {"lead_vocal": {"gain_db": 1.5}}}, streaming).of_track("lead_vocal")
    assert lead.gain_db == 1.5
    assert lead.comp == parse({}, streaming).of_track("vocals").comp
    assert parse({"auto_gain": False, "masking": None, "align": {"enabled": False}}, streaming).auto_gain is None


@pytest.mark.parametrize("off", [None, False, {"enabled": False}])
@pytest.mark.parametrize("again", [{"max_db": 6}, {"enabled": True, "max_db": 6}])
def test_what_a_preset_s_file_switches_off_is_on_where_the_job_sets_it(tmp_path, off, again):
    own = {"preset": "streaming", "masking": off, "master": {"limiter": off}, "align": off, "track": {"vocals": off}}
    (tmp_path / "own.json").write_text(json.dumps(own))
    preset = presets.load("own.json", lambda name: tmp_path / name)
    asleep = parse({}, preset)
    assert (asleep.masking, asleep.master.limiter, asleep.align, asleep.of_track("vocals").comp) == (None,) * 4
    job = {"masking": again, "master": {"limiter": {"ceiling_dbtp": -2}}, "track": {"lead_vocal": {"gain_db": 1.5}}}
    awake = parse(job, preset)
    assert awake.masking.max_db == 6
    assert awake.master.limiter.ceiling_dbtp == -2
    assert awake.align is None
    assert awake.of_track("lead_vocal").gain_db == 1.5
    assert parse({"masking": True}, preset).masking is not None


@pytest.mark.parametrize("off", [None, False, {"enabled": False}])
def test_the_effects_of_all_stems_have_a_switch_as_every_stage(off):
    streaming = presets.PRESETS["streaming"]
    assert parse({"track": off}, streaming).track == {}
    assert parse({"track": True}, streaming) == parse({"track": {"enabled": True}}, streaming) == parse({}, streaming)
    own = parse({"track": {"enabled": True, "bass": {"gain_db": 1}}}, streaming).track
    assert set(own) == {"vocals", "bass"}
    assert parse({"track": {"enabled": {"gain_db": 1}}}, {}).track["enabled"].gain_db == 1, "a stem may be called that"


def test_parameters_of_a_report_come_back_as_they_were():
    from stemd.engines.mix.reading import plain, read

    options = parse({}, presets.PRESETS["streaming"])
    found = plan(options, {"vocals": stem(), "drums": stem(crest=9), "pad": stem(-30.0)}, {"pad": 12}, RATE).parameters
    assert read(Parameters, plain(found), "options.parameters") == found
    assert found.tracks["vocals"].air == Filter("high_shelf", 11_000, 2)
