"""Settings of jobs: what an inbox or the defaults ask of an engine, and the form of the stems."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from stemd.core.config.fields import (
    BitDepth,
    Cores,
    Count,
    Duration,
    Format,
    Free,
    Mode,
    Name,
    Priority,
    SampleRate,
    Section,
    Size,
    Stems,
    Text,
)
from stemd.core.request import ENGINE_DEFAULTS

Watch = Literal["auto", "events", "poll"]
KeepSource = Literal["keep", "delete"]


class Output(Section):
    """The form of the finished files."""

    format: Format = Field(default="flac", description="flac, wav, ogg, opus, mp3 or stem.mp4.")
    bit_depth: BitDepth = Field(default="24", description="16, 24 or 32f (float; wav only). Lossy formats have none.")
    sample_rate: SampleRate = Field(default="source", description="source, or a rate in Hz (8000 to 192000).")
    mode: Mode = Field(default=0o640, description="Permissions of finished files; folders get x where r is set.")
    group: Text | None = Field(
        default=None, description="Group of finished files; null: the service's own.", examples=["stemd"]
    )


class OutputChange(Section):
    """What an inbox changes in the form of its finished files; absent keys are those of ``defaults.output``."""

    format: Format | None = None
    bit_depth: BitDepth | None = None
    sample_rate: SampleRate | None = None
    mode: Mode | None = None
    group: Text | None = None


class LimitsChange(Section):
    """Limits below those of the engine; they can only lower them."""

    memory: Size | None = None
    cpu: Cores | None = None
    disk: Size | None = None
    time: Duration | None = None
    pids: Count | None = None


class ComplianceChange(Section):
    """What an inbox or a user changes in ``compliance``; a user's word counts more than an inbox's.

    ``erasable`` and ``legal_hold`` can only protect more than the operator's.
    """

    purpose: Text | None = None
    region: Text | None = None
    erasable: bool | None = None
    legal_hold: bool | None = None


class Inbox(Section):
    """One inbox beyond the default one: the folder ``inbox/NAME`` and what applies to files dropped there."""

    engine: Name | None = Field(default=None, description="Engine of this inbox; absent: defaults.engine.")
    model: Text | None = Field(default=None, description="Model of that engine.")
    stems: Stems | None = Field(
        default=None, description="2, 4, 5, 6, all or a list of names; absent with a model given: all of that model's."
    )
    user: Name | None = Field(default=None, description="Whose jobs these are; absent: defaults.user.")
    watch: Watch | None = Field(default=None, description="auto, events or poll; absent: defaults.watch.")
    trust: Literal["inbox", "manifest"] = Field(
        default="inbox",
        description="inbox: jobs belong to the inbox's user. manifest: the job.yaml's user_id is believed; "
        "job_uuid and user_id are then required.",
    )
    output: OutputChange = Field(default_factory=OutputChange, description="Changes to defaults.output.")
    options: Free = Field(default_factory=dict, description="The engine's own options.")
    limits: LimitsChange = Field(default_factory=LimitsChange, description="Limits below the engine's.")
    priority: Priority | None = Field(default=None, description="0 (first) to 9; absent: 5.")
    retention: Duration | None = Field(default=None, description="Keep results and failures for less.")
    compliance: ComplianceChange = Field(default_factory=ComplianceChange, description="Changes to compliance.")
    source: KeepSource | None = Field(default=None, description="keep or delete; absent: defaults.source.")
    next: Name | None = Field(default=None, description="Absent: defaults.next.")
    settle: Duration | None = Field(default=None, description="Absent: defaults.settle.")
    settle_unprobed: Duration | None = Field(default=None, description="Absent: defaults.settle_unprobed.")


class Defaults(Section):
    """What applies to every file that neither its inbox nor its job.yaml says otherwise about."""

    engine: Name = Field(default="demucs", description="demucs, spleeter, mix or an installed plug-in.")
    model: Text = Field(default="htdemucs", description="A model of that engine; used with that engine only.")
    stems: Stems = Field(
        default=4, description="2, 4, 5, 6, all or a list such as [vocals, drums]; used with that model only."
    )
    output: Output = Field(default_factory=Output, description="The form of the finished files.")
    source: KeepSource = Field(
        default="keep",
        description="keep: the original is in the finished folder, in source/. delete: it is removed at the end.",
    )
    next: Name | None = Field(
        default=None,
        description="Inbox, of the engine mix, whose job the finished stems become: separate, then mix.",
        examples=["mixes"],
    )
    settle: Duration = Field(default=2.0, description="A file is complete when it has not changed for this long …")
    settle_unprobed: Duration = Field(
        default=30.0, description="… or for this long where open writers cannot be detected."
    )
    user: Name = Field(
        default="everyone", description="Owner of jobs that neither their inbox nor their file's owner tells."
    )
    quota: Name | None = Field(default=None, description="Quota of users who have none of their own; null: no limit.")
    watch: Watch = Field(default="auto", description="auto: events where they work, else polling; or events, or poll.")

    @model_validator(mode="before")
    @classmethod
    def _model_of_engine(cls, value: Any) -> Any:
        """Another engine brings its own model; a model given without stems means all of its stems."""
        if not isinstance(value, dict) or not isinstance(engine := value.get("engine", "demucs"), str):
            return value
        filled = dict(value)
        if "model" in value:
            filled.setdefault("stems", ())
        elif engine in ENGINE_DEFAULTS:
            filled["model"], stems = ENGINE_DEFAULTS[engine]
            filled.setdefault("stems", stems)
        else:
            raise ValueError(f"engine {engine} has no model of its own by default: add defaults.model")
        return filled
