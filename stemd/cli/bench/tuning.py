"""``stemd bench --tune``: what is fast on this machine, and how much of it is used."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from stemd.cli import report
from stemd.cli.bench import figures, machine, processes
from stemd.core.errors import StemdError

#: What the model with random weights is called.
RANDOM = "htdemucs-random"
_NO_ERROR = -999
_HEADERS = ("MATMUL", "ATTENTION", "TRANSFORMER", "SECONDS", "RATIO", "ERROR dB", "GATE dB", "")


def measured(
    model: str, store: Path, precision: str, keep: Path | None, threads: int, runtime: str = "auto"
) -> dict[str, Any]:
    """What ``stemd.engines.tuning.report`` finds, in a process like a worker's.

    Raises:
        StemdError: STEMD-E002, it failed.
    """
    from stemd.core.environment import scrubbed

    words = [model, str(store), "cpu", precision, runtime, *(("--keep", str(keep)) if keep else ())]
    with tempfile.TemporaryDirectory(prefix="stemd-bench-") as room:  # torch's counter of operations leaves a folder
        environment = {**scrubbed(os.environ, threads), "TMPDIR": room}
        found: dict[str, Any] = processes.asked("stemd.engines.tuning.report", *words, env=environment)
    return found


def again(model: str, store: Path, config_file: Path | None, here: machine.Machine, as_json: bool) -> None:
    """Try all ways anew, remember the best where the configured daemon's workers look for it, and show them."""
    precision, runtime, keep = _configured(config_file)
    found = measured(model, store, precision, keep, here.cores, runtime)
    if as_json:
        report.document(machine=here.to_dict(), model=model, precision=precision, tuning=found)
        return
    click.echo(f"{here.cpu}, {here.cores} cores; load average before: {here.load:.2f}; model {model}, {precision}\n")
    click.echo(report.table(_HEADERS, rows(found)) + "\n")
    click.echo(sentence(found))
    click.echo(f"OpenVINO: {found['openvino']}.")
    click.echo(f"Remembered below {keep}." if keep else "Not remembered: there is no configuration that says where.")
    if busy := figures.busy(here.load, here.cores):
        click.echo(busy)


def _configured(config_file: Path | None) -> tuple[str, str, Path | None]:
    from stemd.core.config import load

    try:
        config = load(config_file).config
    except StemdError as error:
        if config_file is not None or error.code != "STEMD-C001":
            raise
        return "auto", "auto", None
    return config.engine("demucs").precision, config.engine("demucs").runtime, config.tuning


def rows(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The cells below ``_HEADERS``; the ratio is to the plain way, which is the first."""
    trials = found["trials"]
    return [
        (
            *cells(trial["way"]),
            f"{trial['seconds']:.3f}",
            f"{trials[0]['seconds'] / trial['seconds']:.2f}",
            "not finite"
            if trial["error_db"] is None
            else "none"
            if trial["error_db"] <= -999
            else f"{trial['error_db']:g}",
            f"{trial['gate_db']:g}",
            "used" if trial["way"] == found["way"] else "" if trial["passed"] else "too inaccurate",
        )
        for trial in trials
    ]


def cells(way: Mapping[str, str]) -> tuple[str, str, str]:
    """Matmul, attention and transformer of a way."""
    transformer = ("all " if way.get("convolutions", "fp32") != "fp32" else "") + way["transformer"]
    if way.get("runtime", "torch") == "torch":
        return way["matmul"], way["attention"], transformer
    return way["runtime"], "–", transformer


def error(trial: Mapping[str, Any]) -> str:
    """The error of a trial in dB; the plain way has none."""
    if trial["error_db"] is None:
        return "not finite"
    return "none" if trial["error_db"] <= _NO_ERROR else f"{trial['error_db']:g}"


def sentence(found: Mapping[str, Any]) -> str:
    """How fast a segment is, against what the machine can do."""
    segment = found["segment"]
    speed = f"{segment['realtime']:.2f} × realtime, {segment['gflop']:.0f} GFLOP"
    return (
        f"A segment takes {segment['seconds']:.2f} s ({speed}): "
        f"{found['share_of_peak']:.0%} of the {found['peak_gflops']:.0f} GFLOP/s that a float32 matrix product reaches."
    )
