"""The sheet that a mix's picture is drawn on: names on the left, time from left to right on the right."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw
from scipy.interpolate import PchipInterpolator

from stemd.engines.audio.peaks import FULL_SCALE
from stemd.engines.mix.lettering import fitted, font

MARGIN = 28
_WIDTH, _LEFT, _RIGHT = 1600, 216, 1568
_COLUMNS = _RIGHT - _LEFT
_PAPER, _INK, _FAINT_INK, _RULE = "#fbfbf9", "#20283a", "#717a8c", "#e4e6ea"
_ACCENT = "#3565ad"
_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800)
_MOST_TICKS = 12
_HERTZ = {20: "20", 50: "50", 100: "100", 200: "200", 500: "500", 1000: "1k", 2000: "2k", 5000: "5k", 10_000: "10k"}
_LOWEST_HZ, _HIGHEST_HZ = 20.0, 20_000.0
_DECIBELS = 60
_HEADROOM = 0.94
_TWO_LINES = 48
"""Pixels of a lane that has room for a level below its name."""

_Values = NDArray[np.float64]


def mask(top: _Values, bottom: _Values, height: int) -> Image.Image:
    """Columns filled from ``top`` down to ``bottom`` (pixels, at least one apart), with smooth edges."""
    middle, half = (top + bottom) / 2, np.maximum((bottom - top) / 2, 0.5)
    rows = np.arange(height)[:, None]
    cover = np.clip(np.minimum(rows + 1, middle + half) - np.maximum(rows, middle - half), 0, 1)
    return Image.fromarray(np.rint(cover * 255).astype(np.uint8))


class Sheet:
    """``image`` is what was drawn so far; all places are in pixels from the top."""

    def __init__(self, height: int, seconds: float) -> None:
        self.image = Image.new("RGB", (_WIDTH, height), _PAPER)
        self._draw = ImageDraw.Draw(self.image)
        self._seconds = seconds

    def length(self) -> str:
        """How long the mix is, in words."""
        return _clock(self._seconds, 1) if self._seconds >= 1 else f"{self._seconds:.3f} s"

    def head(self, title: str, facts: Sequence[str]) -> None:
        at = float(_RIGHT)
        for text in reversed(facts):
            self._draw.text((at, 42), text, _FAINT_INK, font(17), anchor="rm")
            at -= font(17).getlength(text) + 24
        text, face = fitted(title, 28, at - MARGIN - 24, "Final mix")
        self._draw.text((MARGIN, 40), text, _INK, face, anchor="lm")

    def time_axis(self, top: int, bottom: int) -> None:
        """Rules through everything from ``top`` to ``bottom``, and their times below."""
        step = next((each for each in _STEPS if self._seconds / each <= _MOST_TICKS), 3600.0)
        while self._seconds / step > _MOST_TICKS:
            step *= 2
        for number in range(int(self._seconds / step) + 1):
            at = _LEFT + _COLUMNS * number * step / self._seconds
            self._draw.line([(at, top), (at, bottom + 5)], _RULE)
            self._draw.text((at, bottom + 16), _clock(number * step, step), _FAINT_INK, font(13), anchor="mm")

    def lane(
        self, top: int, height: int, view: Mapping[str, Any], full: float, colour: str, names: tuple[str, str]
    ) -> None:
        """A track ``full`` high at most; the second of its ``names`` is for one that cannot be written."""
        self._wave(top + 1, height - 2, _outline(view, (height - 2) / full if full > 0 else 0.0), colour)
        size, middle = max(11, min(16, height - 3)), top + height / 2
        second = height >= _TWO_LINES
        name_at = middle - 10 if second else middle
        self._draw.ellipse([MARGIN, name_at - 4, MARGIN + 8, name_at + 4], colour)
        text, face = fitted(names[0], size, _LEFT - MARGIN - 34, names[1])
        self._draw.text((MARGIN + 18, name_at), text, _INK, face, anchor="lm")
        if second:
            rms = view["levels"]["rms_dbfs"]
            level = "silent" if rms is None else f"{rms:.1f} dBFS RMS"
            self._draw.text((MARGIN + 18, middle + 11), level, _FAINT_INK, font(12), anchor="lm")

    def panel(self, top: int, height: int, view: Mapping[str, Any], colours: tuple[str, str], name: str) -> None:
        """One stage of the mix: its outline, its level inside, and its figures."""
        self._draw.rectangle([_LEFT, top, _RIGHT - 1, top + height - 1], outline=_RULE)
        full = max(1.0, highest(view))
        cover = self._wave(top, height, _outline(view, height / full), colours[0])
        level = _level(view, height / full)
        inside = mask(height / 2 - level, height / 2 + level, height)
        # never beyond the outline, which is a thin line where single waves can be seen
        self.image.paste(colours[1], (_LEFT, top), ImageChops.darker(inside, cover))
        self._draw.text((MARGIN, top + 12), name, _INK, font(20), anchor="lm")
        levels = view["levels"]
        figures = {"integrated_lufs": "{:.1f} LUFS", "true_peak_dbtp": "{:+.1f} dBTP", "range_lu": "{:.1f} LU range"}
        texts = [text.format(levels[key]) for key, text in figures.items() if levels[key] is not None] or ["silent"]
        for number, text in enumerate(texts):
            self._draw.text((MARGIN, top + 38 + 20 * number), text, _FAINT_INK, font(16), anchor="lm")

    def spectrum(
        self, top: int, height: int, master: Mapping[str, Any] | None, before: Mapping[str, Any] | None
    ) -> None:
        """Third octaves of the master as an area, of what it was made from as a line; the frequency is logarithmic."""
        self._draw.text((MARGIN, top + 12), "Spectrum", _INK, font(20), anchor="lm")
        for number, (text, colour) in enumerate((("master", _ACCENT), ("pre-master", _FAINT_INK))):
            at = top + 42 + 21 * number
            self._draw.line([(MARGIN, at), (MARGIN + 14, at)], colour, 3 - 2 * number)
            self._draw.text((MARGIN + 22, at), text, _FAINT_INK, font(14), anchor="lm")
        for hertz, text in _HERTZ.items():
            across = _LEFT + _COLUMNS * _octave(hertz)
            self._draw.line([(across, top), (across, top + height + 5)], _RULE)
            self._draw.text((across, top + height + 16), text, _FAINT_INK, font(13), anchor="mm")
        self._draw.text((_RIGHT, top + height + 16), "20 kHz", _FAINT_INK, font(13), anchor="rm")
        self._draw.rectangle([_LEFT, top, _RIGHT - 1, top + height - 1], outline=_RULE)
        if master is None:
            self._draw.text(((_LEFT + _RIGHT) / 2, top + height / 2), "silent", _FAINT_INK, font(16), anchor="mm")
            return
        ceiling = 10 * math.ceil((max(master["db"] + (before["db"] if before else [])) + 2) / 10)
        for decibels in range(20, _DECIBELS, 20):
            down = top + height * decibels / _DECIBELS
            self._draw.line([(_LEFT, down), (_RIGHT - 1, down)], _RULE)
            self._draw.text((_LEFT - 8, down), f"{ceiling - decibels} dB", _FAINT_INK, font(12), anchor="rm")
        self._fill(top, height, _bands(master, ceiling, height), area=True)
        if before:
            self._fill(top, height, _bands(before, ceiling, height), area=False)

    def _wave(self, top: int, height: int, outline: tuple[_Values, _Values], colour: str) -> Image.Image:
        below, above = outline
        cover = mask(height / 2 - above, height / 2 + below, height)
        self.image.paste(colour, (_LEFT, top), cover)
        return cover

    def _fill(self, top: int, height: int, line: tuple[int, _Values], *, area: bool) -> None:
        first, at = line
        if area:
            under = mask(at, np.full(len(at), float(height)), height).point(lambda value: value * 0.22)
            self.image.paste(_ACCENT, (_LEFT + first, top), under)
        before, half = np.concatenate([at[:1], at[:-1]]), 1.1 if area else 0.6
        edge = mask(np.minimum(at, before) - half, np.maximum(at, before) + half, height)
        self.image.paste(_ACCENT if area else _FAINT_INK, (_LEFT + first, top), edge)


def highest(view: Mapping[str, Any]) -> float:
    """The largest magnitude in the outline; 1 is full scale."""
    return float(np.abs(view["pairs"]).max()) / FULL_SCALE


def _outline(view: Mapping[str, Any], height: float) -> tuple[_Values, _Values]:
    """How far below and above the middle each column reaches, in pixels; a sample of 1 is half of ``height``, or so."""
    values = np.array(view["pairs"], np.float64) * (height / 2 * _HEADROOM / FULL_SCALE)
    # more pairs than columns: all of a column's; fewer: the same one again
    starts = np.arange(_COLUMNS) * len(values) // _COLUMNS
    return -np.minimum.reduceat(values[:, 0], starts), np.maximum.reduceat(values[:, 1], starts)


def _level(view: Mapping[str, Any], height: float) -> _Values:
    """The level in each column, on the scale of ``_outline``."""
    energy = view["energy"]
    places = (np.arange(_COLUMNS) + 0.5) * len(energy) / _COLUMNS - 0.5
    levels: _Values = 10 ** (np.interp(places, np.arange(len(energy)), energy) / 20)
    return levels * (height / 2 * _HEADROOM)


def _octave(hertz: float) -> float:
    """Where a frequency stands between the lowest and the highest, 0 … 1."""
    return math.log(hertz / _LOWEST_HZ) / math.log(_HIGHEST_HZ / _LOWEST_HZ)


def _bands(spectrum: Mapping[str, Any], ceiling: float, height: int) -> tuple[int, _Values]:
    """The first column that ``spectrum`` reaches, and how far below the top it is there and in those after it."""
    places = np.array([_octave(hertz) * _COLUMNS for hertz in spectrum["hz"]])
    columns = np.arange(math.ceil(places[0]), int(places[-1]) + 1)
    smooth = PchipInterpolator(places, np.maximum(spectrum["db"], ceiling - _DECIBELS - 10.0))
    return int(columns[0]), (ceiling - smooth(columns)) * height / _DECIBELS


def _clock(seconds: float, step: float) -> str:
    """A time as people read it, with as many places as steps of ``step`` need."""
    if step < 1:
        return f"{seconds:.{max(1, -math.floor(math.log10(step)))}f}"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
