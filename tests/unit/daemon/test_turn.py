"""One turn of the loop: trouble of one job or one part is that one's alone, and the watchdog hears of progress only."""

from types import SimpleNamespace
from unittest.mock import ANY, Mock

import pytest

from stemd.core.errors import StemdError
from stemd.core.job import JobState
from stemd.core.policy import Admit
from stemd.daemon.assignment import Assignment
from stemd.daemon.dispatcher import Dispatcher
from stemd.daemon.service import Service
from stemd.daemon.stopping import Stopping
from stemd.daemon.surviving import PAUSE
from stemd.spool import attempts
from tests.unit.daemon.test_fate import Site

DISK = StemdError("STEMD-S014", "append to 'attempts': Input/output error")
PARTS = ("take_in", "upkeep", "seal", "assign", "finish", "enforce", "reconcile")


def turn(fails: str | None, **state):
    """A dispatcher whose parts are told apart; ``fails`` is the one that the disk stops."""
    done = []

    def part(name):
        def work(*_):
            done.append(name)
            if name == fails:
                raise DISK

        return work

    dispatcher = Dispatcher.__new__(Dispatcher)
    vars(dispatcher).update({
        "board": Mock(in_state=lambda state: []), "pool": Mock(workers=[]), "room": Mock(), "quotas": Mock(),
        "scaling": Mock(), "prober": Mock(), "takeover": Mock(), "upkeep": part("upkeep"), "progressed": True,
        "draining": False, "suspended": False, "_deferred_due": 0.0, "_again_due": 0.0,
        "admission": Mock(take_in=part("take_in"), scanners=[]), "sealer": Mock(tick=part("seal")),
        "assignment": Mock(assign=part("assign")),
        "runs": Mock(enforce_limits=part("enforce"), reconcile=part("reconcile"), finish_made=part("finish")),
        "_count": lambda: None, "_pause": lambda now: 0.0, **state,
    })  # fmt: skip
    return dispatcher, done


@pytest.mark.parametrize("fails", PARTS)
def test_the_disk_keeps_no_part_from_its_turn_but_the_one_it_refuses(fails):
    dispatcher, done = turn(fails)
    assert dispatcher.tick() == PAUSE
    assert sorted(done) == sorted(PARTS)
    assert done.index("assign") < done.index("finish"), "workers have something to do while results are published"
    assert dispatcher.progressed is (fails not in {"take_in", "assign", "enforce"})


def test_while_one_erases_nothing_is_looked_at_or_started_and_that_is_progress():
    dispatcher, done = turn("take_in", suspended=True)
    assert dispatcher.tick() == 0.0
    assert not {"take_in", "assign"} & set(done)
    assert dispatcher.admission.rest.called
    assert dispatcher.progressed
    assert not dispatcher.takeover.again.called


def test_a_drain_starts_nothing_and_looks_without_taking():
    dispatcher, done = turn(None, draining=True)
    dispatcher.admission.take_in = Mock()
    assert dispatcher.tick() == 0.0
    assert "assign" not in done
    dispatcher.admission.take_in.assert_called_once_with(ANY, False)
    assert dispatcher.takeover.again.called
    assert dispatcher.progressed


@pytest.mark.parametrize("progressed", [True, False])
def test_the_watchdog_is_pinged_only_after_a_turn_that_went_through(progressed):
    daemon = Service.__new__(Service)
    vars(daemon).update(
        _manager=Mock(), _stopping=Stopping(), _next_status=0.0, _dispatcher=SimpleNamespace(progressed=progressed),
        _view=SimpleNamespace(loop_at=1.0, sentence=""),
    )  # fmt: skip
    daemon._tell_manager()
    assert daemon._manager.alive.called is progressed
    assert daemon._manager.status.called


def test_a_job_whose_start_cannot_be_noted_rests_and_the_next_one_starts(spool, monkeypatch):
    site = Site(spool)
    stuck = site.claimed()
    site.seal(stuck)
    other = site.claimed()
    site.seal(other)
    real, started = attempts.record_start, []

    def record(path, engine):
        if path == stuck.work.attempts:
            raise DISK
        return real(path, engine)

    monkeypatch.setattr(attempts, "record_start", record)
    monkeypatch.setattr(site.runs.pool, "start", lambda setup, threads, job_id=None: started.append(job_id))
    quotas = Mock(turn=lambda live: None, to_start=lambda live: Admit())
    scaling = Mock(asked_cores=lambda live, worker: None, free_cores=4, share=lambda live: 1)
    scaling.lacks_memory.return_value = None
    assignment = Assignment(site.board, site.runs.pool, site.runs, Mock(), quotas, scaling)
    monkeypatch.setattr(assignment, "missing", lambda live, job: None)
    assignment.assign()
    assert started == [other.id]
    assert (stuck.state, stuck.reason) == (JobState.RETRY_WAIT, DISK)
    site.sealer.close()


@pytest.mark.parametrize("made", [True, False])
def test_who_lacks_room_is_not_deferred_before_a_result_that_makes_some_is_published(made):
    assignment = Assignment.__new__(Assignment)
    board, lacking = Mock(), StemdError("STEMD-R004", "no room")
    vars(assignment).update(
        _board=board, _pool=Mock(), _quotas=Mock(to_start=lambda live: Admit()), _scaling=Mock(),
        _runs=Mock(has_made=made), missing=lambda live, job: lacking,
    )  # fmt: skip
    assignment._turn(Mock(), Mock())
    assert board.defer.called is not made
    assert not assignment._runs.start.called
