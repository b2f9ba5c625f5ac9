"""``stemd.yaml``, its drop-ins, the environment and flags → one frozen ``Config``; and job files.

The only place that knows pydantic and YAML. Names are imported on first use: reading a few keys with ``peek`` does not
pay for pydantic (a tenth of a second, half of what ``stemd status`` may take).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stemd.core.config.alerts import Alerts
    from stemd.core.config.documents import read_mapping
    from stemd.core.config.engines import EngineConfig, EngineLimits, Workers
    from stemd.core.config.glance import Places, peek
    from stemd.core.config.jobfile import parse_job
    from stemd.core.config.jobs import Defaults, Inbox
    from stemd.core.config.json_schema import schema
    from stemd.core.config.loading import Loaded, load
    from stemd.core.config.model import Config
    from stemd.core.config.people import Quota, User
    from stemd.core.config.sample import reference
    from stemd.core.request import JobFile

_HOME = {
    "Alerts": "stemd.core.config.alerts",
    "Config": "stemd.core.config.model",
    "Defaults": "stemd.core.config.jobs",
    "EngineConfig": "stemd.core.config.engines",
    "EngineLimits": "stemd.core.config.engines",
    "Inbox": "stemd.core.config.jobs",
    "JobFile": "stemd.core.request",
    "Loaded": "stemd.core.config.loading",
    "Places": "stemd.core.config.glance",
    "Quota": "stemd.core.config.people",
    "User": "stemd.core.config.people",
    "Workers": "stemd.core.config.engines",
    "load": "stemd.core.config.loading",
    "parse_job": "stemd.core.config.jobfile",
    "read_mapping": "stemd.core.config.documents",
    "peek": "stemd.core.config.glance",
    "reference": "stemd.core.config.sample",
    "schema": "stemd.core.config.json_schema",
}

__all__ = [
    "Alerts", "Config", "Defaults", "EngineConfig", "EngineLimits", "Inbox", "JobFile", "Loaded", "Places",
    "Quota", "User", "Workers", "load", "parse_job", "peek", "read_mapping", "reference", "schema",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
