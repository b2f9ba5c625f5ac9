"""``average``: the mean of the averaged weights of runs that began from one checkpoint, as of one run in parallel."""

from __future__ import annotations

from pathlib import Path

import torch

from stemd.core.errors import StemdError
from stemd.training.keeping import provenance, whole, write_json
from stemd.training.starting import Origin, read


def average(sources: list[Path], target: Path) -> None:
    """Write a checkpoint that ``train --start`` and ``export`` take.

    After the runs ``sources`` may name what they began from, a checkpoint or a model folder, for a mean nearer to it:
    it counts once, as part of them, and so does all else that they share.

    Raises:
        StemdError: STEMD-M004, the networks differ, or there is no run among them.
    """
    weights, origins = zip(*map(read, sources), strict=True)
    states = [torch.load(path, map_location="cpu", weights_only=True) for path in sources if not path.is_dir()]
    if not states:
        raise StemdError("STEMD-M004", "there is no run among the checkpoints")
    if len({str([(name, value.shape) for name, value in each.items()]) for each in weights}) > 1:
        raise StemdError("STEMD-M004", "the checkpoints are of different networks")
    mean = {name: torch.stack([each[name] for each in weights]).mean(0) for name in weights[0]}
    first = states[0]
    runs: dict[str, tuple[int, float]] = {}
    for name, done in (each for origin in origins for each in origin.runs.items()):
        runs[name] = max(runs.get(name, (0, 0.0)), done)  # one may have begun before another had gone on
    facts = Origin(runs, first["origin"], first["material"]).kept()
    with whole(target) as file:
        torch.save({"averaged": mean, "course": first["course"], **facts}, file)
    write_json(target.with_suffix(".record.json"), {"of": [str(path) for path in sources], **facts, **provenance()})
