"""The worker's end of the pipe to Spleeter's host (see ``host.py`` for the words)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemd.core.errors import StemdError
from stemd.engines.spleeter.options import SpleeterOptions

if TYPE_CHECKING:
    from stemd.engines.base import Frames

_HOST = Path(__file__).with_name("host.py")
_CODES = {"memory": "STEMD-R001", "model": "STEMD-M004"}
_PATIENCE = 10.0
#: Bytes in flight: blocks of audio are 4 MB, and 64 KiB at a time cost a change of process each.
_PIPE = 1 << 20


class Host:
    """One running host process. Every method may find it gone.

    Raises:
        StemdError: STEMD-R001 (its memory ran out, or the system killed it), STEMD-M004 (the weights do not fit),
            STEMD-E006 (it failed or ended).
    """

    def __init__(self, python: Path) -> None:
        environment = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "PYTHONHOME"}}
        self._process = subprocess.Popen(
            [str(python), "-I", "-B", str(_HOST)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            pipesize=_PIPE,
        )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def versions(self) -> dict[str, str]:
        """Of Python, spleeter, tensorflow and numpy, as found inside."""
        answer, _ = self._ask({"op": "versions"})
        return answer

    def load(self, model: str, folder: Path) -> dict[str, Any]:
        """Take the network called ``model`` with the checkpoint in ``folder``."""
        answer, _ = self._ask({"op": "load", "model": model, "folder": str(folder)})
        return answer

    def separate(self, audio: Frames, start: int, stop: int, stems: Sequence[str], options: SpleeterOptions) -> Frames:
        """``audio`` (frames × 2) to stems × (``stop`` − ``start``) × 2."""
        request: dict[str, Any] = {"op": "wiener", "start": start, "stop": stop, "stems": list(stems)}
        if not options.mwf:
            request |= {"op": "separate", "exponent": options.exponent, "extension": options.extension}
        _, data = self._ask(request, np.ascontiguousarray(audio, "<f4").data.cast("B"))
        return np.frombuffer(data, "<f4").reshape(len(stems), stop - start, 2)

    def _ask(self, request: dict[str, Any], data: memoryview | bytes = b"") -> tuple[dict[str, Any], bytes]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({**request, "bytes": len(data)}).encode() + b"\n")
            self._process.stdin.write(data)
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
            body = self._process.stdout.read(answer.get("bytes", 0))
            if len(body) < answer.get("bytes", 0):
                raise ValueError("cut short")
        except (OSError, ValueError) as error:
            raise self._gone() from error
        if "error" in answer:
            raise StemdError(_CODES.get(answer["kind"], "STEMD-E006"), f"Spleeter's host: {answer['error']}")
        return answer, body

    def _gone(self) -> StemdError:
        self.close()
        status = self._process.returncode
        if status == -signal.SIGKILL:
            return StemdError("STEMD-R001", "Spleeter's host was killed, as the system does when memory runs out")
        return StemdError("STEMD-E006", f"Spleeter's host ended with status {status}")

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
