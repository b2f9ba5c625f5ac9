"""The port of a real daemon: no way out of the outbox, tokens, and its page in a real browser."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import urllib.error
import urllib.request

import pytest

from tests.support import browser
from tests.support.audio import write_wav
from tests.support.browser import Browser
from tests.support.daemon import Daemon, eventually

needs_browser = pytest.mark.skipif(browser.PROGRAM is None, reason=browser.ABSENT)
HOSTILE = '<img src=x onerror="document.title=1">\u202egnp.mp3'
NARROW, WIDE = 360, 1200


class Served:
    """A daemon with one job done, one failed, and one that runs for as long as the tests do."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.host, _, port = daemon.events("http_listening")[-1]["address"].rpartition(":")
        self.port = int(port)

    @property
    def address(self) -> str:
        return f"http://{self.host}:{self.port}"

    def job(self, state: str) -> str:
        return next(job_id for job_id, status in self.daemon.states().items() if status["state"] == state)

    def raw(self, target: str) -> tuple[int, bytes]:
        """Status and answer of a request whose target is sent as it is."""
        with socket.create_connection((self.host, self.port), timeout=30) as connection:
            request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            connection.sendall(request.encode("latin-1"))
            answer = b""
            while block := connection.recv(1 << 16):
                answer += block
        return int(answer.split(b" ")[1]), answer


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    home = tmp_path_factory.mktemp("page")
    song = write_wav(home / "song.wav", seconds=30.0)
    stub = {"engine": "stub", "model": "stub"}
    with Daemon(home, http={"audio": True}, defaults=stub) as daemon:
        daemon.drop(song, "A song.wav")
        (home / "noise").write_bytes(b"this is no audio")
        daemon.drop(home / "noise", HOSTILE)
        eventually(lambda: daemon.in_state("done") and daemon.in_state("failed"), what="the two that end")
        slow = home / "slow"
        slow.mkdir()
        shutil.copy(song, slow / "long.wav")
        (slow / "job.json").write_text(json.dumps({"input": "long.wav", **stub, "options": {"pace": 20}}))
        slow.rename(daemon.spool.inbox / "Slow one")
        eventually(daemon.running, what="the third")
        yield Served(daemon)


@pytest.fixture
def page(served):
    with Browser() as opened:
        opened.size(WIDE)
        yield opened


# ---- no way out


WAYS_OUT = [
    "/jobs/{}/files/../../../../../../etc/passwd",
    "/jobs/{}/files/..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    "/jobs/{}/files/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/jobs/{}/files/%252e%252e%252fetc%252fpasswd",
    "/jobs/{}/files//etc/passwd",
    "/jobs/{}/files/%2fetc%2fpasswd",
    "/jobs/{}/files/source/A%20song.wav",
    "/jobs/{}/files/manifest.json",
    "/jobs/{}/files/.",
    "/jobs/{}/files/..",
    "/jobs/{}/files/vocals.flac%00.json",
    "/jobs/../../etc/passwd",
    "/jobs/%2e%2e%2f%2e%2e%2fetc%2fpasswd/files/x",
    "/static/../../../../etc/passwd",
    "/static/..%2f__init__.py",
    "/../../../../etc/passwd",
    "//etc/passwd",
    "/api/jobs/..%2f..%2f..%2fetc%2fpasswd",
    "http://localhost/../etc/passwd",
    "/jobs/{}/files/\xe4",
]


@pytest.mark.parametrize("target", WAYS_OUT)
def test_there_is_no_way_out_of_a_finished_folder(served, target):
    status, answer = served.raw(target.format(served.job("done")))
    assert status in {400, 404}, answer
    assert b"root:" not in answer and b"RIFF" not in answer and b"import" not in answer


def test_a_link_put_in_a_files_place_is_not_followed(served, tmp_path):
    (folder,) = served.daemon.spool.outbox.glob("*/A song")
    stem, target = folder / "drums.flac", f"/jobs/{served.job('done')}/files/drums.flac"
    assert served.raw(target)[0] == 200
    secret = tmp_path / "secret"
    secret.write_bytes(b"root:secret")
    aside = stem.rename(tmp_path / "aside")
    try:
        stem.symlink_to(secret)
        status, answer = served.raw(target)
        assert (status, b"root:" in answer) == (404, False)
    finally:
        stem.unlink()
        shutil.move(aside, stem)
    assert served.raw(target)[0] == 200


# ---- tokens


def test_tokens_are_asked_for_where_the_configuration_says_so(tmp_path):
    def asked(path: str, token: str | None = None) -> int:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            with urllib.request.urlopen(urllib.request.Request(address + path, headers=headers), timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            return refused.code

    users = {
        name: {"role": role, "token_sha256": hashlib.sha256(name.encode()).hexdigest()}
        for name, role in {"ana": "user", "vera": "viewer"}.items()
    }
    with Daemon(tmp_path, http={"tokens": "always"}, users=users) as daemon:
        address = f"http://{daemon.events('http_listening')[-1]['address']}"
        assert [asked(path) for path in ("/livez", "/health", "/", "/api/jobs")] == [401] * 4
        assert [asked(path, "ana") for path in ("/livez", "/health", "/", "/api/jobs")] == [200, 403, 200, 200]
        assert [asked(path, "vera") for path in ("/health", "/metrics", "/readyz?verbose")] == [200] * 3
        doctor = daemon.stemd("doctor", "--json").stdout
        assert '"STEMD-C004"' not in doctor, "a port that asks for a token is ours"


# ---- in a browser


def fits(page: Browser) -> bool:
    return bool(page.js("document.documentElement.scrollWidth <= innerWidth"))


@needs_browser
@pytest.mark.parametrize("dark", [False, True])
def test_pages_fit_a_small_telephone(served, page, dark, tmp_path):
    for path in ("/", "/jobs", f"/jobs/{served.job('done')}", f"/jobs/{served.job('failed')}", "/absent"):
        for width in (NARROW, WIDE):
            page.size(width, dark=dark)
            page.open(served.address + path)
            assert fits(page), f"{path} is wider than {width} px"
    ground = page.js("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(20, 23, 27)" if dark else "rgb(251, 250, 248)")
    assert [error for error in page.errors if "404" not in error] == []


CONTRAST = """
(() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = channels(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const low = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    const [one, two] = [light(channels(getComputedStyle(element).color)), light(ground(element))].sort((a, b) => b - a);
    const ratio = (one + .05) / (two + .05);
    if (ratio < 4.5) low.push([walker.currentNode.data.trim(), ratio]);
  }
  return low;
})()
"""


@needs_browser
@pytest.mark.parametrize("dark", [False, True])
def test_every_text_can_be_read(served, page, dark):
    page.size(WIDE, dark=dark)
    for path in ("/", "/jobs", f"/jobs/{served.job('done')}", f"/jobs/{served.job('failed')}"):
        page.open(served.address + path)
        assert page.js(CONTRAST) == [], path


def whole_tree(page: Browser, button: str) -> list[tuple[str, str]]:
    """The accessibility tree once a page's foot and this ``button`` are in it: earlier it may be of half a page."""

    def whole() -> list[tuple[str, str]] | None:
        tree = page.tree()
        buttons = [name for role, name in tree if role == "button" and button in name]
        return tree if buttons and "contentinfo" in {role for role, _ in tree} else None

    return eventually(whole, what=f"the foot of the page and the button {button}")


@needs_browser
def test_what_a_screen_reader_is_told(served, page):
    for width in (WIDE, NARROW):
        page.size(width)
        page.open(served.address)
        tree = whole_tree(page, "Copy the command stemd retry")
        roles = {role for role, _ in tree}
        assert {"banner", "navigation", "main", "contentinfo", "status"} <= roles, width
        headings = [name for role, name in tree if role == "heading"]
        assert headings == ["State of stemd", "Running", "Waiting", "Failures", "Finished", "Machine"]
        tables = {name for role, name in tree if role == "table"}
        wanted = {"Jobs that run now", "Jobs that failed, the latest first", "Workers", "Memory and disk"}
        wanted |= {"Limits in force, and what is used of them", "How many workers there should be"}
        wanted |= {"The last changes of these numbers"}
        assert wanted <= tables, width
        assert ("columnheader", "Time left") in tree or width == NARROW
        buttons = [name for role, name in tree if role == "button"]
        assert buttons[0] == "Pause updates"
        assert any(name.startswith("Copy the command stemd retry") for name in buttons)
        assert any(role == "progressbar" and name.startswith("Progress of") for role, name in tree) or (
            any(role == "ProgressIndicator" or "rogress" in role for role, _ in tree)
        )


@needs_browser
def test_hostile_names_are_shown_as_text(served, page):
    page.open(served.address)
    shown = page.js("document.body.innerText")
    assert '<img src=x onerror="document.title=1">\\u202egnp.mp3' in shown
    assert page.js("document.images.length") == 0
    assert page.js("document.title") == "stemd"


@needs_browser
def test_the_page_keeps_itself_current_until_it_is_paused_by_keyboard(served, page):
    page.open(served.address)
    page.js("window.kept = document.getElementById('running'); document.title = 'not loaded again'; 1")
    # asked, not answered: an answer may be on its way when the page is paused
    page.js("window.asked = 0; window.really = fetch; 1")
    page.js("window.fetch = (...all) => { asked += 1; return really(...all); }; 1")
    page.until("asked >= 2")
    assert page.js("document.getElementById('running') === window.kept && document.title === 'not loaded again'")
    page.press("Tab")
    for _ in range(10):
        if page.js("document.activeElement.id") == "pause":
            break
        page.press("Tab")
    assert page.js("document.activeElement.id") == "pause"
    page.press(" ")
    assert page.js("document.activeElement.getAttribute('aria-pressed')") == "true"
    page.until("document.getElementById('note').textContent === 'Paused'")
    before = page.js("asked")
    page.js("new Promise((done) => setTimeout(done, 3000))")
    assert page.js("asked") == before
    page.press("Enter")
    page.until(f"asked > {before}")
    assert page.js("document.activeElement.id") == "pause", "the focus stays"
    assert page.errors == []


@needs_browser
def test_stems_play_together_by_keyboard(served, page):
    page.open(f"{served.address}/jobs/{served.job('done')}")
    times = "[...document.querySelectorAll('audio')].map((each) => each.currentTime)"
    assert page.js("document.querySelectorAll('audio').length") == 4
    page.js("document.querySelector('[data-play]').focus()")
    page.press("Enter")
    assert page.js("document.querySelector('[data-play]').textContent") == "Pause"
    page.until(f"Math.min(...{times}) > 1")
    page.until(f"(() => {{ const at = {times}; return Math.max(...at) - Math.min(...at) < 0.03; }})()")
    page.js("document.querySelector('[data-seek]').focus()")
    page.press("End")
    page.press("ArrowLeft")
    page.press("Home")
    for _ in range(100):
        page.press("ArrowRight")
    page.until(f"Math.min(...{times}) >= 10")
    page.js("document.querySelector('[data-stem=vocals] [data-solo]').focus()")
    page.press(" ")
    silent = "filter((each) => each.querySelector('audio').muted).map((each) => each.dataset.stem)"
    muted = f"[...document.querySelectorAll('[data-stem]')].{silent}"
    assert page.js(muted) == ["drums", "bass", "other"]
    page.press(" ")
    page.js("document.querySelector('[data-stem=bass] [data-mute]').focus()")
    page.press(" ")
    assert page.js(muted) == ["bass"]
    page.js("document.querySelector('[data-play]').focus()")
    page.press(" ")
    page.until("[...document.querySelectorAll('audio')].every((each) => each.paused && !each.seeking)")
    assert page.js(f"new Set({times}).size") == 1, "who pauses, pauses all at one place"
    parts = [event for event in page.events if event["response"]["url"].endswith(".flac")]
    assert {event["response"]["status"] for event in parts} == {206}
    assert page.errors == []


@needs_browser
def test_without_a_script_everything_is_there(served, page, tmp_path):
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    page.call("Page.navigate", url=f"{served.address}/jobs/{served.job('done')}")
    tree = whole_tree(page, "play")  # of one of the browser's own players
    assert ("heading", "Timeline") in tree
    assert ("button", "Mute vocals") not in tree


@needs_browser
def test_signing_in_with_a_browser(tmp_path, page):
    token = "a-token-of-ana"
    users = {"ana": {"role": "user", "token_sha256": hashlib.sha256(token.encode()).hexdigest()}}
    with Daemon(tmp_path, http={"tokens": "always"}, users=users) as daemon:
        address = f"http://{daemon.events('http_listening')[-1]['address']}"
        page.open(f"{address}/jobs?state=done")
        assert page.js("document.querySelector('h1').textContent") == "Sign in"
        page.until("document.activeElement.id === 'token'")
        page.call("Input.insertText", text=token)
        page.press("Enter")
        page.until("document.readyState === 'complete' && document.querySelector('h1').textContent === 'All jobs'")
        assert page.js("location.search") == "?state=done"
        assert page.js("document.cookie") == "", "no script sees it"
        page.js("document.querySelector('header form button').click()")
        page.until("document.readyState === 'complete' && document.querySelector('h1').textContent === 'Sign in'")
