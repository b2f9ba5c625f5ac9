"""A service without a network, or with this machine's only: which settings are refused, and only then."""

import socket

import pytest

from stemd.cli import network
from stemd.core.config import load
from stemd.core.errors import StemdError

NEEDS = """spool: /srv/stemd
models: {fetch: auto}
handoff:
  webhook: https://example.org/stems
alerts: {sinks: [log, {webhook: https://example.org/alerts}]}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "stemd.yaml"
    path.write_text(NEEDS)
    return path


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    """A ``systemctl`` that says what the test wants, or none."""

    def says(*lines):
        program = tmp_path / "systemctl"
        program.write_text("#!/bin/sh\n" + "".join(f"echo {line}\n" for line in lines))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return says


def test_every_setting_that_needs_a_network_is_named_with_its_place_and_what_to_use_instead(file, systemd):
    systemd("PrivateNetwork=yes", "LoadState=loaded")
    with pytest.raises(StemdError) as caught:
        network.require(load(file, {}, {}), file)
    assert caught.value.code == "STEMD-C005"
    faults = {fault["key"]: fault for fault in caught.value.detail["faults"]}
    assert list(faults) == ["models.fetch", "handoff.webhook", "alerts.sinks"]
    assert (faults["handoff.webhook"]["file"], faults["handoff.webhook"]["line"]) == (str(file), 4)
    for key, instead in (("models.fetch", "stemd models fetch"), ("handoff.webhook", "handoff.directory")):
        assert instead in faults[key]["message"]


#: As systemd shows the unit that is shipped, alone and with 30-network.conf.
SHIPPED = (
    "PrivateNetwork=no",
    "IPAddressAllow=127.0.0.0/8 ::1/128",
    "IPAddressDeny=::/0 0.0.0.0/0",
    "LoadState=loaded",
)
OPENED = (SHIPPED[0], "IPAddressAllow=0.0.0.0/0 127.0.0.0/8 ::/0 ::1/128", *SHIPPED[2:])


def refused(file, text):
    """The keys that are refused, with what is said of them."""
    file.write_text(f"spool: /srv/stemd\n{text}\n")
    try:
        network.require(load(file, {}, {}), file)
    except StemdError as error:
        assert error.code == "STEMD-C005"
        return {fault["key"]: fault["message"] for fault in error.detail["faults"]}
    return {}


def test_what_the_shipped_unit_drops_is_told_with_the_drop_in_that_lets_it_out(file, systemd):
    """Its packet filter lets the service speak with this machine only: a webhook would wait in vain."""
    systemd(*SHIPPED)
    found = refused(file, NEEDS.partition("\n")[2])
    assert set(found) == {"models.fetch", "handoff.webhook", "alerts.sinks"}
    assert all("30-network.conf" in message for message in found.values())
    assert "handoff.directory" in found["handoff.webhook"]
    systemd(*OPENED)
    assert refused(file, NEEDS.partition("\n")[2]) == {}


HOSTS = {
    "127.0.0.1:9093": True, "[::1]:9093": True, "localhost:9093": True, socket.gethostname(): True,
    "192.0.2.7": False, "[2001:db8::7]:9093": False, "example.org": False, "localhost.example.org": False,
}  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("setting", ["handoff: {{webhook: '{}'}}", "alerts: {{sinks: [log, {{alertmanager: '{}'}}]}}"])
def test_this_machine_is_within_reach(file, systemd, host, setting):
    systemd(*SHIPPED)
    assert (refused(file, setting.format(f"http://{host}/")) == {}) is HOSTS[host]


@pytest.mark.parametrize(
    ("lines", "address", "within"),
    [
        (("IPAddressDeny=::/0 0.0.0.0/0", "IPAddressAllow=192.0.2.0/24 127.0.0.0/8"), "192.0.2.7", True),
        (("IPAddressDeny=::/0 0.0.0.0/0", "IPAddressAllow=192.0.2.0/24 127.0.0.0/8"), "198.51.100.7", False),
        (("IPAddressDeny=::/0 0.0.0.0/0", "IPAddressAllow=192.0.2.0/24 127.0.0.0/8"), "example.org", True),
        (("IPAddressDeny=198.51.100.0/24", "IPAddressAllow="), "198.51.100.7", False),
        (("IPAddressDeny=198.51.100.0/24", "IPAddressAllow="), "192.0.2.7", True),
        (("IPAddressDeny=0.0.0.0/0", "IPAddressAllow="), "example.org", True),
        (("IPAddressDeny=", "IPAddressAllow="), "192.0.2.7", True),
        ((), "192.0.2.7", True),
    ],
)
def test_a_drop_in_of_ones_own_is_heeded_and_what_cannot_be_told_is_let_be(file, systemd, lines, address, within):
    systemd("LoadState=loaded", "PrivateNetwork=no", *lines)
    assert (refused(file, f"handoff: {{webhook: 'http://{address}/'}}") == {}) is within


@pytest.mark.parametrize(
    "lines", [("PrivateNetwork=no", "LoadState=loaded"), ("PrivateNetwork=yes", "LoadState=not-found"), ()]
)
def test_with_a_network_or_without_a_unit_nothing_is_refused(file, systemd, lines):
    systemd(*lines)
    network.require(load(file, {}, {}), file)


def test_another_configuration_is_not_the_services(file, systemd, tmp_path):
    systemd("PrivateNetwork=yes", "LoadState=loaded")
    network.require(load(file, {}, {}))


def test_what_needs_no_network_is_fine(file, systemd):
    systemd("PrivateNetwork=yes", "LoadState=loaded")
    file.write_text("spool: /srv/stemd\nhandoff: {directory: /srv/tickets}\nalerts: {sinks: [log]}\n")
    network.require(load(file, {}, {}), file)
    network.require(load(file, {"models.fetch": "never"}, {}), file)


def test_without_systemd_nothing_is_refused(file, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    network.require(load(file, {}, {}), file)
