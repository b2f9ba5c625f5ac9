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
from stemd.engines.tuning.ways import Way
from tests.golden import tiny_models

BROKEN = """
import sys
from stemd.engines.cards import __main__ as program, host
host.Host._launch = lambda *_: 1 / 0 if _[0].together else host._Launched([], None)
program.main()
"""


def started(tmp_path: Path, *program: str) -> tuple[subprocess.Popen[bytes], Card]:
    tiny_models.write_bag(tmp_path / "models", "tiny", [tiny_models.htdemucs])
    wish = {"model": "tiny", "store": str(tmp_path / "models"), "device": "cpu", "precision": "fp32", "together": 2}
    command = [sys.executable, *program, str(tmp_path / "card.sock"), json.dumps(wish)]
    return subprocess.Popen(command, stderr=subprocess.PIPE), Card(tmp_path / "card.sock")


def test_it_answers(tmp_path):
    process, card = started(tmp_path, "-m", "stemd.engines.cards")
    assert card.greet(4)["ready"]["together"] == 2
    process.kill()
    process.wait()
    with pytest.raises(StemdError, match="STEMD-E006"):
        card.greet(4)


def test_a_fault_of_its_own_ends_it_so_that_nobody_waits_for_ever(tmp_path):
    process, card = started(tmp_path, "-c", BROKEN)
    assert card.greet(4)["ready"]
    with pytest.raises(StemdError, match="STEMD-E006"):
        card.answer(0, torch.zeros(1, 2, 4000), Way())
    assert process.wait(60) == 1 and process.stderr is not None and b"ZeroDivisionError" in process.stderr.read()
