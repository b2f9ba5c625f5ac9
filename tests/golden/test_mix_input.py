"""A mix of anything: a valid result, or an error of the table that names the culprit; never a library's warning."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
import soundfile

from stemd.core.errors import StemdError
from stemd.core.job import Output
from tests.golden.mixes import EVERYTHING, FLOAT, NULL, RATE, Mixed, Stems, Studio, difference, over, song, together

pytestmark = [pytest.mark.golden, pytest.mark.filterwarnings("error")]

SHORT = song(1.0)
ALL = over(EVERYTHING, {"export": {"processed_stems": True, "formats": [{"codec": "flac"}, {"codec": "ogg"}]}})
"""Every stage, and more files."""


@pytest.fixture
def studio(tmp_path) -> Studio:
    return Studio(tmp_path)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return Studio(tmp_path_factory.mktemp("stems")).write(SHORT)


def check_whole(mixed: Mixed) -> None:
    """Everything that was promised is there, finite and as long as it says."""
    for file in mixed.result.files:
        frames = mixed.read(file.name)
        assert frames.shape == (file.frames, 2)
        assert np.isfinite(frames).all()
    assert {path.name for path in mixed.folder.iterdir()} == {
        *(file.name for file in mixed.result.files),
        *mixed.result.documents,
    }
    json.loads((mixed.folder / "peaks.json").read_text(), parse_constant=pytest.fail)
    json.dumps(mixed.report, allow_nan=False)


# ---- odd recordings

SILENT = np.zeros((RATE, 2), np.float32)
ODD: dict[str, Stems] = {
    "mono": {role: frames[:, 0] for role, frames in SHORT.items()},
    "one stem": {"vocals": SHORT["vocals"]},
    "one silent": {**SHORT, "vocals": SILENT},
    "drums silent": {**SHORT, "drums": SILENT},
    "all silent": dict.fromkeys(SHORT, SILENT),
    "one frame each": {role: frames[:1] for role, frames in SHORT.items()},
    "one frame among others": {**SHORT, "vocals": SHORT["vocals"][:1]},
    "64 frames": {role: frames[:64] for role, frames in SHORT.items()},
    "half a second": {role: frames[: RATE // 2] for role, frames in SHORT.items()},
    "all the same": dict.fromkeys(SHORT, SHORT["drums"]),
    "opposite channels": {role: frames * np.float32([1, -1]) for role, frames in SHORT.items()},
    "each the other's opposite": {"vocals": SHORT["drums"], "other": -SHORT["drums"]},
    "one channel only": {role: frames * np.float32([1, 0]) for role, frames in SHORT.items()},
    "constant": {"vocals": np.full((RATE, 2), 0.5, np.float32), "other": np.full((RATE, 2), -0.25, np.float32)},
    "far above full scale": {role: frames * np.float32(1000) for role, frames in SHORT.items()},
    "next to nothing": {role: frames * np.float32(1e-30) for role, frames in SHORT.items()},
    "eight": {f"{role}_{n}": frames for role, frames in SHORT.items() for n in range(2)},
}


@pytest.mark.parametrize("stems", ODD.values(), ids=ODD.keys())
def test_odd_recordings_give_a_whole_mix(studio, stems):
    named = {role: settings for role, settings in ALL["track"].items() if role in stems}
    mixed = studio.mix(stems, {**ALL, "track": named})
    check_whole(mixed)
    assert mixed.result.source.frames == max(map(len, stems.values()))


@pytest.mark.parametrize("kind", ["mono", "one frame among others", "far above full scale", "next to nothing"])
def test_odd_recordings_add_up(studio, kind):
    stems = ODD[kind]
    total = together(stems)
    mixed = studio.mix(stems, NULL)
    assert difference(mixed.frames, total) <= 1e-6 * max(1, np.abs(total).max())


def test_silence_stays_silence(studio):
    mixed = studio.mix(ODD["all silent"], over(ALL, FLOAT))
    for file in mixed.result.files:
        assert not mixed.read(file.name).any(), file.name
        assert file.lufs is None
    assert "silent" in mixed.warnings


def test_what_is_no_number_is_taken_as_nothing(studio):
    broken = SHORT["vocals"].copy()
    broken[100:120, 0] = np.nan
    broken[200:230] = np.inf
    broken[300, 1] = -np.inf
    mixed = studio.mix({**SHORT, "vocals": broken}, NULL)
    mended = np.where(np.isfinite(broken), broken, 0)
    assert difference(mixed.frames, together({**SHORT, "vocals": mended})) <= 1e-6
    assert "vocals: samples that are no finite numbers" in mixed.warnings


@pytest.mark.parametrize("value", [9e9, 1e19, 1e25, -3e38])
def test_one_absurd_sample_ends_no_mix(studio, value):
    broken = SHORT["vocals"].copy()
    broken[1000] = value
    check_whole(studio.mix({**SHORT, "vocals": broken}, over(ALL, {"track": {"vocals": {"gain_db": 40}}})))
    mixed = studio.mix({**SHORT, "vocals": broken}, NULL)
    assert ("vocals: samples that are no finite numbers" in mixed.warnings) is (abs(value) > 1e10)
    if abs(value) > 1e10:
        broken[1000] = 0
        assert difference(mixed.frames, together({**SHORT, "vocals": broken})) <= 1e-6


def test_whole_numbers_written_as_floats_by_mistake_are_mixed(studio):
    stems = {role: frames * np.float32(2**31) for role, frames in SHORT.items()}
    mixed = studio.mix(stems, ALL)
    check_whole(mixed)
    assert "finite" not in mixed.warnings
    assert mixed.read("final_mix.flac").any()


def test_twenty_stems(studio):
    rng = np.random.default_rng(0)
    stems = {f"part {number:02}": (0.02 * rng.standard_normal((RATE, 2))).astype(np.float32) for number in range(20)}
    mixed = studio.mix(stems, over(NULL, {"align": True, "masking": True}))
    check_whole(mixed)
    assert difference(mixed.frames, together(stems)) <= 1e-5, "there is nothing to do to them"


def test_names_in_any_script(studio):
    names = ("ドラム", "бас-2", "Waveform lead", "Gesang (ü)")
    stems = dict(zip(names, SHORT.values(), strict=True))
    options = over(ALL, {"track": None, "masking": {"protect": ["Gesang (ü)"]}, "align": {"anchor": "ドラム"}})
    mixed = studio.mix(stems, {**options, "track": {"бас-2": {"gain_db": -3}}})
    check_whole(mixed)
    assert {file.name for file in mixed.result.files} >= {f"{role}.flac" for role in stems}
    assert set(mixed.report["tracks"]) == set(stems)


# ---- files that are none


@pytest.mark.parametrize("spoil", ["missing", "empty", "no frames", "text", "cut short", "folder"])
def test_a_file_that_cannot_be_mixed_is_named(studio, spoil):
    files = studio.write(SHORT)
    bad = files["bass"] = files["bass"].with_name("bäd.wav")
    match spoil:
        case "empty":
            bad.touch()
        case "no frames":
            soundfile.write(bad, np.zeros((0, 2)), RATE)
        case "text":
            bad.write_text("this is not music\n" * 50)
        case "cut short":
            soundfile.write(bad, SHORT["bass"], RATE, format="FLAC")
            bad.write_bytes(bad.read_bytes()[:9000])
        case "folder":
            bad.mkdir()
    with pytest.raises(StemdError, match="bäd") as caught:
        studio.mix(files, {})
    assert caught.value.code[:7] in ("STEMD-A", "STEMD-S")
    assert caught.value.code != "STEMD-S999"


# ---- settings that are none

CYCLE: dict[str, Any] = {}
CYCLE["master"] = CYCLE
FAULTS: dict[str, tuple[Any, str]] = {
    "unknown stage": ({"reverb": {}}, "options has no 'reverb'"),
    "unknown key": ({"align": {"ankor": "drums"}}, "options.align has no 'ankor'; did you mean 'anchor'"),
    "unknown key of a track": ({"track": {"vocals": {"komp": {}}}}, "options.track.vocals has no 'komp'"),
    "unknown key of an effect": ({"track": {"vocals": {"comp": {"rate": 2}}}}, "options.track.vocals.comp has no"),
    "unknown key of a band": ({"master": {"eq": [{"freq": 1}]}}, r"options.master.eq\[0\] has no 'freq'"),
    "unknown key of a format": ({"export": {"formats": [{"codec": "wav", "rate": 1}]}}, r"formats\[0\] has no 'rate'"),
    "a number key": ({5: 1}, "options has no 5"),
    "below": ({"masking": {"max_db": -1}}, "options.masking.max_db is -1; it must be a number from 0 to 24"),
    "above": ({"master": {"loudness": {"target_lufs": 3}}}, "options.master.loudness.target_lufs is 3"),
    "no number": ({"master": {"width": "wide"}}, "options.master.width is 'wide'"),
    "not a number": ({"master": {"width": float("nan")}}, "options.master.width is nan"),
    "infinite": ({"master": {"width": float("inf")}}, "options.master.width is inf"),
    "beyond any float": ({"master": {"width": 10**400}}, "options.master.width is 1000"),
    "true for a number": ({"masking": {"max_db": True}}, "options.masking.max_db is True"),
    "a list for a mapping": ({"align": ["drums"]}, "options.align is"),
    "a mapping for a list": ({"master": {"eq": {"hz": 1}}}, "options.master.eq is"),
    "null for a list": ({"master": {"eq": None}}, "options.master.eq is None"),
    "text for a stage": ({"spatial": "wide"}, "options.spatial is 'wide'"),
    "one of a pair": ({"masking": {"range_hz": [100]}}, "options.masking.range_hz is"),
    "no such choice": ({"tonal_balance": {"curve": "metal"}}, "options.tonal_balance.curve is 'metal'"),
    "a list for a choice": ({"tonal_balance": {"curve": ["pop"]}}, "options.tonal_balance.curve is"),
    "no switch": ({"masking": {"enabled": "no"}}, "options.masking.enabled is 'no'"),
    "cannot be off": ({"export": {"enabled": False}}, "options.export.enabled is False"),
    "no such preset": ({"preset": "streming"}, "options.preset is 'streming'; did you mean 'streaming'"),
    "a list for a preset": ({"preset": ["loud"]}, "options.preset is"),
    "a number for a preset": ({"preset": 1.5}, "options.preset is 1.5"),
    "a rate there is not": ({"sample_rate": 11}, "options.sample_rate is 11"),
    "a word for a rate": ({"sample_rate": "high"}, "options.sample_rate is 'high'"),
    "a fraction for a rate": (
        {"sample_rate": 44_100.0},
        "options.sample_rate is 44100.0; it must be source or a number",
    ),
    "null for a rate": ({"sample_rate": None}, "options.sample_rate is None; it must be source or a number of Hz"),
    "true for a rate": ({"sample_rate": True}, "options.sample_rate is True; it must be source or a number of Hz"),
    "a list for all tracks": ({"track": ["vocals"]}, "options.track is"),
    "no such codec": ({"export": {"formats": [{"codec": "aiff"}]}}, r"options.export.formats\[0\].codec is 'aiff'"),
    "bits a codec has not": ({"export": {"formats": [{"codec": "flac", "bits": 32}]}}, "flac does not hold bit_depth"),
    "the same file twice": ({"export": {"formats": [{"codec": "mp3"}, {"codec": "mp3"}]}}, "the same mp3 twice"),
    "a stem that is not there": ({"track": {"vocal": {}}}, "options.track: the mix has no stem 'vocal'"),
    "an anchor that is not there": ({"align": {"anchor": "kick"}}, "options.align.anchor: the mix has no stem 'kick'"),
    "a width for nobody": ({"spatial": {"width": {"pads": 1}}}, "options.spatial.width: the mix has no stem 'pads'"),
    "protecting nobody": ({"masking": {"protect": ["lead"]}}, "options.masking: the mix has no stem 'lead'"),
    "parameters for nobody": ({"parameters": {"tracks": {"lead": {}}}}, "options.parameters.tracks: .* 'lead'"),
    "protecting nobody by parameters": (
        {"parameters": {"masking": {"protect": ["vocal"], "duck": ["other"]}}},
        "options.parameters.masking: the mix has no stem 'vocal'; did you mean 'vocals'",
    ),
    "parameters that duck a family": (
        {"parameters": {"masking": {"duck": ["guitar"]}}},
        "masking: .* 'guitar'; its st",
    ),
    "a list for parameters": ({"parameters": []}, "options.parameters is"),
    "unknown parameters": (
        {"parameters": {"tracks": {"bass": {"reverb": 1}}}},
        "parameters.tracks.bass has no 'reverb'",
    ),
    "a lag of years": ({"parameters": {"tracks": {"bass": {"lag_ms": 10**9}}}}, "tracks.bass.lag_ms is 1000000000"),
    "a cycle": (CYCLE, "options.master has no 'master'"),
    "a crowd": ({f"key{number}": number for number in range(20_000)}, "options has no 'key0'"),
    "depth": ({"master": json.loads('{"a":' * 500 + "1" + "}" * 500)}, "options.master has no 'a'"),
}


@pytest.mark.parametrize(("options", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_settings_that_make_no_sense_are_named(studio, files, options, message):
    with pytest.raises(StemdError, match=message) as caught:
        studio.mix(files, options)
    assert caught.value.code in ("STEMD-E004", "STEMD-A006")


def test_a_stem_that_the_parameters_do_not_know_is_told_of(studio, files):
    given = {"tracks": {role: {} for role in files if role != "bass"}}
    mixed = studio.mix(files, {"parameters": given, "plan_only": True})
    assert mixed.warnings == "without options.parameters of its own, so mixed unchanged: bass"


def test_every_fault_is_told_at_once(studio, files):
    with pytest.raises(StemdError) as caught:
        studio.mix(files, {"reverb": 1, "masking": {"max_db": 99}, "master": {"eq": [{"q": 0}]}})
    for place in ("'reverb'", "options.masking.max_db", "options.master.eq[0].q"):
        assert place in caught.value.message


FILES: dict[str, tuple[bytes, str]] = {
    "mess.yaml": (b"a: [1\n", "mess.yaml"),
    "list.yaml": (b"- loud\n", "list.yaml must be a mapping"),
    "binary.json": (bytes(range(256)), "binary.json"),
    "nested.yaml": (b"preset: nested.yaml\n", "nested.yaml: preset is 'nested.yaml'"),
    "odd.yaml": (b"preset: [loud]\n", "odd.yaml: preset is"),
    "bomb.yaml": (b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b]\n"
                  b"d: &d [*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d]\n", "bomb.yaml"),
    "huge.yaml": (b"#" * (5 << 20), "huge.yaml"),
    "wrong.yaml": (b"masking: {max_db: 99}\n", "options.masking.max_db is 99"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_preset_file_that_makes_no_sense_is_named(studio, files, name):
    content, message = FILES[name]
    (studio.folder / name).write_bytes(content)
    with pytest.raises(StemdError, match=re.escape(message)) as caught:
        studio.mix(files, {"preset": name})
    assert caught.value.code == "STEMD-E004"


@pytest.mark.parametrize(
    "options", [{"preset": "no.yaml"}, {"reference": {"file": "no.wav"}}, {"parameters": "no.json"}]
)
def test_a_file_that_is_not_there_is_named(studio, files, options):
    with pytest.raises(StemdError, match="no\\."):
        studio.mix(files, options)


def test_a_reference_that_is_no_recording_is_named(studio, files):
    (studio.folder / "ref.wav").write_text("no music")
    with pytest.raises(StemdError, match=r"ref\.wav"):
        studio.mix(files, {"reference": {"file": "ref.wav"}})


def test_a_reference_that_would_be_mixed_is_refused(studio):
    files = studio.write(SHORT)
    reference = {"file": str(files["bass"].relative_to(studio.folder))}
    with pytest.raises(StemdError, match=r"bass\.wav.* as the stem 'bass'") as caught:
        studio.mix(files, {"reference": reference})
    assert "inputs" in caught.value.remedy


@pytest.mark.parametrize(
    "role", ["final_mix", "final_mix_16", "Report", "waveform", "peaks", "master", "pre_master", "BASS"]
)
def test_no_stem_is_called_like_a_result(studio, files, role):
    with pytest.raises(StemdError, match=role):
        studio.mix({**files, role: files["bass"]}, {})


def test_no_mix_is_a_file_of_several_tracks(studio, files):
    with pytest.raises(StemdError, match=r"stem\.mp4") as caught:
        studio.mix(files, {}, output=Output("stem.mp4", "16"))
    assert caught.value.code == "STEMD-A006"
