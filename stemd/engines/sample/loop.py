"""``python -m stemd.engines.sample.loop DIR SECONDS…``: the song, repeated or cut to any length, for measuring time.

One 24-bit wav for each length; each begins elsewhere in the song, so no two are alike.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from stemd.engines.sample.song import compose
from stemd.engines.sample.synth import RATE, Signal

#: Half of full scale: no stem comes near to clipping, which each program would handle in its own way.
_PEAK = 0.5
_STEP_SECONDS = 1.7


def write(folder: Path, lengths: Sequence[float]) -> list[Path]:
    """Write ``01.wav``, ``02.wav`` … of ``lengths`` (seconds) into ``folder``; returns their paths."""
    song: Signal = np.sum(list(compose().values()), axis=0)
    song *= _PEAK / np.abs(song).max()
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, length in enumerate(lengths):
        turned = np.roll(song, -round(number * _STEP_SECONDS * RATE), axis=0)
        paths.append(folder / f"{number + 1:02}.wav")
        with soundfile.SoundFile(paths[-1], "w", RATE, 2, "PCM_24") as file:
            left = round(length * RATE)
            while left > 0:
                file.write(turned[:left])
                left -= len(turned)
    return paths


def main() -> None:
    """Write the files and print their paths, one a line."""
    parser = argparse.ArgumentParser(prog="python -m stemd.engines.sample.loop", description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("seconds", type=float, nargs="+")
    chosen = parser.parse_args()
    print(*write(chosen.folder, chosen.seconds), sep="\n")


if __name__ == "__main__":
    main()
