"""The shipped units by themselves: faultless, locked up as tightly as promised, explained line by line."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from stemd.core.config import load
from tests.system.machine import ROOT

UNITS = ROOT / "systemd"
DROP_INS = UNITS / "stemd.service.d"
ALL = sorted(path for path in UNITS.rglob("*") if path.is_file())

#: A setting of a unit, or a line of sysusers.d(5) or tmpfiles.d(5).
_DIRECTIVE = re.compile(r"[A-Z]\w+=|[a-z] +\S")
_SELF_EVIDENT = ("Description=", "WantedBy=")

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def installed(folder: Path, *drop_ins: str) -> Path:
    """The units as an installation has them, beside each other, with some of the drop-ins."""
    chosen = folder / "stemd.service.d"
    chosen.mkdir(parents=True)
    for name in ("stemd.service", "stemd.socket", "stemd-prune.service", "stemd-prune.timer"):
        shutil.copy(UNITS / name, folder)
    for name in drop_ins:
        shutil.copy(DROP_INS / name, chosen)
    return folder / "stemd.service"


@needs_systemd
@pytest.mark.parametrize("drop_ins", [(), *((path.name,) for path in sorted(DROP_INS.iterdir()))])
def test_the_units_have_no_faults(tmp_path, drop_ins):
    unit = installed(tmp_path / "units", *drop_ins)
    program = tmp_path / "stemd"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit.write_text(unit.read_text().replace("/opt/stemd/bin/stemd", str(program)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit), str(unit.with_suffix(".socket"))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")  # unknown keys are told, but not in the status


@needs_systemd
def test_the_timer_has_no_faults_and_its_service_is_locked_up(tmp_path):
    units = installed(tmp_path / "units").parent
    program = tmp_path / "stemd"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for unit in units.glob("*.service"):
        unit.write_text(unit.read_text().replace("/opt/stemd/bin/stemd", str(program)))
    pair = [str(units / "stemd-prune.service"), str(units / "stemd-prune.timer")]
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *pair], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", pair[0]],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    level = re.search(r"Overall exposure level for stemd-prune.service: ([\d.]+)", done.stdout)
    assert level, done.stdout + done.stderr
    assert float(level[1]) <= 1.0, "\n".join(line for line in done.stdout.splitlines() if line.startswith("✗"))


@needs_systemd
@pytest.mark.parametrize(
    ("drop_ins", "limit"),
    [
        ((), 1.2),
        (("10-no-network.conf",), 0.7),
        (("20-other-users.conf",), 1.8),
        (("10-no-network.conf", "20-other-users.conf"), 1.1),
    ],
)
def test_the_service_is_locked_up(tmp_path, drop_ins, limit):
    unit = installed(tmp_path / "units", *drop_ins)
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    level = re.search(r"Overall exposure level for stemd.service: ([\d.]+)", done.stdout)
    assert level, done.stdout + done.stderr
    assert float(level[1]) <= limit, "\n".join(line for line in done.stdout.splitlines() if line.startswith("✗"))


@pytest.mark.parametrize("path", ALL, ids=[path.name for path in ALL])
def test_each_directive_is_explained(path):
    """Right above each directive, or above the first of those that stand together, a comment says why."""
    before = ""
    for line in path.read_text().splitlines():
        if _DIRECTIVE.match(line) and not line.startswith(_SELF_EVIDENT):
            assert before.startswith("#") or _DIRECTIVE.match(before), line
        before = line


def test_the_packaged_configuration_is_that_of_the_unit():
    config = load(ROOT / "config" / "service.yaml", environ={}).config
    unit = (UNITS / "stemd.service").read_text()
    (spool,) = config.spool
    assert f"ReadWritePaths={spool}\n" in unit
    assert f"RequiresMountsFor={spool}\n" in unit
    timed = (UNITS / "stemd-prune.service").read_text()
    assert f"ReadWritePaths={spool}\n" in timed
    assert "\nStateDirectory=stemd\n" in timed
    assert f"RequiresMountsFor={spool}\n" in timed
    assert f"d     {spool} " in (UNITS / "stemd.tmpfiles").read_text()
    places = {"StateDirectory": config.paths.state, "CacheDirectory": config.paths.models,
              "RuntimeDirectory": config.paths.run}  # fmt: skip
    parents = {"StateDirectory": "/var/lib", "CacheDirectory": "/var/cache", "RuntimeDirectory": "/run"}
    for key, place in places.items():
        assert f"\n{key}=stemd\n" in unit
        assert place.is_relative_to(f"{parents[key]}/stemd")
    assert config.shutdown.drain < 90
    assert f"\nm     stemd {config.defaults.output.group}\n" in (UNITS / "stemd.sysusers").read_text()
