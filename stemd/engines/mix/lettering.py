"""Text for pictures: in a font that has its letters, and no wider than its place."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache

from PIL import ImageFont
from PIL.ImageFont import FreeTypeFont

#: Fonts with more letters than Pillow's own, taken where they are installed.
_OTHERS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "DroidSansFallbackFull.ttf",
    "wqy-microhei.ttc",
    "NotoSansArabic-Regular.ttf",
    "NotoSansHebrew-Regular.ttf",
)
_NO_CHARACTER = "\uffff"
_CUT = "…"


@cache
def font(size: int) -> FreeTypeFont:
    """Pillow's own font (Latin letters without accents), ``size`` pixels high."""
    own = ImageFont.load_default(size)
    assert isinstance(own, FreeTypeFont), "Pillow was built without FreeType"
    return own


def fitted(text: str, size: int, width: float, otherwise: str) -> tuple[str, FreeTypeFont]:
    """``text`` cut to ``width`` pixels, and the font to set it in.

    Where no font has all its letters they lose their accents; where that leaves none it is ``otherwise``.
    """
    text = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    chosen = next((each for each in _fonts(size) if _has(each, text)), None)
    if chosen is None or not text:
        plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().strip(" -_.")
        text, chosen = plain if any(each.isalnum() for each in plain) else otherwise, font(size)
    return _cut(text, chosen, width), chosen


@cache
def _fonts(size: int) -> Sequence[FreeTypeFont]:
    found = [font(size)]
    for name in _OTHERS:
        try:
            found.append(ImageFont.truetype(name, size))
        except OSError:
            continue
    return found


def _has(font: FreeTypeFont, text: str) -> bool:
    missing = _shape(font, _NO_CHARACTER)
    return all(each == " " or _shape(font, each) != missing for each in set(text))


def _shape(font: FreeTypeFont, character: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(character)
    return mask.size, bytes(mask)


def _cut(text: str, font: FreeTypeFont, width: float) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + _CUT) > width:
        text = text[:-1]
    return text.rstrip() + _CUT
