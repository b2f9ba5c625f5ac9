"""The bridge to the reference program, the ``demucs`` command: the same weights for it, and a look at what it made.

``python -m stemd.engines.reference export MODEL STORE DIR`` writes a model of the store as ``demucs --repo DIR -n
MODEL`` reads it; ``… compare STEMS OTHERS`` says how far two folders of wav files are apart. Both print JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from demucs.hf import load_safetensors_model
from safetensors import safe_open

from stemd.engines import models
from stemd.engines.demucs_engine import DemucsEngine

_BLOCK = 1 << 16


def export(model: str, store: Path, folder: Path) -> dict[str, Any]:
    """Write ``model`` into ``folder``: a package for each member, named after its checksum, and the bag.

    The weights keep the precision they are stored in. Members get names of their own: ``demucs`` would take a
    member that is called like its bag for the whole. Returns the bag's stems and the versions of what made it.

    Raises:
        StemdError: STEMD-M001 to M004 and E002, as when the engine loads it.
    """
    loaded = DemucsEngine().load(model, store, "cpu")
    source = models.find(model, store)
    bag = models.read_bag(source)
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"member{number}" for number in range(len(bag.members))]
    for name, member in zip(names, bag.members, strict=True):
        content = _package(source / f"{member}.safetensors")
        (folder / f"{name}-{hashlib.sha256(content).hexdigest()[:8]}.th").write_bytes(content)
    description = {"models": names, "weights": bag.weights, "segment": bag.segment}
    (folder / f"{model}.yaml").write_text(json.dumps(description))
    return {
        "stems": list(loaded.stems),
        "sha256": loaded.sha256,
        "demucs": version("demucs"),
        "torch": str(torch.__version__),
    }


def _package(path: Path) -> bytes:
    network: Any = load_safetensors_model(path)
    with safe_open(str(path), framework="pt") as file:
        stored = {key: file.get_tensor(key).dtype for key in file.keys()}  # noqa: SIM118  it has no other iteration
    state = {key: value.to(stored.get(key, value.dtype)) for key, value in network.state_dict().items()}
    args, kwargs = network._init_args_kwargs
    buffer = io.BytesIO()
    torch.save({"klass": type(network), "args": args, "kwargs": kwargs, "state": state}, buffer)
    return buffer.getvalue()


def compare(stems: Path, others: Path) -> dict[str, float]:
    """The largest difference of any sample, for each ``STEM.wav`` in ``stems`` and its namesake; 1.0 is full scale.

    Raises:
        ValueError: there are no stems, or two files differ in length or channels.
        soundfile.LibsndfileError: one is missing or no audio.
    """
    found = {path.stem: _difference(path, others / path.name) for path in sorted(stems.glob("*.wav"))}
    if not found:
        raise ValueError(f"there is no stem in {stems}")
    return found


def _difference(path: Path, other: Path) -> float:
    with soundfile.SoundFile(path) as one, soundfile.SoundFile(other) as two:
        if (len(one), one.channels) != (len(two), two.channels):
            raise ValueError(f"{path.name}: {len(one)} × {one.channels} frames against {len(two)} × {two.channels}")
        pairs = zip(one.blocks(_BLOCK, always_2d=True), two.blocks(_BLOCK, always_2d=True), strict=True)
        return max((float(np.abs(mine - theirs).max()) for mine, theirs in pairs), default=0.0)


def main() -> None:
    """Export a model for the demucs command, or compare two folders of stems; prints one JSON document."""
    parser = argparse.ArgumentParser(prog="python -m stemd.engines.reference", description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    exporting = commands.add_parser("export")
    exporting.add_argument("model")
    exporting.add_argument("store", type=Path)
    exporting.add_argument("folder", type=Path)
    comparing = commands.add_parser("compare")
    comparing.add_argument("stems", type=Path)
    comparing.add_argument("others", type=Path)
    chosen = parser.parse_args()
    if chosen.command == "export":
        print(json.dumps(export(chosen.model, chosen.store, chosen.folder)))
    else:
        print(json.dumps(compare(chosen.stems, chosen.others)))


if __name__ == "__main__":
    main()
