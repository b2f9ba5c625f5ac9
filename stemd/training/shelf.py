"""Songs on disk: one int16 array each (4 stems × 2 channels × frames), memory-mapped, and beside it a record.

The record is written last, so a song with a record is whole; that makes any interrupted filling of a shelf go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemd.core.errors import StemdError
from stemd.training.keeping import read_json, whole, write_json
from stemd.training.terms import STEMS, Sound, rms

_FULL, _PEAK = 32767, 0.9
#: Power above which a frame counts as sounding, and how many of those looked at a stem must have.
_SOUNDING, _LEAST, _STRIDE = 1e-6, 500, 9


@dataclass(frozen=True, slots=True)
class Shelved:
    """One song: ``levels`` are the RMS of each stem where it sounds, 0 where it never does."""

    name: str
    stems: NDArray[np.int16]
    levels: tuple[float, ...]
    facts: Mapping[str, Any]

    @property
    def frames(self) -> int:
        return int(self.stems.shape[-1])

    def cut(self, stem: int, start: int, stop: int) -> Sound:
        """Frames ``start`` to ``stop`` of one stem, as float32."""
        return self.stems[stem, :, start:stop].astype(np.float32) / np.float32(_FULL)

    def sounds(self, stem: int, start: int, stop: int) -> bool:
        """Whether the stem is there to hear between these frames: no softer than a tenth of its level."""
        part = self.stems[stem, :, start : stop : _STRIDE * 7].astype(np.float32) / np.float32(_FULL)
        return rms(part) > 0.1 * self.levels[stem]

    def all(self) -> Sound:
        """The whole song as float32."""
        return self.stems.astype(np.float32) / np.float32(_FULL)


def has(folder: Path, name: str) -> bool:
    """Whether the song is there, whole."""
    return (folder / f"{name}.json").is_file()


def put(folder: Path, name: str, stems: Sound, facts: Mapping[str, Any]) -> None:
    """Keep ``stems``; all share one gain, so that they go on adding up."""
    peak = float(np.abs(stems).max())
    scaled = np.round(stems * np.float32(_PEAK * _FULL / peak if peak > 1e-4 else 0.0)).astype(np.int16)
    with whole(folder / f"{name}.npy") as file:
        np.save(file, scaled)
    write_json(folder / f"{name}.json", {"levels": _levels(scaled), **facts})


def take(folders: list[Path]) -> list[Shelved]:
    """All whole songs of ``folders``, in the order of their names.

    Raises:
        StemdError: STEMD-A003, there is none.
    """
    found = []
    for folder in folders:
        for record in sorted(folder.glob("*.json")):
            array = record.with_suffix(".npy")
            if not array.is_file():
                continue
            facts = read_json(record)
            found.append(Shelved(record.stem, np.load(array, mmap_mode="r"), tuple(facts.pop("levels")), facts))
    if not found:
        names = ", ".join(str(folder) for folder in folders)
        raise StemdError("STEMD-A003", f"no song in {names}", remedy="Fill it: python -m stemd.training render.")
    return found


def _levels(stems: NDArray[np.int16]) -> list[float]:
    levels = []
    for index in range(len(STEMS)):
        power = np.square(stems[index, :, ::_STRIDE].astype(np.float32) / _FULL)
        loud = power[power > _SOUNDING]
        levels.append(round(float(np.sqrt(loud.mean())), 6) if loud.size > _LEAST else 0.0)
    return levels
