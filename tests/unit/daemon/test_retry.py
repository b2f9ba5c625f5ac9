"""After a failure: never again, again later, or wait; per class of the closed list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemd.core.errors import NEVER_RETRIED, TABLE, ErrorClass, StemdError
from stemd.daemon import retry
from stemd.daemon.retry import Again, Defer, GiveUp
from stemd.spool.attempts import MAX_INTERRUPTIONS, Count

POLICY = {"tries": 5, "base": 30.0, "cap": 3600.0}
_ONE_OF_EACH = {row.error_class: row.code for row in TABLE.values()}

#: CONTRACT §4: how often a job of a class is started in all.
STARTS = {
    ErrorClass.DECODE: 1,
    ErrorClass.UNSUPPORTED: 1,
    ErrorClass.INVALID_JOB: 1,
    ErrorClass.PERMISSION: 1,
    ErrorClass.QUOTA: 1,
    ErrorClass.VANISHED: 1,
    ErrorClass.CANCELLED: 1,
    ErrorClass.INTERNAL: 2,
    ErrorClass.OOM: 5,
    ErrorClass.TIMEOUT: 5,
    ErrorClass.ENGINE_CRASH: 5,
    ErrorClass.DISK_FULL: 5,
    ErrorClass.IO_ERROR: 5,
    ErrorClass.ABANDONED: 5,
}


def count(attempts, interruptions=0):
    return Count(attempts, interruptions, attempts + interruptions, ())


def decide(code, attempts, **policy):
    return retry.after_failure(StemdError(code), count(attempts), **{**POLICY, **policy})


def test_the_table_of_this_test_is_whole():
    assert STARTS.keys() | {ErrorClass.MODEL_MISSING} == set(ErrorClass)


@pytest.mark.parametrize(
    ("code", "starts"), [(_ONE_OF_EACH[kind], starts) for kind, starts in STARTS.items() if kind in _ONE_OF_EACH]
)
def test_each_class_is_started_as_often_as_the_contract_says(code, starts):
    for attempts in range(1, starts):
        assert isinstance(decide(code, attempts), Again), f"attempt {attempts} of {starts}"
    last = decide(code, starts)
    assert isinstance(last, GiveUp)
    assert last.error.code == code


def test_a_missing_model_is_waited_for_however_often_it_is_missed():
    for attempts in (1, 5, 500):
        assert decide("STEMD-M001", attempts) == Defer()


def test_our_own_bugs_get_one_more_chance_and_never_more_than_the_tries():
    assert isinstance(decide("STEMD-X001", 1), Again)
    assert isinstance(decide("STEMD-X001", 2), GiveUp)
    assert isinstance(decide("STEMD-X001", 1, tries=1), GiveUp)


@pytest.mark.parametrize("row", TABLE.values(), ids=lambda row: row.code)
def test_retryable_says_what_is_done(row):
    first = decide(row.code, 1)
    assert isinstance(first, GiveUp) is (row.error_class in NEVER_RETRIED)
    assert row.retryable is not isinstance(first, GiveUp)


@given(st.integers(1, 10_000), st.floats(0.001, 3600), st.floats(0.001, 86_400), st.floats(0, 1, exclude_max=True))
def test_the_wait_is_between_nothing_and_the_cap(attempt, base, cap, jitter):
    delay = retry.backoff(attempt, base, cap, jitter)
    assert 0 <= delay <= cap
    assert delay <= base * 2.0 ** min(attempt - 1, 60)


@given(st.floats(0, 1, exclude_max=True))
def test_the_bound_doubles_until_the_cap(jitter):
    bounds = [retry.backoff(attempt, 30, 3600, jitter) for attempt in range(1, 12)]
    assert bounds[:7] == [jitter * 30 * 2**step for step in range(7)]
    assert bounds[7:] == [jitter * 3600] * 4


def test_the_jitter_is_full():
    delays = [decide("STEMD-S014", 3).delay for _ in range(500)]
    assert 0 <= min(delays) < 20
    assert 100 < max(delays) < 120


def test_interruptions_have_a_generous_cap_of_their_own():
    assert retry.after_interruption(count(0, 0)) is None
    assert retry.after_interruption(count(4, MAX_INTERRUPTIONS)) is None
    verdict = retry.after_interruption(count(0, MAX_INTERRUPTIONS + 1))
    assert verdict.error.code == "STEMD-E007"
    assert str(MAX_INTERRUPTIONS + 1) in verdict.error.message
