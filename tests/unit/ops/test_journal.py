"""Events as fields of the journal, spoken to a socket of our own in the journal's protocol."""

import io
import os
import socket
import struct
import sys

import pytest
import structlog

from stemd.ops import journal, logs


@pytest.fixture
def listening(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "journal"))
        server.settimeout(5)
        monkeypatch.setattr(journal, "SOCKET", str(tmp_path / "journal"))
        monkeypatch.setattr(journal.Journal.__init__, "__defaults__", (str(tmp_path / "journal"),))
        yield server
    structlog.reset_defaults()


def parse(data: bytes) -> dict[str, str]:
    """The fields of a datagram, read as systemd's documentation says."""
    found = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (size,) = struct.unpack("<Q", data[:8])
            value, data = data[8 : 8 + size], data[9 + size :]
        found[name.decode()] = value.decode()
    return found


def test_facts_become_fields(listening):
    logs.configure("journal", "info", names="clear")
    logs.get().warning("claimed", job_uuid="u-1", user_id="ana", name="a=b\x1b[2J\n.wav", stems=["a"], seconds=1.5)
    found = parse(listening.recv(65536))
    assert found["MESSAGE"].startswith("claimed job_uuid=u-1")
    assert (found["PRIORITY"], found["SYSLOG_IDENTIFIER"], found["STEMD_EVENT"]) == ("4", "stemd", "claimed")
    assert (found["STEMD_JOB_UUID"], found["STEMD_USER_ID"], found["STEMD_SECONDS"]) == ("u-1", "ana", "1.5")
    assert (found["STEMD_NAME"], found["STEMD_STEMS"]) == ("a=b\\x1b[2J\\n.wav", '["a"]')


def test_what_has_lines_keeps_them_and_forges_no_field(listening):
    logs.configure("journal", "info", names="clear")
    logs.get().error("crashed", trace="one\nPRIORITY=0\ntwo")
    found = parse(listening.recv(65536))
    assert (found["STEMD_TRACE"], found["PRIORITY"]) == ("one\nPRIORITY=0\ntwo", "3")


def test_what_is_too_large_comes_as_a_sealed_file(listening):
    journal.Journal().send({"event": "large", "level": "info", "trace": "x" * 3_000_000})
    _, (file,), _, _ = socket.recv_fds(listening, 16, 1)
    try:
        found = parse(os.pread(file, 10_000_000, 0))
        assert len(found["STEMD_TRACE"]) == 3_000_000
        with pytest.raises(PermissionError):
            os.pwrite(file, b"y", 0)
    finally:
        os.close(file)


def test_a_journal_that_is_gone_costs_nothing(tmp_path, monkeypatch):
    buffer = io.StringIO()
    monkeypatch.setattr(sys, "stderr", buffer)
    monkeypatch.setattr(journal.Journal.__init__, "__defaults__", (str(tmp_path / "absent"),))
    logs.configure("journal", "info", names="clear")
    logs.get().info("claimed", name="x")
    assert '"event": "claimed"' in buffer.getvalue()
    structlog.reset_defaults()


def test_the_journal_is_known_by_its_stream(tmp_path):
    with (tmp_path / "err").open("w") as file:
        facts = os.fstat(file.fileno())
        ours = {"JOURNAL_STREAM": f"{facts.st_dev}:{facts.st_ino}"}
        assert journal.is_ours(ours, file.fileno())
        assert not journal.is_ours({"JOURNAL_STREAM": f"{facts.st_dev}:{facts.st_ino + 1}"}, file.fileno())
        assert not journal.is_ours({"JOURNAL_STREAM": "nonsense"}, file.fileno())
        assert not journal.is_ours({}, file.fileno())
