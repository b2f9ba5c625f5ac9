"""``python -m stemd.engines.sample make DIR | score STEMS TRUTH``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from stemd.engines.sample.score import score
from stemd.engines.sample.song import write


def main() -> None:
    """Make the song (prints its path), or print one JSON document with the scores of a separation of it."""
    parser = argparse.ArgumentParser(prog="python -m stemd.engines.sample", description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("make").add_argument("folder", type=Path)
    scoring = commands.add_parser("score")
    scoring.add_argument("stems", type=Path)
    scoring.add_argument("truth", type=Path)
    chosen = parser.parse_args()
    if chosen.command == "make":
        print(write(chosen.folder))
    else:
        print(json.dumps(score(chosen.stems, chosen.truth), indent=2))


if __name__ == "__main__":
    main()
