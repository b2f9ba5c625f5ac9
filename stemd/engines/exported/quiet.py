"""OpenVINO without its telemetry: the only way by which stemd imports it.

Its package tells Google Analytics each time that it is imported, with a number for the machine that it keeps in the
home folder, unless the module that does so cannot be imported. stemd tells nobody anything.
"""

from __future__ import annotations

import sys
from typing import Any


def openvino() -> Any:
    """The module.

    Raises:
        ImportError: it is not installed, or damaged.
    """
    modules: dict[str, Any] = sys.modules
    modules["openvino_telemetry"] = None  # an import of it fails now, which its users are prepared for
    import openvino

    return openvino
