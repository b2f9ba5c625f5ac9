"""libfluidsynth by ctypes: notes in, two channels out, some hundred times faster than realtime."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from stemd.core.errors import StemdError
from stemd.training.composing.theory import Note
from stemd.training.terms import RATE, Sound

#: Frames that events fall on, and the channel and bank of drums.
_BLOCK, _DRUM_CHANNEL, DRUMS = 64, 9, 128
_ON, _OFF = 1, 0


@cache
def library() -> Any:
    """The loaded library, or ``None`` where it is not installed."""
    name = ctypes.util.find_library("fluidsynth")
    if name is None:
        return None
    found = ctypes.CDLL(name)
    pointer, whole, real, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_double, ctypes.c_char_p
    found.new_fluid_settings.restype = found.new_fluid_synth.restype = pointer
    for function, arguments in {
        "new_fluid_synth": [pointer],
        "fluid_settings_setnum": [pointer, text, real],
        "fluid_settings_setint": [pointer, text, whole],
        "fluid_synth_sfload": [pointer, text, whole],
        "fluid_synth_program_select": [pointer, whole, whole, whole, whole],
        "fluid_synth_noteon": [pointer, whole, whole, whole],
        "fluid_synth_noteoff": [pointer, whole, whole],
        "delete_fluid_synth": [pointer],
        "fluid_synth_write_float": [pointer, whole, pointer, whole, whole, pointer, whole, whole],
    }.items():
        getattr(found, function).argtypes = arguments
    return found


class Fluid:
    """One soundfont, ready to play; reverb and chorus are off, the effects are ours."""

    def __init__(self, soundfont: Path) -> None:
        """Raises: StemdError: STEMD-E002, no library, or no such soundfont."""
        found = library()
        if found is None:
            raise StemdError("STEMD-E002", "libfluidsynth is not installed", remedy="apt-get install libfluidsynth3")
        self._settings = found.new_fluid_settings()
        found.fluid_settings_setnum(self._settings, b"synth.sample-rate", float(RATE))
        found.fluid_settings_setnum(self._settings, b"synth.gain", 0.5)
        for name in (b"synth.reverb.active", b"synth.chorus.active"):
            found.fluid_settings_setint(self._settings, name, 0)
        found.fluid_settings_setint(self._settings, b"synth.polyphony", 128)
        self._soundfont = soundfont
        self._kept, font = self._open()  # the library forgets the samples with the last synthesiser that has them
        if not soundfont.is_file() or font < 0:
            raise StemdError("STEMD-E002", f"{soundfont} is no soundfont", remedy="apt-get install fluid-soundfont-gm")

    def _open(self) -> tuple[int, int]:
        """A fresh synthesiser (a reset one goes on fading out what it played) and its soundfont: 0.05 s."""
        synth = library().new_fluid_synth(self._settings)
        return synth, library().fluid_synth_sfload(synth, str(self._soundfont).encode(), 1)

    def play(self, notes: Sequence[Note], program: int, frames: int, bank: int = 0) -> Sound:
        """``notes`` by ``program`` (0 where the bank has no such), as 2 × ``frames``."""
        channel = _DRUM_CHANNEL if bank == DRUMS else 0
        found = library()
        synth, font = self._open()
        if found.fluid_synth_program_select(synth, channel, font, bank, program) < 0:
            found.fluid_synth_program_select(synth, channel, font, bank, 0)
        blocks = -(-frames // _BLOCK)  # whole ones: of a broken one the rest would sound in the next call
        sound, done = np.zeros((2, blocks * _BLOCK), np.float32), 0
        for block, kind, pitch, velocity in [*_events(notes), (blocks, _OFF, 0, 0)]:
            until = min(block, blocks) * _BLOCK
            if until > done:
                left, right = sound[0, done:].ctypes.data, sound[1, done:].ctypes.data
                found.fluid_synth_write_float(synth, until - done, left, 0, 1, right, 0, 1)
                done = until
            if kind == _ON:
                found.fluid_synth_noteon(synth, channel, pitch, velocity)
            else:
                found.fluid_synth_noteoff(synth, channel, pitch)
        found.delete_fluid_synth(synth)
        return sound[:, :frames]


def _events(notes: Sequence[Note]) -> list[tuple[int, int, int, int]]:
    """Block, on or off, pitch, velocity, in order; what ends where another begins ends first."""
    events = []
    for note in notes:
        pitch = min(127, max(0, note.pitch))
        start = max(0, int(note.at * RATE) // _BLOCK)
        events.append((start, _ON, pitch, min(127, max(1, note.velocity))))
        events.append((max(start + 1, int((note.at + note.length) * RATE) // _BLOCK), _OFF, pitch, 0))
    return sorted(events)
