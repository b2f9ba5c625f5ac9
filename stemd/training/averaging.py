"""``average``: the mean of the averaged weights of runs that began from one checkpoint, as of one run in parallel."""

from __future__ import annotations

from pathlib import Path

import torch

from stemd.core.errors import StemdError
from stemd.training.keeping import provenance, whole, write_json
from stemd.training.starting import read


def average(sources: list[Path], target: Path) -> None:
    """Write a checkpoint that ``train --start`` and ``export`` take.

    After the runs ``sources`` may name what they began from, a checkpoint or a model folder, for a mean nearer to it:
    it counts once, as part of them.

    Raises:
        StemdError: STEMD-M004, the networks differ, or there is no run among them.
    """
    weights = [read(path)[0] for path in sources]
    states = [torch.load(path, map_location="cpu", weights_only=True) for path in sources if not path.is_dir()]
    if not states:
        raise StemdError("STEMD-M004", "there is no run among the checkpoints")
    if len({str([(name, value.shape) for name, value in each.items()]) for each in weights}) > 1:
        raise StemdError("STEMD-M004", "the checkpoints are of different networks")
    mean = {name: torch.stack([each[name] for each in weights]).mean(0) for name in weights[0]}
    first = states[0]
    common = first.get("prior", (0, 0.0))
    segments = common[0] + sum(state["segments"] - state.get("prior", common)[0] for state in states)
    seconds = common[1] + sum(state["cpu_seconds"] - state.get("prior", common)[1] for state in states)
    facts = {"segments": segments, "cpu_seconds": seconds, "origin": first["origin"]}
    with whole(target) as file:
        torch.save({"averaged": mean, "course": first["course"], "material": first.get("material", {}), **facts}, file)
    write_json(target.with_suffix(".record.json"), {"of": [str(path) for path in sources], **facts, **provenance()})
