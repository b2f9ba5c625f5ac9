"""What of an HTDemucs lies between its two Fourier transforms, as a module of its own.

The network's own ``forward`` is used as it is: its transforms are replaced while it runs. So are the four numbers that
normalise its inputs: torch sums millions of values pairwise, other libraries one after the other, and that alone would
cost 30 dB of accuracy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import torch
from demucs.htdemucs import HTDemucs
from torch.overrides import TorchFunctionMode

#: Bytes: of OpenVINO; of a compiled network; and for each of its channels and second of its segment.
_LIBRARY, _COMPILED, _BUFFERS = 290 << 20, 64 << 20, 0.7 * (1 << 20)
_OURS = ("_spec", "_magnitude", "_mask", "_ispec")


def why_not(network: Any) -> str:
    """What keeps ``network`` from being exported, in words; empty if nothing does."""
    if not isinstance(network, HTDemucs):
        return f"it computes HTDemucs only, this is {type(network).__name__}"
    if not network.use_train_segment:
        return "the network has segments of any length"
    return ""


def length(network: Any) -> int:
    """The frames that it always computes."""
    return int(network.segment * network.samplerate)


def memory(networks: Sequence[Any], members: Collection[int]) -> int:
    """Bytes beside torch's own and the weights in their files, with ``members`` of ``networks`` computed: at most.

    Measured on htdemucs in float32: 290 MiB of OpenVINO and the transforms' buffers; for each network its weights in
    another order, and 250 MiB of buffers, which torch would share.
    """
    needed = [networks[member] for member in members]
    weights = sum(each.numel() * 4 for network in needed for each in network.parameters())
    buffers = sum(_BUFFERS * network.channels * float(network.segment) + _COMPILED for network in needed)
    return int(_LIBRARY + 1.2 * weights + buffers)


def opened(network: Any, mix: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """The complex spectrum of ``mix`` (1 × channels × ``length``), and what ``Core`` is given of the two."""
    complex_spectrum = network._spec(mix)
    spectrum = network._magnitude(complex_spectrum).contiguous()
    numbers = [
        count(dim=tuple(range(1, each.dim())), keepdim=True)
        for each in (spectrum, mix)
        for count in (each.mean, each.std)
    ]
    return complex_spectrum, (mix, spectrum, *numbers)


def closed(network: Any, spectrum: torch.Tensor, masks: torch.Tensor, waves: torch.Tensor) -> torch.Tensor:
    """The network's answer, of what ``Core`` gave for what ``opened`` made.

    One stem after the other: on its way back each takes six times the memory of what it is in the end.
    """
    spectra = network._mask(spectrum, masks).split(1, dim=1)
    heard = [network._ispec(each, waves.shape[-1]) for each in spectra]
    return waves + torch.cat(heard, dim=1)


class Core(torch.nn.Module):
    """The network from what ``opened`` gives to what ``closed`` takes."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, mix: torch.Tensor, spectrum: torch.Tensor, *numbers: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        inner, masks = self.network, []

        def keep(_: Any, found: torch.Tensor) -> torch.Tensor:
            masks.append(found)
            return found

        inner._spec = lambda _: None
        inner._magnitude = lambda _: spectrum
        inner._mask = keep
        inner._ispec = lambda *_: torch.zeros(())
        try:
            with _Numbers(numbers) as given:
                waves = inner(mix)
        finally:
            for name in _OURS:
                delattr(inner, name)
        if given.left or len(masks) != 1:
            raise ValueError("this version of demucs computes in another order")
        return masks[0], waves


class _Numbers(TorchFunctionMode):
    """Means and deviations over all but the first axis are not computed but taken from ``numbers``, in turn."""

    def __init__(self, numbers: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.left = list(numbers)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        whole = func in (torch.Tensor.mean, torch.Tensor.std) and kwargs.get("dim") in ((1, 2), (1, 2, 3))
        return self.left.pop(0) if whole and self.left else func(*args, **kwargs)
