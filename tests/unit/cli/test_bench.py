"""``stemd bench``: its arithmetic, its table, and one small contest with the real programs."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner

from stemd.cli import report
from stemd.cli.bench import figures, machine, processes
from stemd.cli.bench.figures import Comparison, Run, Spread
from stemd.cli.main import main
from stemd.core.errors import StemdError
from tests.support.daemon import eventually

MIB = 2**20


def runs(*seconds: float, peak: int = 300 * MIB) -> list[Run]:
    return [Run(each, peak) for each in seconds]


def test_a_spread_is_the_median_and_the_range():
    assert Spread.of([12.0, 3.0, 4.0]) == Spread(4.0, 3.0, 12.0)
    assert str(Spread.of([12.04, 3.0, 4.0])) == "4.00 (3.00–12.0)"


def test_a_single_number_has_no_range():
    assert str(Spread.of([7.5])) == "7.50"


def test_ratios_are_taken_round_by_round():
    # A slow machine in the second round slows both down: the ratio must not see it.
    comparison = Comparison("x", 1, 60.0, runs(10.0, 40.0, 10.0), runs(20.0, 80.0, 30.0))
    assert comparison.ratios == [2.0, 2.0, 3.0]
    assert comparison.to_dict()["ratio"] == {"median": 2.0, "min": 2.0, "max": 3.0, "rounds": [2.0, 2.0, 3.0]}


def test_a_round_that_one_side_lacks_is_an_error():
    with pytest.raises(ValueError, match="zip"):
        _ = Comparison("x", 1, 60.0, runs(1.0, 1.0), runs(1.0)).ratios


def test_realtime_and_memory():
    comparison = Comparison("x", 10, 200.0, [Run(50.0, MIB), Run(40.0, 3 * MIB)], runs(100.0, 100.0))
    stemd = comparison.to_dict()["stemd"]
    assert stemd["realtime"] == {"median": 4.5, "min": 4.0, "max": 5.0}
    assert stemd["peak_rss_bytes"] == 3 * MIB


def test_the_table():
    comparison = Comparison("1 × 60 s", 1, 60.0, runs(10.0, 20.0, 15.0), runs(30.0, 30.0, 30.0, peak=900 * MIB))
    lines = report.table(figures.HEADERS, [comparison.row()]).splitlines()
    assert lines[0].split("  ")[0] == "WORKLOAD"
    cells = ["1 × 60 s", "15.0 (10.0–20.0)", "30.0", "2.00 (1.50–3.00)", "4.00", "2.00", "300", "900"]
    assert lines[1].split() == " ".join(cells).split()


@pytest.mark.parametrize(("load", "cores", "said"), [(1.0, 2, False), (1.01, 2, True), (3.9, 8, False), (0.6, 1, True)])
def test_a_busy_machine_is_mentioned(load: float, cores: int, said: bool):
    sentence = figures.busy(load, cores)
    assert (sentence is not None) == said
    assert sentence is None or f"on {cores} cores" in sentence


def test_outputs_that_differ_are_called_so():
    assert figures.worst({"one": {"bass": 1e-7, "drums": 3e-7}, "many": {"bass": 2e-7}}) == 3e-7
    assert figures.worst({"one": {"bass": math.nan, "drums": 1.0}}) == math.inf
    assert "same" in figures.agreement(figures.AGREEMENT)
    assert "DIFFER" in figures.agreement(figures.AGREEMENT * 1.01)


def test_the_name_of_the_processor():
    assert machine.cpu_model("processor\t: 0\nmodel name\t: A: B 3\nmodel name\t: C\n") == "A: B 3"
    assert machine.cpu_model("processor\t: 0\n") is None


def test_threads_reach_the_libraries_and_our_settings_do_not():
    ours = {"PATH": "/bin", "STEMD_SPOOL": "/x", "OMP_NUM_THREADS": "9"}
    assert processes.environment(None, ours) == {"PATH": "/bin", "OMP_NUM_THREADS": "9"}
    assert processes.environment(2, ours)["OMP_NUM_THREADS"] == "2"


def script(text: str) -> Sequence[str]:
    return [sys.executable, "-c", text]


def test_the_memory_of_children_counts(tmp_path: Path):
    big = "import time; held = b'x' * (200 << 20); time.sleep(0.8)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {big!r}])"
    with processes.running(script(parent), tmp_path / "log", 1) as process:
        run = processes.watch(process, lambda: process.poll() is not None, 0.0)
    assert 200 * MIB < run.peak_rss < 300 * MIB


def test_no_process_is_left_when_the_block_ends(tmp_path: Path):
    pids = tmp_path / "pids"
    sleeper = "import time; time.sleep(600)"
    parent = (
        "import pathlib, subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {sleeper!r}], start_new_session=True)\n"
        f"pathlib.Path({str(pids)!r}).write_text(f'{{child.pid}}\\n')\n"
        "child.wait()"
    )
    with pytest.raises(KeyboardInterrupt), processes.running(script(parent), tmp_path / "log", 1) as process:
        child = int(eventually(lambda: pids.exists() and pids.read_text().strip(), 30, "the child runs"))
        raise KeyboardInterrupt
    assert process.poll() == -signal.SIGKILL
    assert not psutil.pid_exists(child)


def test_the_folder_is_removed_on_a_signal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), processes.stage() as root:
        (root / "file").write_text("x")
        os.kill(os.getpid(), signal.SIGTERM)
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_tool_that_fails_says_why():
    with pytest.raises(StemdError, match="nosuchmodule") as caught:
        processes.tool("nosuchmodule")
    assert caught.value.code == "STEMD-E002"


@pytest.mark.parametrize(("model", "code"), [("htdemucs", "STEMD-M001"), ("nonsense", "STEMD-M002")])
def test_a_model_that_is_not_here_is_said_before_anything_runs(model: str, code: str, tmp_path: Path):
    config = tmp_path / "stemd.yaml"
    config.write_text(f"spool: {tmp_path}/spool\npaths: {{models: {tmp_path}/models}}\n")
    result = CliRunner().invoke(main, ["bench", "--model", model, "--json", "-c", str(config)])
    assert json.loads(result.stdout)["error"]["code"] == code


# ---- the real thing


@contextmanager
def bench(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    size = ["--seconds", "3", "--files", "2", "--file-seconds", "2", "--rounds", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "stemd", "bench", *size, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()


def check_side(side: dict[str, Any], audio_seconds: float) -> None:
    (seconds,) = side["seconds"]["rounds"]
    assert side["seconds"]["median"] == seconds > 0
    assert side["realtime"]["median"] == pytest.approx(audio_seconds / seconds, rel=0.01)
    assert side["peak_rss_bytes"] > 50 * MIB, "torch alone is more"


@pytest.mark.slow
def test_a_small_contest(tmp_path: Path):
    with bench(tmp_path) as process:
        stdout, stderr = process.communicate(timeout=500)
    assert process.returncode == 0, stderr
    facts = json.loads(stdout)
    assert [(each["files"], each["audio_seconds"]) for each in facts["workloads"]] == [(1, 3), (1, 3), (2, 4), (2, 4)]
    for each in facts["workloads"]:
        check_side(each["stemd"], each["audio_seconds"])
        check_side(each["demucs"], each["audio_seconds"])
        ratio = each["demucs"]["seconds"]["median"] / each["stemd"]["seconds"]["median"]
        assert each["ratio"]["median"] == pytest.approx(ratio, rel=0.01)
    for kind in ("one", "many"):
        assert set(facts["outputs"]["stems"][kind]) == {"drums", "bass", "other", "vocals"}
    assert facts["outputs"]["max_difference"] <= figures.AGREEMENT
    assert facts["machine"]["cores"] == facts["settings"]["threads"] == len(os.sched_getaffinity(0))
    assert "round 1 of 1" in stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_interrupted_contest_leaves_nothing(tmp_path: Path):
    with bench(tmp_path) as process:
        us = psutil.Process(process.pid)

        def with_worker() -> list[psutil.Process]:
            tree = us.children(recursive=True)
            return tree if any("stemd.worker" in words(each) for each in tree) else []

        tree = eventually(with_worker, 120, "a worker runs")
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert [each for each in tree if each.is_running()] == []
    assert list(tmp_path.iterdir()) == []


def words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []
