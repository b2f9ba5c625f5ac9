"""``job.yaml``, ``job.json`` and ``SONG.job.yaml``: read, checked as strictly as the configuration, made plain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import PlainValidator, ValidationError

from stemd.core.config import tree, units, validate
from stemd.core.config.faults import Fault, KeyPath, nearest, refuse
from stemd.core.config.fields import (
    BitDepth,
    Count,
    Duration,
    Format,
    Free,
    Name,
    Priority,
    RelativeFile,
    SampleRate,
    Section,
    Size,
    Stems,
    Tags,
    Text,
)
from stemd.core.job import SCHEMA_VERSION, JobId, Limits, is_job_id, printable
from stemd.core.request import JobFile, OutputChange, takes_several

MAX_BYTES = 256 * 1024
STAGED = ("job.yaml", "job.json")


def _uuid(value: Any) -> JobId:
    if isinstance(value, str) and is_job_id(value.lower()):
        return JobId(value.lower())
    raise ValueError(f"must be a UUID such as 0192f0c1-7f4e-7d2a-9c3b-5a6e8f901234, not {units.show(value)}")


def _version(value: Any) -> int:
    if value == SCHEMA_VERSION and value is not True:
        return SCHEMA_VERSION
    raise ValueError(f"must be {SCHEMA_VERSION}: this stemd knows no other, not {units.show(value)}")


def _cores(value: Any) -> float:
    if units.cores(value) == "auto":
        raise ValueError("must be a number of cores above 0, not 'auto'")
    return float(value)


def _inputs(value: Any) -> tuple[str, ...] | Mapping[str, str]:
    if isinstance(value, dict) and value:
        return {units.name(role): units.relative(file) for role, file in value.items()}
    if isinstance(value, list) and value:
        return tuple(units.relative(file) for file in value)
    raise ValueError(f"must be a list of files, or files by role such as {{vocals: v.wav}}, not {units.show(value)}")


class _Output(Section):
    format: Format | None = None
    bit_depth: BitDepth | None = None
    sample_rate: SampleRate | None = None


class _Limits(Section):
    memory: Size | None = None
    cpu: Annotated[float, PlainValidator(_cores)] | None = None
    disk: Size | None = None
    time: Duration | None = None
    pids: Count | None = None


class _Handoff(Section):
    next: Text | None = None
    metadata: Free | None = None


class _Job(Section):
    schema_version: Annotated[int, PlainValidator(_version)] | None = None
    job_uuid: Annotated[JobId, PlainValidator(_uuid)] | None = None
    user_id: Name | None = None
    input: RelativeFile | None = None
    inputs: Annotated[Any, PlainValidator(_inputs)] | None = None
    engine: Name | None = None
    model: Text | None = None
    stems: Stems | None = None
    output: _Output | None = None
    options: Free | None = None
    limits: _Limits | None = None
    priority: Priority | None = None
    tags: Tags | None = None
    art: RelativeFile | None = None
    retention: Duration | None = None
    handoff: _Handoff | None = None


def parse_job(data: bytes, name: str) -> JobFile:
    """Read and check a job file.

    ``name`` is its file name: ``job.yaml`` and ``job.json`` name their input (a mix may leave its out: all recordings
    beside it); ``SONG.job.yaml`` speaks for the ``SONG`` beside it, so it needs none and may name no other.

    Raises:
        StemdError: STEMD-S010 with every fault (``detail["faults"]``).
    """
    file = name.rpartition("/")[2]
    document = tree.read(data, printable(file), MAX_BYTES)
    faults, content, parsed = list(document.faults), document.data, None
    if content is not None and not isinstance(content, dict):
        faults.append(Fault.at(document.marks[()], (), "a job must be a mapping: lines of `key: value`"))
    elif content is not None or not faults:
        try:
            parsed = _Job.model_validate(content or {})
        except ValidationError as error:
            faults += validate.faults_of(error, _Job, lambda path: nearest(document.marks, path))
        faults += [
            Fault.at(nearest(document.marks, path), path, message)
            for path, message in _inputs_faults(content or {}, file)
        ]
    if parsed is None or faults:
        raise refuse("STEMD-S010", faults)
    return _plain(parsed)


def _inputs_faults(content: Mapping[str, Any], file: str) -> Iterator[tuple[KeyPath, str]]:
    """Whether the job says what to work on, once."""
    one, many = content.get("input"), content.get("inputs")
    song = file.removesuffix(".job.yaml") if file.endswith(".job.yaml") else None
    if song is not None:
        if many is not None:
            yield ("inputs",), "a job file beside a song has one input, that song"
        if one is not None and one != song:
            yield ("input",), f"a job file beside a song speaks for that song: leave it out, or {units.show(song)}"
        if content.get("art") is not None:
            yield ("art",), "a picture comes in a folder of its own with the song and a job.yaml, not beside a song"
    elif one is None and many is None:
        engine = content.get("engine")
        if isinstance(engine, str) and not takes_several(engine):  # else the inbox may say that all files count
            yield ("input",), "is required (or inputs)"
    elif one is not None and many is not None:
        yield ("inputs",), "input is given too: only one of them"


def _plain(job: _Job) -> JobFile:
    """The same without pydantic."""
    plain = {name: getattr(job, name) for name in type(job).model_fields}
    if job.output:
        plain["output"] = OutputChange(job.output.format, job.output.bit_depth, job.output.sample_rate)
    if job.limits:
        plain["limits"] = Limits(**dict(job.limits))
    if job.handoff:
        plain["handoff"] = job.handoff.model_dump(exclude_unset=True)
    return JobFile(**plain)
