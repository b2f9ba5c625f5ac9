"""The service without a network, or with this machine's only: settings that need more are refused beforehand.

``10-no-network.conf`` takes the network away altogether; the unit itself filters what goes to other machines
(``IPAddressDeny=``), until ``30-network.conf`` is installed. systemd is asked, because the command line itself has a
network. It is asked about the service's own configuration only.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from stemd.core.config.faults import Fault, refuse
from stemd.core.config.places import SYSTEM_FILE

if TYPE_CHECKING:
    from stemd.core.config import Loaded

_UNIT = "stemd.service"
#: Kinds of sinks that speak to another machine, or to this one by its network.
_BY_NETWORK = frozenset({"webhook", "alertmanager"})
_PLACE = re.compile(r"(.*):(\d+):(\d+)")

_Networks = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a unit lets its service go: not at all, or as its packet filter says. What is allowed wins."""

    network: bool = True
    allowed: _Networks = ()
    denied: _Networks = ()

    def lets(self, host: str) -> bool:
        """Whether it lets through what is for ``host``. What cannot be told (where a name leads to) it does."""
        if not self.network:
            return False
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            name = socket.gethostname().lower()
            return host.lower() in {"localhost", name, name.partition(".")[0]} or not self._only_this_machine
        return any(address in each for each in self.allowed) or not any(address in each for each in self.denied)

    @property
    def _only_this_machine(self) -> bool:
        everything = {each.version for each in self.denied if each.prefixlen == 0}
        return everything == {4, 6} and all(each.is_loopback for each in self.allowed)


@dataclass(frozen=True, slots=True)
class _Need:
    """A setting that needs a way to ``host`` (none: to somewhere), and what does the same without."""

    key: str
    host: str
    instead: str


def require(loaded: Loaded, service_file: Path = SYSTEM_FILE) -> None:
    """Make sure that nothing in the service's configuration needs a way that its unit closes.

    Raises:
        StemdError: STEMD-C005, with every such setting.
    """
    if loaded.files[:1] != (service_file,) or not (needs := list(_needs(loaded))):
        return
    reach = ask()
    found: dict[str, Fault] = {}
    for need in needs:
        if not reach.lets(need.host):
            found.setdefault(need.key, _fault(loaded, need, reach))
    if found:
        raise refuse("STEMD-C005", found.values())


def ask(unit: str = _UNIT) -> Reach:
    """How far systemd lets the service go; where there is no systemd, or no such unit, everywhere."""
    command = ["systemctl", "show", unit, "--property=LoadState,PrivateNetwork,IPAddressAllow,IPAddressDeny"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.splitlines()
    except (OSError, subprocess.TimeoutExpired):
        return Reach()
    said = {key: value for key, _, value in (line.partition("=") for line in shown)}
    if said.get("LoadState") != "loaded":
        return Reach()
    allowed, denied = (_networks(said.get(key, "")) for key in ("IPAddressAllow", "IPAddressDeny"))
    return Reach(said.get("PrivateNetwork") != "yes", allowed, denied)


def _networks(text: str) -> _Networks:
    found = []
    for word in text.split():
        with suppress(ValueError):
            found.append(ipaddress.ip_network(word, strict=False))
    return tuple(found)


def _needs(loaded: Loaded) -> Iterator[_Need]:
    config = loaded.config
    if (address := config.handoff.webhook) is not None:
        yield _Need("handoff.webhook", _host(address), "use handoff.directory or handoff.command")
    for sink in config.alerts.sinks:
        if sink[0] in _BY_NETWORK:
            instead = "keep `log` or a `command`, and let Prometheus ask /metrics and Alertmanager tell"
            yield _Need("alerts.sinks", _host(sink[1]), instead)
    if config.models.fetch == "auto" and loaded.origins.get("models.fetch", "default") != "default":
        yield _Need("models.fetch", "", "set it to never, and fetch models with `stemd models fetch`")


def _host(address: str) -> str:
    return urlsplit(address).hostname or ""


def _fault(loaded: Loaded, need: _Need, reach: Reach) -> Fault:
    why = "the service has no network"
    if reach.network:
        why = "the service's unit lets nothing out to other machines; install 30-network.conf, or"
    message = f"{why}{'' if reach.network else ':'} {need.instead}"
    origin = next((place for name, place in loaded.origins.items() if name.startswith(need.key)), "default")
    if found := _PLACE.fullmatch(origin):
        return Fault(found[1], int(found[2]), int(found[3]), need.key, message)
    return Fault(origin, None, None, need.key, message)
