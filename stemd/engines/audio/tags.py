"""Which tags a stem gets."""

from __future__ import annotations

import re
from collections.abc import Mapping

from stemd.core.job import printable

#: About one rendering of the source or one file of it, not about the work: wrong on a stem.
_NOT_FOR_STEMS = (
    "REPLAYGAIN_", "R128_", "METADATA_BLOCK_PICTURE", "COVERART", "CUESHEET", "STEMD_", "ENCODER", "ENCODED", "ITUN",
    "MAJOR_BRAND", "MINOR_VERSION", "COMPATIBLE_BRANDS", "CREATION_TIME", "HANDLER_NAME", "VENDOR_ID", "TLEN",
    "WM/MEDIAPRIMARY", "WMFSDK", "DURATION", "ACCURIP", "ACOUSTID_FINGERPRINT",
)  # fmt: skip

#: A field name of a Vorbis comment: printable ASCII without ``=``.
_KEY = re.compile(r"[ -<>-}]+")
_MOST_BYTES = 1 << 18


def for_stems(found: Mapping[str, str]) -> dict[str, str]:
    """Those of a source's tags that also hold for a stem of it, up to 256 KiB of them."""
    kept: dict[str, str] = {}
    room = _MOST_BYTES
    for key, value in found.items():
        size = len(key) + len(value.encode("utf-8", "replace"))
        if value and _KEY.fullmatch(key) and not key.startswith(_NOT_FOR_STEMS) and size <= room:
            kept[key] = value
            room -= size
    return kept


def stem_tags(
    source: Mapping[str, str], job: Mapping[str, str], stamp: Mapping[str, str], stem: str, name: str
) -> dict[str, str]:
    """The tags of ``stem``: the source's, the job's on top of them, then the provenance in ``stamp``.

    Names in capitals. The title (``name`` where there is none) is suffixed with the stem's name in brackets.
    """
    song = song_tags(source, job, stamp, name)
    return {**song, "TITLE": f"{song['TITLE']} ({stem})", "STEMD_STEM": stem}


def song_tags(source: Mapping[str, str], job: Mapping[str, str], stamp: Mapping[str, str], name: str) -> dict[str, str]:
    """The tags of a file that holds the whole song: like those of a stem, the title as it is."""
    merged = {key.upper(): printable(value) for key, value in {**source, **_upper(job)}.items() if value}
    title = merged.pop("TITLE", "") or printable(name)
    return {"TITLE": title, **merged, **_upper(stamp)}


def _upper(tags: Mapping[str, str]) -> dict[str, str]:
    return {key.upper(): str(value) for key, value in tags.items()}
