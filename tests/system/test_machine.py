"""The service in a really booted systemd: installed, steered, killed and upgraded as docs/operating.md says."""

from __future__ import annotations

import json
import os
import re

import pytest

from tests.system import guest, machine

needs_machine = pytest.mark.skipif(
    machine.tool() is None or os.geteuid() != 0,
    reason="needs root, and $BOOT_SYSTEMD: a program that boots a machine with systemd",
)
pytestmark = [needs_machine, pytest.mark.slow, pytest.mark.timeout(5000)]


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict[str, str]:
    """What each check said, after one boot for all of them."""
    program = machine.tool()
    assert program is not None
    done = machine.checks(program, tmp_path_factory.mktemp("machine"))
    found = dict(re.findall(r"^CHECK (\w+) (.*)$", done.stdout, re.MULTILINE))
    assert found, done.stdout + done.stderr
    print(done.stderr)
    return found


@pytest.mark.parametrize("name", guest.CHECKS)
def test_in_a_booted_machine(answers, name):
    assert name in answers, "the machine ended before this check"
    verdict, _, trace = answers[name].partition(" ")
    assert verdict == "ok", json.loads(trace)
