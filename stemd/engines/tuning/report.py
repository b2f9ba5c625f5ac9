"""What this machine can do, and how much of it a model uses: trials of the ways to compute, and the matmul's own peak.

``python -m stemd.engines.tuning.report MODEL STORE DEVICE PRECISION RUNTIME [--keep DIR]`` prints one JSON document.
With ``--keep`` what is found replaces what was remembered there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from stemd.engines.demucs_engine import DemucsEngine

_SIDE = 2048
_ROUNDS = 3


def report(model: str, store: Path, device: str, asked: tuple[str, str], keep: Path | None) -> dict[str, Any]:
    """The trials, and for the way chosen: GFLOP and seconds of one segment, and its share of the matmul's peak.

    The segment and the matmul are timed in turn, so that what else the machine does bears on both; the best of each
    counts. Products, convolutions and attention are counted; LSTM layers are not, so for models with them the share is
    too low. ``asked`` are precision and runtime.

    Raises:
        StemdError: what ``load`` raises.
    """
    engine = DemucsEngine()
    started = time.perf_counter()
    info = engine.load(model, store, device)
    loaded = time.perf_counter() - started
    if keep is not None:
        for old in keep.glob("*.json"):
            if json.loads(old.read_text()).get("key", {}).get("model") == info.sha256:
                old.unlink()
    lane = engine.lanes({}, info.stems)[0]
    noise = np.random.default_rng(0).standard_normal((1, engine.window(lane, lane.segment), 2)).astype(np.float32)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # it cannot see into what is faster
        engine.separate_segments(lane, noise)
    precision, runtime = asked
    engine.prefer_runtime(runtime)
    started = time.perf_counter()
    found = dict(engine.tune(precision, keep))
    tuned = time.perf_counter() - started
    gflop = counter.get_total_flops() / 1e9
    segment, peak = float("inf"), 0.0
    for _ in range(_ROUNDS):
        segment = min(segment, _seconds(lambda: engine.separate_segments(lane, noise)))
        peak = max(peak, _peak())
    engine.close()
    return {
        **found,
        "load_seconds": round(loaded, 2),
        "tune_seconds": round(tuned, 2),
        "segment": {
            "seconds": round(segment, 3),
            "gflop": round(gflop, 1),
            "realtime": round(lane.stride / info.sample_rate / segment, 2),
        },
        "peak_gflops": round(peak, 1),
        "share_of_peak": round(gflop / segment / peak, 3),
        "threads": torch.get_num_threads(),
    }


def _peak() -> float:
    """GFLOP/s of float32 matrix products, by the faster of torch's two libraries."""
    one, other = torch.randn(_SIDE, _SIDE), torch.randn(_SIDE, _SIDE)
    best, before = 0.0, torch.get_float32_matmul_precision()
    try:
        for library in ("highest", "medium"):
            torch.set_float32_matmul_precision(library)
            best = max(best, *(2 * _SIDE**3 / 1e9 / _seconds(lambda: one @ other) for _ in range(_ROUNDS)))
    finally:
        torch.set_float32_matmul_precision(before)
    return best


def _seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    with torch.inference_mode():
        call()
    return time.perf_counter() - started


def main() -> None:
    """Try what is fast here; prints one JSON document."""
    parser = argparse.ArgumentParser(prog="python -m stemd.engines.tuning.report", description=main.__doc__)
    parser.add_argument("model")
    parser.add_argument("store", type=Path)
    parser.add_argument("device")
    parser.add_argument("precision")
    parser.add_argument("runtime")
    parser.add_argument("--keep", type=Path)
    chosen = parser.parse_args()
    print(
        json.dumps(report(chosen.model, chosen.store, chosen.device, (chosen.precision, chosen.runtime), chosen.keep))
    )


if __name__ == "__main__":
    main()
