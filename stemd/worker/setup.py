"""What a worker is started for. Standard library only: the daemon imports it too."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Setup:
    """One engine with one model of one store on one device (``auto``, ``cpu``, ``cuda``, ``mps``)."""

    engine: str
    model: str
    store: str
    device: str

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Setup:
        return cls(**json.loads(text))
