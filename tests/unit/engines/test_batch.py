"""A batch that is too large for the memory is halved until it is not, and the manifest says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from stemd.core.errors import StemdError
from stemd.core.job import Output
from stemd.engines.base import SeparationRequest
from stemd.engines.demucs_engine import DemucsEngine
from stemd.engines.separate import separate
from stemd.engines.stub_engine import StubEngine
from tests.golden import tiny_models


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


def test_torchs_own_word_for_a_full_card(ask, tmp_path, monkeypatch):
    tiny_models.write_bag(tmp_path / "models", "ht", [tiny_models.htdemucs])
    engine = DemucsEngine()
    info = engine.load("ht", tmp_path / "models", "cpu")
    (network,) = engine._bag.models
    plain, seen = network.forward, []

    def forward(mix):
        seen.append(len(mix))
        if len(mix) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return plain(mix)

    monkeypatch.setattr(network, "forward", forward)
    result = separate(engine, info, replace(ask, options={"batch": 8}), lambda progress: None)
    assert result.settings["batch"] == 2 and seen[:3] == [8, 4, 2] and max(seen[2:]) == 2
    assert result.warnings == ("memory was too small for its batch: it was done with 2 segments at once",)
