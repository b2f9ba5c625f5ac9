"""The page at ``/``: how it stands, what runs, what waits, what failed and what to do about it, and the machine."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from stemd.ops.jobs import JobView
from stemd.ops.view import DaemonView
from stemd.ops.web import words
from stemd.ops.web.layout import command, name, section, state, table
from stemd.ops.web.machine import machine
from stemd.ops.web.markup import Child, Markup, h

#: Rows of each table; the rest is on the page of all jobs.
_ROWS, _DONE = 20, 10
_RUNNING = ("running", "publishing")
_HELD_UP = ("deferred", "held", "retry_wait")


def sentence(view: DaemonView, jobs: Sequence[JobView]) -> tuple[str, str]:
    """The state in one sentence, and what kind of news it is: ``good``, ``attention`` or ``bad``."""
    if not view.ready:
        return f"stemd is not ready: it is {view.reason}.", "bad"
    counts = Counter(job.state for job in jobs)
    running, failed = sum(counts[each] for each in _RUNNING), counts["failed"]
    waiting = counts["waiting"] + sum(counts[each] for each in _HELD_UP)
    parts = [f"{running} running" if running else "", f"{waiting} waiting" if waiting else ""]
    parts += [f"{failed} failed" if failed else ""]
    found = ", ".join(part for part in parts if part)
    if view.draining:
        return f"stemd takes no new jobs: it is draining{f' ({found})' if found else ''}.", "attention"
    if running or waiting:
        return f"stemd is at work: {found}.", "attention" if failed else "good"
    return (
        (f"stemd is idle; {found}.", "attention") if failed else ("All is well: stemd is idle, nothing waits.", "good")
    )


def front(view: DaemonView, jobs: Sequence[JobView], health: Mapping[str, Any] | None) -> list[Markup]:
    """The page's parts; ``jobs`` newest first, ``health`` for those who may see it."""
    text, kind = sentence(view, jobs)
    shape = {"good": "●", "attention": "▲", "bad": "■"}[kind]
    status = h(
        "p", {"id": "sentence", "class": kind, "role": "status"}, h("span", {"aria-hidden": "true"}, shape), " ", text
    )
    by_state: dict[str, list[JobView]] = defaultdict(list)
    for job in jobs:
        by_state[job.state].append(job)
    waiting = [job for each in ("waiting", *_HELD_UP) for job in by_state[each]]
    parts = [h("h1", {"class": "unseen"}, "State of stemd"), status]
    if health is not None and (alerts := _alerts(health)) is not None:
        parts.append(alerts)
    parts.append(_running([job for each in _RUNNING for job in by_state[each]]))
    parts.append(_waiting(waiting))
    parts.append(_failures(by_state["failed"]))
    parts.append(_finished(by_state["done"]))
    if health is not None:
        parts.append(machine(health))
    return parts


def link(job: JobView) -> Markup:
    """A job's title, leading to its page once it has one."""
    title = name(job.title or job.job_uuid or "untitled")
    return h("a", {"href": f"/jobs/{job.job_uuid}"}, title) if job.job_uuid and job.path is None else title


def progress(job: JobView) -> Markup:
    """How far it is, as a bar and as a number."""
    percent = max(0, min(100, round(job.progress * 100)))
    label = f"Progress of {job.title}"
    return h(
        "span",
        {"class": "progress"},
        h("progress", {"max": 100, "value": percent, "aria-label": label}, f"{percent} %"),
        f" {percent} %",
    )


def reason(job: JobView) -> Child:
    """Why it is where it is, and what to do."""
    why = job.reason or {}
    code, message, remedy = (str(why.get(key) or "") for key in ("code", "message", "remedy"))
    if not code:
        return "–"
    todo = h("p", {"class": "remedy"}, name(remedy)) if remedy else None
    return h("div", {"class": "reason"}, h("code", None, code), " ", name(message), todo)


def _running(jobs: Sequence[JobView]) -> Markup:
    if not jobs:
        return section("running", "Running", h("p", {"class": "none"}, "Nothing runs."))
    rows = [
        (
            link(job),
            name(job.user_id or "–"),
            f"{job.engine or '–'} {job.model or ''}",
            job.stage or "–",
            progress(job),
            f"× {job.realtime_factor:.1f}" if job.realtime_factor else "–",
            words.span(job.eta_seconds) if job.eta_seconds is not None else "–",
        )
        for job in jobs[:_ROWS]
    ]
    columns = ("Recording", "User", "Engine", "Stage", "Progress", "Speed (× realtime)", "Time left")
    return section("running", "Running", table("Jobs that run now", columns, rows), _more(jobs, _ROWS, "running"))


def _waiting(jobs: Sequence[JobView]) -> Markup:
    if not jobs:
        return section("waiting", "Waiting", h("p", {"class": "none"}, "Nothing waits."))
    users: dict[str, Counter[str]] = defaultdict(Counter)
    for job in jobs:
        users[job.user_id or "–"][job.state] += 1
    columns = ("User", "Waiting", "Deferred", "Held", "To be tried again")
    keys = ("waiting", "deferred", "held", "retry_wait")
    rows: list[tuple[Child, ...]] = [
        (name(user), *(counts[key] for key in keys)) for user, counts in sorted(users.items())[:_ROWS]
    ]
    parts: list[Child] = [table("Waiting jobs by user", columns, rows)]
    if blocked := [job for job in jobs if job.reason]:
        rest = [
            (link(job), name(job.user_id or "–"), state(job.state), reason(job), words.ago(job.next_attempt_at) or "–")
            for job in blocked[:_ROWS]
        ]
        why = ("Recording", "User", "State", "Reason and remedy", "Next attempt")
        parts += [table("Why some of them wait", why, rest), _more(blocked, _ROWS, "waiting")]
    return section("waiting", "Waiting", *parts)


def _failures(jobs: Sequence[JobView]) -> Markup:
    if not jobs:
        return section("failures", "Failures", h("p", {"class": "none"}, "Nothing failed."))
    rows = [
        (
            link(job),
            name(job.user_id or "–"),
            words.ago(job.updated_at),
            reason(job),
            command(f"stemd retry {job.job_uuid}"),
        )
        for job in jobs[:_ROWS]
    ]
    columns = ("Recording", "User", "When", "Reason and remedy", "To try again")
    return section(
        "failures", "Failures", table("Jobs that failed, the latest first", columns, rows), _more(jobs, _ROWS, "failed")
    )


def _finished(jobs: Sequence[JobView]) -> Markup:
    if not jobs:
        return section("finished", "Finished", h("p", {"class": "none"}, "Nothing is finished yet."))
    rows = [
        (link(job), name(job.user_id or "–"), f"{job.engine or '–'} {job.model or ''}", words.ago(job.updated_at))
        for job in jobs[:_DONE]
    ]
    columns = ("Recording", "User", "Engine", "When")
    return section(
        "finished", "Finished", table("Finished jobs, the latest first", columns, rows), _more(jobs, _DONE, "done")
    )


def _more(jobs: Sequence[JobView], shown: int, which: str) -> Markup | None:
    if len(jobs) <= shown:
        return None
    return h("p", None, h("a", {"href": f"/jobs?state={which}"}, f"{len(jobs) - shown} more"))


def _alerts(health: Mapping[str, Any]) -> Markup | None:
    alerts = health.get("alerts") or ()
    if not alerts:
        return None
    items = [
        h("li", None, h("span", {"aria-hidden": "true"}, "▲"), " ", name(_alert(each))) for each in list(alerts)[:_ROWS]
    ]
    return section("alerts", "Alerts", h("ul", None, *items))


def _alert(alert: Any) -> str:
    if isinstance(alert, Mapping):
        return ": ".join(str(alert[key]) for key in ("alert", "reason") if alert.get(key))
    return str(alert)
