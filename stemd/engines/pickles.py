"""``python -m stemd.engines.pickles PACKAGE TARGET``: a demucs ``.th`` package as safetensors; prints one JSON line.

Only ``stemd.engines.models.pickled`` starts this, after it has found the package's sha256 allowed. Loading is tried
first in torch's restricted way, which builds tensors and plain values but runs nothing; only a package that needs more
is loaded in full.
"""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs
from safetensors.torch import save_file

_CLASSES = (HTDemucs, HDemucs, Demucs)


def load(path: Path) -> tuple[dict[str, Any], bool]:
    """The package, and whether it had to be loaded in the way that runs code."""
    try:
        with torch.serialization.safe_globals([*_CLASSES, Fraction]):
            return torch.load(path, "cpu", weights_only=True), False
    except pickle.UnpicklingError:
        return torch.load(path, "cpu", weights_only=False), True


def metadata_of(package: Mapping[str, Any]) -> dict[str, str]:
    """What ``demucs.hf.load_safetensors_model`` reads beside the tensors: class and arguments, in JSON."""
    klass = package["klass"]
    if klass not in _CLASSES:
        raise ValueError(f"{klass!r} is no Demucs network")
    arguments = {key: json.dumps(package[key], default=_plain) for key in ("args", "kwargs")}
    return {"klass": f"{klass.__module__}.{klass.__qualname__}", **arguments}


def flatten(state: Mapping[str, Any]) -> tuple[dict[str, torch.Tensor], str | None]:
    """A state's tensors by name, and for a nested (quantised) one its structure in JSON.

    The structure's nodes are those of ``demucs.hf``: ``_tensor``, ``_dict``, ``_list``, ``_tuple``, ``_class``.
    """
    if all(isinstance(value, torch.Tensor) for value in state.values()):
        return {key: value.clone().contiguous() for key, value in state.items()}, None
    tensors: dict[str, torch.Tensor] = {}
    return tensors, json.dumps(_node(state, "state", tensors))


def _node(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        tensors[name] = value.clone().contiguous()
        return {"_tensor": name}
    if isinstance(value, Mapping):
        return {"_dict": [[key, _node(each, f"{name}.{key}", tensors)] for key, each in value.items()]}
    if isinstance(value, list | tuple):
        kind = "_list" if isinstance(value, list) else "_tuple"
        return {kind: [_node(each, f"{name}.{number}", tensors) for number, each in enumerate(value)]}
    if isinstance(value, type):
        return {"_class": f"{value.__module__}.{value.__qualname__}"}
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Fraction):
        return {"_type": "fraction", "numerator": value.numerator, "denominator": value.denominator}
    raise TypeError(f"{type(value).__name__} is no plain value")


def main() -> None:
    """Convert one package."""
    package, ran_code = load(Path(sys.argv[1]))
    tensors, structure = flatten(package["state"])
    metadata = metadata_of(package) | ({"structure": structure} if structure else {})
    save_file(tensors, sys.argv[2], metadata=metadata)
    print(json.dumps({"ran_code": ran_code}))


if __name__ == "__main__":
    main()
