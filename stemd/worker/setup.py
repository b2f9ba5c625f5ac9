"""What a worker is started for. Nothing heavy: the daemon imports it too."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from stemd.engines.models import Supply


@dataclass(frozen=True, slots=True)
class Setup:
    """One engine with one model of one store on one device (``auto``, ``cpu``, ``cuda``, ``mps``).

    ``environment`` is the folder of the engine's own Python environment, empty where it has none;
    ``supply`` says whether and how the model may be fetched if it is not in the store. ``precision`` is what the
    engine may compute in, ``tuning`` the folder where what is fastest here is remembered (empty: nowhere), ``runtime``
    what computes (``base.Portable``). ``card`` is where the process listens that computes for all workers of a card
    (``base.OnCard``; empty: each computes by itself), and ``together`` how many segments it computes at once (0: it
    decides).
    """

    engine: str
    model: str
    store: str
    device: str
    environment: str = ""
    supply: Supply = field(default_factory=Supply)
    precision: str = "auto"
    tuning: str = ""
    runtime: str = "auto"
    together: int = 0
    card: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Setup:
        facts = json.loads(text)
        supply = facts["supply"]
        return cls(**{**facts, "supply": Supply(**{**supply, "pickles": tuple(supply["pickles"])})})
