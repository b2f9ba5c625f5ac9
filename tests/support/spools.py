"""Spools for tests, and the invariants every spool must keep."""

from __future__ import annotations

from pathlib import Path

from stemd.spool import attempts, probes
from stemd.spool.audit import Auditor
from stemd.spool.layout import Spool


def make_spool(root: Path) -> Spool:
    spool = Spool(root)
    spool.inbox.mkdir(parents=True, exist_ok=True)
    probes.prepare(spool, ())
    return spool


def contents(root: Path) -> list[bytes]:
    """The content of every regular file below ``root``."""
    return [path.read_bytes() for path in root.rglob("*") if path.is_file() and not path.is_symlink()]


def violations(spool: Spool, sources: list[bytes], *, idle: bool = True) -> list[str]:
    """What is wrong with a spool in which recordings with these contents were accepted.

    That each is in the spool once (I1), and everything that ``stemd audit spool`` looks at; when ``idle``, nothing may
    be left in work/ (I8).
    """
    held = [content for area in (spool.inbox, spool.work, spool.outbox, spool.orphan) for content in contents(area)]
    lost = [f"I1: a source exists {held.count(source)} times" for source in sources if held.count(source) != 1]
    auditor = Auditor(spool, tries=attempts.MAX_INTERRUPTIONS, known=frozenset() if idle else None)
    left = [f"I8: left in work/: {path.name}" for path in spool.work.iterdir() if idle and not path.is_dir()]
    return lost + left + [str(violation) for violation in auditor.violations()]
