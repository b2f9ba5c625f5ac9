"""Spools for tests, and the invariants every spool must keep."""

from __future__ import annotations

import json
import os
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
    found = []
    held = [*contents(spool.inbox), *contents(spool.work), *contents(spool.outbox), *contents(spool.orphan)]
    for source in sources:
        if held.count(source) != 1:
            found.append(f"I1: a source exists {held.count(source)} times")
    results: list[str] = []
    for manifest in spool.outbox.glob("*/*/manifest.json"):
        document = deliver.verify(manifest.parent)
        if document is None:
            found.append(f"I2: {manifest.parent.name} does not verify")
        else:
            results.append(document["job_uuid"])
    for folder in spool.outbox.glob("*/*"):
        if not (folder / "manifest.json").exists():
            found.append(f"I2: {folder.name} has no manifest")
    if len(results) != len(set(results)):
        found.append("I5: two results of one job")
    for folder in spool.orphan.glob("*/*"):
        report = json.loads((folder / "error.json").read_text()) if (folder / "error.json").exists() else {}
        if "code" not in report or not any((folder / "source").rglob("*")):
            found.append(f"I3: {folder.name} is not explained or has no source")
        if report.get("job_uuid") in results:
            found.append("I5: a job has a result and an orphan")
    inodes = [os.lstat(path).st_ino for path in spool.root.rglob("*") if path.is_file()]
    if len(inodes) != len(set(inodes)):
        found.append("I4: one inode under two names")
    if idle and (left := [path.name for path in spool.work.iterdir()]):
        found.append(f"I8: left in work/: {left}")
    return found
