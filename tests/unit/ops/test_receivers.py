"""The ways a job is handed over, with real receivers."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from stemd.core.config import load
from stemd.ops.receivers import receivers

DOCUMENT = {"key": "k.0", "job_uuid": "k", "state": "done", "result": "outbox/ana/song"}


class _Receiver(BaseHTTPRequestHandler):
    heard: list[dict[str, object]]

    def do_POST(self) -> None:
        self.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver():
    server = HTTPServer(("127.0.0.1", 0), _Receiver)
    _Receiver.heard = []
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", _Receiver.heard
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("timeout", ["30s", "25d", "36500d"])
def test_however_long_a_receiver_may_take_it_is_told(spool, tmp_path, receiver, timeout):
    address, heard = receiver
    said = tmp_path / "said.json"
    command = ["/bin/sh", "-c", f"cat > {said}"]
    flags = {"spool": str(spool.root), "handoff.webhook": address, "handoff.command": command}
    settings = load(None, {**flags, "handoff.timeout": timeout}, {}).config.handoff
    for tell in receivers(settings).values():
        tell(spool, tmp_path / "noted.json", dict(DOCUMENT))
    assert heard == [json.loads(said.read_text())] == [{**DOCUMENT, "result": str(spool.root / "outbox/ana/song")}]
