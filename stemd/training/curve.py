"""The learning curve as a picture, written by hand: scores (or the loss) over segments on a logarithmic axis."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_WIDTH, _HEIGHT, _LEFT, _TOP = 720, 360, 64, 28


def read(logs: Sequence[Path], what: str) -> list[tuple[float, float]]:
    """(segments, value) of each line that has ``what``, of runs that followed one another; of repeated steps the last
    counts."""
    points: list[tuple[float, float]] = []
    for log in logs:
        found: dict[float, float] = {}
        for line in log.read_text().splitlines():
            facts: dict[str, Any] = json.loads(line)
            if what in facts:
                found[float(facts["segments"])] = float(facts[what])
        before = points[-1][0] if points else 0.0
        points += [(before + segments, value) for segments, value in sorted(found.items())]
    return points


def log(points: Sequence[tuple[float, float]], what: str) -> str:
    """``points`` as a log that ``read`` reads."""
    return "".join(json.dumps({"segments": round(x), what: round(y, 3)}) + "\n" for x, y in points)


def thinned(points: Sequence[tuple[float, float]], most: int = 480) -> list[tuple[float, float]]:
    """At most so many: the means of neighbours."""
    step = -(-len(points) // most) or 1
    parts = [points[start : start + step] for start in range(0, len(points), step)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]


def smoothed(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A running mean over neighbours, an eighth of all."""
    half = max(2, len(points) // 16)
    return [
        (x, sum(y for _, y in points[max(0, i - half) : i + half + 1]) / len(points[max(0, i - half) : i + half + 1]))
        for i, (x, _) in enumerate(points)
    ]


def draw(points: Sequence[tuple[float, float]], title: str) -> str:
    """An SVG; empty axes where there are fewer than two points."""
    points = [point for point in points if point[0] > 0]
    if len(points) < 2:
        return _svg([_text(_WIDTH / 2, _HEIGHT / 2, f"{title}: nothing to see yet", "middle")])
    low, high = min(y for _, y in points), max(y for _, y in points)
    if high - low < 1e-9:
        low, high = low - 1, high + 1
    first, last = math.log2(points[0][0]), math.log2(points[-1][0])

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log2(x) - first) / max(1e-9, last - first)
        return _LEFT + across * (_WIDTH - _LEFT - 20), _TOP + (high - y) / (high - low) * (_HEIGHT - _TOP - 40)

    parts = [_text(_LEFT, 18, title, "start")]
    for power in range(math.ceil(first), math.floor(last) + 1):
        x, _ = place(2.0**power, low)
        parts.append(f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{_HEIGHT - 40}" stroke="#ddd"/>')
        parts.append(_text(x, _HEIGHT - 22, f"{2**power}", "middle"))
    for step in range(5):
        value = low + (high - low) * step / 4
        _, y = place(points[0][0], value)
        parts.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - 20}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(_text(_LEFT - 6, y + 4, f"{value:.2f}", "end"))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
    parts.append(f'<polyline points="{path}" fill="none" stroke="#1668b8" stroke-width="1.5"/>')
    parts.append(_text(_WIDTH / 2, _HEIGHT - 5, "segments", "middle"))
    return _svg(parts)


def _svg(parts: Sequence[str]) -> str:
    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}"'
    style = 'font-family="sans-serif" font-size="12" fill="#333"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>', *parts, "</svg>\n"])


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'
