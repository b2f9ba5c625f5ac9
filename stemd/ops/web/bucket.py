"""How often somebody may ask: one bucket of requests each, refilled steadily; what is remembered is bounded."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """``burst`` requests at once, then ``each_second``."""

    burst: float
    each_second: float


class Buckets:
    """The buckets of everybody who asked lately; when there are too many, who asked longest ago is forgotten."""

    def __init__(self, rate: Rate, most: int = 1024) -> None:
        self._rate, self._most = rate, most
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, who: str, now: float) -> float:
        """Take one request out of ``who``'s bucket at ``now`` (monotonic seconds).

        0 where there was one, else the seconds until there is.
        """
        left, then = self._left.pop(who, (self._rate.burst, now))
        left = min(self._rate.burst, left + (now - then) * self._rate.each_second)
        wait = 0.0 if left >= 1 else (1 - left) / self._rate.each_second
        self._left[who] = (left if wait else left - 1, now)
        if len(self._left) > self._most:
            self._left.popitem(last=False)
        return wait

    def __len__(self) -> int:
        return len(self._left)


def neighbourhood(address: str) -> str:
    """Whose bucket an address draws from: one machine has a whole /64 of IPv6 addresses."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ip.ipv4_mapped or ipaddress.IPv6Network((ip, 64), strict=False).network_address)
    return str(ip)
