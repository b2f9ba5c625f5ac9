"""What a job may ask of a mix: each stage with its settings, as ``options`` has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stemd.core.layers import over
from stemd.core.stem_roles import FAMILIES, family
from stemd.engines.audio.decode import HIGHEST_RATE, LOWEST_RATE
from stemd.engines.mix.parameters import Compressor, DeEsser, Filter, Master, Saturation
from stemd.engines.mix.reading import bounds, chosen, ranged, read, worded

RATES = f"source or a number of Hz from {LOWEST_RATE} to {HIGHEST_RATE}"


@dataclass(frozen=True, slots=True)
class Reference:
    """A recording to come near to, in spectrum and loudness, by ``strength`` (0: not at all, 1: all the way)."""

    file: str | None = None
    strength: float = ranged(0.5, 0, 1)


@dataclass(frozen=True, slots=True)
class Align:
    """``auto``: not the stems of one separation. ``anchor``: the role that stays.

    ``None`` is the drums with most power, else the stem with most.
    """

    enabled: bool | str = chosen("auto", "auto", True, False)
    anchor: str | None = None
    max_shift_ms: float = ranged(1000.0, 1, 10_000)
    min_confidence: float = ranged(20.0, 0, 1000)


@dataclass(frozen=True, slots=True)
class AutoGain:
    """The loudness (LUFS) each family or role is brought to, by ``max_db`` at most, and up by ``max_boost_db``."""

    targets_lufs: dict[str, float] = field(default_factory=dict, metadata=bounds(-60, 0))
    max_db: float = ranged(12.0, 0, 40)
    max_boost_db: float = ranged(40.0, 0, 40)


@dataclass(frozen=True, slots=True)
class Air:
    """A high shelf."""

    hz: float = ranged(11_000.0, 2000, 20_000)
    db: float = ranged(2.0, -12, 12)


@dataclass(frozen=True, slots=True)
class TrackSettings:
    """What one stem, or each of a family, gets beyond what is planned for it."""

    gain_db: float = ranged(0.0, -120, 40)
    pan: float = ranged(0.0, -1, 1)
    eq: tuple[Filter, ...] = ()
    comp: Compressor | None = None
    saturation: Saturation | None = None
    deess: DeEsser | None = None
    air: Air | None = None


@dataclass(frozen=True, slots=True)
class TonalBalance:
    """The blend's long-term spectrum towards a curve, ``max_db`` a band at most; bent where a stem makes the band."""

    curve: str = chosen("pop", "pop", "bright", "warm", "speech", "pink")
    max_db: float = ranged(3.0, 0, 12)


@dataclass(frozen=True, slots=True)
class MicroDynamics:
    """Above 0: onsets stand out more where they are flat; below: they are tamed where they stand out."""

    amount: float = ranged(0.3, -1, 1)


@dataclass(frozen=True, slots=True)
class SpatialSettings:
    """Mono below a frequency, and the width of families or roles."""

    mono_below_hz: float = ranged(120.0, 0, 1000)
    width: dict[str, float] = field(default_factory=dict, metadata=bounds(0, 3))


@dataclass(frozen=True, slots=True)
class MaskingSettings:
    """Families or roles that others give way to, between the two frequencies of ``range_hz``."""

    protect: tuple[str, ...] = ("vocals",)
    duck: tuple[str, ...] = ("other", "drums", "guitar", "piano")
    max_db: float = ranged(4.0, 0, 24)
    range_hz: tuple[float, float] = ranged((250.0, 5000.0), 20, 20_000)


@dataclass(frozen=True, slots=True)
class Format:
    """One file of the mix: ``bits`` 16, 24 or 32 (float; wav only) where the codec has any."""

    codec: str = chosen("wav", "wav", "flac", "ogg", "opus", "mp3")
    bits: int = chosen(24, 16, 24, 32)


@dataclass(frozen=True, slots=True)
class Export:
    """Which files are made; no ``formats``: one in the job's ``output`` format."""

    formats: tuple[Format, ...] = ()
    dither: str = chosen("tpdf", "tpdf", "none")
    processed_stems: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything. ``None`` in place of a stage: it is off."""

    sample_rate: int | str = worded("source", RATES)
    reference: Reference | None = None
    align: Align | None = None
    auto_gain: AutoGain | None = None
    track: dict[str, TrackSettings | None] = field(default_factory=dict)
    tonal_balance: TonalBalance | None = None
    micro_dynamics: MicroDynamics | None = None
    spatial: SpatialSettings | None = None
    masking: MaskingSettings | None = None
    master: Master | None = field(default_factory=Master)
    export: Export = field(default_factory=Export)
    plan_only: bool = False

    def of_track(self, role: str) -> TrackSettings:
        """What ``role`` gets: settings of its own name, else of its family."""
        name = role if role in self.track else family(role)
        return self.track.get(name) or TrackSettings()


def of_role(table: Mapping[str, float], role: str, default: float) -> float:
    """The value for ``role``: by its own name, else by its family."""
    return table.get(role, table.get(family(role), default))


def parse(options: Mapping[str, Any], preset: Mapping[str, Any]) -> Settings:
    """``options`` over the values of a ``preset``, checked; what a role has of its own goes over its family's.

    Raises:
        StemdError: STEMD-E004, naming every fault.
    """
    merged = over(preset, options)
    tracks = merged["track"] = _switched(merged.get("track", {}))
    if isinstance(tracks, dict):
        for role in tracks.keys() - {*FAMILIES}:
            tracks.update(over({role: tracks.get(family(role))}, {role: tracks[role]}))
    settings: Settings = read(Settings, merged, "options")
    return settings


def _switched(tracks: Any) -> Any:
    """``track`` without its switch, which it has as every stage, beside the names of stems."""
    if tracks is None or isinstance(tracks, bool):
        return {}
    on = tracks.get("enabled") if isinstance(tracks, Mapping) else None
    if not isinstance(on, bool):
        return tracks
    return {role: each for role, each in tracks.items() if role != "enabled"} if on else {}
