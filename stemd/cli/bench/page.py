"""A run of ``stemd bench`` as a page, a picture and a document. Pure, but for ``write``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from stemd.cli.bench import figures, tuning

_LEFT, _WIDTH, _ROW, _BAR = 330, 760, 44, 18
_STEMD, _OTHER = "#2f6f8f", "#b9c4c9"


def write(folder: Path, document: Mapping[str, Any]) -> None:
    """Write ``performance.md``, ``performance.svg`` and ``performance.json`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "performance.md").write_text(markdown(document))
    (folder / "performance.svg").write_text(picture(document["workloads"]))
    (folder / "performance.json").write_text(json.dumps(document, indent=1) + "\n")


def markdown(document: Mapping[str, Any]) -> str:
    """The page."""
    here, versions, settings = document["machine"], document["versions"], document["settings"]
    lines = [
        "# Performance, measured",
        "",
        "Written by `stemd bench --report docs`; the same command on another machine makes the same page for it.",
        "",
        f"- machine: {here['cpu']}, {here['cores']} cores, {here['memory'] / 2**30:.1f} GiB; {here['system']}, "
        f"Python {here['python']}; load average before the start: {here['load']:.2f}",
        f"- stemd {versions['stemd']}, demucs {versions['demucs']}, torch {versions['torch']}; CPU, "
        f"{settings['threads']} threads for both sides",
        f"- model: {settings['model']}" + _random(settings["model"]) + "; both sides have the same weights and files, "
        f"no shifts, {settings['output']}",
        f"- {settings['rounds']} round(s); in each, both sides do everything once, and another is first",
    ]
    if document["busy"]:
        lines += ["", f"**{document['busy']}**"]
    lines += ["", "![seconds of both sides](performance.svg)", ""]
    lines += _table(
        ("workload", "stemd, s", "demucs command, s", "ratio", "stemd × realtime", "stemd MiB", "demucs MiB"),
        [_row(each) for each in document["workloads"]],
    )
    lines += [
        "",
        "Median (least–most). Ratio: seconds of the `demucs` command by those of stemd in the same round. MiB: most "
        "resident memory of all processes of a side at one time; stemd's with its daemon. stemd's time runs from the "
        "rename into the inbox to the verified result in the outbox.",
        "",
        figures.agreement(document["outputs"]["max_difference"]),
        "",
        "## What the worker computes with",
        "",
        tuning.sentence(document["tuning"]),
        "",
    ]
    lines += _table(
        ("matmul", "attention", "transformer", "seconds", "ratio", "error, dB", "used"),
        [_trial(each, document["tuning"]) for each in document["tuning"]["trials"]],
    )
    return "\n".join([*lines, ""])


def _random(model: str) -> str:
    return " (the published size, random weights: speed and memory are the same)" if model.endswith("-random") else ""


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(each)} |" for each in (headers, ["---"] * len(headers), *rows)]


def _row(workload: Mapping[str, Any]) -> list[str]:
    ours, theirs = workload["stemd"], workload["demucs"]
    return [
        workload["name"],
        _spread(ours["seconds"]),
        _spread(theirs["seconds"]),
        _spread(workload["ratio"]),
        f"{ours['realtime']['median']:.2f}",
        *(str(round(side["peak_rss_bytes"] / 2**20)) for side in (ours, theirs)),
    ]


def _trial(trial: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    return [
        *(trial["way"][key] for key in ("matmul", "attention", "transformer")),
        f"{trial['seconds']:.3f}",
        f"{found['trials'][0]['seconds'] / trial['seconds']:.2f}",
        tuning.error(trial),
        "yes" if trial["way"] == found["way"] else "",
    ]


def _spread(of: Mapping[str, float]) -> str:
    return str(figures.Spread(of["median"], of["min"], of["max"]))


def picture(workloads: Sequence[Mapping[str, Any]]) -> str:
    """Two bars for each workload, seconds to the right, with a line from the least to the most."""
    longest = max(side["seconds"]["max"] for each in workloads for side in (each["stemd"], each["demucs"]))
    scale = (_WIDTH - _LEFT - 70) / longest
    parts = []
    for number, each in enumerate(workloads):
        top = 10 + number * _ROW
        parts.append(f'<text x="{_LEFT - 10}" y="{top + 22}" text-anchor="end">{escape(each["name"])}</text>')
        for place, (side, colour) in enumerate((("stemd", _STEMD), ("demucs", _OTHER))):
            parts += _bar(each[side]["seconds"], top + place * _BAR, scale, colour, side)
    height = 20 + len(workloads) * _ROW
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" font-family="sans-serif" '
    ground = f'<rect width="{_WIDTH}" height="{height}" fill="white"/>'
    return "\n".join([head + 'font-size="13">', ground, *parts, "</svg>", ""])


def _bar(seconds: Mapping[str, float], top: int, scale: float, colour: str, side: str) -> list[str]:
    end, least, most = (_LEFT + seconds[key] * scale for key in ("median", "min", "max"))
    middle = top + _BAR / 2
    return [
        f'<rect x="{_LEFT}" y="{top + 1}" width="{end - _LEFT:.1f}" height="{_BAR - 2}" fill="{colour}"/>',
        f'<line x1="{least:.1f}" x2="{most:.1f}" y1="{middle:g}" y2="{middle:g}" stroke="black"/>',
        f'<text x="{most + 6:.1f}" y="{top + 13}" font-size="11">{side} {seconds["median"]:.1f} s</text>',
    ]
