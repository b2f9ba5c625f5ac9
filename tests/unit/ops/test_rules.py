"""The alert rules that are shipped: valid, and they fire when they should."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from stemd.ops.metrics import Metrics

FOLDER = Path(__file__).parents[3] / "config" / "prometheus"
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="the promtool program is not installed")


@needs_promtool
@pytest.mark.parametrize(
    "arguments", [("check", "rules", "stemd.rules.yml"), ("test", "rules", "stemd.rules.test.yml")]
)
def test_promtool_has_no_complaint(arguments):
    done = subprocess.run(["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_series_a_rule_asks_for_is_exported():
    rules = yaml.safe_load((FOLDER / "stemd.rules.yml").read_text())["groups"][0]["rules"]
    exported = Metrics(("demucs",)).render().decode()
    for rule in rules:
        for series in re.findall(r"stemd_\w+", rule["expr"]):
            assert re.search(rf"^{series}[ {{]", exported, re.MULTILINE), series
