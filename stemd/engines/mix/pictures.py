"""What a mix looks like: ``peaks.json`` for programs, and a picture of the same for people."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from stemd.engines.audio import peaks
from stemd.engines.audio.peaks import FULL_SCALE
from stemd.engines.mix import rendering
from stemd.engines.mix.analysis import Analysis
from stemd.engines.mix.drawing import MARGIN, Sheet, highest
from stemd.engines.mix.shelf import Shelf

SCHEMA_VERSION = 1
_COLOURS = (
    "#3b7dd8", "#e07a3f", "#2e9e78", "#b3548f", "#c79a1e", "#5b5fc7", "#d1495b", "#2f9fb3", "#76963a", "#8d6e63",
)  # fmt: skip
_BLEND, _BLEND_BODY = "#c9ced8", "#949eb0"
_MASTER, _MASTER_BODY = "#8fb1e3", "#3565ad"
_HEAD, _GAP, _AXIS, _SPECTRUM = 76, 14, 32, 148
_HEIGHT = 900
_TALLEST_LANE, _LEAST_LANE, _MOST_LANES = 60, 15, 312


def document(shelf: Shelf, gains: Mapping[str, float], rate: int) -> dict[str, Any]:
    """What is shown of each track as processed, of the mix before its mastering, and of the master.

    ``gains`` are what each processed track is lifted by in the mix, in dB, by role.

    ``pairs``: the lowest and highest sample of equal parts of the whole length, ``full_scale`` for 1. ``energy``: the
    level in dBFS, likewise. ``spectrum``: third octaves, ``null`` for silence.
    """
    frames = shelf.frames(rendering.MASTER)
    return {
        "schema_version": SCHEMA_VERSION,
        "sample_rate": rate,
        "frames": frames,
        "seconds": round(frames / rate, 3),
        "full_scale": FULL_SCALE,
        "tracks": {role: _view(shelf.fact(rendering.processed(role)), rate, gains[role]) for role in gains},
        "pre_master": _view(shelf.fact(rendering.BLEND), rate),
        "master": _view(shelf.fact(rendering.MASTER), rate),
    }


def _view(fact: Mapping[str, Any], rate: int, gain_db: float = 0.0) -> dict[str, Any]:
    analysis = Analysis.from_dict(fact["analysis"]).louder(gain_db)
    found, factor = analysis.measured.to_dict(), 10 ** (gain_db / 20)
    peak, crest = found["peak_dbfs"], found["crest_db"]
    levels = {name: found[name] for name in ("peak_dbfs", "true_peak_dbtp", "integrated_lufs", "range_lu")}
    levels["rms_dbfs"] = None if peak is None or crest is None else round(peak - crest, 3)
    return {
        "levels": levels,
        "spectrum": analysis.spectrum(rate),
        "energy": [round(level + gain_db, 2) for level in fact["curve"]] if gain_db else fact["curve"],
        "pairs": [[round(low * factor), round(high * factor)] for low, high in fact["peaks"]],
    }


def published(shown: Mapping[str, Any]) -> dict[str, Any]:
    """``peaks.json`` of a ``document``: all outlines in one form that players know, the rest as it is."""
    stages = {"pre_master": shown["pre_master"], "master": shown["master"]}
    outlines = {name: view["pairs"] for name, view in {**shown["tracks"], **stages}.items()}
    return {
        **peaks.document(outlines, shown["sample_rate"], shown["frames"]),
        **{key: shown[key] for key in ("schema_version", "frames", "seconds")},
        "tracks": {role: _without_outline(view) for role, view in shown["tracks"].items()},
        **{stage: _without_outline(view) for stage, view in stages.items()},
    }


def _without_outline(view: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in view.items() if key != "pairs"}


def draw(shown: Mapping[str, Any], title: str = "") -> bytes:
    """``waveform.png`` of a ``document``: every track, both stages of the mix, and the spectrum. Always the same bytes.

    1600 × 900 pixels; higher where there are more than 20 tracks.
    """
    tracks = shown["tracks"]
    lane = max(_LEAST_LANE, min(_TALLEST_LANE, _MOST_LANES // max(1, len(tracks))))
    extra = max(0, lane * len(tracks) - _MOST_LANES)
    rest = _HEIGHT + extra - _HEAD - lane * len(tracks) - 3 * _GAP - 2 * _AXIS - _SPECTRUM - MARGIN
    sheet = Sheet(_HEIGHT + extra, shown["frames"] / shown["sample_rate"])
    count = f"{len(tracks)} track" + "s" * (len(tracks) != 1)
    sheet.head(title or "Final mix", [sheet.length(), f"{shown['sample_rate'] / 1000:g} kHz", count])

    top, master = _HEAD + lane * len(tracks) + _GAP, shown["master"]
    blend_height = rest * 2 // 5
    master_top = top + blend_height + _GAP
    axis = master_top + rest - blend_height
    sheet.time_axis(_HEAD, axis)
    full = max((highest(each) for each in tracks.values()), default=0.0)
    for number, (role, each) in enumerate(tracks.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        sheet.lane(_HEAD + lane * number, lane, each, full, colour, (role, f"track {number + 1}"))
    sheet.panel(top, blend_height, shown["pre_master"], (_BLEND, _BLEND_BODY), "Pre-master")
    sheet.panel(master_top, axis - master_top, master, (_MASTER, _MASTER_BODY), "Master")
    sheet.spectrum(axis + _AXIS + _GAP, _SPECTRUM, master["spectrum"], shown["pre_master"]["spectrum"])
    file = io.BytesIO()
    sheet.image.save(file, "PNG")
    return file.getvalue()
