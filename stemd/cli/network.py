"""The service without a network (``10-no-network.conf``): settings that would need one are refused beforehand.

systemd is asked, because the command line itself has a network. It is asked about the service's own configuration only.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from stemd.core.config.faults import Fault, refuse
from stemd.core.config.places import SYSTEM_FILE

if TYPE_CHECKING:
    from stemd.core.config import Loaded

_UNIT = "stemd.service"
#: Kinds of sinks that speak to another machine, or to this one by its network.
_BY_NETWORK = frozenset({"webhook", "alertmanager"})
_PLACE = re.compile(r"(.*):(\d+):(\d+)")


def require(loaded: Loaded, service_file: Path = SYSTEM_FILE) -> None:
    """Make sure that nothing in the service's configuration needs a network that its unit takes away.

    Raises:
        StemdError: STEMD-C005, with every such setting.
    """
    if loaded.files[:1] == (service_file,) and (found := list(_needs(loaded))) and without_network():
        raise refuse("STEMD-C005", found)


def without_network(unit: str = _UNIT) -> bool:
    """Whether systemd starts the service without a network; where there is no systemd, or no such unit, it does not."""
    command = ["systemctl", "show", unit, "--property=LoadState,PrivateNetwork"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.splitlines()
    except (OSError, subprocess.TimeoutExpired):
        return False
    return {"LoadState=loaded", "PrivateNetwork=yes"} <= set(shown)


def _needs(loaded: Loaded) -> Iterator[Fault]:
    """Each setting that needs a network, and what does the same without."""
    config = loaded.config
    if config.handoff.webhook is not None:
        yield _fault(loaded, "handoff.webhook", "use handoff.directory or handoff.command")
    if any(sink[0] in _BY_NETWORK for sink in config.alerts.sinks):
        yield _fault(
            loaded, "alerts.sinks", "keep `log` or a `command`, and let Prometheus ask /metrics and Alertmanager tell"
        )
    if config.models.fetch == "auto" and loaded.origins.get("models.fetch", "default") != "default":
        yield _fault(loaded, "models.fetch", "set it to never, and fetch models with `stemd models fetch`")


def _fault(loaded: Loaded, key: str, instead: str) -> Fault:
    origin = next((place for name, place in loaded.origins.items() if name.startswith(key)), "default")
    message = f"the service has no network: {instead}"
    if found := _PLACE.fullmatch(origin):
        return Fault(found[1], int(found[2]), int(found[3]), key, message)
    return Fault(origin, None, None, key, message)
