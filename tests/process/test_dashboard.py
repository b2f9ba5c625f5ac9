"""Every panel of the Grafana dashboard shows something, asked of a real Prometheus about a real daemon's busy day."""

import json
import math
import urllib.parse
import urllib.request
from pathlib import Path

from tests.support.audio import write_wav
from tests.support.daemon import Daemon, eventually
from tests.support.monitoring import needs_prometheus, prometheus

BOARD = Path(__file__).parents[2] / "config" / "grafana" / "stemd.json"
STUB = {"engine": "stub", "model": "stub"}


def panels() -> list[tuple[str, str]]:
    """Each query with its panel's title, asked about all instances."""
    board = json.loads(BOARD.read_text())
    return [
        (panel["title"], target["expr"].replace("$instance", ".*"))
        for panel in board["panels"] for target in panel["targets"]
    ]  # fmt: skip


def asked(address: str, query: str) -> list[float]:
    """The values Prometheus answers with now; what is not a number is no answer."""
    url = f"http://{address}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        document = json.load(answer)
    assert document["status"] == "success", document
    values = [float(each["value"][1]) for each in document["data"]["result"]]
    return [value for value in values if not math.isnan(value)]


def drop_all(daemon: Daemon) -> None:
    """One that is done, one that fails, and one that meets a limit; the panels of trouble need trouble."""
    song = write_wav(daemon.home / "song.wav", seconds=2.0)
    (daemon.home / "noise.wav").write_bytes(b"this is no recording")
    daemon.drop(daemon.home / "noise.wav")
    slow = daemon.home / "slow"
    slow.mkdir()
    (slow / "song.wav").write_bytes(song.read_bytes())
    job = {"input": "song.wav", **STUB, "options": {"pace": 60}, "limits": {"time": "1s"}}
    (slow / "job.json").write_text(json.dumps(job))
    slow.rename(daemon.spool.inbox / "slow")
    daemon.drop(song)


@needs_prometheus
def test_every_panel_shows_something(tmp_path):
    alerts = {"disk": {"below": 1.0}, "canary": {"every": "2s"}}  # the disk is never quite empty: it fires
    with (
        Daemon(tmp_path, defaults=STUB, alerts=alerts, retry={"tries": 1}) as daemon,
        prometheus(tmp_path, daemon.events("http_listening")[-1]["address"]) as address,
        (daemon.spool.inbox / "open.wav").open("wb") as growing,  # for the panel of the oldest file
    ):
        growing.write(b"RIFF")
        eventually(lambda: asked(address, "stemd_ready == 1"), 60, "it is scraped")
        drop_all(daemon)
        eventually(lambda: daemon.results().get("song") and len(daemon.failures()) == 2, 120, "all have ended")
        empty = set(panels())
        assert len(empty) > 10

        def shown() -> bool:
            empty.difference_update([panel for panel in empty if asked(address, panel[1])])
            return not empty

        try:
            eventually(shown, 60)
        except AssertionError:
            raise AssertionError(f"these panels stay empty: {empty}") from None
