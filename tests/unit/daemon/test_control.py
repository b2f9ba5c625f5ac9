"""The control socket: who may speak, and that nothing that is said can end the daemon."""

import json
import os
import selectors
import socket
import threading
import time
from contextlib import ExitStack
from functools import partial
from unittest.mock import Mock

import pytest
from structlog.testing import capture_logs

from stemd.core.access import Person, by_uid
from stemd.core.config import load
from stemd.core.errors import StemdError
from stemd.daemon import control
from stemd.daemon.chronicle import Chronicle
from stemd.daemon.control import ControlServer
from stemd.daemon.desk import Desk
from stemd.ops import asking
from stemd.spool import trail
from stemd.spool.books import Books
from stemd.spool.trail import Trail
from tests.support.daemon import eventually
from tests.support.system import NOBODY, in_child, needs_root


class Server:
    """A control server on a thread with a selector of its own."""

    def __init__(self, config, answer):
        self.config, self.heard, self.failure = config, [], None
        self.person = None
        self._selector, self._answer = selectors.DefaultSelector(), answer
        self._server = ControlServer(config, self._selector, self._hear, partial(by_uid, config, own=os.getuid()))
        self._stop = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def path(self):
        return control.socket_path(self.config)

    @property
    def callers(self):
        return self._server._callers

    def _hear(self, message, person):
        self.heard.append(message)
        self.person = person
        return self._answer(message)

    def _serve(self):
        try:
            while not self._stop:
                for key, _ in self._selector.select(0.05):
                    key.data()
                self._server.trim(time.monotonic())
        except BaseException as error:
            self.failure = error

    def close(self):
        self._stop = True
        self._thread.join()
        self._server.close()

    def connected(self, said=b""):
        """A connection on which only so much has been said."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(120)
        with asking.short(self.path) as path:
            connection.connect(path)
        connection.sendall(said)
        return connection

    def send(self, data):
        """Raw bytes in, what comes back out."""
        with socket.socket(socket.AF_UNIX) as connection, asking.short(self.path) as path:
            connection.settimeout(120)
            connection.connect(path)
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65_536), b""))


@pytest.fixture
def config(public_path, spool):
    return load(None, {"spool": str(spool.root), "paths.run": str(public_path / "run")}, {}).config


@pytest.fixture
def server(config):
    def answer(message):
        match message:
            case {"op": "refuse"}:
                raise StemdError("STEMD-S016", "not now", remedy="Later.")
            case {"op": "break"}:
                raise PermissionError(13, "Permission denied", "/somewhere")
            case {"op": "bug"}:
                raise KeyError("nobody expected this")
        return {"state": "ok", "got": message}

    server = Server(config, answer)
    yield server
    server.close()
    assert server.failure is None, f"the daemon's loop would have ended: {server.failure!r}"


def test_a_question_gets_its_answer(server, config):
    assert control.request(config, {"op": "state", "job": "Ø"}) == {"state": "ok", "got": {"op": "state", "job": "Ø"}}


def test_a_refusal_arrives_as_itself(server, config):
    with pytest.raises(StemdError, match="not now") as caught:
        control.request(config, {"op": "refuse"})
    assert (caught.value.code, caught.value.remedy) == ("STEMD-S016", "Later.")


@pytest.mark.parametrize("op", ["break", "bug"])
def test_what_goes_wrong_while_answering_is_told_and_ends_nothing(server, config, op):
    with capture_logs() as told, pytest.raises(StemdError) as caught:
        control.request(config, {"op": op})
    assert [line["event"] for line in told] == ["control_crashed"]
    assert caught.value.code != "STEMD-S017", "the daemon is running: it must not be said that none is"
    assert control.request(config, {"op": "state"})["state"] == "ok"


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"{\n", b"5\n", b"[1]\n", b"null\n", b"\xff\n", b"x" * 100, b"[" * 50_000]
)
def test_garbage_is_answered_and_ends_nothing(server, config, data):
    answer = json.loads(server.send(data))
    assert answer["ok"] is False
    assert control.request(config, {"op": "state"})["state"] == "ok"


def test_who_hangs_up_ends_nothing(server, config):
    with capture_logs() as told:
        for _ in range(5):
            with socket.socket(socket.AF_UNIX) as connection, asking.short(server.path) as path:
                connection.connect(path)
        assert control.request(config, {"op": "state"})["state"] == "ok"
    assert {line["event"] for line in told} == {"control_connection_failed"}


def test_nobody_who_is_slow_to_say_it_keeps_the_others_waiting(server, config, monkeypatch):
    """One byte now and then, on as many connections as one likes: the loop goes on, and their time is over some day."""
    monkeypatch.setattr(control, "PATIENCE", 3600.0)
    with ExitStack() as open_ones:
        slow = [open_ones.enter_context(server.connected(b'{"op"')) for _ in range(control.MOST_CALLERS)]
        eventually(lambda: len(server.callers) == control.MOST_CALLERS, 10)
        assert control.request(config, {"op": "state"})["state"] == "ok"
        assert slow[0].recv(1) == b"", "one user has so many connections: the oldest made room"
        slow[1].sendall(b': "late"}\n')
        assert json.loads(slow[1].recv(65_536))["got"] == {"op": "late"}
        for caller in list(server.callers):
            caller.until = 0.0
        assert slow[2].recv(1) == b""
    eventually(lambda: not server.callers, 10)


def test_nobody_who_does_not_take_the_answer_keeps_the_others_waiting(config):
    big = "x" * (4 << 20)
    server = Server(config, lambda message: {"state": "ok", "much": big if message["op"] == "much" else ""})
    try:
        with server.connected(b'{"op": "much"}\n') as slow:
            assert control.request(config, {"op": "state"})["state"] == "ok"
            eventually(lambda: len(server.callers) == 1, 10)
            caller = server.callers[0]
            assert caller.reply and caller.until < time.monotonic() + control.PATIENCE
            whole = b"".join(iter(lambda: slow.recv(65_536), b""))
        assert json.loads(whole)["much"] == big
    finally:
        server.close()
    assert server.failure is None


def test_a_stranger_who_knocks_and_knocks_is_told_of_once(tmp_path):
    books = Books(tmp_path / "books-0")
    desk = Desk(Mock(), Mock(), Chronicle(Trail(books)))

    def known(uid):
        raise StemdError("STEMD-P003")

    for uid in [7, 7, 8, 7, *range(1000, 2000)]:
        with pytest.raises(StemdError):
            desk.who(known, uid)
    told = [record["uid"] for record in trail.records(books) if record["event"] == "refused"]
    assert told == [7, 8, *range(1000, 1098)]


def test_without_a_daemon_it_says_so(config):
    with pytest.raises(StemdError) as caught:
        control.request(config, {"op": "state"})
    assert caught.value.code == "STEMD-S017"


def test_a_socket_left_behind_is_no_daemon_and_no_obstacle(config):
    first = ControlServer(
        config, selectors.DefaultSelector(), lambda message, person: {}, partial(by_uid, config, own=0)
    )
    first._socket.close()
    with pytest.raises(StemdError) as caught:
        control.request(config, {"op": "state"})
    assert caught.value.code == "STEMD-S017"
    server = Server(config, lambda _: {"state": "ok"})
    try:
        assert control.request(config, {"op": "state"}) == {"state": "ok"}
    finally:
        server.close()
    assert not server.path.exists()


def test_the_socket_is_for_owner_and_group_only(server):
    assert server.path.stat().st_mode & 0o777 == 0o660
    assert server.path.parent.stat().st_mode & 0o007 == 0


def test_a_deep_folder_is_no_obstacle(tmp_path, spool):
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    server = Server(
        load(None, {"spool": str(spool.root), "paths.run": str(deep)}, {}).config, lambda _: {"state": "ok"}
    )
    try:
        assert control.request(server.config, {"op": "state"}) == {"state": "ok"}
    finally:
        server.close()


def test_two_spools_with_one_run_folder_do_not_share_a_socket(tmp_path):
    def on(name):
        (tmp_path / name).mkdir()
        return load(None, {"spool": str(tmp_path / name), "paths.run": str(tmp_path / "run")}, {}).config

    one, two = Server(on("one"), lambda _: {"state": "one"}), Server(on("two"), lambda _: {"state": "two"})
    try:
        assert control.request(one.config, {}) == {"state": "one"}
        assert control.request(two.config, {}) == {"state": "two"}
    finally:
        one.close()
        two.close()


@needs_root
def test_a_stranger_is_refused_and_not_heard(server, config):
    server.path.parent.chmod(0o755)
    server.path.chmod(0o666)
    for _ in range(3):
        with pytest.raises(StemdError) as caught:
            in_child(lambda: control.request(config, {"op": "drain"}), uid=NOBODY)
        assert caught.value.code == "STEMD-P003"
    assert server.heard == []


@needs_root
def test_who_may_not_even_connect_is_not_told_that_nobody_is_there(server, config):
    with pytest.raises(StemdError) as caught:
        in_child(lambda: control.request(config, {"op": "drain"}), uid=NOBODY)
    assert caught.value.code == "STEMD-P003"


@needs_root
def test_a_configured_user_is_heard_as_himself(public_path, spool):
    settings = {"spool": str(spool.root), "paths.run": str(public_path / "run"), "users": {"ana": {"uid": 54_321}}}
    server = Server(load(None, settings, {}).config, lambda _: {"state": "ok"})
    server.path.parent.chmod(0o755)
    server.path.chmod(0o666)
    try:
        in_child(lambda: control.request(server.config, {"op": "state"}), uid=54_321)
        assert server.person == Person("ana", "user")
        control.request(server.config, {"op": "state"})
        assert server.person == Person(None, "admin")
    finally:
        server.close()
