"""The options a job may give to Spleeter, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from stemd.engines.options import check_names, choice, flag, number

EXTENSIONS = ("zeros", "average")


@dataclass(frozen=True, slots=True)
class SpleeterOptions:
    """``exponent``: of the ratio masks. ``extension``: what becomes of the bins above those the networks see.
    ``mwf``: multichannel Wiener filtering instead of masks, over windows of ``mwf_window`` seconds."""

    exponent: float = 2.0
    extension: str = "zeros"
    mwf: bool = False
    mwf_window: float = 600.0

    def facts(self) -> dict[str, Any]:
        return asdict(self)


def parse_options(options: Mapping[str, Any]) -> SpleeterOptions:
    """Check ``options``.

    Raises:
        StemdError: STEMD-E004, naming the option.
    """
    check_names("spleeter", options, SpleeterOptions)
    return SpleeterOptions(
        exponent=number(options, "exponent", 2.0, 0.1, 8),
        extension=choice(options, "extension", "zeros", EXTENSIONS),
        mwf=flag(options, "mwf", False),
        mwf_window=number(options, "mwf_window", 600.0, 24, 3600),
    )
