"""Real multitracks as songs of the shelf: a folder per song, and ``roles.json`` that says what each file is.

``{"SONG": {"FILE WITHOUT SUFFIX": "drums" | "bass" | "other" | "vocals", …}, …}``. All files of a song start together;
a stem is the plain sum of its files. A synthesiser that plays bass and chords at once is two stems: ``["bass", 120,
"other"]`` are what it has below and above 120 Hz.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from scipy import signal

from stemd.core.errors import StemdError
from stemd.training.keeping import read_json
from stemd.training.terms import RATE, STEMS, Sound

#: A stem, or one below and another above a frequency in Hz.
Role = str | tuple[str, float, str]


def songs(folder: Path) -> Mapping[str, Mapping[str, Role]]:
    """The roles, checked.

    Raises:
        StemdError: STEMD-A003, no ``roles.json``, or one that names a stem or song there is not.
    """
    roles = read_json(folder / "roles.json")
    wrong = [
        f"{song}/{name}: {role}" for song, files in roles.items() for name, role in files.items() if not _is_role(role)
    ]
    wrong += [song for song in roles if not (folder / song).is_dir()]
    if wrong or not roles:
        raise StemdError("STEMD-A003", f"{folder / 'roles.json'}: {', '.join(wrong) or 'it is not there or empty'}")
    return roles


def stems(folder: Path, files: Mapping[str, Role]) -> Sound:
    """The song in ``folder`` as 4 × 2 × frames at our rate.

    Raises:
        StemdError: STEMD-A001, a file is missing or ffmpeg cannot read it.
    """
    parts = [part for name, role in sorted(files.items()) for part in _parts(_read(_path(folder, name)), role)]
    song = np.zeros((len(STEMS), 2, max(part.shape[1] for _, part in parts)), np.float32)
    for stem, part in parts:
        song[STEMS.index(stem), :, : part.shape[1]] += part
    return song


def pieces(song: Sound, seconds: float) -> Iterator[Sound]:
    """``song`` in pieces of ``seconds``, without those that are silent; what is left over at the end is dropped."""
    length = int(seconds * RATE)
    for start in range(0, song.shape[-1] - length + 1, length):
        piece = song[..., start : start + length]
        if np.abs(piece).max() > 1e-3:
            yield piece


def _is_role(role: object) -> bool:
    match role:
        case str():
            return role in STEMS
        case [str() as below, int() | float() as frequency, str() as above]:
            return below in STEMS and above in STEMS and 0 < frequency < RATE / 2
    return False


def _parts(sound: Sound, role: Role) -> list[tuple[str, Sound]]:
    """``sound`` as the stems it belongs to, which add up to it."""
    if isinstance(role, str):
        return [(role, sound)]
    below, frequency, above = role
    low = signal.sosfiltfilt(signal.butter(4, frequency, fs=RATE, output="sos"), sound).astype(np.float32)
    return [(below, low), (above, sound - low)]


def _path(folder: Path, name: str) -> Path:
    found = sorted(
        path for path in folder.iterdir() if path.stem == name and path.suffix not in {".json", ".md", ".txt"}
    )
    if not found:
        raise StemdError("STEMD-A001", f"{folder / name}.* is not there")
    return found[0]


def _read(path: Path) -> Sound:
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", str(path), "-f", "f32le", "-ac", "2", "-ar", str(RATE), "-"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise StemdError("STEMD-A001", f"{path}: {done.stderr.decode(errors='replace').strip()[-200:]}")
    return np.frombuffer(done.stdout, np.float32).reshape(-1, 2).T
