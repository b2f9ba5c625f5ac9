"""The HTTP port: probes, health, metrics, jobs and the status page. Read-only, on a thread of its own."""

from stemd.ops.web.app import application
from stemd.ops.web.port import Port, address, bind, is_loopback
from stemd.ops.web.site import Site

__all__ = ["Port", "Site", "address", "application", "bind", "is_loopback"]
