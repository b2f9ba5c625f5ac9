"""The commands, and what each takes. Each is a few lines that call the module which does it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from stemd.core.errors import StemdError
from stemd.training.progress import Progress

_Run = Callable[[argparse.Namespace], None]
_Add = Callable[[str, _Run, str], argparse.ArgumentParser]
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

    def command(name: str, run: _Run, about: str) -> argparse.ArgumentParser:
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
    render.add_argument("--takes", type=_some, default=1, help="of each multitrack: all but one have other levels")
    _add_learning(command)
    _add_results(command)
    return parser


def _some(text: str) -> int:
    """A number of things, at least one."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _add_learning(command: _Add) -> None:
    train = command("train", _train, "learn from shelves; the same command goes on with what was interrupted")
    train.add_argument(
        "run_folder", metavar="run", type=Path, help="a folder for the checkpoint, the log and the record"
    )
    train.add_argument("--shelf", type=Path, action="append", required=True)
    train.add_argument(
        "--steps", type=int, default=15_000, help="of the whole run: they fix the learning rate's course"
    )
    train.add_argument(
        "--minutes", type=float, default=float("inf"), help="stop after so long; the same command goes on"
    )
    train.add_argument(
        "--start", type=Path, help="begin with the weights of this checkpoint, or model folder, as wide or narrower"
    )
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--batch", type=int, default=2)
    train.add_argument("--segment", type=float, default=3.0, help="seconds")
    train.add_argument("--rate", type=float, default=2e-3, help="the highest learning rate")
    train.add_argument("--floor", type=float, default=0.01, help="what is left of it at the end")
    train.add_argument("--real", type=float, default=1.0, help="how much more often pieces of recordings are drawn")
    train.add_argument("--device", default="cpu", help="cpu or cuda")
    train.add_argument("--threads", type=int, default=1)
    train.add_argument("--network", type=json.loads, default={}, help="JSON: settings of the network to change")
    train.add_argument("--loss", type=json.loads, default={}, help="JSON: weights of the loss to change")
    average = command("average", _average, "the mean of checkpoints that began from one")
    average.add_argument("target", type=Path)
    average.add_argument("checkpoints", type=Path, nargs="+")


def _add_results(command: _Add) -> None:
    export = command("export", _export, "a checkpoint as a folder of the model store")
    export.add_argument("checkpoint", type=Path)
    export.add_argument("folder", type=Path, help="its name becomes the model's")
    export.add_argument("--run", type=Path, dest="of", help="the run whose record says what was learnt from")
    export.add_argument("--credit", help="of the real recordings: who made them, and their licence")
    evaluate = command("evaluate", _evaluate, "score an exported model on a shelf that training never saw")
    evaluate.add_argument("model", type=Path)
    evaluate.add_argument("--shelf", type=Path, action="append", required=True)
    evaluate.add_argument("--out", type=Path, required=True, help="the scores as JSON")
    evaluate.add_argument("--previous", type=Path, help="a model to compare with (default: the bundled one)")
    evaluate.add_argument("--songs", type=int, default=24)
    evaluate.add_argument("--seconds", type=float, default=12.0)
    evaluate.add_argument("--speed", type=float, default=60.0, help="seconds of noise to measure the speed with")
    evaluate.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    card = command("card", _card, "write the model card from the scores")
    card.add_argument("model", type=Path)
    card.add_argument("--scores", type=Path, action="append", required=True, help="of the held-out songs first")
    card.add_argument("--log", type=Path, action="append", default=[], help="a run's log.jsonl, for the curve, in turn")


def _compose(chosen: argparse.Namespace) -> None:
    from stemd.training.filling import write_plans

    write_plans(chosen.plans, chosen.seed, chosen.songs, chosen.seconds)


def _render(chosen: argparse.Namespace) -> None:
    from stemd.training import recordings
    from stemd.training.filling import Order, fill, read_plans
    from stemd.training.sounding.render import CODED

    progress = Progress("render", 0, "songs", chosen.json)
    if chosen.plans:
        kind, coded = ("held-out", 0.0) if chosen.held_out else ("training", CODED)
        order = Order(chosen.shelf, chosen.soundfont, kind, chosen.words, chosen.seed, coded)
        fill(order, read_plans(chosen.plans), chosen.processes, progress)
    if chosen.real:
        progress = Progress("render", 0, "takes", chosen.json)
        recordings.shelve(chosen.shelf, chosen.real, chosen.piece, chosen.takes, progress)


def _train(chosen: argparse.Namespace) -> None:
    import torch

    from stemd.training.learning import Course, Place, train

    torch.set_num_threads(chosen.threads)
    names = ("steps", "seed", "batch", "segment", "rate", "floor", "real", "network", "loss")
    course = Course(**{name: getattr(chosen, name) for name in names})
    place = Place(chosen.run_folder, tuple(chosen.shelf), chosen.device, chosen.minutes, chosen.start)
    progress = Progress("train", course.steps, "steps", chosen.json)
    run = train(place, course, progress)
    if run.step < course.steps:
        progress.note(f"stopped after step {run.step} of {course.steps}; the same command goes on")


def _average(chosen: argparse.Namespace) -> None:
    from stemd.training.averaging import average

    average(chosen.checkpoints, chosen.target)


def _export(chosen: argparse.Namespace) -> None:
    from stemd.training.exporting import export

    facts = export(chosen.checkpoint, chosen.folder, chosen.of, chosen.credit)
    print(json.dumps(facts) if chosen.json else f"{chosen.folder}: {facts['parameters'] / 1e6:.2f} M parameters")


def _evaluate(chosen: argparse.Namespace) -> None:
    import torch

    from stemd.training import judging, shelf
    from stemd.training.filling import inputs
    from stemd.training.keeping import write_json

    torch.set_num_threads(chosen.threads)
    songs = shelf.take(chosen.shelf)
    tested = judging.trials(songs, chosen.songs, chosen.seconds)
    progress = Progress("evaluate", 0, "separations", chosen.json)
    previous = chosen.previous or judging.BUNDLED
    found = judging.evaluate(chosen.model, previous, tested, progress, speed_seconds=chosen.speed)
    made_of = list(inputs(chosen.shelf))  # recordings alone have no record: nobody knows whether they are held out
    found["held_out"] = bool(made_of) and all(made["voices"] == "held-out" for made in made_of)
    found["real"] = sorted({str(song.facts["real"]) for song in songs if "real" in song.facts})
    found["only_real"] = all("real" in song.facts for song in songs)
    write_json(chosen.out, found)
    speed = found["speed"]
    told = f"{judging.table(found['scores'])}\n\n{speed['realtime']} x realtime, {speed.get('threads')} threads"
    print(json.dumps(found) if chosen.json else told)


def _card(chosen: argparse.Namespace) -> None:
    from stemd.training.card import write

    target = write(chosen.model, chosen.scores, chosen.log)
    print(json.dumps({"card": str(target)}) if chosen.json else target)
