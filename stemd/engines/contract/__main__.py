"""``python -m stemd.engines.contract ENGINE MODEL``: every check over one installed engine, a line for each."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import traceback
from pathlib import Path

from stemd.core.config.places import default_engines, default_models
from stemd.core.errors import StemdError
from stemd.engines import base
from stemd.engines.contract import CHECKS, Check, Subject
from stemd.engines.environments import own_environment


def main() -> int:
    """Run the checks; 0 where all hold, 1 where one does not."""
    chosen = _arguments()
    with tempfile.TemporaryDirectory(prefix="stemd-contract-") as folder:
        try:
            engine = base.create(chosen.engine, _environment(chosen))
            if isinstance(engine, base.Mixer):
                raise StemdError("STEMD-E001", f"{chosen.engine} mixes: these are the promises of what separates")
            subject = Subject(engine, chosen.model, chosen.store, Path(folder), chosen.device)
            subject.load()
        except StemdError as error:
            print(f"{error}\n{error.remedy}", file=sys.stderr)
            return 1
        held = [_holds(check, subject) for check in CHECKS]
        subject.close()
    print(f"{sum(held)} of {len(held)} hold")
    return 0 if all(held) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stemd.engines.contract", description=main.__doc__)
    parser.add_argument("engine", help="its name, as `stemd engines` shows it")
    parser.add_argument("model")
    parser.add_argument("--store", type=Path, default=default_models(os.environ), help="the model store")
    parser.add_argument("--environment", type=Path, help="the engine's own Python environment, if it has one")
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


def _environment(chosen: argparse.Namespace) -> Path | None:
    if chosen.environment is None and own_environment(chosen.engine):
        return default_engines(os.environ) / str(chosen.engine)
    environment: Path | None = chosen.environment
    return environment


def _holds(check: Check, subject: Subject) -> bool:
    name = check.__name__.replace("_", " ")
    try:
        check(subject)
    except Exception as error:
        print(f"FAIL  {name}: {error if isinstance(error, AssertionError | StemdError) else _where(error)}", flush=True)
        return False
    print(f"ok    {name}", flush=True)
    return True


def _where(error: Exception) -> str:
    """An error that nobody expected, with the line it came from."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})"


if __name__ == "__main__":
    sys.exit(main())
