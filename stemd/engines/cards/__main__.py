"""``python -m stemd.engines.cards ADDRESS WISH``: see ``host``. Only the daemon starts it; it ends with its input."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from dataclasses import asdict
from pathlib import Path

from stemd.engines.cards.host import Host, Wish, listen


def main() -> None:
    """Serve at the address until the daemon ends it, or is gone."""
    address, wish = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.excepthook = _end_with_all
    threading.Thread(target=_outlive_nobody, name="daemon", daemon=True).start()
    Host(Wish(**json.loads(wish)), lambda other: _anew(address, other), _end).serve(listen(Path(address)))


def _outlive_nobody() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def _anew(address: str, wish: Wish) -> None:
    """The same process, from its beginning; whoever is connected notices, and greets it again."""
    command = [sys.executable, "-I", "-m", "stemd.engines.cards", address, json.dumps(asdict(wish))]
    os.execv(sys.executable, command)  # noqa: S606


def _end(why: str) -> None:
    print(f"the card's process ends: {why}", file=sys.stderr, flush=True)
    os._exit(1)


def _end_with_all(failed: threading.ExceptHookArgs) -> None:
    """A thread less would leave workers waiting for ever; without the process they are told, and another is started."""
    traceback.print_exception(failed.exc_type, failed.exc_value, failed.exc_traceback)
    os._exit(1)


if __name__ == "__main__":
    main()
