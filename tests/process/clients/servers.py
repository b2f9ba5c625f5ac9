"""File servers on loopback, each a process of its own with its own configuration, keys and state."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.daemon import eventually
from tests.support.ports import reserved_port


def program(name: str) -> str | None:
    """Where a program is; servers are not on every user's path."""
    return shutil.which(name) or shutil.which(name, path="/usr/local/sbin:/usr/sbin:/sbin")


@contextmanager
def _serving(command: list[str | Path], port: int, log: Path) -> Iterator[None]:
    """Run a server for the block; it is ready once it answers on its port."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # at its end smbd ends its whole process group
        )
    try:
        eventually(lambda: process.poll() is not None or _answers(port), what=f"{command[0]} answers")
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextmanager
def rsyncd(home: Path, inbox: Path) -> Iterator[str]:
    """An rsync daemon with one module for ``inbox``; yields the module's URL, which ends in a slash."""
    home.mkdir()
    config = home / "rsyncd.conf"
    config.write_text(f"""\
use chroot = no
pid file = {home}/pid
log file = {home}/log
[inbox]
    path = {inbox}
    read only = no
    uid = root
    gid = root
""")
    with reserved_port() as port:
        command = ["rsync", "--daemon", "--no-detach", f"--config={config}", f"--port={port}", "--address=127.0.0.1"]
        with _serving(command, port, home / "out"):
            yield f"rsync://127.0.0.1:{port}/inbox/"


@dataclass(frozen=True, slots=True)
class Ssh:
    """An OpenSSH server. ``options`` go to scp and sftp, in front of everything else."""

    port: int
    key: Path
    options: tuple[str, ...]


@contextmanager
def sshd(home: Path) -> Iterator[Ssh]:
    """An OpenSSH server that lets root in with a key made for it."""
    home.mkdir(mode=0o700)
    with reserved_port() as port, _sshd_at(port, home) as server:
        yield server


@contextmanager
def _sshd_at(port: int, home: Path) -> Iterator[Ssh]:
    key = home / "user_key"
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / name], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)  # where sshd goes to be harmless; Debian's unit makes it
    config = home / "sshd_config"
    config.write_text(f"""\
Port {port}
ListenAddress 127.0.0.1
HostKey {home}/host_key
AuthorizedKeysFile {home}/user_key.pub
PidFile {home}/pid
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
MaxStartups 100
Subsystem sftp internal-sftp
""")
    known = home / "known_hosts"
    public = (home / "host_key.pub").read_text()
    known.write_text(f"[127.0.0.1]:{port} {public}")
    settings = {"UserKnownHostsFile": known, "IdentitiesOnly": "yes", "BatchMode": "yes", "LogLevel": "ERROR"}
    options = ["-F", "none", "-i", key, "-P", port, *(part for k, v in settings.items() for part in ("-o", f"{k}={v}"))]
    with _serving([program("sshd") or "sshd", "-D", "-e", "-f", config], port, home / "log"):
        yield Ssh(port, key, tuple(map(str, options)))


@contextmanager
def smbd(home: Path, inbox: Path) -> Iterator[tuple[str, ...]]:
    """A Samba server with the share ``inbox``, set up as docs/uploading.md says; yields an smbclient command."""
    home.mkdir()
    for name in ("private", "state", "cache", "lock", "pid", "ncalrpc"):
        (home / name).mkdir(mode=0o755)
    with reserved_port() as port, _smbd_at(port, home, inbox) as smbclient:
        yield smbclient


@contextmanager
def _smbd_at(port: int, home: Path, inbox: Path) -> Iterator[tuple[str, ...]]:
    config = home / "smb.conf"
    config.write_text(f"""\
[global]
    server role = standalone server
    interfaces = 127.0.0.1
    bind interfaces only = yes
    smb ports = {port}
    disable netbios = yes
    smb2 max write = 65536
    load printers = no
    map to guest = Bad User
    log file = {home}/log.%m
    private dir = {home}/private
    state directory = {home}/state
    cache directory = {home}/cache
    lock directory = {home}/lock
    pid directory = {home}/pid
    ncalrpc dir = {home}/ncalrpc
[inbox]
    path = {inbox}
    read only = no
    guest ok = yes
    force user = root
    create mask = 0664
    force create mode = 0660
    directory mask = 2775
    force directory mode = 2770
    strict allocate = yes
    veto files = /._*/.DS_Store/Thumbs.db/desktop.ini/
    delete veto files = yes
""")
    command = [program("smbd") or "smbd", "-F", "--no-process-group", "-s", config]
    with _serving(command, port, home / "out"):
        yield ("smbclient", "//127.0.0.1/inbox", "-p", str(port), "-N", "-s", str(config))
