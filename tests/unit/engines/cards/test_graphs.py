"""When a captured core is used. Capturing itself needs a card: here it is called as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from demucs import transformer

from stemd.engines.cards import graphs
from stemd.engines.cards.graphs import Apart, CaptureError, Graphs
from stemd.engines.demucs_engine import DemucsEngine
from tests.golden import tiny_models


def loaded(folder: Path, kind=tiny_models.htdemucs) -> DemucsEngine:
    tiny_models.write_bag(folder, "tiny", [kind])
    engine = DemucsEngine()
    engine.load("tiny", folder, "cpu")
    return engine


def as_it_is(plain, given):
    return plain


@pytest.fixture(autouse=True)
def inference():
    with torch.inference_mode():
        yield


@pytest.fixture
def engine(tmp_path) -> DemucsEngine:
    return loaded(tmp_path)


@pytest.fixture
def batch(engine) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(3, 2, *engine.usual_frames())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_network_with_its_transforms_apart_gives_the_same(engine, batch, precision):
    engine.tune(precision, None)
    apart = Apart(engine.network(0), engine.way, engine.device, as_it_is)
    with torch.inference_mode():
        for given in (batch, batch[..., :-100], batch):
            answer, expected = apart(given), engine.compute(0, given)
            assert answer.shape == expected.shape and (answer - expected).abs().max() <= 2e-6 * expected.abs().max()


def test_on_a_processor_nothing_is_captured(engine, batch, monkeypatch):
    monkeypatch.setattr(graphs, "capture", lambda *_: pytest.fail("captured"))
    made = Graphs(engine, frozenset({(0, batch.shape[-1])}))
    assert torch.equal(made(0, batch), engine.compute(0, batch)) and not made.told


class OnCard:
    """The engine as it were on a card."""

    device = torch.device("cuda")

    def __init__(self, engine: DemucsEngine) -> None:
        self._engine, self.way, self.network = engine, engine.way, engine.network
        self.computed = 0

    def compute(self, member, batch):
        self.computed += 1
        return self._engine.compute(member, batch)


def on_card(engine, batch, monkeypatch, capture=as_it_is, faster=0.5, skewed=0.0) -> tuple[Graphs, OnCard]:
    class Here(Apart):
        def __init__(self, network, way, device, capture) -> None:
            super().__init__(network, way, torch.device("cpu"), capture)

        def __call__(self, batch):
            return super().__call__(batch) + skewed

    monkeypatch.setattr(graphs, "Apart", Here)
    monkeypatch.setattr(graphs, "capture", capture)
    monkeypatch.setattr(graphs, "_seconds", lambda run, *_: faster if isinstance(run, Here) else 1.0)
    card = OnCard(engine)
    return Graphs(card, frozenset({(0, batch.shape[-1])})), card  # type: ignore[arg-type]


def test_a_capture_that_is_faster_is_used(engine, batch, monkeypatch):
    captures = []
    made, card = on_card(engine, batch, monkeypatch, lambda plain, given: captures.append(given) or plain)
    answers = [made(0, batch) for _ in range(3)]
    assert all(torch.equal(each, answers[0]) for each in answers) and made.used
    assert card.computed == 2 and len(captures) == 1, "plainly on the two sounds that it is judged by"
    assert made.told == {"network 0, 3 segments": "used: 0.50 of the time of plain launches"}
    made.forget()
    made(0, batch)
    assert len(captures) == 2


def stale(plain, given):
    """A graph that computes nothing: what it gives is of the capture."""
    answer = plain(given)
    return lambda _: answer


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"faster": 0.99}, "launching is as fast"),
        ({"skewed": 1e-2}, "dB off"),
        ({"capture": stale}, "dB off"),
    ],
)
def test_one_that_is_not_worth_it_is_not(engine, batch, monkeypatch, how, why):
    made, card = on_card(engine, batch, monkeypatch, **how)
    for given in (torch.zeros_like(batch), batch, batch):  # the first one comes from the trial of the memory
        assert torch.equal(made(0, given), engine.compute(0, given))
    assert card.computed == 5 and why in made.told["network 0, 3 segments"] and not made.used


def test_one_that_fails_is_no_state_to_go_on_with(engine, batch, monkeypatch):
    def fail(plain, given):
        raise RuntimeError("operation not permitted")

    made, _ = on_card(engine, batch, monkeypatch, capture=fail)
    with pytest.raises(CaptureError, match="not permitted"):
        made(0, batch)


def test_memory_that_runs_out_is_not_swallowed(engine, batch, monkeypatch):
    def fail(plain, given):
        raise torch.OutOfMemoryError("CUDA out of memory")

    made, _ = on_card(engine, batch, monkeypatch, capture=fail)
    with pytest.raises(torch.OutOfMemoryError):
        made(0, batch)


def test_what_is_not_usual_or_no_htdemucs_is_launched(tmp_path, engine, batch, monkeypatch):
    made, card = on_card(engine, batch, monkeypatch, lambda *_: pytest.fail("captured"))
    made(0, batch[..., :-1])
    assert card.computed == 1
    other = loaded(tmp_path / "other", tiny_models.hdemucs)
    whole = torch.zeros(1, 2, *other.usual_frames())
    made, card = on_card(other, whole, monkeypatch, lambda *_: pytest.fail("captured"))
    made(0, whole)
    assert "HTDemucs only" in made.told["network 0, 1 segments"]


def test_positions_are_there_as_long_as_the_capture(engine, batch):
    apart = Apart(engine.network(0), engine.way, engine.device, lambda plain, given: plain(given) and plain)
    answer = apart(batch)
    assert torch.equal(apart(batch), answer)
    assert apart._constants is not None and apart._constants.cache_info().currsize >= 1


def test_positions_are_made_once_within_a_capture(engine, batch):
    plain, made = transformer.create_2d_sin_embedding, []
    with graphs._kept_constants():
        engine.compute(0, batch)
        first = transformer.create_2d_sin_embedding.cache_info().misses
        engine.compute(0, batch)
        made.append(transformer.create_2d_sin_embedding.cache_info())
    assert made[0].misses == first >= 1 and made[0].hits >= 1 and transformer.create_2d_sin_embedding is plain
