"""Spleeter's own environment and checkpoints for the golden tests, kept outside the checkout between runs."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from stemd.engines.environments import Environment, install

PROGRAM = Path(__file__).with_name("spleeter_program.py")
_CACHE = Path(os.environ.get("STEMD_TEST_CACHE") or Path.home() / ".cache" / "stemd-tests")
_SEED = 3


def environment() -> Environment:
    """The real environment: built where it is not there yet (two minutes, 2.4 GB)."""
    place = Environment("spleeter", _CACHE / "engines" / "spleeter")
    with _one_at_a_time("environment"):
        if not place.current():
            install(place, lambda doing, done: None)
    return place


def checkpoint(model: str) -> Path:
    """A store with random weights of ``model`` in Spleeter's own format."""
    store = _CACHE / f"spleeter-random-{_SEED}"
    folder = store / model.removesuffix("-16kHz")
    with _one_at_a_time("checkpoint"):
        if not (folder / "checkpoint").exists():
            part = folder.with_name(folder.name + ".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            _run("checkpoint", model, part, _SEED)
            part.rename(folder)
    return store


@contextmanager
def _one_at_a_time(what: str) -> Iterator[None]:
    """The tests' processes share the folder, and none finds there what another has half made."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / f".{what}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def reference(model: str, waves: Sequence[np.ndarray], folder: Path, **options: object) -> list[dict[str, np.ndarray]]:
    """What ``spleeter.separator.Separator`` makes of each of ``waves`` as a whole: each stem frames × channels."""
    files = []
    for number, wave in enumerate(waves):
        np.save(folder / f"{number}.npy", wave)
        files += [folder / f"{number}.npy", folder / f"{number}.npz"]
    _run("separate", model, checkpoint(model), json.dumps(options), *files)
    return [dict(np.load(target)) for target in files[1::2]]


def _run(*words: object) -> None:
    command = [str(environment().python), "-I", "-B", str(PROGRAM), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
