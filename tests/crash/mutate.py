"""``python -m tests.crash.mutate``: takes each mutation's guard out of a copy of stemd and runs the tests against it.

Writes docs/crash-tests.md: what was taken out, and which test noticed. A mutation that nothing notices is a hole in the
tests (or a guard that guards nothing): the exit status is 1. ``--only TEXT`` (several times) runs those named like it
and writes nothing; ``--new`` runs those the page lacks and keeps its other rows; ``--jobs N`` copies are tested at a time.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tests.crash.mutations import Mutation, mutations

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "crash-tests.md"
#: Tried one after the other until one notices: the model of the disk first.
TESTS = (
    "tests/crash/test_states.py",
    "tests/crash/test_steps.py",
    "tests/crash/test_album_states.py",
    "tests/crash/test_trace_rules.py",
    "tests/unit/spool",
)
_OF_DELETION = (
    "tests/unit/spool/test_deletion_flushes.py",
    "tests/unit/spool/test_trail.py",
    "tests/unit/spool/test_retention.py",
    "tests/crash/test_retention_steps.py",
)
#: Tried instead, where the guard was taken out of a module that only they are about.
TESTS_OF = {
    **dict.fromkeys(("books", "keyring", "trail", "trash", "erase", "retention", "handover"), _OF_DELETION),
    "album": ("tests/crash/test_album_states.py", "tests/crash/test_album_steps.py", "tests/unit/spool/test_album.py"),
    "ledger": ("tests/crash/test_album_states.py", "tests/crash/test_album_steps.py", "tests/unit/spool/test_album.py"),
    "moved": ("tests/unit/spool/test_moved.py",),
    "shelf": ("tests/crash/test_checkpoint_states.py",),
    "checkpoint": ("tests/crash/test_checkpoint_states.py", "tests/unit/engines/test_checkpoint.py"),
}
_MINUTES = 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """The test that noticed (``None``: nothing did), and after how many seconds."""

    mutation: Mutation
    noticed_by: str | None
    seconds: float


def judge(mutation: Mutation) -> Verdict:
    """Test a copy of stemd without the guard."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="stemd-mutation-") as name:
        copy = Path(name)
        for folder in ("stemd", "tests", "docs"):
            shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("pyproject.toml", "README.md"):
            shutil.copy(ROOT / file, copy / file)
        shutil.copytree(ROOT / "config", copy / "config")
        mutation.apply(copy)
        rest = TESTS_OF.get(Path(mutation.file).stem, TESTS)
        noticed = next((found for tests in (mutation.tests, rest) if (found := _failure(copy, tests))), None)
    return Verdict(mutation, noticed, time.monotonic() - started)


def _failure(copy: Path, tests: tuple[str, ...]) -> str | None:
    """The first test that fails; ``None`` when all pass."""
    if not tests:
        return None
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(copy), "STEMD_TEST_FIRST": "1"}
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=60 * _MINUTES, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{tests[0]} (it hung)"
    if done.returncode == 0:
        return None
    failed = re.search(r"^(?:FAILED|ERROR) (\S+?)(?:\[| - |$)", done.stdout, re.MULTILINE)
    return failed[1] if failed else f"{tests[0]}: {done.stdout[-200:]}"


def row(verdict: Verdict) -> str:
    """A line of the page's table."""
    mutation = verdict.mutation
    return f"| `{_named(mutation)}` | {mutation.file} | {_shown(verdict.noticed_by)} |"


def rows_of(text: str) -> dict[str, str]:
    """The lines of a page's table by what was taken out."""
    return {found[1]: found[0] for found in re.finditer(r"^\| `([^`]+)` \| \S+ \| .+ \|$", text, re.MULTILINE)}


def page(rows: list[str], counts: list[str], all_of_them: int) -> str:
    """docs/crash-tests.md; ``rows`` may be of a part of ``all_of_them`` mutations, which the page then says."""
    caught = sum(not each.endswith("| **nothing** |") for each in rows)
    head = _HEAD.format(counts="\n".join(counts), caught=caught, run=len(rows), all=all_of_them)
    return "\n".join([head, *rows, ""])


def _named(mutation: Mutation) -> str:
    return mutation.name.replace("|", "∣")


def _shown(test: str | None) -> str:
    return f"`{test.removeprefix('tests/')}`" if test else "**nothing**"


_HEAD = """# The crash tests

stemd promises that nothing accepted is ever lost, and that nothing partial is ever visible ([spool.md](spool.md)).
`tests/crash/` tries to break that, on the real code:

| | how |
|---|---|
| `test_steps.py`, `test_album_steps.py`, `test_retention_steps.py` | the process ends after every single step of the protocol, is recovered, and ends again during recovery |
| `test_states.py`, `test_album_states.py`, `test_checkpoint_states.py`, `test_deletion_states.py` | the real system calls are recorded; a model of a disk that owes nothing beyond what was flushed (directory entries in any subset, data none or all) gives every state a power cut can leave; each is made real and recovered |
| `test_trace_rules.py` | rules about the order of system calls: no rename replaces, nothing is retired before the outbox was flushed, nothing is published after a failed flush |
| `test_power.py` | ext4 and XFS on a loop device are shut down in mid-flight (the file system's own shutdown call, without a flush of its log), mounted again and recovered |
| `test_injection.py` | strace makes flushes, renames and writes of the running daemon and its worker fail, or kills them there |
| `test_full_disk.py` | no bytes, or no inodes, before the claim, while separating, while publishing, on the way to orphan/ |
| `test_soak.py` | drops, kills, stops, reloads and retries at random, with a ledger of what went in and what came out; longer by hand: `python -m tests.crash.soak --minutes 60` |

After each of them the invariants of [spool.md](spool.md) are checked, by the code that `stemd audit spool` runs.

Counts of the last runs:

{counts}

## What notices when a guard is missing

`python -m tests.crash.mutate` takes each guard out of a copy of stemd and runs the tests against the copy: every flush
(found in the source, so a new one is in the list by itself) and the other guards of the protocol. There are {all};
this table is of {run}, of which {caught} were noticed. The test named is the first that failed.

| taken out | in | noticed by |
|---|---|---|"""


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--only", action="append", default=[], metavar="TEXT")
    arguments.add_argument("--new", action="store_true")
    arguments.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arguments.add_argument("--counts", type=Path, help="pytest's output of the last full run")
    chosen = arguments.parse_args()
    every = mutations(ROOT)
    before = PAGE.read_text()
    rows = rows_of(before) if chosen.new else {}
    todo = [each for each in every if not chosen.only or any(text in each.name for text in chosen.only)]
    todo = [each for each in todo if _named(each) not in rows]
    verdicts: list[Verdict] = []
    with ThreadPoolExecutor(chosen.jobs) as pool:
        for number, future in enumerate(as_completed([pool.submit(judge, each) for each in todo]), 1):
            verdict = future.result()
            verdicts.append(verdict)
            rows[_named(verdict.mutation)] = row(verdict)
            noticed = verdict.noticed_by or "NOTHING NOTICED"
            print(f"{number}/{len(todo)}  {verdict.seconds:5.0f} s  {verdict.mutation.name}  →  {noticed}", flush=True)
    if not chosen.only:
        output = chosen.counts.read_text() if chosen.counts else ""
        found = [f"- {line}" for line in re.findall(r"^crash suite: (.*)$", output, re.MULTILINE)]
        counts = found or re.findall(r"^- .*$", before, re.MULTILINE)
        PAGE.write_text(page([rows[_named(each)] for each in every], counts, len(every)))
    return int(any(verdict.noticed_by is None for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
