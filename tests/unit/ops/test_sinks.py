"""Alerts reach each sink in order, whatever the others do."""

import threading
from dataclasses import replace

import pytest

from stemd.core.alerting import Alert
from stemd.ops import sinks
from tests.support.daemon import eventually

DEAD, ALIVE = ("alertmanager", "http://192.0.2.1:9093"), ("webhook", "http://127.0.0.1:9/")
FIRING = Alert("oom", "3 in an hour", 1.0)


class Told:
    """What each sink was told; the dead one takes it only once the gate is open."""

    def __init__(self):
        self.told, self.gate, self.asked = {DEAD: [], ALIVE: []}, threading.Event(), threading.Event()

    def deliver(self, sink, alert):
        if sink == DEAD:
            self.asked.set()
            self.gate.wait(600)
        self.told[sink].append(alert)


@pytest.fixture
def desk(monkeypatch):
    desk = Told()
    monkeypatch.setattr(sinks, "deliver", desk.deliver)
    yield desk
    desk.gate.set()


def test_a_dead_sink_delays_no_other(desk):
    teller = sinks.Sinks()
    alerts = [FIRING, replace(FIRING, name="disk"), replace(FIRING, ended=5.0)]
    teller.tell([("log",), DEAD, ALIVE], alerts)
    eventually(lambda: desk.told[ALIVE] == alerts, 20, "the other has heard of all")
    assert desk.told[DEAD] == []
    desk.gate.set()
    eventually(lambda: desk.told[DEAD] == alerts, 20, "and at last so has this")
    eventually(lambda: all(line._thread is None for line in teller._lines.values()), 20, "nobody waits for nothing")
    teller.tell([ALIVE], [FIRING])
    teller.stop()
    assert desk.told[ALIVE] == [*alerts, FIRING], "what waits at the end is told"


def test_reminders_of_one_alert_do_not_queue_up(desk):
    teller = sinks.Sinks()
    teller.tell([DEAD], [FIRING])
    assert desk.asked.wait(120)
    other, ended = replace(FIRING, name="disk"), replace(FIRING, ended=5.0)
    for minute in range(1, 9):
        teller.tell([DEAD], [replace(FIRING, reason=f"minute {minute}"), other], again=True)
    teller.tell([DEAD], [ended])
    again = replace(FIRING, since=9.0)
    teller.tell([DEAD], [again])
    desk.gate.set()
    eventually(lambda: again in desk.told[DEAD], 20, "all is told")
    assert desk.told[DEAD] == [FIRING, replace(FIRING, reason="minute 8"), other, ended, again]


def test_what_is_too_much_is_said(desk, monkeypatch, capsys):
    monkeypatch.setattr(sinks, "_MOST_WAITING", 1)
    teller = sinks.Sinks()
    teller.tell([DEAD], [FIRING])
    assert desk.asked.wait(120)
    teller.tell([DEAD], [replace(FIRING, name="disk"), replace(FIRING, name="aborts")])
    assert "too many wait" in capsys.readouterr().out
    desk.gate.set()
    eventually(lambda: len(desk.told[DEAD]) == 2, 20)
