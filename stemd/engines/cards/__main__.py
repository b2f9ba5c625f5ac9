"""``python -m stemd.engines.cards ADDRESS WISH``: see ``host``. Only the daemon starts it."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path

from stemd.core.processes import die_with_parent
from stemd.engines.cards.host import Host, Wish, listen


def main() -> None:
    """Serve at the address until the daemon ends it, or is gone."""
    address, wish = sys.argv[1:]
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.excepthook = _end_with_all
    Host(Wish(**json.loads(wish))).serve(listen(Path(address)))


def _end_with_all(failed: threading.ExceptHookArgs) -> None:
    """A thread less would leave workers waiting for ever; without the process they are told, and another is started."""
    traceback.print_exception(failed.exc_type, failed.exc_value, failed.exc_traceback)
    os._exit(1)


if __name__ == "__main__":
    main()
