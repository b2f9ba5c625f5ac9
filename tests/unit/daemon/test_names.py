"""Names that users choose: no series of metrics is made of them, and users who come later have pseudonyms too."""

import json
from unittest.mock import Mock

import structlog

from stemd.core.config import load
from stemd.core.errors import StemdError
from stemd.daemon.forecast import Forecast
from stemd.daemon.scaling import Scaling
from stemd.daemon.service import Service
from stemd.ops import logs
from tests.unit.daemon.test_fate import Site


def test_an_engine_that_is_not_installed_makes_no_series(spool):
    """What a description names is anybody's choice."""
    site = Site(spool)
    live = site.claimed("engine: anything1\nmodel: m\n")
    site.seal(live)
    assert live.engine == "anything1"
    scaling = Scaling(site.board, site.runs.pool, Forecast())
    scaling.look(1000.0)
    site.board.give_up(live, StemdError("STEMD-E001", "no engine called 'anything1'"))
    assert "anything1" not in scaling.targets
    text = site.board.metrics.render().decode()
    assert "anything1" not in text
    assert 'stemd_jobs_completed_total{engine="none",outcome="failed"} 1.0' in text
    site.sealer.close()


def test_users_whom_a_reload_brings_are_told_of_by_pseudonyms(spool, tmp_path, capsys):
    flags = {"spool": str(spool.root), "paths.state": str(tmp_path / "state")}
    first, then = (load(None, {**flags, **more}, {}) for more in ({}, {"users": {"bea": {}}}))
    daemon = Service(first, lambda: then, once=True)
    vars(daemon).update(_lookout=Mock(), _handing=Mock(), _chronicle=Mock(), _dispatcher=Mock(scanners=[]))
    before = structlog.get_config()
    try:
        logs.configure("json", "info", people=first.config.users)
        logs.get().info("watching", inbox="bea", user_id="cem")
        daemon._reload()
        logs.get().info("watching", inbox="bea", user_id="cem")
    finally:
        structlog.configure(**before)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    earlier, later = (line for line in lines if line["event"] == "watching")
    assert earlier["inbox"] == "bea" and later["inbox"].startswith("~")
    assert earlier["user_id"] == later["user_id"], "the pseudonyms of this run stay"
