"""Limits where they are real: control groups of version 2, delegated by systemd, in an emulated machine."""

from __future__ import annotations

import json
import os
import re
import shutil

import pytest

from tests.system import guest_limits, machine

pytestmark = [
    pytest.mark.skipif(
        machine.tool() is None or os.geteuid() != 0 or shutil.which("qemu-system-x86_64") is None,
        reason="needs root, qemu-system-x86_64, and $BOOT_SYSTEMD: a program that boots a machine with systemd",
    ),
    pytest.mark.slow,
    pytest.mark.timeout(5000),
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict[str, str]:
    """What each check said, after one boot for all of them."""
    program = machine.tool()
    assert program is not None
    done = machine.limits(program, tmp_path_factory.mktemp("machine"))
    found = dict(re.findall(r"^CHECK (\w+) (.*)$", done.stdout, re.MULTILINE))
    assert found, done.stdout + done.stderr
    print(done.stderr)
    return found


@pytest.mark.parametrize("name", guest_limits.CHECKS)
def test_in_a_machine_with_control_groups(answers, name):
    assert name in answers, "the machine ended before this check"
    verdict, _, trace = answers[name].partition(" ")
    assert verdict == "ok", json.loads(trace)
