"""The licence notices that go with the weights: of what the training material was made with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Soundfonts under the MIT licence, by how their files' names begin: what they are.
_FONTS = {
    "FluidR3": "The FluidR3 GM soundfont (rendered instruments). Copyright © 2000–2002, 2008 Frank Wen, © 2008 Toby "
    "Smithe.",
    "MuseScore_General": "The MuseScore General soundfont (rendered instruments; some of its samples are CC0 or in the "
    "public domain). Copyright © 2018–2021 S. Christian Collins, © 2014–2017 Michael Cowgill, © 2002 Ethan Winer, "
    "© 2016 Michael Schorsch, © 2000–2002, 2008 Frank Wen, © 2008 Toby Smithe, © 2018–2021 mirabilos.",
}
_MIT = """\
  > Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
  > documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
  > rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to
  > permit persons to whom the Software is furnished to do so, subject to the following conditions: The above copyright
  > notice and this permission notice shall be included in all copies or substantial portions of the Software. THE
  > SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
  > WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS
  > OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
  > OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
_SPEAKERS = {
    "espeak-ng": "GPL-3",
    "flite": "a licence of Carnegie Mellon University's like BSD's",
}
_WORLD = "- WORLD (modified BSD) resynthesised these voices into singing; nothing of it is in the weights.\n"


def notices(material: Mapping[str, Any]) -> str:
    """The text for ``material``, the record of what a run learnt from."""
    fonts = {shelf["soundfont"] for shelf in material.get("shelves", [])}
    lines = ["# Third-party notices\n", "What the songs were made of that these weights were trained on:\n"]
    for font in sorted(fonts):
        known = next((text for name, text in _FONTS.items() if font.startswith(name)), None)
        lines.append(f"- {known} MIT:\n\n{_MIT}" if known else f"- Soundfont `{font}`: see its own licence.\n")
    for speaker in speakers(material):
        terms = _SPEAKERS.get(speaker, "see its own licence")
        lines.append(f"- {speaker} ({terms}): only its audio output was used, not its code or data.\n")
    if fonts:
        lines.append(_WORLD)
    if real := material.get("real"):
        credit = material.get("credit") or "their licence is that of their folder"
        lines.append(f"- Real recordings, {', '.join(real)}: {credit}.\n")
    return "\n".join(lines)


def together(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The material of a model that goes on from another: what either learnt from. A song both had counts twice."""
    return {
        "songs": before.get("songs", 0) + now.get("songs", 0),
        "shelves": [*before.get("shelves", []), *now.get("shelves", [])],
        "real": sorted({*before.get("real", []), *now.get("real", [])}),
    }


def speakers(material: Mapping[str, Any]) -> list[str]:
    """The programs whose voices sing; shelves that do not say it are from before there were two."""
    return sorted({name for shelf in material.get("shelves", []) for name in shelf.get("speakers", ["espeak-ng"])})
