"""Real multitracks as songs of the shelf: a folder per song, and ``roles.json`` that says what each file is.

``{"SONG": {"FILE WITHOUT SUFFIX": "drums" | "bass" | "other" | "vocals", …}, …}``. All files of a song start together;
a stem is the plain sum of its files. A synthesiser that plays bass and chords at once is two stems: ``["bass", 120,
"other"]`` are what it has below and above 120 Hz. Since what a stem was mixed from is there, one song is many: takes,
as an engineer tries them, with some of it louder, softer or left out.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import signal

from stemd.core.errors import StemdError
from stemd.training import shelf
from stemd.training.keeping import read_json, whole
from stemd.training.progress import Progress
from stemd.training.terms import RATE, STEMS, Sound

#: A stem, or one below and another above a frequency in Hz.
Role = str | tuple[str, float, str]
#: Of a take: how likely a part is left out, and by how many dB it may be louder or softer.
_LEFT_OUT, _LOUDER = 0.2, 6.0


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


def multitrack(folder: Path, files: Mapping[str, Role]) -> list[tuple[str, Sound]]:
    """What the song in ``folder`` was mixed from, each with its stem: 2 × frames at our rate.

    Raises:
        StemdError: STEMD-A001, a file is missing or ffmpeg cannot read it.
    """
    return [part for name, role in sorted(files.items()) for part in _parts(_read(_path(folder, name)), role)]


def take(number: int, count: int) -> tuple[float, ...]:
    """The gains of ``count`` parts: take 0 is the record as it is; in every other, drawn from its number alone, parts
    are louder or softer by up to ``_LOUDER`` dB, and some are left out."""
    if number == 0:
        return (1.0,) * count
    random = np.random.default_rng([number, 79])
    heard = random.random(count) >= _LEFT_OUT
    return tuple(map(float, heard * 10 ** (random.uniform(-_LOUDER, _LOUDER, count) / 20)))


def stems(parts: Sequence[tuple[str, Sound]], gains: Sequence[float]) -> Sound:
    """The song as 4 × 2 × frames, with these gains."""
    song = np.zeros((len(STEMS), 2, max(part.shape[1] for _, part in parts)), np.float32)
    for (stem, part), gain in zip(parts, gains, strict=True):
        song[STEMS.index(stem), :, : part.shape[1]] += part * np.float32(gain)
    return song


def pieces(song: Sound, seconds: float) -> Iterator[Sound]:
    """``song`` in pieces of ``seconds``, without those that are silent; what is left over at the end is dropped."""
    length = int(seconds * RATE)
    for start in range(0, song.shape[-1] - length + 1, length):
        piece = song[..., start : start + length]
        if np.abs(piece).max() > 1e-3:
            yield piece


def shelve(folder: Path, real: Path, seconds: float, takes: int, progress: Progress) -> None:
    """Put ``takes`` of each of the multitracks below ``real`` onto the shelf, in pieces of ``seconds``.

    Raises:
        StemdError: STEMD-A001, STEMD-A003.
    """
    roles = songs(real)
    missing = {name: [n for n in range(takes) if not _done(folder, name, n).is_file()] for name in sorted(roles)}
    progress.total = len(roles) * takes
    progress.done = progress.total - sum(map(len, missing.values()))
    progress.advance(progress.done)
    for name, numbers in missing.items():
        if numbers:
            _shelve_one(folder, real / name, roles[name], numbers, seconds, progress)


def _shelve_one(
    folder: Path, source: Path, files: Mapping[str, Role], numbers: Sequence[int], seconds: float, progress: Progress
) -> None:
    parts = multitrack(source, files)
    for number in numbers:
        gains, done = take(number, len(parts)), _done(folder, source.name, number)
        facts = {"real": source.name, "files": dict(files), "take": number, "gains": gains}
        for index, piece in enumerate(pieces(stems(parts, gains), seconds)):
            shelf.put(folder, f"{done.stem}-{index:03}", piece, facts)
        with whole(done) as file:
            file.write(b"")
        progress.advance(progress.done + 1)


def _done(folder: Path, name: str, number: int) -> Path:
    """The mark that a take is there, whole; its name without the suffix is how those of the pieces begin."""
    return folder / f"real-{name}{f'-take{number}' if number else ''}.done"


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
