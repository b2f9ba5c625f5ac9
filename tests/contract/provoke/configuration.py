"""C: configuration."""

from __future__ import annotations

import os
import socket

from stemd.cli import network
from tests.contract.provoke.bench import Bench, Seen, provokes
from tests.contract.provoke.spool import run_daemon


@provokes("STEMD-C001")
def no_such_file(bench: Bench) -> Seen:
    return bench.stemd("list", "-c", bench.home / "absent.yaml")


@provokes("STEMD-C002")
def a_misspelt_key(bench: Bench) -> Seen:
    return bench.stemd("drain", "-c", bench.config(bench.spool(), retention={"outbx": "30d"}))


@provokes("STEMD-C003")
def the_executor_of_a_later_version(bench: Bench) -> Seen:
    return bench.stemd("drain", "-c", bench.config(bench.spool(), executor="ray"))


@provokes("STEMD-C004")
def a_port_that_is_taken(bench: Bench) -> Seen:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        listen = f"127.0.0.1:{holder.getsockname()[1]}"
        return run_daemon(bench.config(bench.spool(), http={"listen": listen}), once=False)


@provokes("STEMD-C005")
def a_webhook_of_a_service_without_a_network(bench: Bench) -> Seen:
    config = bench.config(bench.spool(), handoff={"webhook": "https://example.org/stems"})
    systemctl = bench.home / "systemctl"  # answers as systemd does where the drop-in is installed
    systemctl.write_text("#!/bin/sh\necho PrivateNetwork=yes\necho LoadState=loaded\n")
    systemctl.chmod(0o755)
    bench.patch.setenv("PATH", f"{bench.home}:{os.environ['PATH']}")
    bench.patch.setattr(network.require, "__defaults__", (config,))
    return bench.stemd("config", "check", "-c", config)
