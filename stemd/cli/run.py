"""``stemd run``: the daemon in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stemd.cli import options
from stemd.core.errors import StemdError

if TYPE_CHECKING:
    from stemd.core.config import Loaded


@click.command()
@click.option("--once", is_flag=True, help="Settle and empty the inbox, short retries included, then exit.")
@options.common_with_spool
def run(config_file: Path | None, as_json: bool, spool: Path | None, once: bool) -> int:
    """Run the daemon in the foreground.

    With --once the exit status is 0 when every job is done, 1 when one ended in orphan/, 75 when something waits.
    With --json the log is JSON lines.
    """
    from stemd.core.config import load
    from stemd.daemon import service
    from stemd.ops import logs

    flags = {"spool": str(options.absolute(spool)) if spool else None, "log.format": "json" if as_json else None}

    def read() -> Loaded:
        return load(config_file, flags)

    try:
        return service.run(read(), read, once=once)
    except StemdError:
        raise
    except Exception:
        logs.get().critical("crashed", exc_info=True)
        raise
