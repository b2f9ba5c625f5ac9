"""The pages: what they say, to whom, and that everything in them is text."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from stemd.core.autoscale import Reason
from stemd.core.job import new_job_id
from stemd.ops.jobs import JobView
from stemd.ops.view import DaemonView
from stemd.ops.web.front import sentence
from stemd.ops.web.machine import REASONS
from tests.unit.ops.web.conftest import token

HTML = {"accept": "text/html"}
HOSTILE = '<img src=x onerror="alert(1)">\u202egnp'


class Outline(HTMLParser):
    """Elements and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page(client, path: str) -> Outline:
    answer = client.get(path, headers=HTML)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return Outline(answer.text)


def job(state: str) -> JobView:
    return JobView("/spool", new_job_id(), state)


@pytest.mark.parametrize(
    ("view", "states", "said"),
    [
        (DaemonView(reason="recovering"), [], ("stemd is not ready: it is recovering.", "bad")),
        (DaemonView(True), [], ("All is well: stemd is idle, nothing waits.", "good")),
        (DaemonView(True), ["done"], ("All is well: stemd is idle, nothing waits.", "good")),
        (DaemonView(True), ["running", "waiting", "held"], ("stemd is at work: 1 running, 2 waiting.", "good")),
        (DaemonView(True), ["running", "failed"], ("stemd is at work: 1 running, 1 failed.", "attention")),
        (DaemonView(True), ["failed"], ("stemd is idle; 1 failed.", "attention")),
        (
            DaemonView(True, draining=True),
            ["running"],
            ("stemd takes no new jobs: it is draining (1 running).", "attention"),
        ),
    ],
)
def test_the_state_in_one_sentence(view, states, said):
    assert sentence(view, [job(state) for state in states]) == said


def test_the_front_page_tells_what_runs_waits_and_failed(place):
    failed = place.failed("ana", "broken")
    place.job(
        "bo", "deferred", title="later", reason={"code": "STEMD-M001", "message": "no weights", "remedy": "Fetch."}
    )
    place.done("ana", "fine")
    found = page(place.client(), "/")
    assert found.all("html") == [{"lang": "en"}]
    for text in (
        "no audio in it",
        "Send audio.",
        f"stemd retry {failed}",
        "STEMD-M001",
        "Fetch.",
        "fine",
        "Memory",
        "Disk",
    ):
        assert text in found.text, text
    assert f"/jobs/{failed}" in [link.get("href") for link in found.all("a")]
    assert len(found.all("caption")) == len(found.all("table")) >= 5
    ids = [attributes["id"] for _, attributes in found.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))


def test_the_machine_tells_of_limits_and_of_how_many_workers_there_should_be(place):
    limits = {"memory": 6 << 30, "cpu": 1.5, "disk": None, "time": 14_400.0, "pids": 256}
    usage = {"memory": 300 << 20, "cores": 0.94, "disk": 12 << 20, "tasks": 9}
    worker = {"pid": 7, "engine": "demucs", "model": "nano", "state": "busy", "limits": limits, "usage": usage}
    engine = {"engine": "demucs", "workers": 1, "busy": 1, "desired": 2, "reason": "maximum", "jobs": 3}
    change = {"at": "2026-01-01T00:00:00Z", "engine": "demucs", "before": 3, "workers": 2, "reason": "memory"}
    place.view = replace(
        place.view,
        workers=(worker,),
        limits={"by": "cgroup v2", "kernel": ["cpu", "memory"], "group": "/there"},
        scaling={
            "engines": [{**engine, "memory_each": 1 << 30}, {**engine, "engine": "mix", "workers": 0, "desired": 0,
                        "busy": 0, "jobs": 0, "memory_each": 0}],
            "cores": 4, "cores_free": 2, "memory_for_workers": 8 << 30, "memory_committed": 1 << 30, "strained": True,
            "changes": [change],
        },
    )  # fmt: skip
    found = page(place.client(), "/")
    for text in (
        "300 MiB of 6.0 GiB", "0.9 of 1.5", "12 MiB, no limit", "at most 4 h", "9 of 256", "1 (1 busy)",
        "workers.max is reached", "The kernel keeps the limits of cpu, memory (cgroup v2)", "2 of 4 cores are free",
        "1.0 GiB of 8.0 GiB of memory for workers are promised", "under pressure: no worker is added",
        "fewer: 3 → 2", "there is no more memory",
    ):  # fmt: skip
        assert text in found.text, text
    captions = ("Limits in force, and what is used of them", "How many workers there should be",
                "The last changes of these numbers")  # fmt: skip
    assert all(caption in found.text for caption in captions)
    place.view = replace(place.view, workers=(), limits={"by": "sampling", "kernel": [], "reason": "none is ours"})
    assert "itself, every second: there is no control group for it (none is ours)" in page(place.client(), "/").text
    assert "Limits in force" not in page(place.as_("ana"), "/").text


def test_every_reason_for_a_number_of_workers_has_its_words():
    assert set(REASONS) == {reason.value for reason in Reason}


def test_running_jobs_show_how_fast_they_are(place):
    place.job("ana", "running", progress=0.25, eta_seconds=130.0, realtime_factor=3.14, stage="separate")
    with place.owned():
        found = page(place.client(), "/")
    assert "× 3.1" in found.text and "2 min" in found.text
    (bar,) = list(found.all("progress"))
    assert (bar["value"], bar["max"]) == ("25", "100")


@pytest.mark.parametrize("path", ["/", "/jobs", "/jobs/{}"])
def test_names_are_hostile_text(place, path):
    job_id = place.job(
        "ana", "failed", title=HOSTILE, reason={"code": "STEMD-A001", "message": HOSTILE, "remedy": HOSTILE}
    )
    answer = place.client().get(path.format(job_id), headers=HTML)
    found = Outline(answer.text)
    assert found.all("img") == []
    assert "\u202e" not in answer.text
    assert '<img src=x onerror="alert(1)">\\u202egnp' in found.text


@pytest.mark.parametrize("path", ["/", "/jobs", "/jobs/{}", "/sign-in", "/absent"])
def test_pages_need_nothing_inline_and_nobody_else(place, path):
    job_id = place.done()
    client = place.as_("ada") if path != "/sign-in" else place.client(local=False)
    answer = client.get(path.format(job_id), headers=HTML)
    found = Outline(answer.text)
    for _, attributes in found.elements:
        assert not any(name == "style" or name.startswith("on") for name in attributes)
        for name in ("src", "href", "action"):
            assert attributes.get(name, "/").startswith(("/", "#"))
    assert found.all("style") == []
    assert all(script.get("src") for script in found.all("script"))


def test_a_user_sees_his_own_and_nothing_of_the_machine(place):
    ours, theirs = place.failed("ana", "ours"), place.failed("bo", "theirs")
    found = page(place.as_("ana"), "/")
    assert "ours" in found.text and "1 failed" in found.text
    assert "theirs" not in found.text and "Memory" not in found.text and str(place.spool.root) not in found.text
    assert place.as_("ana").get(f"/jobs/{ours}", headers=HTML).status_code == 200
    assert place.as_("ana").get(f"/jobs/{theirs}", headers=HTML).status_code == 404
    assert "Memory" in page(place.as_("vera"), "/").text


def test_a_failed_job_says_what_to_do(place):
    job_id = place.failed()
    found = page(place.client(), f"/jobs/{job_id}")
    for text in ("no audio in it", "Send audio.", f"stemd retry {job_id}", "stemd explain STEMD-A001", "giving up"):
        assert text in found.text, text


def test_a_finished_job_has_waveforms_and_a_player(place):
    job_id = place.done()
    found = page(place.client(), f"/jobs/{job_id}")
    assert [each["src"] for each in found.all("audio")] == [
        f"/jobs/{job_id}/files/{stem}.flac" for stem in ("vocals", "drums")
    ]
    assert [each["aria-label"] for each in found.all("svg")] == ["Waveform of vocals", "Waveform of drums"]
    assert len(re.findall("L", found.all("path")[0]["d"])) == 199


def test_without_http_audio_there_is_no_player(place):
    job_id = place.done()
    place.config = place.config.model_copy(update={"http": place.config.http.model_copy(update={"audio": False})})
    found = page(place.client(), f"/jobs/{job_id}")
    assert found.all("audio") == []
    assert len(found.all("svg")) == 2
    assert place.get(f"/jobs/{job_id}/files/vocals.flac").status_code == 403


def test_jobs_are_paged_and_chosen_by_state(place):
    for number in range(60):
        place.job("ana", "waiting", title=f"song {number}", claimed_at=float(number))
    place.failed("ana", "broken")
    first = page(place.client(), "/jobs?state=waiting")
    assert "1 to 50 of 60" in first.text and "broken" not in first.text
    (older,) = [link["href"] for link in first.all("a") if "offset" in (link.get("href") or "")]
    assert "51 to 60 of 60" in page(place.client(), older).text


def test_errors_are_pages_for_browsers(place):
    answer = place.client().get("/absent", headers=HTML)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")


# ---- signing in


def signed_in(place, name: str, **fields):
    client = place.client(local=False, follow_redirects=False)
    answer = client.post("/sign-in", data={"token": token(name), **fields}, headers=HTML)
    return client, answer


def test_a_browser_is_asked_for_its_token(place):
    client = place.client(local=False)
    answer = client.get("/jobs?state=done", headers=HTML)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="stemd"')
    found = Outline(answer.text)
    fields = {field["name"]: field for field in found.all("input")}
    assert fields["token"]["type"] == "password"
    assert fields["next"]["value"] == "/jobs?state=done"
    assert client.get("/static/stemd.css").status_code == 200


def test_a_token_becomes_a_cookie_that_is_none(place):
    client, answer = signed_in(place, "ana", next="/jobs")
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs")
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert token("ana") not in cookie and place.config.users["ana"].token_sha256 not in cookie
    assert client.get("/", headers=HTML).status_code == 200
    assert client.get("/health").status_code == 403, "as what the user may"
    assert client.post("/sign-out").status_code == 303
    assert client.get("/", headers=HTML).status_code == 401


def test_behind_tls_the_cookie_is_for_tls_only(place):
    client = place.client(local=False, follow_redirects=False)
    answer = client.post("/sign-in", data={"token": token("ana")}, headers={"x-forwarded-proto": "https"})
    assert "Secure" in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    "change",
    [lambda v: v[:-1] + ("0" if v[-1] != "0" else "1"), lambda v: "x", lambda v: "", lambda v: v.replace(".", ".9", 1)],
)
def test_a_cookie_cannot_be_made_up(place, change):
    client, _answer = signed_in(place, "ana")
    value = client.cookies["stemd"].strip('"')
    client.cookies.clear()
    assert client.get("/", headers={**HTML, "cookie": f"stemd={value}"}).status_code == 200
    assert client.get("/", headers={**HTML, "cookie": f"stemd={change(value)}"}).status_code == 401


def test_a_cookie_ends_with_its_token(place):
    client, _ = signed_in(place, "ana")
    other = place.config.users["ana"].model_copy(update={"token_sha256": "0" * 64})
    place.config = place.config.model_copy(update={"users": {**place.config.users, "ana": other}})
    assert client.get("/", headers=HTML).status_code == 401


def test_a_wrong_token_is_told_on_the_form(place):
    client = place.client(local=False)
    answer = client.post("/sign-in", data={"token": "wrong", "next": "/jobs"}, headers=HTML)
    assert answer.status_code == 401
    assert "No user has this token." in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "target", ["https://evil.example", "//evil.example", "/\\evil.example", "evil", "/\r\nX: y", "javascript:1"]
)
def test_signing_in_leads_nowhere_else(place, target):
    _, answer = signed_in(place, "ana", next=target)
    assert answer.headers["location"] == "/"


def test_another_site_cannot_sign_anybody_in(place):
    client = place.client(local=False, follow_redirects=False)
    answer = client.post("/sign-in", data={"token": token("ana")}, headers={"sec-fetch-site": "cross-site"})
    assert (answer.status_code, answer.headers.get("set-cookie")) == (400, None)


@pytest.mark.parametrize("body", [b"x", b"x" * 5000, b"\xff\xfe", b"token=a&token=b&a=1&b=2&c=3&d=4"])
def test_what_is_no_form_is_refused(place, body):
    client = place.client(local=False)
    assert client.post("/sign-in", content=body).status_code == 400


# ---- static


@pytest.mark.parametrize("name", ["stemd.css", "live.js", "player.js", "icon.svg"])
def test_assets_are_asked_for_once(place, name):
    answer = place.get(f"/static/{name}")
    assert answer.status_code == 200
    again = place.get(f"/static/{name}", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/static/", "/static/../web/stemd.css", "/static/%2e%2e/__init__.py", "/static/x"])
def test_there_are_no_other_assets(place, path):
    assert place.get(path).status_code == 404


def test_draining_is_said(place):
    place.view = replace(place.view, draining=True)
    assert "it is draining" in page(place.client(), "/").text


def test_alerts_are_told_with_their_reason(place):
    place.view = replace(
        place.view, alerts=({"alert": "Oom", "severity": "warning", "reason": "3 in an hour", "since": "x"},)
    )
    assert "Oom: 3 in an hour" in page(place.client(), "/").text
    assert "Oom" not in page(place.as_("ana"), "/").text
