"""Networks on a graphics card: what is launched is the same each time, so it can be captured once and launched as one.

Captured is the core of an HTDemucs (``exported.core``): its Fourier transforms wait for the card and cannot be. That is
worth it where launching takes longer than computing. Whether it does is tried, and whether it gives the same numbers:
what fails in either is launched as ever. What cannot be captured leaves torch in no state to go on with.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from demucs import transformer
from torch.nn import functional

from stemd.engines.demucs_engine import DemucsEngine
from stemd.engines.exported.core import Core, closed, length, opened, why_not
from stemd.engines.tuning.demucs_tuner import error_db
from stemd.engines.tuning.trials import ACCURATE_DB
from stemd.engines.tuning.ways import Way, in_force

#: A graph has to be so much faster than plain launches; times of so many runs, after so many that are not counted.
_WORTH, _RUNS, _WARM = 0.97, 5, 3
Tensors = Sequence[torch.Tensor]
Compute = Callable[[torch.Tensor], torch.Tensor]


@dataclass(slots=True)
class Graphs:
    """The networks of ``engine``, those with ``usual`` segments (member, frames) captured where that pays.

    ``told`` is what was found, for people; ``used``: whether any is.
    """

    engine: DemucsEngine
    usual: frozenset[tuple[int, int]]
    told: dict[str, str] = field(default_factory=dict)
    used: bool = False
    _known: dict[tuple[int, int], Compute] = field(default_factory=dict)

    def __call__(self, member: int, batch: torch.Tensor) -> torch.Tensor:
        """The answer on the card.

        Raises:
            CaptureError: a capture failed; what is launched after that may fail in strange ways.
        """
        if self.engine.device.type != "cuda" or (member, batch.shape[-1]) not in self.usual:
            return self.engine.compute(member, batch)
        key = member, len(batch)
        if key not in self._known:
            self._known[key] = self._chosen(member, batch)
        return self._known[key](batch)

    def forget(self) -> None:
        """Free what was captured."""
        self._known.clear()

    def _chosen(self, member: int, batch: torch.Tensor) -> Compute:
        def plain(given: torch.Tensor) -> torch.Tensor:
            return self.engine.compute(member, given)

        network, name = self.engine.network(member), f"network {member}, {len(batch)} segments"
        if reason := why_not(network):
            self.told[name] = f"not captured: {reason}"
            return plain
        captured = Apart(network, self.engine.way, self.engine.device, capture)
        heard = [_noise(batch, seed) for seed in (0, 1)]
        try:
            captured(heard[0])
            errors = [error_db(captured(each), plain(each)) for each in heard]  # the later is not what was captured
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # of whatever kind
            raise CaptureError(f"{type(error).__name__}: {error}") from error
        faster = _seconds(captured, batch, self.engine.device) / _seconds(plain, batch, self.engine.device)
        same = all(each <= ACCURATE_DB for each in errors)
        pays = same and faster <= _WORTH
        why = "used" if pays else "not used, launching is as fast" if same else f"not used, {errors} dB off"
        self.told[name] = f"{why}: {faster:.2f} of the time of plain launches"
        self.used |= pays
        return captured if pays else plain


class CaptureError(Exception):
    """A graph could not be captured."""


class Apart:
    """An HTDemucs with its transforms apart from its core, of which ``capture`` makes what is called."""

    def __init__(
        self,
        network: Any,
        way: Way,
        device: torch.device,
        capture: Callable[[Callable[[Tensors], Tensors], Tensors], Callable[[Tensors], Tensors]],
    ) -> None:
        self._network, self._way, self._device, self._capture = network, way, device, capture
        self._core = Core(network)
        self._run: Callable[[Tensors], Tensors] | None = None
        self._constants: Callable[..., torch.Tensor] | None = None

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """What the network gives for ``batch`` (segments × channels × frames), in float32."""
        mix = functional.pad(batch.to(self._device, non_blocking=True), (0, length(self._network) - batch.shape[-1]))
        spectrum, given = opened(self._network, mix)
        if self._run is None:
            with _kept_constants() as self._constants:  # a graph reads them as long as it is there
                self._run = self._capture(self._plain, given)
        masks, waves = self._run(given)
        return closed(self._network, spectrum, masks, waves)[..., : batch.shape[-1]].float()

    def _plain(self, given: Tensors) -> Tensors:
        with in_force(self._way, self._network):  # in here, so that weights in a smaller format are the graph's own
            masks, waves = self._core(*given)
        return masks.float(), waves.float()


def capture(plain: Callable[[Tensors], Tensors], given: Tensors) -> Callable[[Tensors], Tensors]:
    """``plain`` as one launch. It reads and answers where it did at the capture, so what is given is copied there."""
    still = [each.clone() for each in given]
    aside = torch.cuda.Stream(still[0].device)  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream(still[0].device))
    with torch.cuda.stream(aside):
        for _ in range(_WARM):  # plans and workspaces are made outside of the capture
            plain(still)
    torch.cuda.current_stream(still[0].device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, check_input_liveness=True):
        answer = plain(still)

    def run(given: Tensors) -> Tensors:
        for there, value in zip(still, given, strict=True):
            there.copy_(value, non_blocking=True)
        graph.replay()
        return answer

    return run


@contextmanager
def _kept_constants() -> Iterator[Callable[..., torch.Tensor]]:
    """The transformer's table of positions is made once: made anew it would come from the host, in each run.

    What is given holds it.
    """
    plain = transformer.create_2d_sin_embedding
    transformer.create_2d_sin_embedding = kept = cache(plain)
    try:
        yield kept
    finally:
        transformer.create_2d_sin_embedding = plain


def _noise(batch: torch.Tensor, seed: int) -> torch.Tensor:
    """What is loud: silence is silence whatever a graph does."""
    return torch.randn(batch.shape, generator=torch.Generator().manual_seed(seed))


def _seconds(run: Compute, batch: torch.Tensor, device: torch.device) -> float:
    for _ in range(_WARM):
        run(batch)
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    for _ in range(_RUNS):
        run(batch)
    torch.cuda.synchronize(device)
    return time.perf_counter() - started
