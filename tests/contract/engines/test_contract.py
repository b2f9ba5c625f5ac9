"""One suite for every engine: stemd's own, and the example of a third party's."""

from __future__ import annotations

from pathlib import Path

import pytest

from stemd.engines import base
from stemd.engines.contract import CHECKS, Check, Subject, course, sound


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_engine(subject: Subject, check: Check) -> None:
    check(subject)


@pytest.mark.parametrize(
    "check", [sound.takes_a_track_of_any_length, course.gives_the_same_bits_twice], ids=lambda check: check.__name__
)
def test_the_bundled_model(tmp_path: Path, check: Check) -> None:
    check(Subject(base.create("demucs"), "nano", tmp_path, tmp_path, "cpu"))
