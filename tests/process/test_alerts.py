"""stemd's own alerts reach who is to hear of them: a webhook, a command, and a real Alertmanager."""

import json
import signal
import sys
import time
from contextlib import suppress

import pytest
import yaml

from tests.process.test_handoff import Receiver
from tests.support.audio import write_wav
from tests.support.daemon import Daemon, eventually, within
from tests.support.monitoring import alertmanager, needs_alertmanager, needs_prometheus, prometheus

STUB = {"engine": "stub", "model": "stub"}
SOON = {"failure_ratio": {"over": 0.5, "window": "10s"}}


@pytest.fixture
def receiver():
    server = Receiver()
    yield server
    server.shutdown()
    server.server_close()


def fail_until(daemon, told, what):
    """Three that fail at a time, until ``told``: on a slow machine three may take longer than the window."""
    for batch in range(1, 11):
        for number in range(3):
            noise = daemon.home / f"noise {batch} {number}.wav"
            noise.write_bytes(b"no recording")
            daemon.drop(noise)
        eventually(lambda wanted=3 * batch: len(daemon.failures()) == wanted, 120, "they have failed")
        with suppress(AssertionError):
            within(8, told)
            return
    raise AssertionError(f"after thirty failures: {what}")


def test_an_alert_is_told_once_and_resolved_once(tmp_path, receiver):
    receiver.answers = [500]
    note = tmp_path / "note"
    program = tmp_path / "tell.py"
    program.write_text(f"import sys\nopen({str(note)!r}, 'a').write(sys.stdin.read() + chr(10))\n")
    sinks = ["log", {"webhook": receiver.url}, {"command": [sys.executable, str(program)]}]
    with Daemon(tmp_path, defaults=STUB, alerts={**SOON, "sinks": sinks}) as daemon:
        fail_until(daemon, lambda: daemon.events("alert_firing"), "it does not fire")
        eventually(lambda: daemon.events("alert_resolved"), 60, "it is over")
        eventually(lambda: len(receiver.got) >= 3, what="the webhook was told")
        eventually(lambda: note.exists() and note.read_text().count("\n") >= 2, what="the command was told")
        assert daemon.metric('stemd_alerts_firing{alert="failure_ratio"}') == 0
    told = [json.loads(body) for _, body in receiver.got]
    assert [each["status"] for each in told] == ["firing", "firing", "resolved"]  # the first was refused
    assert {each["alert"] for each in told} == {"failure_ratio"}
    assert [json.loads(line)["status"] for line in note.read_text().splitlines()] == ["firing", "resolved"]
    assert len(daemon.events("alert_firing")) == len(daemon.events("alert_resolved")) == 1
    assert "jobs failed" in daemon.events("alert_firing")[0]["reason"]


def test_what_fires_is_in_health_and_metrics(tmp_path):
    with Daemon(tmp_path, defaults=STUB, alerts={"disk": {"below": 1.0}}) as daemon:
        eventually(lambda: daemon.metric('stemd_alerts_firing{alert="disk"}') == 1, 60, "the disk is not empty")
        (alert,) = json.loads(daemon.http("/health")[1])["alerts"]
        assert (alert["alert"], alert["severity"]) == ("disk", "warning")


def test_a_drain_is_no_alarm(tmp_path):
    """It looks at nothing and sends no canary, on purpose; and goes on with both."""
    scan, came = "stemd_scan_last_success_timestamp_seconds", "stemd_canary_last_success_timestamp_seconds"
    drained, fires = 'stemd_admission_paused{reason="drain"}', 'stemd_alerts_firing{alert="canary"}'
    with Daemon(tmp_path, defaults=STUB, alerts={"canary": {"every": "2s"}}) as daemon:
        eventually(lambda: len(daemon.events("canary_came_through")) > 1, 60, "two came through")
        eventually(lambda: daemon.metric(fires) == 0, 60, "none is missed")
        daemon.stemd("drain", check=True)
        eventually(lambda: daemon.metric(drained) == 1, 30, "it drains")
        fired, before, began = len(daemon.events("alert_firing")), daemon.metric(came), time.time()
        eventually(lambda: daemon.metric(scan) > began + 9, 60, "a drain is no standstill")
        eventually(lambda: daemon.metric(came) > before + 8, what="what is drained is not counted")
        assert len(daemon.events("alert_firing")) == fired, "three intervals and more have passed"
        count = len(daemon.events("canary_came_through"))
        daemon.stemd("resume", check=True)
        eventually(lambda: len(daemon.events("canary_came_through")) > count, 60, "the next one flies")
        assert daemon.metric(drained) == 0
        assert not daemon.events("canary_failed")


def statuses(receiver, name):
    alerts = [alert for _, body in receiver.got for alert in json.loads(body)["alerts"]]
    return [alert["status"] for alert in alerts if alert["labels"]["alertname"] == name]


@needs_alertmanager
def test_a_real_alertmanager_hears_of_it_and_of_its_end(tmp_path, receiver):
    name = "StemdSelfFailureRatio"
    with alertmanager(tmp_path, receiver.url) as address:
        sinks = [{"alertmanager": f"http://{address}"}]
        with Daemon(tmp_path, defaults=STUB, alerts={**SOON, "sinks": sinks}) as daemon:
            fail_until(daemon, lambda: statuses(receiver, name), "Alertmanager has not told of it")
            eventually(lambda: "resolved" in statuses(receiver, name), 180, "it has ended")
        assert statuses(receiver, name)[0] == "firing"


@needs_alertmanager
@needs_prometheus
def test_prometheus_scrapes_and_a_shipped_rule_fires_and_resolves(tmp_path, receiver):
    rules = yaml.safe_load((Daemon.RULES / "stemd.rules.yml").read_text())
    for rule in rules["groups"][0]["rules"]:
        rule.pop("for", None)  # what is waited for is tried by promtool
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    name = "StemdConfigReloadFailed"
    with alertmanager(tmp_path, receiver.url) as manager, Daemon(tmp_path, defaults=STUB) as daemon:
        config = {
            "rule_files": [str(tmp_path / "rules.yml")],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [manager]}]}]},
        }
        with prometheus(tmp_path, daemon.events("http_listening")[-1]["address"], **config):
            daemon.config.write_text("nonsense: true")
            assert daemon.stemd("config", "check").returncode == 78
            daemon.process.send_signal(signal.SIGHUP)
            eventually(lambda: "firing" in statuses(receiver, name), 180, "the rule has fired")
            daemon.configure(defaults=STUB)
            daemon.process.send_signal(signal.SIGHUP)
            eventually(lambda: "resolved" in statuses(receiver, name), 180, "it has been resolved")


def test_the_canary_goes_the_whole_way_and_leaves_nothing(tmp_path):
    handoff = {"directory": str(tmp_path / "tickets")}
    (tmp_path / "tickets").mkdir()
    alerts = {"canary": {"every": "1s"}}
    with Daemon(tmp_path, defaults=STUB, alerts=alerts, handoff=handoff) as daemon:
        eventually(lambda: len(daemon.events("canary_came_through")) >= 2, 60, "two of them")
        mine = daemon.spool.inbox / ".stemd-canary" / "mine.wav"
        write_wav(mine, seconds=0.5)
        eventually(lambda: "mine" in daemon.results(), 60, "somebody's song in its inbox is a job like any other")
        last = daemon.metric("stemd_canary_last_success_timestamp_seconds")
        assert last > daemon.metric("stemd_start_timestamp_seconds")
        assert daemon.metric("stemd_canary_interval_seconds") == 1
        counted = 'stemd_jobs_completed_total{engine="stub",outcome="done"}'
        eventually(lambda: daemon.metric(counted) == 1, 60, "it is counted, and it alone")
        eventually(lambda: daemon.metric("stemd_job_end_to_end_seconds_count") == 1)
        daemon.configure(defaults=STUB, alerts={"canary": None})
        daemon.stemd("reload", check=True)
        eventually(lambda: list(daemon.results()) == ["mine"], what="the last one is cleared away")
        eventually(lambda: len(daemon.states()) == 1 and not list(daemon.spool.work.iterdir()), 30)
        tickets = tmp_path / "tickets"
        eventually(lambda: any(tickets.glob("[!.]*")), 60, "it is handed over")
        assert [json.loads(each.read_text())["user_id"] for each in tickets.glob("[!.]*")] == ["canary"]
        assert daemon.events("canary_failed") == []
        eventually(lambda: daemon.metric("stemd_canary_last_success_timestamp_seconds") == 0, 30, "it is off")
        assert daemon.metric("stemd_canary_interval_seconds") == 0
