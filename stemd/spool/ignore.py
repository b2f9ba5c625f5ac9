"""Which names stemd takes and which it leaves alone; pure."""

from __future__ import annotations

import re
from enum import StrEnum

#: Suffixes (lower-cased) of what may be a recording; the content decides later.
AUDIO_SUFFIXES = frozenset({
    ".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".mp3", ".mp2", ".ogg", ".oga", ".opus", ".m4a", ".mp4", ".m4b",
    ".aac", ".wma", ".aif", ".aiff", ".aifc", ".caf", ".au", ".snd", ".mka", ".mkv", ".webm", ".mov", ".ac3", ".amr",
    ".ape", ".wv", ".tta", ".alac", ".3gp",
})  # fmt: skip

JOB_FILES = ("job.yaml", "job.json")
SIDECAR_SUFFIX = ".job.yaml"

#: Names that `stemd submit` uses until its file is complete.
OWN_PREFIX = ".stemd-"

#: What an upload is called until it is complete, and what stays behind when it breaks off.
_UPLOAD = re.compile(
    r"""
      \.(part|partial|filepart|crdownload|download|opdownload|aria2|!ut|!qb|bc!|tmp|temp
        |unison\.tmp|rclone-tmp|ocTransferId\d*|upload|uploading|incomplete|td|jc!|dwl)$
    | \.\d+\.(partial|part)$ | \.[0-9a-f]{8}\.partial$
    | ^\.?in\..*\.$
    | ^\.~tmp~$ | ^\.rsync-partial$ | ^[.~]syncthing[.~]
    """,
    re.IGNORECASE | re.VERBOSE,
)
#: rsync's ``.NAME.XXXXXX``; six small letters are left out: they are a suffix (``.album.config``) far more often.
_RSYNC = re.compile(r"^\..+\.(?=.*[A-Z0-9])[A-Za-z0-9]{6}$", re.DOTALL)
_LITTER = re.compile(
    r"""
      \.(bak|swp|swx|kate-swp|lck|lock)$
    | ~$
    | ^~\$ | ^\.~ | ^\#.*\#$
    | ^(thumbs\.db|desktop\.ini|ehthumbs\.db|\$recycle\.bin|system\ volume\ information)$
    | :zone\.identifier$ | :com\.apple\..*$
    """,
    re.IGNORECASE | re.VERBOSE,
)
_NAS_FOLDERS = frozenset({"@eadir", "#recycle", "@recycle", "@tmp", "#snapshot", "@sharebin", "lost+found"})


class Ignored(StrEnum):
    """Why a name is left alone; the value is also a metric's label."""

    HIDDEN = "hidden"
    NAS_FOLDER = "nas_folder"
    TEMPORARY = "temporary"

    @property
    def sentence(self) -> str:
        return {"hidden": "hidden name", "nas_folder": "a NAS's own folder", "temporary": "temporary name"}[self]


def ignored(name: str) -> Ignored | None:
    """Why this name is left alone, or ``None``. ``name`` is one component, bytes as surrogates (PEP 383)."""
    if name.startswith("."):
        return Ignored.HIDDEN
    if name.lower() in _NAS_FOLDERS:
        return Ignored.NAS_FOLDER
    if _UPLOAD.search(name) or _LITTER.search(name):
        return Ignored.TEMPORARY
    return None


def in_progress(name: str) -> bool:
    """Whether this is a name of something that is still being uploaded, or was when that broke off."""
    return bool(_UPLOAD.search(name) or _RSYNC.search(name))


def suffix(name: str) -> str:
    """The lower-cased suffix, ``""`` where there is none."""
    stem, dot, rest = name.rpartition(".")
    return f".{rest.lower()}" if dot and stem else ""


def is_audio(name: str) -> bool:
    return suffix(name) in AUDIO_SUFFIXES


def is_sidecar(name: str) -> bool:
    """``song.mp3.job.yaml``: the settings of ``song.mp3``."""
    return name.endswith(SIDECAR_SUFFIX) and name != SIDECAR_SUFFIX
