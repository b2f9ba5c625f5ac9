"""The ledger of what users have had: exact, prunes itself, and can be made anew."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stemd.spool import sidecar, usage
from stemd.spool.usage import WINDOW, Entry, Ledger


@pytest.fixture
def file(spool):
    return usage.place(spool.root / ".state", spool.root)


def finished(spool, user, job, *, seconds=60.0, cpu=5.0, at=None):
    folder = spool.outbox / user / "album" / job
    folder.mkdir(parents=True)
    at = time.time() if at is None else at
    document = {
        "job_uuid": job, "user_id": user, "created_at": sidecar.iso(at),
        "source": {"name": "private", "sha256": "private", "frames": int(seconds * 1000), "sample_rate": 1000},
        "resources": {"cpu_seconds": cpu},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(document))
    return folder


def test_what_is_added_counts_and_is_there_after_a_restart(spool, file):
    now, ledger = time.time(), Ledger(file, spool)
    ledger.add(Entry(now, "ana", "one", 60.0, 10.0))
    ledger.add(Entry(now, "ben", "two", 1.0, 2.0))
    ledger.add(Entry(now, "ana", "three", 30.0, 5.0))
    for each in (ledger, Ledger(file, spool)):
        assert each.used(now) == {"ana": (90.0, 15.0), "ben": (1.0, 2.0)}


def test_the_audio_of_a_job_counts_once_and_its_cpu_each_time(spool, file):
    now, ledger = time.time(), Ledger(file, spool)
    ledger.add(Entry(now, "ana", "one", 0.0, 3.0))  # a run that failed
    ledger.add(Entry(now, "ana", "one", 60.0, 10.0))
    ledger.add(Entry(now, "ana", "one", 60.0, 10.0))  # its result did not reach the disk: done again
    assert ledger.used(now) == {"ana": (60.0, 23.0)}
    assert Ledger(file, spool).used(now) == {"ana": (60.0, 23.0)}


def test_a_day_later_it_does_not_count(spool, file, monkeypatch):
    monkeypatch.setattr(usage, "_STALE_LINES", 2)
    now, ledger = time.time(), Ledger(file, spool)
    for number in range(5):
        ledger.add(Entry(now + number, "ana", str(number), 1.0, 1.0))
    assert ledger.used(now + WINDOW + 1.5)["ana"] == (3.0, 3.0)
    assert len(file.read_bytes().splitlines()) == 5
    assert ledger.used(now + WINDOW + 2.5)["ana"] == (2.0, 2.0)
    assert len(file.read_bytes().splitlines()) == 2, "what does not count any more is not kept"
    assert Ledger(file, spool).used(now + WINDOW + 2.5) == {"ana": (2.0, 2.0)}


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 50), st.integers(0, 9)), max_size=25))
def test_sums_are_those_of_the_entries_in_the_window(tmp_path_factory, runs):
    from tests.support.spools import make_spool

    spool = make_spool(tmp_path_factory.mktemp("ledger") / "spool")
    ledger = Ledger(usage.place(spool.root / ".state", spool.root), spool)
    step, start = WINDOW / 10, time.time()
    entries = [
        Entry(start + at * step, user, str(number), float(amount), 1.0)
        for number, (user, at, amount) in enumerate(sorted(runs, key=lambda run: run[1]))
    ]
    for entry in entries:
        ledger.add(entry)
    now = start + 50 * step
    counted = [entry for entry in entries if entry.at >= now - WINDOW]
    for user in "ab":
        mine = [entry for entry in counted if entry.user == user]
        audio, cpu = ledger.used(now).get(user, (0.0, 0.0))
        assert audio == pytest.approx(sum(entry.audio for entry in mine))
        assert cpu == pytest.approx(len(mine))


def test_deleted_it_is_made_anew_from_folders_and_statuses(spool, file):
    finished(spool, "ana", "here", seconds=60, cpu=5)
    finished(spool, "ana", "old", at=time.time() - WINDOW - 10)
    status = {"user_id": "ben", "state": "done", "audio_seconds": 30.0, "cpu_seconds": 2.0}
    sidecar.write_status(spool, "taken", status)
    sidecar.write_status(spool, "here", {**status, "user_id": "ana", "audio_seconds": 999.0})  # the folder knows better
    sidecar.write_status(spool, "going", {**status, "state": "running"})
    sidecar.write_status(spool, "failed", {**status, "state": "failed", "audio_seconds": None, "cpu_seconds": 4.0})
    sidecar.write_status(spool, "cancelled", {**status, "state": "cancelled", "cpu_seconds": 8.0})
    (spool.outbox / "ana" / "manifest.json").mkdir()
    (spool.status / "torn.json").write_text("{")
    assert Ledger(file, spool).used(time.time()) == {"ana": (60.0, 5.0), "ben": (30.0, 14.0)}
    assert len(file.read_bytes().splitlines()) == 4
    assert b"private" not in file.read_bytes()


def test_what_is_torn_or_strange_is_left_out(spool, file):
    file.parent.mkdir(parents=True)
    good = json.dumps({"at": time.time(), "user": "ana", "job": "one", "audio": 1, "cpu": 2})
    file.write_text(f'{good}\nnonsense\n{{"at": "x"}}\n[1]\n{good[:20]}')
    ledger = Ledger(file, spool)
    ledger.add(Entry(time.time(), "ana", "two", 1.0, 2.0))
    assert Ledger(file, spool).used(time.time()) == {"ana": (2.0, 4.0)}


@pytest.mark.parametrize(
    ("who", "left"), [({"user": "ana"}, {"ben": (1.0, 2.0)}), ({"job": "two"}, {"ana": (60.0, 10.0)})]
)
def test_a_user_or_a_job_can_be_erased(spool, file, who, left):
    now, ledger = time.time(), Ledger(file, spool)
    ledger.add(Entry(now, "ana", "one", 60.0, 10.0))
    ledger.add(Entry(now, "ben", "two", 1.0, 2.0))
    before = file.read_bytes()
    assert ledger.erase(**who) == 1
    assert ledger.used(now) == Ledger(file, spool).used(now) == left
    file.write_bytes(before)
    assert usage.erase(file, **who) == 1, "and without a daemon"
    assert Ledger(file, spool).used(now) == left
    assert usage.erase(file, user="nobody") == 0


def test_who_erases_what_is_his_makes_himself_no_new_quota(spool, file):
    now, ledger = time.time(), Ledger(file, spool)
    ledger.add(Entry(now, "ana", "one", 60.0, 10.0))
    ledger.add(Entry(now, "ben", "two", 1.0, 2.0))
    assert ledger.erase(user="ana", counted=True) == 1
    assert ledger.used(now)["ana"] == (60.0, 10.0)
    ledger._tidy()
    assert b"ana" not in file.read_bytes(), "nothing of it is written down"
    assert "ana" not in ledger.used(now + usage.WINDOW + 1.0) or ledger.used(now)["ana"] == (0.0, 0.0)


def test_the_size_of_a_folder_counts_files_and_follows_nothing(spool):
    folder = finished(spool, "ana", "here")
    (folder / "vocals.flac").write_bytes(b"x" * 1000)
    (folder / "link").symlink_to(spool.root)
    manifest, link = (folder / "manifest.json").stat().st_size, (folder / "link").lstat().st_size
    assert usage.size_of(spool.outbox / "ana") - manifest in {1000, 1000 + link}
    assert usage.size_of(spool.outbox / "nobody") == 0
