"""The machine on the page at ``/``: workers and what each has of what it may have, how many there should be and why,
engines, memory and disk. All of it is from the document of ``/health``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stemd.ops.web import words
from stemd.ops.web.layout import name, section, table
from stemd.ops.web.markup import Child, Markup, h

#: Why there should be so many workers, in words (``stemd.core.autoscale.Reason``).
REASONS = {
    "queue": "as many as its jobs need",
    "maximum": "its jobs need more, but workers.max is reached",
    "cores": "its jobs need more, but there are no more cores",
    "memory": "its jobs need more, but there is no more memory",
    "pressure": "its jobs need more, but the machine is under pressure",
    "disk": "its jobs wait for room on the disk",
    "minimum": "workers.min, without any job",
    "warm": "no job now; kept loaded for a while",
    "idle": "no job",
}


def machine(health: Mapping[str, Any]) -> Markup:
    """The section for those who may see ``/health``."""
    workers, scaling = health["workers"], health.get("scaling") or {}
    parts: list[Child] = [
        _workers(workers),
        _limits(workers, health.get("limits") or {}),
        _scaling(scaling),
        _changes(scaling),
    ]
    return section("machine", "Machine", *parts, _engines(health["engines"]), _room(health))


def _workers(workers: Sequence[Mapping[str, Any]]) -> Markup:
    if not workers:
        return h("p", {"class": "none"}, "No worker is loaded; the first job starts one.")
    rows = [
        (
            f"{worker.get('pid')}",
            f"{worker.get('engine')} {worker.get('model') or ''}",
            f"{worker.get('device') or '–'}",
            f"{worker.get('state')}",
            words.size(worker["rss_bytes"]) if isinstance(worker.get("rss_bytes"), int) else "–",
        )
        for worker in workers
    ]
    return table("Workers", ("Process", "Engine", "Device", "State", "Memory"), rows)


# ---- limits


def _limits(workers: Sequence[Mapping[str, Any]], how: Mapping[str, Any]) -> list[Markup]:
    """What each worker has of what it may have, and who sees to it."""
    parts = []
    if workers:
        rows = [(f"{worker.get('pid')}", *_of_limits(worker)) for worker in workers]
        columns = ("Process", "Memory", "CPU cores", "Disk", "Time", "Processes and threads")
        parts.append(table("Limits in force, and what is used of them", columns, rows))
    if how:
        parts.append(h("p", {"class": "note"}, _keeper(how)))
    return parts


def _keeper(how: Mapping[str, Any]) -> str:
    if kept := [str(each) for each in how.get("kernel") or ()]:
        by = f"The kernel keeps the limits of {', '.join(kept)} ({how.get('by')})"
        return f"{by}; stemd looks after the rest every second."
    why = f" ({how['reason']})" if how.get("reason") else ""
    return f"stemd looks after the limits itself, every second: there is no control group for it{why}."


def _of_limits(worker: Mapping[str, Any]) -> Iterable[str]:
    limits, usage = worker.get("limits") or {}, worker.get("usage") or {}
    for key, used, told in (
        ("memory", usage.get("memory"), words.size),
        ("cpu", usage.get("cores"), _cores),
        ("disk", usage.get("disk"), words.size),
        ("time", None, words.span),
        ("pids", usage.get("tasks"), str),
    ):
        yield _part(limits.get(key), used, told)


def _part(limit: Any, used: Any, told: Any) -> str:
    if limit is None:
        return "no limit" if used is None else f"{told(used)}, no limit"
    return f"at most {told(limit)}" if used is None else f"{told(used)} of {told(limit)}"


def _cores(count: float) -> str:
    return f"{count:.1f}".removesuffix(".0")


# ---- how many workers


def _scaling(scaling: Mapping[str, Any]) -> list[Markup]:
    """How many workers each engine should have and why, for those that have any, or any job."""
    engines = [each for each in scaling.get("engines") or () if each["desired"] or each["workers"] or each["jobs"]]
    rows = [
        (
            name(each["engine"]),
            f"{each['workers']} ({each['busy']} busy)",
            f"{each['desired']}",
            REASONS.get(each["reason"], each["reason"]),
            f"{each['jobs']}",
            words.size(each["memory_each"]) if each.get("memory_each") else "–",
        )
        for each in engines
    ]
    columns = ("Engine", "Workers", "Wanted", "Why", "Jobs", "Memory of each")
    parts = [table("How many workers there should be", columns, rows)] if rows else []
    if scaling.get("cores"):
        shares = (
            f"{scaling['cores_free']} of {scaling['cores']} cores are free; "
            f"{words.size(scaling['memory_committed'])} of {words.size(scaling['memory_for_workers'])} "
            "of memory for workers are promised."
        )
        strained = " The machine is under pressure: no worker is added." if scaling.get("strained") else ""
        parts.append(h("p", {"class": "note"}, shares + strained))
    return parts


def _changes(scaling: Mapping[str, Any]) -> Markup | None:
    """The last decisions, the latest first."""
    changes = list(scaling.get("changes") or ())
    if not changes:
        return None
    rows = [
        (
            words.ago(each["at"]),
            name(each["engine"]),
            f"{'more' if each['workers'] > each['before'] else 'fewer'}: {each['before']} → {each['workers']}",
            REASONS.get(each["reason"], each["reason"]),
        )
        for each in reversed(changes)
    ]
    return table("The last changes of these numbers", ("When", "Engine", "Workers wanted", "Why"), rows)


# ---- engines, memory and disk


def _engines(engines: Mapping[str, Mapping[str, Any]]) -> Markup:
    rows: list[tuple[Child, ...]] = []
    for engine, facts in sorted(engines.items()):
        models = [model["name"] for model in facts.get("models", ()) if model.get("present")]
        error = facts.get("error") or {}
        loads = {True: "✓ loads", False: "✕ does not load", None: "○ not tried yet"}[facts.get("loads")]
        why: Child = (
            [h("code", None, str(error["code"])), " ", str(error.get("remedy") or "")] if error.get("code") else None
        )
        rows.append((name(engine), [loads, " " if why else None, why], ", ".join(models) or "–"))
    return table("Engines", ("Engine", "Loads", "Models here"), rows)


def _room(health: Mapping[str, Any]) -> Markup:
    places: list[tuple[str, float, float]] = []
    if memory := health.get("memory"):
        places.append(("Memory", memory["total_bytes"] - memory["available_bytes"], memory["total_bytes"]))
    places += [
        (f"Disk of {spool['root']}", spool["total_bytes"] - spool["free_bytes"], spool["total_bytes"])
        for spool in health["spools"]
    ]
    return table("Memory and disk", ("What", "Used", "Free"), list(_used(places)))


def _used(places: Iterable[tuple[str, float, float]]) -> Iterable[tuple[Child, ...]]:
    for what, used, total in places:
        percent = round(100 * used / total) if total else 0
        meter = h("meter", {"max": 100, "high": 90, "value": percent, "aria-label": f"{what}, used"}, f"{percent} %")
        yield name(what), [meter, f" {percent} %"], f"{words.size(total - used)} of {words.size(total)}"
