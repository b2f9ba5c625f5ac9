"""Trying the ways to compute on the loaded networks: how long each takes, and how far it is from the plain one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from demucs.demucs import Demucs

from stemd.engines.tuning.remembered import Remembered, processor
from stemd.engines.tuning.trials import ACCURATE_DB, REDUCED_DB, Trial, choose
from stemd.engines.tuning.ways import Way, in_force

_SECONDS = 1.0
_ROUNDS = 2
_PLAIN = Way()


def candidates(device: str, precision: str, transformers: bool) -> list[tuple[Way, float, float]]:
    """The ways worth trying after the plain one: each with its gate (dB) and what it is worth, see ``Trial``.

    ``sdpa`` may be a little slower: it needs 200 MiB less. Graphics cards get no other matmul precision: theirs are
    smaller formats (TF32), which no gate of float32 lets pass. Only they are fast at convolutions in a smaller format.
    """
    if precision == "fp32":
        return []
    found: list[tuple[Way, float, float]] = []
    if transformers:
        found.append((Way(attention="sdpa"), ACCURATE_DB, 1.05))
    attention = "sdpa" if transformers else "mha"
    if device == "cpu":
        found.append((Way("medium", attention), ACCURATE_DB, 0.95))
    if precision in ("bf16", "fp16") and transformers:
        found += [(Way(way.matmul, "sdpa", precision), REDUCED_DB, 0.95) for way, *_ in found[-2:]]
    if precision in ("bf16", "fp16") and device == "cuda":
        found.append((Way(attention=attention, transformer=precision, convolutions=precision), REDUCED_DB, 0.95))
    return found


def tune(
    networks: Sequence[Any], device: torch.device, precision: str, sha256: str, folder: Path | None
) -> dict[str, Any]:
    """What to use for ``networks``, as ``{"way", "error_db", "faster", "trials"}``; from ``folder`` where known there.

    ``folder`` is ``None`` where nothing is to be remembered or recalled.
    """
    if precision == "fp32":
        return {"way": _PLAIN.to_dict(), "error_db": None, "faster": 1.0, "trials": []}
    remembered = Remembered(folder, key_of(device, precision, sha256)) if folder else None
    known = checked(remembered.recall()) if remembered else None
    if known is None:
        known = _found(tried(networks, device, precision))
        if remembered:
            remembered.keep(known)
            known = checked(remembered.recall()) or known
    return known


def tried(networks: Sequence[Any], device: torch.device, precision: str) -> list[Trial]:
    """The plain way and each candidate, in turn and twice, all networks one after the other; the better time counts."""
    transformers = any(getattr(each, "crosstransformer", None) is not None for each in networks)
    ways = [(_PLAIN, ACCURATE_DB, 1.0), *candidates(device.type, precision, transformers)]
    seconds = [math.inf] * len(ways)
    worst = [-math.inf] * len(ways)
    sounds = [sound(each, int(_SECONDS * each.samplerate)).to(device) for each in networks]
    for _ in range(_ROUNDS):
        spent = [0.0] * len(ways)
        for network, heard in zip(networks, sounds, strict=True):
            plain = None
            for index, (way, *_) in enumerate(ways):
                took, answer = timed(network, heard, way)
                spent[index] += took
                plain = answer if plain is None else plain
                worst[index] = _worse(worst[index], error_db(answer, plain))
        seconds = [min(pair) for pair in zip(seconds, spent, strict=True)]
    return [
        Trial(way.to_dict(), took, error, gate, worth)
        for (way, gate, worth), took, error in zip(ways, seconds, worst, strict=True)
    ]


def error_db(answer: torch.Tensor, plain: torch.Tensor) -> float:
    """The energy of the difference by that of ``plain`` in dB; NaN where one is not finite."""
    difference, energy = float((answer - plain).double().square().sum()), float(plain.double().square().sum())
    if not math.isfinite(difference + energy):
        return math.nan
    if difference == 0:
        return -math.inf
    return 10 * math.log10(difference / energy) if energy else math.nan


def _worse(one: float, other: float) -> float:
    return math.nan if math.isnan(one) or math.isnan(other) else max(one, other)


def _found(trials: Sequence[Trial]) -> dict[str, Any]:
    chosen = choose(trials)
    told = chosen.to_dict()
    return {
        "way": told["way"],
        "error_db": told["error_db"],
        "faster": round(trials[0].seconds / chosen.seconds, 2),
        "trials": [trial.to_dict() for trial in trials],
    }


def checked(found: dict[str, Any] | None) -> dict[str, Any] | None:
    """``found`` if it names a way there is."""
    try:
        return found if found is not None and Way.of(found["way"]) else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def key_of(device: torch.device, precision: str, sha256: str) -> dict[str, Any]:
    """What a finding holds for."""
    return {
        "processor": processor(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "torch": str(torch.__version__),
        "demucs": version("demucs"),
        "model": sha256,
        "precision": precision,
    }


def sound(network: Any, frames: int) -> torch.Tensor:
    """Falling noise with a deviation of 1, as the network would get it; the same every time."""
    if isinstance(network, Demucs):
        frames = int(network.valid_length(frames))
    noise = np.random.default_rng(0).standard_normal((1, network.audio_channels, frames))
    spectrum = np.fft.rfft(noise, axis=-1) / np.sqrt(np.arange(1, frames // 2 + 2))
    falling = np.fft.irfft(spectrum, frames, axis=-1) * np.geomspace(1, 1e-3, frames)
    return torch.from_numpy((falling / falling.std()).astype(np.float32))


def timed(network: Any, heard: torch.Tensor, way: Way) -> tuple[float, torch.Tensor]:
    """Seconds, and the answer on the CPU; an HTDemucs is let compute less than its segment for once."""
    padded = getattr(network, "use_train_segment", None)
    try:
        if padded:
            network.use_train_segment = False
        with in_force(way, network):
            return clocked(lambda: network(heard).float().cpu())
    finally:
        if padded:
            network.use_train_segment = padded


def clocked(call: Callable[[], torch.Tensor]) -> tuple[float, torch.Tensor]:
    """Seconds that ``call`` took, and what it gave."""
    started = time.perf_counter()
    with torch.inference_mode():
        answer = call()
    return time.perf_counter() - started, answer
