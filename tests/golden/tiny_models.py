"""Small random networks of every Demucs kind, written the way the reference and the model store read them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs
from safetensors.torch import save_file

RATE = 8_000
STEMS = ["drums", "bass", "other", "vocals"]


def htdemucs(segment: Fraction = Fraction(1, 2)) -> HTDemucs:
    return HTDemucs(STEMS, channels=8, t_layers=1, t_heads=2, samplerate=RATE, segment=segment)


def hdemucs(segment: float = 0.75) -> HDemucs:
    return HDemucs(STEMS, channels=8, depth=5, samplerate=RATE, segment=segment, dconv_lstm=9, dconv_attn=9)


def demucs(segment: float = 0.6) -> Demucs:
    return Demucs(STEMS, channels=8, depth=3, lstm_layers=0, samplerate=RATE, segment=segment)


def write_bag(
    folder: Path,
    name: str,
    kinds: Sequence[Callable[[], Any]],
    weights: list[list[float]] | None = None,
    segment: float | None = None,
) -> Path:
    """Make random networks and write ``folder/NAME``: bag, safetensors, and the reference's own ``.th``."""
    target = folder / name
    target.mkdir(parents=True)
    torch.manual_seed(7)
    signatures = [f"sig{index}" for index in range(len(kinds))]
    for signature, kind in zip(signatures, kinds, strict=True):
        network = kind()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
        args, kwargs = network._init_args_kwargs
        state = {key: value.contiguous() for key, value in network.state_dict().items()}
        klass = type(network)
        torch.save({"klass": klass, "args": args, "kwargs": kwargs, "state": state}, target / f"{signature}.th")
        metadata = {
            "klass": f"{klass.__module__}.{klass.__qualname__}",
            "args": json.dumps(args, default=_plain),
            "kwargs": json.dumps(kwargs, default=_plain),
        }
        save_file(state, target / f"{signature}.safetensors", metadata=metadata)
    bag = [f"models: {signatures!r}"]
    bag += [f"weights: {weights!r}"] if weights else []
    bag += [f"segment: {segment!r}"] if segment else []
    (target / f"{name}.yaml").write_text("\n".join(bag) + "\n")
    return target


def _plain(value: Any) -> Any:
    if isinstance(value, Fraction):
        return {"_type": "fraction", "numerator": value.numerator, "denominator": value.denominator}
    raise TypeError(value)
