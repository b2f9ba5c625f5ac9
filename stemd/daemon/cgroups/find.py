"""Whether a part of the control groups is stemd's. In doubt it is not: a shell's or container's group is left alone.

By itself (``governor.cgroups: auto``) stemd takes the group it was started in, of version 2, if

- systemd marked it as delegated (the attribute ``user.delegate``, or ``trusted.delegate`` that only root can read), or
  an older systemd (before 251) started this very process in a service and made this user the folder's owner; and
- no other process is in it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path

from stemd.daemon.cgroups import v1, v2
from stemd.daemon.cgroups.leaf import Groups, members

_MOUNTS, _OWN = Path("/proc/self/mountinfo"), Path("/proc/self/cgroup")
_MARKS = ("user.delegate", "trusted.delegate")


class NoGroupsError(Exception):
    """There are none for stemd; the text says why."""


def find(setting: str, mounts: Path = _MOUNTS, own: Path = _OWN, environ: Mapping[str, str] = os.environ) -> Groups:
    """The groups that ``governor.cgroups`` (``auto``, ``never`` or a path) means, ready to be used.

    They are stemd's alone until the process ends.

    Raises:
        NoGroupsError: there are none, with the reason.
    """
    if setting == "never":
        raise NoGroupsError("governor.cgroups is never")
    places = _hierarchies(mounts.read_text())
    try:
        if setting == "auto":
            return v2.Groups(_locked(_delegated(places, own.read_text(), environ)))
        return _named(places, setting.lstrip("/"))
    except OSError as error:
        raise NoGroupsError(f"{error.filename or 'its control group'}: {error.strerror}") from error


def _hierarchies(mountinfo: str) -> Mapping[str, Path]:
    """Mount points by controller (version 1), and ``""`` for version 2."""
    found: dict[str, Path] = {}
    for line in mountinfo.splitlines():
        ours, _, theirs = line.partition(" - ")
        kind, _, options = theirs.split(" ", 2)
        point = Path(ours.split(" ")[4].replace("\\040", " "))
        if kind == "cgroup2":
            found.setdefault("", point)
        elif kind == "cgroup":
            for controller in options.split(","):
                found.setdefault(controller, point)
    return found


def _delegated(places: Mapping[str, Path], own: str, environ: Mapping[str, str]) -> Path:
    path = next((line[3:] for line in own.splitlines() if line.startswith("0::")), None)
    if path is None or "" not in places:
        raise NoGroupsError("there are no control groups of version 2")
    folder = places[""] / path.lstrip("/")
    if not (_marked(folder) or _given_by_older_systemd(folder, environ)):
        raise NoGroupsError(f"{folder} was not delegated to stemd (Delegate= of its unit)")
    if others := set(members(folder)) - {os.getpid()}:
        raise NoGroupsError(f"other processes are in {folder}: {', '.join(map(str, sorted(others)[:5]))}")
    if "memory" not in (folder / "cgroup.controllers").read_text().split():
        raise NoGroupsError(f"the memory controller is not among those of {folder}")
    return folder


def _marked(folder: Path) -> bool:
    for mark in _MARKS:
        try:
            if os.getxattr(folder, mark) == b"1":
                return True
        except OSError:
            continue
    return False


def _given_by_older_systemd(folder: Path, environ: Mapping[str, str]) -> bool:
    uid = os.geteuid()
    started = environ.get("SYSTEMD_EXEC_PID") == str(os.getpid()) and folder.name.endswith(".service")
    return uid != 0 and started and folder.stat().st_uid == uid


def _named(places: Mapping[str, Path], path: str) -> Groups:
    """The group that a person made for stemd, of version 2 or else in the hierarchies of version 1."""
    second = places.get("", Path("/nonexistent")) / path
    if (second / "cgroup.controllers").exists() and "memory" in (second / "cgroup.controllers").read_text().split():
        return v2.Groups(_locked(second))
    tops = {name: places[name] / path for name in v1.HIERARCHIES if name in places}
    tops = {name: top for name, top in tops.items() if top.is_dir() and os.access(top, os.W_OK)}
    if not tops:
        raise NoGroupsError(f"no control group /{path} that stemd may write to")
    for top in tops.values():
        _locked(top)
    return v1.Groups(tops)


def _locked(folder: Path) -> Path:
    """Keep other daemons from the same group: they would take our workers for left-overs of their own."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise NoGroupsError(f"another stemd uses {folder}") from error
    return folder
