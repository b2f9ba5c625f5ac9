"""Numbers as people say them."""

from __future__ import annotations

from datetime import UTC, datetime


def clock(seconds: float) -> str:
    """A length of audio: ``3:21``, ``1:02:03``."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def span(seconds: float) -> str:
    """A time to wait: ``40 s``, ``5 min``, ``2 h 10 min``, ``3 days``."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{max(0, round(seconds))} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")
    return f"{minutes // 1440} days"


def size(count: float) -> str:
    """Bytes: ``12 MiB``, ``3.4 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.1f} {unit}" if unit == "GiB" and count < 100 else f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def moment(iso: str | None) -> datetime | None:
    """A time as stemd writes it."""
    try:
        found = datetime.fromisoformat(iso or "")
    except ValueError:
        return None
    return found if found.tzinfo else None


def ago(iso: str | None, now: datetime | None = None) -> str:
    """How long ago, or how long until: ``5 min ago``, ``in 20 s``; empty where it is not known."""
    then = moment(iso)
    if then is None:
        return ""
    seconds = ((now or datetime.now(UTC)) - then).total_seconds()
    return f"in {span(-seconds)}" if seconds < -1 else f"{span(seconds)} ago"
