"""The commands, and what each takes. Each is a few lines that call the module which does it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from stemd.core.errors import StemdError
from stemd.training.progress import Progress

FONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; an explained error is one line and the exit status of its code."""
    chosen = _parser().parse_args(arguments)
    try:
        chosen.run(chosen)
    except StemdError as error:
        print(f"{error.code}: {error.message}", error.remedy, sep="\n", file=sys.stderr)
        return int(error.spec.exit)
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stemd.training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, run: object, about: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about, description=about)
        added.set_defaults(run=run)
        added.add_argument("--json", action="store_true", help="progress and results as JSON lines")
        return added

    compose = command("compose", _compose, "write the plans of random songs")
    compose.add_argument("plans", type=Path)
    compose.add_argument("--songs", type=int, default=600)
    compose.add_argument("--seconds", type=float, default=24.0)
    compose.add_argument("--seed", type=int, default=1)

    render = command("render", _render, "render plans, or recordings, as stems onto a shelf (a folder)")
    render.add_argument("shelf", type=Path)
    render.add_argument("--plans", type=Path)
    render.add_argument("--soundfont", type=Path, default=FONT)
    render.add_argument("--held-out", action="store_true", help="the voices kept for scoring, and no codecs")
    render.add_argument("--words", type=int, default=12, help="words of each voice")
    render.add_argument("--seed", type=int, default=1, help="of the words")
    render.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    render.add_argument("--real", type=Path, metavar="DIR", help="multitracks with a roles.json")
    render.add_argument("--piece", type=float, default=24.0, help="seconds of a piece of a multitrack")
    return parser


def _compose(chosen: argparse.Namespace) -> None:
    from stemd.training.filling import write_plans

    write_plans(chosen.plans, chosen.seed, chosen.songs, chosen.seconds)


def _render(chosen: argparse.Namespace) -> None:
    from stemd.training.filling import Order, fill, read_plans, shelve_recordings
    from stemd.training.sounding.render import CODED

    progress = Progress("render", 0, "songs", chosen.json)
    if chosen.plans:
        kind, coded = ("held-out", 0.0) if chosen.held_out else ("training", CODED)
        order = Order(chosen.shelf, chosen.soundfont, kind, chosen.words, chosen.seed, coded)
        fill(order, read_plans(chosen.plans), chosen.processes, progress)
    if chosen.real:
        shelve_recordings(chosen.shelf, chosen.real, chosen.piece, Progress("render", 0, "recordings", chosen.json))
