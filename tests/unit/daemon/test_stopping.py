"""An ordered end: what the orders change, and that one which comes at a bad moment is heard."""

import subprocess
import sys
from types import SimpleNamespace
from unittest.mock import Mock

from stemd.daemon.stopping import Stopping
from tests.support.daemon import Daemon

#: Sends the order as soon as somebody outside could: the port is open, and nothing behind it is there yet.
_EARLY = """
import os, signal, sys
from stemd.cli.main import main
from stemd.daemon.service import Service
opened = Service._open_port
def open_port(self, stack):
    opened(self, stack)
    os.kill(os.getpid(), signal.SIGTERM)
Service._open_port = open_port
main(sys.argv[1:])
"""


def dispatcher(running=()):
    return SimpleNamespace(
        draining=False, runs=Mock(), pool=Mock(workers=["one", "two"]), board=Mock(in_state=lambda state: list(running))
    )


def test_an_order_before_the_daemon_is_ready_ends_it_cleanly(tmp_path):
    daemon = Daemon(tmp_path, defaults={"engine": "stub", "model": "stub"})
    with daemon.log.open("wb") as log:
        command = [sys.executable, "-c", _EARLY, "run", "-c", str(daemon.config)]
        assert subprocess.run(command, stdout=log, stderr=log, timeout=300, check=False).returncode == 0
    assert len(daemon.events("stopped")) == 1


def test_nothing_new_is_started_whatever_is_asked_for_afterwards():
    stopping, it = Stopping(), dispatcher(["job"])
    assert not stopping.ordered
    stopping.order(3600.0)
    assert stopping.ordered and not stopping.done(it) and it.draining
    it.draining = False
    assert not stopping.done(it) and it.draining
    assert not it.pool.kill.called and not it.runs.interrupt.called


def test_an_idle_daemon_does_not_wait_for_the_drain():
    stopping = Stopping()
    stopping.order(3600.0)
    assert stopping.done(dispatcher())


def test_who_orders_the_end_twice_does_not_wait_for_the_drain():
    stopping, it = Stopping(), dispatcher(["job"])
    stopping.order(3600.0)
    stopping.order(3600.0)
    assert not stopping.done(it) and not stopping.done(it)
    assert [call.args[0] for call in it.pool.kill.call_args_list] == ["one", "two"], "once each"
    assert [call.args[0] for call in it.runs.interrupt.call_args_list] == ["job"]
