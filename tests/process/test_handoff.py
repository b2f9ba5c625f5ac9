"""Ended jobs reach the next stage: whatever the receiver does, and whatever happens to the daemon meanwhile."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.audio import write_wav
from tests.support.daemon import Daemon, eventually

STUB = {"engine": "stub", "model": "stub"}
KEY = b"a key that only two know"


class Receiver(ThreadingHTTPServer):
    """Answers with the next of ``answers`` (then 204) and keeps what it got; ``hold`` delays it."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers, self.got, self.hold = [], [], threading.Event()
        self.hold.set()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/stems"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((dict(self.headers), body))
        self.server.hold.wait(600)
        self.send_response(self.server.answers.pop(0) if self.server.answers else 204)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    server = Receiver()
    yield server
    server.hold.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "handoff.key"
    path.write_bytes(KEY + b"\n")
    return path


def verify(headers: dict[str, str], body: bytes, key: bytes) -> bool:
    """With the very example of docs/handoff.md."""
    page = (Path(__file__).parents[2] / "docs" / "handoff.md").read_text()
    example = {}
    exec(page.split("```python\n")[1].split("```")[0], example)
    assert not example["genuine"](headers["Stemd-Signature"], body, key, oldest=-1)
    return example["genuine"](headers["Stemd-Signature"], body, key)


def test_a_webhook_that_fails_first_hears_of_success_and_failure_with_one_key_each(tmp_path, receiver, key_file):
    receiver.answers = [500, 503]
    handoff = {"webhook": receiver.url, "key_file": str(key_file)}
    song = write_wav(tmp_path / "song.wav", seconds=0.5)
    with Daemon(tmp_path, defaults=STUB, handoff=handoff) as daemon:
        folder = tmp_path / "staged"
        folder.mkdir()
        song.rename(folder / "song.wav")
        job = {"input": "song.wav", "handoff": {"next": "recon", "metadata": {"n": 7}}, "tags": {"artist": "A"}}
        (folder / "job.json").write_text(json.dumps(job))
        folder.rename(daemon.spool.inbox / "staged")
        (tmp_path / "noise.wav").write_bytes(b"no recording")
        eventually(daemon.results, 60, "it is done")
        daemon.drop(tmp_path / "noise.wav")
        eventually(lambda: daemon.metric('stemd_handoff_total{result="taken"}') == 2, 60, "both are taken")
        assert daemon.metric('stemd_handoff_total{result="not_taken"}') == 2
        eventually(lambda: daemon.metric("stemd_handoff_pending") == 0, 30)
        assert list((daemon.spool.root / ".handoff").iterdir()) == []
        assert len(daemon.events("handed_over")) == 2
    assert all(verify(headers, body, KEY) for headers, body in receiver.got)
    assert not verify(receiver.got[0][0], receiver.got[0][1] + b" ", KEY)
    documents = [json.loads(body) for _, body in receiver.got]
    assert [document["key"] for document in documents] == [headers["Idempotency-Key"] for headers, _ in receiver.got]
    done = [document for document in documents if document["state"] == "done"]
    failed = [document for document in documents if document["state"] == "failed"]
    assert (len(done) + len(failed), len({document["key"] for document in documents})) == (4, 2)
    assert done[0]["handoff"] == {"next": "recon", "metadata": {"n": 7}}
    assert (done[0]["user_id"], done[0]["engine"], done[0]["model"]) == ("everyone", "stub", "stub")
    assert done[0]["tags"] == {"artist": "A"}
    assert {file["stem"] for file in done[0]["files"]} == {"drums", "bass", "other", "vocals"}
    assert done[0]["error"] is None
    assert done[0]["result"] == str(daemon.spool.outbox / "everyone" / "staged")
    assert failed[0]["error"]["class"] == "decode"
    assert failed[0]["log"] == "job.log.jsonl"


def test_a_hostile_name_is_text_for_a_receiver(tmp_path, receiver):
    names = ["evil \x1b[2J\n\u202e.wav", "\udcff<script>.wav"]
    (tmp_path / "noise").write_bytes(b"no recording")
    with Daemon(tmp_path, defaults=STUB, handoff={"webhook": receiver.url}) as daemon:
        daemon.drop(tmp_path / "noise", names[0])
        daemon.drop(write_wav(tmp_path / "song.wav", seconds=0.5), names[1])
        eventually(lambda: len(daemon.events("handed_over")) == 2, 120, "both are taken")
    for headers, body in receiver.got:
        assert all(0x20 <= byte < 0x7F for byte in body), "nothing a terminal or a log would obey"
        assert not any("evil" in value or "script" in value for value in headers.values())
    documents = {document["state"]: document for document in (json.loads(body) for _, body in receiver.got)}
    assert "\x1b" not in documents["failed"]["error"]["message"]
    assert documents["failed"]["result"].startswith(str(daemon.spool.orphan / "everyone"))
    assert not {"\x1b", "\n", "<", "\udcff"} & set(documents["done"]["result"])


def test_what_was_not_taken_survives_a_kill_and_never_keeps_jobs_waiting(tmp_path, receiver):
    receiver.hold.clear()
    song = write_wav(tmp_path / "song.wav", seconds=0.5)
    with Daemon(tmp_path, defaults=STUB, handoff={"webhook": receiver.url}) as daemon:
        daemon.drop(song, "one.wav")
        eventually(lambda: receiver.got, 60, "the receiver is asked, and does not answer")
        daemon.drop(song, "two.wav")
        eventually(lambda: len(daemon.results()) == 2, 60, "the second is done all the same")
        daemon.kill()
        receiver.hold.set()
        before = len(receiver.got)
        daemon.start()
        eventually(lambda: daemon.metric('stemd_handoff_total{result="taken"}') == 2, 60)
    keys = [headers["Idempotency-Key"] for headers, _ in receiver.got]
    assert len(set(keys)) == 2
    assert set(keys[before:]) == set(keys)


COMMAND = """
import json, os, pathlib, sys
told = json.load(sys.stdin)
note = pathlib.Path(sys.argv[1])
note.open("a").write(json.dumps([sys.argv[2:], told["state"], os.environ["STEMD_IDEMPOTENCY_KEY"]]) + "\\n")
sys.exit(0 if len(note.read_text().splitlines()) > 1 else 75)
"""


def test_a_command_gets_the_folder_and_the_context_and_is_run_again_when_it_fails(tmp_path):
    program, note = tmp_path / "next.py", tmp_path / "note"
    program.write_text(COMMAND)
    command = [sys.executable, str(program), str(note), "--stems"]
    with Daemon(tmp_path, defaults=STUB, handoff={"command": command}) as daemon:
        daemon.drop(write_wav(tmp_path / "song.wav", seconds=0.5))
        eventually(lambda: daemon.events("handed_over"), 60, "the second try is taken")
        told = daemon.events("not_handed_over")[0]["reason"]
    lines = [json.loads(line) for line in note.read_text().splitlines()]
    assert [line[:2] for line in lines] == [[["--stems", str(daemon.spool.outbox / "everyone" / "song")], "done"]] * 2
    assert lines[0][2] == lines[1][2]
    assert "exit status 75" in told


def test_a_finished_folder_is_moved_with_its_ticket(tmp_path):
    tickets = tmp_path / "next"
    tickets.mkdir()
    (tickets / "song").mkdir()
    with Daemon(tmp_path, defaults=STUB, handoff={"directory": str(tickets), "move": True}) as daemon:
        daemon.drop(write_wav(tmp_path / "song.wav", seconds=0.5))
        eventually(lambda: daemon.events("handed_over"), 60)
        (ticket,) = tickets.glob("*.json")
        told = json.loads(ticket.read_text())
        assert told["result"] == str(tickets / "song (2)")
        assert (tickets / "song (2)" / "manifest.json").is_file()
        assert list((daemon.spool.outbox / "everyone").iterdir()) == []
        eventually(lambda: daemon.states()[told["job_uuid"]]["result"] == told["result"], 30)


def test_once_waits_for_its_hand_overs(tmp_path, receiver):
    receiver.answers = [500]
    daemon = Daemon(tmp_path, defaults=STUB, handoff={"webhook": receiver.url})
    daemon.drop(write_wav(tmp_path / "song.wav", seconds=0.5))
    assert daemon.once() == 0
    assert len(receiver.got) == 2
