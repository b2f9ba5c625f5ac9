"""``python -m stemd.engines.cards ADDRESS WISH``: see ``host``. Only the daemon starts it."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from stemd.core.processes import die_with_parent
from stemd.engines.cards.host import Host, Wish, listen


def main() -> None:
    """Serve at the address until the daemon ends it, or is gone."""
    address, wish = sys.argv[1:]
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Host(Wish(**json.loads(wish))).serve(listen(Path(address)))


if __name__ == "__main__":
    main()
