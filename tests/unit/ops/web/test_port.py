"""The port itself, on a real socket."""

import json
import socket
import threading
import time
import urllib.request
from types import SimpleNamespace

import pytest

from stemd.core.errors import StemdError
from stemd.ops import web
from stemd.ops.web import port as module
from tests.support.daemon import eventually


@pytest.fixture
def opened(place):
    """A port on loopback, and its address as host and number."""
    port = web.Port(place.client().app, web.bind("127.0.0.1:0"))
    port.start()
    host, _, number = port.address.rpartition(":")
    yield host, int(number)
    port.stop()


def ended(connection: socket.socket) -> bool:
    connection.settimeout(120)
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_port_is_opened_served_and_closed(place, host):
    if host == "[::1]" and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        port = web.Port(place.client().app, web.bind(f"{host}:0"))
    except StemdError as error:
        pytest.skip(f"no loopback address {host} here: {error}")
    port.start()
    address = f"http://{port.address}/health"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=120) as answer:
            assert json.loads(answer.read())["status"] == "ok"
            assert answer.headers["server"] is None
    finally:
        port.stop()
    with pytest.raises(OSError, match="refused"):
        opener.open(address, timeout=2)


def test_a_port_that_is_taken_is_told_with_its_address():
    with socket.create_server(("127.0.0.1", 0)) as holder:
        listen = f"127.0.0.1:{holder.getsockname()[1]}"
        with pytest.raises(StemdError, match=listen) as caught:
            web.bind(listen)
    assert caught.value.code == "STEMD-C004"


def test_an_address_that_is_not_ours_is_told_the_same_way():
    with pytest.raises(StemdError) as caught:
        web.bind("192.0.2.1:9814")
    assert caught.value.code == "STEMD-C004"


@pytest.mark.parametrize(
    "said", [b"", b"GET /livez HTTP/1.1\r\nHost: ", b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nGET /"]
)
def test_who_never_ends_a_request_is_let_go(opened, said, monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE", 0.3)
    with socket.create_connection(opened) as connection:
        connection.sendall(said)
        if said.endswith(b"GET /"):
            eventually(lambda: b"ok" in connection.recv(4096), 20, "the first request is answered")
        assert ended(connection)


def test_connections_beyond_the_most_are_refused_while_all_others_are_busy(opened, monkeypatch):
    monkeypatch.setattr(module, "_MOST", 3)
    monkeypatch.setattr(module, "_STILL", 1000.0)
    held = [socket.create_connection(opened) for _ in range(3)]
    for each in held:
        each.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert each.recv(15) == b"HTTP/1.1 200 OK"
    with socket.create_connection(opened) as another:
        assert ended(another)
    for each in held:
        each.close()

    def free() -> bool:
        with socket.create_connection(opened) as again:
            again.settimeout(120)
            again.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            try:
                return again.recv(15) == b"HTTP/1.1 200 OK"
            except ConnectionError:
                return False

    eventually(free, 20, "there is room again")


def test_who_stands_still_makes_room(opened, monkeypatch):
    monkeypatch.setattr(module, "_MOST", 3)
    monkeypatch.setattr(module, "_STILL", 0.0)
    held = [socket.create_connection(opened) for _ in range(3)]
    with socket.create_connection(opened) as probe:
        probe.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert probe.recv(15) == b"HTTP/1.1 200 OK"
        assert ended(held[0]), "it came first and has asked for nothing"
    for each in held:
        each.close()


def test_who_stops_reading_is_let_go(place, monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE", 0.3)
    monkeypatch.setattr(module, "_UNREAD", 1.0)
    job, size = place.done(), 64 << 20
    with (place.folder(job) / "drums.flac").open("r+b") as file:
        file.truncate(size)
    port = web.Port(place.client().app, web.bind("127.0.0.1:0"))
    port.start()
    host, _, number = port.address.rpartition(":")
    with socket.create_connection((host, int(number))) as reader:
        reader.sendall(f"GET /jobs/{job}/files/drums.flac HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert reader.recv(15) == b"HTTP/1.1 200 OK"
        eventually(lambda: not port._server.server_state.connections, 30, "it is let go")
        got = 0
        while block := reader.recv(1 << 20):
            got += len(block)
        assert got < size
    port.stop()


class Unread:
    """A connection with an answer of which so much is unsent."""

    def __init__(self):
        self.unsent, self.aborted = 0, False
        self.connection = module._Connection.__new__(module._Connection)
        self.connection.transport = self
        self.connection.cycle = SimpleNamespace(response_complete=False)
        self.connection._look_later = lambda: None

    def get_write_buffer_size(self):
        return self.unsent

    def abort(self):
        self.aborted = True


def test_who_reads_slowly_is_not_let_go(monkeypatch):
    unread, clock = Unread(), SimpleNamespace(now=0.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    for unread.unsent in range(300_000, 100_000, -1000):
        clock.now += module._UNREAD - 1
        unread.connection._look()
        assert not unread.aborted
    clock.now += module._UNREAD - 1
    unread.connection._look()
    assert unread.connection.still(clock.now) == module._UNREAD - 1
    assert not unread.aborted
    clock.now += 2
    unread.connection._look()
    assert unread.aborted


def test_a_connection_that_asks_now_and_then_is_kept(monkeypatch):
    """Between its requests it is seen idle each time."""
    asked, clock = Unread(), SimpleNamespace(now=0.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    for _ in range(10):
        asked.connection.cycle = SimpleNamespace(response_complete=True)
        clock.now += module._PATIENCE - 1
        asked.connection._look()
    assert not asked.aborted
    clock.now += module._PATIENCE + 1
    asked.connection._look()
    assert asked.aborted


def test_probes_wait_for_no_slow_disk(place, opened):
    gate, inside = threading.Event(), []
    place.health.document = lambda view: (inside.append(1), gate.wait(60), {"status": "ok"})[-1]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    address = f"http://{opened[0]}:{opened[1]}"

    def ask(path: str) -> int:
        with opener.open(address + path, timeout=120) as answer:
            return answer.status

    askers = [threading.Thread(target=ask, args=("/health",)) for _ in range(module._THREADS + 1)]
    try:
        for each in askers:
            each.start()
        eventually(lambda: len(inside) == module._THREADS, 20, "all threads are taken")
        for path in ("/livez", "/readyz", "/readyz?verbose", "/metrics"):
            assert ask(path) == 200
        assert len(inside) == module._THREADS, "they still are"
    finally:
        gate.set()
        for each in askers:
            each.join(30)


def test_nonsense_is_answered_and_not_logged(opened, capfd):
    with socket.create_connection(opened) as connection:
        connection.sendall(b"\x16\x03\x01 this is TLS\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 400"
    time.sleep(0.1)
    assert capfd.readouterr() == ("", "")
