"""Settings laid over settings: an inbox's, a job's, a preset's; the same rule for all of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def over(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """``change`` laid over ``base``, mappings key by key; ``true`` leaves a mapping as it is, all else replaces it.

    What ``base`` switches off by ``enabled: false`` is on again where ``change`` says more of it and not that.

    >>> over({"a": {"enabled": False, "x": 1}, "b": {"y": 1}}, {"a": {"x": 2}, "b": True, "c": None})
    {'a': {'x': 2}, 'b': {'y': 1}, 'c': None}
    """
    merged = {**base, **change}
    for key in base.keys() & change.keys():
        below, above = base[key], {} if change[key] is True else change[key]
        if isinstance(below, Mapping) and isinstance(above, Mapping):
            merged[key] = over(below, above)
            if below.get("enabled") is False and "enabled" not in above:
                del merged[key]["enabled"]
    return merged
