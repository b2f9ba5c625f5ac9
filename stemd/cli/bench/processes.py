"""The processes that are measured: started so that they cannot outlive this one, watched, and ended with all theirs."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from stemd.cli.bench.figures import Run
from stemd.core.errors import StemdError
from stemd.core.job import printable

_PR_SET_PDEATHSIG = 1
_LOOK_SECONDS = 0.01
_LOOKS_PER_SAMPLE = 10
_END_SECONDS = 10.0
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def stage() -> Iterator[Path]:
    """A temporary folder that is removed however the block ends; SIGTERM and SIGHUP end it as Ctrl-C does."""
    root = Path(tempfile.mkdtemp(prefix="stemd-bench-"))
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, _interrupt) for number in signals]
    try:
        yield root
    finally:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        shutil.rmtree(root, ignore_errors=True)
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def running(
    command: Sequence[str], log: Path, threads: int, extra: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that talks into ``log``; at the end of the block it and all its children are gone.

    ``extra`` is added to its environment.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            env={**environment(threads), **(extra or {})},
            start_new_session=True,
            preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509  safe: this process has one thread
        )
    try:
        yield process
    finally:
        _end(process)


def _die_with(parent: int) -> Callable[[], None]:
    def arrange() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return arrange


def _end(process: subprocess.Popen[bytes]) -> None:
    tree = _tree(process.pid)
    for each in tree:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait()
    psutil.wait_procs(tree, timeout=_END_SECONDS)


def _tree(pid: int) -> list[psutil.Process]:
    try:
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def watch(process: subprocess.Popen[bytes], done: Callable[[], bool], started: float) -> Run:
    """Wait until ``done()``; ``started`` is when (``time.perf_counter``) the clock began.

    The memory is that of the process and all below it, looked at ten times a second.
    """
    peak, looks = 0, 0
    while not done():
        if looks % _LOOKS_PER_SAMPLE == 0:
            peak = max(peak, _resident(process.pid))
        looks += 1
        time.sleep(_LOOK_SECONDS)
    return Run(time.perf_counter() - started, peak)


def _resident(pid: int) -> int:
    total = 0
    for each in _tree(pid):
        with suppress(psutil.NoSuchProcess):
            total += each.memory_info().rss
    return total


def tool(module: str, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """What one of our own modules prints, run in a process of its own: it loads torch, which the command line does not.

    Raises:
        StemdError: STEMD-E002, it failed.
    """
    return program([sys.executable, "-P", "-m", module, *arguments], module, env)


def program(command: Sequence[str], name: str, env: Mapping[str, str] | None = None) -> str:
    """What a program called ``name`` prints.

    Raises:
        StemdError: STEMD-E002, it failed.
    """
    answer = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=environment() if env is None else env,
        preexec_fn=_die_with(os.getpid()),
        check=False,
    )
    if answer.returncode != 0:
        raise StemdError("STEMD-E002", f"{name} failed: {printable(last_line(answer.stderr))}")
    return answer.stdout


def asked(module: str, *arguments: str, env: Mapping[str, str] | None = None) -> Any:
    """``tool``, and its answer read as JSON."""
    return json.loads(tool(module, *arguments, env=env))


def last_line(text: str) -> str:
    """The last line of a program's talk: where there was an error, it is most often said there."""
    return (text.strip().splitlines() or ["no word"])[-1]


def environment(threads: int | None = None, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Ours without stemd's settings; with ``threads``, the number the libraries shall use."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    ours = {key: value for key, value in environ.items() if not key.startswith("STEMD_") or key == "STEMD_DEBUG"}
    return ours if threads is None else {**ours, **dict.fromkeys(names, str(threads))}
