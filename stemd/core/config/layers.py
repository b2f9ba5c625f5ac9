"""The layers of the configuration laid over each other: files, drop-ins, environment, flags.

No validation here, so no pydantic: only which value wins, and where it came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stemd.core.config import places, tree
from stemd.core.config.faults import Fault, KeyPath, Mark, nearest
from stemd.core.errors import StemdError

MAX_BYTES = 1 << 20
ENV_PREFIX = "STEMD_"
#: The keys of ``Config``, which cannot be asked here.
TOP_LEVEL = frozenset(
    {
        "spool", "inboxes", "defaults", "paths", "models", "shutdown", "log", "compliance", "engines", "chunking",
        "retry", "scheduling", "governor", "scaling", "self_audit", "users", "quotas", "retention", "http", "alerts",
        "handoff", "executor",
    }
)  # fmt: skip


@dataclass
class Merged:
    """The winning values, the place of each, the files that were read, and what hindered reading them."""

    data: dict[str, Any] = field(default_factory=dict)
    marks: dict[KeyPath, Mark] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def mark(self, path: KeyPath) -> Mark:
        """The place of ``path``, or of the nearest thing around it."""
        return nearest(self.marks, path)

    def at(self, path: KeyPath) -> Any:
        """The value at ``path``, or ``None``."""
        found: Any = self.data
        for part in path:
            found = found.get(part) if isinstance(found, dict) else None
        return found

    def lay(self, value: Any, marks: Mapping[KeyPath, Mark], path: KeyPath = ()) -> None:
        """Lay ``value`` (places in ``marks``) over what is at ``path``: mappings merge, anything else replaces."""
        here = self.at(path)
        if value is None and len(path) == 1 and isinstance(here, dict):
            return  # a section without a body changes nothing
        if isinstance(value, dict) and isinstance(here, dict):
            if path in marks and (path not in self.marks or not here):
                self.marks[path] = marks[path]
            for key, each in value.items():
                self.lay(each, marks, (*path, key))
            return
        for old in [known for known in self.marks if known[: len(path)] == path]:
            del self.marks[old]
        self.marks.update({known: mark for known, mark in marks.items() if known[: len(path)] == path})
        self.at(path[:-1])[path[-1]] = value


def merge(file: Path | None, flags: Mapping[str, Any], environ: Mapping[str, str]) -> Merged:
    """All layers but the defaults, lowest first.

    Raises:
        StemdError: STEMD-C001, no configuration file is found (and no spool given), or one cannot be read.
    """
    merged = Merged()
    main = _find(file, flags, environ)
    for path in [main, *places.drop_ins(main)] if main else []:
        _lay_file(merged, path)
    for name in sorted(environ):
        _lay_variable(merged, name, environ[name])
    for key, value in flags.items():
        if value is not None:
            _lay_value(merged, tuple(key.split(".")), value, Mark(f"flag --{key.replace('.', '-').replace('_', '-')}"))
    return merged


def _find(file: Path | None, flags: Mapping[str, Any], environ: Mapping[str, str]) -> Path | None:
    named = file or (Path(environ["STEMD_CONFIG"]) if environ.get("STEMD_CONFIG") else None)
    if named:
        return named
    looked = list(places.candidates(environ))
    found = next((path for path in looked if path.is_file()), None)
    if found is None and flags.get("spool") is None and not environ.get("STEMD_SPOOL"):
        raise StemdError(
            "STEMD-C001",
            f"there is no configuration: looked for {', '.join(map(str, looked))}",
            remedy="Name a file with -c/--config or STEMD_CONFIG, or only a spool with STEMD_SPOOL=/path; "
            "`stemd config init` writes a commented first file.",
        )
    return found


def _lay_file(merged: Merged, path: Path) -> None:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise StemdError("STEMD-C001", f"{path}: {error.strerror}") from error
    document = tree.read(content, str(path), MAX_BYTES)
    merged.files.append(path)
    merged.marks.setdefault((), Mark(str(path), 1, 1))
    merged.faults += document.faults
    if document.data is not None and not isinstance(document.data, dict):
        merged.faults.append(Fault(str(path), 1, 1, "", "the file must be a mapping: lines of `key: value`"))
    else:
        merged.lay(document.data or {}, document.marks)


def _lay_variable(merged: Merged, name: str, text: str) -> None:
    """``STEMD_SECTION__KEY``. A name with one part counts only if it is a key of the top level."""
    if not name.startswith(ENV_PREFIX) or name == "STEMD_CONFIG":
        return
    parts = name.removeprefix(ENV_PREFIX).lower().split("__")
    if len(parts) == 1 and parts[0] not in TOP_LEVEL:
        return
    document = tree.scalar(text, f"env {name}")
    merged.faults += document.faults
    if not document.faults:
        _lay_value(merged, _existing(merged, parts), document.data, Mark(f"env {name}"))


def _existing(merged: Merged, parts: list[str]) -> KeyPath:
    """Parts spelt as the keys already there: names of inboxes, users and quotas may have capitals."""
    path: list[str] = []
    for part in parts:
        here = merged.at(tuple(path))
        same = [key for key in here if key.lower() == part] if isinstance(here, dict) else []
        path.append(same[0] if same else part)
    return tuple(path)


def _lay_value(merged: Merged, path: KeyPath, value: Any, mark: Mark) -> None:
    nested: Any = value
    for part in reversed(path):
        nested = {part: nested}
    merged.lay(nested, _same_mark(nested, mark))


def _same_mark(value: Any, mark: Mark, path: KeyPath = ()) -> dict[KeyPath, Mark]:
    marks = {path: mark} if path else {}
    if isinstance(value, dict):
        for key, each in value.items():
            marks |= _same_mark(each, mark, (*path, key))
    return marks
