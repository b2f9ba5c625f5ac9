"""What can be taken out of stemd: every flush, found in the source, and the protocol's other guards, listed by hand."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Where flushes are looked for: all code that changes a spool. Probes flush to find out whether they can.
_PLACES = ("stemd/spool/*.py", "stemd/engines/checkpoint.py", "stemd/engines/mix/shelf.py")
_NOT = frozenset({"probes.py"})
_FLUSHES = frozenset({"fsync", "fsync_tree"})


_FOLLOWED = "tests/crash/test_states.py::test_so_is_one_that_another_job_follows"
#: Flushes that another test than the first notices: it is tried before all others.
_NOTICED_BY = {
    "sources._make_private: durable.fsync(path.parent)": ("tests/crash/test_trace_rules.py",),
    "deliver.finish_orphan: durable.fsync(home)": ("tests/crash/test_trace_rules.py",),
    "follow.prepare: durable.fsync_tree(work.next)": (_FOLLOWED,),
    "follow.release: durable.fsync(spool.work)": (_FOLLOWED,),
    "deliver.open_place: durable.fsync(home.parent)": ("tests/crash/test_album_states.py",),
}


@dataclass(frozen=True, slots=True)
class Mutation:
    """One thing taken out: in ``file`` (relative), the text from ``start`` to ``stop`` is replaced by ``new``."""

    name: str
    file: str
    start: int
    stop: int
    new: str
    tests: tuple[str, ...] = ()

    def apply(self, root: Path) -> None:
        path = root / self.file
        text = path.read_text()
        path.write_text(text[: self.start] + self.new + text[self.stop :])


@dataclass(frozen=True, slots=True)
class Guard:
    """A guard that is no flush: ``old`` stands once in ``file``. ``tests`` are those that must notice, if not the crash
    tests do."""

    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = ()


GUARDS = (
    Guard("renames may replace", "stemd/spool/durable.py", "_RENAME_NOREPLACE = 1", "_RENAME_NOREPLACE = 0"),
    Guard(
        "what is thrown away is not looked at once more",
        "stemd/spool/trash.py", "if not still(place):", "if False:", ("tests/unit/spool/test_trash.py",),
    ),
    Guard(
        "retention looks at the living too",
        "stemd/spool/holdings.py", "if document is None or document.get(\"state\") not in _ENDED:", "if document is None:",
        ("tests/unit/spool/test_retention.py",),
    ),
    Guard(
        "a prune does not look at the clock",
        "stemd/spool/retention.py", "if not look_at_clock(books, force=force):", "if False:", ("tests/unit/spool/test_retention.py",),
    ),
    Guard(
        "no tombstones",
        "stemd/spool/erase.py", "bury(books, sorted(order.jobs))", "pass", ("tests/process/test_deletion.py",),
    ),
    Guard(
        "renames may replace where the file system lacks the flag",
        "stemd/spool/durable.py", "elif os.path.lexists(target):", "elif False:", ("tests/unit/spool/test_durable.py",),
    ),
    Guard(
        "no record of a start before the engine hears of it",
        "stemd/daemon/runs.py", "attempts.record_start(live.work.attempts, job.request.engine)", "pass",
        ("tests/unit/daemon/test_runs.py",),
    ),
    Guard(
        "a result is not verified after a restart",
        "stemd/spool/recover.py", "if deliver.verify(work.partial) is not None:", "if True:",
    ),
    Guard(
        "verification looks at sizes only",
        "stemd/spool/deliver.py", " or sources.sha256(path) != file[\"sha256\"]", "",
    ),
    Guard(
        "stems are not read back by the engine",
        "stemd/engines/audio/verify.py", "target.lossy or measured.crc == written.crc", "True",
        ("tests/unit/engines", "tests/contract/test_errors.py"),
    ),
    Guard(
        "chunks are taken over unread",
        "stemd/engines/checkpoint.py", "if not self._is_good(number, chunk):", "if False:",
        ("tests/unit/engines/test_checkpoint.py",),
    ),
    Guard(
        "chunks are put together unread",
        "stemd/engines/checkpoint.py", "if digest is not None and digest.hexdigest() != chunk[\"sha256\"]:", "if False:",
        ("tests/unit/engines/test_checkpoint.py",),
    ),
    Guard(
        "nobody owns the spool",
        "stemd/spool/probes.py", "fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n        except", "pass\n        except",
        ("tests/unit/spool/test_probes.py",),
    ),
    Guard(
        "nobody holds a job",
        "stemd/spool/joblock.py", "fcntl.flock(descriptor, fcntl.LOCK_SH)", "pass",
    ),
    Guard("recovery does not wait for a left-over worker", "stemd/spool/recover.py", "joblock.release(work)", "pass",
          ("tests/unit/spool/test_recover.py",)),
    Guard("the result's name is not noted", "stemd/spool/deliver.py",
          "durable.write_json(work.target, {\"path\": str(target.relative_to(spool.root))})", "pass"),
    Guard("no mark that the result is out", "stemd/spool/deliver.py", "    durable.mark(work.published)\n    step(\"P3\")", "    step(\"P3\")"),
    Guard("the source is not brought back from a stage", "stemd/spool/deliver.py",
          "durable.rename(work.kept_source, home)", "pass"),
    Guard("a stage keeps its manifest when its source leaves it", "stemd/spool/deliver.py",
          "for mark in (work.target, work.manifest):", "for mark in (work.target,):"),
    Guard("nothing is written down before the claim", "stemd/spool/claim.py", "durable.write_json(work.origin, origin)", "pass"),
    Guard("nobody looks for writers after the claim", "stemd/spool/claim.py",
          "if lease.writers(work.src) is Writers.SOME:", "if False:", ("tests/unit/spool/test_claim.py",)),
    Guard("a file that changes while it is hashed is taken", "stemd/spool/sources.py",
          "if identity(path) != identity_of(before) or", "if", ("tests/unit/spool/test_claim.py",)),
    Guard("a file with a second name is worked on itself", "stemd/spool/sources.py",
          "if path.stat().st_nlink == 1:", "if True:", ("tests/unit/spool/test_claim.py",)),
    Guard("a source that changed since is separated", "stemd/spool/sources.py",
          "if not known or (", "if (", ("tests/unit/spool/test_sources.py",)),
    Guard("one that was swapped behind its size and mtime is", "stemd/spool/sources.py",
          "facts.st_ctime_ns != source.changed_ns and", "False and", ("tests/unit/spool/test_sources.py",)),
    Guard("a torn last line swallows the next", "stemd/spool/durable.py", "b\"\\n\" * torn + line", "line",
          ("tests/unit/spool/test_durable.py",)),
    Guard("one look is enough to settle", "stemd/spool/settle.py", "return max(self._times.settle, self._times.tree) if sighting.tree else self._times.settle", "return 0.0",
          ("tests/unit/spool/test_settle.py",)),
    Guard("a file that is open for writing is taken", "stemd/spool/settle.py", "if writers is Writers.SOME:", "if False:",
          ("tests/unit/spool/test_settle.py",)),
    Guard("interruptions have no end", "stemd/daemon/retry.py", "if count.interruptions <= MAX_INTERRUPTIONS:", "if True:",
          ("tests/unit/daemon/test_retry.py",)),
    Guard("attempts have no end", "stemd/daemon/retry.py", " or count.attempts >= allowed", "",
          ("tests/unit/daemon/test_retry.py",)),
)  # fmt: skip


def mutations(root: Path) -> list[Mutation]:
    """All of them, for the source below ``root``.

    Raises:
        ValueError: a guard's text is not there once: it was changed, and its row here must be too.
    """
    return [*_flushes(root), *(_guard(root, guard) for guard in GUARDS)]


def _guard(root: Path, guard: Guard) -> Mutation:
    text = (root / guard.file).read_text()
    if text.count(guard.old) != 1:
        raise ValueError(f"{guard.file}: {text.count(guard.old)} times {guard.old!r} ({guard.what})")
    start = text.index(guard.old)
    return Mutation(guard.what, guard.file, start, start + len(guard.old), guard.new, guard.tests)


def _flushes(root: Path) -> Iterator[Mutation]:
    for pattern in _PLACES:
        for path in sorted(root.glob(pattern)):
            if path.name not in _NOT:
                yield from _flushes_in(path, str(path.relative_to(root)))


def _flushes_in(path: Path, file: str) -> Iterator[Mutation]:
    text = path.read_text()
    starts = [0]
    for line in text.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line.decode()))
    seen: Counter[str] = Counter()
    for function in (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)):
        for node in ast.walk(function):
            if isinstance(node, ast.Expr) and _is_flush(node.value):
                call = ast.get_source_segment(text, node)
                name = f"{path.stem}.{function.name}: {call}"
                seen[name] += 1
                start = starts[node.lineno - 1] + node.col_offset
                again = f" ({seen[name]})" if seen[name] > 1 else ""
                end, tests = start + len(call or ""), _NOTICED_BY.get(name, ())
                yield Mutation(name + again, file, start, end, "pass", tests)


def _is_flush(node: ast.expr) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in _FLUSHES
