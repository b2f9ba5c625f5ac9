"""Spleeter's engine without Spleeter: options, the grid of its segments, and a host that misbehaves."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from stemd.core.errors import StemdError
from stemd.engines.base import TrackStats
from stemd.engines.overlap_add import segments
from stemd.engines.spleeter import client
from stemd.engines.spleeter.client import Host
from stemd.engines.spleeter.engine import SpleeterEngine
from stemd.engines.spleeter.options import parse_options

BLOCK, FRAME, STEP = 512 * 1024, 4096, 1024


@pytest.fixture
def engine(tmp_path: Path) -> SpleeterEngine:
    return SpleeterEngine(tmp_path)


@pytest.mark.parametrize("total", [1, 5000, BLOCK, 3 * BLOCK + 777])
def test_every_window_begins_one_frame_before_a_block_and_holds_all_that_its_segment_needs(engine, total):
    (lane,) = engine.lanes({}, ["vocals"])
    covered = 0
    for segment in segments(engine, lane, total):
        assert (segment.window_start + FRAME) % BLOCK == 0
        first = (segment.start - segment.window_start - FRAME + STEP) // STEP
        last = (segment.stop - 1 - segment.window_start) // STEP
        assert first >= 0
        assert last < 2 * BLOCK // STEP, "the last STFT frame the segment needs is in the second block"
        assert segment.start <= covered
        covered = segment.stop
    assert covered == total


def test_wiener_windows_are_whole_blocks_from_the_first_frame_on(engine):
    (lane,) = engine.lanes({"mwf": True, "mwf_window": 60}, ["vocals"])
    assert (lane.lead, lane.segment % BLOCK, lane.stride % BLOCK) == (0, 0, 0)
    assert lane.stride < lane.segment
    assert not engine.notes(TrackStats(lane.segment, 0, 1, 1))
    assert "60 s" in engine.notes(TrackStats(lane.segment + 1, 0, 1, 1))[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"exponnet": 2}, "did you mean 'exponent'"),
        ({"exponent": True}, "a number from 0.1 to 8"),
        ({"extension": "ones"}, "zeros or average"),
        ({"mwf": 1}, "true or false"),
        ({"mwf_window": 1}, "from 24 to 3600"),
    ],
)
def test_options_are_checked(options, said):
    with pytest.raises(StemdError, match=said) as caught:
        parse_options(options)
    assert caught.value.code == "STEMD-E004"


def test_less_memory_is_a_shorter_window(engine):
    assert engine.ease({"mwf": True}, 1) == {"mwf": True, "mwf_window": 300.0}
    assert engine.ease({"mwf": True}, 9)["mwf_window"] == 60.0
    assert engine.ease({"exponent": 1}, 3) == {"exponent": 1}
    assert engine.ease({"mwf": True, "mwf_window": 24}, 2)["mwf_window"] == 24.0


def test_without_its_environment_it_says_how_to_get_it(engine, tmp_path):
    with pytest.raises(StemdError, match="STEMD-E009") as caught:
        engine.load("2stems", tmp_path, "auto")
    assert "stemd engines install spleeter" in caught.value.remedy
    with pytest.raises(StemdError, match="STEMD-E004"):
        engine.load("2stems", tmp_path, "cuda")


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "STEMD-R001"),
        ("raise SystemExit(3)", "STEMD-E006"),
        ("print('no json', flush=True); input()", "STEMD-E006"),
        ("""input(); print('{"bytes": 9}'); print('short')""", "STEMD-E006"),
        ("""input(); print('{"error": "too big", "kind": "memory"}', flush=True); input()""", "STEMD-R001"),
        ("""input(); print('{"error": "no weights", "kind": "model"}', flush=True); input()""", "STEMD-M004"),
        ("""input(); print('{"error": "a bug", "kind": "bug"}', flush=True); input()""", "STEMD-E006"),
    ],
)
def test_whatever_its_host_does_is_an_error_with_a_code(tmp_path, monkeypatch, program, code):
    (tmp_path / "host.py").write_text(program)
    monkeypatch.setattr(client, "_HOST", tmp_path / "host.py")
    host = Host(Path(sys.executable))
    with pytest.raises(StemdError) as caught:
        host.versions()
    assert caught.value.code == code
    host.close()
    host.close()
