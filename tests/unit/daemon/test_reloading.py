"""What of a configuration that is read again counts at once."""

from __future__ import annotations

from stemd.core.config import load
from stemd.daemon.reloading import in_force


def test_what_was_opened_at_the_start_stays(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    running = load(None, {"spool": [str(first), str(second)]}, {}).config
    read = load(
        None, {"spool": [str(first)], "http.audio": True, "defaults.model": "nano", "users": {"ana": {}}}, {}
    ).config
    config, changed = in_force(running, read)
    assert changed == ["spool", "http"]
    assert (config.spool, config.http) == (running.spool, running.http)
    assert (config.defaults, config.users) == (read.defaults, read.users)
    assert in_force(running, running) == (running, [])
