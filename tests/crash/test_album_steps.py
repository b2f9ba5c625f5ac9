"""A crash after every step in the life of an album, then recovery, then the invariants."""

from __future__ import annotations

import pytest

from tests.crash.albums import BACK, BAD, COVER, LITTER, drop_album, given_up, life, restart, wrong
from tests.crash.scenarios import EXTRA, SOURCE
from tests.crash.test_states import place
from tests.crash.test_steps import run_until
from tests.support.spools import make_spool, violations

__all__ = ["place"]


@pytest.mark.parametrize("keep", ["keep", "delete"])
@pytest.mark.parametrize("scenario", [life, given_up])
def test_a_crash_after_any_step_loses_nothing_and_the_album_is_completed(place, monkeypatch, scenario, keep):
    monkeypatch.setitem(EXTRA, "defaults.source", keep)
    sources = [BAD, COVER, BACK, LITTER, *([SOURCE] if keep == "keep" else [])]
    step = 0
    while True:
        step += 1
        spool = make_spool(place / str(step))
        drop_album(spool)
        ended = run_until(step, scenario, spool)
        assert violations(spool, sources, idle=False) == [], f"right after step {step}"
        restart(spool)
        assert wrong(spool, keep=keep == "keep") == [], f"crash after step {step}"
        restart(spool)
        assert wrong(spool, keep=keep == "keep") == [], f"crash after step {step}, started again for nothing"
        if ended == "end":
            break
    assert step > 40


def test_recovery_crashing_at_any_step_is_recovered_too(place):
    for first in range(3, 46, 3):
        for second in range(1, 100, 2):
            spool = make_spool(place / f"{first}-{second}")
            drop_album(spool)
            run_until(first, life, spool)
            ended = run_until(second, lambda pipeline: restart(pipeline.spool), spool)
            restart(spool)
            assert wrong(spool) == [], f"crash after {first}, then after {second} of recovery"
            if ended == "end":
                break
