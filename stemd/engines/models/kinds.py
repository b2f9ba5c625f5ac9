"""The two forms weights come in: a Demucs bag (YAML and safetensors), and a TensorFlow checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from stemd.engines.models import checkpoint
from stemd.engines.models.bag import read_bag


class Kind(Protocol):
    """What the store needs to know of a form; ``folder`` is named after the weights."""

    def here(self, folder: Path) -> bool:
        """Whether a folder without a record looks like weights of this kind."""

    def files(self, folder: Path) -> list[Path]:
        """All files that make up the weights.

        Raises:
            StemdError: STEMD-M004, the folder's description is none.
        """


class BagKind:
    """``NAME.yaml`` and ``SIGNATURE.safetensors`` for each member."""

    def here(self, folder: Path) -> bool:
        return (folder / f"{folder.name}.yaml").is_file() and any(folder.glob("*.safetensors"))

    def files(self, folder: Path) -> list[Path]:
        members = dict.fromkeys(read_bag(folder).members)
        return [folder / f"{folder.name}.yaml", *(folder / f"{each}.safetensors" for each in members)]


class CheckpointKind:
    """``checkpoint``, ``model.index``, ``model.data-00000-of-00001`` and ``model.meta``."""

    def here(self, folder: Path) -> bool:
        return all((folder / name).is_file() for name in checkpoint.FILES)

    def files(self, folder: Path) -> list[Path]:
        return [folder / name for name in checkpoint.FILES]


#: Engine → the form of its weights. Other engines keep theirs themselves.
KINDS: dict[str, Kind] = {"demucs": BagKind(), "spleeter": CheckpointKind()}


def engine_of(folder: Path) -> str | None:
    """The engine whose weights a folder looks to hold."""
    return next((engine for engine, kind in KINDS.items() if kind.here(folder)), None)
