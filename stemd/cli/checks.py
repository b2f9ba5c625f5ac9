"""What ``stemd doctor`` looks at. Each check answers with findings; none changes anything that stays."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from stemd import __version__
from stemd.cli.as_owner import as_owner
from stemd.core.errors import StemdError
from stemd.core.job import printable
from stemd.ops.snapshot import owner_of
from stemd.spool import lease, probes
from stemd.spool.layout import AREAS, Spool

if TYPE_CHECKING:
    from stemd.core.config import Config
    from stemd.engines.environments import Environment

_GIB = 2**30
_LOW_SPACE, _NO_SPACE = 10 * _GIB, 1 * _GIB
_LOW_INODES = 10_000
_LOW_WATCHES = 8192
#: Distribution, module, and whether stemd is of no use without it.
_PACKAGES = (
    ("numpy", "numpy", True),
    ("soundfile", "soundfile", True),
    ("demucs", "demucs", False),
    ("torch", "torch", False),
)
_TRY_ENGINE = "import sys; from stemd.engines.base import create; print(create(sys.argv[1]).version)"
_TRY_SOUNDFILE = "import soundfile; print(soundfile.__libsndfile_version__)"
_PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report; ``level`` is ``ok``, ``warn`` or ``fail``."""

    level: str
    what: str
    message: str
    code: str | None = None
    remedy: str | None = None


def ok(what: str, message: str) -> Finding:
    return Finding("ok", what, message)


def bad(what: str, error: StemdError, level: str = "fail") -> Finding:
    return Finding(level, what, error.message, error.code, error.remedy)


def everything(config: Config) -> Iterator[Finding]:
    """All checks that need a readable configuration."""
    yield from python()
    yield from packages()
    yield from programs()
    for root in config.spool:
        yield from spool(Spool(root))
    yield from inotify()
    yield from leases(config)
    yield from limits(config)
    yield from http(config)
    yield from engines(config)
    yield from models(config)


def python() -> Iterator[Finding]:
    """The interpreter and stemd itself."""
    yield ok("stemd", f"{__version__} in {printable(sys.prefix)}")
    yield ok("python", platform.python_version())


def packages() -> Iterator[Finding]:
    """The packages that do the work, found without importing them here."""
    for name, module, needed in _PACKAGES:
        try:
            if find_spec(module) is None:
                raise PackageNotFoundError(module)
            yield ok(name, version(name) + (f", {_libsndfile()}" if name == "soundfile" else ""))
        except PackageNotFoundError:
            extra = "stemd" if needed else "stemd[demucs]"
            error = StemdError("STEMD-E002", "not installed", remedy=f"pip install '{extra}'")
            yield bad(name, error, "fail" if needed else "warn")


def _libsndfile() -> str:
    answer = _python(_TRY_SOUNDFILE)
    return f"libsndfile {answer.stdout.strip()}" if answer.returncode == 0 else "libsndfile does not load"


def _python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a few words of Python in a process of their own: what they import is heavy, or may crash."""
    command = [sys.executable, "-I", "-c", code, *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no answer within {_PATIENCE:g} s")


def programs() -> Iterator[Finding]:
    """ffmpeg: needed only for some formats."""
    found = shutil.which("ffmpeg")
    if found:
        yield ok("ffmpeg", found)
    else:
        message = "not found on PATH: m4a, aac, wma and video files cannot be read"
        yield bad("ffmpeg", StemdError("STEMD-A004", message, remedy="apt-get install ffmpeg"), "warn")


def spool(spool: Spool) -> Iterator[Finding]:
    """The root, who owns it, whether its folders can do what the protocol needs, and the room on its disk."""
    what = f"spool {printable(str(spool.root))}"
    try:
        probes.present(spool)
    except StemdError as error:
        yield bad(what, error)
        return
    owner = owner_of(spool)
    yield from _areas(what, spool, owner)
    yield from _disk(what, spool)
    if owner is None:
        yield bad("daemon", StemdError("STEMD-S017", f"none is running on {spool.root}"), "warn")
    else:
        yield ok("daemon", f"running on {spool.root}" + (f", process {owner}" if owner else ""))


def limits(config: Config) -> Iterator[Finding]:
    """How a running daemon keeps jobs within their limits."""
    from stemd.daemon import control

    try:
        found = control.request(config, {"op": "state"})["limits"]
    except (StemdError, KeyError):
        return  # none runs, or it is not ours to ask
    if found["by"] == "sampling":
        yield ok("limits", f"kept by looking each second: {printable(found['reason'])}")
    else:
        yield ok(
            "limits", f"kept by the kernel ({found['by']}: {', '.join(found['kernel'])}), disk and time by looking"
        )


def _areas(what: str, spool: Spool, owner: int | None) -> Iterator[Finding]:
    missing = [area for area in AREAS if not (spool.root / area).is_dir()]
    if missing and os.access(spool.root, os.W_OK | os.X_OK):
        yield Finding("warn", what, f"{', '.join(missing)} not there yet", "STEMD-S005", "`stemd run` makes them.")
    elif missing:
        yield bad(what, StemdError("STEMD-S003", f"{', '.join(missing)} not there, and you may not make them"))
    elif owner is not None:
        yield ok(what, "its daemon checked folders and mount when it started")
    else:
        yield _protocol(what, spool)


def _protocol(what: str, spool: Spool) -> Finding:
    """Try every operation, as the service, and under the lock, so that no daemon starts meanwhile."""
    try:
        with as_owner(spool.root):
            descriptor = probes.take_lock(spool)
            try:
                probes.check(spool)
            finally:
                os.close(descriptor)
    except StemdError as error:
        return bad(what, error)
    except PermissionError as error:
        return bad(what, StemdError("STEMD-S003", f"{error.filename}: {error.strerror}"))
    return ok(what, "one mount; writing, flushing and renaming work between all folders")


def _disk(what: str, spool: Spool) -> Iterator[Finding]:
    facts = os.statvfs(spool.root)
    free, inodes = facts.f_bavail * facts.f_frsize, facts.f_favail
    text = f"{free / _GIB:.1f} GiB free"
    if facts.f_files:
        text += f", {inodes} inodes"
    if free < _NO_SPACE or (facts.f_files and inodes < _LOW_INODES):
        yield bad(what, StemdError("STEMD-R003", text))
    elif free < _LOW_SPACE:
        yield bad(what, StemdError("STEMD-R003", text), "warn")
    else:
        yield ok(what, text)


def inotify() -> Iterator[Finding]:
    """How many folders can be watched."""
    with suppress(OSError, ValueError):
        watches = int(Path("/proc/sys/fs/inotify/max_user_watches").read_text())
        if watches < _LOW_WATCHES:
            remedy = "sysctl fs.inotify.max_user_watches=65536 (in /etc/sysctl.d to keep it)"
            yield Finding("warn", "inotify", f"max_user_watches is {watches}", "STEMD-S004", remedy)
        else:
            yield ok("inotify", f"max_user_watches is {watches}")


def http(config: Config) -> Iterator[Finding]:
    """Whether the port is ours, free, or somebody else's."""
    from stemd.core.config.units import address

    listen = config.http.listen
    if listen is None:
        yield ok("http", "off")
        return
    host, port = address(str(listen))
    alive = _livez(host, port)
    if alive:
        yield ok("http", f"{listen} answers")
    elif port and _taken(host, port):
        yield bad("http", StemdError("STEMD-C004", f"{listen} is held by something that is not a healthy stemd"))
    else:
        yield ok("http", f"{listen} is free")


def _livez(host: str, port: int) -> bool:
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  compared with, not bound
    place = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{place}/livez", timeout=2) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as refused:  # it is ours, and asks for a token
        return 'realm="stemd"' in str(refused.headers.get("WWW-Authenticate"))
    except (OSError, ValueError):
        return False


def _taken(host: str, port: int) -> bool:
    import socket

    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError:
        return True
    return False


def engines(config: Config) -> Iterator[Finding]:
    """Whether each installed engine can be made, each in a process of its own."""
    from stemd.engines import base, environments

    names = base.names()
    if config.defaults.engine not in names:
        yield bad("engine " + config.defaults.engine, StemdError("STEMD-E001", "defaults.engine is not installed"))
    for name in names:
        level = "fail" if name == config.defaults.engine else "warn"
        if environments.own_environment(name):
            yield _environment(environments.Environment(name, config.environment(name)), level)
            continue
        answer = _python(_TRY_ENGINE, name)
        if answer.returncode == 0:
            yield ok(f"engine {name}", answer.stdout.strip())
        else:
            last = (answer.stderr.strip().splitlines() or ["it ended without a word"])[-1]
            yield bad(f"engine {name}", StemdError("STEMD-E002", printable(last)), level)


def _environment(place: Environment, level: str) -> Finding:
    what, remedy = f"engine {place.engine}", f"`stemd engines install {place.engine}`"
    try:
        place.require()
    except StemdError as error:
        return bad(what, error, level)
    found = ", ".join(f"{name} {number}" for name, number in sorted(place.versions().items()))
    if not place.current():
        return Finding("warn", what, f"made by another version of stemd: {found}", "STEMD-E009", remedy)
    return ok(what, f"{found} in {printable(str(place.root))}")


def models(config: Config) -> Iterator[Finding]:
    """The model store, and whether the default model is in it."""
    from stemd.engines import models as store

    folder = config.paths.models
    entries = store.catalogue(folder)
    here = [entry.name for entry in entries if entry.whole]
    yield ok("models", f"{', '.join(here) or 'none'} (store: {printable(str(folder))})")
    damaged = [entry.name for entry in entries if entry.folder is not None and not entry.whole]
    for name in damaged:
        remedy = f"stemd models fetch --force {name}"
        found = StemdError("STEMD-M003", f"{name} is damaged: files are missing or cut off", remedy=remedy)
        yield bad("models", found, "warn")
    wanted = config.defaults.model
    if config.defaults.engine in {"demucs", "spleeter"} and wanted not in {*here, *damaged}:
        then = "the first job for it fetches it" if config.models.fetch == "auto" else "jobs for it wait until it is"
        message = f"{wanted}, the default model, is not here: {then}"
        yield bad("models", StemdError("STEMD-M001", message, remedy=f"stemd models fetch {wanted}"), "warn")


def leases(config: Config) -> Iterator[Finding]:
    """Whether open writers can be seen; where not, files must rest longer."""
    for root in config.spool:
        if lease.filesystem_type(root) in lease.REMOTE:
            message = f"{root} is on a network or FUSE file system: it is polled, and open writers cannot be seen"
            remedy = (
                f"Leave `defaults.settle_unprobed` ({config.defaults.settle_unprobed:g} s) above the longest pause."
            )
            yield Finding("warn", "inbox", message, "STEMD-S004", remedy)
