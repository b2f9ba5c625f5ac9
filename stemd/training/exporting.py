"""``export``: averaged weights as a folder of the model store, in half precision, checked by loading it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from demucs.hf import load_safetensors_model

from stemd.core.errors import StemdError
from stemd.training import network
from stemd.training.keeping import provenance, read_json, whole, write_json
from stemd.training.notices import notices, together
from stemd.training.terms import RATE

MOST_BYTES = 8_000_000
_LEAST_FIDELITY = 30.0
"""dB by which half precision must lie above its own error."""


def export(checkpoint: Path, folder: Path, run: Path | None = None, credit: str | None = None) -> dict[str, Any]:
    """Write ``NAME.yaml``, ``NAME.safetensors``, ``stemd.json``, ``training.json`` and the notices; returns the facts.

    The name is the folder's. ``run`` is the folder of the training, by default the checkpoint's; ``credit`` says who
    made the real recordings that were learnt from, and under which licence.

    Raises:
        StemdError: STEMD-M004, the file is too large or does not compute what the network did.
    """
    name, state = folder.name, torch.load(checkpoint, map_location="cpu", weights_only=True)
    model = network.build(**state["course"]["network"]).eval()
    model.load_state_dict(state["averaged"])
    weights, listing = folder / f"{name}.safetensors", folder / f"{name}.yaml"
    network.save(model, weights)
    with whole(listing) as file:
        file.write(f"models: ['{name}']\n".encode())
    fidelity = _fidelity(model, weights)
    if weights.stat().st_size > MOST_BYTES or fidelity < _LEAST_FIDELITY:
        raise StemdError("STEMD-M004", f"{weights.stat().st_size} bytes, {fidelity:.1f} dB above rounding: not fit")
    record, before = read_json((run or checkpoint.parent) / "run.json"), state.get("material", {})
    facts = {
        "name": name,
        "parameters": network.size(model),
        "segments": state["segments"],
        "cpu_seconds": round(state["cpu_seconds"]),
        "origin": state["origin"],
        "course": state["course"],
        "half_precision_db": round(fidelity, 1),
        "material": {**together(before, record.get("material", {})), "credit": credit or before.get("credit")},
        **provenance(),
    }
    write_json(folder / "training.json", facts)
    with whole(folder / "THIRD_PARTY_NOTICES.md") as file:
        file.write(notices(facts["material"]).encode())
    files = {path.name: _stated(path) for path in (listing, weights)}
    told = {"schema_version": 1, "name": name, "source": "made for stemd; see MODEL_CARD.md", "fetched_at": None}
    write_json(folder / "stemd.json", {**told, "files": files})
    return facts


def _fidelity(model: Any, weights: Path) -> float:
    """How far the error of the exported weights lies below the output, in dB."""
    again = load_safetensors_model(weights).float().eval()
    noise = torch.randn(1, 2, 2 * RATE, generator=torch.Generator().manual_seed(1)) * 0.1
    with torch.inference_mode():
        wanted, found = model(noise), again(noise)
    return float(10 * torch.log10(wanted.square().mean() / (found - wanted).square().mean().clamp(min=1e-20)))


def _stated(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
