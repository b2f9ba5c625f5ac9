"""Names that people and SMB clients can live with."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemd.core.job import new_job_id
from stemd.spool.layout import numbered, orphan_name, safe_title


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("Song", "Song"),
        ("12:51", "12_51"),
        ('a<b>c"d/e\\f|g?h*i', "a_b_c_d_e_f_g_h_i"),
        ("line\nbreak", "line_break"),
        ("ends... ", "ends"),
        ("日本語 🎵", "日本語 🎵"),
        (unicodedata.normalize("NFD", "é"), "é"),
        ("\udcff\udcfe", "__"),
        ("..", "untitled"),
        ("", "untitled"),
        (".hidden", "_hidden"),
    ],
)
def test_titles(name, title):
    assert safe_title(name) == title


@given(st.text())
def test_every_title_is_a_usable_folder_name(name):
    title = safe_title(name)
    assert title
    assert len(title.encode()) <= 200
    assert not set(title) & set('<>:"/\\|?*\0')
    assert title[-1] not in ". "
    assert title not in {".", ".."}
    assert not title.startswith(".")


def test_numbers_start_at_two():
    assert numbered("Song", 1) == "Song"
    assert numbered("Song", 2) == "Song (2)"


def test_orphans_of_one_moment_have_different_names():
    first, second = new_job_id(), new_job_id()
    assert orphan_name("Song", first) != orphan_name("Song", second)
