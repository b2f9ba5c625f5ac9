"""What a decoder tells about a file before it decodes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

BLOCK = 65_536
"""Frames per block everywhere: large enough to be fast, small enough to keep memory flat."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A recognised sound file.

    ``declared`` is the number of frames the container promises (``None``: it promises nothing binding) and
    ``tolerance`` how many may lack before the file counts as cut short. ``expected`` is a guess for progress only.
    ``padded`` tells whether what decodes beyond ``declared`` is an encoder's padding, ``wav_order`` whether the
    channels come as WAV has them (L R C …), not as Ogg has (L C R …), ``partial`` whether the decoder that found this
    stops before the file's end. ``spans`` are the parts of the file to decode, first byte and end, where it is not to
    be read as a whole, and ``bare`` how libsndfile calls the samples there and their byte order, where nothing else is
    in them; ``layout`` is what ffmpeg is told to bring the channels to, empty where their number is enough.
    """

    rate: int
    channels: int
    format: str
    declared: int | None = None
    tolerance: int = 0
    expected: int | None = None
    padded: bool = False
    wav_order: bool = True
    layout: str = ""
    partial: bool = False
    spans: tuple[tuple[int, int], ...] = ()
    bare: tuple[str, str] | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
