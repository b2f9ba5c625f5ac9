"""A freshly booted Debian 12 with systemd, and stemd's checkout in it.

``$BOOT_SYSTEMD`` names a program that boots one and runs a command in it::

    boot-systemd [--engine NAME] --copy SRC:DEST… --env NAME=VALUE… --timeout SECONDS -- COMMAND…

It exits with the command's status and passes its output on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: What of the checkout an installation needs, and the checks.
_CHECKOUT = (
    "stemd", "config", "docs", "systemd", "tests/system/guest.py", "tests/system/guest_limits.py",
    "pyproject.toml", "constraints.txt", "README.md", "LICENSE", "THIRD_PARTY_NOTICES.md",
)  # fmt: skip
#: A container is up in seconds. An emulated machine takes several times as long for everything.
_SECONDS = {"nspawn": 900, "qemu": 3000}


def tool() -> str | None:
    """The program that boots machines; ``None`` where there is none."""
    named = os.environ.get("BOOT_SYSTEMD", "")
    return shutil.which(named) if named else None


def checkout(folder: Path) -> Path:
    """A copy of what an installation needs."""
    for name in _CHECKOUT:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    return folder


def wheels(source: Path, folder: Path) -> Path:
    """Everything that ``pip install`` of the checkout at ``source`` asks for: the machine has no way to a registry."""
    command = [
        sys.executable, "-m", "pip", "wheel", "-q", "-c", str(source / "constraints.txt"), "-w", str(folder),
        str(source), "setuptools>=77",
    ]  # fmt: skip
    subprocess.run(command, check=True, timeout=600, cwd=folder.parent)
    for own in folder.glob("stemd-*.whl"):
        own.unlink()
    return folder


def checks(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Boot a machine and run ``guest.py`` in it; ``folder`` is for what is copied in."""
    source = checkout(folder / "checkout")
    store = wheels(source, folder / "wheels")
    engine = os.environ.get("BOOT_SYSTEMD_ENGINE", "nspawn")
    seconds = _SECONDS.get(engine, 900)
    command = [
        program, "--engine", engine, "--timeout", str(seconds),
        "--copy", f"{source}:/root/stemd", "--copy", f"{store}:/root/wheels",
        "--env", "PIP_NO_INDEX=1", "--env", "PIP_FIND_LINKS=/root/wheels",
        "--", "python3", "tests/system/guest.py",
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds + 900, check=False)


def site(source: Path, folder: Path) -> Path:
    """stemd and all it needs, as a folder that any Python of the same version can use as it is."""
    command = [
        sys.executable, "-m", "pip", "install", "-q", "--no-compile", "-c", str(source / "constraints.txt"),
        "--target", str(folder), str(source),
    ]  # fmt: skip
    subprocess.run(command, check=True, timeout=600, cwd=folder.parent)
    return folder


#: Installs without pip, which takes the better part of a minute where everything is emulated.
_LAY_OUT = """
set -e
python3 -m venv --without-pip /opt/stemd
echo /srv/site > /opt/stemd/lib/python3.11/site-packages/stemd.pth
chmod -R a+rX /srv/site
printf '#!/opt/stemd/bin/python\\nfrom stemd.cli.main import main\\nmain()\\n' > /opt/stemd/bin/stemd
chmod 755 /opt/stemd/bin/stemd; ln -s /opt/stemd/bin/stemd /usr/local/bin/stemd
systemd-sysusers "$PWD/systemd/stemd.sysusers"
systemd-tmpfiles --create "$PWD/systemd/stemd.tmpfiles"
install -D -m 0644 config/service.yaml /etc/stemd/stemd.yaml
install -D -m 0644 systemd/stemd.service /etc/systemd/system/stemd.service
exec python3 -m tests.system.guest_limits
"""


def limits(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Boot an emulated machine, with control groups of its own, and run ``guest_limits.py`` in it."""
    source = checkout(folder / "checkout")
    packages = site(source, folder / "site")
    seconds = _SECONDS["qemu"]
    command = [
        program, "--engine", "qemu", "--timeout", str(seconds), "--build-timeout", "900",
        "--copy", f"{source}:/srv/checkout", "--copy", f"{packages}:/srv/site",
        "--", "bash", "-c", _LAY_OUT,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds + 1200, check=False)
