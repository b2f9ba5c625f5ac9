"""A batch that is too large for the memory is halved until it is not, and the manifest says so."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from stemd.core.errors import StemdError
from stemd.core.job import Output
from stemd.engines.base import SeparationRequest
from stemd.engines.separate import separate
from stemd.engines.stub_engine import StubEngine


class Card(StubEngine):
    """Has memory for ``room`` segments at once."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room, self.batch, self.seen = room, 4, []

    def lanes(self, options, stems):
        self.batch = options.get("batch", 4)
        return super().lanes({}, stems)

    def separate_segments(self, lane, batch):
        self.seen.append(len(batch))
        if len(batch) > self.room:
            raise StemdError("STEMD-R001", "no room on the card")
        return super().separate_segments(lane, batch)

    def facts(self):
        return {**super().facts(), "batch": self.batch}


@pytest.fixture
def ask(tmp_path):
    for name in ("chunks", "out"):
        (tmp_path / name).mkdir()
    noise = np.random.default_rng(0).standard_normal((6 * 44_100, 2)) * 0.1
    soundfile.write(tmp_path / "song.wav", noise, 44_100)
    return SeparationRequest(tmp_path / "song.wav", tmp_path / "chunks", tmp_path / "out", 4, Output("wav", "24"))


@pytest.mark.parametrize(("room", "batch"), [(4, 4), (3, 2), (1, 1)])
def test_halved_until_it_fits(room, batch, ask, tmp_path):
    engine = Card(room)
    result = separate(engine, engine.load("stub", tmp_path, "cpu"), ask, lambda progress: None)
    assert result.settings["batch"] == batch and max(engine.seen[-2:]) <= batch
    said = f"memory was too small for its batch: it was done with {batch} segments at once"
    assert result.warnings == ((said,) if batch < 4 else ())
    assert soundfile.info(ask.out / "bass.wav").frames == 6 * 44_100


def test_no_room_for_one_is_said(ask, tmp_path):
    engine = Card(0)
    with pytest.raises(StemdError, match="STEMD-R001"):
        separate(engine, engine.load("stub", tmp_path, "cpu"), ask, lambda progress: None)
    assert engine.seen == [4, 2, 1]
