"""``python -m stemd.training COMMAND``."""

from __future__ import annotations

import sys

from stemd.training.commands import main

if __name__ == "__main__":
    sys.exit(main())
