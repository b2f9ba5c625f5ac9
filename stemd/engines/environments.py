"""Engines whose libraries do not get along with stemd's live in a Python environment of their own.

An environment is a folder made by ``venv``, filled from the lock file ``stemd/data/environments/ENGINE.txt``. Its
``stemd-environment.json`` is written last, after the engine was tried in it: without it the environment is not there.
Light: the daemon looks here, too.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stemd.core.errors import StemdError

_PACKAGE = Path(__file__).resolve().parent
_LOCKS = _PACKAGE.parent / "data" / "environments"
#: Engine → the program that its environment's Python runs, and the Pythons its libraries exist for.
_HOSTS = {"spleeter": _PACKAGE / "spleeter" / "host.py"}
_PYTHONS = {"spleeter": ((3, 8), (3, 11))}
_RECORD = "stemd-environment.json"
#: Marks a folder as ours from the first moment on.
_OURS = ".stemd-environment"
_VERSION_OF = "import sys, venv, ensurepip; print(*sys.version_info[:2])"
#: The share of the work that is done when pip begins to unpack, and when it is through.
_COLLECTED, _UNPACKED = 0.6, 0.9

#: Called with what is being done and how much of the whole is (0–1).
InstallProgress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Environment:
    """The environment of ``engine`` at ``root``, whether it is there or not."""

    engine: str
    root: Path

    @property
    def python(self) -> Path:
        return self.root / "bin" / "python"

    @property
    def lock(self) -> Path:
        return _LOCKS / f"{self.engine}.txt"

    def record(self) -> dict[str, Any]:
        """What was found when it was tried: ``versions`` by name, ``lock``'s sha256; empty where it is not there."""
        try:
            found = json.loads((self.root / _RECORD).read_text())
            return found if isinstance(found, dict) else {}
        except (OSError, ValueError):
            return {}

    def versions(self) -> dict[str, str]:
        """Packages and Python of an environment that is there."""
        versions = self.record().get("versions")
        return versions if isinstance(versions, dict) else {}

    def current(self) -> bool:
        """Whether it is there and was made from the lock file of this stemd."""
        return self.record().get("lock") == _sha256(self.lock)

    def require(self) -> Path:
        """Its Python.

        Raises:
            StemdError: STEMD-E009, it is not there.
        """
        if not self.record():
            raise StemdError("STEMD-E009", f"{self.engine} has no environment in {self.root}")
        if not self.python.exists():
            program = self.python.resolve()
            raise StemdError(
                "STEMD-E009", f"{self.root} was made with {program}, which is not there or not for this user",
                remedy=f"`stemd engines install --force {self.engine} --python PROGRAM` with a Python of the system's.",
            )  # fmt: skip
        return self.python


def own_environment(engine: str) -> bool:
    """Whether ``engine`` lives in an environment of its own."""
    return engine in _HOSTS


def install(
    environment: Environment, report: InstallProgress, python: str | None = None, *, force: bool = False
) -> bool:
    """Make the environment, or make it whole again; ``False`` where it was there, current, and passed its check.

    ``python`` is a program to build it with (``None``: the newest suitable one found). What is there and no good is
    replaced. One process at a time.

    Raises:
        StemdError: STEMD-E009 (no such engine, no suitable Python, its packages cannot be had, or the disk).
    """
    if not own_environment(environment.engine):
        known = ", ".join(_HOSTS)
        raise StemdError(
            "STEMD-E009", f"{environment.engine!r} needs no environment of its own; these do: {known}",
            remedy="`stemd engines` lists what is installed; Demucs comes with `pip install 'stemd[demucs]'`.",
        )  # fmt: skip
    with _alone(environment.root):
        if not force and environment.current():
            report("checking", 0.5)
            if _try(environment) is not None:
                return False
        base = _suitable(environment.engine, python)
        report(f"making an environment with {base}", 0.0)
        _build(environment, base, report)
        return True


def _build(environment: Environment, base: str, report: InstallProgress) -> None:
    root = environment.root
    try:
        _clear(environment)
        _run([base, "-m", "venv", str(root)], "its folder cannot be made")
        pip = [str(environment.python), "-I", "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
        _pip([*pip, "--progress-bar", "off", "-r", str(environment.lock)], environment.lock, report)
        report("trying it", _UNPACKED)
        versions = _try(environment)
        if versions is None:
            raise StemdError("STEMD-E009", f"{environment.engine} was installed in {root}, but does not work there")
        record = {"schema_version": 1, "lock": _sha256(environment.lock), "versions": versions}
        (root / _RECORD).write_text(json.dumps(record, indent=2) + "\n")
    except OSError as error:
        raise StemdError("STEMD-E009", f"{root}: {error.strerror or error}") from error
    report("ready", 1.0)


def _clear(environment: Environment) -> None:
    """Remove what is there, if it is ours: the folder may be one that a person named."""
    root = environment.root
    if root.exists() and any(root.iterdir()) and not any((root / name).exists() for name in (_RECORD, _OURS)):
        raise StemdError(
            "STEMD-E009", f"{root} was not made by stemd, so it is not replaced",
            remedy=f"Move it away, or let `engines.{environment.engine}.environment` name another folder.",
        )  # fmt: skip
    (root / _RECORD).unlink(missing_ok=True)
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True, exist_ok=True)
    (root / _OURS).touch()


def _pip(command: list[str], lock: Path, report: InstallProgress) -> None:
    """Run pip and tell how far it is by the packages it has looked at."""
    wanted = sum(bool(re.match(r"[a-z]", line)) for line in lock.read_text().splitlines())
    seen, last = 0, deque[str](maxlen=8)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            last.append(line.strip())
            if line.startswith("Collecting "):
                seen += 1
                report(line.split()[1], min(1.0, seen / wanted) * _COLLECTED)
            elif line.startswith("Installing collected"):
                report("unpacking", _COLLECTED)
    if process.returncode:
        reasons = [line for line in last if "ERROR" in line] or list(last)[-3:]
        raise StemdError("STEMD-E009", f"pip could not install {lock.name}: {' '.join(reasons)[:600]}")


def _try(environment: Environment) -> dict[str, str] | None:
    """Build a network in there and run it; what it says of its versions, ``None`` where it fails."""
    command = [str(environment.python), "-I", "-B", str(_HOSTS[environment.engine]), "--check"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        found = json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return found if isinstance(found, dict) else None


def _suitable(engine: str, asked: str | None) -> str:
    """A Python that the engine's libraries exist for: the one asked for, else the newest found."""
    oldest, newest = _PYTHONS[engine]
    for program in [asked] if asked else candidates(newest[1], oldest[1]):
        version = _version_of(program)
        if version is not None and oldest <= version <= newest:
            return program
    wanted = f"{engine} needs Python {oldest[0]}.{oldest[1]} to {newest[0]}.{newest[1]} (with venv)"
    found = f"{asked} is none" if asked else "none was found on PATH or below ~/.pyenv"
    raise StemdError(
        "STEMD-E009", f"{wanted}; {found}",
        remedy="Install one (Debian 12: `apt-get install python3.11 python3.11-venv`; elsewhere: "
        f"`uv python install 3.11` or pyenv), then `stemd engines install {engine}`; `--python PROGRAM` names "
        "one that is not on PATH.",
    )  # fmt: skip


def candidates(newest: int, oldest: int) -> Iterator[str]:
    """Programs that may be a Python 3.``newest`` to 3.``oldest``, in the order they are tried."""
    yield getattr(sys, "_base_executable", sys.executable)
    yield from (f"python3.{minor}" for minor in range(newest, oldest - 1, -1))
    home = Path(os.environ.get("HOME", "/nonexistent"))
    for minor in range(newest, oldest - 1, -1):
        for place in (home / ".pyenv" / "versions", home / ".local" / "share" / "uv" / "python"):
            yield from sorted(map(str, place.glob(f"*3.{minor}.*/bin/python3.{minor}")), reverse=True)


def _version_of(program: str) -> tuple[int, int] | None:
    try:
        done = subprocess.run(
            [program, "-I", "-c", _VERSION_OF], capture_output=True, text=True, timeout=60, check=True
        )
        major, minor = map(int, done.stdout.split())
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return major, minor


def _run(command: list[str], failure: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StemdError("STEMD-E009", f"{failure}: {(done.stderr or done.stdout).strip()[-300:]}")


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(root.parent / f".{root.name}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StemdError("STEMD-E009", f"{root.parent}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
