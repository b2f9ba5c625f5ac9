"""Spools for tests, and the invariants every spool must keep."""

from __future__ import annotations

import json
from pathlib import Path

from stemd.spool import deliver, probes
from stemd.spool.layout import Spool


def make_spool(root: Path) -> Spool:
    root.mkdir(parents=True, exist_ok=True)
    spool = Spool(root)
    probes.prepare(spool, ())
    return spool


def contents(root: Path) -> list[bytes]:
    """The content of every regular file below ``root``."""
    return [path.read_bytes() for path in root.rglob("*") if path.is_file() and not path.is_symlink()]


def violations(spool: Spool, sources: list[bytes], *, idle: bool = True) -> list[str]:
    """What is wrong with a spool in which recordings with these contents were accepted.

    Checks the invariants I1 (nothing lost), I2 (results verify), I3 (orphans explained), I4 and I5 (one result per
    job) and, when ``idle``, I8 (no husks or partials).
    """
    held = [content for area in (spool.inbox, spool.work, spool.outbox, spool.orphan) for content in contents(area)]
    found = [f"I1: a source exists {held.count(source)} times" for source in sources if held.count(source) != 1]
    results, faulty = _results(spool)
    found += faulty
    if len(results) != len(set(results)):
        found.append("I5: two results of one job")
    found += _orphans(spool, results)
    inodes = [path.lstat().st_ino for path in spool.root.rglob("*") if path.is_file()]
    if len(inodes) != len(set(inodes)):
        found.append("I4: one inode under two names")
    if idle and (left := [path.name for path in spool.work.iterdir()]):
        found.append(f"I8: left in work/: {left}")
    return found


def _results(spool: Spool) -> tuple[list[str], list[str]]:
    """The jobs whose results verify, and what is wrong with other folders of the outbox."""
    documents = {folder.name: deliver.verify(folder) for folder in spool.outbox.glob("*/*")}
    faulty = [f"I2: {name} does not verify" for name, document in documents.items() if document is None]
    return [document["job_uuid"] for document in documents.values() if document], faulty


def _orphans(spool: Spool, results: list[str]) -> list[str]:
    found = []
    for folder in spool.orphan.glob("*/*"):
        report = json.loads((folder / "error.json").read_text()) if (folder / "error.json").exists() else {}
        if "code" not in report or not any((folder / "source").rglob("*")):
            found.append(f"I3: {folder.name} is not explained or has no source")
        if report.get("job_uuid") in results:
            found.append("I5: a job has a result and an orphan")
    return found
