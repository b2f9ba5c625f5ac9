"""The job that follows another one."""

from __future__ import annotations

import pytest

from stemd.spool import claim, deliver, durable, follow, recover
from stemd.spool.audit import Auditor
from stemd.spool.recover import Found


@pytest.fixture
def way(way):
    way.configure(**{"inboxes.mixes.engine": "mix", "defaults.next": "mixes"})
    return way


def following(way):
    """The folder of the one job in work/."""
    (work,) = way.spool.jobs()
    return work


def test_the_stems_become_a_job_of_the_same_user(way):
    target, job = way.published()
    work = following(way)
    _, mix = way.seal(work)
    assert (mix.request.engine, mix.user_id, mix.inbox, mix.title) == ("mix", job.user_id, "mixes", "song (mix)")
    assert set(mix.inputs) == {"vocals", "drums"}
    for role, source in mix.inputs.items():
        assert (work.src / source.path).read_bytes() == (target / f"{role}.flac").read_bytes()
    assert mix.request.next is None, "a mix is followed by nothing"
    assert list(Auditor(way.spool, 5).violations()) == []


def test_nothing_follows_where_nothing_is_asked_for(way):
    way.configure()
    way.published()
    assert list(way.spool.jobs()) == []


def test_consumers_may_take_the_stems_at_once(way):
    target, _ = way.published()
    durable.remove_tree(target)
    _, mix = way.seal(following(way))
    assert len(mix.inputs) == 2


def test_a_failure_takes_what_was_prepared_with_it(way):
    work, job = way.staged()
    assert work.next.is_dir()
    deliver.unstage(work)
    assert not work.next.exists()
    way.stage(work, job)
    let_out = []
    deliver.to_outbox(way.spool, work, job, let_out.append)
    assert let_out == [following(way)]


def test_a_restart_lets_it_out_and_goes_on_with_it(way):
    work, job = way.staged()
    deliver._publish(way.spool, work, job, lambda log: None)
    found = {each.found: each for each in recover.recover(way.spool)}
    assert set(found) == {Found.PUBLISHED, Found.CLAIMED}
    assert found[Found.PUBLISHED].following == found[Found.CLAIMED].work == following(way)


def test_one_that_is_out_already_is_brought_forward_as_it_is(way):
    """The folder of the job that it follows could not be removed; meanwhile it went on."""
    work, job = way.staged()
    deliver._publish(way.spool, work, job, lambda log: None)
    out = follow.release(way.spool, work)
    way.seal(out)
    found = {each.work: each for each in recover.recover(way.spool)}
    assert found[work].following is None
    assert found[out].job is not None
    assert follow.release(way.spool, work) is None


def test_what_binds_a_job_binds_the_one_that_follows(way):
    folder = way.drop_staged("input: song.wav\nretention: 1h\npriority: 8\ntags: {title: 声の歌}\n")
    way.published(folder)
    _, mix = way.seal(following(way))
    assert (mix.request.retention, mix.request.priority, mix.request.tags) == (3600.0, 8, {"title": "声の歌"})


def test_a_long_title_keeps_saying_that_it_is_the_mix(way):
    folder = way.drop_staged(name="声" * 66)
    way.published(folder)
    assert way.seal(following(way))[1].title.endswith(" (mix)")


def test_one_file_with_all_stems_is_followed_by_nothing(way):
    work, job = way.sealed()
    work.partial.mkdir()
    follow.prepare(work, job, {"files": [{"name": "song.stem.mp4", "stem": "mix", "tracks": []}]})
    assert not work.next.exists()


def test_its_origin_says_whom_it_follows(way):
    _, job = way.published()
    assert claim.read_origin(following(way))["follows"] == job.job_uuid
