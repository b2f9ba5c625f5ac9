"""Where a mix starts from: named sets of settings, and those in a file of the job's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

from stemd.core.config import read_mapping
from stemd.core.errors import StemdError
from stemd.core.layers import over

#: Levels of the stems against each other (LUFS): a vocal in front, the bass under the drums.
_TARGETS = {"vocals": -18.0, "drums": -20.0, "bass": -21.0, "guitar": -23.0, "piano": -23.0, "other": -22.0}
_VOCALS = {
    "eq": [{"kind": "low_cut", "hz": 80}],
    "comp": {"threshold_db": -22, "ratio": 2.5, "attack_ms": 8, "release_ms": 120},
    "saturation": {"drive_db": 1.6},
    "deess": {"hz": 6000, "max_db": 6},
    "air": {"hz": 11000, "db": 2},
}
_STREAMING: Mapping[str, Any] = {
    "align": {"enabled": "auto"},
    "auto_gain": {"targets_lufs": _TARGETS},
    "track": {"vocals": _VOCALS},
    "tonal_balance": {"curve": "pop", "max_db": 3},
    "micro_dynamics": {"amount": 0.3},
    "spatial": {"mono_below_hz": 120, "width": {"vocals": 0.9, "other": 1.2}},
    "masking": {"max_db": 4},
    "master": {
        "comp": {"threshold_db": -20, "ratio": 1.5, "attack_ms": 30, "release_ms": 200},
        "width": 1.1,
        "loudness": {"target_lufs": -14.0},
        "limiter": {"ceiling_dbtp": -1.0},
    },
}
_SPEECH = {**_VOCALS, "comp": {"threshold_db": -26, "ratio": 3.5, "attack_ms": 5, "release_ms": 150}}

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType({
    "streaming": _STREAMING,
    "loud": over(_STREAMING, {
        "micro_dynamics": {"amount": -0.2},
        "master": {
            "comp": {"threshold_db": -24, "ratio": 2.5, "attack_ms": 15, "release_ms": 120},
            "loudness": {"target_lufs": -9.0},
        },
    }),
    "broadcast": over(_STREAMING, {
        "micro_dynamics": {"amount": 0.15},
        "master": {"width": 1.0, "loudness": {"target_lufs": -23.0}},
    }),
    "podcast": over(_STREAMING, {
        "auto_gain": {
            "targets_lufs": {**dict.fromkeys(_TARGETS, -32.0), "vocals": -18.0}, "max_db": 30, "max_boost_db": 18,
        },
        "track": {"vocals": _SPEECH},
        "tonal_balance": {"curve": "speech"},
        "micro_dynamics": None,
        "masking": {"max_db": 9, "duck": ["other", "drums", "bass", "guitar", "piano"]},
        "master": {"width": 1.0, "loudness": {"target_lufs": -16.0}},
    }),
    "transparent": {},
})  # fmt: skip
DEFAULT = "streaming"
_MOST_BYTES = 256 * 1024


def load(name: Any, find: Callable[[str], Path]) -> Mapping[str, Any]:
    """The settings of the preset called ``name``, or of a file of the job's own (YAML or JSON) of that name.

    A preset file may say ``preset`` itself: what it starts from.

    Raises:
        StemdError: STEMD-E004, there is no such preset, or its file cannot be read as one.
    """
    if isinstance(name, str) and name in PRESETS:
        return PRESETS[name]
    if not isinstance(name, str) or "." not in name:
        near = get_close_matches(str(name), PRESETS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(PRESETS)}, or a file's name"
        raise StemdError("STEMD-E004", f"options.preset is {name!r}; {hint}")
    given = dict(read_mapping(find(name), "STEMD-E004", _MOST_BYTES))
    base = given.pop("preset", DEFAULT)
    if not isinstance(base, str) or base not in PRESETS:
        raise StemdError("STEMD-E004", f"{name}: preset is {base!r}; it must be {' or '.join(PRESETS)}")
    return over(PRESETS[base], given)
