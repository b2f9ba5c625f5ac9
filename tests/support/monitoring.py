"""The real Prometheus and the real Alertmanager, as they come from Debian, each as a process of a test."""

from __future__ import annotations

import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.daemon import eventually
from tests.support.ports import reserved_port

needs_alertmanager = pytest.mark.skipif(
    shutil.which("prometheus-alertmanager") is None, reason="the prometheus-alertmanager program is not installed"
)
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="the prometheus program is not installed"
)


@contextmanager
def alertmanager(home: Path, webhook: str) -> Iterator[str]:
    """One that tells ``webhook`` of everything at once; yields its address."""
    config = {
        "route": {"receiver": "hook", "group_wait": "0s", "group_interval": "1s", "group_by": ["alertname"]},
        "receivers": [{"name": "hook", "webhook_configs": [{"url": webhook, "send_resolved": True}]}],
    }
    (home / "alertmanager.yml").write_text(yaml.safe_dump(config))
    flags = [f"--config.file={home}/alertmanager.yml", f"--storage.path={home}/am", "--cluster.listen-address="]
    with _server("prometheus-alertmanager", *flags) as address:
        yield address


@contextmanager
def prometheus(home: Path, target: str, **config: Any) -> Iterator[str]:
    """One that scrapes ``target`` every second; ``config`` is more of its configuration. Yields its address."""
    scrape = {"job_name": "stemd", "static_configs": [{"targets": [target]}]}
    every = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (home / "prometheus.yml").write_text(yaml.safe_dump({"global": every, "scrape_configs": [scrape], **config}))
    flags = [f"--config.file={home}/prometheus.yml", f"--storage.tsdb.path={home}/tsdb", "--log.level=warn"]
    with _server("prometheus", *flags) as address:
        yield address


@contextmanager
def _server(program: str, *flags: str) -> Iterator[str]:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with reserved_port() as port:
        address = f"127.0.0.1:{port}"
        process = subprocess.Popen([program, *flags, f"--web.listen-address={address}"], **quiet)
        try:
            eventually(lambda: _answers(f"http://{address}/-/ready"), what=f"{program} is ready")
            yield address
        finally:
            process.terminate()
            process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
