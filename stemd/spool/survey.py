"""What is in a dropped folder: recordings, folders that are jobs of their own, other files. Looks, changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stemd.spool import ignore

#: Folders within one another that are looked into. Nobody's music is nested deeper, and ``os.walk`` calls itself for
#: each: a thousand would end who walks.
DEEPEST = 64


@dataclass(frozen=True, slots=True)
class Survey:
    """Paths relative to the folder, in a fixed order; ``folders`` from the top (``""``) down.

    ``staged`` are folders with a job description in them; what else is in those is listed nowhere. ``others`` are
    neither recordings nor the descriptions beside them; whatever has a name that is left alone, or lies below one, is
    among them. ``unfinished`` are names of uploads in progress, those in ``staged`` folders too.
    """

    folders: list[str] = field(default_factory=list)
    recordings: list[str] = field(default_factory=list)
    staged: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)

    @property
    def jobs(self) -> int:
        """How many jobs an album of this content makes."""
        return len(self.recordings) + len(self.staged)


def survey(root: Path) -> Survey:
    """Look at everything below ``root``."""
    found = Survey()
    for parent, directories, files in walk(root):
        inside = "" if parent == str(root) else os.path.relpath(parent, root)
        found.folders.append(inside)
        if any(ignore.ignored(part) for part in Path(inside).parts):
            found.others.extend(_below(inside, files))
            continue
        found.unfinished.extend(_below(inside, filter(ignore.in_progress, [*directories, *files])))
        staged = {name for name in directories if not ignore.ignored(name) and is_staged(Path(parent, name))}
        directories[:] = sorted(set(directories) - staged)
        found.staged.extend(_below(inside, staged))
        for folder in _below(inside, staged):
            found.unfinished.extend(_below(folder, survey(root / folder).unfinished))
        recordings = {name for name in files if ignore.is_audio(name) and not ignore.ignored(name)}
        found.recordings.extend(_below(inside, recordings))
        descriptions = {name + ignore.SIDECAR_SUFFIX for name in recordings}
        found.others.extend(_below(inside, set(files) - recordings - descriptions))
    return found


def walk(top: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """As ``os.walk``, from the top, into folders that are no deeper than ``DEEPEST`` below it."""
    for folder, directories, files in os.walk(top):
        yield folder, directories, files
        if is_deepest(top, folder):
            directories.clear()


def is_deepest(top: Path, folder: str) -> bool:
    """Whether what is in ``folder`` lies as deep below ``top`` as is looked."""
    return folder.count(os.sep) - os.fspath(top).count(os.sep) >= DEEPEST


def is_staged(folder: Path) -> bool:
    """Whether a folder has a job description at its top: it is one job."""
    return any(os.path.lexists(folder / name) for name in ignore.JOB_FILES)


def _below(folder: str, names: Iterable[str]) -> list[str]:
    return [os.path.join(folder, name) for name in sorted(names)]  # noqa: PTH118  text, as os.walk gives it
