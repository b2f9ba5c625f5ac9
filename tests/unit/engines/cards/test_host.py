"""Workers and the process that computes for them: here a thread, on the processor."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from stemd.core.errors import StemdError
from stemd.engines.base import OnCard, TrackStats
from stemd.engines.cards import host as module
from stemd.engines.cards.card import Card
from stemd.engines.cards.host import Host, Wish, listen
from stemd.engines.demucs_engine import DemucsEngine
from stemd.engines.tuning.ways import Way
from tests.golden import tiny_models
from tests.support.daemon import eventually

TOGETHER = 3


@dataclass
class Site:
    host: Host
    address: Path
    store: Path
    model: str

    def engine(self) -> DemucsEngine:
        engine = DemucsEngine()
        engine.compute_on(self.address)
        engine.load(self.model, self.store, "cpu")
        engine.tune("fp32", None)
        return engine

    def alone(self) -> DemucsEngine:
        engine = DemucsEngine()
        engine.load(self.model, self.store, "cpu")
        engine.tune("fp32", None)
        return engine


def site_of(folder: Path, kinds, device: str = "cpu") -> Site:
    tiny_models.write_bag(folder / "store", "tiny", kinds)
    host = Host(Wish("tiny", str(folder / "store"), device, "fp32", together=TOGETHER))
    address = folder / ("a" * 60) / ("deep" * 20) / "card.sock"  # longer than sun_path
    address.parent.mkdir(parents=True)
    threading.Thread(target=host.serve, args=(listen(address),), daemon=True).start()
    return Site(host, address, folder / "store", "tiny")


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    return site_of(tmp_path, [tiny_models.htdemucs])


def noise(segments: int, lane, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((segments, lane.segment, 2))
    return drawn.astype(np.float32)


def separated(engine, batch) -> np.ndarray:
    lane, *_ = engine.lanes({}, tiny_models.STEMS)
    return np.stack(list(engine.separate_segments(lane, batch).values())).copy()


@pytest.mark.parametrize("kind", [tiny_models.htdemucs, tiny_models.hdemucs, tiny_models.demucs])
def test_the_same_numbers_as_alone(tmp_path, kind):
    site = site_of(tmp_path, [kind, kind])
    engine, alone = site.engine(), site.alone()
    assert isinstance(engine, OnCard) and next(engine._bag.parameters()).device.type == "meta"
    for lane in alone.lanes({}, tiny_models.STEMS):
        for count in (1, TOGETHER, 2 * TOGETHER + 1):
            batch = noise(count, lane, count)
            batch = batch[:, : alone.window(lane, lane.segment)]
            batch = np.pad(batch, ((0, 0), (0, alone.window(lane, lane.segment) - batch.shape[1]), (0, 0)))
            ours, theirs = engine.separate_segments(lane, batch), alone.separate_segments(lane, batch)
            for stem in tiny_models.STEMS:
                assert np.abs(ours[stem] - theirs[stem]).max() <= 1e-5 * np.abs(theirs[stem]).max()


def test_numbers_do_not_depend_on_the_others(site):
    engine = site.engine()
    lane, *_ = engine.lanes({}, tiny_models.STEMS)
    three = noise(TOGETHER, lane)
    whole = separated(engine, three)
    for index in range(TOGETHER):
        assert np.array_equal(separated(engine, three[index : index + 1])[:, 0], whole[:, index])


def test_segments_of_several_jobs_are_computed_together(site, monkeypatch):
    engines = [site.engine() for _ in range(TOGETHER + 1)]
    lane, *_ = engines[0].lanes({}, tiny_models.STEMS)
    alone, begun, go = separated(engines[0], noise(1, lane, 2)), threading.Event(), threading.Event()
    groups, plain = [], site.host._launch

    def launch(member, parts, together, frames):
        groups.append(len(parts))
        begun.set()
        go.wait(60)
        return plain(member, parts, together, frames)

    monkeypatch.setattr(Host, "_launch", lambda _, *given: launch(*given))
    answers: dict[int, np.ndarray] = {}

    def job(number: int) -> None:
        answers[number] = separated(engines[number], noise(1, lane, number))

    threads = [threading.Thread(target=job, args=(number,)) for number in range(TOGETHER + 1)]
    threads[0].start()
    assert begun.wait(60)
    for each in threads[1:]:
        each.start()
    eventually(lambda: len(site.host._gathering.waiting) == TOGETHER)
    go.set()
    for each in threads:
        each.join(60)
    assert groups == [1, TOGETHER] and np.array_equal(answers[2], alone)


def test_the_options_default_to_what_is_computed_together(site):
    engine = site.engine()
    engine.lanes({}, tiny_models.STEMS)
    assert engine.facts()["batch"] == engine.facts()["together"] == TOGETHER
    assert "together" not in site.alone().facts()


def test_memory_that_runs_out_halves_the_group_and_the_track_is_begun_again(site, monkeypatch):
    engine = site.engine()
    lane, *_ = engine.lanes({}, tiny_models.STEMS)
    engine.begin(TrackStats(1, 0.0, 1.0, 1.0))
    separated(engine, noise(1, lane))
    plain, most = DemucsEngine.compute, 1

    def compute(self, member, mix):
        if len(mix) > most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return plain(self, member, mix)

    monkeypatch.setattr(DemucsEngine, "compute", compute)
    with pytest.raises(StemdError, match="STEMD-R001"):
        separated(engine, noise(1, lane))
    assert site.host.together == 1 and engine.facts()["together"] == TOGETHER, "it has not been told yet"
    with pytest.raises(StemdError, match="STEMD-R001") as told:  # other numbers: not for the same track
        separated(engine, noise(1, lane))
    assert "1 segments" in told.value.message
    engine.lanes({}, tiny_models.STEMS)
    assert engine.facts()["batch"] == engine.facts()["together"] == 1
    engine.begin(TrackStats(1, 0.0, 1.0, 1.0))
    assert separated(engine, noise(2, lane)).shape[1] == 2
    newcomer = site.engine()
    separated(newcomer, noise(1, lane))
    most = 0
    with pytest.raises(StemdError, match="STEMD-R001"):
        separated(newcomer, noise(1, lane))


def test_a_fault_is_that_of_the_jobs_it_hits(site):
    engine, other = site.engine(), site.engine()
    lane, *_ = engine.lanes({}, tiny_models.STEMS)
    mix = torch.zeros(1, 2, lane.segment)
    with pytest.raises(StemdError, match="STEMD-E006"):
        engine._card.answer(7, mix, Way())
    assert separated(other, noise(1, lane)).shape[1] == 1 and separated(engine, noise(1, lane)).shape[1] == 1


def test_a_worker_that_vanishes_leaves_the_others_alone(site):
    engine, other = site.engine(), site.engine()
    lane, *_ = engine.lanes({}, tiny_models.STEMS)
    separated(engine, noise(1, lane))
    engine._card._line.say({"op": "answer", "member": 0, "segments": 1, "frames": lane.segment, "channels": 2})
    engine.close()
    assert separated(other, noise(1, lane)).shape[1] == 1
    eventually(lambda: not site.host._gathering.waiting)


@pytest.mark.parametrize("said", [b"nonsense\n", b"[]\n", b'{"op": "dance"}\n', b'{"op": "answer"}\n', b"{}\n"])
def test_nonsense_ends_the_line_and_nothing_else(site, said):
    engine = site.engine()
    engine._card._line._socket.sendall(said)
    lane, *_ = engine.lanes({}, tiny_models.STEMS)
    with pytest.raises(StemdError, match="STEMD-E006"):
        separated(engine, noise(1, lane))
    assert separated(engine, noise(1, lane)).shape[1] == 1  # on a new line


def test_more_than_there_is_memory_for_is_refused(site):
    engine = site.engine()
    lane, *_ = engine.lanes({}, tiny_models.STEMS)
    separated(engine, noise(1, lane))
    with pytest.raises(StemdError, match="STEMD-E006"):
        engine._card._ask({"op": "answer", "member": 0, "segments": 999, "frames": lane.segment, "channels": 2})


def test_without_a_card_a_worker_computes_by_itself(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a card")
    site = site_of(tmp_path, [tiny_models.htdemucs], "auto")
    engine = DemucsEngine()
    engine.compute_on(site.address)
    engine.load("tiny", site.store, "auto")
    engine.tune("fp32", None)
    lane, *_ = engine.lanes({}, tiny_models.STEMS)
    assert engine.facts()["device"] == "cpu" and "together" not in engine.facts()
    assert np.array_equal(separated(engine, noise(1, lane)), separated(site.alone(), noise(1, lane)))


def test_a_model_that_does_not_load_is_told_with_its_code(site):
    site.host.wish = Wish("nosuch", str(site.store), "cpu")
    with pytest.raises(StemdError, match="STEMD-M002"):
        site.engine()


def test_nobody_at_the_address(tmp_path):
    card = Card(tmp_path / "card.sock", patience=0.1)
    with pytest.raises(StemdError, match="STEMD-E006"):
        card.greet(4)


def test_the_socket_is_for_its_owner_only(tmp_path):
    address = tmp_path / "card.sock"
    with listen(address):
        assert address.stat().st_mode & 0o777 == 0o600


def test_a_group_on_a_card_goes_out_with_the_next_one(site, monkeypatch):
    """Two groups on their way: the answer of the first is handed out after the second was launched."""
    order, plain, out = [], Host._launch, Host._hand_out
    first = site.engine()
    lane, *_ = first.lanes({}, tiny_models.STEMS)

    def launch(self, member, parts, together, frames):
        order.append("launch")
        return plain(self, member, parts, together, frames)

    def hand_out(self, launched):
        order.append("hand out")
        out(self, launched)

    monkeypatch.setattr(module.Host, "_launch", launch)
    monkeypatch.setattr(module.Host, "_hand_out", hand_out)
    separated(first, noise(2 * TOGETHER, lane))
    assert order == ["launch", "launch", "hand out", "hand out"]
