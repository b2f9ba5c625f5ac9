"""A model of the size of htdemucs with random weights, to measure with where the real one is not.

``python -m stemd.engines.sized NAME STORE`` writes it into a store. Speed and memory do not depend on what the weights
are; what it separates is noise.
"""

from __future__ import annotations

import argparse
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from demucs.htdemucs import HTDemucs
from safetensors.torch import save_file

_STEMS = ["drums", "bass", "other", "vocals"]
#: How much each layer of the transformer adds: an untrained one's next to nothing would hide what its precision costs.
_LAYER_SCALE = 0.1


def write(name: str, store: Path) -> Path:
    """Write ``STORE/NAME``: one HTDemucs of the published size, the same weights every time."""
    folder = store / name
    folder.mkdir(parents=True)
    torch.manual_seed(7)
    network: Any = HTDemucs(_STEMS, channels=48, bottom_channels=512, t_layers=5, segment=Fraction(39, 5))
    for part, values in network.crosstransformer.named_parameters():
        if part.endswith("scale"):
            values.data.fill_(_LAYER_SCALE)
    args, kwargs = network._init_args_kwargs
    metadata = {
        "klass": "demucs.htdemucs.HTDemucs",
        "args": json.dumps(args, default=_plain),
        "kwargs": json.dumps(kwargs, default=_plain),
    }
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_file(state, folder / f"{name}0.safetensors", metadata=metadata)
    (folder / f"{name}.yaml").write_text(f"models: ['{name}0']\n")
    return folder


def _plain(value: Any) -> Any:
    if isinstance(value, Fraction):
        return {"_type": "fraction", "numerator": value.numerator, "denominator": value.denominator}
    raise TypeError(value)


def main() -> None:
    """Write a model; prints its folder."""
    parser = argparse.ArgumentParser(prog="python -m stemd.engines.sized", description=main.__doc__)
    parser.add_argument("name")
    parser.add_argument("store", type=Path)
    chosen = parser.parse_args()
    print(write(chosen.name, chosen.store))


if __name__ == "__main__":
    main()
