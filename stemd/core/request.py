"""From settings to a request: defaults < inbox < job, and whose job it is. Pure rules, no I/O.

``Request.stems`` may be the empty tuple: all stems the model has. That is so when a model was named without stems.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from stemd.core.errors import StemdError
from stemd.core.job import JobId, Limits, Output, Request
from stemd.core.layers import over

if TYPE_CHECKING:
    from stemd.core.config import Config

Stems = int | tuple[str, ...]


class EngineDefault(NamedTuple):
    """The model an engine uses when none is named, and the stems asked of it."""

    model: str
    stems: Stems


#: Engines that come with stemd. Any other must be told its model.
ENGINE_DEFAULTS: Mapping[str, EngineDefault] = {
    "demucs": EngineDefault("htdemucs", 4),
    "spleeter": EngineDefault("4stems", 4),
    "mix": EngineDefault("mix", ()),
    "stub": EngineDefault("stub", 4),
}
_SEVERAL = frozenset({"mix"})
#: The form of a mix: `defaults.output` is about stems.
_OUTPUT_OF_SEVERAL = Output("wav", "24")


def takes_several(engine: str) -> bool:
    """Whether a job of this engine works on several recordings; a folder for it is one job, not an album."""
    return engine in _SEVERAL


@dataclass(frozen=True, slots=True)
class OutputChange:
    """What a job changes in the form of its stems; ``None`` where it says nothing."""

    format: str | None = None
    bit_depth: str | None = None
    sample_rate: int | str | None = None


@dataclass(frozen=True, slots=True)
class JobFile:
    """A checked ``job.yaml``, ``job.json`` or ``SONG.job.yaml``: what it says, ``None`` where it says nothing.

    ``inputs`` are file names, by role where the job gives roles. ``limits`` are in bytes, cores and seconds,
    ``retention`` in seconds. The command line's flags take the same form.
    """

    schema_version: int | None = None
    job_uuid: JobId | None = None
    user_id: str | None = None
    input: str | None = None
    inputs: tuple[str, ...] | Mapping[str, str] | None = None
    engine: str | None = None
    model: str | None = None
    stems: Stems | None = None
    output: OutputChange | None = None
    options: Mapping[str, Any] | None = None
    limits: Limits | None = None
    priority: int | None = None
    tags: Mapping[str, str] | None = None
    art: str | None = None
    retention: float | None = None
    handoff: Mapping[str, Any] | None = None


def resolve(config: Config, inbox: str | None, job: JobFile | None = None, user: str | None = None) -> Request:
    """What is asked of the engine for a file in ``inbox`` (``None``: the default one) with the job file ``job``.

    Of ``user`` the quota counts (its limits, and the best priority that a job may ask for), and the retention.
    Model, stems and options of a layer count only if they were meant for the engine that is used. Limits and
    retention can only be lowered from layer to layer.

    Raises:
        StemdError: STEMD-S010, the engine has no default model and none is named.
    """
    box = config.inbox(inbox)
    job = job or JobFile()
    home = box.engine or config.defaults.engine
    engine = job.engine or home
    model, stems = _model(config, inbox, job, engine)
    operator = config.engine(engine).limits
    quota = config.quota_of(user) if user else None
    most = (quota.limits, Limits(memory=quota.memory)) if quota else ()
    mode, group = permissions(config, inbox)
    owner = config.users.get(user) if user else None
    shorter = (box.retention, owner.retention if owner else None, job.retention)
    return Request(
        engine=engine,
        model=model,
        stems=stems,
        output=_output(config, inbox, job, engine),
        options=over(box.options if home == engine else {}, job.options or {}),
        limits=_lowest((operator, box.limits, *most, job.limits or Limits())),
        priority=_priority(job.priority, _first(box.priority, 5), quota.priority if quota else None),
        tags=dict(job.tags or {}),
        art=job.art,
        retention=_minimum((config.retention.outbox, *shorter)),
        orphan_retention=_minimum((config.retention.orphan, *shorter)),
        handoff=dict(job.handoff or {}),
        keep_source=_first(box.source, config.defaults.source) == "keep",
        mode=mode,
        group=group,
        threshold=config.chunking.threshold,
        checkpoint=config.chunking.checkpoint,
        next=None if takes_several(engine) else _first(box.next, config.defaults.next) or None,
    )


def default_model(config: Config, engine: str) -> str | None:
    """The model that jobs of this engine use when they name none: of the default inbox, else of the engine's first."""
    for inbox in (None, *(name for name, box in config.inboxes.items() if box.engine == engine)):
        with suppress(StemdError):
            return _model(config, inbox, JobFile(), engine).model
    return None


def permissions(config: Config, inbox: str | None) -> tuple[int, str | None]:
    """Mode and group of what becomes of a file in ``inbox``."""
    box, defaults = config.inbox(inbox).output, config.defaults.output
    return _first(box.mode, defaults.mode), _first(box.group, defaults.group)


def user_for(config: Config, inbox: str | None, job: JobFile | None = None, dropper: str | None = None) -> str:
    """Whose job it is that arrived in ``inbox`` (``None``: the default one) with the job file ``job``.

    A configured inbox belongs to its ``user``, a folder with a user's name to that user. What lies in any other is
    that of ``dropper``, the configured user who owns the file itself, else of ``defaults.user``. Where the inbox says
    ``trust: manifest`` the job's own ``user_id`` is believed.

    Raises:
        StemdError: STEMD-P001, the job claims another user; STEMD-S010, a trusted job lacks job_uuid or user_id.
    """
    box = config.inbox(inbox)
    claimed = job.user_id if job else None
    if box.trust == "manifest":
        missing = [key for key in ("job_uuid", "user_id") if not getattr(job, key, None)]
        if missing or not claimed:
            raise StemdError(
                "STEMD-S010",
                f"inbox {inbox} takes only jobs whose job.yaml gives {' and '.join(missing)}: missing here",
            )
        return claimed
    at_home = box.user or (inbox if inbox in config.users else None)
    owner = at_home or dropper or config.defaults.user
    if claimed not in {None, owner}:
        what = "what it came in" if dropper and not at_home else _place(inbox)
        raise StemdError("STEMD-P001", f"the job says user_id {claimed!r}, but {what} belongs to {owner!r}")
    return owner


def presumed_user(config: Config, inbox: str | None, dropper: str | None = None) -> str:
    """Whose an entry of ``inbox`` is as long as nobody has read its job file."""
    try:
        return user_for(config, inbox, None, dropper)
    except StemdError:
        return config.defaults.user


def _priority(asked: int | None, given: int, best: int | None) -> int:
    """What a job asks for, but no better than ``best``, unless its inbox gives that by itself."""
    if asked is None or best is None:
        return given if asked is None else asked
    return max(asked, min(best, given))


def _place(inbox: str | None) -> str:
    return f"inbox/{inbox}" if inbox else "the inbox"


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _model(config: Config, inbox: str | None, job: JobFile, engine: str) -> EngineDefault:
    """Model and stems: a layer that names another model asks for all its stems unless it names them too."""
    box, defaults = config.inbox(inbox), config.defaults
    layers: list[tuple[str | None, Stems | None]] = [ENGINE_DEFAULTS.get(engine, (None, ()))]
    if defaults.engine == engine:
        layers.append((defaults.model, defaults.stems))
    if (box.engine or defaults.engine) == engine:
        layers.append((box.model, box.stems))
    layers.append((job.model, job.stems))
    model: str | None = None
    stems: Stems = ()
    for named, wanted in layers:
        if named and named != model:
            model, stems = named, ()
        if wanted is not None:
            stems = wanted
    if model is None:
        raise StemdError("STEMD-S010", f"engine {engine!r} has no model of its own by default: name one with `model:`")
    return EngineDefault(model, stems)


def _output(config: Config, inbox: str | None, job: JobFile, engine: str) -> Output:
    own = takes_several(engine) and not takes_several(config.defaults.engine)
    base = _OUTPUT_OF_SEVERAL if own else config.defaults.output
    layers = (job.output or OutputChange(), config.inbox(inbox).output, base)
    return Output(
        *(_first(*(getattr(layer, key) for layer in layers)) for key in ("format", "bit_depth", "sample_rate"))
    )


def _minimum(values: Iterable[Any]) -> Any:
    """The lowest number; ``None`` and ``auto`` set no limit."""
    return min((value for value in values if value not in (None, "auto")), default=None)


def _lowest(layers: Iterable[Any]) -> Limits:
    layers, keys = tuple(layers), ("memory", "cpu", "disk", "time", "pids")
    return Limits(*(_minimum(getattr(layer, key) for layer in layers) for key in keys))
