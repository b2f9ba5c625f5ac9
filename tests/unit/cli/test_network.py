"""A service without a network: which settings are refused, and only then."""

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
    with pytest.raises(StemdError) as refused:
        network.require(load(file, {}, {}), file)
    assert refused.value.code == "STEMD-C005"
    faults = {fault["key"]: fault for fault in refused.value.detail["faults"]}
    assert list(faults) == ["models.fetch", "handoff.webhook", "alerts.sinks"]
    assert (faults["handoff.webhook"]["file"], faults["handoff.webhook"]["line"]) == (str(file), 4)
    for key, instead in (("models.fetch", "stemd models fetch"), ("handoff.webhook", "handoff.directory")):
        assert instead in faults[key]["message"]


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
