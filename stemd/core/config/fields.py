"""The field types of the configuration, and the base of its models.

Every special value is one parser of ``units`` with its JSON Schema and the form it is shown in. Plain validators
instead of unions: their errors carry our sentence and no noise in the path, and they cost nothing to build.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator

from stemd.core.config import units

Schema = dict[str, Any]


class Section(BaseModel):
    """A mapping of the configuration: strict types, unknown keys refused, frozen.

    A section without a body (``http:`` alone) is one with all its defaults.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, value: Any) -> Any:
        """Absent sections as empty ones: validated with the whole tree they need no validator built for each."""
        if not isinstance(value, dict | None):
            return value
        absent: dict[str, Any] = {
            name: {} for name, field in cls.model_fields.items() if is_section(field.default_factory)
        }
        return {**absent, **(value or {})}


def is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


@dataclass(frozen=True, slots=True)
class Shown:
    """How a parsed value is written back into YAML; sits in a field's ``Annotated`` metadata."""

    form: Callable[[Any], Any]


def _text(pattern: str, *examples: str) -> Schema:
    return {"type": "string", "pattern": pattern, "examples": list(examples)}


_ABSOLUTE = _text("^[/~]", "/srv/stemd")
_SECONDS: Schema = {"type": "number", "minimum": 0, "maximum": units.LONGEST}
_BYTES: Schema = {"type": "integer", "minimum": 0, "exclusiveMaximum": units.TOO_LARGE}
_AUTO: Schema = {"const": "auto"}


def _either(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


_LASTS = r"(\s*\d+(\.\d+)?\s*(ms|[smhdw]))+\s*$"
_WEIGHS = r"\s*\d+(\.\d+)?\s*([KkMmGgTt][Ii]?)?[Bb]\s*$"
_SOME = "^(?=.*[1-9])"
Duration = Annotated[
    float,
    PlainValidator(units.duration),
    WithJsonSchema(_either(_text(f"^{_LASTS}", "30s", "5m", "4h"), _SECONDS)),
    Shown(units.format_duration),
]
Interval = Annotated[
    float,
    PlainValidator(units.interval),
    WithJsonSchema(
        _either(
            _text(f"{_SOME}{_LASTS}", "30s", "5m", "4h"),
            {"type": "number", "minimum": units.SHORTEST, "maximum": units.LONGEST_WAIT},
        )
    ),
    Shown(units.format_duration),
]
Size = Annotated[
    int,
    PlainValidator(units.size),
    WithJsonSchema(_either(_text(f"^{_WEIGHS}", "6GiB", "10GB"), _BYTES)),
    Shown(units.format_size),
]
SomeSize = Annotated[
    int,
    PlainValidator(units.some),
    WithJsonSchema(_either(_text(f"{_SOME}{_WEIGHS}", "6GiB", "10GB"), {**_BYTES, "minimum": 1})),
    Shown(units.format_size),
]
Cores = Annotated[
    float | Literal["auto"],
    PlainValidator(units.cores),
    WithJsonSchema(_either(_AUTO, {"type": "number", "exclusiveMinimum": 0})),
    Shown(lambda value: int(value) if value != "auto" and value == int(value) else value),
]
CountOrAuto = Annotated[
    int | Literal["auto"],
    PlainValidator(units.count_or_auto),
    WithJsonSchema(_either(_AUTO, {"type": "integer", "minimum": 1})),
]
Mode = Annotated[
    int,
    PlainValidator(units.mode),
    WithJsonSchema(_either(_text("^(0o)?[0-7]{3,4}$", "0640"), {"type": "integer"})),
    Shown(units.format_mode),
]
BitDepth = Annotated[
    str,
    PlainValidator(units.bit_depth),
    WithJsonSchema({"enum": [16, 24, "16", "24", "32f"]}),
    Shown(lambda value: value if value == "32f" else int(value)),
]
SampleRate = Annotated[
    int | str,
    PlainValidator(units.sample_rate),
    WithJsonSchema(_either({"const": "source"}, {"type": "integer", "minimum": 8000, "maximum": 192000})),
]
Stems = Annotated[
    int | tuple[str, ...],
    PlainValidator(units.stems),
    WithJsonSchema(
        _either({"enum": [2, 4, 5, 6, "all"]}, {"type": "array", "items": {"type": "string"}, "minItems": 1})
    ),
    Shown(lambda value: "all" if value == () else list(value) if isinstance(value, tuple) else value),
]
Name = Annotated[str, PlainValidator(units.name), WithJsonSchema(_text(r"^[^\W_]([\w.@+ -]*[\w@+-])?$", "ana"))]
AbsolutePath = Annotated[Path, PlainValidator(units.absolute), WithJsonSchema(_ABSOLUTE), Shown(str)]
StatePath = Annotated[
    Path | None,
    PlainValidator(units.state_path),
    WithJsonSchema(_either({"enum": [None, "ROOT/.state"]}, _ABSOLUTE)),
    Shown(lambda value: "ROOT/.state" if value is None else str(value)),
]
Roots = Annotated[
    tuple[Path, ...],
    PlainValidator(units.roots),
    WithJsonSchema(_either(_ABSOLUTE, {"type": "array", "items": _ABSOLUTE, "minItems": 1})),
    Shown(lambda value: str(value[0]) if len(value) == 1 else [str(each) for each in value]),
]
RelativeFile = Annotated[str, PlainValidator(units.relative), WithJsonSchema({"type": "string", "minLength": 1})]
Listen = Annotated[str, PlainValidator(units.listen), WithJsonSchema(_text(r":\d+$", "127.0.0.1:9814"))]
Url = Annotated[str, PlainValidator(units.url), WithJsonSchema(_text("^https?://", "https://example.org/hook"))]
Sha256 = Annotated[str, PlainValidator(units.sha256), WithJsonSchema(_text("^[0-9a-fA-F]{64}$"))]
Sha256s = Annotated[
    tuple[str, ...],
    PlainValidator(units.sha256s),
    WithJsonSchema({"type": "array", "items": _text("^[0-9a-fA-F]{64}$")}),
    Shown(list),
]
Texts = Annotated[
    tuple[str, ...],
    PlainValidator(units.texts),
    WithJsonSchema({"type": "array", "items": {"type": "string", "minLength": 1}}),
    Shown(list),
]
_COMMAND = {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}
Sinks = Annotated[
    tuple[tuple[str, ...], ...],
    PlainValidator(units.sinks),
    WithJsonSchema(
        {
            "type": "array",
            "items": _either(
                {"const": "log"},
                *(
                    {"type": "object", "properties": {kind: form}, "required": [kind], "additionalProperties": False}
                    for kind, form in (
                        ("webhook", _text("^https?://")),
                        ("alertmanager", _text("^https?://")),
                        ("command", _COMMAND),
                    )
                ),
            ),
        }
    ),
    Shown(
        lambda value: [
            kind if kind == "log" else {kind: list(rest) if kind == "command" else rest[0]} for kind, *rest in value
        ]
    ),
]
Device = Annotated[str, PlainValidator(units.device), WithJsonSchema(_text(r"^(auto|cpu|mps|cuda(:\d+)?)$", "auto"))]
Groups = Annotated[
    str, PlainValidator(units.groups), WithJsonSchema(_either({"enum": ["auto", "never"]}, _text("^/", "/stemd")))
]
Environment = Annotated[
    Path | Literal["auto"],
    PlainValidator(units.environment),
    WithJsonSchema(_either(_AUTO, _ABSOLUTE)),
    Shown(str),
]
Tags = Annotated[
    Mapping[str, str],
    PlainValidator(units.tags),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": ["string", "integer"]}}),
]
Free = Annotated[Mapping[str, Any], PlainValidator(units.free), WithJsonSchema({"type": "object"})]
JobIds = Annotated[
    tuple[str, ...],
    PlainValidator(units.job_ids),
    WithJsonSchema({"type": "array", "items": _text("^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")}),
    Shown(list),
]
Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Share = Annotated[float, Field(gt=0, le=1)]
Priority = Annotated[int, Field(ge=0, le=9)]

Format = Literal["flac", "wav", "ogg", "opus", "mp3", "stem.mp4"]
