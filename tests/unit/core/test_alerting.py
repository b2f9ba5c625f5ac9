"""The rules of stemd's own alerts: each fires at its threshold and not before, once, and ends."""

import pytest

from stemd.core.alerting import REMINDER, SEVERITIES, Book, History, State, firing
from stemd.core.config import load

NOW = 1_000_000.0


def alerts(tmp_path):
    return load(None, {"spool": str(tmp_path)}, {}).config.alerts


def history(done=0, failed=0, seconds=1.0, ago=10.0, ooms=(), aborts=()):
    found = History()
    found.ended.extend([(NOW - ago, True, seconds)] * done + [(NOW - ago, False, seconds)] * failed)
    found.ooms.extend(NOW - each for each in ooms)
    found.aborts.extend(NOW - each for each in aborts)
    return found


CASES = {
    "failure_ratio": [
        (history(done=20, failed=2), State(), False),  # under three failures nothing is a ratio
        (history(done=27, failed=3), State(), False),  # exactly a tenth is not over it
        (history(done=20, failed=3), State(), True),
        (history(done=20, failed=3, ago=1801.0), State(), False),
    ],
    "latency_p95": [
        (history(done=20, seconds=3600.0), State(), False),
        (history(done=20, seconds=3601.0), State(), True),
        (history(done=10), State(waiting=(100.0,)), False),
        (history(), State(waiting=(3601.0,)), True),
        (history(done=40), State(waiting=(3601.0,)), False),  # one of 41 is less than a twentieth
    ],
    "oom": [
        (history(ooms=(1, 2)), State(), False),
        (history(ooms=(1, 2, 3)), State(), True),
        (history(ooms=(1, 2, 3601)), State(), False),
    ],
    "aborts": [(history(aborts=(1, 2)), State(), False), (history(aborts=(1, 2, 3599)), State(), True)],
    "resources": [
        (history(), State(busy_since=NOW - 599), False),
        (history(), State(busy_since=NOW - 600), True),
        (history(), State(), False),
    ],
    "disk": [(history(), State(free=0.05), False), (history(), State(free=0.049), True), (history(), State(), False)],
    "canary": [
        (history(), State(canary_at=NOW - 3 * 3600), False),
        (history(), State(canary_at=NOW - 3 * 3600 - 1), True),
    ],
}


@pytest.mark.parametrize("name", SEVERITIES)
def test_each_fires_at_its_threshold_and_null_switches_it_off(tmp_path, name):
    settings, off = alerts(tmp_path), alerts(tmp_path).model_copy(update={name: None})
    for past, state, fires in CASES[name]:
        found = firing(settings, past, state, NOW)
        assert (name in found) is fires, (past, state)
        assert name not in firing(off, past, state, NOW)


def test_it_is_told_once_reminded_now_and_then_and_resolved_once():
    book = Book()
    news, again = book.take({"disk": "3 % free"}, NOW)
    assert ([(each.name, each.ended) for each in news], again) == ([("disk", None)], [])
    assert book.take({"disk": "2 % free"}, NOW + 1) == ([], [])
    news, again = book.take({"disk": "2 % free"}, NOW + REMINDER)
    assert (news, [(each.since, each.reason) for each in again]) == ([], [(NOW, "2 % free")])
    news, again = book.take({}, NOW + REMINDER + 1)
    assert ([(each.since, each.ended) for each in news], again) == ([(NOW, NOW + REMINDER + 1)], [])
    assert book.take({}, NOW + REMINDER + 2) == ([], [])


def test_what_is_old_is_forgotten():
    past = history(done=2, ago=8 * 86400.0, ooms=(8 * 86400, 1))
    past.forget(NOW)
    assert (len(past.ended), len(past.ooms)) == (0, 1)
