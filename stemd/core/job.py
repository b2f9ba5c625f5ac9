"""What a job is, where it can be, and how it may end.

``JobState`` says where a job is, ``Outcome`` how it ended; the two never share an enum. Every change of state goes
through ``advance``, which knows the legal ones.
"""

from __future__ import annotations

import base64
import os
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, NewType

JobId = NewType("JobId", str)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

SCHEMA_VERSION = 1


class JobState(StrEnum):
    WAITING = "waiting"
    DEFERRED = "deferred"
    HELD = "held"
    RUNNING = "running"
    RETRY_WAIT = "retry_wait"
    PUBLISHING = "publishing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ERASED = "erased"

    @property
    def ended(self) -> bool:
        return self in _ENDED


class Outcome(StrEnum):
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


_ENDED = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.ERASED})

_S = JobState
#: From each state, the states a job may go to next.
TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    _S.WAITING: frozenset(
        {_S.RUNNING, _S.DEFERRED, _S.HELD, _S.RETRY_WAIT, _S.PUBLISHING, _S.DONE, _S.FAILED, _S.CANCELLED, _S.ERASED}
    ),
    _S.DEFERRED: frozenset({_S.WAITING, _S.HELD, _S.RETRY_WAIT, _S.FAILED, _S.CANCELLED, _S.ERASED}),
    _S.HELD: frozenset({_S.WAITING, _S.RETRY_WAIT, _S.CANCELLED, _S.ERASED}),
    _S.RUNNING: frozenset({_S.PUBLISHING, _S.RETRY_WAIT, _S.WAITING, _S.DEFERRED, _S.FAILED, _S.CANCELLED, _S.ERASED}),
    _S.RETRY_WAIT: frozenset({_S.WAITING, _S.HELD, _S.FAILED, _S.CANCELLED, _S.ERASED}),
    _S.PUBLISHING: frozenset({_S.DONE, _S.RETRY_WAIT, _S.WAITING, _S.FAILED, _S.ERASED}),
    _S.DONE: frozenset({_S.ERASED}),
    _S.FAILED: frozenset({_S.WAITING, _S.ERASED}),
    _S.CANCELLED: frozenset({_S.WAITING, _S.ERASED}),
    _S.ERASED: frozenset(),
}


class IllegalTransitionError(Exception):
    """A job was asked to change between two states that do not follow each other: a bug of ours."""


def advance(current: JobState, to: JobState) -> JobState:
    """Return ``to`` if a job in ``current`` may go there; staying is always legal.

    Raises:
        IllegalTransitionError: the step is not in ``TRANSITIONS``.
    """
    if to is not current and to not in TRANSITIONS[current]:
        raise IllegalTransitionError(f"{current} → {to}")
    return to


def new_job_id() -> JobId:
    """A fresh UUID, version 7 (RFC 9562 §5.7): its text sorts by time of creation."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & ((1 << 48) - 1)) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    return JobId(str(uuid.UUID(int=value)))


def is_job_id(text: object) -> bool:
    """Whether it is a UUID as jobs are called, in lower case: the name of a file, then, and no path."""
    return isinstance(text, str) and _UUID.fullmatch(text) is not None


def encode_name(name: str) -> str | dict[str, str]:
    """A file name for JSON: text as it is, or ``{"base64": …}`` where its bytes are not UTF-8.

    ``name`` is as Python reads names from the file system (undecodable bytes as surrogates, PEP 383).
    """
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return {"base64": base64.b64encode(os.fsencode(name)).decode("ascii")}
    return name


def decode_name(value: str | Mapping[str, str]) -> str:
    """The inverse of ``encode_name``."""
    return value if isinstance(value, str) else os.fsdecode(base64.b64decode(value["base64"]))


def printable(name: str) -> str:
    """A file name as text that is safe to show anywhere: control and undecodable bytes become escapes."""
    if name.isprintable():
        return name
    return "".join(ch if ch.isprintable() else ch.encode("unicode_escape", "surrogatepass").decode() for ch in name)


@dataclass(frozen=True, slots=True)
class Output:
    """The form of the stems: container, bits per sample (``16``, ``24`` or ``32f``) and rate (Hz or ``source``)."""

    format: str = "flac"
    bit_depth: str = "24"
    sample_rate: int | str = "source"


@dataclass(frozen=True, slots=True)
class Limits:
    """Hard limits of one job: bytes of memory and disk, CPU cores, seconds, processes and threads.

    ``None`` is no limit.
    """

    memory: int | None = None
    cpu: float | None = None
    disk: int | None = None
    time: float | None = None
    pids: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of an engine, with every default filled in.

    ``stems`` is a number of stems or their names; ``options`` are the engine's own and validated by it.
    ``retention`` and, should the job fail, ``orphan_retention`` are in seconds. ``mode`` and ``group`` are the
    permissions of the finished files. Recordings longer than ``threshold`` seconds keep a checkpoint every
    ``checkpoint`` seconds. ``next`` is the inbox whose job the stems become.
    """

    engine: str
    model: str
    stems: int | tuple[str, ...]
    output: Output = Output()
    options: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = Limits()
    priority: int = 5
    tags: Mapping[str, str] = field(default_factory=dict)
    art: str | None = None
    retention: float | None = None
    orphan_retention: float | None = None
    handoff: Mapping[str, Any] = field(default_factory=dict)
    keep_source: bool = True
    mode: int = 0o640
    group: str | None = None
    threshold: float = 600.0
    checkpoint: float = 60.0
    next: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "stems": self.stems if isinstance(self.stems, int) else list(self.stems)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Request:
        stems = data["stems"]
        return cls(
            **{
                **data,
                "stems": stems if isinstance(stems, int) else tuple(stems),
                "output": Output(**data["output"]),
                "limits": Limits(**data["limits"]),
            }
        )


@dataclass(frozen=True, slots=True)
class Length:
    """How much audio a recording declares to hold: seconds, Hz, channels."""

    seconds: float
    sample_rate: int
    channels: int


@dataclass(frozen=True, slots=True)
class Source:
    """A file a job works on. ``name`` is its original name, ``path`` where it stands below ``work/J/src``.

    ``bytes``, ``modified_ns`` and ``changed_ns`` (its ctime) are those it was hashed with: a file that has another
    size or mtime by now has changed since, one with another ctime may have. ``length`` is what it declares, ``None``
    where that could not be read.
    """

    name: str
    path: str
    sha256: str
    bytes: int
    modified_ns: int
    length: Length | None = None
    changed_ns: int | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": encode_name(self.name),
            "path": encode_name(self.path),
            "sha256": self.sha256,
            "bytes": self.bytes,
            "modified_ns": self.modified_ns,
            "length": asdict(self.length) if self.length else None,
            "changed_ns": self.changed_ns,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Source:
        return cls(
            name=decode_name(data["name"]),
            path=decode_name(data["path"]),
            sha256=data["sha256"],
            bytes=data["bytes"],
            modified_ns=data["modified_ns"],
            length=Length(**data["length"]) if data.get("length") else None,
            changed_ns=data.get("changed_ns"),
        )


@dataclass(frozen=True, slots=True)
class Job:
    """One accepted job: ``work/J/job.json``, and the head of every record about it.

    ``epoch`` counts how often a person put it back (``stemd retry``); times are seconds since 1970 (UTC).
    ``album`` is there for a job that came in an album: that one's ``job_uuid``, and in ``place`` the folder (below
    the user's in the outbox) that the result goes to. ``inputs`` are the files of a job that takes several, by role;
    its ``source`` is the folder they are in, hashed as the roles and hashes of them all.
    """

    job_uuid: JobId
    user_id: str
    inbox: str
    title: str
    source: Source
    request: Request
    claimed_at: float
    epoch: int = 0
    compliance: Mapping[str, Any] = field(default_factory=dict)
    album: Mapping[str, str] | None = None
    inputs: Mapping[str, Source] = field(default_factory=dict)

    @property
    def files(self) -> tuple[Source, ...]:
        """Every file it works on."""
        return tuple(self.inputs.values()) or (self.source,)

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "job_uuid": self.job_uuid,
            "user_id": self.user_id,
            "inbox": self.inbox,
            "title": encode_name(self.title),
            "source": self.source.to_dict(),
            "request": self.request.to_dict(),
            "claimed_at": self.claimed_at,
            "epoch": self.epoch,
            "compliance": dict(self.compliance),
            "album": dict(self.album) if self.album else None,
            **({"inputs": {role: each.to_dict() for role, each in self.inputs.items()}} if self.inputs else {}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Job:
        return cls(
            job_uuid=JobId(data["job_uuid"]),
            user_id=data["user_id"],
            inbox=data["inbox"],
            title=decode_name(data["title"]),
            source=Source.from_dict(data["source"]),
            request=Request.from_dict(data["request"]),
            claimed_at=data["claimed_at"],
            epoch=data.get("epoch", 0),
            compliance=data.get("compliance", {}),
            album=data.get("album"),
            inputs={role: Source.from_dict(each) for role, each in data.get("inputs", {}).items()},
        )
