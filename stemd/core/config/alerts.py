"""Settings of the alerts. ``null`` in place of one switches it off."""

from __future__ import annotations

from pydantic import Field

from stemd.core.config.fields import Count, Duration, Interval, Section, Share, Sinks


class FailureRatio(Section):
    """Too many jobs fail."""

    over: Share = Field(default=0.1, description="Share of failed jobs above which it fires …")
    window: Duration = Field(default=1800.0, description="… among those that ended this long ago or less.")


class Latency(Section):
    """Jobs take too long."""

    over: Duration = Field(
        default=3600.0, description="Fires when a twentieth of the jobs takes longer, from drop to result."
    )


class Events(Section):
    """Something happens too often."""

    count: Count = Field(default=3, description="Fires at this many …")
    window: Duration = Field(default=3600.0, description="… within this time.")


class Resources(Section):
    """The machine is at its limits."""

    memory: Share = Field(default=0.9, description="Share of the memory in use above which it fires.")
    cpu: Share = Field(default=0.95, description="The same for the CPU.")
    for_: Duration = Field(default=600.0, alias="for", description="Only when it lasts this long.")


class Disk(Section):
    """The disk fills up."""

    below: Share = Field(default=0.05, description="Fires when less than this share of the spool's disk is free.")


class Canary(Section):
    """Nothing gets through: a silent built-in job tries the whole way."""

    every: Interval = Field(default=3600.0, description="How often a silent built-in job goes the whole way.")


class Alerts(Section):
    """What stemd itself raises an alarm about, and where; null switches one off."""

    failure_ratio: FailureRatio | None = Field(default_factory=FailureRatio, description="Too many jobs fail.")
    latency_p95: Latency | None = Field(default_factory=Latency, description="Jobs take too long.")
    oom: Events | None = Field(default_factory=Events, description="Jobs run out of memory.")
    aborts: Events | None = Field(default_factory=Events, description="Workers die or jobs are given up.")
    resources: Resources | None = Field(default_factory=Resources, description="The machine is at its limits.")
    disk: Disk | None = Field(default_factory=Disk, description="The disk fills up.")
    canary: Canary | None = Field(default_factory=Canary, description="Nothing gets through.")
    sinks: Sinks = Field(
        default=(("log",),),
        description="log, and any number of {webhook: ADDRESS}, {alertmanager: ADDRESS}, {command: [PROGRAM, …]}.",
    )
