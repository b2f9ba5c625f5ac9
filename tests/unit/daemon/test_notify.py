"""What the service manager hears, on a real socket, and the socket it hands over."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest

from stemd.daemon import notify
from stemd.daemon.notify import ServiceManager
from tests.support.audio import write_wav
from tests.support.daemon import Daemon, eventually

#: Does what systemd does for a socket unit: listening sockets are descriptors 3, 4 …; the variables name this process.
_HAND_OVER = """
import os, sys
sockets = [os.dup(int(number)) for number in sys.argv[1].split(",")]
far = [os.dup2(number, 50 + place) for place, number in enumerate(sockets)]
for place, number in enumerate(far):
    os.dup2(number, 3 + place)
pid = os.environ.get("FOR", str(os.getpid()))
os.environ.update(LISTEN_PID=pid, LISTEN_FDS=str(len(far)), LISTEN_FDNAMES="stemd.socket")
for number in far:
    os.close(number)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""

_TELL = """
import os
from stemd.daemon.notify import handed_over
print([(each.getsockname()[1], each.get_inheritable()) for each in handed_over()], "LISTEN_FDS" in os.environ)
"""


@pytest.fixture
def heard(tmp_path, monkeypatch):
    """A service manager: returns what it was told since it was asked last."""
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.setblocking(False)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

    def listen():
        words = []
        while True:
            try:
                words.append(manager.recv(4096).decode())
            except BlockingIOError:
                return words

    yield listen
    manager.close()


def test_words_are_those_of_the_protocol(heard):
    manager = ServiceManager()
    manager.ready()
    manager.status("1 running, 2 waiting")
    manager.extend(1.5)
    manager.stopping()
    assert heard() == ["READY=1", "STATUS=1 running, 2 waiting", "EXTEND_TIMEOUT_USEC=1500000", "STOPPING=1"]


def test_a_reload_tells_its_time_on_the_managers_clock(heard):
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    ServiceManager().reloading()
    (message,) = heard()
    first, second = message.split("\n")
    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_the_watchdog_is_pinged_a_few_times_per_interval(heard, monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(notify, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setenv("WATCHDOG_USEC", str(3_000_000))
    manager = ServiceManager()
    for _ in range(100):
        clock.now += 0.009
        manager.alive()
    assert heard() == ["WATCHDOG=1"]
    clock.now += 0.2
    manager.alive()
    assert heard() == ["WATCHDOG=1"]


def test_without_a_watchdog_there_are_no_pings(heard, monkeypatch):
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    ServiceManager().alive()
    assert heard() == []


def test_without_a_manager_nothing_happens(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    ServiceManager().ready()


def hand_over(listening, *arguments, **more):
    numbers = [each.fileno() for each in listening]
    command = [sys.executable, "-c", _HAND_OVER, ",".join(map(str, numbers)), *arguments]
    return subprocess.Popen(
        command, pass_fds=numbers, env={**os.environ, **more},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@pytest.fixture
def two():
    """Two listening sockets, and their ports."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        yield [one, other], [each.getsockname()[1] for each in (one, other)]


def test_sockets_that_are_handed_over_are_taken_once_and_not_passed_on(two):
    sockets, (one, other) = two
    said = hand_over(sockets, "-c", _TELL).communicate(timeout=300)[0]
    assert said == f"[({one}, False), ({other}, False)] False\n"
    assert hand_over(sockets[:1], "-c", _TELL).communicate(timeout=300)[0] == f"[({one}, False)] False\n"


def test_a_socket_for_another_process_is_left_alone(two):
    assert hand_over(two[0], "-c", _TELL, FOR="1").communicate(timeout=300)[0] == "[] False\n"


def test_the_daemon_serves_on_all_sockets_it_is_given(tmp_path, two):
    daemon = Daemon(tmp_path, defaults={"engine": "stub", "model": "stub"}, http={"listen": None})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    sockets, ports = two
    process = hand_over(sockets, "-m", "stemd", "run", "-c", str(daemon.config))
    try:
        for port in ports:  # who asks waits in the socket's queue until the daemon serves
            with opener.open(f"http://127.0.0.1:{port}/livez", timeout=60) as answer:
                assert answer.read() == b"ok\n"
    finally:
        process.terminate()
        output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    assert all(f'"address": "127.0.0.1:{port}"' in output for port in ports)


def test_one_socket_that_others_can_reach_and_every_request_needs_a_token(tmp_path):
    settings = {"users": {"ana": {"token_sha256": "0" * 64}}}
    daemon = Daemon(tmp_path, defaults={"engine": "stub", "model": "stub"}, http={"listen": None}, **settings)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with socket.create_server(("127.0.0.1", 0)) as near, socket.create_server(("0.0.0.0", 0)) as far:
        process = hand_over([near, far], "-m", "stemd", "run", "-c", str(daemon.config))
        try:
            with pytest.raises(urllib.error.HTTPError, match="401"):
                opener.open(f"http://127.0.0.1:{near.getsockname()[1]}/health", timeout=60)
        finally:
            process.terminate()
            process.communicate(timeout=300)


def test_a_long_drain_asks_for_time(tmp_path, heard):
    slow = {"engine": "stub", "model": "stub", "options": {"pace": 0.3}}
    inboxes = {"slow": slow}
    with Daemon(tmp_path, defaults={"engine": "stub"}, inboxes=inboxes, shutdown={"drain": "1h"}) as daemon:
        assert "READY=1" in heard()
        daemon.drop(write_wav(tmp_path / "song.wav", seconds=15.0), "slow/song.wav")
        eventually(daemon.running, what="the job runs")
        heard()
        daemon.process.terminate()
        words = []

        def ended():
            words.extend(heard())  # its queue is short, and who finds it full waits
            return daemon.process.poll() is not None

        eventually(ended, what="it ends")
        assert daemon.process.returncode == 0
        words += heard()
    assert daemon.results().keys() == {"song"}, "it was let finish"
    extended = words.index("EXTEND_TIMEOUT_USEC=30000000")
    assert extended < words.index("STOPPING=1")
