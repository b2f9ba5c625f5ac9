"""Each engine and kind of model against its reference: difference, peak memory by length of track, speed.

``python -m tests.bench.engines [--only PATTERN] [--minutes 6 60]`` measures models of real size with random weights
(speed, memory and parity do not depend on their values), prints one JSON line each, keeps them in
docs/engines-measured.json, and writes docs/engines-measured.md from all that is there. Nothing else should run then;
``--peaks`` measures memory only, which other work does not change.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from stemd.core.environment import scrubbed
from stemd.core.job import Output
from stemd.engines.base import Engine, SeparationRequest, create
from stemd.engines.separate import separate
from stemd.worker import usage
from tests.bench.memory import make

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "engines-measured.json"
PAGE = ROOT / "docs" / "engines-measured.md"
RATE = 44_100
_PARITY_SECONDS = 30
_SOURCES = ["drums", "bass", "other", "vocals"]


def _networks() -> Mapping[str, list[Callable[[], Any]]]:
    """Demucs' kinds in the sizes that are published: the members of each model."""
    from demucs.demucs import Demucs
    from demucs.hdemucs import HDemucs
    from demucs.htdemucs import HTDemucs

    def ht(sources: list[str] = _SOURCES) -> Any:
        return HTDemucs(sources, channels=48, bottom_channels=512, t_layers=5, segment=7.8)

    def six() -> Any:
        return ht([*_SOURCES, "guitar", "piano"])

    def hd() -> Any:
        return HDemucs(_SOURCES, channels=48)

    def time_domain() -> Any:
        return Demucs(_SOURCES, channels=64, resample=True)

    return {
        "htdemucs": [ht],
        "htdemucs_6s": [six],
        "htdemucs_ft": [ht] * 4,
        "hdemucs_mmi": [hd],
        "demucs v3": [time_domain],
    }


KINDS = (
    *(("demucs", name) for name in ("nano", "htdemucs", "htdemucs_6s", "htdemucs_ft", "hdemucs_mmi", "demucs v3")),
    *(("spleeter", name) for name in ("2stems", "4stems", "5stems", "2stems-16kHz", "5stems-16kHz")),
)


def loaded(engine: str, model: str, folder: Path) -> tuple[Engine, Any, Callable[[np.ndarray], dict[str, np.ndarray]]]:
    """The engine with the model, and the reference implementation with the same weights."""
    if engine == "spleeter":
        from tests.golden import spleeter_setup

        made = create("spleeter", spleeter_setup.environment().root)
        info = made.load(model, spleeter_setup.checkpoint(model), "cpu")
        return made, info, lambda wave: spleeter_setup.reference(model, [wave], folder)[0]
    from stemd.engines import models
    from stemd.engines.demucs_engine import DemucsEngine
    from stemd.engines.reference import export
    from tests.golden import tiny_models
    from tests.golden.conftest import reference

    name = model.replace(" ", "-")
    if model == "nano":
        store = models.find("nano", folder).parent
        export("nano", store, folder / "repo" / "nano")
    else:
        store, members = folder / "store", _networks()[model]
        rows = [[float(row == stem) for stem in range(4)] for row in range(4)] if len(members) == 4 else None
        tiny_models.write_bag(store, name, members, rows)
    made, repository = DemucsEngine(), folder / "repo" if model == "nano" else store
    info = made.load(name, store, "cpu")
    made.prefer_runtime("torch")
    made.tune("auto", None)  # as a worker does by default
    return made, info, lambda wave: reference(repository, name, wave)


def parity(engine: str, model: str, folder: Path) -> float:
    """The largest difference of any sample from the reference on the whole track, in parts of full scale."""
    made, info, reference = loaded(engine, model, folder)
    wave = (0.2 * np.random.default_rng(0).standard_normal((_PARITY_SECONDS * RATE, 2))).clip(-1, 1).astype(np.float32)
    soundfile.write(folder / "song.wav", wave, RATE, subtype="FLOAT")
    found = _separated(made, info, folder / "song.wav", folder, Output("wav", "32f"))
    made.close()
    expected = reference(wave)
    worst = 0.0
    for stem, values in expected.items():
        ours = soundfile.read(folder / "out" / f"{stem}.wav", dtype="float32", always_2d=True)[0]
        worst = max(worst, float(np.abs(ours - values).max()) / max(1.0, float(np.abs(values).max())))
    assert len(found.files) == len(expected)
    return worst


def long(engine: str, model: str, minutes: float, folder: Path) -> dict[str, float]:
    """Peak memory and speed of a separation of ``minutes`` of noise."""
    made, info, _ = loaded(engine, model, folder)
    make(folder / "song.flac", minutes)
    usage.reset_peak()
    started = time.monotonic()
    _separated(made, info, folder / "song.flac", folder, Output("flac", "16"))
    took, peak = time.monotonic() - started, usage.peak_rss()
    made.close()
    return {"peak_mib": round(peak / 2**20), "realtime": round(minutes * 60 / took, 2)}


def _separated(made: Engine, info: Any, song: Path, folder: Path, output: Output) -> Any:
    for name in ("chunks", "out"):
        (folder / name).mkdir()
    request = SeparationRequest(song, folder / "chunks", folder / "out", len(info.stems), output)
    return separate(made, info, request, lambda progress: None)


def _in_a_process(*words: object) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.bench.engines", "--one", *map(str, words), folder]
        environment = scrubbed(os.environ, os.cpu_count() or 1)  # as a worker has it
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def page(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """docs/engines-measured.md."""
    lengths = sorted({float(each) for row in rows.values() for each in row["minutes"]})
    titles = [f"peak MiB, {each:g} min" for each in lengths] + [f"× realtime, {each:g} min" for each in lengths]
    lines = [
        "# Engines, measured",
        "",
        "Written by `python -m tests.bench.engines`: models of the published sizes with random weights (`nano` with",
        "its own). The difference is the largest of any sample from what the reference program makes of the whole",
        f"track ({_PARITY_SECONDS} s of noise), in parts of full scale; memory is the sum over stemd's worker and the",
        "processes it started. – was not measured. Each row says where: cores, and how busy the machine was (load).",
        "",
        "| engine | model | difference | " + " | ".join(titles) + " | measured with |",
        "|" + "---|" * (len(titles) + 4),
    ]
    for key, row in rows.items():
        engine, model = key.split("/")
        cells = [_cell(row["minutes"], each, what) for what in ("peak_mib", "realtime") for each in lengths]
        difference = f"{row['difference']:.1e}" if "difference" in row else "–"
        lines.append(f"| {engine} | {model} | {difference} | {' | '.join(cells)} | {row.get('with', '–')} |")
    return "\n".join([*lines, ""])


def _cell(minutes: Mapping[str, Mapping[str, float]], length: float, what: str) -> str:
    found = minutes.get(f"{length:g}", {})
    return f"{found[what]:g}" if what in found else "–"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--only", default="", metavar="PATTERN", help="a regular expression: 'demucs/htdemucs$'")
    arguments.add_argument("--peaks", action="store_true")
    arguments.add_argument("--minutes", nargs="*", type=float, default=[6.0, 60.0])
    arguments.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    if chosen.one:
        what, engine, model, *minutes, folder = chosen.one
        place = Path(folder)
        print(
            json.dumps(
                parity(engine, model, place) if what == "parity" else long(engine, model, float(minutes[0]), place)
            )
        )
        return
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for engine, model in KINDS:
        key = f"{engine}/{model}"
        if not re.search(chosen.only, key):
            continue
        row = rows.setdefault(key, {"minutes": {}})
        if chosen.peaks:
            for minutes in chosen.minutes:
                peak = _in_a_process("long", engine, model, minutes)["peak_mib"]
                row["minutes"].setdefault(f"{minutes:g}", {})["peak_mib"] = peak
            _keep(rows, key)
            continue
        where = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; Python {platform.python_version()}"
        row["with"] = f"{where}, {_library(engine)}"
        row["difference"] = _in_a_process("parity", engine, model)
        for minutes in chosen.minutes:
            row["minutes"][f"{minutes:g}"] = _in_a_process("long", engine, model, minutes)
        _keep(rows, key)


def _keep(rows: Mapping[str, Mapping[str, Any]], key: str) -> None:
    print(json.dumps({key: rows[key]}), flush=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    PAGE.write_text(page(rows))


def _library(engine: str) -> str:
    if engine == "demucs":
        return f"demucs {version('demucs')}, torch {version('torch')}"
    from tests.golden import spleeter_setup

    found = spleeter_setup.environment().versions()
    return f"spleeter {found['spleeter']}, tensorflow {found['tensorflow']}"


if __name__ == "__main__":
    main()
