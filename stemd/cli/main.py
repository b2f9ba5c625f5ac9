"""``stemd``: the group of all commands, and the one place where an error becomes an exit status.

A command's module is imported when it is invoked and not before, so that ``stemd status`` does not pay for what
``stemd demo`` needs.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

import click

from stemd import __version__
from stemd.cli import report
from stemd.core.errors import Exit, StemdError
from stemd.spool import durable

#: Command → module and name, in the order of ``stemd --help``.
COMMANDS = {
    "demo": "stemd.cli.demo:demo",
    "run": "stemd.cli.run:run",
    "submit": "stemd.cli.submit:submit",
    "status": "stemd.cli.status:status",
    "list": "stemd.cli.status:list_jobs",
    "watch": "stemd.cli.watch:watch",
    "why": "stemd.cli.why:why",
    "quota": "stemd.cli.quota:quota",
    "retry": "stemd.cli.steer:retry",
    "cancel": "stemd.cli.steer:cancel",
    "hold": "stemd.cli.steer:hold",
    "release": "stemd.cli.steer:release",
    "prune": "stemd.cli.deletion:prune",
    "erase": "stemd.cli.deletion:erase",
    "explain": "stemd.cli.explain:explain",
    "doctor": "stemd.cli.doctor:doctor",
    "config": "stemd.cli.config_cmd:config_group",
    "engines": "stemd.cli.engines:engines",
    "models": "stemd.cli.models:models",
    "drain": "stemd.cli.steer:drain",
    "resume": "stemd.cli.steer:resume",
    "reload": "stemd.cli.steer:reload",
    "audit": "stemd.cli.audit:audit",
    "bench": "stemd.cli.bench.command:bench",
}


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports them one by one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run a command and end the process with its status."""
        arguments = list(sys.argv[1:] if args is None else args)
        as_json = "--json" in arguments
        _open_what_is_closed()
        for stream in (sys.stdout, sys.stderr):
            if callable(reconfigure := getattr(stream, "reconfigure", None)):
                reconfigure(errors="backslashreplace")
        sys.exit(_guarded(lambda: super(LazyGroup, self).main(arguments, prog_name, standalone_mode=False), as_json))


def _guarded(command: Callable[[], Any], as_json: bool) -> int:
    """Call ``command`` and turn however it ends into an exit status and words about it."""
    try:
        result = command()
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return Exit.INTERRUPTED
    except StemdError as error:
        return _told(error, as_json)
    except BrokenPipeError:
        _print_no_more()  # the reader went away
        return Exit.GENERAL
    except Exception as error:
        if os.environ.get("STEMD_DEBUG"):
            raise
        return _told(_explained(error), as_json)
    return result if isinstance(result, int) else Exit.OK


def _open_what_is_closed() -> None:
    """A standard stream that is closed leads nowhere: the next file that is opened would take its place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode)  # noqa: SIM115, PTH123  for the life of the process
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def _told(error: StemdError, as_json: bool) -> int:
    """Say what went wrong, as far as anybody takes it, and leave nothing that the end would try to write again."""
    try:
        report.failure(error, as_json)
    except OSError:
        with suppress(OSError):
            report.failure(error, as_json=False)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        _print_no_more()
    return error.spec.exit


def _print_no_more() -> None:
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123  for the life of the process


def _explained(error: Exception) -> StemdError:
    """An exception nobody expected: what the system forbids or a disk refuses is no bug, everything else is."""
    if isinstance(error, PermissionError):
        return StemdError("STEMD-P003", f"{error.filename}: {error.strerror}")
    if isinstance(error, OSError) and error.errno in {*durable.FULL, errno.EIO}:
        code = "STEMD-S014" if error.errno == errno.EIO else "STEMD-R003"
        remedy = None if error.filename else "See to the disk that this goes to, or send the output elsewhere."
        return StemdError(code, f"{error.filename or 'the output'}: {error.strerror}", remedy=remedy)
    remedy = "Run it again with STEMD_DEBUG=1 in the environment and report the trace it prints."
    return StemdError("STEMD-X001", f"{type(error).__name__}: {error}", remedy=remedy)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="stemd", message="%(prog)s %(version)s")
def main() -> None:
    """Drop songs into a folder, get stems back: the watch-folder daemon and everything to look after it."""
