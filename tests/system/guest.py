"""Runs inside a booted Debian 12, as root, in stemd's checkout: does what docs/operating.md says, and looks.

Prints ``CHECK NAME ok`` or ``CHECK NAME FAIL what`` for each check, in order. Standard library only: stemd itself is
not there before the first check has installed it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import traceback
import urllib.request
import wave
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

DOCS = Path("docs/operating.md")
SPOOL = Path("/srv/stemd")
SETTINGS = Path("/etc/stemd/stemd.yaml.d/90-test.yaml")
DROP_INS = Path("/etc/systemd/system/stemd.service.d")
#: Half a second of work for each second of a song; and hardly any drain, so that a restart meets a job at work.
SLOW = """
defaults: {engine: stub, model: stub, settle: 500ms, settle_unprobed: 1h}
inboxes: {slow: {options: {pace: 0.5}}}
shutdown: {drain: 1s}
retry: {base: 1s, cap: 1s}
chunking: {threshold: 5s, checkpoint: 2s}
"""

CHECKS: dict[str, Callable[[], None]] = {}


def check(function: Callable[[], None]) -> Callable[[], None]:
    """Add a check; they run in the order of this file."""
    CHECKS[function.__name__] = function
    return function


# ---- tools


def blocks(heading: str) -> list[str]:
    """The commands of one section of the documentation."""
    section = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    assert section, heading
    return re.findall(r"^```sh\n(.*?)^```$", section[1], re.MULTILINE | re.DOTALL)


def run(*command: str, user: str | None = None) -> subprocess.CompletedProcess[str]:
    prefix = ["runuser", "-u", user, "--"] if user else []
    return subprocess.run([*prefix, *command], capture_output=True, text=True, timeout=1500, check=False)


def sh(script: str) -> str:
    """Run commands as a person at a root shell would, but stop at the first that fails."""
    done = run("bash", "-euo", "pipefail", "-c", script)
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def follow_docs(heading: str) -> None:
    for block in blocks(heading):
        sh(block)


def eventually(condition: Callable[[], Any], what: str, seconds: float = 240.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds:g} s: {what}\n{sh('journalctl --no-pager -u stemd -n 30 -o cat')}")


def show(key: str) -> str:
    return run("systemctl", "show", "--value", "-p", key, "stemd").stdout.strip()


def main_pid() -> int:
    return int(show("MainPID"))


def active_since() -> datetime:
    """When READY came, in UTC."""
    shown = run("systemctl", "show", "--timestamp=us+utc", "--value", "-p", "ActiveEnterTimestamp", "stemd").stdout
    return datetime.strptime(shown.strip(), "%a %Y-%m-%d %H:%M:%S.%f UTC").replace(tzinfo=UTC)


def active() -> bool:
    return (show("ActiveState"), show("SubState")) == ("active", "running")


def journal(after: str = "") -> list[dict[str, Any]]:
    """What systemd and stemd said about the unit since a cursor; stemd's own lines parsed."""
    sh("journalctl --sync")
    since = [f"--after-cursor={after}"] if after else []
    entries = map(json.loads, run("journalctl", "-u", "stemd", "-o", "json", "--all", *since).stdout.splitlines())
    return [{"cursor": each["__CURSOR"], **_said(each)} for each in entries]


def _said(entry: dict[str, Any]) -> dict[str, Any]:
    """An event of stemd by its fields (STEMD_EVENT, STEMD_NAME …); whatever else was said as it came."""
    facts = {key.removeprefix("STEMD_").lower(): value for key, value in entry.items() if key.startswith("STEMD_")}
    sent = int(entry.get("_SOURCE_REALTIME_TIMESTAMP", entry["__REALTIME_TIMESTAMP"])) / 1e6
    return {"message": str(entry["MESSAGE"]), "event": str(entry["MESSAGE"]), "sent": datetime.fromtimestamp(sent, UTC),
            "transport": entry["_TRANSPORT"], **facts}  # fmt: skip


def now() -> str:
    """The journal's cursor."""
    return str(journal()[-1]["cursor"])


def song(path: Path, seconds: int) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(44100)
        file.writeframes(os.urandom(4 * 44100) * seconds)
    return path


def drop(name: str, seconds: int = 2, inbox: str = "") -> None:
    """Put a song of stemd's own into an inbox by one rename."""
    hidden = song(SPOOL / "inbox" / f".{name}.wav", seconds)
    shutil.chown(hidden, "stemd", "stems")
    hidden.rename(SPOOL / "inbox" / inbox / f"{name}.wav")


def result(name: str) -> Path | None:
    folder = SPOOL / "outbox" / "everyone" / name
    return folder if (folder / "manifest.json").exists() else None


def statuses() -> list[dict[str, Any]]:
    """Those of all jobs; the canary's goes away by itself."""
    found = []
    for path in SPOOL.glob("status/[!.]*.json"):
        with suppress(FileNotFoundError):
            found.append(json.loads(path.read_text()))
    return found


def separating(beyond: float = 0.05) -> dict[str, Any] | None:
    """The status of a job that is at work, with more than such a share of it done."""
    return next((each for each in statuses() if each["state"] == "running" and each["progress"] > beyond), None)


def workers() -> list[int]:
    done = run("pgrep", "-f", "stemd.worker")
    return [int(pid) for pid in done.stdout.split()]


def get(path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:9814{path}", timeout=60) as answer:
        return answer.read().decode()


def inside(script: str) -> str:
    """Run commands as the service's user where the service is: its mounts, its network."""
    done = run("nsenter", "-t", str(main_pid()), "-m", "-n", "setpriv", "--reuid=stemd", "--regid=stemd",
               "--init-groups", "--inh-caps=-all", "bash", "-c", script)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ---- checks, in order


@check
def installs_as_the_docs_say() -> None:
    follow_docs("Install")
    assert active(), show("ActiveState")
    assert run("systemctl", "is-enabled", "stemd").stdout == "enabled\n"


@check
def unit_verifies_without_a_word() -> None:
    done = run("systemd-analyze", "verify", "/etc/systemd/system/stemd.service")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done.stdout + done.stderr


@check
def first_job_ends_as_the_docs_say() -> None:
    follow_docs("First job")
    folder = SPOOL / "outbox" / "everyone" / "song"
    assert (folder / "vocals.flac").stat().st_mode & 0o7777 == 0o640
    assert {path.group() for path in folder.iterdir()} == {"stems"}
    assert folder.stat().st_mode & 0o777 == 0o770


@check
def events_are_fields_of_the_journal() -> None:
    ready = next(line for line in journal() if line["event"] == "ready")
    assert ready["transport"] == "journal", ready
    job = json.loads((SPOOL / "outbox" / "everyone" / "song" / "manifest.json").read_text())["job_uuid"]
    events = run("journalctl", "-u", "stemd", "-o", "cat", "--output-fields", "STEMD_EVENT", f"STEMD_JOB_UUID={job}")
    assert {"queued", "started", "job_ended"} <= set(events.stdout.split()), events.stdout


@check
def status_line_says_what_is_going_on() -> None:
    assert re.fullmatch(r"\d+ running, \d+ waiting.*", show("StatusText")), show("StatusText")


@check
def reload_takes_over_a_changed_configuration() -> None:
    SETTINGS.parent.mkdir(exist_ok=True)
    SETTINGS.write_text(SLOW)
    pid = main_pid()
    sh("systemctl reload stemd")
    box = SPOOL / "inbox" / "slow"
    assert (oct(box.stat().st_mode & 0o7777), box.group(), box.owner()) == ("0o2770", "stems", "stemd")
    assert active()
    assert main_pid() == pid


@check
def reload_of_a_faulty_configuration_fails_and_changes_nothing() -> None:
    pid = main_pid()
    faulty = SETTINGS.with_name("99-faulty.yaml")
    faulty.write_text("defaults: {modle: x}\n")
    try:
        done = run("systemctl", "reload", "stemd")
    finally:
        faulty.unlink()
    assert done.returncode != 0
    assert active()
    assert main_pid() == pid
    drop("after_a_faulty_reload")
    eventually(lambda: result("after_a_faulty_reload"), "a job after it")


@check
def user_writes_only_where_it_may() -> None:
    kinds = "-writable ! -type l ! -type s -print 2>/dev/null; true"
    found = inside(f"find / \\( -path /proc -o -path /sys \\) -prune -o {kinds}")
    own = ("/srv/stemd", "/var/lib/stemd", "/var/cache/stemd", "/run/stemd", "/tmp", "/var/tmp", "/dev")
    strange = [path for path in found.splitlines() if not path.startswith(own)]
    assert strange == [], strange
    assert {"/srv/stemd/inbox", "/var/lib/stemd", "/run/stemd"} <= set(found.splitlines())
    in_sys = inside(f"find /sys /proc/sys {kinds}").splitlines()
    mine = run("cat", f"/proc/{main_pid()}/cgroup").stdout.rpartition(":")[2].strip().removesuffix("/supervisor")
    strange = [path for path in in_sys if mine not in path and path != "/sys/kernel/security/apparmor/.null"]
    assert strange == [], "but for its own control group, and AppArmor's null device"


@check
def killed_daemon_comes_back_and_the_job_goes_on() -> None:
    drop("killed", 16, "slow")
    job = eventually(lambda: separating(0.4), "a job is at work, with checkpoints")
    before, restarts, old = now(), int(show("NRestarts")), workers()
    assert old
    sh(f"kill -9 {main_pid()}")
    eventually(lambda: int(show("NRestarts")) == restarts + 1 and active(), "it is back")
    assert not set(old) & set(workers()), "workers of the killed daemon go with it"
    manifest = json.loads((eventually(lambda: result("killed"), "its result") / "manifest.json").read_text())
    assert manifest["job_uuid"] == job["job_uuid"]
    assert manifest["chunks"]["reused"] > 0, "it went on from its last checkpoint"
    recovered = next(line for line in journal(before) if line["event"] == "recovered")
    assert recovered["job_uuid"] == job["job_uuid"]
    assert recovered["sent"] < active_since(), "READY comes after recovery"


@check
def hanging_daemon_is_replaced_by_the_watchdog() -> None:
    volatile = Path("/run/systemd/system/stemd.service.d/90-test.conf")
    volatile.parent.mkdir(parents=True, exist_ok=True)
    volatile.write_text("[Service]\nWatchdogSec=10\n")
    sh("systemctl daemon-reload && systemctl restart stemd")
    drop("hung", 30, "slow")
    eventually(separating, "a job is at work")
    before, restarts, pid = now(), int(show("NRestarts")), main_pid()
    sh(f"kill -STOP {pid}")
    eventually(lambda: int(show("NRestarts")) == restarts + 1 and active(), "it is back")
    assert any("Watchdog timeout" in line["event"] for line in journal(before))
    assert main_pid() != pid
    eventually(lambda: result("hung"), "the job's result")
    assert int(show("NRestarts")) == restarts + 1, "a daemon that is well is left alone, for longer than WatchdogSec"
    volatile.unlink()
    sh("systemctl daemon-reload && systemctl restart stemd")


@check
def restart_and_stop_put_a_running_job_back() -> None:
    drop("restarted", 16, "slow")
    eventually(separating, "a job is at work")
    sh("systemctl restart stemd")
    eventually(separating, "it is at work again")
    assert result("restarted") is None
    sh("systemctl stop stemd")
    assert (show("ActiveState"), show("Result"), show("ExecMainStatus")) == ("inactive", "success", "0")
    assert workers() == []
    assert len([path for path in (SPOOL / "work").iterdir() if not path.name.startswith(".")]) == 1
    sh("systemctl start stemd")
    eventually(lambda: result("restarted"), "its result")


@check
def faulty_configuration_ends_it_for_good() -> None:
    faulty = SETTINGS.with_name("99-faulty.yaml")
    faulty.write_text("defaults: {modle: x}\n")
    assert run("systemctl", "restart", "stemd").returncode != 0
    eventually(lambda: show("SubState") == "failed", "it is not tried again")
    assert show("ExecMainStatus") == "78"
    assert "STEMD-C002" in sh("journalctl --no-pager -u stemd -n 20 -o cat")
    faulty.unlink()
    sh("systemctl start stemd")
    assert active()


@check
def spool_that_is_not_mounted_is_waited_for() -> None:
    sh("systemctl stop stemd")
    away = SPOOL.with_name("away")
    SPOOL.rename(away)
    restarts = int(show("NRestarts"))
    run("systemctl", "start", "--no-block", "stemd")
    eventually(lambda: int(show("NRestarts")) > restarts, "it is tried again without its root")
    assert "226/NAMESPACE" in sh("journalctl --no-pager -u stemd -n 20 -o cat")
    SPOOL.mkdir()
    eventually(lambda: "STEMD-S019" in sh("journalctl --no-pager -u stemd -n 20 -o cat"), "it sees a bare mount point")
    sh(f"mount --bind {away} {SPOOL}")
    eventually(active, "it is back by itself")
    sh(f"systemctl stop stemd && umount {SPOOL} && rmdir {SPOOL} && mv {away} {SPOOL} && systemctl start stemd")
    assert active()


@check
def people_share_the_spool_as_the_docs_say() -> None:
    sh("useradd -m ana; useradd -m bob")
    follow_docs("People")
    song(Path("/home/ana/ana.wav"), 2)
    shutil.chown("/home/ana/ana.wav", "ana", "ana")
    done = run("cp", "/home/ana/ana.wav", "/srv/stemd/inbox/ana.wav", user="ana")
    assert done.returncode == 0, done.stderr
    folder = eventually(lambda: result("ana"), "a song of another user, whose writers only CAP_LEASE can see")
    assert folder.stat().st_mode & 0o7777 == 0o2770
    assert run("cat", f"{folder}/vocals.flac.tags.json", user="ana").returncode == 0
    assert run("stemd", "list", user="ana").returncode == 0
    assert run("stemd", "drain", user="ana").returncode == 77
    assert run("stemd", "drain", user="stemd").returncode == 0
    assert run("stemd", "resume").returncode == 0
    assert run("ls", "/srv/stemd/outbox", user="bob").returncode != 0
    assert run("touch", "/srv/stemd/inbox/bob.wav", user="bob").returncode != 0


@check
def file_that_another_user_still_writes_is_left_alone() -> None:
    writer = subprocess.Popen(
        ["runuser", "-u", "ana", "--", "bash", "-c", "exec 3>/srv/stemd/inbox/open.wav; cat ~ana/ana.wav >&3; read"],
        stdin=subprocess.PIPE,
    )
    eventually(lambda: "writing" in run("stemd", "why", "/srv/stemd/inbox/open.wav").stdout, "stemd sees the writer")
    writer.communicate(b"\n")
    eventually(lambda: result("open"), "its result, once it is closed")


@check
def quotas_are_set_as_the_docs_say() -> None:
    follow_docs("Users and quotas")
    assert run("cp", "/home/ana/ana.wav", "/srv/stemd/inbox/hers.wav", user="ana").returncode == 0
    eventually((SPOOL / "outbox" / "ana" / "hers" / "manifest.json").exists, "it is known by its owner to be hers")
    (hers,) = json.loads(run("stemd", "quota", "ana", "--json").stdout)["users"]
    assert (hers["quota"], hers["audio_per_day"]) == ("standard", {"used": 2.0, "limit": 36000.0}), hers
    assert run("stemd", "drain", user="ana").returncode == 0, "an operator may"
    assert run("stemd", "resume", user="ana").returncode == 0


@check
def what_the_unit_lets_out_to_nobody_is_told() -> None:
    conf, extra = DROP_INS / "30-network.conf", Path("/etc/stemd/stemd.yaml.d/90-webhook.yaml")
    extra.parent.mkdir(exist_ok=True)
    extra.write_text("handoff: {webhook: 'https://192.0.2.7/stems'}\n")
    done = run("stemd", "config", "check")
    assert done.returncode == 78 and "30-network.conf" in done.stdout + done.stderr, done.stdout + done.stderr
    sh(f"install -D -m 0644 systemd/stemd.service.d/30-network.conf {conf}; systemctl daemon-reload")
    done = run("stemd", "config", "check")
    assert done.returncode == 0, done.stdout + done.stderr
    extra.unlink()
    conf.unlink()
    sh("systemctl daemon-reload")


@check
def other_drop_ins_leave_it_working() -> None:
    for name in ("30-network", "40-gpu"):
        conf = DROP_INS / f"{name}.conf"
        sh(f"install -D -m 0644 systemd/stemd.service.d/{name}.conf {conf}; systemctl daemon-reload")
        sh("systemctl restart stemd")
        assert get("/readyz"), "READY is what /readyz says, at once"
        drop(name)
        eventually(lambda wanted=name: result(wanted), f"a job with {name}")
        conf.unlink()
    sh("systemctl daemon-reload && systemctl restart stemd")


@check
def retention_works_as_the_docs_say() -> None:
    follow_docs("Retention")
    assert run("systemctl", "is-active", "stemd-prune.timer").stdout == "active\n"
    facts = run("systemctl", "show", "-p", "Result", "-p", "ExecMainStatus", "stemd-prune.service").stdout.split()
    assert facts == ["Result=success", "ExecMainStatus=0"], facts


@check
def everyday_commands_work() -> None:
    follow_docs("Every day")


@check
def without_a_network_only_health_is_reachable() -> None:
    variant, stop_both, back = blocks("Without a network")
    sh(variant)
    assert active()
    assert get("/livez") == "ok\n"
    devices = Path(f"/proc/{main_pid()}/net/dev").read_text()
    assert re.findall(r"^ *(\w+):", devices, re.MULTILINE) == ["lo"], devices
    assert json.loads(get("/health"))["status"] == "ok"
    assert "fetch: never" in sh("systemctl cat stemd >/dev/null; stemd config show")
    drop("offline")
    eventually(lambda: result("offline"), "a job")
    done = run("systemd-analyze", "verify", "/etc/systemd/system/stemd.service", "/etc/systemd/system/stemd.socket")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done.stdout + done.stderr
    sh(f"kill -9 {main_pid()}")
    assert get("/livez") == "ok\n", "a request waits while the service comes back"
    sh(stop_both)
    assert active()
    sh(back)
    assert active()
    assert get("/livez") == "ok\n"


@check
def upgrade_works_as_the_docs_say() -> None:
    drop("upgraded", 12, "slow")
    eventually(separating, "a job is at work")
    follow_docs("Upgrade")
    eventually(lambda: result("upgraded"), "its result, from the new version")


@check
def nothing_is_left_undone() -> None:
    assert list((SPOOL / "orphan").glob("*/*")) == []
    undone = [path for path in (SPOOL / "work").iterdir() if not path.name.startswith(".")]
    eventually(lambda: not any(map(Path.exists, undone)), f"the last steps, or the canary, are done: {undone}")
    assert run("stemd", "audit", "spool").returncode == 0


@check
def spool_moves_as_the_docs_say() -> None:
    follow_docs("Another place for the spool")
    assert active()
    other = Path("/mnt/tank/stems")
    shutil.copy("/tmp/sample/song.wav", other / "inbox" / "elsewhere.wav")
    eventually((other / "outbox" / "everyone" / "elsewhere" / "manifest.json").exists, "its result")


def main() -> int:
    only = sys.argv[1:]
    for name, function in CHECKS.items():
        if only and name not in only:
            continue
        begun = time.monotonic()
        try:
            function()
            answer = "ok"
        except Exception:
            answer = "FAIL " + json.dumps(traceback.format_exc())
        print(f"CHECK {name} {answer}", flush=True)
        print(f"{name}: {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
