"""Where a run begins: the weights of a checkpoint or of a model of the store, carried into a network as wide or wider.

What the narrow network computes stays what it was in the layers without norms: its channels keep their weights, read
nothing of the new ones, and the new ones begin at random. Only the residual branches' norms see more channels than
before, which costs little. So a model that is there already is not learnt again in order to grow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from demucs.demucs import DConv
from demucs.hf import load_safetensors_model

from stemd.core.errors import StemdError
from stemd.training.keeping import read_json

_GLU, _LSTM, _BOTH_WAYS = 2, 4, 2
"""How many blocks of channels lie one after the other: values and gates, an LSTM's four gates, its two directions."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What was learnt before: by which runs, of how many segments and CPU seconds each; and if it came from a store, of
    which model, and from which material that had learnt."""

    runs: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    model: str | None = None
    material: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Origin:
        """As a checkpoint has it that is started from."""
        return cls(
            {name: (done, seconds) for name, (done, seconds) in kept["runs"].items()}, kept["origin"], kept["material"]
        )

    def kept(self) -> dict[str, Any]:
        """As a checkpoint has it; what several runs share counts once."""
        segments, seconds = map(sum, zip(*self.runs.values(), strict=True)) if self.runs else (0, 0.0)
        facts = {"runs": dict(self.runs), "segments": segments, "cpu_seconds": seconds}
        return {**facts, "origin": self.model, "material": dict(self.material)}


def read(start: Path) -> tuple[dict[str, Any], Origin]:
    """The weights of a checkpoint, which are its averaged ones, or of a model folder; and what was learnt by them."""
    if not start.is_dir():
        kept = torch.load(start, map_location="cpu", weights_only=True)
        return kept["averaged"], Origin.of(kept)
    weights, facts = start / f"{start.name}.safetensors", read_json(start / "training.json")
    state: dict[str, Any] = load_safetensors_model(weights).float().state_dict()
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    done = facts.get("segments", 0), facts.get("cpu_seconds", 0.0)
    return state, Origin({digest: done}, f"{start.name} {digest}", facts.get("material", {}))


def begin(network: torch.nn.Module, start: Path) -> Origin:
    """Fill ``network`` with the averaged weights of the checkpoint, or the weights of the model folder, ``start``.

    Raises:
        StemdError: STEMD-M004, it is of a network that does not fit into this one.
    """
    state, origin = read(start)
    try:
        network.load_state_dict(widened(state, network))
    except (KeyError, RuntimeError) as error:
        raise StemdError("STEMD-M004", f"{start} does not fit into this network: {error}") from None
    return origin


def widened(state: dict[str, Any], network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """``state`` at the size of ``network``, whose own (random) weights the new channels get.

    Raises:
        KeyError: a layer that is not in both.
        RuntimeError: the network is narrower.
    """
    own, halves = network.state_dict(), _gated(network)
    if own.keys() != state.keys():
        raise KeyError(", ".join(sorted(own.keys() ^ state.keys())[:3]))
    return {name: _grown(name, state[name], value.clone(), halves) for name, value in own.items()}


def _grown(name: str, old: torch.Tensor, new: torch.Tensor, halves: set[str]) -> torch.Tensor:
    old = old.to(new)
    if old.shape == new.shape:
        return old
    if any(before > after for before, after in zip(old.shape, new.shape, strict=True)):
        raise RuntimeError(f"{name} is {tuple(old.shape)}, wider than {tuple(new.shape)}")
    layer = name.rsplit(".", 1)[0]
    first = _LSTM if ".lstm." in name else _GLU if layer in halves else 1
    rows = _places(old.shape[0], new.shape[0], first)
    if old.dim() == 1:
        new[rows] = old
        return new
    second = _BOTH_WAYS if "weight_ih_l1" in name or layer.endswith(".linear") else 1
    columns = _places(old.shape[1], new.shape[1], second)
    if ".conv_tr." in name:  # what a transposed convolution reads comes first
        new[:, columns] = 0
    else:
        new[rows] = 0
    new[rows.unsqueeze(1), columns] = old
    return new


def _places(before: int, after: int, blocks: int) -> torch.Tensor:
    """Where ``before`` channels in ``blocks`` go among ``after``."""
    at = torch.arange(before).reshape(blocks, -1)
    return (at - at[:, :1] + torch.arange(blocks).unsqueeze(1) * (after // blocks)).flatten()


def _gated(network: torch.nn.Module) -> set[str]:
    """The layers whose outputs are values and gates: every rewrite, and what ends a residual branch."""
    found = {name for name, _ in network.named_modules() if name.endswith(".rewrite")}
    for name, module in network.named_modules():
        if isinstance(module, DConv):
            for number, layers in enumerate(module.layers):
                size = len(list(layers.children()))
                found |= {f"{name}.layers.{number}.{size - back}" for back in (4, 3)}
    return found
