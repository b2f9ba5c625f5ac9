"""``doctor``, ``engines`` and ``models`` on this machine."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys

import pytest

from stemd.cli import checks
from stemd.core.config import load
from stemd.spool import probes
from tests.support.system import NOBODY, dead_share, in_child, needs_root


def doctor(site) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for finding in site.json("doctor")["findings"]:
        found.setdefault(finding["what"].split()[0], []).append(finding)
    return found


def test_a_healthy_spool_passes(site):
    result = site.run("doctor")
    assert result.exit_code == 0, result.output
    assert "one mount" in result.stdout
    assert "0 failed" in result.stdout
    assert not list(site.spool.inbox.glob(".stemd*")), "nothing is left behind"


@needs_root
def test_root_looks_as_the_service_and_leaves_it_its_spool(public_site):
    """Whose the spool is; a lock of root's would keep the service out for good."""
    for path in (public_site.spool.root, *public_site.spool.root.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    assert "one mount" in public_site.run("doctor").stdout
    assert public_site.spool.lock.stat().st_uid == NOBODY
    os.chown(public_site.spool.outbox, 0, 0)
    assert "STEMD-S003" in public_site.run("doctor").stdout, "what the service may not"
    os.chown(public_site.spool.outbox, NOBODY, NOBODY)
    public_site.spool.lock.unlink()
    os.close(probes.take_lock(public_site.spool))
    in_child(lambda: os.close(probes.take_lock(public_site.spool)), uid=NOBODY)


def test_every_warning_and_failure_has_code_and_remedy(site):
    shutil.rmtree(site.spool.work)
    for findings in doctor(site).values():
        for finding in findings:
            assert finding["level"] == "ok" or (finding["code"] and finding["remedy"]), finding


def test_a_missing_root_fails(site):
    shutil.rmtree(site.spool.root)
    result = site.run("doctor")
    assert result.exit_code == 1
    assert "STEMD-S005" in result.stdout


@needs_root
def test_a_share_whose_server_died_fails_and_the_rest_is_checked(site):
    with dead_share(site.spool.root):
        result = site.run("doctor")
    assert result.exit_code == 1
    assert "[STEMD-S005]" in result.stdout and "umount -l" in result.stdout
    assert " to look at, " in result.stdout, "it came to the end"


def test_a_bad_configuration_fails_but_the_rest_is_checked(site):
    site.config.write_text("spool: 7\n")
    found = doctor(site)
    assert found["config"][0]["code"] == "STEMD-C002"
    assert found["python"][0]["level"] == "ok"


def test_a_running_daemon_is_seen(site):
    descriptor = probes.take_lock(site.spool)
    try:
        found = doctor(site)
    finally:
        os.close(descriptor)
    assert str(os.getpid()) in found["daemon"][0]["message"]


def test_a_port_held_by_something_else_fails(site):
    with socket.create_server(("127.0.0.1", 0)) as server:
        listen = f"127.0.0.1:{server.getsockname()[1]}"
        loaded = load(site.config, {"http.listen": listen})
        (finding,) = checks.http(loaded.config)
    assert (finding.level, finding.code) == ("fail", "STEMD-C004")


def test_a_free_port_is_fine(site):
    with socket.create_server(("127.0.0.1", 0)) as server:
        listen = f"127.0.0.1:{server.getsockname()[1]}"
    (finding,) = checks.http(load(site.config, {"http.listen": listen}).config)
    assert finding.level == "ok"


def test_a_missing_default_model_is_a_warning(site):
    (warning,) = [f for f in checks.models(load(site.config, {"defaults.model": "htdemucs"}).config) if f.level != "ok"]
    assert (warning.level, warning.code) == ("warn", "STEMD-M001")
    assert "htdemucs" in (warning.remedy or "")


def test_an_engine_that_is_not_installed_fails(site):
    config = load(site.config, {"defaults.engine": "spleeter", "defaults.model": "4stems"}).config
    assert "fail" in {finding.level for finding in checks.engines(config)}


def test_a_full_disk_fails(site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checks, "_NO_SPACE", 1 << 62)
    assert "STEMD-R003" in {finding.code for finding in checks.spool(site.spool) if finding.level == "fail"}


def test_the_doctor_does_not_load_torch(site):
    code = (
        "import sys; sys.argv = ['stemd', 'doctor', '-c', sys.argv[1], '--json']\n"
        "from stemd.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'numpy', 'demucs', 'soundfile') if name in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, str(site.config)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert result.stderr.strip() == "[]"


def test_engines(site):
    (demucs,) = [engine for engine in site.json("engines")["engines"] if engine["name"] == "demucs"]
    assert demucs["installed"]
    assert "nano" in demucs["models_here"]
    assert "demucs" in site.run("engines").stdout


def test_models(site):
    listed = {model["name"]: model for model in site.json("models list")["models"]}
    assert listed["nano"]["present"] and listed["nano"]["bundled"]
    assert not listed["htdemucs"]["present"]
    result = site.run("models verify")
    assert result.exit_code == 0, result.output
    assert "nano" in result.stdout


def test_a_model_from_a_folder(site, tmp_path):
    bundled = next(m for m in site.json("models list")["models"] if m["name"] == "nano")["folder"]
    result = site.run("models fetch", "nano", "--from", bundled, "--force")
    assert result.exit_code == 0, result.output
    copy = tmp_path / "models" / "nano"
    assert copy.is_dir()
    damaged = next(copy.glob("*.safetensors"))
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    result = site.run("models verify", "nano", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["models"][0]["error"]["code"] == "STEMD-M003"


def test_a_truncated_model_is_found(site, tmp_path):
    (tmp_path / "models" / "htdemucs").mkdir(parents=True)
    (tmp_path / "models" / "htdemucs" / "stemd.json").write_bytes(b"")
    findings = site.json("doctor")["findings"]
    assert ("warn", "STEMD-M003") in [(each["level"], each["code"]) for each in findings]


def test_an_unknown_model(site):
    assert site.run("models fetch", "no-such-model").exit_code == 65
