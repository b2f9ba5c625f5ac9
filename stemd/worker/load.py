"""Loading a worker's model: fetched first if it is not here, replaced once if it is damaged."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from stemd.core.errors import StemdError
from stemd.engines.base import Engine, Mixer, ModelInfo
from stemd.engines.models import BUILT_IN
from stemd.worker.setup import Setup

_INTERVAL = 0.5
_STEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def load(engine: Engine | Mixer, setup: Setup, send: Callable[..., None]) -> ModelInfo:
    """Load ``setup.model``; ``send`` gets messages of progress while it is being fetched.

    Raises:
        StemdError: what ``Engine.load`` raises, and STEMD-M001, it is not here and could not be fetched.
    """
    store, progress = Path(setup.store), _Fetching(setup.model, send)
    setup.supply.provide(setup.model, setup.engine, store, progress)
    try:
        return _named(engine.load(setup.model, store, setup.device))
    except StemdError as error:
        if error.code != "STEMD-M003":
            raise
        setup.supply.mend(setup.model, store, error, progress)
    return _named(engine.load(setup.model, store, setup.device))


def _named(model: ModelInfo) -> ModelInfo:
    """Stems become names of files: a model may come from anywhere."""
    odd = [stem for stem in model.stems if not _STEM.fullmatch(stem) or stem.startswith("no_") or stem == "residual"]
    if odd:
        raise StemdError("STEMD-M004", f"{model.name} has stems that cannot be names of files: {odd}")
    return model


class _Fetching:
    """Passes the share of the model's bytes that have come on as the progress of the stage ``load``."""

    def __init__(self, model: str, send: Callable[..., None]) -> None:
        known = BUILT_IN.get(model)
        self._size = known.size if known else None
        self._send = send
        self._files: dict[str, int] = {}
        self._next = 0.0

    def __call__(self, file: str, done: int, of: int | None) -> None:
        self._files[file] = done
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _INTERVAL
            share = sum(self._files.values()) / self._size if self._size else done / of if of else 0.0
            self._send("progress", stage="load", fraction=round(min(share, 1.0), 4), chunks=0)
