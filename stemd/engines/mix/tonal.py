"""Tonal balance: what the blend's spectrum lacks or has too much of, as bands of an equaliser for each stem. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from stemd.engines.mix.analysis import Analysis
from stemd.engines.mix.curves import curve
from stemd.engines.mix.equaliser import response_db
from stemd.engines.mix.parameters import Filter, Track
from stemd.engines.mix.settings import Settings
from stemd.engines.mix.spectrum import third_octaves

#: Where a stem can be bent, an octave apart, and how wide (an octave).
_CENTRES = (63, 125, 250, 500, 1000, 2000, 4000, 8000)
_Q = 1.414
_LEAST, _MOST_BANDS = 0.5, 4
#: The bands by which level is taken out of the comparison; beyond them little is heard.
_LOWEST, _HIGHEST = 63.0, 10_000.0
_MOST_BY_REFERENCE = 6.0
#: A band so many dB below the loudest has nothing in it that could be brought out.
_EMPTY = 50.0


def balance(
    settings: Settings,
    stems: Mapping[str, Analysis],
    tracks: Mapping[str, Track],
    rate: int,
    reference: Analysis | None,
) -> dict[str, tuple[Filter, ...]]:
    """Bands for each stem that bring the blend towards the curve, or towards the reference by its strength.

    In each octave the blend's deviation, up to ``max_db`` (6 dB for a reference), is corrected where it comes from: the
    stem with most power there takes all of the correction, the others as much of it as they have of that power.
    """
    sounding = {role: np.array(stem.bands_db) for role, stem in stems.items() if stem.bands_db is not None}
    target = _target(settings, third_octaves(rate), reference)
    if target is None or not sounding:
        return {}
    centres = third_octaves(rate)
    powers = {role: 10 ** ((bands + _planned(tracks[role], centres, rate)) / 10) for role, bands in sounding.items()}
    blend = np.sum([*powers.values()], axis=0)
    curve_db, strength, most = target
    correction = _correction(centres, 10 * np.log10(blend), curve_db, strength)
    correction = np.clip(correction, -most, most)
    most_power = np.max([*powers.values()], axis=0)
    return {role: _bands(correction * power / most_power, centres) for role, power in powers.items()}


def _correction(
    centres: NDArray[np.float64], blend_db: NDArray[np.float64], curve_db: NDArray[np.float64], strength: float
) -> NDArray[np.float64]:
    """What takes the blend towards the curve, level apart; nothing where one of them has nothing."""
    within = (centres > _LOWEST * 0.95) & (centres < _HIGHEST * 1.05)
    heard = within & (blend_db > blend_db[within].max() - _EMPTY) & (curve_db > curve_db[within].max() - _EMPTY)
    difference = np.where(heard, curve_db - blend_db, 0.0)
    level = difference[heard].mean() if heard.any() else 0.0
    return np.where(heard, strength * (difference - level), 0.0)


def _target(
    settings: Settings, centres: NDArray[np.float64], reference: Analysis | None
) -> tuple[NDArray[np.float64], float, float] | None:
    """The spectrum to come near to, how far, and the most a band may be changed."""
    if settings.reference is not None and reference is not None and reference.bands_db is not None:
        return np.array(reference.bands_db), settings.reference.strength, _MOST_BY_REFERENCE
    if settings.tonal_balance is None:
        return None
    return curve(settings.tonal_balance.curve, centres), 1.0, settings.tonal_balance.max_db


def _planned(track: Track, centres: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    """What the track's gains and equalisers do to its level, in dB."""
    filters = (*track.eq, *((track.air,) if track.air else ()))
    return np.asarray(response_db(filters, centres, rate)) + track.auto_gain_db + track.gain_db


def _bands(correction: NDArray[np.float64], centres: NDArray[np.float64]) -> tuple[Filter, ...]:
    """The largest corrections, an octave each."""
    filters = []
    for hz in _CENTRES:
        octave = (centres > hz * 0.75) & (centres < hz * 1.34)
        if octave.any():
            filters.append(Filter("peak", float(hz), round(float(correction[octave].mean()), 1), _Q))
    largest = sorted((each for each in filters if abs(each.db) >= _LEAST), key=lambda each: -abs(each.db))[:_MOST_BANDS]
    return tuple(sorted(largest, key=lambda each: each.hz))
