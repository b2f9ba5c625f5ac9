"""Settings of users and their quotas."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stemd.core.config.fields import Count, Duration, Name, Section, Sha256, Size, Texts

Uid = Annotated[int, Field(ge=0, le=2**32 - 2)]


class User(Section):
    """One user: owner of ``inbox/NAME``, ``outbox/NAME`` and ``orphan/NAME``."""

    role: Literal["user", "viewer", "operator", "admin"] = Field(
        default="user", description="user (own jobs), viewer (sees all), operator (steers all) or admin."
    )
    quota: Name | None = Field(default=None, description="Name of a quota; null: none.")
    uid: Uid | None = Field(default=None, description="System user who is this user on the control socket.")
    token_sha256: Sha256 | None = Field(
        default=None, description="sha256 of the bearer token for HTTP beyond loopback."
    )
    engines: Texts | None = Field(default=None, description="Engines this user may run; null: all.")
    models: Texts | None = Field(default=None, description="Models this user may run; null: all.")


class Quota(Section):
    """Limits shared by all jobs of each user who has this quota; an absent one is no limit."""

    running: Count | None = Field(default=None, description="Jobs at the same time.")
    waiting: Count | None = Field(default=None, description="Jobs in the queue.")
    memory: Size | None = Field(default=None, description="Memory of all running jobs.")
    audio_per_day: Duration | None = Field(default=None, description="Length of recordings within 24 hours.")
    cpu_per_day: Duration | None = Field(default=None, description="CPU time within 24 hours.")
    outbox: Size | None = Field(default=None, description="Size of the user's finished folders.")
    over: Literal["defer", "refuse"] = Field(
        default="defer", description="Beyond it: defer (wait) or refuse (to orphan/)."
    )
