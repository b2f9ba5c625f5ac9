"""A job that asks for too much memory is made smaller, and refused where that is not enough."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stemd.core.errors import StemdError
from stemd.core.job import Output
from stemd.engines.base import SeparationRequest, TrackStats
from stemd.engines.memory import check_memory, fits, let_go
from stemd.engines.separate import separate
from stemd.engines.stub_engine import StubEngine
from tests.support.audio import write_wav

GIB = 2**30


class Hungry(StubEngine):
    """Needs 8 GiB, and half as much each time it is eased."""

    def ease(self, options: Mapping[str, Any], level: int) -> Mapping[str, Any]:
        return {**options, "pace": 2.0**-level * 1e-3}

    def memory(self, stats: TrackStats) -> int:
        return int(8 * GIB * (self._pace * 1e3 or 1))


def separated(folder: Path, limit: int | None) -> tuple[str, ...]:
    for name in ("chunks", "out"):
        (folder / name).mkdir()
    engine = Hungry()
    model = engine.load("stub", folder, "cpu")
    song = write_wav(folder / "song.wav", seconds=0.5)
    request = SeparationRequest(song, folder / "chunks", folder / "out", 4, Output("flac", "16"), memory=limit)
    return tuple(separate(engine, model, request, lambda progress: None).warnings)


def test_it_is_eased_until_it_fits_and_the_manifest_says_so(tmp_path):
    (warning,) = separated(tmp_path, GIB)
    assert warning.startswith("to fit into the memory it was done with {'pace':")


def test_where_nothing_helps_it_is_refused_before_it_begins(tmp_path):
    with pytest.raises(StemdError, match=r"STEMD-R005.*the limit is 0\.1 GiB"):
        separated(tmp_path, GIB // 10)
    assert list((tmp_path / "chunks").iterdir()) == []


def test_no_machine_has_an_exbibyte():
    assert fits(1, None)
    with pytest.raises(StemdError, match="the machine has"):
        check_memory(2**60, None)


@pytest.mark.parametrize(("every", "times"), [(0.2, 5), (120, 0)])
def test_a_long_track_gives_memory_back_now_and_then(every, times, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr("stemd.engines.separate._TIDY", every)
    monkeypatch.setattr("stemd.engines.separate.give_back", lambda: given.append(1))
    for name in ("chunks", "out"):
        (tmp_path / name).mkdir()
    engine = StubEngine()
    model = engine.load("stub", tmp_path, "cpu")
    song = write_wav(tmp_path / "song.wav", seconds=5)
    request = SeparationRequest(song, tmp_path / "chunks", tmp_path / "out", ("vocals",), Output("flac", "16"))
    separate(engine, model, request, lambda progress: None)
    assert times <= len(given) <= 5 * times


def resident(file: Path) -> int:
    """KiB of a mapped file that lie in memory (proc(5), smaps)."""
    _, _, entry = Path("/proc/self/smaps").read_text().partition(f"{file}\n")
    return int(entry.split("Rss:")[1].split()[0])


def test_a_mapped_file_is_let_go_and_is_still_read_right(tmp_path):
    file = tmp_path / "weights of mine.bin"
    file.write_bytes(bytes(range(256)) * 65536)
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert mapped[255::256] == b"\xff" * 65536
        assert resident(file) == 16 << 10
        let_go(file)
        assert resident(file) == 0
        assert mapped[255::256] == b"\xff" * 65536
