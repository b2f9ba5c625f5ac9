"""Weights in pickle form: loading one runs code, so only files whose sha256 is known or consented to are converted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from stemd.core.errors import StemdError
from stemd.engines.models.checksums import PICKLES
from stemd.engines.models.download import sha256

SUFFIXES = frozenset({".th", ".pth", ".pt", ".ckpt", ".pkl", ".pickle", ".bin"})
_PASSED_ON = frozenset({"PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR"})
_PATIENCE = 600.0


def find(folder: Path, member: str) -> Path | None:
    """The pickle that holds ``member``, named as demucs does: ``MEMBER.th`` or ``MEMBER-CHECKSUM.th``."""
    found = (path for path in sorted(folder.iterdir()) if path.suffix in SUFFIXES and path.is_file())
    return next((path for path in found if path.stem == member or path.stem.startswith(f"{member}-")), None)


def convert(package: Path, target: Path, consented: Collection[str], source: str) -> dict[str, Any]:
    """Write the demucs package ``package``, a private copy, as safetensors; returns what the record says of it.

    The conversion runs in a process of its own. ``source`` is where the package came from, for messages.

    Raises:
        StemdError: STEMD-M006 (neither known nor consented to), STEMD-M004 (no demucs package).
    """
    digest = sha256(package)
    if digest not in PICKLES and digest not in consented:
        raise StemdError(
            "STEMD-M006",
            f"{source} is a pickle with sha256 {digest}; loading a pickle runs code, and this one is not known",
            remedy="Get the weights as safetensors. Or, if you trust who made this file: the same command with "
            f"`--allow-pickle {digest}` (or that sha256 in `models.pickles`) converts it, once.",
        )
    command = [sys.executable, "-I", "-m", "stemd.engines.pickles", str(package), str(target)]
    environment = {key: value for key, value in os.environ.items() if key in _PASSED_ON}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE, check=True, env=environment, cwd=target.parent
        )
        answer = json.loads(done.stdout.splitlines()[-1])
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise StemdError("STEMD-M004", f"{source} could not be converted: {last}") from error
    except (subprocess.TimeoutExpired, ValueError, IndexError) as error:
        raise StemdError("STEMD-M004", f"{source} could not be converted: {type(error).__name__}") from error
    by = "built-in list" if digest in PICKLES else "consent"
    return {"sha256": digest, "allowed_by": by, "ran_code": bool(answer["ran_code"])}
