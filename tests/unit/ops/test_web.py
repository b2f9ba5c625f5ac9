"""The HTTP application and its port, asked as probes, Prometheus and people ask."""

import hashlib
import json
import socket
import time
import urllib.request
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from stemd.core.config import load
from stemd.core.errors import StemdError
from stemd.ops import web
from stemd.ops.health import Health
from stemd.ops.metrics import Metrics
from stemd.ops.view import DaemonView

TOKEN = "correct horse battery staple"


class Site:
    """An application with a view that tests replace."""

    def __init__(self, spool, tmp_path):
        self.spool = spool
        self.config = load(None, {"spool": str(spool.root), "paths.models": str(tmp_path / "models")}, {}).config
        self.view = DaemonView(True, "serving", loop_at=time.monotonic(), jobs={"running": 1, "waiting": 2})
        self.health = Health(self.config, (spool,), tmp_path / "models")
        self.metrics = Metrics(("demucs",))

    def app(self, *, loopback=True, tokens=frozenset()):
        return web.application(lambda: self.view, self.health, self.metrics, loopback=loopback, tokens=tokens)

    def get(self, path, **how):
        return TestClient(self.app(), raise_server_exceptions=False).get(path, **how)


@pytest.fixture
def site(spool, tmp_path):
    return Site(spool, tmp_path)


def test_alive_means_the_loop_turns(site):
    assert (site.get("/livez").status_code, site.get("/livez").text) == (200, "ok\n")
    site.view = replace(site.view, loop_at=time.monotonic() - web.STALL_SECONDS - 1)
    answer = site.get("/livez")
    assert answer.status_code == 503
    assert "stalled" in answer.text


def test_ready_means_recovered_and_taking_jobs(site):
    assert site.get("/readyz").status_code == 200
    site.view = replace(site.view, draining=True, reason="draining")
    assert site.get("/readyz").status_code == 503
    site.view = DaemonView(loop_at=time.monotonic(), reason="recovering")
    answer = site.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "not ready: recovering\n")
    assert site.get("/livez").status_code == 200, "a daemon that recovers is alive"


def test_ready_can_be_asked_for_everything(site):
    answer = site.get("/readyz?verbose")
    assert answer.status_code == 200
    assert answer.json() == site.view.to_dict()


def test_health_is_one_document(site):
    answer = site.get("/health")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    site.view = replace(site.view, ready=False, reason="stopping")
    answer = site.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")


def test_metrics_are_in_prometheus_text(site):
    answer = site.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "# HELP stemd_jobs " in answer.text


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/health", "/metrics"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_changed_from_outside(site, path, method):
    client = TestClient(site.app())
    assert client.request(method, path).status_code == 405


@pytest.mark.parametrize("path", ["/absent", "/../etc/passwd", "/%2e%2e/etc/passwd", "/docs", "/openapi.json"])
def test_there_is_nothing_else(site, path):
    assert site.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/readyz?verbose", "/health", "/metrics", "/absent"])
def test_beyond_loopback_only_a_users_token_opens(site, path):
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    client = TestClient(site.app(loopback=False, tokens=frozenset({digest})))
    refused = [
        {}, {"authorization": ""}, {"authorization": "Bearer"}, {"authorization": f"Basic {TOKEN}"},
        {"authorization": "Bearer wrong"}, {"authorization": f"Bearer {digest}"}, {"authorization": TOKEN},
    ]  # fmt: skip
    for headers in refused:
        answer = client.get(path, headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), headers
        assert "stemd_" not in answer.text
    for scheme in ("Bearer", "bearer"):
        answer = client.get(path, headers={"authorization": f"{scheme} {TOKEN}"})
        assert answer.status_code == (404 if path == "/absent" else 200)


def test_beyond_loopback_without_tokens_nobody_enters(site):
    client = TestClient(site.app(loopback=False))
    assert client.get("/health", headers={"authorization": "Bearer "}).status_code == 401


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_port_is_opened_served_and_closed(site, host):
    if host == "[::1]" and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        port = web.Port(site.app(), web.bind(f"{host}:0"))
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
