"""Latency is taken out, whatever the sizes of the blocks."""

import numpy as np
import pytest

from stemd.engines.mix.processor import HOP, run


class Delay:
    def __init__(self, latency: int) -> None:
        self.latency = latency
        self._held = np.zeros((latency, 2), np.float32)

    def process(self, block):
        assert len(block) % HOP == 0
        joined = np.concatenate([self._held, block])
        self._held = joined[len(block) :]
        return joined[: len(block)]


@pytest.mark.parametrize("latencies", [(), (0,), (3,), (64, 5), (9000,)])
@pytest.mark.parametrize("frames", [1, 63, 64, 1000, 20_000])
@pytest.mark.parametrize("size", [HOP, 1024, 1 << 20])
def test_delays_cancel(latencies, frames, size):
    track = np.random.default_rng(0).standard_normal((frames, 2)).astype(np.float32)
    blocks = [track[at : at + size] for at in range(0, frames, size)]
    out = np.concatenate(list(run([Delay(latency) for latency in latencies], blocks)))
    assert np.array_equal(out, track)
