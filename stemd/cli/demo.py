"""``stemd demo``: a complete run on a spool of its own, with the real daemon and the real engine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stemd.cli import options, report
from stemd.cli.follow import Followed, exit_status, follow
from stemd.core.errors import Exit, StemdError
from stemd.core.job import JobState, printable
from stemd.ops.snapshot import JobView
from stemd.spool.layout import Spool

if TYPE_CHECKING:
    from stemd.core.config import Config

_CONFIG = """\
# Written by `stemd demo`. `stemd config init` writes a commented file with every setting.
spool: {spool}
defaults: {{engine: demucs, model: nano, stems: 4, settle: 200ms}}
paths: {{run: {run}}}
http: {{listen: null}}
"""
_HONEST = """\
These stems are the work of nano, the small model that comes with stemd, trained on songs composed by rules and on three
real ones (its model card and docs/training.md tell how). On this song its mean SI-SDR is {si_sdr:.1f} dB, where
the mix itself has {mixture:.1f} dB. It shows the machine working, not what separation can sound like. For that, once:

    {better}"""
_BETTER = "stemd models fetch htdemucs"
_START_PATIENCE = 60.0
_STOP_PATIENCE = 45.0


@dataclass(frozen=True, slots=True)
class Stage:
    """The demo's folder and what stands in it."""

    root: Path

    @property
    def spool(self) -> Spool:
        return Spool(self.root / "spool")

    @property
    def config(self) -> Path:
        return self.root / "stemd.yaml"

    @property
    def sample(self) -> Path:
        return self.root / "sample"

    @property
    def log(self) -> Path:
        return self.root / "stemd.log"


@click.command()
@click.option("--keep", type=click.Path(path_type=Path), metavar="DIR", help="Work in DIR, which must be new or empty.")
@options.common
def demo(config_file: Path | None, as_json: bool, keep: Path | None) -> int:
    """A complete run: sample song, real daemon, real engine, measures.

    Makes a song whose stems are known, drops it, waits for the bundled model and measures what comes out.

    It brings its own configuration: -c/--config is not used. Without --keep everything is removed at the end.
    """
    if keep is not None and keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise click.BadParameter(f"{printable(str(keep))} is there and not empty", param_hint="--keep")
    stage = Stage(options.absolute(keep) if keep else Path(tempfile.mkdtemp(prefix="stemd-demo-")))
    try:
        view, seconds = _perform(stage, quiet=as_json)
        if view.state != JobState.DONE:
            reason = view.reason or {"message": f"the job ended as {view.state}"}
            raise StemdError.from_dict(reason)
        facts = _measure(stage, Path(view.result or ""), seconds)
    except StemdError:
        report.note(f"the demo failed; its log is {stage.log}, its folder {stage.root} was kept")
        raise
    except KeyboardInterrupt:
        if not keep:
            shutil.rmtree(stage.root, ignore_errors=True)
        raise
    if as_json:
        report.document(**facts, kept=str(stage.root) if keep else None)
    else:
        _show(facts, stage.root if keep else None)
    if not keep:
        shutil.rmtree(stage.root)
    return exit_status(view)


def _perform(stage: Stage, *, quiet: bool) -> tuple[JobView, float]:
    """Prepare, start the daemon, drop the song, wait for its end; returns how it ended and after how many seconds."""
    from stemd.cli import render
    from stemd.cli.submit import put
    from stemd.core.config import load

    stage.spool.inbox.mkdir(parents=True)
    quote = json.dumps
    stage.config.write_text(
        _CONFIG.format(spool=quote(str(stage.spool.root)), run=quote(str(stage.root / "run"))), encoding="utf-8"
    )
    if not quiet:
        report.note("making a sample song …")
    song = Path(_run("stemd.engines.sample", "make", str(stage.sample)).strip())
    config = load(stage.config, environ=_environment()).config
    with _daemon(stage) as daemon:
        _await_ready(config, stage, daemon)
        started = time.monotonic()
        drop = put(config, stage.spool, None, song, {})
        if not quiet:
            report.note(f"dropped {song.name} into {drop.path.parent}; the daemon is process {daemon.pid}")
        job = Followed(stage.spool, drop.job_id or "", drop.path)
        with render.progress([job], quiet=quiet) as show:
            for _ in follow(config, [job], show):
                pass
        assert job.view is not None
        return job.view, time.monotonic() - started


@contextmanager
def _daemon(stage: Stage) -> Iterator[subprocess.Popen[bytes]]:
    """The real daemon, stopped at the end as systemd would stop it."""
    with stage.log.open("wb") as log:
        process = subprocess.Popen(
            _command(stage),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(),
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _command(stage: Stage) -> list[str]:
    return [sys.executable, "-P", "-m", "stemd", "run", "--config", str(stage.config)]


def _await_ready(config: Config, stage: Stage, daemon: subprocess.Popen[bytes]) -> None:
    from stemd.daemon import control

    deadline = time.monotonic() + _START_PATIENCE
    while True:
        try:
            if control.request(config, {"op": "state"}).get("ready"):
                return
        except StemdError as error:
            if error.code != "STEMD-S017":
                raise
        if daemon.poll() is not None or time.monotonic() > deadline:
            last = stage.log.read_text(errors="replace").strip().splitlines()[-1:]
            raise StemdError("STEMD-S017", f"the daemon did not start: {printable(''.join(last))}")
        time.sleep(0.1)


def _measure(stage: Stage, folder: Path, seconds: float) -> dict[str, Any]:
    """What came out: each stem with its level and its distance from the truth, and the time it took."""
    scores = json.loads(_run("stemd.engines.sample", "score", str(folder), str(stage.sample / "truth")))
    manifest = json.loads((folder / "manifest.json").read_text())
    source = manifest["source"]
    audio = source["frames"] / source["sample_rate"]
    work = manifest["resources"]["wall_seconds"]
    stems = [{"stem": file["stem"], "file": file["name"], **scores[file["stem"]]} for file in manifest["files"]]
    return {
        "result": printable(str(folder)),
        "model": manifest["model"],
        "stems": stems,
        "si_sdr": _mean(stem["si_sdr"] for stem in stems),
        "si_sdr_mixture": _mean(stem["si_sdr_mixture"] for stem in stems),
        "better_model": _BETTER,
        "audio_seconds": round(audio, 3),
        "seconds": round(seconds, 3),
        "work_seconds": work,
        "realtime_factor": round(audio / work, 2),
    }


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return round(sum(numbers) / len(numbers), 2)


def _show(facts: dict[str, Any], kept: Path | None) -> None:
    folder = Path(facts["result"])
    rows = [
        (
            stem["stem"],
            printable(str(folder / stem["file"]) if kept else stem["file"]),
            "–" if stem["lufs"] is None else f"{stem['lufs']:.1f}",
            f"{stem['si_sdr']:.1f}",
            f"{stem['si_sdr_mixture']:.1f}",
        )
        for stem in facts["stems"]
    ]
    click.echo(report.table(("STEM", "FILE", "LUFS", "SI-SDR dB", "OF THE MIX dB"), rows))
    click.echo(
        f"\n{facts['audio_seconds']:.1f} s of audio: separated in {facts['work_seconds']:.1f} s "
        f"({facts['realtime_factor']:.1f} × realtime), {facts['seconds']:.1f} s from drop to finished folder, "
        "with the start of the worker.\n"
    )
    click.echo(_HONEST.format(si_sdr=facts["si_sdr"], mixture=facts["si_sdr_mixture"], better=_BETTER))
    where = f"Everything is in {printable(str(kept))}" if kept else "The files were removed; --keep DIR keeps them."
    click.echo(f"\n{where}")


def _run(module: str, *arguments: str) -> str:
    """Run one of our own modules in a process of its own: it loads numpy, which the command line does not."""
    command = [sys.executable, "-P", "-m", module, *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
    if answer.returncode != Exit.OK:
        last = (answer.stderr.strip().splitlines() or ["no word"])[-1]
        raise StemdError("STEMD-E002", f"{module} {arguments[0]} failed: {printable(last)}")
    return answer.stdout


def _environment() -> dict[str, str]:
    """Ours, without settings that would change the demo's."""
    return {key: value for key, value in os.environ.items() if not key.startswith("STEMD_") or key == "STEMD_DEBUG"}
