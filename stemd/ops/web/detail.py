"""The page of one job: how far it is, what happened, what went wrong, what its stems look and sound like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from stemd.ops.folder import Folder
from stemd.ops.jobs import JobView
from stemd.ops.web import waves, words
from stemd.ops.web.front import progress, reason
from stemd.ops.web.layout import command, name, section, state, table
from stemd.ops.web.markup import Child, Markup, h

#: What a browser is told about a file's content, by the end of its name.
TYPES = {
    ".flac": "audio/flac", ".wav": "audio/wav", ".ogg": "audio/ogg", ".opus": "audio/ogg", ".mp3": "audio/mpeg",
    ".mp4": "audio/mp4", ".json": "application/json", ".png": "image/png",
}  # fmt: skip
_NOT_PLAYED = "A stem.mp4 holds ALAC, which no browser but Safari plays: open it in a player that knows stem files."


def detail(job: JobView, *, audio: bool) -> list[Markup | None]:
    """The page's parts; ``audio``: the person may hear it."""
    folder = Folder.of(job)
    files = folder.files()
    return [
        h("h1", None, name(job.title or str(job.job_uuid))),
        _facts(job),
        _trouble(job),
        _stems(job, files, waves.outlines(folder.read("peaks.json")) if files else [], audio=audio),
        _files(files),
        _gone(job, files),
        _timeline(folder.timeline()),
    ]


def _facts(job: JobView) -> Markup:
    facts: list[tuple[str, Child]] = [
        ("State", state(job.state)),
        ("User", name(job.user_id or "–")),
        ("Engine", f"{job.engine or '–'} {job.model or ''}"),
        ("Attempts", f"{job.attempts}" + (f", {job.interruptions} interrupted" if job.interruptions else "")),
        ("Taken", words.ago(job.claimed_at) or "–"),
        ("Id", h("code", None, job.job_uuid or "–")),
    ]
    if not job.ended:
        facts.insert(1, ("Stage", job.stage or "–"))
        facts.insert(2, ("Progress", progress(job)))
    if job.realtime_factor and not job.ended:
        facts.insert(3, ("Speed", f"× {job.realtime_factor:.1f} realtime"))
    if job.eta_seconds is not None and not job.ended:
        facts.insert(4, ("Time left", words.span(job.eta_seconds)))
    if job.audio_seconds:
        facts.append(("Length", words.clock(job.audio_seconds)))
    if job.result:
        facts.append(("Folder", name(job.result)))
    rows = [h("div", None, h("dt", None, term), h("dd", None, value)) for term, value in facts]
    return section("progress", "Where it is", h("dl", None, *rows))


def _trouble(job: JobView) -> Markup | None:
    if not job.reason or job.state == "done":
        return None
    code = str(job.reason.get("code") or "")
    parts: list[Child] = [reason(job)]
    if job.next_attempt_at:
        parts.append(h("p", None, f"Next attempt {words.ago(job.next_attempt_at)}."))
    if job.state in {"failed", "cancelled"}:
        parts.append(h("p", None, "To try again: ", command(f"stemd retry {job.job_uuid}")))
    if code:
        parts.append(h("p", None, "More about it: ", command(f"stemd explain {code}")))
    return section("trouble", "What went wrong" if job.state == "failed" else "Why it waits", *parts)


def _stems(
    job: JobView, files: Sequence[Mapping[str, Any]], shown: Sequence[waves.Outline], *, audio: bool
) -> Markup | None:
    if not files:
        return None
    loudest = max((outline.loudest for outline in shown), default=0.0)
    drawn = {outline.stem: waves.drawing(outline, loudest) for outline in shown}
    if any("tracks" in file for file in files) or not audio:
        names = [stem for file in files for stem in file.get("tracks", [file["stem"]])]
        items = [h("li", None, h("h3", None, name(stem)), drawn.get(stem)) for stem in names]
        note = (
            h("p", None, _NOT_PLAYED)
            if audio
            else h("p", {"class": "none"}, "Listening is off here, or not yours (`http.audio`).")
        )
        return section("stems", "Stems", h("ul", {"class": "stems"}, *items), note)
    longest = max(file["frames"] / max(1, file["sample_rate"]) for file in files)
    items = [_track(job, file, drawn.get(file["stem"])) for file in files]
    return h(
        "section",
        {"id": "player", "aria-labelledby": "player-title", "data-player": True, "data-still": True},
        h("h2", {"id": "player-title"}, "Listen"),
        _transport(longest),
        h("ul", {"class": "stems"}, *items),
    )


def _transport(seconds: float) -> Markup:
    seek: dict[str, str | int | float | None] = {
        "type": "range",
        "min": 0,
        "max": f"{seconds:.3f}",
        "step": 0.1,
        "value": 0,
        "data-seek": True,
        "aria-label": "Position",
    }
    return h(
        "div",
        {"class": "transport", "role": "group", "aria-label": "All stems together", "hidden": True},
        h("button", {"type": "button", "data-play": True}, "Play"),
        h("input", {**seek, "aria-valuetext": f"0:00 of {words.clock(seconds)}"}),
        h("span", {"data-time": True}, f"0:00 / {words.clock(seconds)}"),
    )


def _track(job: JobView, file: Mapping[str, Any], drawn: Markup | None) -> Markup:
    stem, source = file["stem"], f"/jobs/{job.job_uuid}/files/{quote(file['name'], safe='')}"
    buttons = [
        h(
            "button",
            {"type": "button", f"data-{what.lower()}": True, "aria-pressed": "false", "aria-label": f"{what} {stem}"},
            what,
        )
        for what in ("Mute", "Solo")
    ]
    return h(
        "li",
        {"data-stem": stem},
        h("h3", None, name(stem)),
        h("div", {"class": "strip"}, drawn, h("span", {"class": "head", "hidden": True, "aria-hidden": "true"})),
        h("audio", {"controls": True, "preload": "metadata", "src": source, "aria-label": stem}),
        h("div", {"class": "buttons", "hidden": True}, *buttons),
    )


def _files(files: Sequence[Mapping[str, Any]]) -> Markup | None:
    if not files:
        return None
    rows = [
        (
            name(file["name"]),
            words.clock(file["frames"] / max(1, file["sample_rate"])),
            f"{file['sample_rate'] / 1000:g} kHz, {'mono' if file['channels'] == 1 else 'stereo'}",
            f"{file['lufs']:.1f} LUFS" if file["lufs"] is not None else "silent",
            words.size(file["bytes"]),
        )
        for file in files
    ]
    return section(
        "files", "Files", table("Files in the finished folder", ("Name", "Length", "Form", "Loudness", "Size"), rows)
    )


def _gone(job: JobView, files: Sequence[Mapping[str, Any]]) -> Markup | None:
    if job.state != "done" or files:
        return None
    return section(
        "gone", "Result", h("p", None, "The finished folder is no longer where it was put: its consumer took it.")
    )


def _timeline(events: Sequence[Mapping[str, Any]]) -> Markup | None:
    if not events:
        return None
    rows = [
        (
            h("time", {"datetime": event["at"]}, event["at"][:19].replace("T", " ")),
            event["event"].replace("_", " "),
            _more(event),
        )
        for event in events
    ]
    return section("timeline", "Timeline", table("What happened, in order", ("Time (UTC)", "Event", "Details"), rows))


def _more(event: Mapping[str, Any]) -> list[Child]:
    facts = {key: value for key, value in event.items() if key not in {"at", "event", "engine", "model"}}
    parts = [f"{key.replace('_', ' ')}: {_short(key, value)}" for key, value in facts.items()]
    return [h("bdi", None, " · ".join(parts) or "–")]


def _short(key: str, value: Any) -> str:
    if key == "progress" and isinstance(value, int | float):
        return f"{value * 100:.0f} %"
    shown = "; ".join(map(str, value)) if isinstance(value, list) else str(value)
    return shown if len(shown) <= 300 else shown[:299] + "…"
