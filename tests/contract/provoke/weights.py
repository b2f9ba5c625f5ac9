"""M: models."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stemd.engines import models
from tests.contract.provoke.bench import Bench, Seen, provokes

_NOWHERE = Path("/nonexistent")


class _Unavailable(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(503)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def unavailable_server() -> Iterator[str]:
    """A server that answers 503 to everything; gives its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Unavailable) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@provokes("STEMD-M001")
def a_model_that_was_not_fetched(bench: Bench) -> Seen:
    return bench.held_up(bench.drop(bench.song(), {"model": "htdemucs"}), "STEMD-M001")


@provokes("STEMD-M002")
def a_model_nobody_knows(bench: Bench) -> Seen:
    return bench.failed(bench.song(), {"model": "htdemux"})


@provokes("STEMD-M003")
def a_weights_file_that_changed(bench: Bench) -> Seen:
    spool = bench.spool()
    folder = bench.home / "models" / "nano"
    shutil.copytree(models.find("nano", _NOWHERE), folder)
    weights = folder / "nano.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    result = bench.invoke("models", "verify", "-c", bench.config(spool), "nano", "--json")
    (facts,) = json.loads(result.stdout)["models"]
    return Seen.of(facts["error"], result.exit_code)


@provokes("STEMD-M004")
def a_bag_that_is_none(bench: Bench) -> Seen:
    (bench.home / "odd").mkdir()
    (bench.home / "odd" / "odd.yaml").write_text("models: 7\n")
    return bench.stemd("models", "fetch", "-c", bench.config(bench.spool()), "odd", "--from", bench.home)


@provokes("STEMD-M005")
def a_server_that_is_unavailable(bench: Bench) -> Seen:
    bench.patch.setenv("no_proxy", "127.0.0.1")
    with unavailable_server() as address:
        return bench.stemd("models", "fetch", "-c", bench.config(bench.spool()), "htdemucs", "--from", address)


@provokes("STEMD-M006")
def weights_in_pickle_form(bench: Bench) -> Seen:
    (bench.home / "mine.th").write_bytes(b"whatever")
    return bench.stemd("models", "fetch", "-c", bench.config(bench.spool()), "mine", "--from", bench.home)
