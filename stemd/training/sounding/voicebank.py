"""Voices: words that espeak-ng or flite speaks, taken apart by WORLD into what a singer needs.

espeak-ng computes its formants; flite's voices are models of people who were recorded for it.

One ``.npz`` for each voice; a bank that was interrupted goes on with the voices it lacks.
"""

from __future__ import annotations

import io
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

from stemd.core.errors import StemdError
from stemd.training.keeping import whole
from stemd.training.terms import RATE

FRAME = 0.005
"""Seconds between two analysed frames."""
FFT = 2048
_ONSETS = (
    "b", "br", "bl", "d", "dr", "f", "fl", "g", "gr", "h", "j", "k", "kl", "l", "m", "n", "p", "pl", "r", "s", "sh",
    "sl", "st", "t", "tr", "v", "w", "y", "z", "", "", "", "", "", "",
)  # fmt: skip
_VOWELS = ("a", "e", "i", "o", "u", "ee", "oo", "ay", "ow", "oh", "ah", "eye", "air", "or", "er")
_CODAS = ("n", "m", "l", "s", "t", "d", "r", "k", "ng", "v", "z", *[""] * 14)
#: espeak-ng's language + variant, or flite's voice. The held-out ones never sing in training, neither language with
#: variant nor variant.
VOICES: Mapping[str, tuple[str, ...]] = {
    "training": (
        "en+m1", "en+m2", "en+m3", "en+m7", "en-us+m6", "en-us+f1", "en-gb-scotland+f2", "es+f4", "es+m1", "es-419+f3",
        "it+f2", "de+m3", "de+f1", "fr-fr+f3", "fr-fr+m2", "pt+f1", "pt-br+m7", "sv+f2", "nl+m6", "ro+f4", "el+m1",
        "tr+f3", "hi+f1", "sw+m2", "id+f2", "ja+f3", "en+croak", "en+klatt2", "en+klatt4", "en+Andrea", "en+Alex",
        "en+linda", "en+michel", "en+anika", "flite-awb", "flite-rms", "flite-slt", "flite-kal16",
    ),
    "held-out": ("en+f5", "en+m8", "it+m4", "en-us+steph", "pl+m5", "fi+f5"),
}  # fmt: skip
_FEMALE = ("+f", "Andrea", "linda", "anika", "steph", "slt")
_FLITE = "flite-"


@dataclass(frozen=True, slots=True)
class Word:
    """Frame by frame: whether it is voiced, the logarithm of its spectrum (power), how much of it is noise."""

    voiced: NDArray[np.bool_]
    spectrum: NDArray[np.float16]
    noise: NDArray[np.float16]


Bank = Mapping[str, Sequence[Word]]


def is_female(voice: str) -> bool:
    """By its name."""
    return any(sign in voice for sign in _FEMALE)


def is_recorded(voice: str) -> bool:
    """Whether it is modelled on a recorded speaker."""
    return voice.startswith(_FLITE)


def program(voice: str) -> str:
    """What speaks so."""
    return "flite" if is_recorded(voice) else "espeak-ng"


def speak(voice: str, number: int, seed: int, words: int, folder: Path) -> Path:
    """The file with ``words`` words of ``voice`` (the ``number``-th of its bank); made if it is not there.

    Raises:
        StemdError: STEMD-E002, espeak-ng or flite is not installed or does not know the voice.
    """
    path = folder / f"{voice}.npz"
    if path.is_file():
        return path
    random = np.random.default_rng([seed, number, words])
    kept: dict[str, NDArray[np.generic]] = {}
    for index in range(words):
        found = _word(voice, _made_up(random), int(random.integers(25, 60)))
        if found is not None:
            for name in ("voiced", "spectrum", "noise"):
                kept[f"{index}.{name}"] = getattr(found, name)
    with whole(path) as file:
        np.savez(file, **kept)  # type: ignore[arg-type]
    return path


def load(folder: Path, kind: str) -> Bank:
    """All voices of ``kind`` that are in ``folder``; a voice that said nothing usable is left out."""
    bank: dict[str, list[Word]] = {}
    for voice in VOICES[kind]:
        path = folder / f"{voice}.npz"
        if not path.is_file():
            continue
        with np.load(path) as kept:
            numbers = sorted({int(name.split(".")[0]) for name in kept.files})
            words = [
                Word(*(kept[f"{number}.{name}"] for name in ("voiced", "spectrum", "noise"))) for number in numbers
            ]
        if words:
            bank[voice] = words
    return bank


def _made_up(random: np.random.Generator) -> str:
    syllables = int(random.choice([1, 1, 1, 2]))
    return "".join(
        str(random.choice(_ONSETS)) + str(random.choice(_VOWELS)) + str(random.choice(_CODAS)) for _ in range(syllables)
    )


def _word(voice: str, text: str, pitch: int) -> Word | None:
    """``pitch`` as espeak-ng counts it, 0 to 99; flite's is the speaker's own."""
    if is_recorded(voice):
        name = voice.removeprefix(_FLITE)
        known = name in _known_to_flite()  # else it would speak as another without a word
        spoken = _run("flite", "-voice", name, "-t", text, "-o", "/dev/stdout") if known else b""
    else:
        spoken = _run("espeak-ng", "-v", voice, "-s", "150", "-p", str(pitch), "--stdout", text)
    if not spoken:
        raise StemdError("STEMD-E002", f"{program(voice)} does not speak as {voice}")
    sound, rate = soundfile.read(io.BytesIO(spoken))
    return _analysed(sound, rate) if len(sound) >= rate // 10 else None


@cache
def _known_to_flite() -> frozenset[str]:
    return frozenset(_run("flite", "-lv").decode().split())


def _run(*command: str) -> bytes:
    """What it wrote; nothing where it failed."""
    try:
        done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        remedy = f"apt-get install {command[0]}"
        raise StemdError("STEMD-E002", f"{command[0]} is not installed", remedy=remedy) from None
    return b"" if done.returncode else done.stdout


def _analysed(sound: NDArray[np.float64], rate: int) -> Word | None:
    """``None`` where there is too little sound or voice in it."""
    import pyworld

    x = np.ascontiguousarray(resample_poly(sound, RATE, rate), np.float64)
    rough, time = pyworld.dio(x, RATE, f0_floor=60, f0_ceil=450, frame_period=FRAME * 1000)
    pitch = pyworld.stonemask(x, rough, time, RATE)
    spectrum = pyworld.cheaptrick(x, pitch, time, RATE, fft_size=FFT)
    noise = pyworld.d4c(x, pitch, time, RATE, fft_size=FFT)
    _extend(spectrum, noise, rate)
    power = spectrum.sum(1)
    loud = np.flatnonzero(power > power.max() * 1e-4)
    if len(loud) < 12 or (pitch > 0).sum() < 8:
        return None
    kept = slice(loud[0], loud[-1] + 1)
    logarithm = np.log(spectrum[kept] + 1e-12).astype(np.float16)
    return Word(pitch[kept] > 0, logarithm, noise[kept].astype(np.float16))


def _extend(spectrum: NDArray[np.float64], noise: NDArray[np.float64], rate: int) -> None:
    """A voice ends at 8 or 11 kHz: above, noise that follows the highest band there is, and decays as steeply."""
    bins = spectrum.shape[1]
    low, high = int(bins * 0.771 * rate / RATE), int(bins * 0.934 * rate / RATE)
    decades = 2.2 * (bins - high) / (bins - int(bins * 0.467))
    spectrum[:, high:] = spectrum[:, low:high].mean(1, keepdims=True) * 10 ** -np.linspace(0, decades, bins - high)
    noise[:, high:] = 1.0
