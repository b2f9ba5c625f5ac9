"""From what was found out to what is done: every parameter of the mix, decided before a sample is changed. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches

from stemd.core.errors import StemdError
from stemd.core.stem_roles import FAMILIES, family
from stemd.engines.mix.analysis import Analysis
from stemd.engines.mix.parameters import Filter, Loudness, Masking, Master, Parameters, Spatial, Track, Transients
from stemd.engines.mix.settings import MicroDynamics, Settings, SpatialSettings, of_role
from stemd.engines.mix.tonal import balance

_DEFAULT_TARGET = -22.0
_MONO, _OUT_OF_PHASE = 0.9999, -0.1
_LEAST_SHAPING = 0.25
_MOST_TRIM = 24.0
#: The loudness that can be asked for.
_SOFTEST, _LOUDEST = -60.0, -3.0
_MOST_SHAPING = 6.0
#: How much of the micro-dynamics a family takes; all others half.
_PERCUSSIVE = frozenset({"drums", "bass"})


@dataclass(frozen=True, slots=True)
class Plan:
    """The parameters, and what to tell about how they came about."""

    parameters: Parameters
    warnings: tuple[str, ...] = ()


def check_roles(settings: Settings, roles: Iterable[str]) -> None:
    """Refuse settings for roles that the job does not have; a family without a stem is no fault.

    Raises:
        StemdError: STEMD-E004, naming every one.
    """
    check_names(dict(_named_roles(settings)), [*roles, *FAMILIES], roles)


def check_names(named: Mapping[str, Iterable[str]], known: Iterable[str], roles: Iterable[str]) -> None:
    """Refuse names, by their place in the options, that are none of ``known``; the job's stems are ``roles``.

    Raises:
        StemdError: STEMD-E004, naming every one.
    """
    known, faults = list(known), []
    for place, names in named.items():
        for name in names:
            if name not in known:
                near = get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"its stems are {', '.join(roles)}"
                faults.append(f"options.{place}: the mix has no stem {name!r}; {hint}")
    if faults:
        raise StemdError("STEMD-E004", "; ".join(faults))


def _named_roles(settings: Settings) -> Iterator[tuple[str, Iterable[str]]]:
    yield "track", settings.track
    if settings.align and settings.align.anchor:
        yield "align.anchor", [settings.align.anchor]
    if settings.auto_gain:
        yield "auto_gain.targets_lufs", settings.auto_gain.targets_lufs
    if settings.spatial:
        yield "spatial.width", settings.spatial.width
    if settings.masking:
        yield "masking", (*settings.masking.protect, *settings.masking.duck)


def plan(
    settings: Settings,
    stems: Mapping[str, Analysis],
    lags: Mapping[str, int],
    rate: int,
    reference: Analysis | None = None,
) -> Plan:
    """Decide everything from the figures of the ``stems``, and of the ``reference`` to come near to."""
    gains, held = _auto_gains(settings, stems)
    tracks = {}
    for role, stem in stems.items():
        own = settings.of_track(role)
        tracks[role] = Track(
            lag_ms=round(1000 * lags.get(role, 0) / rate, 6),
            auto_gain_db=gains.get(role, 0.0),
            transients=_transients(settings.micro_dynamics, role, stem),
            spatial=_spatial(settings.spatial, role, stem, own.pan),
            eq=own.eq,
            comp=own.comp,
            saturation=own.saturation,
            gain_db=own.gain_db,
            deess=own.deess,
            air=Filter("high_shelf", own.air.hz, own.air.db) if own.air else None,
            trim_db=None if settings.auto_gain else 0.0,
        )
    warnings = [*_warnings(stems), *held]
    if reference is not None and reference.measured.integrated_lufs is None:
        warnings.append("the reference is silent, or too short to have a loudness: nothing was taken from it")
        reference = None
    for role, filters in balance(settings, stems, tracks, rate, reference).items():
        tracks[role] = replace(tracks[role], tonal=filters)
    return Plan(Parameters(tracks, _masking(settings, stems), _master(settings, reference)), tuple(warnings))


def trimmed(parameters: Parameters, before: Mapping[str, float | None], after: Mapping[str, float | None]) -> Plan:
    """With every trim known: what brings each stem from the loudness it has ``after`` its effects to the planned one.

    Both are integrated loudness in LUFS; what has none stays as it is, and so does a trim that was given.
    """
    tracks, warnings = {}, []
    for role, track in parameters.tracks.items():
        was, is_now, trim = before[role], after[role], track.trim_db
        if trim is None:
            planned = None if was is None else was + track.auto_gain_db + track.gain_db
            wanted = 0.0 if planned is None or is_now is None else planned - is_now
            trim = round(max(-_MOST_TRIM, min(_MOST_TRIM, wanted)), 2)
            if abs(wanted) > _MOST_TRIM:
                text = f"a trim of {trim:+g} dB instead of {wanted:+.1f} dB: its effects change its loudness by more"
                warnings.append(f"{role}: {text}")
        tracks[role] = replace(track, trim_db=trim)
    return Plan(replace(parameters, tracks=tracks), tuple(warnings))


def _auto_gains(settings: Settings, stems: Mapping[str, Analysis]) -> tuple[dict[str, float], list[str]]:
    """One gain for all stems of a family, so that together they reach its target; a role may have one of its own.

    With them what to tell of those that would have been larger than they may.
    """
    if settings.auto_gain is None:
        return {}, []
    targets, most = settings.auto_gain.targets_lufs, settings.auto_gain.max_db
    up = min(most, settings.auto_gain.max_boost_db)
    groups: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for role, stem in stems.items():
        if stem.measured.integrated_lufs is not None:
            groups[role if role in targets else family(role)][role] = stem.measured.integrated_lufs
    gains, held = {}, []
    for name, levels in groups.items():
        together = 10 * math.log10(sum(10 ** (level / 10) for level in levels.values()))
        wanted = of_role(targets, name, _DEFAULT_TARGET) - together
        gain = max(-most, min(up, wanted))
        gains.update(dict.fromkeys(levels, round(gain, 2)))
        if gain != wanted:
            bound = "max_boost_db" if up < most and gain > 0 else "max_db"
            text = f"{gain:+.1f} dB of gain instead of the {wanted:+.1f} dB to its target (`auto_gain.{bound}`)"
            held.append(f"{', '.join(levels)}: {text}")
    return gains, held


def _transients(settings: MicroDynamics | None, role: str, stem: Analysis) -> Transients | None:
    """Onsets raised where the crest factor is low (10 dB and less: fully), lowered where it is high (18 dB)."""
    crest = stem.measured.crest_db
    if settings is None or crest is None:
        return None
    room = (20 - crest) / 10 if settings.amount > 0 else (crest - 8) / 10
    share = settings.amount * (1.0 if family(role) in _PERCUSSIVE else 0.5)
    attack = round(_MOST_SHAPING * share * max(0.0, min(1.0, room)), 2)
    return Transients(attack_db=attack) if abs(attack) >= _LEAST_SHAPING else None


def _spatial(settings: SpatialSettings | None, role: str, stem: Analysis, pan: float) -> Spatial | None:
    correlation = stem.measured.correlation
    if settings is None or correlation is None or correlation > _MONO:
        return Spatial(pan=pan) if pan else None
    width = of_role(settings.width, role, 1.0)
    wanted = Spatial(settings.mono_below_hz, min(width, 1.0) if correlation < _OUT_OF_PHASE else width, pan)
    return wanted if wanted != Spatial() else None


def _masking(settings: Settings, stems: Mapping[str, Analysis]) -> Masking | None:
    if settings.masking is None or settings.masking.max_db == 0:
        return None
    protect = tuple(role for role in stems if {role, family(role)} & {*settings.masking.protect})
    duck = tuple(role for role in stems if {role, family(role)} & {*settings.masking.duck} and role not in protect)
    low, high = sorted(settings.masking.range_hz)
    return Masking(protect, duck, settings.masking.max_db, low, high) if protect and duck else None


def _master(settings: Settings, reference: Analysis | None) -> Master:
    own = settings.master or Master()
    loudness = own.loudness
    lufs = reference.measured.integrated_lufs if reference else None
    if loudness and settings.reference and lufs is not None:
        target = loudness.target_lufs + settings.reference.strength * (lufs - loudness.target_lufs)
        loudness = Loudness(round(max(_SOFTEST, min(_LOUDEST, target)), 2), loudness.tolerance_lu)
    return replace(own, loudness=loudness)


def _warnings(stems: Mapping[str, Analysis]) -> Iterator[str]:
    for role, stem in stems.items():
        if stem.bands_db is None:
            yield f"{role} is silent"
        elif stem.measured.correlation is not None and stem.measured.correlation < _OUT_OF_PHASE:
            yield f"{role}: left and right are out of phase (correlation {stem.measured.correlation:.2f}): not widened"
