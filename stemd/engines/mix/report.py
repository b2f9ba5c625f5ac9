"""``report.json``: everything that was found, decided and done, for people to follow and for a job to take back."""

from __future__ import annotations

import platform
import resource
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy

from stemd import __version__
from stemd.engines.mix import rendering
from stemd.engines.mix.analysis import Analysis
from stemd.engines.mix.brief import Brief
from stemd.engines.mix.export import Exported
from stemd.engines.mix.loading import Stem
from stemd.engines.mix.parameters import Parameters, Track
from stemd.engines.mix.reading import plain
from stemd.engines.mix.shelf import Shelf

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Facts:
    """What was asked for, found out and decided; ``rate`` in Hz, ``frames`` of the mix."""

    brief: Brief
    parameters: Parameters
    alignment: Mapping[str, Any]
    stems: Mapping[str, Stem]
    rate: int
    frames: int


def report(
    facts: Facts, shelf: Shelf, made: Sequence[Exported], timings: Mapping[str, float], warnings: Sequence[str]
) -> dict[str, Any]:
    """The document. Its ``parameters``, changed or not, can be given to another mix as ``options.parameters``."""
    return {
        "schema_version": SCHEMA_VERSION,
        "versions": _versions(),
        "sample_rate": facts.rate,
        "frames": facts.frames,
        "seconds": round(facts.frames / facts.rate, 3),
        "preset": facts.brief.preset,
        "settings": asdict(facts.brief.settings),
        "alignment": dict(facts.alignment),
        "parameters": plain(facts.parameters),
        "tracks": {
            role: _track(role, stem, facts.parameters.tracks[role], shelf) for role, stem in facts.stems.items()
        },
        "masking": _of(shelf, rendering.BLEND, "masking"),
        "blend": _measured(shelf, rendering.BLEND),
        "master": _master(shelf),
        "files": [_file(each) for each in made],
        "stages": dict(timings),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "warnings": list(warnings),
    }


def _versions() -> dict[str, str]:
    return {
        "stemd": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }


def _track(role: str, stem: Stem, track: Track, shelf: Shelf) -> dict[str, Any]:
    """One stem before and after its effects and its trim."""
    name = rendering.processed(role)
    before = {key: value for key, value in asdict(stem.facts).items() if key != "tags"}
    return {
        "source": {**before, "sha256": shelf.header["inputs"][role]},
        "before": stem.analysis.measured.to_dict(),
        "after": _measured(shelf, name, track.trim_db or 0.0),
        "effects": _of(shelf, name, "effects"),
    }


def _master(shelf: Shelf) -> dict[str, Any] | None:
    """The blend before the limiter where something is done to it, and the master."""
    if not shelf.has(rendering.MASTER):
        return None
    return {
        "before_limiter": _measured(shelf, rendering.TONED),
        "effects": _of(shelf, rendering.TONED, "effects"),
        "loudness": _of(shelf, rendering.MASTER, "loudness"),
        "limiter": _of(shelf, rendering.MASTER, "limiter"),
        "measured": _measured(shelf, rendering.MASTER),
    }


def _measured(shelf: Shelf, name: str, gain_db: float = 0.0) -> dict[str, Any] | None:
    fact = shelf.fact(name)
    return Analysis.from_dict(fact["analysis"]).measured.louder(gain_db).to_dict() if fact else None


def _of(shelf: Shelf, name: str, what: str) -> Any:
    return (shelf.fact(name) or {}).get(what)


def _file(made: Exported) -> dict[str, Any]:
    """One file as it decodes."""
    return {
        "name": made.file.name,
        "sha256": made.file.sha256,
        "sample_rate": made.file.sample_rate,
        "frames": made.file.frames,
        "gain_db": round(made.gain_db, 3),
        "tries": made.tries,
        "lowered_db": round(made.lowered_db, 3),
        "decoded": made.measured.to_dict(),
    }
