"""``stemd bench``: what it is asked, and what it prints."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from stemd.cli import options, report
from stemd.cli.bench import figures, goals, machine, page, processes, tuning
from stemd.cli.bench.contest import Plan
from stemd.cli.bench.measuring import Measuring

_SAME = (
    "both: demucs {demucs}, torch {torch}, cpu, {threads} threads, the same weights ({model}), no shifts, 24-bit wav"
)


def _minutes(context: click.Context, option: click.Parameter, value: str | None) -> tuple[float, ...]:
    try:
        found = tuple(sorted(float(each) for each in (value or "").split(",") if each.strip()))
    except ValueError:
        found = (0.0,)
    if any(not 0 < each <= 1440 for each in found):
        raise click.BadParameter("give minutes, such as 1,6,60")
    return found


@click.command()
@click.option("--model", default="nano", show_default=True, metavar="NAME", help="A Demucs model of the store.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="How often each does everything.")
@click.option("--seconds", type=click.FloatRange(1), default=60, show_default=True, help="Length of the one file.")
@click.option("--files", type=click.IntRange(1, 999), default=10, show_default=True, help="How many more files.")
@click.option("--file-seconds", type=click.FloatRange(1), default=20, show_default=True, help="Length of each of them.")
@click.option(
    "--random", is_flag=True, help="A model of htdemucs' size with random weights instead of one of the store."
)
@click.option(
    "--fast",
    type=click.Choice(["bf16", "fp16"]),
    help="The one file once more in this precision; its error is measured first.",
)
@click.option(
    "--audio-separator",
    "separator",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=lambda: shutil.which("audio-separator"),
    metavar="FILE",
    help="The audio-separator command, which takes part too.  [default: that of PATH, where it is there]",
)
@click.option("--spleeter", "with_spleeter", is_flag=True, help="The spleeter command too (2stems), where it is here.")
@click.option("--lengths", callback=_minutes, metavar="M,M…", help="Memory, time to the first block: tracks of M min.")
@click.option("--length-model", metavar="NAME", help="The model for --lengths.  [default: that of --model]")
@click.option("--service", "with_service", is_flag=True, help="What the daemon itself costs: rest, claims, throughput.")
@click.option("--full", is_flag=True, help="All of these, with a file of five minutes and lengths of 1, 6, 60 minutes.")
@click.option(
    "--report",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write performance.md, .svg and .json there.",
)
@click.option("--tune", is_flag=True, help="Only try the ways to compute again, remember the best, and show them all.")
@options.common
def bench(
    config_file: Path | None,
    as_json: bool,
    random: bool,
    folder: Path | None,
    tune: bool,
    lengths: Sequence[float],
    **given: Any,
) -> None:
    """stemd and the demucs command side by side: seconds, ratios, memory.

    Both get the same files, the same weights, the CPU and as many threads as there are cores, and write the same
    format; their outputs are compared. Each round does everything once, and each time another side is first.

    stemd is a daemon of its own on a temporary spool; a file's time is from the rename into its inbox to the result
    in its outbox. Of the configuration only the model store is used. With a real model this takes long: try --rounds 1.
    """
    from stemd.engines import models

    store, _ = options.model_store(config_file)
    full, length_model = given.pop("full"), given.pop("length_model")
    with_spleeter, with_service = (given.pop(f"with_{name}") or full for name in ("spleeter", "service"))
    if full:
        given |= {"seconds": max(given["seconds"], 300.0), "fast": given["fast"] or "bf16"}
        lengths = lengths or (1.0, 6.0, 60.0)
    here = machine.look()
    with processes.stage() as root:
        if random:
            store = root / "models"
            given["model"] = tuning.RANDOM
            processes.tool("stemd.engines.sized", tuning.RANDOM, str(store))
        models.find(given["model"], store)
        if tune:
            tuning.again(given["model"], options.absolute(store), config_file, here, as_json)
            return
        plan = Plan(store=options.absolute(store), threads=here.cores, **given)
        run = Measuring(plan, root, here, report.note)
        parts: dict[str, Callable[[], None]] = {}
        if with_spleeter:
            parts["Spleeter"] = partial(run.spleeter, options.engines_folder(config_file), random)
        if lengths:
            parts["length"] = partial(run.lengths, length_model or plan.model, lengths)
        if with_service:
            parts["the service"] = run.service
        run.contest()
        for name, part in [("", lambda: None), *parts.items()]:
            run.attempt(name, part)
            if folder is not None:
                page.write(folder, run.document)  # what comes later must not cost what there is
    document = run.document
    if as_json:
        report.document(**document)
    else:
        _show(document)


def _show(document: dict[str, Any]) -> None:
    here, versions, settings = document["machine"], document["versions"], document["settings"]
    click.echo(
        f"{here['cpu']}, {here['cores']} cores, {here['memory'] / 2**30:.1f} GiB; {here['system']}, "
        f"Python {here['python']}; load average before: {here['load']:.2f}"
    )
    said = {**versions, "threads": settings["threads"], "model": settings["model"]}
    click.echo(f"stemd {versions['stemd']}; " + _SAME.format(**said))
    rounds = settings["rounds"]
    click.echo("\n" + report.table(figures.HEADERS, map(figures.row, document["workloads"])) + "\n")
    click.echo(
        f"Median (least–most) of {rounds} round{'s' * (rounds > 1)}. Ratio: seconds of the other command by "
        "those of stemd in the same round. ×: times realtime.\n"
        "MiB: most resident memory of all processes of a side at one time; stemd's with its daemon."
    )
    click.echo(figures.agreement(document["outputs"]["max_difference"]))
    click.echo(tuning.sentence(document["tuning"]))
    click.echo("\n" + report.table(goals.HEADERS, goals.rows(document)))
    for said in [*document["not_measured"], *([document["busy"]] if document["busy"] else [])]:
        click.echo(said)
