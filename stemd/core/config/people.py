"""Settings of users and their quotas."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stemd.core.config.fields import Count, Duration, Name, Priority, Section, Sha256, Size, Texts
from stemd.core.config.jobs import ComplianceChange, LimitsChange

Uid = Annotated[int, Field(ge=0, le=2**32 - 2)]


class User(Section):
    """One user: owner of ``inbox/NAME``, ``outbox/NAME`` and ``orphan/NAME``."""

    role: Literal["user", "viewer", "operator", "admin"] = Field(
        default="user", description="user (own jobs), viewer (sees all), operator (steers all) or admin."
    )
    quota: Name | None = Field(default=None, description="Name of a quota; null: that of defaults.quota.")
    uid: Uid | None = Field(
        default=None,
        description="System user who is this user on the control socket, and owns his files in shared inboxes.",
    )
    token_sha256: Sha256 | None = Field(
        default=None, description="sha256 of the bearer token for HTTP beyond loopback."
    )
    engines: Texts | None = Field(default=None, description="Engines this user may run; null: all.")
    models: Texts | None = Field(default=None, description="Models this user may run; null: all.")
    retention: Duration | None = Field(default=None, description="Keep this user's results and failures for less.")
    compliance: ComplianceChange = Field(default_factory=ComplianceChange, description="Changes to compliance.")


class Quota(Section):
    """What each user who has this quota may have in all; an absent key is no limit.

    ``running`` and ``memory`` make a job wait for its turn, ``priority`` and ``limits`` are lowered to what is allowed.
    """

    running: Count | None = Field(default=None, description="Jobs at the same time; others wait for their turn.")
    waiting: Count | None = Field(default=None, description="Jobs in the queue; with so many, files stay in the inbox.")
    memory: Size | None = Field(default=None, description="Memory of all running jobs, by their limits.")
    audio_per_day: Duration | None = Field(default=None, description="Length of recordings within 24 hours.")
    cpu_per_day: Duration | None = Field(default=None, description="CPU time within 24 hours.")
    outbox: Size | None = Field(default=None, description="Size of the user's finished folders.")
    priority: Priority | None = Field(
        default=None,
        description="Best priority a job of theirs may ask for beyond its inbox's own; a better one becomes this.",
    )
    limits: LimitsChange = Field(default_factory=LimitsChange, description="Limits of each job, below the engine's.")
    over: Literal["defer", "refuse"] = Field(
        default="defer",
        description="Beyond waiting, audio_per_day, cpu_per_day or outbox: defer (wait) or refuse (to orphan/).",
    )
