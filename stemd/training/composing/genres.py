"""What tells one kind of music from another here: tempo, a grid of sixteen steps, and how likely what is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Genre:
    """``kick``, ``snare``, ``hat``: a bar in sixteenths. ``electric``: how likely drums and bass are synthesised.

    ``absent``: how likely a stem is missing from the whole song. ``spoken``: how likely the voice talks.
    """

    tempo: tuple[int, int]
    kick: str
    snare: str
    hat: str
    electric: float = 0.2
    sevenths: float = 0.25
    swing: float = 0.1
    spoken: float = 0.0
    absent: Mapping[str, float] = field(default_factory=dict)


_BACKBEAT, _EIGHTHS, _SIXTEENTHS = "....x.......x...", "x.x.x.x.x.x.x.x.", "x" * 16
_ONE = "x" + "." * 15
_PLAYED, _UNPLUGGED = {"vocals": 0.35}, {"drums": 0.6, "bass": 0.3}

GENRES: Mapping[str, Genre] = {
    "rock": Genre((95, 160), "x.....x.x.......", _BACKBEAT, _EIGHTHS),
    "pop": Genre((85, 130), "x..x....x.x.....", _BACKBEAT, _EIGHTHS, 0.6),
    "house": Genre((116, 130), "x...x...x...x...", _BACKBEAT, "..x...x...x...x.", 0.6),
    "techno": Genre((122, 145), "x...x...x...x...", "............x...", "..x.x.x...x.x.xx", 0.9, absent=_PLAYED),
    "disco": Genre((108, 126), "x...x...x...x...", _BACKBEAT, "x.xxx.xxx.xxx.xx", 0.3, 0.6),
    "hiphop": Genre((75, 100), "x..x...x..x.....", _BACKBEAT, "x.x.x.xxx.x.x.xx", 0.6, 0.4, 0.3, 0.5),
    "trap": Genre((65, 80), "x.....x...x..x..", "........x.......", "x.x.x.xxx.x.xxxx", 0.8, spoken=0.5),
    "funk": Genre((90, 120), "x..x..x...x..x..", "....x..x.x..x..x", _SIXTEENTHS, sevenths=0.7),
    "soul": Genre((70, 110), "x.....xx..x.....", _BACKBEAT, "x.x.x.x.x.x.x.xx", sevenths=0.7, swing=0.2),
    "ballad": Genre((55, 85), "x.......x.......", _BACKBEAT, "x...x...x...x...", absent={"drums": 0.15}),
    "reggae": Genre((65, 90), "........x.......", "........x.......", _EIGHTHS, swing=0.3),
    "metal": Genre((110, 180), "xxx.xxx.xxx.xxx.", _BACKBEAT, "x...x...x...x...", 0.0),
    "punk": Genre((150, 200), "x..x..x.x..x..x.", "..x...x...x...x.", _EIGHTHS, 0.0),
    "swing": Genre((90, 180), "x.......x.......", "......x.......x.", "x...x.x.x...x.x.", 0.0, 0.8, 1.0),
    "dnb": Genre((155, 178), "x.........x.....", _BACKBEAT, _EIGHTHS, 0.7),
    "breaks": Genre((120, 140), "x.x.......xx....", "....x..x.x..x...", _EIGHTHS, 0.5),
    "synthwave": Genre((80, 118), "x...x...x...x...", _BACKBEAT, _SIXTEENTHS, 0.9, absent=_PLAYED),
    "latin": Genre((85, 125), "x..x..x.x..x..x.", "...x..x....x.x..", "x.xxx.xxx.xxx.xx", sevenths=0.6),
    "bossa": Genre((110, 150), "x..x.x..x..x.x..", "x..x..x...x..x..", _EIGHTHS, 0.0, 0.9),
    "afrobeat": Genre((95, 125), "x..x..x...x.x...", "...x..x...x...x.", "x.x.xxx.x.x.xxx.", 0.1, 0.5),
    "country": Genre((90, 140), "x.......x.......", _BACKBEAT, "x.xxx.xxx.xxx.xx", 0.0, 0.1, 0.2),
    "folk": Genre((75, 125), "x.......x.......", _BACKBEAT, "x...x...x...x...", 0.0, 0.1, absent=_UNPLUGGED),
    "ambient": Genre((55, 90), _ONE, "........x.......", "....x.......x...", 0.8, 0.5, absent=_UNPLUGGED | _PLAYED),
}  # fmt: skip
