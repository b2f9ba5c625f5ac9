"""``average``: the mean of the averaged weights of runs that began from one checkpoint, as of one run in parallel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from stemd.core.errors import StemdError
from stemd.training.keeping import provenance, whole, write_json


def average(sources: list[Path], target: Path) -> None:
    """Write a checkpoint that ``train --start`` and ``export`` take.

    After the runs ``sources`` may name what they began from, for a mean nearer to it: it counts once, as part of them.

    Raises:
        StemdError: STEMD-M004, the networks differ.
    """
    states = [torch.load(path, map_location="cpu", weights_only=True) for path in sources]
    if len({str(state["course"]["network"]) for state in states}) > 1:
        raise StemdError("STEMD-M004", "the checkpoints are of different networks")
    mean: dict[str, Any] = {
        name: torch.stack([state["averaged"][name] for state in states]).mean(0) for name in states[0]["averaged"]
    }
    common = states[0].get("prior", (0, 0.0))
    segments = common[0] + sum(state["segments"] - state.get("prior", common)[0] for state in states)
    seconds = common[1] + sum(state["cpu_seconds"] - state.get("prior", common)[1] for state in states)
    facts = {"segments": segments, "cpu_seconds": seconds, "origin": states[0]["origin"]}
    kept = {"course": states[0]["course"], "material": states[0].get("material", {})}
    with whole(target) as file:
        torch.save({"averaged": mean, **kept, **facts}, file)
    write_json(target.with_suffix(".record.json"), {"of": [str(path) for path in sources], **facts, **provenance()})
