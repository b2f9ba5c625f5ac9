"""The port itself, on a real socket."""

import json
import socket
import time
import urllib.request

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
    connection.settimeout(20)
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
        with opener.open(address, timeout=10) as answer:
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


def test_connections_beyond_the_most_are_refused(opened, monkeypatch):
    monkeypatch.setattr(module, "_MOST", 3)
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
            again.settimeout(5)
            again.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            try:
                return again.recv(15) == b"HTTP/1.1 200 OK"
            except ConnectionError:
                return False

    eventually(free, 20, "there is room again")


def test_nonsense_is_answered_and_not_logged(opened, capfd):
    with socket.create_connection(opened) as connection:
        connection.sendall(b"\x16\x03\x01 this is TLS\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 400"
    time.sleep(0.1)
    assert capfd.readouterr() == ("", "")
