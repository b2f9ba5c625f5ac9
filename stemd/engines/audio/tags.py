"""Which tags a stem gets."""

from __future__ import annotations

from collections.abc import Mapping

from stemd.core.job import printable


def stem_tags(
    source: Mapping[str, str], job: Mapping[str, str], stamp: Mapping[str, str], stem: str, name: str
) -> dict[str, str]:
    """The tags of ``stem``: the source's, the job's on top of them, then the provenance in ``stamp``.

    Names in capitals. The title (``name`` where there is none) is suffixed with the stem's name in brackets.
    """
    merged = {key.upper(): printable(value) for key, value in {**source, **_upper(job)}.items() if value}
    title = merged.pop("TITLE", "") or printable(name)
    return {"TITLE": f"{title} ({stem})", **merged, **_upper(stamp), "STEMD_STEM": stem}


def _upper(tags: Mapping[str, str]) -> dict[str, str]:
    return {key.upper(): str(value) for key, value in tags.items()}
