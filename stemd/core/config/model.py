"""``stemd.yaml`` as one frozen tree: every key, its type, its default and what it means.

The validation, the JSON Schema, the commented reference file and ``stemd config show`` are all derived from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from stemd.core.config.alerts import Alerts
from stemd.core.config.engines import EngineConfig, with_built_in
from stemd.core.config.fields import Name, Roots, Section
from stemd.core.config.jobs import Defaults, Inbox
from stemd.core.config.people import Quota, User
from stemd.core.config.service import (
    Chunking,
    Compliance,
    Governor,
    Handoff,
    Http,
    Log,
    Models,
    Paths,
    Retention,
    Retry,
    Scaling,
    Scheduling,
    SelfAudit,
    Shutdown,
)

Engines = Annotated[Mapping[Name, EngineConfig], BeforeValidator(with_built_in)]


class Config(Section):
    """The whole configuration. ``auto`` stays the text ``"auto"``, ``null`` is ``None`` (no limit, off, for ever)."""

    spool: Roots = Field(
        description="The spool: one folder on one file system and one mount, or a list of such folders. Required.",
        examples=["/srv/stemd"],
    )
    inboxes: Mapping[Name, Inbox] = Field(
        default_factory=dict,
        description="Inboxes beyond the default inbox/: each is the folder inbox/NAME with settings of its own.",
        examples=[
            {
                "karaoke": {"engine": "spleeter", "model": "2stems", "stems": 2, "watch": "auto"},
                "mixes": {"engine": "mix"},
                "stager": {"trust": "manifest"},
            }
        ],
    )
    defaults: Defaults = Field(
        default_factory=Defaults, description="What applies where neither inbox nor job.yaml says otherwise."
    )
    paths: Paths = Field(default_factory=Paths, description="Where stemd keeps what is not in the spool.")
    models: Models = Field(default_factory=Models, description="How model weights get here.")
    shutdown: Shutdown = Field(default_factory=Shutdown, description="How the service stops.")
    log: Log = Field(default_factory=Log, description="Logging, to stderr (the journal under systemd).")
    compliance: Compliance = Field(default_factory=Compliance, description="Written into every record of a job.")
    engines: Engines = Field(
        default_factory=dict,
        validate_default=True,
        description="The engines; an installed plug-in may be added by its name.",
    )
    chunking: Chunking = Field(default_factory=Chunking, description="Chunks that survive a restart.")
    retry: Retry = Field(
        default_factory=Retry, description="Trying again what may pass; full-jitter exponential backoff."
    )
    scheduling: Scheduling = Field(default_factory=Scheduling, description="Whose job is next.")
    governor: Governor = Field(default_factory=Governor, description="How the limits of jobs are enforced.")
    scaling: Scaling = Field(default_factory=Scaling, description="How many workers there may be, of all engines.")
    self_audit: SelfAudit = Field(
        default_factory=SelfAudit, description="The daemon's slow look at its own promises (`stemd audit spool`)."
    )
    users: Mapping[Name, User] = Field(
        default_factory=dict,
        description="Users: each owns inbox/NAME, outbox/NAME and orphan/NAME.",
        examples=[{"ana": {"role": "user", "quota": "standard", "uid": 1001}}],
    )
    quotas: Mapping[Name, Quota] = Field(
        default_factory=dict,
        description="Quotas, for users to name.",
        examples=[
            {
                "standard": {
                    "running": 2,
                    "waiting": 200,
                    "memory": "12GiB",
                    "audio_per_day": "10h",
                    "cpu_per_day": "20h",
                    "outbox": "50GiB",
                    "over": "defer",
                }
            }
        ],
    )
    retention: Retention = Field(default_factory=Retention, description="What is deleted when; null keeps it for ever.")
    http: Http = Field(default_factory=Http, description="The read-only HTTP port: health, metrics, jobs, status page.")
    alerts: Alerts = Field(
        default_factory=Alerts,
        description="What stemd itself raises an alarm about; null in place of one switches it off.",
    )
    handoff: Handoff = Field(default_factory=Handoff, description="Who is told of a finished job.")
    executor: Literal["local", "ray"] = Field(default="local", description="local; ray is reserved for later.")

    def engine(self, name: str) -> EngineConfig:
        """The settings of an engine; of one that is not named here, the defaults."""
        return self.engines.get(name) or _unnamed()

    def environment(self, engine: str) -> Path:
        """The folder of an engine's own Python environment, whether it is there or not."""
        named = self.engine(engine).environment
        return self.paths.engines / engine if named == "auto" else Path(named)

    def quota_of(self, user: str) -> Quota | None:
        """The quota in force for a user; of one that is not named here, that of the defaults."""
        known = self.users.get(user)
        name = (known.quota if known else None) or self.defaults.quota
        return self.quotas[name] if name else None

    def inbox(self, name: str | None) -> Inbox:
        """The settings of ``inbox/NAME``; of the default inbox and of users' folders, all defaults."""
        return (self.inboxes.get(name) if name else None) or _plain()

    def state_of(self, root: Path) -> Path:
        """The state folder of the spool at ``root``."""
        return self.paths.state or root / ".state"

    @property
    def tuning(self) -> Path:
        """Where workers remember what is fastest on this machine: the state folder of the first spool."""
        return self.state_of(self.spool[0]) / "tuning"

    def run_of(self, root: Path) -> Path:
        """The folder of the control socket of the spool at ``root``."""
        return self.paths.run or self.state_of(root)


@cache
def _plain() -> Inbox:
    """Made once: it is asked for a dozen times for every job."""
    return Inbox()


@cache
def _unnamed() -> EngineConfig:
    """Made once: the daemon asks for every waiting job at every turn."""
    return EngineConfig()
