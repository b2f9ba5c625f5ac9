"""Settings of the service itself: places, models, logging, chunks, retries, retention, HTTP, hand-over."""

from __future__ import annotations

import os
from typing import Literal

from pydantic import Field

from stemd.core.config.fields import (
    AbsolutePath,
    Count,
    Duration,
    Groups,
    Interval,
    JobIds,
    Listen,
    Section,
    Sha256s,
    Share,
    Size,
    SomeSize,
    StatePath,
    Text,
    Texts,
    Url,
)
from stemd.core.config.places import default_engines, default_models, default_run


class Paths(Section):
    """Where stemd keeps what is not in the spool."""

    state: StatePath = Field(
        default=None,
        description="Audit trail, caches and pauses of a spool. ROOT/.state: beside it, so that daemons don't collide.",
    )
    models: AbsolutePath = Field(
        default_factory=lambda: default_models(os.environ),
        description="The model store. Default: $CACHE_DIRECTORY/models, else the user's cache folder.",
        examples=["/var/cache/stemd/models"],
    )
    engines: AbsolutePath = Field(
        default_factory=lambda: default_engines(os.environ),
        description="Engines' own Python environments (`stemd engines install`). Default: beside the model store.",
        examples=["/var/cache/stemd/engines"],
    )
    run: AbsolutePath | None = Field(
        default_factory=lambda: default_run(os.environ),
        description="The control socket's folder. Default: $RUNTIME_DIRECTORY, "
        "else $XDG_RUNTIME_DIR/stemd, else the state folder.",
        examples=["/run/stemd"],
    )


class Models(Section):
    """How model weights get here."""

    fetch: Literal["auto", "never"] = Field(
        default="auto", description="auto: when a job first needs one. never: only by command."
    )
    from_: Text | None = Field(
        default=None,
        alias="from",
        description="A mirror's address or a folder to fetch from; null: where each model is published.",
        examples=["/mnt/models"],
    )
    pickles: Sha256s = Field(
        default=(),
        description="The sha256 of weights in pickle form that may be converted; loading a pickle runs code.",
    )


class Shutdown(Section):
    """How the service stops."""

    drain: Duration = Field(
        default=30.0, description="Running jobs may finish for this long; then checkpoint and requeue."
    )


class Log(Section):
    """Logging, to stderr (the journal under systemd)."""

    format: Literal["auto", "text", "json", "journal"] = Field(
        default="auto", description="auto: text on a terminal, the journal's own fields under systemd, else json lines."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning or error."
    )
    names: Literal["pseudonyms", "clear"] = Field(
        default="pseudonyms",
        description="How users and files are named: the journal outlives what is erased. A job's own log names them.",
    )


class Compliance(Section):
    """Written into every record of a job; inboxes and users may say otherwise."""

    purpose: Text | None = Field(
        default=None, description="Why the recordings are processed.", examples=["stem production"]
    )
    region: Text | None = Field(default=None, description="Where.", examples=["EU"])
    erasable: bool = Field(default=True, description="false: there is a duty to keep them; `stemd erase` refuses.")
    legal_hold: bool = Field(default=False, description="true: nothing is pruned and nothing erased until it is not.")
    held_jobs: JobIds = Field(default=(), description="Single jobs under legal hold, by their job_uuid.")


class Chunking(Section):
    """Long recordings are worked off in chunks that survive a restart."""

    threshold: Duration = Field(default=600.0, description="Recordings longer than this keep checkpoints.")
    checkpoint: Interval = Field(default=60.0, description="At most this much audio is done again after a crash.")


class Retry(Section):
    """Failures that may pass are tried again, with full-jitter exponential backoff."""

    tries: Count = Field(default=5, description="Attempts in all; then the job goes to orphan/.")
    base: Duration = Field(default=30.0, description="Upper bound of the first wait; doubled each time …")
    cap: Duration = Field(default=3600.0, description="… up to this.")


class Scheduling(Section):
    """Who is next: priority, then the user who has been given least audio, and nobody waits for ever."""

    aging: Interval = Field(default=1800.0, description="A job becomes one priority more urgent after each.")
    backlog: Count = Field(
        default=20_000, description="With so many unfinished jobs nothing more is taken: files stay in the inbox."
    )


class Governor(Section):
    """How the limits of jobs are enforced."""

    cgroups: Groups = Field(
        default="auto",
        description="auto: control groups, where systemd gave the service a part of them (Delegate=); never: by "
        "sampling only; or the path of a group made for stemd, such as /stemd, below each hierarchy.",
    )


class Scaling(Section):
    """How much of the machine the workers may have, all together."""

    reserve: Size | None = Field(
        default=None,
        description="Memory that no worker is given; null: a tenth of the machine's, 512 MiB at least.",
        examples=["2GiB"],
    )
    cpu_pressure: Share | None = Field(
        default=0.9,
        description="No further worker while something waited for a core for this share of the last ten seconds …",
    )
    memory_pressure: Share | None = Field(
        default=0.1,
        description="… or for memory. null: never mind; neither counts where the kernel has no PSI.",
    )


class SelfAudit(Section):
    """The daemon's slow look at its own promises; what is broken is a metric and a log line."""

    every: Interval = Field(default=6 * 3600.0, description="Time between two looks.")
    rate: SomeSize = Field(default=20 << 20, description="Bytes a second that are read at most.")


class Retention(Section):
    """What is deleted when; null keeps it for ever."""

    outbox: Duration | None = Field(default=30 * 86400.0, description="Finished folders.")
    orphan: Duration | None = Field(default=14 * 86400.0, description="Failed folders, with their sources.")
    status: Duration | None = Field(default=7 * 86400.0, description="status/UUID.json of ended jobs.")
    logs: Duration | None = Field(default=30 * 86400.0, description="Log files in the state folder (logs/).")
    caches: Duration | None = Field(default=7 * 86400.0, description="Caches in the state folder (cache/).")
    audit: Duration | None = Field(default=365 * 86400.0, description="The audit trail.")
    per_run: Count = Field(default=1000, description="`stemd prune` deletes so many items at most at a time.")


class Http(Section):
    """The read-only HTTP port: health, metrics, jobs and the status page."""

    listen: Listen | None = Field(
        default="127.0.0.1:9814",
        description="ADDRESS:PORT; null: no port. Beyond loopback every request needs a user's token.",
    )
    audio: bool = Field(default=False, description="Whether the page of a job may play its stems.")
    tokens: Literal["auto", "always"] = Field(
        default="auto", description="always: on loopback, too; needed where a proxy in front lets others in."
    )


class Handoff(Section):
    """What is told of a finished job."""

    webhook: Url | None = Field(
        default=None, description="POST to this address.", examples=["https://example.org/stems"]
    )
    command: Texts | None = Field(
        default=None,
        description="Run this, with the finished folder as last argument.",
        examples=[["/usr/local/bin/next", "--stems"]],
    )
    directory: AbsolutePath | None = Field(
        default=None, description="Write a ticket (JSON) into this folder.", examples=["/srv/stemd/tickets"]
    )
    move: bool = Field(
        default=False, description="Move the finished folder into that folder too, where both are on one mount."
    )
    key_file: AbsolutePath | None = Field(
        default=None,
        description="File with the key that signs what is posted (HMAC-SHA256).",
        examples=["/etc/stemd/handoff.key"],
    )
    timeout: Interval = Field(default=30.0, description="A receiver that takes longer is asked again later.")
    keep: Duration = Field(default=7 * 86400.0, description="A hand-over that nobody takes is given up after this.")
