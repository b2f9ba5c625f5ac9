"""``compose`` and ``render``: plans of songs, and shelves full of them. What is there already is not made again."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stemd.core.errors import StemdError
from stemd.training import shelf
from stemd.training.composing.song import Song, compose
from stemd.training.keeping import provenance, read_json, whole, write_json
from stemd.training.progress import Progress
from stemd.training.sounding import voicebank
from stemd.training.sounding.fluid import Fluid
from stemd.training.sounding.instruments import Studio
from stemd.training.sounding.render import CODED, render

RECORD, VOICES = "shelf.json", "voices"
_PACKAGES = {
    "FluidR3_GM.sf2": "fluid-soundfont-gm",
    "MuseScore_General_Full.sf3": "musescore-general-soundfont",
    "TimGM6mb.sf2": "timgm6mb-soundfont",
}


@dataclass(frozen=True, slots=True)
class Order:
    """How to render: with which soundfont and voices (``training`` or ``held-out``), ``words`` for each voice."""

    folder: Path
    soundfont: Path
    kind: str = "training"
    words: int = 12
    seed: int = 1
    coded: float = CODED


def write_plans(path: Path, seed: int, count: int, seconds: float) -> None:
    """``count`` songs as one JSON document a line, whole."""
    with whole(path) as file:
        for number in range(count):
            file.write(json.dumps(compose(seed, number, seconds).to_json()).encode() + b"\n")
    write_json(path.with_suffix(".record.json"), {"seed": seed, "songs": count, "seconds": seconds, **provenance()})


def read_plans(path: Path) -> list[Song]:
    """The songs of ``write_plans``."""
    return [Song.from_json(json.loads(line)) for line in path.read_text().splitlines()]


def fill(order: Order, plans: list[Song], processes: int, progress: Progress) -> None:
    """Render those of ``plans`` that are not in the folder, in several processes.

    Raises:
        StemdError: STEMD-E002, something that makes sound is not installed.
    """
    _note_inputs(order)
    names = voicebank.VOICES[order.kind]
    bank = order.folder / VOICES
    with _processes(processes) as pool:
        spoken = [pool.submit(voicebank.speak, name, i, order.seed, order.words, bank) for i, name in enumerate(names)]
        for voice in as_completed(spoken):
            voice.result()
    missing = [song for song in plans if not shelf.has(order.folder, _name(song))]
    progress.total, progress.done = len(plans), len(plans) - len(missing)
    progress.advance(progress.done)
    with _processes(processes) as pool:
        for number, task in enumerate(as_completed([pool.submit(_render_one, order, song) for song in missing]), 1):
            task.result()
            progress.advance(len(plans) - len(missing) + number)


_studio: Studio | None = None


def _open_studio(order: Order) -> None:
    """Once in each process: the soundfont takes a second and 150 MB."""
    global _studio  # noqa: PLW0603 - a process of a pool has no other place
    _studio = Studio(Fluid(order.soundfont), voicebank.load(order.folder / VOICES, order.kind))


def _render_one(order: Order, song: Song) -> None:
    if _studio is None:
        _open_studio(order)
    assert _studio is not None
    done = render(song, _studio, coded=order.coded)
    made = {"seed": [song.seed, song.number], "soundfont": order.soundfont.name, "voices": order.kind}
    shelf.put(order.folder, _name(song), done.stems, {**done.facts, **made})


def _name(song: Song) -> str:
    return f"song-{song.seed}-{song.number:05}"


def _processes(count: int) -> ProcessPoolExecutor:
    """Fresh processes with one thread each, as polite as we are."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"))


def _note_inputs(order: Order) -> None:
    """Refuse a shelf of another order, and keep beside it what it is made of."""
    if not order.soundfont.is_file():
        package = _PACKAGES.get(order.soundfont.name, "fluid-soundfont-gm, and leave --soundfont out")
        raise StemdError("STEMD-E002", f"{order.soundfont} is not there", remedy=f"apt-get install {package}")
    order.folder.mkdir(parents=True, exist_ok=True)
    record = order.folder / RECORD
    if not record.is_file():
        facts = {"soundfont": order.soundfont.name, "voices": order.kind, "words": order.words, "seed": order.seed}
        speakers = sorted({voicebank.program(voice) for voice in voicebank.VOICES[order.kind]})
        write_json(record, {**facts, "speakers": speakers, **provenance()})
        return
    kept = read_json(record)
    if (kept["soundfont"], kept["voices"], kept["words"]) != (order.soundfont.name, order.kind, order.words):
        raise StemdError("STEMD-E002", f"{order.folder} was begun with {kept['soundfont']} and {kept['voices']} voices")


def inputs(folders: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """What each shelf was made of, for the notices and the card."""
    for folder in folders:
        if (folder / RECORD).is_file():
            yield read_json(folder / RECORD)
