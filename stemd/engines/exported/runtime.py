"""The cores of a bag's networks, computed by OpenVINO on the CPU; the Fourier transforms stay torch's."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from stemd.engines.exported import export, quiet
from stemd.engines.exported.core import closed, length, opened
from stemd.engines.exported.kept import Kept
from stemd.engines.memory import let_go
from stemd.engines.tuning.ways import Way

#: Of what is written; part of what exports are kept by.
_FORMAT = 1


def installed() -> str | None:
    """The version of OpenVINO, or ``None``; loads nothing."""
    try:
        return version("openvino")
    except PackageNotFoundError:
        return None


class Cores:
    """Of ``networks``, a bag's, whose weights ``sha256`` stands for. ``folder`` keeps the exports (``None``: none)."""

    def __init__(self, networks: Sequence[Any], sha256: str, folder: Path | None) -> None:
        self._networks, self._sha256 = networks, sha256
        self._room = None if folder else tempfile.TemporaryDirectory(prefix="stemd-openvino-")
        self._kept = Kept(folder or Path(self._room.name if self._room else ""))
        self._openvino = quiet.openvino().Core()
        self._models: dict[tuple[int, str], Any] = {}
        self._weights: dict[int, Path] = {}
        self._compiled: dict[int, tuple[Way, int, Any]] = {}

    def ready(self, way: Way) -> None:
        """Everything that ``answer`` needs beside the networks' settings: from now on their weights are not.

        Raises:
            Exception: it cannot be had; of many kinds.
        """
        for member in range(len(self._networks)):
            self._model(member, way)
        self._request(0, way)

    def _model(self, member: int, way: Way) -> Any:
        """One network as OpenVINO reads it, exported if need be; its weights stay in their file, which may vanish."""
        graph = export.MARKED if way.reduced and way.convolutions == "fp32" else export.PLAIN
        if (member, graph) not in self._models:
            folder = self._files(member)
            self._weights[member] = folder / export.WEIGHTS
            self._models[member, graph] = self._openvino.read_model(folder / graph, self._weights[member])
        return self._models[member, graph]

    def _files(self, member: int) -> Path:
        key = {
            "format": _FORMAT,
            "model": self._sha256,
            "member": member,
            "openvino": installed(),
            "demucs": version("demucs"),
            "torch": str(torch.__version__),
        }
        return self._kept.get(key, lambda part: export.export(self._networks[member], part))

    def answer(self, member: int, mix: torch.Tensor, way: Way) -> torch.Tensor:
        """What the network gives for ``mix`` (segments × channels × frames), with as many threads as torch has."""
        network, request = self._networks[member], self._request(member, way)
        frames = mix.shape[-1]
        answers = []
        for one in functional.pad(mix, (0, length(network) - frames)):
            spectrum, given = opened(network, one[None])
            request.infer([each.numpy() for each in given], share_inputs=True)
            masks, waves = (torch.from_numpy(request.get_output_tensor(index).data) for index in (0, 1))
            answers.append(closed(network, spectrum, masks, waves)[..., :frames])
        return torch.cat(answers)

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What this processor computes in, as OpenVINO names it: ``FP32``, ``BF16`` …"""
        return tuple(self._openvino.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))

    def drop(self) -> None:
        """Free what was compiled."""
        self._compiled.clear()
        self._models.clear()

    def close(self) -> None:
        """Free everything."""
        self.drop()
        if self._room:
            self._room.cleanup()

    def _request(self, member: int, way: Way) -> Any:
        threads = torch.get_num_threads()
        known = self._compiled.get(member)
        if known is None or known[:2] != (way, threads):
            self._compiled.pop(member, None)  # first out, then in: they are large
            known = self._compiled[member] = (way, threads, self._compile(member, way, threads))
        return known[2]

    def _compile(self, member: int, way: Way, threads: int) -> Any:
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if way.reduced else "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # other workers would be pinned to the same cores
            "CPU_DENORMALS_OPTIMIZATION": True,
        }
        request = self._openvino.compile_model(self._model(member, way), "CPU", settings).create_infer_request()
        let_go(self._weights[member])  # it has them in an order of its own now
        return request
