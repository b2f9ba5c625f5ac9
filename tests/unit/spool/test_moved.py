"""What is kept for a spool follows it to where it is moved."""

from __future__ import annotations

import shutil

import pytest

from stemd.core.config import load
from stemd.core.job import new_job_id
from stemd.spool import durable, intents, moved, probes
from stemd.spool.books import Books, bury, is_buried
from stemd.spool.layout import Spool
from stemd.spool.trail import Trail, records, verify
from tests.support.system import mounted, needs_root

JOB = new_job_id()


def config(root, state):
    return load(None, {"spool": str(root), **({"paths.state": str(state)} if state else {})}, {}).config


def start(root, state):
    """What a daemon does first; the books, and what was decided about the inbox."""
    spool, known = Spool(root), config(root, state)
    probes.prepare(spool, ())
    before = moved.follow(known.state_of(root), spool)
    return before, Books.of(known).open(), intents.place(known.state_of(root), root)


@pytest.fixture(params=["beside it", "of several"])
def state(request, tmp_path):
    return tmp_path / "state" if request.param == "of several" else None


@pytest.fixture
def root(tmp_path, state):
    root = tmp_path / "first"
    (root / "inbox").mkdir(parents=True)
    before, books, decided = start(root, state)
    assert before is None
    bury(books, [JOB])
    Trail(books).record("started")
    intents.decide(decided, "song.wav", intents.Intent.HOLD)
    return root


def assert_kept(root, state, before):
    found, books, decided = start(root, state)
    assert found == before
    assert is_buried(books, JOB)
    assert (list(verify(books)), [each["event"] for each in records(books)]) == ([], ["started"])
    assert intents.read(decided) == {"song.wav": intents.Intent.HOLD}


def test_at_its_place_nothing_happens(root, state):
    assert_kept(root, state, None)


def test_what_is_kept_follows(root, state, tmp_path):
    root.rename(tmp_path / "second")
    assert_kept(tmp_path / "second", state, root)
    assert_kept(tmp_path / "second", state, None)
    (tmp_path / "second").rename(root)
    assert_kept(root, state, tmp_path / "second")


@needs_root
def test_another_name_of_the_same_folder_is_the_same(root, state, tmp_path):
    (tmp_path / "alias").mkdir()
    with mounted("--bind", root, tmp_path / "alias"):
        assert_kept(tmp_path / "alias", state, root)
        assert_kept(root, state, tmp_path / "alias")


def test_a_copy_beside_begins_anew_where_both_have_one_state_folder(root, tmp_path, state):
    shutil.copytree(root, tmp_path / "copy", ignore=shutil.ignore_patterns(".state"))
    before, books, _ = start(tmp_path / "copy", state)
    assert before is None
    assert not is_buried(books, JOB)
    assert_kept(root, state, None)


def test_after_a_kill_amid_it_goes_on(root, state, tmp_path, monkeypatch):
    root.rename(second := tmp_path / "second")
    left, really = [1], durable.rename

    def killed(source, target):
        if not left:
            raise ZeroDivisionError
        left.pop()
        really(source, target)

    monkeypatch.setattr(durable, "rename", killed)
    with pytest.raises(ZeroDivisionError):
        start(second, state)
    monkeypatch.undo()
    assert_kept(second, state, root)


def test_what_is_there_by_the_new_name_stays(root, state, tmp_path):
    root.rename(second := tmp_path / "second")
    known = config(second, state)
    other = Books.of(known).open()
    bury(other, ["another"])
    _, books, decided = start(second, state)
    assert (books, is_buried(books, "another")) == (other, True)
    assert intents.read(decided) == {"song.wav": intents.Intent.HOLD}


def test_what_was_renamed_is_on_the_disk_before_it_is_noted_and_the_old_note_is_gone_for_good(
    root, state, tmp_path, monkeypatch
):
    """A note that came first, or an old one that came back, would say that there is nothing to follow."""
    done, names = [], ("rename", "fsync", "write_json")
    root.rename(second := tmp_path / "second")
    folder = config(second, state).state_of(second)
    (old,) = folder.glob("spool-*.json")
    for name in names:
        really = getattr(durable, name)
        monkeypatch.setattr(
            durable,
            name,
            lambda *args, _really=really, _name=name: done.append((_name, args[0], old.exists())) or _really(*args),
        )
    moved.follow(folder, Spool(second))
    what = [name for name, _, _ in done]
    renamed, noted = max(at for at, name in enumerate(what) if name == "rename"), what.index("write_json")
    assert ("fsync", folder, True) in done[renamed:noted]
    assert ("fsync", folder, False) in done[noted:]
