"""A run of ``stemd bench`` as a page, a picture and a document. Pure, but for ``write``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from stemd.cli.bench import figures, goals, tuning

_LEFT, _WIDTH, _ROW, _BAR = 330, 840, 44, 18
#: Room for what stands behind a bar.
_WORDS = 150
_STEMD, _OTHER = "#2f6f8f", "#b9c4c9"
_SHORT = (
    "A track is cut into as few segments as cover it: htdemucs looks at 7.8 s and advances 5.85 s, so 6 s of sound are "
    "two segments, as in the reference, whose numbers these must be; each costs as much as a whole one, since the "
    "network pads what is shorter. So what a second of a short file costs is ⌈seconds / 5.85⌉ segments by its seconds: "
    "20 s are four (23.4 s of work), 6 s are two (11.7 s of work). A worker that is loaded saves the rest."
)
_NO_CARD = (
    "No graphics card was at hand for this page, and none of what stemd has for one was measured. Tested on the CPU "
    "are segments of a track in batches, float16 and bfloat16 where asked for and within their gate, the batch halved "
    "when memory runs out, and one process that computes segments for several jobs in groups. Pinned transfers and "
    "captured graphs cannot be tested there."
)


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
    if others := [f"{key} {versions[key]}" for key in ("spleeter", "audio-separator") if key in versions]:
        lines.append(f"- and {', '.join(others)}, with as many threads")
    if document["busy"]:
        lines += ["", f"**{document['busy']}**"]
    lines += ["", "![seconds of both sides](performance.svg)", "", "## Goals", ""]
    lines += _table(tuple(map(str.lower, goals.HEADERS)), goals.rows(document))
    lines += ["", "What `must` and `aim` mean: ratios and bounds that were set before anything was built.", ""]
    lines += ["## Against other programs", ""]
    lines += _table(
        ("workload", "against", "stemd, s", "other, s", "ratio", "stemd × realtime", "other ×", "stemd MiB", "MiB"),
        [figures.row(each) for each in document["workloads"]],
    )
    lines += [
        "",
        "Median (least–most). Ratio: seconds of the other command by those of stemd in the same round. MiB: most "
        "resident memory of all processes of a side at one time; stemd's with its daemon. stemd's time runs from the "
        "rename into the inbox to the verified result in the outbox.",
        "",
        figures.agreement(document["outputs"]["max_difference"]),
        "",
        *document["not_measured"],
        "",
        "## Short files",
        "",
        _SHORT,
        "",
        *_lengths(document.get("lengths")),
        *_service(document.get("service")),
        *_computing("## What the worker computes with", document["tuning"]),
    ]
    if fast := document.get("fast"):
        lines += _computing(f"## The same with `precision: {fast['precision']}`", fast)
        lines += [*fast["warnings"], ""]
    return "\n".join([*lines, _NO_CARD, ""])


def _computing(title: str, found: Mapping[str, Any]) -> list[str]:
    headers = ("matmul", "attention", "transformer", "seconds", "ratio", "error, dB", "used")
    table = _table(headers, [_trial(each, found) for each in found["trials"]])
    return [title, "", tuning.sentence(found), "", *table, ""]


def _lengths(measured: Mapping[str, Any] | None) -> list[str]:
    if measured is None:
        return []
    rows = [
        (f"{each['minutes']:g}", f"{each['peak_rss'] / 2**20:.0f}", f"{each['first_block']:.1f}",
         f"{each['seconds']:.1f}", f"{each['realtime']:.2f}")
        for each in measured["tracks"]
    ]  # fmt: skip
    return [
        "## By length of track",
        "",
        f"Model {measured['model']}, 16-bit flac, a worker that was not started before. First block: from the drop to "
        "the first finished frames of the stems on disk; the track is decoded once for its statistics before that.",
        "",
        *_table(("minutes", "peak MiB, worker and daemon", "first block, s", "whole, s", "× realtime"), rows),
        "",
    ]


def _service(measured: Mapping[str, Any] | None) -> list[str]:
    if measured is None:
        return []
    claims, jobs, inbox = measured["claim_ms"], measured["jobs"], measured["inbox"]
    rest = [f"{each['cpu_share']:.2%} of a core, {each['rss_bytes'] / 2**20:.0f} MiB"
            for each in (measured["idle"], measured["idle_after"])]  # fmt: skip
    rows = [
        ("daemon at rest, fresh", rest[0]),
        ("daemon at rest after all of this", rest[1]),
        (f"drop → claim, {claims['n']} drops", f"p50 {claims['p50']:.1f} ms, p99 {claims['p99']:.1f} ms"),
        (f"{jobs['count']} half-second files at once, one engine that computes nothing", f"{jobs['per_second']:.1f}/s"),
        (f"{inbox['files']} files in the inbox, seen and ordered", f"{inbox['seconds']:.2f} s"),
    ]
    return ["## The service itself", "", *_table(("what", "measured"), rows), ""]


def _random(model: str) -> str:
    return " (the published size, random weights: speed and memory are the same)" if model.endswith("-random") else ""


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(each)} |" for each in (headers, ["---"] * len(headers), *rows)]


def _trial(trial: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    return [
        *tuning.cells(trial["way"]),
        f"{trial['seconds']:.3f}",
        f"{found['trials'][0]['seconds'] / trial['seconds']:.2f}",
        tuning.error(trial),
        "yes" if trial["way"] == found["way"] else "",
    ]


def picture(workloads: Sequence[Mapping[str, Any]]) -> str:
    """Two bars for each workload, seconds to the right, with a line from the least to the most."""
    longest = max(side["seconds"]["max"] for each in workloads for side in (each["stemd"], each["other"]))
    scale = (_WIDTH - _LEFT - _WORDS) / longest
    parts = []
    for number, each in enumerate(workloads):
        top = 10 + number * _ROW
        parts.append(f'<text x="{_LEFT - 10}" y="{top + 22}" text-anchor="end">{escape(each["name"])}</text>')
        for place, (side, colour) in enumerate((("stemd", _STEMD), ("other", _OTHER))):
            said = each["program"] if side == "other" else side
            parts += _bar(each[side]["seconds"], top + place * _BAR, scale, colour, said)
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
