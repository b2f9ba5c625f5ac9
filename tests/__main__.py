"""``python -m tests``: everything a change must pass, in the order of its cost. pytest's closing line comes last.

The tests run in two processes: those of daemons and disks in one, all others in the other.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = Path(sysconfig.get_path("scripts"))

CHECKS = [
    [str(SCRIPTS / "ruff"), "check", "."],
    [str(SCRIPTS / "ruff"), "format", "--check", "."],
    [str(SCRIPTS / "lint-imports")],
    [str(SCRIPTS / "mypy")],
    [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadgroup", "--durations=20", *sys.argv[1:]],
]


def main() -> int:
    """Run every check to its end, even after one has failed; the exit status is that of the first failure."""
    failed = []
    for command in CHECKS:
        name = " ".join([Path(command[0]).name, *command[1:]])
        print(f"== {name}", flush=True)
        status = subprocess.run(command, cwd=ROOT, check=False).returncode
        if status:
            failed.append((name, status))
    for name, status in failed:
        print(f"FAILED ({status}): {name}", flush=True)
    return failed[0][1] if failed else 0


if __name__ == "__main__":
    sys.exit(main())
