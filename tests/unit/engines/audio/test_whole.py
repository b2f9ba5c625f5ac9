"""Recordings whose header speaks for a part of them, or for none, are read to their end or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemd.engines.audio.decode import open_source

RATE = 44_100


def decoded(path: Path) -> np.ndarray:
    return np.concatenate(list(open_source(path).blocks()))


@pytest.mark.parametrize("frames", [1000, 44_100, 65_536, 220_500])
def test_a_flac_that_was_written_to_a_pipe(tmp_path, frames):
    path = tmp_path / "a.flac"
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, (frames, 2))
    soundfile.write(path, noise, RATE, subtype="PCM_24")
    wanted = decoded(path)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # STREAMINFO's count of samples: 36 bits, 0 where it is unknown
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert np.array_equal(decoded(path), wanted)
