"""The network: demucs' ``HDemucs``, spectrogram branch only, with start weights that are four masks.

The class multiplies nothing with a mask, but its gates can: the outermost layers are set so that before any training
each output is ``sigmoid(gate) · mixture``, exactly. The encoder carries the real and imaginary parts of its four bins
through the GELU as pairs of both signs (gelu(x) − gelu(−x) = x), the decoder's GLU multiplies a copy for each stem
with a gate, and the transposed convolution puts every value back into its bin. Training has only to learn the gates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from demucs.hdemucs import HDemucs

from stemd.training.keeping import whole
from stemd.training.terms import RATE, STEMS

#: Measured on one core: growth 1.5 (3.4 M parameters) costs as much time as 1.4 (2.2 M), since the outer layers cost
#: most; 80 channels cost a quarter more. In half precision this is 6.9 MB.
NANO: Mapping[str, Any] = {
    "sources": list(STEMS), "audio_channels": 2, "samplerate": RATE, "segment": 4.6,
    "hybrid": False, "cac": True, "nfft": 4096, "depth": 5, "channels": 64, "growth": 1.5,
    "kernel_size": 8, "stride": 4, "context": 0, "context_enc": 0,
    "norm_starts": 99, "norm_groups": 4, "freq_emb": 0.2,
    "dconv_mode": 1, "dconv_depth": 1, "dconv_comp": 4, "dconv_init": 0.1,
    "dconv_attn": 99, "dconv_lstm": 2, "rescale": 0.1,
}  # fmt: skip
#: Real and imaginary parts of two channels.
_VALUES = 4
_OPEN, _QUARTER = 4.0, -1.1
"""Gates: nearly open, and about a quarter, as four stems share a mixture."""


def build(**changes: Any) -> HDemucs:
    """A fresh network with masks for weights; ``changes`` replace settings of ``NANO``."""
    network: HDemucs = HDemucs(**{**NANO, **changes})
    _start_as_masks(network)
    return network


def size(network: torch.nn.Module) -> int:
    """How many parameters."""
    return sum(each.numel() for each in network.parameters())


def save(network: Any, path: Path) -> None:
    """The file that ``demucs.hf.load_safetensors_model`` reads, in half precision, whole."""
    from safetensors.torch import save as serialise

    arguments, keywords = network._init_args_kwargs
    kind = type(network)
    state = {name: value.detach().cpu().half().contiguous().clone() for name, value in network.state_dict().items()}
    words = {"klass": f"{kind.__module__}.{kind.__name__}", "args": json.dumps(list(arguments))}
    with whole(path) as file:
        file.write(serialise(state, metadata={**words, "kwargs": json.dumps(keywords)}))


@torch.no_grad()
def _start_as_masks(network: Any) -> None:
    values = network.stride * _VALUES
    if network.channels < values * len(STEMS):
        raise ValueError(f"{network.channels} channels are too few for masks; {values * len(STEMS)} are needed")
    _start_encoder(network, values)
    _start_decoder(network, values)


def _start_encoder(network: Any, values: int) -> None:
    first, padding, channels = network.encoder[0], network.kernel_size // 4, network.channels
    weight, bias = first.conv.weight, first.conv.bias
    weight[: 2 * values], bias[: 2 * values] = 0, 0
    for step in range(network.stride):
        for part in range(_VALUES):
            value = step * _VALUES + part
            weight[value, part, padding + step, 0] = 1.0
            weight[values + value, part, padding + step, 0] = -1.0
    if first.dconv is not None:  # the residual branch leaves the pairs alone
        for layer in first.dconv.layers:
            layer[-1].scale.data[: 2 * values] = 0
    weight, bias = first.rewrite.weight, first.rewrite.bias
    weight[:values], bias[:values] = 0, 0
    weight[channels : channels + values], bias[channels : channels + values] = 0, _OPEN
    through = 1 / torch.sigmoid(torch.tensor(_OPEN)).item()
    for value in range(values):
        weight[value, value, 0, 0], weight[value, values + value, 0, 0] = through, -through


def _start_decoder(network: Any, values: int, gain: float = 0.3) -> None:
    last, deeper = network.decoder[-1], network.decoder[-2]
    padding, channels = network.kernel_size // 4, network.channels
    deeper.conv_tr.weight[:, :values], deeper.conv_tr.bias[:values] = 0, 0
    weight, bias = last.rewrite.weight, last.rewrite.bias
    used, middle = values * len(STEMS), weight.shape[2] // 2
    weight[:used], bias[:used] = 0, 0
    weight[channels : channels + used] *= gain
    bias[channels : channels + used] = _QUARTER
    last.conv_tr.weight[:used] = 0
    last.conv_tr.weight[used:] *= 0.01
    last.conv_tr.bias[:] = 0
    for stem in range(len(STEMS)):
        for step in range(network.stride):
            gate = channels + stem * values + step * _VALUES
            weight[gate : gate + _VALUES] = weight[gate : gate + 1].clone()  # one gate for a bin, to begin with
            for part in range(_VALUES):
                value = step * _VALUES + part
                weight[stem * values + value, value, middle, middle] = 1.0
                last.conv_tr.weight[stem * values + value, stem * _VALUES + part, padding + step, 0] = 1.0
