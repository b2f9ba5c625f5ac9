"""The outlines in ``peaks.json`` as pictures. Consumers may have changed the file, so its form is checked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from stemd.ops.web.markup import Markup, h

_COLUMNS, _HEIGHT = 400, 100
_MOST_STEMS, _MOST_POINTS, _MOST = 64, 20_000, 1 << 40
#: How many bits a value may have.
_BITS = (8, 16)


@dataclass(frozen=True, slots=True)
class Outline:
    """A stem's lowest and highest values, one pair a point, full scale ±1; ``seconds``: how long it is."""

    stem: str
    pairs: Sequence[tuple[float, float]]
    seconds: float

    @property
    def loudest(self) -> float:
        return max((max(-low, high) for low, high in self.pairs), default=0.0)


def outlines(data: bytes | None) -> list[Outline]:
    """What the document of ``stemd.engines.audio.peaks`` holds; nothing, where it is of another form."""
    try:
        document = json.loads(data or b"")
        channels, length, rate, points = (
            document[key] for key in ("channels", "length", "sample_rate", "samples_per_pixel")
        )
        values, stems, bits = document["data"], document["stems"], document["bits"]
        scale = 2 ** (bits - 1) if bits in _BITS else 0
        fits = (
            scale > 0
            and all(type(each) is int and 0 < each <= _MOST for each in (channels, length, rate, points))
            and channels <= _MOST_STEMS
            and length <= _MOST_POINTS
            and len(values) == 2 * channels * length
            and len(stems) == channels
            and all(type(value) is int and -scale <= value <= scale for value in values)
            and all(isinstance(stem, str) for stem in stems)
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return []
    return (
        [_outline(number, stem, values, channels, scale, length * points / rate) for number, stem in enumerate(stems)]
        if fits
        else []
    )


def _outline(number: int, stem: str, values: list[int], channels: int, scale: int, seconds: float) -> Outline:
    lows, highs = values[2 * number :: 2 * channels], values[2 * number + 1 :: 2 * channels]
    return Outline(stem, [(low / scale, high / scale) for low, high in zip(lows, highs, strict=True)], seconds)


def drawing(outline: Outline, loudest: float) -> Markup:
    """An SVG element in which ``loudest`` is the full height: the same for all stems, so that they can be compared."""
    full = max(loudest, 1e-3)
    columns = [(low / full, high / full) for low, high in _fold(outline.pairs)]
    tops = [f"{x} {_y(high)}" for x, (_, high) in enumerate(columns)]
    bottoms = [f"{x} {_y(low, 1)}" for x, (low, _) in enumerate(columns)]
    path = h("path", {"d": f"M{'L'.join(tops + bottoms[::-1])}Z"})
    box = {"viewBox": f"0 0 {max(1, len(columns) - 1)} {_HEIGHT}", "preserveAspectRatio": "none"}
    return h("svg", {"class": "wave", "role": "img", "aria-label": f"Waveform of {outline.stem}", **box}, path)


def _fold(pairs: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    count = min(_COLUMNS, len(pairs))
    edges = [number * len(pairs) // count for number in range(count + 1)]
    parts: list[Any] = [pairs[begin:end] for begin, end in pairwise(edges)]
    return [(min(low for low, _ in part), max(high for _, high in part)) for part in parts]


def _y(value: float, below: float = 0) -> str:
    return f"{_HEIGHT / 2 * (1 - value) + below:.1f}"
