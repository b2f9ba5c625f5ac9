"""What the tests of the training share: skips with a reason, a small shelf of made-up songs."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

from stemd.training import shelf
from stemd.training.sounding.fluid import library
from stemd.training.terms import RATE

FONTS = Path("/usr/share/sounds/sf2")
TRAINING_FONT, HELD_OUT_FONT = FONTS / "FluidR3_GM.sf2", FONTS / "TimGM6mb.sf2"


def missing() -> str:
    """What of the programs and data the rendering needs is not installed."""
    there = {
        "pyworld (pip install stemd[train])": importlib.util.find_spec("pyworld"),
        "espeak-ng": shutil.which("espeak-ng"),
        "flite": shutil.which("flite"),
        "libfluidsynth3": library(),
        "fluid-soundfont-gm": TRAINING_FONT.is_file(),
        "timgm6mb-soundfont": HELD_OUT_FONT.is_file(),
    }
    return ", ".join(name for name, found in there.items() if not found)


needs_sound = pytest.mark.skipif(bool(missing()), reason=f"not installed: {missing()}")


def tones(seed: int, seconds: float = 4.0, absent: tuple[int, ...] = ()) -> np.ndarray:
    """Four stems that are easy to tell apart: clicks, a low sine, a chord on one side, a wavering tone."""
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    clicks = random.normal(0, 1, len(time)) * np.exp(-((time * random.uniform(3, 5)) % 1) * 40)
    low = np.sin(2 * np.pi * random.uniform(50, 110) * time)
    chord = sum(np.sin(2 * np.pi * random.uniform(300, 900) * time) for _ in range(3)) / 3
    voice = np.sin(2 * np.pi * random.uniform(1200, 2000) * time + 6 * np.sin(2 * np.pi * 5 * time))
    sides = np.array([[1, 1], [1, 1], [1, 0.3], [1, 1]])[:, :, None]
    stems = (np.stack([clicks, low, chord, voice])[:, None] * sides * 0.1).astype(np.float32)
    stems[list(absent)] = 0
    return stems


@pytest.fixture(scope="session")
def small_shelf(tmp_path_factory) -> Path:
    """Six songs of four seconds, one of them without vocals."""
    folder = tmp_path_factory.mktemp("shelf")
    for number in range(6):
        absent = (3,) if number == 5 else ()
        shelf.put(folder, f"song-0-{number:05}", tones(number, absent=absent), {"seed": [0, number]})
    return folder
