"""Settings of engines: device, workers and the operator's hard limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from stemd.core.config.fields import Cores, Count, CountOrAuto, Device, Duration, Environment, Section, Size


class Workers(Section):
    """How many worker processes may stand ready for an engine."""

    min: int = Field(default=0, ge=0, le=1024, description="Kept loaded even when there is nothing to do.")
    max: CountOrAuto = Field(default="auto", description="At most this many; auto: what memory and cores allow.")
    idle: Duration = Field(
        default=300.0, description="A worker without a job for this long is ended and its memory freed."
    )
    jobs: Count = Field(default=200, description="A worker is replaced after this many jobs.")


class EngineLimits(Section):
    """Hard limits of one job; inboxes and jobs can only lower them."""

    memory: Size | None = Field(default=6 * 2**30, description="Memory of the worker; null: no limit.")
    cpu: Cores = Field(default="auto", description="CPU cores of the worker; auto: its share of the machine.")
    time: Duration | None = Field(default=14400.0, description="Running time of one attempt; null: no limit.")
    disk: Size | None = Field(
        default=None, description="Disk space of the job's working folder; null: no limit.", examples=["50GiB"]
    )
    pids: Count | None = Field(default=1024, description="Processes and threads of the worker; null: no limit.")


class EngineConfig(Section):
    """One engine: demucs, spleeter, mix or the name of an installed plug-in."""

    device: Device = Field(default="auto", description="auto (the fastest that works), cpu, cuda, cuda:N or mps.")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        description="auto, fp32, bf16 or fp16; less than fp32 is used only where it passed its check here.",
    )
    runtime: Literal["auto", "torch", "openvino"] = Field(
        default="auto",
        description="demucs: what computes; auto: openvino where it is installed, passed its check and is faster here.",
    )
    shared: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="demucs: one process computes for all workers, segments of their jobs together; auto: on a card of "
        "NVIDIA's; always: with device cpu too, which is slower; never: each worker by itself.",
    )
    together: CountOrAuto = Field(
        default="auto", description="demucs: so many segments at once where it is shared; auto: 4 on a graphics card."
    )
    workers: Workers = Field(default_factory=Workers, description="Worker processes.")
    limits: EngineLimits = Field(default_factory=EngineLimits, description="Hard limits of one job.")
    environment: Environment = Field(
        default="auto", description="spleeter: its own Python environment; auto: where `stemd engines install` puts it."
    )


#: What the engines that come with stemd differ in from ``EngineConfig``'s defaults.
BUILT_IN: Mapping[str, Mapping[str, Any]] = {
    "demucs": {},
    "spleeter": {"workers": {"max": 1}},
    "mix": {},
}


def with_built_in(value: Any) -> Any:
    """The engines as given, on top of the built-in ones."""
    if not isinstance(value, Mapping):
        return value
    return {name: _over(BUILT_IN.get(name, {}), value.get(name)) for name in [*BUILT_IN, *value]}


def _over(base: Mapping[str, Any], given: Any) -> Any:
    """``given`` laid over ``base``, mappings key by key; an empty body changes nothing."""
    if given is None:
        return dict(base)
    if not isinstance(given, Mapping):
        return given
    merged = {**base, **given}
    return {key: _over(base[key], merged[key]) if isinstance(base.get(key), Mapping) else merged[key] for key in merged}
