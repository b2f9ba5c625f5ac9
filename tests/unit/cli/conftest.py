"""A spool with its configuration, the command line called in this process, and real failed jobs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from stemd.cli.main import main
from stemd.core.config import load
from stemd.core.errors import StemdError
from stemd.core.job import JobId, new_job_id
from stemd.spool import claim, deliver, intake, probes
from stemd.spool.intake import Candidate, Kind
from stemd.spool.layout import Spool, WorkDir
from tests.support.spools import make_spool
from tests.support.system import public_path

__all__ = ["public_path"]

CONFIG = """\
spool: {root}
defaults: {{model: nano}}
inboxes: {{karaoke: {{stems: 2}}, stager: {{trust: manifest}}}}
users: {{ana: {{}}}}
paths: {{run: {home}/run, models: {home}/models}}
http: {{listen: null}}
"""


@dataclass
class Site:
    """One spool and everything a command needs to find it."""

    home: Path
    spool: Spool

    @property
    def config(self) -> Path:
        return self.home / "stemd.yaml"

    def run(self, command: str, *args: str | Path, env: Mapping[str, str | None] | None = None) -> Result:
        words = [*command.split(), "-c", str(self.config), *map(str, args)]
        return CliRunner().invoke(main, words, env=env, prog_name="stemd")

    def json(self, command: str, *args: str | Path) -> Any:
        result = self.run(command, *args, "--json")
        return json.loads(result.stdout)

    def claimed(self, name: str = "song.wav", content: bytes = b"recording", user: str | None = None) -> WorkDir:
        """A sealed job in work/, claimed from the inbox by the spool's own functions."""
        door = intake.Door(user, self.spool.inbox / user if user else self.spool.inbox)
        path = door.path / name
        path.write_bytes(content)
        candidate = Candidate(path, door, Kind.FILE, intake.identity(path))
        work = claim.claim(self.spool, candidate, new_job_id())
        assert work is not None
        sealed = claim.seal(self.spool, work, load(self.config).config)
        assert sealed is not None
        return sealed[0]

    def orphan(self, name: str = "song.wav", code: str = "STEMD-A001", user: str | None = None) -> JobId:
        """A failed job."""
        work = self.claimed(name, user=user)
        deliver.to_orphan(self.spool, work, StemdError(code, "made for a test"), user or "everyone")
        return work.job_id


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return _made(tmp_path, monkeypatch)


@pytest.fixture
def public_site(public_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """One that every user can reach."""
    return _made(public_path, monkeypatch)


def _made(home: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    for name in [name for name in os.environ if name.startswith("STEMD_")]:
        monkeypatch.delenv(name)
    spool = make_spool(home / "spool")
    probes.prepare(spool, ("karaoke", "stager", "ana"))
    (home / "stemd.yaml").write_text(CONFIG.format(root=spool.root, home=home))
    return Site(home, spool)
