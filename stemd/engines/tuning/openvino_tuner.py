"""Whether OpenVINO is faster than the best of torch's ways here, and as right as is asked for."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from stemd.engines.exported import core
from stemd.engines.exported.runtime import Cores, installed
from stemd.engines.memory import give_back
from stemd.engines.tuning import demucs_tuner
from stemd.engines.tuning.remembered import Remembered
from stemd.engines.tuning.trials import ACCURATE_DB, REDUCED_DB, Trial, choose
from stemd.engines.tuning.ways import Way

#: Below so many parameters (htdemucs has 42 million) a model is fast without: its export takes longer than a song.
_SMALL = 20_000_000
#: Seconds after which nothing more is tried: whoever loads a model for ten minutes is taken for hung.
_BUDGET = 180.0


def candidates(precision: str, transformers: bool) -> list[tuple[Way, float]]:
    """The ways with their gates (dB): everything in float32, the transformer in bf16, everything in bf16."""
    found = [(Way(runtime="openvino"), ACCURATE_DB)]
    if precision == "bf16":
        mixed = [Way(transformer="bf16", runtime="openvino")] if transformers else []
        whole = Way(transformer="bf16", runtime="openvino", convolutions="bf16")
        found += [(way, REDUCED_DB) for way in (*mixed, whole)]
    return found


def why_not(networks: Sequence[Any], device: torch.device, precision: str, runtime: str) -> str:
    """Why OpenVINO is not even tried, in words; empty if it is."""
    if runtime == "torch":
        return "engines.demucs.runtime is torch"
    if installed() is None:
        return "it is not installed"
    if device.type != "cpu":
        return f"the device is {device.type}"
    if precision == "fp32":
        return "with precision fp32 Demucs computes as it is"
    for network in networks:
        if reason := core.why_not(network):
            return reason
    size = sum(each.numel() for network in networks for each in network.parameters())
    return "the model is small" if size < _SMALL and runtime == "auto" else ""


def consider(
    found: Mapping[str, Any],
    networks: Sequence[Any],
    device: torch.device,
    asked: tuple[str, str],
    sha256: str,
    folder: Path | None,
) -> tuple[dict[str, Any], Cores | None]:
    """``found`` by torch's ways, with OpenVINO's; and what computes, where one of those was chosen.

    ``asked`` are precision and runtime. What was found is kept below ``folder`` as torch's ways are. Under ``openvino``
    it says ``used``, or why not: whatever goes wrong with it, torch computes.
    """
    precision, runtime = asked
    if reason := why_not(networks, device, precision, runtime):
        return {**found, "openvino": reason}, None
    cores = None
    try:
        cores = Cores(networks, sha256, folder / "openvino" if folder else None)
        key = {**demucs_tuner.key_of(device, precision, sha256), "runtime": runtime, "openvino": installed()}
        remembered = Remembered(folder, key) if folder else None
        known = demucs_tuner.checked(remembered.recall()) if remembered else None
        if known is None:
            known = _found(found, tried(networks, cores, Way.of(found["way"]), precision), runtime)
            if remembered:
                remembered.keep(known)
        if (way := Way.of(known["way"])).runtime == "openvino":
            cores.ready(way)
            return known, cores
    except Exception as error:  # an optional helper: of whatever kind, it must not keep the model from working
        known = {**found, "openvino": f"it failed: {type(error).__name__}: {error}"[:300]}
    if cores:
        cores.close()
    return known, None


def tried(networks: Sequence[Any], cores: Cores, best: Way, precision: str) -> list[Trial]:
    """The best of torch's ways, and OpenVINO's after it, each on a whole segment of every network.

    One after the other, for each needs a copy of the weights, and what one had is given back before the next; torch is
    timed before and after. Better times count.
    """
    began = time.monotonic()
    transformers = any(each.crosstransformer is not None for each in networks)
    sounds = [demucs_tuner.sound(each, core.length(each)) for each in networks]
    plain = [demucs_tuner.timed(each, sound, Way())[1] for each, sound in zip(networks, sounds, strict=True)]

    def by_torch() -> float:
        spent = sum(demucs_tuner.timed(each, sound, best)[0] for each, sound in zip(networks, sounds, strict=True))
        give_back()
        return spent

    seconds, trials = by_torch(), []
    for way, gate in candidates(precision, transformers):
        spent, worst = 0.0, -math.inf
        for member, (sound, expected) in enumerate(zip(sounds, plain, strict=True)):
            if time.monotonic() - began > _BUDGET:
                raise TimeoutError(f"trying it took longer than {_BUDGET:.0f} seconds")
            runs = [_timed(cores, member, sound, way) for _ in range(3)]  # the first one compiles
            spent += min(took for took, _ in runs[1:])
            worst = max(worst, demucs_tuner.error_db(runs[-1][1], expected), key=lambda db: (math.isnan(db), db))
            cores.drop()
            give_back()
        trials.append(Trial(way.to_dict(), spent, worst, gate))
    return [Trial(best.to_dict(), min(seconds, by_torch()), -math.inf), *trials]


def _timed(cores: Cores, member: int, sound: torch.Tensor, way: Way) -> tuple[float, torch.Tensor]:
    return demucs_tuner.clocked(lambda: cores.answer(member, sound, way))


def _found(found: Mapping[str, Any], trials: Sequence[Trial], runtime: str) -> dict[str, Any]:
    """``found`` and ``trials`` as one; seconds of the latter in proportion to those that torch took before."""
    best = next((each for each in found["trials"] if each["way"] == found["way"]), None)
    scale = best["seconds"] / trials[0].seconds if best else 1.0
    torchs, *others = [replace(each, seconds=scale * each.seconds) for each in trials]
    passed = [each for each in others if each.passed]
    chosen = choose(passed) if runtime == "openvino" and passed else choose([torchs, *others])
    told = chosen.to_dict()
    listed = [*found["trials"], *(each.to_dict() for each in others)]
    if chosen is torchs:
        why = "torch is faster here" if passed else "its error is beyond the gate"
        return {**found, "trials": listed, "openvino": why}
    return {
        "way": told["way"],
        "error_db": told["error_db"],
        "faster": round(found["faster"] * torchs.seconds / chosen.seconds, 2),
        "trials": listed,
        "openvino": "used",
    }
