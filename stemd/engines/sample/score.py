"""How good a separation of a song with known stems is."""

from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemd.engines.audio.decode import open_source
from stemd.engines.audio.loudness import Loudness

if TYPE_CHECKING:
    from stemd.engines.base import Frames

_LEAST = 1e-20


def si_sdr(estimate: Frames, truth: Frames) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019, eq. 2), over all channels at once."""
    e, s = estimate.astype(np.float64).ravel(), truth.astype(np.float64).ravel()
    target = e.dot(s) / max(float(s.dot(s)), _LEAST) * s
    signal, rest = float(np.sum(target**2)), float(np.sum((e - target) ** 2))
    return 10 * math.log10(max(signal, _LEAST) / max(rest, _LEAST))


def score(stems: Path, truth: Path) -> dict[str, Any]:
    """For each ``truth/STEM.*`` that ``stems`` has too: SI-SDR of the estimate and of the mixture, LUFS and frames."""
    true = {path.stem: _read(path)[0] for path in sorted(truth.iterdir())}
    found = {path.stem: path for path in sorted(stems.iterdir()) if path.stem in true and path.suffix != ".json"}
    mixture = np.sum(list(true.values()), axis=0)
    report = {}
    for stem, path in found.items():
        estimate, lufs = _read(path)
        report[stem] = {
            "si_sdr": round(si_sdr(estimate, true[stem]), 2),
            "si_sdr_mixture": round(si_sdr(mixture, true[stem]), 2),
            "lufs": None if lufs is None else round(lufs, 1),
            "frames": len(estimate),
        }
    return report


def _read(path: Path) -> tuple[Frames, float | None]:
    source = open_source(path)
    with closing(source.blocks()) as blocks:
        frames = np.concatenate(list(blocks))
    loudness = Loudness(source.rate, source.channels)
    loudness.add(frames)
    return frames, loudness.integrated()
