"""Which files come out of a separation, and what each is made of. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stemd.core.errors import StemdError

RESIDUALS = ("off", "file", "other")
_TARGET, _REST = "vocals", "accompaniment"


@dataclass(frozen=True, slots=True)
class Part:
    """One output: the model's ``stem`` as it is, or (``stem`` is ``None``) the source less the stems in ``minus``."""

    name: str
    stem: str | None = None
    minus: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The outputs in order, and the model's stems they need, in the model's order."""

    parts: tuple[Part, ...]
    needed: tuple[str, ...]

    @property
    def uses_source(self) -> bool:
        return any(part.stem is None for part in self.parts)


def make_plan(model: Sequence[str], asked: int | Sequence[str], residual: str = "off") -> Plan:
    """The plan for ``asked`` (a number or names) of a model with the stems ``model``.

    A number equal to the model's gives all its stems; 2 gives ``vocals`` and the exact rest as ``accompaniment``.
    Among names, ``no_T`` is the exact rest of ``T``. ``residual`` says what becomes of what is in no stem: ``file``
    writes it, ``other`` adds it to ``other``. Where the rest of a target is among the outputs nothing is left over,
    and ``residual`` changes nothing.

    Raises:
        StemdError: STEMD-E003 (stems the model cannot give), STEMD-E004 (no such ``residual``, no ``other`` for it, or
            that alone).
    """
    parts = _counted(model, asked) if isinstance(asked, int) else _named(model, asked)
    if residual not in RESIDUALS:
        raise StemdError("STEMD-E004", f"residual is {residual!r}; it may be {', '.join(RESIDUALS)}")
    if residual != "off" and not any(part.stem is None for part in parts):
        parts = _with_residual(parts, residual)
    used = {stem for part in parts for stem in (part.stem, *part.minus) if stem}
    return Plan(parts, tuple(stem for stem in model if stem in used))


def _counted(model: Sequence[str], count: int) -> tuple[Part, ...]:
    if count == len(model):
        return tuple(Part(stem, stem) for stem in model)
    if count == 2 and _TARGET in model:
        return (Part(_TARGET, _TARGET), Part(_REST, minus=(_TARGET,)))
    raise StemdError("STEMD-E003", f"{count} stems were asked for; this model gives {_choices(model)}")


def _named(model: Sequence[str], names: Sequence[str]) -> tuple[Part, ...]:
    rests = {f"no_{stem}": stem for stem in model} | ({_REST: _TARGET} if _TARGET in model else {})
    parts: dict[str, Part] = {}
    for name in names:
        if name in model:
            parts[name] = Part(name, name)
        elif name in rests:
            parts[name] = Part(name, minus=(rests[name],))
        else:
            raise StemdError("STEMD-E003", f"there is no stem {name!r}; this model gives {_choices(model)}")
    if not parts:
        raise StemdError("STEMD-E003", f"no stem was asked for; this model gives {_choices(model)}")
    return tuple(parts.values())


def _with_residual(parts: tuple[Part, ...], residual: str) -> tuple[Part, ...]:
    if residual == "file":
        return (*parts, Part("residual", minus=tuple(part.name for part in parts)))
    if all(part.name != "other" for part in parts):
        raise StemdError("STEMD-E004", "residual: other needs `other` among the stems; use residual: file")
    rest = tuple(part.name for part in parts if part.name != "other")
    if not rest:
        raise StemdError("STEMD-E004", "residual: other needs other stems beside `other`; alone it would be the source")
    return tuple(replace(part, stem=None, minus=rest) if part.name == "other" else part for part in parts)


def _choices(model: Sequence[str]) -> str:
    two = f", 2 ({_TARGET}, {_REST})" if _TARGET in model and len(model) != 2 else ""
    return f"{len(model)} ({', '.join(model)}){two}, or a list of {', '.join(model)}, each also as no_NAME"
