"""The process as the daemon starts it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stemd.core.errors import StemdError
from stemd.engines.cards.card import Card
from stemd.engines.demucs_engine import DemucsEngine
from tests.golden import tiny_models

BROKEN = """
from stemd.engines.cards import __main__ as program, computing
computing.Computing._tried = lambda *_: 1 / 0
program.main()
"""
ANEW = """
import json, sys
from stemd.engines.cards import __main__ as program, host
def fail(*_):
    error = host.StemdError("STEMD-E006", "no")
    raise error from host.CaptureError("no")
host.Computing = fail
program.main()
"""


def started(tmp_path: Path, *program: str) -> tuple[subprocess.Popen[bytes], Card]:
    tiny_models.write_bag(tmp_path / "models", "tiny", [tiny_models.htdemucs])
    wish = {"model": "tiny", "store": str(tmp_path / "models"), "device": "cpu", "precision": "fp32", "together": 2}
    command = [sys.executable, *program, str(tmp_path / "card.sock"), json.dumps(wish)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    return process, Card(tmp_path / "card.sock")


def sha256(tmp_path: Path) -> str:
    return DemucsEngine.fingerprint("tiny", tmp_path / "models")


def test_it_answers_and_ends_with_its_input(tmp_path):
    process, card = started(tmp_path, "-m", "stemd.engines.cards")
    assert card.greet(sha256(tmp_path), 4)["ready"]["together"] == 2
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(60) == 0
    with pytest.raises(StemdError, match="STEMD-E006"):
        Card(tmp_path / "card.sock", patience=0.1).greet("", 4)


def test_a_fault_of_its_own_ends_it_so_that_nobody_waits_for_ever(tmp_path):
    process, card = started(tmp_path, "-c", BROKEN)
    assert card.greet(sha256(tmp_path), 4)["ready"]
    with pytest.raises(StemdError, match="STEMD-E006"):
        card.answer(0, torch.zeros(1, 2, 4000))
    assert process.wait(60) == 1 and process.stderr is not None and b"ZeroDivisionError" in process.stderr.read()


def test_where_a_capture_fails_it_begins_anew_and_the_worker_waits(tmp_path):
    process, card = started(tmp_path, "-c", ANEW)
    assert card.greet(sha256(tmp_path), 4)["ready"]["together"] == 2
    command = Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")
    assert json.loads(command[command.index("stemd.engines.cards") + 2])["graphs"] is False
    process.kill()
    process.wait()
