"""``stemd bench``: its arithmetic, its table, and one small contest with the real programs."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import psutil
import pytest
from click.testing import CliRunner

from stemd.cli import report
from stemd.cli.bench import figures, goals, machine, page, processes, service, spleeter, tuning
from stemd.cli.bench.contest import Plan
from stemd.cli.bench.figures import Comparison, Run, Spread
from stemd.cli.bench.measuring import Measuring
from stemd.cli.bench.separator import AudioSeparator
from stemd.cli.main import main
from stemd.core.errors import StemdError
from stemd.engines.environments import Environment
from tests.support.daemon import ended, eventually

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
    comparison = Comparison("x", "x", 1, 60.0, runs(10.0, 40.0, 10.0), runs(20.0, 80.0, 30.0))
    assert comparison.ratios == [2.0, 2.0, 3.0]
    assert comparison.to_dict()["ratio"] == {"median": 2.0, "min": 2.0, "max": 3.0, "rounds": [2.0, 2.0, 3.0]}


def test_a_round_that_one_side_lacks_is_an_error():
    with pytest.raises(ValueError, match="zip"):
        _ = Comparison("x", "x", 1, 60.0, runs(1.0, 1.0), runs(1.0)).ratios


def test_realtime_and_memory():
    comparison = Comparison("x", "x", 10, 200.0, [Run(50.0, MIB), Run(40.0, 3 * MIB)], runs(100.0, 100.0))
    stemd = comparison.to_dict()["stemd"]
    assert stemd["realtime"] == {"median": 4.5, "min": 4.0, "max": 5.0}
    assert stemd["peak_rss_bytes"] == 3 * MIB


def test_the_table():
    one = Comparison("one", "1 × 60 s", 1, 60.0, runs(10.0, 20.0, 15.0), runs(30.0, 30.0, 30.0, peak=900 * MIB))
    lines = report.table(figures.HEADERS, [figures.row(one.to_dict())]).splitlines()
    assert lines[0].split("  ")[0] == "WORKLOAD"
    cells = ["1 × 60 s", "demucs", "15.0 (10.0–20.0)", "30.0", "2.00 (1.50–3.00)", "4.00", "2.00", "300", "900"]
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
    big = "import time; held = b'x' * (200 << 20); time.sleep(4)"
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
    eventually(lambda: not psutil.pid_exists(child) or ended(psutil.Process(child)), what="so has the child")


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
    size = ["--seconds", "3", "--files", "2", "--file-seconds", "2", "--rounds", "1", "--lengths", "0.1"]
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
    found = {each["what"]: (each["files"], each["audio_seconds"]) for each in facts["workloads"]}
    short = {"short cold": (1, 2), "short warm": (1, 2), "shortest": (1, 6)}
    theirs = {"one separator": (1, 3), "many separator": (2, 4)} if shutil.which("audio-separator") else {}
    assert found == {"one": (1, 3), **short, "many": (2, 4), "many call": (2, 4), **theirs}
    assert bool(facts["not_measured"]) != bool(theirs), "who does not take part is told of"
    for each in facts["workloads"]:
        check_side(each["stemd"], each["audio_seconds"])
        check_side(each["other"], each["audio_seconds"])
        ratio = each["other"]["seconds"]["median"] / each["stemd"]["seconds"]["median"]
        assert each["ratio"]["median"] == pytest.approx(ratio, rel=0.01)
    (length,) = facts["lengths"]["tracks"]
    assert 0 < length["first_block"] < length["seconds"] and length["peak_rss"] > 50 * MIB
    assert facts["worker_ready_seconds"] > 0
    for kind in ("one", "many"):
        assert set(facts["outputs"]["stems"][kind]) == {"drums", "bass", "other", "vocals"}
    assert facts["outputs"]["max_difference"] <= figures.AGREEMENT
    assert facts["machine"]["cores"] == facts["settings"]["threads"] == len(os.sched_getaffinity(0))
    assert "round 1 of 1" in stderr
    assert list(tmp_path.iterdir()) == []


def test_another_program_finds_its_model_and_its_stems_are_sorted(tmp_path: Path):
    """What audio-separator looks up before it would go to the network, and how it names what it makes."""
    side = AudioSeparator(tmp_path / "program", "nano", tmp_path / "repo", tmp_path / "out", 1)
    side.repo.mkdir()
    (side.repo / "member0-7dfdb30c.th").touch()
    side.list_model()
    lists = json.loads((side.repo / "download_checks.json").read_text())
    assert [set(each) for each in lists["demucs_download_list"].values()] == [{"member0-7dfdb30c.th", "nano.yaml"}]
    side.program.write_text('#!/bin/sh\nfor stem in Bass Vocals; do : > "$6/01_($stem)_nano.wav"; done\n')
    side.program.chmod(0o755)
    side.call([tmp_path / "01.wav"])
    assert sorted(path.name for path in side.result(Path("01.wav")).iterdir()) == ["bass.wav", "vocals.wav"]
    side.program.write_text("#!/bin/sh\necho no such model >&2; exit 1\n")
    with pytest.raises(StemdError, match="no such model"):
        side.call([tmp_path / "01.wav"])


@pytest.mark.slow
def test_an_interrupted_contest_leaves_nothing(tmp_path: Path):
    with bench(tmp_path) as process:
        us = psutil.Process(process.pid)

        def with_worker() -> list[psutil.Process]:
            tree = us.children(recursive=True)
            return tree if any("stemd.worker" in words(each) for each in tree) else []

        tree = eventually(with_worker, 120, "a worker runs")
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=300)
    assert process.returncode == 130, stderr
    eventually(lambda: all(map(ended, tree)), what="all of it has ended")
    assert list(tmp_path.iterdir()) == []


def words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


FOUND = {
    "way": {"matmul": "medium", "attention": "sdpa", "transformer": "fp32"},
    "trials": [
        {"way": {"matmul": "highest", "attention": "mha", "transformer": "fp32"}, "seconds": 1.0, "error_db": -999.0,
         "gate_db": -100.0, "passed": True},
        {"way": {"matmul": "medium", "attention": "sdpa", "transformer": "fp32"}, "seconds": 0.5, "error_db": -124.1,
         "gate_db": -100.0, "passed": True},
        {"way": {"matmul": "medium", "attention": "sdpa", "transformer": "bf16"}, "seconds": 0.3, "error_db": None,
         "gate_db": -50.0, "passed": False},
    ],
    "segment": {"seconds": 2.0, "gflop": 335.0, "realtime": 2.93},
    "peak_gflops": 400.0,
    "share_of_peak": 0.419,
}  # fmt: skip


def test_a_way_that_is_not_torchs_in_a_table():
    way = {"matmul": "highest", "attention": "mha", "transformer": "bf16", "runtime": "openvino"}
    assert tuning.cells({**way, "convolutions": "fp32"}) == ("openvino", "–", "bf16")
    assert tuning.cells({**way, "convolutions": "bf16"}) == ("openvino", "–", "all bf16")


def test_the_trials_as_a_table():
    assert tuning.rows(FOUND) == [
        ("highest", "mha", "fp32", "1.000", "1.00", "none", "-100", ""),
        ("medium", "sdpa", "fp32", "0.500", "2.00", "-124.1", "-100", "used"),
        ("medium", "sdpa", "bf16", "0.300", "3.33", "not finite", "-50", "too inaccurate"),
    ]
    assert "42% of the 400 GFLOP/s" in tuning.sentence(FOUND)


def document(seconds: float = 60.0, **more: Any) -> dict[str, Any]:
    workload = Comparison("one", "1 × 60 s, a < b", 1, seconds, runs(10.0, 20.0, 15.0), runs(30.0, 30.0, 40.0))
    return {
        "machine": {"cpu": "AMD", "cores": 2, "memory": 2**34, "load": 3.2, "system": "Linux", "python": "3.11"},
        "versions": {"stemd": "1", "demucs": "4.1", "torch": "2.13"},
        "settings": {"model": "htdemucs-random", "rounds": 3, "threads": 2, "output": "wav, 24 bit"},
        "outputs": {"max_difference": 1e-7, "stems": {}},
        "busy": figures.busy(3.2, 2),
        "tuning": FOUND,
        "fast": None,
        "workloads": [workload.to_dict()],
        "not_measured": ["nothing else"],
        **more,
    }


def test_a_report_is_a_page_a_picture_and_a_document(tmp_path: Path):
    found = document()
    page.write(tmp_path / "docs", found)
    text = (tmp_path / "docs" / "performance.md").read_text()
    assert "| 1 × 60 s, a < b | demucs | 15.0 (10.0–20.0) | 30.0 (30.0–40.0) | 2.67 (1.50–3.00) | 4.00 | 2" in text
    assert "**The machine was busy" in text and "random weights" in text and "stems are the same" in text
    assert "nothing else" in text and "No graphics card" in text and "By length" not in text
    assert json.loads((tmp_path / "docs" / "performance.json").read_text()) == found
    drawn = ElementTree.parse(tmp_path / "docs" / "performance.svg").getroot()
    bars = [each for each in drawn.iter("{http://www.w3.org/2000/svg}rect") if each.get("x")]
    widths = [float(each.get("width", 0)) for each in bars]
    assert len(bars) == 2 and widths[1] == pytest.approx(2 * widths[0], abs=0.2)


LENGTHS = {
    "model": "htdemucs-random",
    "tracks": [
        {"minutes": 6.0, "peak_rss": 700 * MIB, "seconds": 40.0, "first_block": 1.5, "realtime": 9.0},
        {"minutes": 60.0, "peak_rss": 710 * MIB, "seconds": 400.0, "first_block": 9.25, "realtime": 9.0},
    ],
}
SERVICE = {
    "idle": {"cpu_share": 0.001, "rss_bytes": 50 * MIB},
    "idle_after": {"cpu_share": 0.002, "rss_bytes": 60 * MIB},
    "claim_ms": {"n": 60, "p50": 8.0, "p90": 12.0, "p99": 120.0, "max": 120.0},
    "jobs": {"count": 300, "seconds": 10.0, "per_second": 30.0},
    "inbox": {"files": 10_000, "seconds": 0.4},
}


def test_the_page_has_the_other_parts_where_they_were_measured():
    fast = {**FOUND, "precision": "bf16", "warnings": ["the transformer was computed in bf16: -68 dB of error here"]}
    text = page.markdown(document(lengths=LENGTHS, service=SERVICE, fast=fast))
    assert "| 60 | 710 | 9.2 | 400.0 | 9.00 |" in text
    assert "p50 8.0 ms, p99 120.0 ms" in text and "30.0/s" in text and "0.10% of a core, 50 MiB" in text
    assert "-68 dB of error here" in text and "`precision: bf16`" in text


def test_each_goal_is_reached_missed_or_not_measured():
    rows = goals.rows(document(300.0, lengths=LENGTHS, service=SERVICE))
    found = {name: (figure, verdict) for name, _, _, figure, verdict in rows}
    assert found["one track of 5 min against the demucs command, float32"] == ("2.67 ×", "aim")
    assert found["share of the machine's float32 peak"] == ("41.9 %", "MISSED")
    assert found["peak memory, one hour"] == ("710 MiB", "aim")
    assert found["and above that of 5 or 6 minutes"] == ("10 MiB", "must")
    assert found["first finished block of one hour"] == ("9.25 s", "must")
    assert found["drop → claim, p99"] == ("120 ms", "MISSED")
    assert found["Spleeter, 5 min, memory"] == ("not measured", "")
    assert found["worker ready, libraries and model loaded"] == ("not measured", "")


def test_the_lengths_of_a_smaller_model_reach_no_goal():
    rows = goals.rows(document(300.0, lengths={**LENGTHS, "model": "nano"}))
    found = {row[0]: row[3] for row in rows}
    names = ("peak memory, one hour", "and above that of 5 or 6 minutes", "first finished block of one hour")
    assert {found[name] for name in names} == {"not measured"}


def test_what_was_too_short_has_no_verdict():
    short = {**LENGTHS, "tracks": LENGTHS["tracks"][:1]}
    found = {row[0]: row[3] for row in goals.rows(document(60.0, lengths=short))}
    assert found["peak memory, one hour"] == found["and above that of 5 or 6 minutes"] == "not measured"
    assert found["one track of 5 min against the demucs command, float32"] == "not measured"


def test_ranks_are_those_of_measured_values():
    assert service.summary([each / 1000 for each in range(1, 101)]) == {
        "n": 100, "p50": 50.0, "p90": 90.0, "p99": 99.0, "max": 100.0
    }  # fmt: skip
    assert service.summary([0.002])["p99"] == 2.0


def test_what_the_service_costs_is_measured_on_a_real_daemon(tmp_path: Path):
    found = service.measure(tmp_path, service.Plan(jobs=3, drops=2, rest=0.2, files=20), lambda said: None)
    assert found["claim_ms"]["n"] == 2 and found["claim_ms"]["p50"] > 0
    assert found["jobs"]["count"] == 3 and found["jobs"]["per_second"] > 0
    assert found["inbox"]["files"] == 20 and found["idle"]["rss_bytes"] > 20 * MIB


def test_a_part_that_fails_leaves_the_others(tmp_path: Path):
    run = Measuring(Plan("nano", tmp_path, 1, 1.0, 1, 1.0, 1), tmp_path, machine.look(), lambda said: None, document())

    def failing() -> None:
        raise StemdError("STEMD-E006", "it failed")

    run.attempt("Spleeter", failing)
    assert "it failed" in run.document["not_measured"][-1] and run.document["workloads"]
    assert "it failed" in page.markdown(run.document)


def test_what_spleeter_lacks_is_said(tmp_path: Path):
    place = Environment("spleeter", tmp_path / "engines" / "spleeter")
    assert "engines install spleeter" in str(spleeter.lacking(place, tmp_path))
    place.root.mkdir(parents=True)
    lock = hashlib.sha256(place.lock.read_bytes()).hexdigest()
    (place.root / "stemd-environment.json").write_text(json.dumps({"lock": lock}))
    assert "models fetch 2stems" in str(spleeter.lacking(place, tmp_path))
    (tmp_path / "2stems").mkdir()
    (tmp_path / "2stems" / "checkpoint").write_text("")
    assert spleeter.lacking(place, tmp_path) is None


@pytest.mark.parametrize("minutes", ["0", "1,x", "2000"])
def test_lengths_are_minutes(minutes: str):
    result = CliRunner().invoke(main, ["bench", "--lengths", minutes])
    assert result.exit_code == 2 and "1,6,60" in result.stderr


def test_tuning_anew_is_shown_and_remembered(tmp_path: Path):
    config = tmp_path / "stemd.yaml"
    config.write_text(f"spool: {tmp_path}\npaths: {{state: {tmp_path / 'state'}}}\n")
    answer = CliRunner().invoke(main, ["bench", "--tune", "--json", "-c", str(config)])
    found = json.loads(answer.stdout)["tuning"]
    (kept,) = (tmp_path / "state" / "tuning").iterdir()  # nano is none of those that OpenVINO computes
    assert json.loads(kept.read_text())["found"]["way"] == found["way"] and found["segment"]["gflop"] > 1
    assert 0 < found["share_of_peak"] < 1.5 and len(found["trials"]) == 2
