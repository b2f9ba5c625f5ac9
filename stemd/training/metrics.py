"""Scores of separated stems: SI-SDR, SDR of seconds, and how silent an absent stem is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stemd.engines.sample.score import si_sdr
from stemd.training.terms import RATE, SILENT, STEMS, Sound, rms

_LEAST = 1e-9
_QUIETEST = -120.0


def sdr(estimate: Sound, truth: Sound) -> float | None:
    """The median over seconds that sound of signal to distortion in dB, without museval's filter; one is enough."""
    found = []
    for start in range(0, truth.shape[-1] - RATE + 1, RATE):
        wanted, got = truth[..., start : start + RATE], estimate[..., start : start + RATE]
        if rms(wanted) > SILENT / 3:
            error = float(np.square(wanted - got).sum()) + _LEAST
            found.append(10 * np.log10((float(np.square(wanted).sum()) + _LEAST) / error))
    return float(np.median(found)) if found else None


def leak(estimate: Sound, mixture: Sound) -> float:
    """The level of what should be silent, in dB below the mixture."""
    return max(_QUIETEST, 20 * float(np.log10((rms(estimate) + _LEAST) / (rms(mixture) + _LEAST))))


def score(estimates: Sound, truth: Sound) -> list[dict[str, float]]:
    """For each stem ``si_sdr`` and ``sdr`` where it sounds, else ``leak``; both arrays 4 × 2 × frames."""
    mixture, rows = truth.sum(0), []
    for estimate, wanted in zip(estimates, truth, strict=True):
        if rms(wanted) < SILENT:
            rows.append({"leak": leak(estimate, mixture)})
            continue
        row = {"si_sdr": si_sdr(estimate, wanted)}
        seconds = sdr(estimate, wanted)
        rows.append(row if seconds is None else {**row, "sdr": seconds})
    return rows


def summary(songs: Sequence[Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """Over songs: the mean SI-SDR, the median SDR and the median leak of each stem, and the mean over stems."""
    table: dict[str, Any] = {}
    for name, reduce in (("si_sdr", np.mean), ("sdr", np.median), ("leak", np.median)):
        row = {}
        for index, stem in enumerate(STEMS):
            values = [song[index][name] for song in songs if name in song[index]]
            row[stem] = round(float(reduce(values)), 2) if values else None
        there = [value for value in row.values() if value is not None]
        table[name] = {**row, "mean": round(float(np.mean(there)), 2) if there else None}
    return table
