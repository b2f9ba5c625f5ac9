"""Everything that moves on a terminal: progress bars and live tables. The only module that knows rich.

Where standard error (or output) is no terminal, the same is said in plain lines, and less often.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from stemd.cli import report
from stemd.cli.follow import Followed
from stemd.core.job import JobState, printable


@contextmanager
def progress(jobs: Sequence[Followed], *, quiet: bool = False) -> Iterator[Callable[[], None]]:
    """A bar for each job while the block runs; yields the function that brings them up to date."""
    if quiet:
        yield lambda: None
    elif sys.stderr.isatty():
        with _bars(jobs) as show:
            yield show
    else:
        yield _lines(jobs)


@contextmanager
def _bars(jobs: Sequence[Followed]) -> Iterator[Callable[[], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks = [bars.add_task(_name(job), total=1.0, note="") for job in jobs]

        def show() -> None:
            for task, job in zip(tasks, jobs, strict=True):
                done = job.view.progress if job.view else 0.0
                bars.update(task, completed=done, note=_where(job), description=_name(job))

        yield show


def _lines(jobs: Sequence[Followed]) -> Callable[[], None]:
    said: dict[str, str] = {}

    def show() -> None:
        for job in jobs:
            now = _where(job, eta=False) + _quarters(job)
            if said.get(job.job_id) != now:
                said[job.job_id] = now
                report.note(f"{_name(job)}: {now}")

    return show


def _name(job: Followed) -> str:
    if job.view and job.view.title:
        return job.view.title
    return printable(job.inbox_path.name) if job.inbox_path else job.job_id


def _quarters(job: Followed) -> str:
    """Progress in steps of a quarter, so that a log is not filled with it."""
    running = job.view is not None and job.view.state == JobState.RUNNING and job.view.progress >= 0.25
    return f" {int(job.view.progress * 4) * 25} %" if running and job.view else ""


def _where(job: Followed, *, eta: bool = True) -> str:
    view = job.view
    if view is None:
        return "in the inbox"
    left = f", {report.duration(view.eta_seconds)} left" if eta and view.eta_seconds is not None else ""
    stage = view.stage or ""
    if view.reason and view.state != JobState.RUNNING:
        stage = f"{view.reason.get('code')}: {view.reason.get('message')}"
    return printable(f"{view.state}: {stage}{left}")


@contextmanager
def live(draw: Callable[[], str]) -> Iterator[Callable[[], None]]:
    """A text that is drawn again in place; yields the function that does so."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    def picture() -> Text:
        return Text(draw(), no_wrap=True, overflow="ellipsis")

    with Live(picture(), console=Console(), auto_refresh=False) as screen:
        yield lambda: screen.update(picture(), refresh=True)


@contextmanager
def share(what: str, *, quiet: bool = False) -> Iterator[Callable[[str, float], None]]:
    """A bar for one long piece of work; yields a function of what is being done and the share that is (0–1)."""
    if quiet:
        yield lambda doing, done: None
    elif not sys.stderr.isatty():
        yield _quarter_lines(what)
    else:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        text = TextColumn("{task.description}", markup=False)
        with Progress(
            text, BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), console=Console(stderr=True)
        ) as bars:
            task = bars.add_task(printable(what), total=1.0)
            yield lambda doing, done: bars.update(task, description=printable(f"{what}: {doing}"), completed=done)


def _quarter_lines(what: str) -> Callable[[str, float], None]:
    said = -1

    def show(doing: str, done: float) -> None:
        nonlocal said
        if int(done * 4) > said:
            said = int(done * 4)
            report.note(f"{what}: {done:.0%} {printable(doing)}")

    return show


@contextmanager
def transfer(what: str, *, quiet: bool = False) -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar for files being fetched; yields a function of a file's name, its bytes so far, and in all (``None``: ?)."""
    if quiet or not sys.stderr.isatty():
        yield lambda name, done, of: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(printable(what))

        def show(name: str, done: int, of: int | None) -> None:
            bars.update(task, description=printable(f"{what}: {name}"), completed=done, total=of)

        yield show
