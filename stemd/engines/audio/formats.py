"""The forms a stem can be written in, and which of them fits a request."""

from __future__ import annotations

from dataclasses import dataclass

from stemd.core.errors import StemdError
from stemd.core.job import Output

_PCM = {"16": "PCM_16", "24": "PCM_24"}
#: The formats written: container (libsndfile's, but for MP4), subtypes by bit depth (lossy ones have one for all).
_FORMATS: dict[str, tuple[str, dict[str, str]]] = {
    "flac": ("FLAC", _PCM),
    "wav": ("WAV", {**_PCM, "32f": "FLOAT"}),
    "ogg": ("OGG", {"": "VORBIS"}),
    "opus": ("OGG", {"": "OPUS"}),
    "mp3": ("MP3", {"": "MPEG_LAYER_III"}),
    "stem.mp4": ("MP4", _PCM),
}
_RATES = {
    "opus": (8_000, 12_000, 16_000, 24_000, 48_000),
    "mp3": (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    "stem.mp4": (44_100, 48_000),
}
#: Above this rate the frames of a FLAC say it in steps of so many Hz (RFC 9639 §9.1.2).
_FLAC_FINE, _FLAC_STEP = 65_535, 10
WAV_LIMIT = 0xFFFFFFFF - (32 << 20)
"""More bytes of sound than this make a WAV an RF64: tags and cover come on top."""


@dataclass(frozen=True, slots=True)
class Target:
    """One chosen form: ``bits`` per sample of integer PCM, or ``None`` (float, lossy)."""

    name: str
    container: str
    subtype: str
    rate: int
    bits: int | None
    lossy: bool

    @property
    def ceiling(self) -> float | None:
        """The largest positive sample it holds (−1 is the smallest), or ``None`` for no limit."""
        if self.bits:
            return 1.0 - 2.0 ** (1 - self.bits)
        return 1.0 if self.lossy else None

    def container_for(self, frames: int, channels: int) -> str:
        """The container for this length: beyond 4 GiB a WAV becomes an RF64."""
        size = frames * channels * ((self.bits or 32) // 8)
        return "RF64" if self.container == "WAV" and size > WAV_LIMIT else self.container


def choose(output: Output, source_rate: int) -> Target:
    """The form for ``output`` of a source at ``source_rate`` Hz; a format without this rate takes the next it has.

    Raises:
        StemdError: STEMD-A006, there is no such format, or it does not hold this bit depth or rate.
    """
    if output.format not in _FORMATS:
        raise StemdError("STEMD-A006", f"no output format {output.format!r}; these are: {', '.join(_FORMATS)}")
    container, subtypes = _FORMATS[output.format]
    lossy = "" in subtypes
    subtype = subtypes.get("" if lossy else str(output.bit_depth))
    if subtype is None:
        fit = ", ".join(subtypes)
        raise StemdError("STEMD-A006", f"{output.format} does not hold bit_depth {output.bit_depth}; it holds {fit}")
    rate = source_rate if output.sample_rate == "source" else int(output.sample_rate)
    if not 8_000 <= rate <= 192_000:
        raise StemdError("STEMD-A006", f"sample_rate {rate} is outside 8000–192000")
    if rates := _RATES.get(output.format):
        rate = next((each for each in rates if each >= rate), rates[-1])
    if output.format == "flac" and rate > _FLAC_FINE:
        rate = -(-rate // _FLAC_STEP) * _FLAC_STEP
    bits = int(output.bit_depth) if subtype in _PCM.values() else None
    return Target(output.format, container, subtype, rate, bits, lossy)
