"""The ways torch can compute a Demucs network, and one of them put in force for a call.

Everything here is a global switch of torch or a wrapper around one module of the network; each is set for one call and
set back after it, so that nothing else in the process (a reference in a test, another model) is touched by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from typing import Any

import torch

_FORMATS = {"bf16": torch.bfloat16, "fp16": torch.float16}
_NAMES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


@dataclass(frozen=True, slots=True)
class Way:
    """``matmul``: torch's float32 matmul precision (``medium`` takes oneDNN instead of MKL; with AMX it is bf16).

    ``attention``: ``mha`` is torch's own fast path, ``sdpa`` computes it in tiles and needs less memory.
    ``transformer``: the number format of the transformer. ``convolutions``: that of everything else; torch on a CPU has
    it in float32 always, for in a smaller format it carries most of the error and gains little there.
    ``runtime``: whose code computes; to ``openvino`` matmul and attention mean nothing.
    """

    matmul: str = "highest"
    attention: str = "mha"
    transformer: str = "fp32"
    runtime: str = "torch"
    convolutions: str = "fp32"

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Way:
        """From ``to_dict``.

        Raises:
            ValueError: it is no such way.
        """
        later = {"runtime": "torch", "convolutions": "fp32"}  # what was found before there was more has none
        way = cls(**{each.name: str({**later, **found}.get(each.name)) for each in fields(cls)})
        known = way.matmul in ("highest", "medium") and way.attention in ("mha", "sdpa") and way.transformer in _NAMES
        if not known or way.runtime not in ("torch", "openvino") or way.convolutions not in _NAMES:
            raise ValueError(f"no way to compute: {dict(found)}")
        return way

    @property
    def reduced(self) -> bool:
        """Whether something is computed in less than float32."""
        return self.transformer in _FORMATS

    @property
    def what(self) -> str:
        """What is computed in less than float32."""
        return "the transformer" if self.convolutions == "fp32" else "everything"

    def to_dict(self) -> dict[str, str]:
        return asdict(self)

    def facts(self) -> dict[str, str]:
        """What a manifest and the header of a checkpoint say of it."""
        formats = {"precision": _NAMES[self.transformer], "convolutions": _NAMES[self.convolutions]}
        if self.runtime != "torch":
            return {**formats, "runtime": self.runtime, self.runtime: version(self.runtime)}
        if self.convolutions == "fp32":
            del formats["convolutions"]
        return {**formats, "matmul": self.matmul, "attention": self.attention}


@contextmanager
def in_force(way: Way, network: Any) -> Iterator[None]:
    """Compute ``network`` in this way inside the block."""
    matmul, fast = torch.get_float32_matmul_precision(), torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.callback(torch.set_float32_matmul_precision, matmul)
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.set_float32_matmul_precision(way.matmul)
        torch.backends.mha.set_fastpath_enabled(way.attention == "mha")
        if way.convolutions in _FORMATS:
            device = next(network.parameters()).device.type
            stack.enter_context(torch.autocast(device, dtype=_FORMATS[way.convolutions]))
        transformer = getattr(network, "crosstransformer", None)
        if transformer is not None and way.reduced:
            stack.enter_context(_reduced(transformer, _FORMATS[way.transformer]))
        yield


@contextmanager
def _reduced(transformer: Any, form: torch.dtype) -> Iterator[None]:
    """Matrix products and attention of ``transformer`` in ``form``; norms and sums stay float32."""
    plain = transformer.forward

    def forward(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.autocast(values[0].device.type, dtype=form):
            answers = plain(*values)
        return tuple(answer.float() for answer in answers)

    transformer.forward = forward
    try:
        yield
    finally:
        del transformer.forward
