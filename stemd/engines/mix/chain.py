"""A track's effects in their order, without those that would do nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from stemd.engines.mix.compressor import Compress
from stemd.engines.mix.deesser import DeEss
from stemd.engines.mix.equaliser import Equaliser, sections
from stemd.engines.mix.gain import Gain
from stemd.engines.mix.parameters import Compressor, DeEsser, Filter, Saturation, Spatial, Track, Transients
from stemd.engines.mix.processor import Processor
from stemd.engines.mix.saturation import Saturate
from stemd.engines.mix.spatial import Place
from stemd.engines.mix.transients import ShapeTransients


@runtime_checkable
class Reporting(Protocol):
    """An effect that can say what it did."""

    name: str

    def facts(self) -> dict[str, float]: ...


@dataclass(frozen=True, slots=True)
class _Linear:
    """Bands and a gain: any number of them in a row are one."""

    filters: tuple[Filter, ...] = ()
    gain_db: float = 0.0


_Part = _Linear | Processor | None


def track_chain(track: Track, rate: int) -> list[Processor]:
    """The effects of ``track`` at ``rate``, to be run in this order: all that ``Track`` names but the lag."""
    parts = [
        _Linear(gain_db=track.auto_gain_db),
        _transients(track.transients, rate),
        _Linear(track.tonal + track.eq),  # the place between them treats both channels' bands alike: they commute
        _place(track.spatial, rate),
        *_compressor(track.comp, rate),
        _saturation(track.saturation),
        _Linear(gain_db=track.gain_db),
        _deesser(track.deess, rate),
        _Linear((track.air,) if track.air else ()),
    ]
    return list(_merged(parts, rate))


def facts(chain: Iterable[Processor]) -> dict[str, dict[str, float]]:
    """What the dynamic effects of a chain did so far: name (as in ``Track``) → measure → dB."""
    return {effect.name: effect.facts() for effect in chain if isinstance(effect, Reporting)}


def _merged(parts: Iterable[_Part], rate: int) -> Iterator[Processor]:
    waiting = _Linear()
    for part in parts:
        if isinstance(part, _Linear):
            waiting = _Linear(waiting.filters + part.filters, waiting.gain_db + part.gain_db)
        elif part is not None:
            yield from _linear(waiting, rate)
            yield part
            waiting = _Linear()
    yield from _linear(waiting, rate)


def _linear(part: _Linear, rate: int) -> Iterator[Processor]:
    if len(sections(part.filters, rate)):
        yield Equaliser(part.filters, rate, part.gain_db)
    elif part.gain_db != 0:
        yield Gain(part.gain_db)


def _transients(settings: Transients | None, rate: int) -> Processor | None:
    return ShapeTransients(settings, rate) if settings and (settings.attack_db or settings.sustain_db) else None


def _place(settings: Spatial | None, rate: int) -> Processor | None:
    return Place(settings, rate) if settings and settings != Spatial() else None


def _compressor(settings: Compressor | None, rate: int) -> list[_Part]:
    if settings is None:
        return []
    return [Compress(settings, rate) if settings.ratio > 1 else _Linear(gain_db=settings.makeup_db)]


def _saturation(settings: Saturation | None) -> Processor | None:
    return Saturate(settings) if settings and settings.drive_db > 0 else None


def _deesser(settings: DeEsser | None, rate: int) -> Processor | None:
    return DeEss(settings, rate) if settings and settings.max_db > 0 and settings.hz < rate / 2 else None
