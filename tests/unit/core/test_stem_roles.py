"""Roles from names."""

import pytest

from stemd.core.stem_roles import by_role, family


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vocals", "vocals"), ("Lead Vox", "vocals"), ("bgvox_main", "vocals"), ("voc2", "vocals"), ("BGV L", "vocals"),
        ("Heartbeat - bass", "bass"), ("sub", "bass"), ("Bass Guitar", "bass"), ("bass_gtr_di", "bass"),
        ("01 Kick In", "drums"), ("bass drum", "drums"), ("HH2", "drums"), ("breakbeat", "drums"),
        ("acoustic guitar", "guitar"), ("gtr 1", "guitar"), ("piano", "piano"), ("Keys", "piano"),
        ("no_vocals", "other"), ("instrumental", "other"), ("pad", "other"), ("", "other"),
        ("substance", "other"), ("overheads", "other"),
    ],
)  # fmt: skip
def test_family(name, expected):
    assert family(name) == expected


def test_a_family_s_only_file_has_its_name_the_others_their_own():
    assert by_role(["S - Vox.wav", "Kick In.wav", "snare.flac", "pad.wav"]) == {
        "vocals": "S - Vox.wav",
        "kick_in": "Kick In.wav",
        "snare": "snare.flac",
        "pad": "pad.wav",
    }


def test_roles_are_never_twice():
    files = ["a/pad.wav", "b/pad.wav", "c/pad.wav", "pad_2.wav", "…wav", "声.wav"]
    roles = by_role(files)
    assert sorted(roles.values()) == sorted(files)
    assert list(roles)[:2] == ["pad", "pad_2"]


@pytest.mark.parametrize(
    ("files", "roles"),
    [
        (["Oh Drum - strings.wav", "Oh Drum - vox.wav", "Oh Drum - pad.wav"], ["strings", "vocals", "pad"]),
        (["kick in.wav", "kick out.wav"], ["kick_in", "kick_out"]),
        (["vocals.wav", "vocals 2.wav"], ["vocals", "vocals_2"]),
        (["Heartbeat pad.wav"], ["drums"]),
    ],
)
def test_a_song_s_title_says_nothing_about_its_stems(files, roles):
    assert list(by_role(files)) == roles
