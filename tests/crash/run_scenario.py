"""One crash scenario in a process of its own, to be watched from outside: ``run_scenario ROOT ARRIVAL SCENARIO``.

Each step of the protocol is marked for the trace. ``SCENARIO@STEP`` ends the scenario after that step, as a kill of the
daemon does, ``SCENARIO@STEP+N`` where it would flush something for the N-th time after it; both go on with a restart.
Read from the environment:

- ``STEMD_TEST_SETTINGS``: settings as JSON, such as ``{"defaults.source": "delete"}``;
- ``STEMD_TEST_WITHOUT``: ``FUNCTION:GLOB`` (several with commas), flushes that are left out, as a broken stemd would:
  those called (however indirectly) from that function, of files and folders whose path in the spool matches.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from stemd.core.errors import StemdError
from stemd.spool import steps
from stemd.spool.layout import Spool
from tests.crash import scenarios
from tests.crash.trace import MARKS


def mark(name: str) -> None:
    """Leave a word in the trace."""
    os.access(f"{MARKS}{name}", os.F_OK)


def leave_out(root: Path, what: str) -> set[str]:
    """Make the flushes that ``what`` names do nothing; returns the rules that have not met any, so far."""
    unmet = {rule for rule in what.split(",") if rule}
    rules = [(rule, *rule.split(":", 1)) for rule in unmet]
    really = os.fsync

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        callers = set(_functions(sys._getframe(1)))
        met = {rule for rule, function, glob in rules if function in callers and path.match(f"{root}/{glob}")}
        unmet.difference_update(met)
        if not met:
            really(descriptor)

    os.fsync = fsync
    return unmet


def _functions(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        yield frame.f_code.co_name
        frame = frame.f_back


class Killed(BaseException):
    """Nothing in stemd stops this one."""


def kill_at(last: str) -> None:
    """Mark each step, and end the scenario at the place named ``last``."""
    step, _, flushes = last.partition("+")

    def hook(name: str) -> None:
        mark(name)
        if name == step:
            steps.install(mark)
            if not flushes:
                raise Killed
            kill_at_flush(int(flushes))

    steps.install(hook)


def kill_at_flush(number: int) -> None:
    really, left = os.fsync, iter(range(number - 1, -1, -1))

    def fsync(descriptor: int) -> None:
        if next(left) == 0:
            os.fsync = really
            raise Killed
        really(descriptor)

    os.fsync = fsync


def main(root: Path, arrival: str, scenario: str) -> None:
    spool = Spool(root)
    name, _, last = scenario.partition("@")
    scenarios.EXTRA.update(json.loads(os.environ.get("STEMD_TEST_SETTINGS", "{}")))
    getattr(scenarios, arrival)(spool)
    mark("arrived")
    unmet = leave_out(root, os.environ.get("STEMD_TEST_WITHOUT", ""))
    kill_at(last)
    try:
        getattr(scenarios, name)(scenarios.Pipeline(spool))
        if last:
            sys.exit(f"no such step: {last}")
    except (StemdError, Killed):
        mark("restart")
        scenarios.restart(spool)
    mark("end")
    if unmet:
        sys.exit(f"no such flush: {unmet}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
