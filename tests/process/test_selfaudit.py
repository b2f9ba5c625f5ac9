"""The running daemon notices a broken promise by itself."""

from __future__ import annotations

from tests.support.audio import write_wav
from tests.support.daemon import Daemon, eventually

STUB = {"engine": "stub", "model": "stub"}


def test_a_damaged_result_is_counted_and_told_once(tmp_path):
    song = write_wav(tmp_path / "song.wav", seconds=1.0)
    with Daemon(tmp_path, defaults=STUB, self_audit={"every": "500ms"}, log={"names": "clear"}) as daemon:
        daemon.drop(song)
        eventually(daemon.results, 30, "it is done")
        eventually(lambda: daemon.events("self_audit"), 30, "it looked")
        last = "stemd_self_audit_last_success_timestamp_seconds"
        assert daemon.metric(last) > daemon.metric("stemd_start_timestamp_seconds")
        assert daemon.metric("stemd_self_audit_interval_seconds") == 0.5
        assert daemon.metric('stemd_invariants_broken{invariant="I2"}') == 0
        stem = daemon.spool.outbox / "everyone" / "song" / "vocals.flac"
        whole = stem.read_bytes()
        stem.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        told = eventually(lambda: daemon.events("invariant_violated"), 60, "it noticed")
        assert (told[0]["invariant"], told[0]["path"]) == ("I2", "outbox/everyone/song")
        done = daemon.stemd("audit", "spool")
        assert (done.returncode, "vocals.flac is not the file of its manifest" in done.stdout) == (1, True)
        eventually(lambda: daemon.metric('stemd_invariants_broken{invariant="I2"}') == 1, 30)
        stem.write_bytes(whole)
        eventually(lambda: daemon.metric('stemd_invariants_broken{invariant="I2"}') == 0, 60, "it is whole again")
        assert daemon.metric('stemd_invariant_violations_total{invariant="I2"}') == 1
        assert daemon.stop() == 0


def test_a_busy_spool_breaks_no_promise(tmp_path):
    songs = [write_wav(tmp_path / f"{n}.wav", seconds=0.3) for n in range(40)]
    with Daemon(tmp_path, defaults=STUB, self_audit={"every": "200ms"}) as daemon:
        for song in songs:
            daemon.drop(song)
        eventually(lambda: len(daemon.results()) == len(songs), 300, "all are done")
        eventually(lambda: len(daemon.events("self_audit")) > 2, 60, "it looked")
        assert daemon.events("invariant_violated") == []
