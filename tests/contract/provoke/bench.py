"""What a provocation has to hand: a folder, the command line, spools, and one running daemon that all share."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from stemd.cli.main import main
from stemd.core.config import Config, load
from stemd.core.errors import StemdError
from stemd.core.job import JobId, new_job_id
from stemd.spool import sidecar
from stemd.spool.layout import Spool
from tests.support.audio import write_wav
from tests.support.daemon import Daemon, eventually
from tests.support.spools import make_spool


@dataclass(frozen=True)
class Seen:
    """What a person got to see: the code, what happened here, what to do, and the command's status if there was one."""

    code: str
    message: str
    remedy: str
    exit: int | None = None

    @classmethod
    def of(cls, said: Mapping[str, Any], status: int | None = None) -> Seen:
        return cls(said["code"], said["message"], said["remedy"], status)


Provocation = Callable[["Bench"], Seen]

#: Code → how to provoke it.
PROVOCATIONS: dict[str, Provocation] = {}


def provokes(code: str) -> Callable[[Callable[[Bench], Seen | None]], Callable[[Bench], Seen | None]]:
    """The decorated function makes stemd raise ``code``: it returns what was seen, or lets the error through."""

    def register(function: Callable[[Bench], Seen | None]) -> Callable[[Bench], Seen | None]:
        assert code not in PROVOCATIONS, f"{code} is provoked twice"

        def run(bench: Bench) -> Seen:
            try:
                seen = function(bench)
            except StemdError as error:
                return Seen.of(error.to_dict())
            assert seen is not None, f"{function.__name__} came through without an error"
            return seen

        PROVOCATIONS[code] = run
        return function

    return register


@dataclass
class Bench:
    """``home`` is this provocation's own folder, ``public`` one that other users can reach too; ``shared`` is
    the daemon, started when first asked for."""

    home: Path
    public: Path
    patch: pytest.MonkeyPatch
    shared: Callable[[], Daemon]
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def song(self, name: str = "song.wav", seconds: float = 0.3, **form: Any) -> Path:
        return write_wav(self.home / name, seconds, **form)

    def spool(self) -> Spool:
        return make_spool(self.home / f"spool{next(self._numbers)}")

    def config(self, spool: Spool, **settings: Any) -> Path:
        """A configuration file for ``spool``."""
        path = self.home / f"stemd{next(self._numbers)}.yaml"
        places = {name: str(self.home / name) for name in ("models", "engines", "run")}
        base = {"spool": str(spool.root), "defaults": {"model": "nano"}, "paths": places, "http": {"listen": None}}
        path.write_text(yaml.safe_dump({**base, "models": {"fetch": "never"}, **settings}))
        return path

    def loaded(self, spool: Spool, **settings: Any) -> Config:
        return load(self.config(spool, **settings), {}, {}).config

    def stemd(self, *words: str | Path) -> Seen:
        """What a command that fails says."""
        result = self.invoke(*words, "--json")
        return Seen.of(json.loads(result.stdout)["error"], result.exit_code)

    def invoke(self, *words: str | Path) -> Result:
        return CliRunner().invoke(main, [*map(str, words)], prog_name="stemd")

    # ---- through the shared daemon

    def drop(self, source: Path, job: Mapping[str, Any] | None = None) -> JobId:
        """Drop a staged job, as ``stemd submit`` and stagers do; returns the job_uuid it asks for."""
        daemon, wanted = self.shared(), new_job_id()
        folder = self.home / f"job{next(self._numbers)}"
        folder.mkdir()
        (folder / source.name).write_bytes(source.read_bytes())
        (folder / "job.yaml").write_text(yaml.safe_dump({"input": source.name, "job_uuid": wanted, **(job or {})}))
        folder.rename(daemon.spool.inbox / f"{self.home.name}-{wanted[-8:]}")
        return wanted

    def failed(self, source: Path, job: Mapping[str, Any] | None = None) -> Seen:
        """What the report of a dropped job says once it has failed for good."""
        title = f"{self.home.name}-{self.drop(source, job)[-8:]}"
        return Seen.of(eventually(lambda: self._report(title), 60, f"{title} is in orphan/"))

    def _report(self, title: str) -> dict[str, Any] | None:
        found = list(self.shared().spool.orphan.glob(f"*/{title}.*/error.json"))
        return json.loads(found[0].read_text()) if found else None

    def status(self, job_id: JobId) -> dict[str, Any]:
        """The status of a job of the shared daemon; empty while there is none."""
        return sidecar.read_status(self.shared().spool.status_file(job_id)) or {}

    def held_up(self, job_id: JobId, code: str) -> Seen:
        """The reason in a job's status once it is ``code``; the job is cancelled then."""
        daemon = self.shared()

        def reason() -> Any:
            found = self.status(job_id).get("reason")
            return found if found and found["code"] == code else None

        try:
            return Seen.of(eventually(reason, 60, f"{job_id} waits because of {code}"))
        finally:
            daemon.stemd("cancel", job_id)
