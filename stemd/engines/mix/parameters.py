"""What a mix is made of: the parameters of ordinary effects, as the report shows them and a re-render takes them."""

from __future__ import annotations

from dataclasses import dataclass, field

from stemd.engines.mix.reading import chosen, ranged


@dataclass(frozen=True, slots=True)
class Filter:
    """One equaliser band. ``kind``: peak, low_shelf, high_shelf, low_cut or high_cut (the cuts ignore ``db``)."""

    kind: str = chosen("peak", "peak", "low_shelf", "high_shelf", "low_cut", "high_cut")
    hz: float = ranged(1000.0, 10, 40_000)
    db: float = ranged(0.0, -24, 24)
    q: float = ranged(0.7071, 0.1, 20)


@dataclass(frozen=True, slots=True)
class Compressor:
    """Feed-forward, linked stereo. ``ratio`` 1 does nothing; ``threshold_db`` and ``knee_db`` in dB of full scale."""

    threshold_db: float = ranged(-18.0, -80, 0)
    ratio: float = ranged(2.0, 1, 100)
    attack_ms: float = ranged(10.0, 0, 1000)
    release_ms: float = ranged(120.0, 1, 10_000)
    knee_db: float = ranged(6.0, 0, 24)
    makeup_db: float = ranged(0.0, -24, 24)


@dataclass(frozen=True, slots=True)
class Transients:
    """Shaping of the envelope: dB added at full onset, dB added while a sound rings on (either may be negative)."""

    attack_db: float = ranged(0.0, -12, 12)
    sustain_db: float = ranged(0.0, -12, 12)


@dataclass(frozen=True, slots=True)
class Saturation:
    """A soft, odd-symmetric waveshaper run at ``oversample`` (1, 2, 4 or 8) times the rate; ``drive_db`` 0 is off."""

    drive_db: float = ranged(0.0, 0, 36)
    oversample: int = chosen(4, 1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class DeEsser:
    """Lowers what is above ``hz`` while it is louder than the rest by more than ``threshold_db``; ≤ ``max_db``."""

    hz: float = ranged(6000.0, 1000, 20_000)
    threshold_db: float = ranged(-6.0, -40, 12)
    max_db: float = ranged(6.0, 0, 24)


@dataclass(frozen=True, slots=True)
class Spatial:
    """Side signal × ``width``, none of it below ``mono_below_hz`` (0: off); ``pan`` −1 (left) … 1, constant power."""

    mono_below_hz: float = ranged(0.0, 0, 1000)
    width: float = ranged(1.0, 0, 3)
    pan: float = ranged(0.0, -1, 1)


@dataclass(frozen=True, slots=True)
class Track:
    """One stem's chain, in the order it is run. ``lag_ms`` above 0 is later. ``None``: that effect is off.

    ``trim_db`` is what gives the stem back the loudness that its effects took, or takes what they gave; ``None``: it is
    found out once they have been run.
    """

    lag_ms: float = ranged(0.0, -15_000, 15_000)
    auto_gain_db: float = ranged(0.0, -60, 60)
    transients: Transients | None = None
    tonal: tuple[Filter, ...] = ()
    spatial: Spatial | None = None
    eq: tuple[Filter, ...] = ()
    comp: Compressor | None = None
    saturation: Saturation | None = None
    gain_db: float = ranged(0.0, -120, 40)
    deess: DeEsser | None = None
    air: Filter | None = None
    trim_db: float | None = ranged(None, -24, 24)

    def lag(self, rate: int) -> int:
        """``lag_ms`` in frames."""
        return round(self.lag_ms * rate / 1000)


@dataclass(frozen=True, slots=True)
class Masking:
    """Tracks of ``duck`` give way to those of ``protect`` between ``low_hz`` and ``high_hz``, by ``max_db`` at most."""

    protect: tuple[str, ...] = ()
    duck: tuple[str, ...] = ()
    max_db: float = ranged(0.0, 0, 24)
    low_hz: float = ranged(250.0, 20, 20_000)
    high_hz: float = ranged(5000.0, 20, 20_000)


@dataclass(frozen=True, slots=True)
class Limiter:
    """Look-ahead limiter of the true peak (BS.1770-4 annex 2); ``ceiling_dbtp`` is the promise."""

    ceiling_dbtp: float = ranged(-1.0, -20, 0)
    lookahead_ms: float = ranged(1.5, 0.5, 20)
    release_ms: float = ranged(80.0, 1, 5000)


@dataclass(frozen=True, slots=True)
class Loudness:
    """The integrated loudness asked for (BS.1770-4) and how near to it a pass must come to be the last."""

    target_lufs: float = ranged(-14.0, -60, -3)
    tolerance_lu: float = ranged(0.1, 0.02, 5)


@dataclass(frozen=True, slots=True)
class Master:
    """The chain over the blend, in the order it is run; ``None``: off. ``width`` 1 changes nothing."""

    eq: tuple[Filter, ...] = ()
    comp: Compressor | None = None
    width: float = ranged(1.0, 0, 3)
    loudness: Loudness | None = None
    limiter: Limiter | None = None


@dataclass(frozen=True, slots=True)
class Parameters:
    """A whole mix: each track's by its role, what gives way to what, and the master."""

    tracks: dict[str, Track] = field(default_factory=dict)
    masking: Masking | None = None
    master: Master = field(default_factory=Master)
