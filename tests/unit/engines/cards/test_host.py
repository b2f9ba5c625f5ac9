"""Workers and the process that computes for them: here a thread, on the processor."""

from __future__ import annotations

import os
import resource
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from stemd.core.errors import StemdError
from stemd.core.job import Output
from stemd.engines.base import OnCard, Progress, SeparationRequest, TrackStats
from stemd.engines.cards import host
from stemd.engines.cards.card import Card
from stemd.engines.cards.computing import Computing
from stemd.engines.cards.graphs import CaptureError
from stemd.engines.cards.host import Host, Wish, listen
from stemd.engines.cards.terms import Shared
from stemd.engines.demucs_engine import DemucsEngine
from stemd.engines.faults import AnewError, LostError
from stemd.engines.separate import separate
from stemd.worker.rlimits import files_within
from tests.golden import tiny_models
from tests.support.daemon import eventually

TOGETHER = 3
STEMS = tiny_models.STEMS
ANY = TrackStats(1, 0.0, 1.0, 1.0)


@dataclass
class Site:
    host: Host
    address: Path
    store: Path
    model: str
    said: list[object]

    @property
    def computing(self) -> Computing:
        assert self.host._loaded is not None
        return self.host._loaded.computing

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
    said: list[object] = []
    host = Host(Wish("tiny", str(folder / "store"), device, "fp32", together=TOGETHER), said.append, said.append)
    address = folder / ("a" * 60) / ("deep" * 20) / "card.sock"  # longer than sun_path
    address.parent.mkdir(parents=True)
    threading.Thread(target=host.serve, args=(listen(address),), daemon=True).start()
    return Site(host, address, folder / "store", "tiny", said)


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    return site_of(tmp_path, [tiny_models.htdemucs])


def noise(segments: int, lane, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((segments, lane.segment, 2))
    return drawn.astype(np.float32)


def separated(engine, batch) -> np.ndarray:
    lane, *_ = engine.lanes({}, tiny_models.STEMS)
    engine.begin(ANY)
    return again(engine, lane, batch)


def again(engine, lane, batch) -> np.ndarray:
    """More of the same track."""
    return np.stack(list(engine.separate_segments(lane, batch).values())).copy()


def alike(one: np.ndarray, other: np.ndarray) -> bool:
    """But for rounding: AVX2's kernels round otherwise at another place of a group (3e-8 of full scale)."""
    return bool(np.abs(one - other).max() <= 1e-6 * np.abs(other).max())


@pytest.mark.parametrize("kind", [tiny_models.htdemucs, tiny_models.hdemucs, tiny_models.demucs])
def test_the_same_numbers_as_alone(tmp_path, kind):
    site = site_of(tmp_path, [kind, kind])
    engine, alone = site.engine(), site.alone()
    assert isinstance(engine, OnCard) and next(engine._bag.parameters()).device.type == "meta"
    engine.begin(ANY)
    for lane in alone.lanes({}, tiny_models.STEMS):
        for count in (1, TOGETHER, 2 * TOGETHER + 1):
            batch = noise(count, lane, count)
            batch = batch[:, : alone.window(lane, lane.segment)]
            batch = np.pad(batch, ((0, 0), (0, alone.window(lane, lane.segment) - batch.shape[1]), (0, 0)))
            ours, theirs = engine.separate_segments(lane, batch), alone.separate_segments(lane, batch)
            for stem in tiny_models.STEMS:
                assert np.abs(ours[stem] - theirs[stem]).max() <= 1e-5 * np.abs(theirs[stem]).max()


def test_numbers_do_not_depend_on_the_others(site):
    """At its place of a group a segment has the same bits whatever is beside it."""
    engine = site.engine()
    lane, *_ = engine.lanes({}, tiny_models.STEMS)
    three, others = noise(TOGETHER, lane), noise(TOGETHER, lane, 9)
    whole = separated(engine, three)
    for index in range(TOGETHER):
        mixed = others.copy()
        mixed[index] = three[index]
        assert np.array_equal(separated(engine, mixed)[:, index], whole[:, index])
        assert alike(separated(engine, three[index : index + 1])[:, 0], whole[:, index])


def test_segments_of_several_jobs_are_computed_together(site, monkeypatch):
    engines = [site.engine() for _ in range(TOGETHER + 1)]
    lane, *_ = engines[0].lanes({}, tiny_models.STEMS)
    alone, begun, go = separated(engines[0], noise(1, lane, 2)), threading.Event(), threading.Event()
    groups, plain = [], site.computing._launch

    def launch(member, parts, together, frames):
        groups.append(len(parts))
        begun.set()
        go.wait(60)
        return plain(member, parts, together, frames)

    monkeypatch.setattr(site.computing, "_launch", launch)
    answers: dict[int, np.ndarray] = {}

    def job(number: int) -> None:
        answers[number] = separated(engines[number], noise(1, lane, number))

    threads = [threading.Thread(target=job, args=(number,)) for number in range(TOGETHER + 1)]
    threads[0].start()
    assert begun.wait(60)
    for each in threads[1:]:
        each.start()
    eventually(lambda: site.computing.waiting == TOGETHER)
    go.set()
    for each in threads:
        each.join(60)
    assert groups == [1, TOGETHER] and alike(answers[2], alone)


def test_the_options_default_to_what_is_computed_together(site):
    engine = site.engine()
    engine.lanes({}, tiny_models.STEMS)
    assert engine.facts()["batch"] == engine.facts()["together"] == TOGETHER
    assert "together" not in site.alone().facts()


def without_memory_for(monkeypatch, most: list[int]) -> None:
    """For more than ``most[0]`` segments."""
    plain = DemucsEngine.compute

    def compute(self, member, mix):
        if len(mix) > most[0]:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return plain(self, member, mix)

    monkeypatch.setattr(DemucsEngine, "compute", compute)


def test_memory_that_runs_out_halves_the_group_and_the_track_is_begun_again(site, monkeypatch):
    engine, other = site.engine(), site.engine()
    lane, *_ = engine.lanes({}, tiny_models.STEMS)
    separated(engine, noise(1, lane))
    most = [1]
    without_memory_for(monkeypatch, most)
    with pytest.raises(AnewError):
        again(engine, lane, noise(1, lane))
    assert site.computing.together == 1 and engine.facts()["together"] == 1
    assert other.facts()["together"] == TOGETHER, "it has not been told yet"
    with pytest.raises(AnewError):  # so what it says of the track would not be so
        separated(other, noise(1, lane))
    for each in (engine, other):
        assert separated(each, noise(2, lane)).shape[1] == 2
        assert each.facts()["batch"] == each.facts()["together"] == 1
    most[0] = 0
    with pytest.raises(StemdError, match="STEMD-R001") as told:
        again(engine, lane, noise(1, lane))
    assert not isinstance(told.value, AnewError) and not site.said


def test_a_model_for_which_there_is_less_memory_from_the_start(site, monkeypatch):
    without_memory_for(monkeypatch, [2])
    engine = site.engine()
    assert engine.facts()["together"] == 1 and site.computing.together == 1


def test_one_for_which_there_is_none_is_tried_again(site, monkeypatch):
    most = [0]
    without_memory_for(monkeypatch, most)
    with pytest.raises(StemdError, match="STEMD-R001"):
        site.engine()
    most[0] = 9
    assert site.engine().facts()["together"] == TOGETHER


def test_a_track_is_begun_again_by_the_separation_itself(site, monkeypatch, tmp_path):
    """With what is written of it as it was done in the end."""
    engine = site.engine()
    soundfile.write(tmp_path / "song.wav", noise(9, engine.lanes({}, STEMS)[0]).reshape(-1, 2) / 9, tiny_models.RATE)
    (tmp_path / "chunks").mkdir()
    (tmp_path / "out").mkdir()
    output = Output("wav", "32f")
    request = SeparationRequest(tmp_path / "song.wav", tmp_path / "chunks", tmp_path / "out", 4, output)
    most = [9]
    without_memory_for(monkeypatch, most)

    def report(progress: Progress) -> None:
        if progress.stage == "separate":
            most[0] = 1

    info = engine.load("tiny", site.store, "cpu")
    result = separate(engine, info, request, report)
    assert result.settings["together"] == 1 and not result.warnings
    alone = site.alone()
    (tmp_path / "alone").mkdir()
    shutil.rmtree(tmp_path / "chunks")
    (tmp_path / "chunks").mkdir()
    separate(alone, info, replace(request, out=tmp_path / "alone"), lambda _: None)
    for stem in STEMS:
        ours, theirs = (soundfile.read(tmp_path / where / f"{stem}.wav")[0] for where in ("out", "alone"))
        assert np.abs(ours - theirs).max() <= 1e-5


def test_a_fault_is_that_of_the_jobs_it_hits(site):
    engine, other = site.engine(), site.engine()
    lane, *_ = engine.lanes({}, tiny_models.STEMS)
    with pytest.raises(StemdError, match="STEMD-E006"):
        engine._card.answer(7, torch.zeros(1, 2, lane.segment))
    assert separated(other, noise(1, lane)).shape[1] == 1 and separated(engine, noise(1, lane)).shape[1] == 1


def test_a_worker_that_vanishes_leaves_the_others_alone(site):
    engine, other = site.engine(), site.engine()
    lane, *_ = engine.lanes({}, tiny_models.STEMS)
    separated(engine, noise(1, lane))
    engine._card._line.say({"op": "answer", "member": 0, "segments": 1, "frames": lane.segment, "channels": 2})
    engine.close()
    assert separated(other, noise(1, lane)).shape[1] == 1
    eventually(lambda: not site.computing.waiting)


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
    site.host.wish = replace(site.host.wish, model="nosuch")
    with pytest.raises(StemdError, match="STEMD-M002"):
        site.engine()


def test_nobody_at_the_address(tmp_path):
    card = Card(tmp_path / "card.sock", patience=0.1)
    with pytest.raises(StemdError, match="STEMD-E006"):
        card.greet("", 4)


def test_the_socket_is_for_its_owner_only(tmp_path):
    address = tmp_path / "card.sock"
    with listen(address):
        assert address.stat().st_mode & 0o777 == 0o600


def test_the_next_group_is_launched_while_the_one_before_is_handed_out(site, monkeypatch):
    first, second = site.engine(), site.engine()
    lane, *_ = first.lanes({}, tiny_models.STEMS)
    expected, plain, handing, go = separated(first, noise(1, lane)), site.computing._hand_out, threading.Event(), []

    def hand_out(launched):
        handing.set()
        eventually(lambda: go)
        plain(launched)

    monkeypatch.setattr(site.computing, "_hand_out", hand_out)
    answers: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: answers.append(separated(first, noise(1, lane))))]
    threads[0].start()
    assert handing.wait(60)
    launched, launch = [], site.computing._launch
    monkeypatch.setattr(site.computing, "_launch", lambda *given: launched.append(given) or launch(*given))
    threads.append(threading.Thread(target=lambda: answers.append(separated(second, noise(1, lane)))))
    threads[1].start()
    eventually(lambda: launched)
    go.append(True)
    for each in threads:
        each.join(60)
    assert len(answers) == 2 and all(alike(each, expected) for each in answers)


def test_a_model_that_was_replaced(site):
    """The new one's workers are computed for by a process that has it, the old one's end."""
    old, anew = site.engine(), site.said
    shutil.rmtree(site.store)
    tiny_models.write_bag(site.store, "tiny", [lambda: tiny_models.htdemucs(Fraction(3, 4))])
    with pytest.raises(StemdError, match="STEMD-E006"):
        site.engine()
    assert anew == [site.host.wish]
    old._card.close()
    lane, *_ = old.lanes({}, tiny_models.STEMS)
    old._card._sha256 = "another"
    with pytest.raises(StemdError, match="STEMD-E006"):
        separated(old, noise(1, lane))
    assert len(anew) == 1, "nobody has those weights any more"


@pytest.mark.parametrize("change", [{"way": {}}, {"error_db": -60.0}, {"facts": {"graphs": True}}])
def test_another_process_that_computes_in_another_way_ends_the_worker(site, change):
    engine = site.engine()
    lane, *_ = engine.lanes({}, tiny_models.STEMS)
    separated(engine, noise(1, lane))
    engine._card.close()  # as when its process has gone
    separated(engine, noise(1, lane))
    site.host._loaded = replace(site.host._loaded, told={**site.host._loaded.told, **change})
    engine._card.close()
    with pytest.raises(LostError):
        separated(engine, noise(1, lane))


def test_what_cannot_be_captured_is_begun_anew_without(site):
    error = StemdError("STEMD-E006", "CaptureError: no")
    error.__cause__ = CaptureError("no")
    site.host._fault(error)
    assert site.said == [replace(site.host.wish, graphs=False)]


@pytest.mark.parametrize(
    ("cause", "ends"), [(torch.AcceleratorError("an illegal access"), True), (ValueError("a shape"), False)]
)
def test_a_fault_of_the_card_ends_the_process_and_no_other(site, cause, ends):
    error = StemdError("STEMD-E006", str(cause))
    error.__cause__ = cause
    site.host._fault(error)
    assert site.said == ([str(cause)] if ends else [])


def test_what_hangs_ends_the_process(site, monkeypatch):
    monkeypatch.setattr(host, "_HUNG", 0.0)
    with site.host._busy.doing("launch"):
        eventually(lambda: site.said)
    assert "launch" in str(site.said[0])


def test_a_limit_of_the_jobs_files_is_none_of_its_memory(site):
    engine = site.engine()
    lane, *_ = engine.lanes({}, tiny_models.STEMS)
    with files_within(1000):
        assert separated(engine, noise(1, lane)).shape[1] == 1
        assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == 1000


def test_shared_memory_cannot_be_taken_away():
    with Shared.made(4096) as (memory, descriptor), pytest.raises(PermissionError):
        os.truncate(descriptor, 0)
    loose = os.memfd_create("loose", 0)
    os.truncate(loose, 4096)
    with pytest.raises(ValueError, match="taken away"):
        Shared(loose)
    os.close(loose)
    assert memory.size == 4096


def test_memory_that_is_shared_is_in_the_estimate(site):
    engine = site.engine()
    few, many = (engine.lanes({"batch": batch}, STEMS) and engine.memory(ANY) for batch in (1, 11))
    (lane,) = engine.lanes({}, STEMS)
    assert many - few == 10 * 4 * 2 * lane.segment * 5
