"""The alert rules that are shipped: valid, and they fire when they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from stemd.ops.metrics import Metrics

FOLDER = Path(__file__).parents[3] / "config" / "prometheus"
#: Series with labels that are known only once there is something to tell.
LATER = {"stemd_engine_up", "stemd_filesystem_free_bytes"}
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
            assert re.search(rf"^{series}[ {{]", exported, re.MULTILINE) or series in LATER, series


def test_every_alert_has_a_page_that_helps_and_a_test():
    rules = yaml.safe_load((FOLDER / "stemd.rules.yml").read_text())["groups"][0]["rules"]
    tests = yaml.safe_load((FOLDER / "stemd.rules.test.yml").read_text())["tests"]
    tried = {each["alertname"] for test in tests for each in test["alert_rule_test"] if each["exp_alerts"]}
    page = (FOLDER.parents[1] / "docs" / "observability.md").read_text()
    for rule in rules:
        assert {"summary", "description", "runbook_url"} == set(rule["annotations"])
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["runbook_url"] == f"docs/observability.md#{rule['alert'].lower()}"
        assert f"\n### {rule['alert']}\n" in page
    assert tried == {rule["alert"] for rule in rules}


def test_every_metric_on_the_dashboard_is_exported():
    board = json.loads((FOLDER.parent / "grafana" / "stemd.json").read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    known = {name for row in Metrics.rows() for name in (row.name, *(row.name + end for end in ("_bucket", "_sum")))}
    assert len(expressions) > 10
    assert {name for each in expressions for name in re.findall(r"stemd_\w+", each)} <= known
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
