"""What one mix was asked for: settings from preset and options, or the parameters of an earlier report."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stemd.core.config import read_mapping
from stemd.core.errors import StemdError
from stemd.core.job import Output
from stemd.engines.audio import formats
from stemd.engines.audio.decode import HIGHEST_RATE, LOWEST_RATE, Source
from stemd.engines.base import MixRequest
from stemd.engines.faults import reading
from stemd.engines.mix import presets
from stemd.engines.mix.parameters import Parameters
from stemd.engines.mix.plan import check_names, check_roles
from stemd.engines.mix.reading import plain, read
from stemd.engines.mix.settings import RATES, Format, Settings, parse

#: What may be said beside the parameters of a report: all else is decided by them.
_BESIDE_PARAMETERS = frozenset({"parameters", "sample_rate", "export", "plan_only"})
_MOST_REPORT = 4 << 20
#: Names of results, and of outlines in ``peaks.json``, which no stem may have.
_TAKEN = re.compile(r"final_mix(_\d+)?|report|peaks|waveform|manifest|(pre_)?master", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Brief:
    """``parameters`` are those given (``None``: they are to be planned); ``reference`` is a file to come near to.

    ``asked_rate`` is a number of Hz or ``source``.
    """

    preset: str
    settings: Settings
    formats: tuple[Format, ...]
    asked_rate: int | str = "source"
    parameters: Parameters | None = None
    reference: Path | None = None
    warnings: tuple[str, ...] = ()

    def rate(self, sources: Mapping[str, Source]) -> int:
        """The rate the mix is made at: asked for, or the highest of the stems'."""
        highest = max(source.rate for source in sources.values())
        return highest if self.asked_rate == "source" else int(self.asked_rate)

    def identity(self) -> dict[str, Any]:
        """Everything that the numbers depend on, for JSON."""
        with reading(self.reference or Path()):
            facts = self.reference.stat() if self.reference else None
        return {
            "settings": asdict(self.settings),
            "parameters": plain(self.parameters) if self.parameters else None,
            "reference": [facts.st_size, facts.st_mtime_ns] if facts else None,
        }


def brief_of(request: MixRequest) -> Brief:
    """Read and check everything the job says.

    Raises:
        StemdError: STEMD-E004 (an option), STEMD-A006 (a format), STEMD-S010 or S007 (a file that an option names).
    """
    options = dict(request.options)
    _check_names(request)
    given = options.pop("parameters", None)
    warnings = []
    if given is not None and (idle := sorted(map(str, options.keys() - _BESIDE_PARAMETERS))):
        warnings.append(f"decided by options.parameters, so without effect: {', '.join(idle)}")
        options = {key: value for key, value in options.items() if key in _BESIDE_PARAMETERS}
    preset = options.pop("preset", presets.DEFAULT)
    settings = parse(options, {} if given is not None else presets.load(preset, request.find))
    _check_rate(settings.sample_rate)
    check_roles(settings, request.inputs)
    parameters = _parameters(given, request) if given is not None else None
    if parameters and (untold := [role for role in request.inputs if role not in parameters.tracks]):
        warnings.append(f"without options.parameters of its own, so mixed unchanged: {', '.join(untold)}")
    return Brief(
        "none: parameters were given" if given is not None else str(preset),
        settings,
        _formats(settings, request),
        settings.sample_rate if settings.sample_rate != "source" else request.output.sample_rate,
        parameters,
        _reference(settings, request),
        tuple(warnings),
    )


def _check_names(request: MixRequest) -> None:
    if taken := [role for role in request.inputs if _TAKEN.fullmatch(role)]:
        message = f"a stem cannot have the role {taken[0]!r}: a result is called that"
        raise StemdError("STEMD-E004", message, remedy="Give it another in `inputs`, or leave its file out.")
    alike = Counter(role.casefold() for role in request.inputs)
    if twice := [role for role in request.inputs if alike[role.casefold()] > 1]:
        raise StemdError("STEMD-E004", f"the roles {twice[0]!r} and {twice[1]!r} differ in capitals only")


def _reference(settings: Settings, request: MixRequest) -> Path | None:
    """The recording to come near to, which is none of the stems."""
    if settings.reference is None or settings.reference.file is None:
        return None
    name = settings.reference.file
    path = request.find(name)
    if mixed := [role for role, each in request.inputs.items() if each.path == path]:
        message = f"options.reference.file: {name!r} would be mixed into the song, as the stem {mixed[0]!r}"
        raise StemdError("STEMD-E004", message, remedy="Leave it out of `inputs`, or switch `reference` off.")
    return path


def _check_rate(rate: int | str) -> None:
    if rate != "source" and (not isinstance(rate, int) or not LOWEST_RATE <= rate <= HIGHEST_RATE):
        raise StemdError("STEMD-E004", f"options.sample_rate is {rate!r}; it must be {RATES}")


def _formats(settings: Settings, request: MixRequest) -> tuple[Format, ...]:
    """The files asked for; without a word about them, one as the job's ``output`` says."""
    if settings.export.formats:
        forms = set()
        for each in settings.export.formats:
            form = formats.choose(Output(each.codec, "32f" if each.bits == 32 else str(each.bits)), 48_000)
            if form in forms:
                raise StemdError("STEMD-E004", f"options.export.formats asks for the same {each.codec} twice")
            forms.add(form)
        return settings.export.formats
    output = request.output
    if output.format == "stem.mp4":
        raise StemdError("STEMD-A006", "a mix is one track: stem.mp4 holds several")
    formats.choose(output, 48_000)
    bits = 32 if output.bit_depth == "32f" else int(output.bit_depth)
    return (Format(output.format, bits),)


def _parameters(given: Any, request: MixRequest) -> Parameters:
    """``options.parameters``: those of a report, written out or by the name of its file."""
    if isinstance(given, str):
        document = read_mapping(request.find(given), "STEMD-E004", _MOST_REPORT)
        given = document.get("parameters", document)
    parameters: Parameters = read(Parameters, given, "options.parameters")
    masking = parameters.masking
    named = {"tracks": parameters.tracks, "masking": (*masking.protect, *masking.duck) if masking else ()}
    check_names({f"parameters.{place}": names for place, names in named.items()}, request.inputs, request.inputs)
    return parameters
