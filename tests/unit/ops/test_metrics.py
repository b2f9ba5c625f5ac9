"""The exposition: every series explained, named as Prometheus wants it, and there from the start."""

import re
import shutil
import subprocess
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from stemd.core.errors import ErrorClass
from stemd.core.job import JobState, Outcome
from stemd.daemon.pool import WorkerState
from stemd.ops.metrics import Metrics

#: Base units (https://prometheus.io/docs/practices/naming/); seconds never come as milliseconds or minutes.
_NOT_BASE = re.compile(r"_(ms|milliseconds|minutes|hours|kb|mb|kib|mib|megabytes|percent)(_|$)")


@pytest.fixture
def used():
    """Metrics of a daemon that has done a bit of everything."""
    metrics = Metrics(("demucs", "mix"))
    metrics.ready.set(1)
    metrics.inbox_files.labels("settling").set(2)
    metrics.watch_mode.labels("/srv/stemd/inbox", "events").set(1)
    metrics.scan_seconds.observe(0.01)
    metrics.scan_success.set_to_current_time()
    metrics.oldest_file.set_to_current_time()
    metrics.canary_at.set_to_current_time()
    metrics.handoff_oldest.set_to_current_time()
    metrics.claims.labels("claimed").inc()
    metrics.attempts.labels("demucs", "done").inc()
    metrics.wait.observe(1)
    metrics.end_to_end.observe(20)
    metrics.audio.labels("demucs").inc(180.5)
    metrics.realtime.labels("demucs").set(9.5)
    metrics.workers.labels("demucs", "idle").set(1)
    metrics.workers_desired.labels("demucs").set(1)
    metrics.autoscale_decisions.labels("demucs", "up", "queue").inc()
    metrics.recovered.labels("S4").inc()
    metrics.audited.set_to_current_time()
    return metrics


def families(metrics):
    return list(text_string_to_metric_families(metrics.render().decode()))


def test_every_family_is_ours_explained_and_typed(used):
    found = families(used)
    assert len(found) > 15
    for family in found:
        assert family.name.startswith("stemd_"), family.name
        assert family.documentation.strip().endswith("."), f"{family.name}: {family.documentation!r}"
        assert family.type in {"counter", "gauge", "histogram"}, family.name


def test_names_follow_prometheus(used):
    for family in families(used):
        assert re.fullmatch(r"[a-z][a-z0-9_]*", family.name)
        assert not _NOT_BASE.search(family.name), family.name
        for sample in family.samples:
            if family.type == "counter":
                assert sample.name.endswith("_total"), sample.name
            if family.type == "gauge":
                assert not family.name.endswith("_created"), "as many again, and nobody asks for them"
                assert not sample.name.endswith(("_total", "_count", "_sum", "_bucket")), sample.name
            if family.type == "histogram":
                assert family.name.endswith(("_seconds", "_bytes")), f"{family.name} has no unit"
            assert all(re.fullmatch(r"[a-z][a-z0-9_]*", label) for label in sample.labels)


def test_times_are_timestamps_in_seconds(used):
    for family in families(used):
        if "timestamp" in family.name:
            assert family.name.endswith("_timestamp_seconds")
            assert all(sample.value > 1e9 for sample in family.samples), family.name


def test_what_may_be_alerted_on_is_there_from_the_start():
    found = {(s.name, *s.labels.values()) for f in families(Metrics(("demucs",))) for s in f.samples}
    for state in JobState:
        assert (("stemd_jobs", state.value) in found) is not state.ended
    for kind in ErrorClass:
        assert ("stemd_orphaned_jobs_total", kind.value) in found
        assert ("stemd_retries_scheduled_total", kind.value) in found
    for outcome in Outcome:
        assert ("stemd_jobs_completed_total", "demucs", outcome.value) in found
    assert ("stemd_config_last_reload_successful",) in found


def test_labels_are_closed_sets_and_never_names_of_people_or_files(used):
    allowed = {
        "area",
        "version",
        "python",
        "state",
        "inbox",
        "mode",
        "result",
        "engine",
        "outcome",
        "class",
        "reason",
        "direction",
        "found",
        "invariant",
        "limit",
        "quota",
        "action",
        "role",
        "alert",
        "stage",
        "model",
        "le",
    }
    assert {label for family in families(used) for sample in family.samples for label in sample.labels} <= allowed


def test_every_series_of_a_closed_set_is_there_from_the_start():
    metrics = Metrics(("demucs", "mix"))
    open_rows = set()
    for row in Metrics.rows():
        if () in row.labels.values():
            open_rows.add(row.name)
            continue
        first = {tuple(s.labels.values()) for m in metrics.made[row.name].collect() for s in m.samples if s.labels}
        assert not row.labels or first, row.name
    known_later = {"stemd_build_info", "stemd_watch_mode", "stemd_stage_duration_seconds", "stemd_model_present"}
    known_later |= {"stemd_engine_up", "stemd_filesystem_free_bytes", "stemd_filesystem_free_inodes"}
    assert open_rows == known_later  # a label of open values is an exception to be argued


def test_what_nobody_has_measured_yet_alarms_nobody():
    """A scrape may come before recovery is over: 0 would be no room, an engine that is gone, a look decades ago."""
    began, metrics = time.time(), Metrics(("demucs",))
    text = metrics.render().decode()
    for name in ("stemd_engine_up", "stemd_filesystem_free_bytes", "stemd_filesystem_free_inodes"):
        assert not re.search(f"^{name}[ {{]", text, re.MULTILINE)
    for name in ("scan", "self_audit"):
        assert metrics.registry.get_sample_value(f"stemd_{name}_last_success_timestamp_seconds") >= began


def test_workers_are_counted_in_the_states_there_are():
    row = next(row for row in Metrics.rows() if row.name == "stemd_workers")
    assert set(row.labels["state"]) == {state.value for state in WorkerState}


def test_two_daemons_in_one_process_do_not_collide():
    one, two = Metrics(("demucs",)), Metrics(("demucs",))
    one.claims.labels("claimed").inc()
    assert 'stemd_claims_total{result="claimed"} 1.0' in one.render().decode()
    assert 'stemd_claims_total{result="claimed"} 0.0' in two.render().decode()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="the promtool program is not installed")
def test_promtool_has_no_complaint(used):
    done = subprocess.run(["promtool", "check", "metrics"], input=used.render(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
