"""``stemd bench``: what it is asked, and what it prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from stemd import __version__
from stemd.cli import options, report
from stemd.cli.bench import figures, machine, page, processes, tuning
from stemd.cli.bench.contest import Contest, Plan

_SAME = (
    "both: demucs {demucs}, torch {torch}, cpu, {threads} threads, the same weights ({model}), no shifts, 24-bit wav"
)


@click.command()
@click.option("--model", default="nano", show_default=True, metavar="NAME", help="A Demucs model of the store.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="How often each does everything.")
@click.option("--seconds", type=click.FloatRange(1), default=60, show_default=True, help="Length of the one file.")
@click.option("--files", type=click.IntRange(1, 999), default=10, show_default=True, help="How many more files.")
@click.option("--file-seconds", type=click.FloatRange(1), default=20, show_default=True, help="Length of each of them.")
@click.option(
    "--random", is_flag=True, help="A model of htdemucs' size with random weights instead of one of the store."
)
@click.option("--full", is_flag=True, help="Five rounds and a file of five minutes: for figures to publish.")
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
    config_file: Path | None, as_json: bool, random: bool, full: bool, folder: Path | None, tune: bool, **given: Any
) -> None:
    """stemd and the demucs command side by side: seconds, ratios, memory.

    Both get the same files, the same weights, the CPU and as many threads as there are cores, and write the same
    format; their outputs are compared. Each round does everything once, and each time another side is first.

    stemd is a daemon of its own on a temporary spool; a file's time is from the rename into its inbox to the result
    in its outbox. Of the configuration only the model store is used. With a real model this takes long: try --rounds 1.
    """
    from stemd.engines import models

    store, _ = options.model_store(config_file)
    if full:
        given |= {"rounds": max(given["rounds"], 5), "seconds": max(given["seconds"], 300.0)}
    here = machine.look()
    with processes.stage() as root:
        if random:
            store = root / "models"
            given["model"] = tuning.RANDOM
            processes.tool("stemd.engines.sized", tuning.RANDOM, str(store))
        models.find(given["model"], store)
        if tune:
            tuning.again(given["model"], store.absolute(), config_file, here, as_json)
            return
        plan = Plan(store=store.absolute(), threads=here.cores, **given)
        report.note("what is fast on this machine, and how fast it could be …")
        found = tuning.measured(plan.model, plan.store, "auto", root / "state" / "tuning", here.cores)
        contest = Contest(plan, root, report.note)
        comparisons = contest.hold()
    facts = {**_facts(plan, here, contest), "tuning": found}
    document = {**facts, "workloads": [each.to_dict() for each in comparisons]}
    if folder is not None:
        page.write(folder, document)
    if as_json:
        report.document(**document)
    else:
        _show(plan, facts, comparisons)
        click.echo(tuning.sentence(found))


def _facts(plan: Plan, here: machine.Machine, contest: Contest) -> dict[str, Any]:
    return {
        "machine": here.to_dict(),
        "versions": {"stemd": __version__, **{key: contest.model[key] for key in ("demucs", "torch")}},
        "settings": {
            "model": plan.model,
            "model_sha256": contest.model["sha256"],
            "rounds": plan.rounds,
            "device": "cpu",
            "threads": plan.threads,
            "output": "wav, 24 bit",
        },
        "outputs": {"max_difference": figures.worst(contest.differences), "stems": contest.differences},
        "busy": figures.busy(here.load, here.cores),
    }


def _show(plan: Plan, facts: dict[str, Any], comparisons: list[figures.Comparison]) -> None:
    here, versions = facts["machine"], facts["versions"]
    click.echo(
        f"{here['cpu']}, {here['cores']} cores, {here['memory'] / 2**30:.1f} GiB; {here['system']}, "
        f"Python {here['python']}; load average before: {here['load']:.2f}"
    )
    click.echo(f"stemd {versions['stemd']}; " + _SAME.format(**versions, threads=plan.threads, model=plan.model))
    click.echo("\n" + report.table(figures.HEADERS, [each.row() for each in comparisons]) + "\n")
    click.echo(
        f"Median (least–most) of {plan.rounds} round{'s' * (plan.rounds > 1)}. Ratio: seconds of the demucs command by "
        "those of stemd in the same round. ×: times realtime.\n"
        "MiB: most resident memory of all processes of a side at one time; stemd's with its daemon."
    )
    click.echo(figures.agreement(facts["outputs"]["max_difference"]))
    if facts["busy"]:
        click.echo(facts["busy"])
