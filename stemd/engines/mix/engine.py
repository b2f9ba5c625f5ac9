"""The engine ``mix``; see ``stemd.engines.base.Mixer``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemd import __version__
from stemd.core.errors import StemdError
from stemd.engines.base import ModelInfo

if TYPE_CHECKING:
    from stemd.engines.base import MixRequest, MixResult, ProgressCallback

MODEL = "mix"


class MixEngine:
    """It has one way of mixing, which is all settings, and no weights: its one model, ``MODEL``, has no hash."""

    name = "mix"

    @property
    def version(self) -> str:
        return __version__

    def load(self, model: str, store: Path, device: str) -> ModelInfo:
        """Get ready; there is nothing to load.

        Raises:
            StemdError: STEMD-M001, another model was asked for.
        """
        if model != MODEL:
            raise StemdError("STEMD-M001", f"the mix engine has no model {model!r}", remedy="Leave `model:` out.")
        return ModelInfo(MODEL, (), 44_100, 2, "")

    def use_threads(self, count: int) -> None:
        """So many stems are unpacked at once; the rest is done on one core."""
        os.environ["OMP_NUM_THREADS"] = str(count)

    def mix(self, request: MixRequest, report: ProgressCallback) -> MixResult:
        """See ``stemd.engines.mix.run.mix``."""
        from stemd.engines.mix.run import mix

        return mix(request, report)

    def facts(self) -> Mapping[str, Any]:
        """It runs on the CPU, on one core but for loading."""
        return {"device": "cpu"}

    def close(self) -> None:
        """There is nothing to free."""
