"""Outlines against numpy, and their document."""

import numpy as np
import pytest

from stemd.engines.audio.peaks import FULL_SCALE, Peaks, document, each

LENGTHS = [1, 2, 1999, 2000, 2001, 4001, 100_000, *np.random.default_rng(1).integers(1, 60_000, 5).tolist()]


def fed(frames: np.ndarray, size: int) -> Peaks:
    peaks = Peaks(len(frames))
    for start in range(0, len(frames), size):
        peaks.add(frames[start : start + size])
    return peaks


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("frames", LENGTHS)
@pytest.mark.parametrize("size", [64, 1023, 65_536])
def test_an_outline_is_exact(frames, size, channels):
    track = np.random.default_rng(0).normal(0.05, 0.3, (frames, channels)).astype(np.float32)
    step = each(frames)
    parts = [track[at : at + step] for at in range(0, frames, step)]
    assert len(parts) <= 2000
    found = fed(track, size)
    assert found.to_list() == [[round(float(p.min()) * 32767), round(float(p.max()) * 32767)] for p in parts]


@pytest.mark.filterwarnings("error")
def test_what_no_integer_holds_is_as_much_as_one_does():
    found = fed(np.float32([[3e38, 0], [-1e25, -1]]), 1).to_list()
    assert found == [[0, 2**53], [-(2**53), -FULL_SCALE]]


def test_a_stream_longer_than_said_is_noticed():
    peaks = Peaks(10)
    with pytest.raises(AssertionError):
        peaks.add(np.zeros((11, 2), np.float32))


def test_a_document_has_a_channel_for_each_stem():
    loud, soft = [[-2 * FULL_SCALE, 2 * FULL_SCALE], [-5, 6]], [[-1, 2], [-3, 4]]
    assert document({"drums": loud, "vocals": soft}, 44_100, 4000) == {
        "version": 2, "channels": 2, "sample_rate": 44_100, "samples_per_pixel": 2, "bits": 16, "length": 2,
        "data": [-32_768, 32_767, -1, 2, -5, 6, -3, 4], "stems": ["drums", "vocals"],
    }  # fmt: skip
