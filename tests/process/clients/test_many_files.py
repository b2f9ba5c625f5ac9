"""Ten thousand recordings at once: each is claimed once, the daemon stays awake and small."""

from __future__ import annotations

import shutil
import struct
import tempfile
import wave
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.process.clients import uploads
from tests.support.daemon import Daemon, eventually

MANY, SOME = 10_000, 2_000
#: What the daemon may take in all, and for each job it holds (bytes).
MOST, MOST_EACH = 150e6, 20e3
#: What the spool takes in all (bytes), generously.
ROOM = 2e9


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory where there is one: what ten thousand times eight flushes cost is the disk's affair."""
    shm = Path("/dev/shm")
    roomy = shm.is_dir() and shutil.disk_usage(shm).free > ROOM
    with tempfile.TemporaryDirectory(prefix="stemd-test-", dir=shm if roomy else None) as folder:
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_files_at_once_are_claimed_once_each(memory):
    # a minute for each job, so that all that is measured is the taking
    with uploads.daemon_for(memory, inboxes={"slow": {"options": {"pace": 60}}}) as daemon:
        process = psutil.Process(daemon.process.pid)
        names = _write_many(memory / "songs")
        before = process.memory_info().rss
        for name in names:
            (memory / "songs" / name).rename(daemon.spool.inbox / "slow" / name)
        eventually(lambda: _taken(daemon) >= SOME, 600, "some are claimed")
        some, rss_some = _taken(daemon), process.memory_info().rss
        eventually(lambda: _awake(daemon) and _taken(daemon) >= MANY, 1200, "all are claimed")
        rss = process.memory_info().rss
        print(f"RSS {before / 1e6:.1f} MB before, {rss_some / 1e6:.1f} at {some}, {rss / 1e6:.1f} MB at {MANY} jobs")
        assert list((daemon.spool.inbox / "slow").iterdir()) == []
        assert daemon.metric('stemd_claims_total{result="claimed"}') == MANY
        daemon.kill()  # nothing moves any more while it is counted
        found = Counter(path.name for path in daemon.spool.root.rglob("*.wav"))
        assert found == Counter(names)
        assert rss < MOST
        assert (rss - rss_some) / (MANY - some) < MOST_EACH


def _write_many(folder: Path) -> list[str]:
    """Tiny recordings, each unlike the others."""
    folder.mkdir()
    names = [f"song {number:05}.wav" for number in range(MANY)]
    for number, name in enumerate(names):
        with wave.open(str(folder / name), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8_000)
            file.writeframes(struct.pack("<I", number) * 500)
    return names


def _taken(daemon: Daemon) -> int:
    return MANY - len(list((daemon.spool.inbox / "slow").iterdir()))


def _awake(daemon: Daemon) -> bool:
    """Whether the main loop goes round; asserts that it always does."""
    assert daemon.http("/livez") == (200, "ok\n")
    return True
