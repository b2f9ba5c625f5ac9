"""An engine for stemd: what is in the middle of the stereo picture, and what is at its sides. Needs only numpy.

Each bin of a short-time Fourier transform goes to the centre as far as it is alike in both channels: the share is
``max(0, 2·Re(L·R*) / (|L|² + |R|²))``, the similarity of Avendano and Jot ("Frequency domain techniques for stereo to
multichannel upmix", AES 22nd Conference, 2002) without the modulus, so that what is out of phase counts as a side.
The sides are the source less the centre, so the two sum to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemd.core.errors import StemdError
from stemd.engines.base import Lane, ModelInfo, Scaling, TrackStats
from stemd.engines.options import number

Frames = NDArray[np.float32]

_MODEL, _STEMS, _RATE = "similarity", ("centre", "sides"), 44_100
_FRAME, _STEP = 4096, 1024
#: Frames of a segment, of the part in which it fades into the next one, and of its window, all on the grid of steps.
_SEGMENT, _OVERLAP = 128 * _STEP, 32 * _STEP
_WINDOW = _SEGMENT + 2 * _FRAME
#: Four periodic Hann windows squared, a quarter of their length apart, sum to this everywhere.
_OVERLAPPED = 1.5
_HANN = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FRAME) / _FRAME)).astype(np.float32)
#: Measured, with room to spare; in bytes.
_MEMORY = 200 << 20
_NEXT_TO_NOTHING = np.float32(1e-20)


class CentreEngine:
    """The engine ``centre``. ``focus`` (option): the power of each bin's share; more leaves more to the sides."""

    name = "centre"

    def __init__(self) -> None:
        self._focus = 1.0

    @property
    def version(self) -> str:
        return version("stemd-centre")

    def load(self, model: str, store: Path, device: str) -> ModelInfo:
        """There are no weights: what stands for them is the name of the rule."""
        if model != _MODEL:
            raise StemdError("STEMD-M002", f"centre has no model {model!r}; its one model is {_MODEL}")
        if device not in {"auto", "cpu"}:
            raise StemdError("STEMD-E004", f"device {device!r} is not for centre; it runs on the CPU (auto, cpu)")
        return ModelInfo(model, _STEMS, _RATE, 2, hashlib.sha256(_MODEL.encode()).hexdigest())

    def ease(self, options: Mapping[str, Any], level: int) -> Mapping[str, Any]:
        """A segment takes a few megabytes; there is nothing to save."""
        return options

    def lanes(self, options: Mapping[str, Any], stems: Sequence[str]) -> tuple[Lane, ...]:
        """One pass, whatever is asked for; its first segment begins with the track."""
        if unknown := options.keys() - {"focus"}:
            raise StemdError("STEMD-E004", f"centre has no option {min(unknown)!r}; there is focus")
        self._focus = float(number(options, "focus", 1.0, 0.1, 10))
        return (Lane(0, _SEGMENT, _SEGMENT - _OVERLAP, 0, dict.fromkeys(stems, 1.0)),)

    def memory(self, stats: TrackStats) -> int:
        """Python with its libraries, and the spectra of a window; however long the track is."""
        return _MEMORY

    def begin(self, stats: TrackStats) -> Scaling:
        return Scaling()

    def window(self, lane: Lane, frames: int) -> int:
        """At least one STFT frame on both sides of a segment; at the end of the track it is more."""
        return _WINDOW

    def separate_segments(self, lane: Lane, batch: Frames) -> Mapping[str, Frames]:
        centre = np.stack([self._centre(window) for window in batch])
        found = {"centre": centre, "sides": batch - centre}
        return {stem: found[stem] for stem in lane.weights}

    def _centre(self, window: Frames) -> Frames:
        """What is in the middle of ``window`` (frames × 2), the same in both channels."""
        starts = range(0, len(window) - _FRAME + 1, _STEP)
        spectra = np.fft.rfft(np.stack([window[at : at + _FRAME] * _HANN[:, None] for at in starts]), axis=1)
        left, right = spectra[..., 0], spectra[..., 1]
        power = np.square(np.abs(left)) + np.square(np.abs(right))
        share = np.maximum(0, 2 * (left * right.conj()).real / (power + _NEXT_TO_NOTHING)) ** self._focus
        pieces = np.fft.irfft(share * (left + right) / 2, _FRAME, axis=1) * (_HANN / _OVERLAPPED)
        middle = np.zeros(len(window), np.float32)
        for at, piece in zip(starts, pieces, strict=True):
            middle[at : at + _FRAME] += piece
        return np.repeat(middle[:, None], 2, axis=1)

    def notes(self, stats: TrackStats) -> Sequence[str]:
        return ()

    def facts(self) -> Mapping[str, Any]:
        return {"device": "cpu", "precision": "float32", "focus": self._focus}

    def close(self) -> None:
        """Nothing was taken."""
