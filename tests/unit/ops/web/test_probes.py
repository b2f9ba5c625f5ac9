"""What probes and Prometheus ask, and that nothing can be changed from outside."""

import time
from dataclasses import replace

import pytest

from stemd.ops.view import DaemonView
from stemd.ops.web.answers import HEADERS
from stemd.ops.web.probes import STALL_SECONDS

PATHS = ["/livez", "/readyz", "/readyz?verbose", "/health", "/metrics", "/api/jobs", "/api/jobs/0", "/absent"]


def test_alive_means_the_loop_turns(place):
    assert (place.get("/livez").status_code, place.get("/livez").text) == (200, "ok\n")
    place.view = replace(place.view, loop_at=time.monotonic() - STALL_SECONDS - 1)
    answer = place.get("/livez")
    assert answer.status_code == 503
    assert "stalled" in answer.text


def test_ready_means_recovered_and_taking_jobs(place):
    assert place.get("/readyz").status_code == 200
    place.view = replace(place.view, draining=True, reason="draining")
    assert place.get("/readyz").status_code == 503
    place.view = DaemonView(loop_at=time.monotonic(), reason="recovering")
    answer = place.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "not ready: recovering\n")
    assert place.get("/livez").status_code == 200, "a daemon that recovers is alive"


def test_ready_can_be_asked_for_everything(place):
    answer = place.get("/readyz?verbose")
    assert answer.status_code == 200
    assert answer.json() == place.view.to_dict()


def test_health_is_one_document(place):
    answer = place.get("/health")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    place.view = replace(place.view, ready=False, reason="stopping")
    answer = place.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")


def test_metrics_are_in_prometheus_text(place):
    answer = place.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "# HELP stemd_jobs " in answer.text


@pytest.mark.parametrize("path", PATHS[:-1])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_changed_from_outside(place, path, method):
    answer = place.client().request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("path", PATHS[:-1])
def test_head_and_options_say_what_there_is_and_no_more(place, path):
    head = place.client().head(path)
    assert (head.status_code, head.content) == (place.get(path).status_code, b"")
    options = place.client().options(path, headers={"origin": "https://evil.example"})
    assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    assert not [name for name in options.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/absent", "/../etc/passwd", "/%2e%2e/etc/passwd", "/docs", "/livez/"])
def test_there_is_nothing_else(place, path):
    answer = place.get(path)
    assert (answer.status_code, answer.text) == (404, "there is nothing here\n")
    assert "etc" not in answer.text


def test_errors_come_in_the_form_that_was_asked_for(place):
    assert place.get("/absent", headers={"accept": "application/json"}).json()["error"]["status"] == 404
    assert place.get("/api/absent").json()["error"]["message"] == "there is nothing here"
    assert place.client().post("/api/jobs").json()["error"]["status"] == 405


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_the_strict_headers(place, path):
    for answer in (place.get(path), place.client(local=False).get(path), place.client().post(path)):
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS


def test_our_own_mistakes_are_logged_and_not_shown(place, capsys):
    place.health.document = None
    answer = place.get("/health")
    assert answer.status_code == 500
    assert "NoneType" not in answer.text
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "http_crashed" in line]
    assert "NoneType" in line
