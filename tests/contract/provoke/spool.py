"""S: the spool."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stemd.core.job import Output, new_job_id
from stemd.engines.audio import decode
from stemd.engines.audio.encode import StemWriter
from stemd.engines.audio.formats import choose
from stemd.engines.audio.verify import verified
from stemd.spool import claim, intake, probes, recover
from stemd.spool.intake import Candidate, Door, Kind, Refusal
from stemd.spool.layout import Spool
from tests.contract.provoke.bench import Bench, Seen, provokes
from tests.support.audio import tones
from tests.support.daemon import Daemon, eventually
from tests.support.spools import make_spool
from tests.support.system import NOBODY, in_child, mounted

_PATH_MAX = 4096


def run_daemon(config: Path, *, once: bool = True) -> Seen:
    """What ``stemd run`` says when it refuses to start."""
    command = [sys.executable, "-m", "stemd", "run", "--json", "-c", str(config), *(["--once"] if once else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return Seen.of(json.loads(done.stdout)["error"], done.returncode)


def claimed(bench: Bench, spool: Spool):
    """A sealed job made of one bare file."""
    path = spool.inbox / "song.wav"
    path.write_bytes(bench.song().read_bytes())
    candidate = Candidate(path, Door(None, spool.inbox), Kind.FILE, intake.identity(path))
    work = claim.claim(spool, candidate, new_job_id())
    assert work is not None
    sealed = claim.seal(spool, work, bench.loaded(spool))
    assert sealed is not None
    return sealed


@provokes("STEMD-S001")
def a_second_owner(bench: Bench) -> Seen:
    return run_daemon(bench.shared().config)


@provokes("STEMD-S002")
def an_area_on_another_mount(bench: Bench) -> Seen:
    if os.geteuid() != 0:
        pytest.skip("a bind mount needs root")
    spool = bench.spool()
    (bench.home / "elsewhere").mkdir()
    with mounted("--bind", bench.home / "elsewhere", spool.outbox):
        return run_daemon(bench.config(spool))


@provokes("STEMD-S003")
def a_spool_of_somebody_else(bench: Bench) -> None:
    spool = make_spool(bench.public / "spool")
    if os.geteuid() == 0:
        in_child(lambda: probes.check(spool), uid=NOBODY)
    spool.inbox.chmod(0o500)
    try:
        probes.check(spool)
    finally:
        spool.inbox.chmod(0o700)


@provokes("STEMD-S004")
def a_call_the_file_system_refuses(bench: Bench) -> None:
    # the probe's longest path is one byte longer than the kernel takes: its rename fails, whoever asks
    root = bench.home
    room = _PATH_MAX - 1 - len("/inbox/.stemd-probe-0123456789abcdef") - len(os.fsencode(root))
    while room > 0:
        name = "d" * min(200, room - 1)
        if room - 1 - len(name) == 1:
            name = name[:-1]
        root, room = root / name, room - 1 - len(name)
    spool = Spool(root)
    spool.inbox.mkdir(parents=True)
    probes.prepare(spool, ())
    probes.check(spool)


@provokes("STEMD-S005")
def a_root_that_is_not_mounted(bench: Bench) -> Seen:
    return run_daemon(bench.config(Spool(bench.home / "not mounted")))


@provokes("STEMD-S006")
def a_file_only_its_owner_may_read(bench: Bench) -> None:
    spool = make_spool(bench.public / "spool")
    path = spool.inbox / "song.wav"
    path.write_bytes(b"recording")
    path.chmod(0o000)

    def look() -> None:
        (entry,) = intake.entries(Door(None, spool.inbox), ())
        refusal = intake.look(entry, {})
        assert isinstance(refusal, Refusal), refusal
        raise refusal.error

    in_child(look, uid=NOBODY if os.geteuid() == 0 else None)


@provokes("STEMD-S007")
def a_pipe_with_a_songs_name(bench: Bench) -> Seen:
    os.mkfifo(bench.home / "song.wav")
    return bench.stemd("submit", "-c", bench.config(bench.spool()), bench.home / "song.wav")


@provokes("STEMD-S008")
def a_source_that_is_gone(bench: Bench) -> None:
    song = bench.song()
    song.unlink()
    decode.open_source(song)


@provokes("STEMD-S009")
def what_is_no_recording(bench: Bench) -> Seen:
    (bench.home / "notes.txt").write_text("take two")
    return bench.stemd("submit", "-c", bench.config(bench.spool()), bench.home / "notes.txt")


@provokes("STEMD-S010")
def a_job_with_a_misspelt_key(bench: Bench) -> Seen:
    return bench.failed(bench.song(), {"modle": "nano"})


@provokes("STEMD-S011")
def a_job_uuid_of_another_recording(bench: Bench) -> Seen:
    first = bench.drop(bench.song(), {"model": "htdemucs"})
    daemon = bench.shared()
    eventually(lambda: bench.status(first).get("source_sha256"), 30, "the first is known")
    try:
        return bench.failed(bench.song("other.wav", 0.4), {"job_uuid": first})
    finally:
        daemon.stemd("cancel", first)


@provokes("STEMD-S012")
def a_folder_without_its_record(bench: Bench) -> Seen:
    spool = bench.spool()
    work, _ = claimed(bench, spool)
    work.partial.mkdir()
    work.src.rename(work.kept_source)
    work.origin.unlink()
    assert list(recover.recover(spool)) == []
    reason = (spool.orphan / "_unknown" / f"{work.job_id}.reason.txt").read_text()
    code, _, message = reason.partition(": ")
    return Seen(code, message, "shown by stemd explain")


@provokes("STEMD-S013")
def a_bit_that_flipped_on_the_disk(bench: Bench) -> None:
    shape, samples = (4410, 2), tones(0.1)
    with StemWriter(bench.home / "vocals.wav", choose(Output(format="wav"), 44_100), shape, {}) as writer:
        writer.write(samples)
        writer.finish()
    content = bytearray(writer.path.read_bytes())
    content[len(content) // 2] ^= 1
    writer.path.write_bytes(content)
    verified("vocals", writer, shape, lambda frames: None)


@provokes("STEMD-S014")
def a_file_whose_reading_fails(bench: Bench) -> Seen:
    # the kernel answers EIO to whoever reads its own memory from address 0
    (bench.home / "song.wav").symlink_to("/proc/self/mem")
    return bench.stemd("submit", "-c", bench.config(bench.spool()), bench.home / "song.wav")


@provokes("STEMD-S015")
def an_id_nobody_has(bench: Bench) -> Seen:
    return bench.stemd("cancel", "-c", bench.config(bench.spool()), "0192f0c1-dead-7000-8000-000000000000")


@provokes("STEMD-S016")
def cancelling_what_has_ended(bench: Bench) -> Seen:
    spool = bench.spool()
    work, _ = claimed(bench, spool)
    config = bench.config(spool)
    first = bench.invoke("cancel", "-c", config, work.job_id)
    assert first.exit_code == 0, first.output
    return bench.stemd("cancel", "-c", config, work.job_id)


@provokes("STEMD-S017")
def draining_nobody(bench: Bench) -> Seen:
    return bench.stemd("drain", "-c", bench.config(bench.spool()))


@provokes("STEMD-S018")
def asking_about_a_file_that_is_not_there(bench: Bench) -> Seen:
    return bench.stemd("submit", "-c", bench.config(bench.spool()), bench.home / "absent.wav")


@provokes("STEMD-S019")
def a_mount_that_is_missing(bench: Bench) -> Seen:
    root = bench.home / "not mounted"
    root.mkdir()
    seen = run_daemon(bench.config(Spool(root)))
    assert list(root.iterdir()) == [], "nothing is written below the mount"
    return seen


@provokes("STEMD-S020")
def a_spool_that_is_renamed_under_the_daemon(bench: Bench) -> Seen:
    daemon = Daemon(bench.home)
    daemon.start()
    daemon.spool.root.rename(bench.home / "elsewhere")
    assert daemon.process is not None
    status = daemon.process.wait(120)
    (event,) = daemon.events("spool_vanished")
    return Seen(event["code"], event["reason"], event["remedy"], status)
