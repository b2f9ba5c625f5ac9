"""Whose a dropped entry is, as its file tells."""

import os

import pytest

from stemd.core.config import Config
from stemd.spool import durable, ownership
from stemd.spool.layout import WorkDir
from tests.support.system import needs_root

ANA = 54_321


@pytest.fixture
def config():
    users = {"ana": {"uid": ANA}, "ben": {}, "root": {"uid": 0}, "nobody": {"uid": 65_534}}
    inboxes = {"his": {"user": "ben"}, "stager": {"trust": "manifest"}, "shared": {}}
    return Config.model_validate({"spool": "/s", "users": users, "inboxes": inboxes})


@pytest.fixture
def song(tmp_path):
    path = tmp_path / "song.wav"
    path.write_bytes(b"music")
    return path


@needs_root
def test_a_file_is_its_owners_where_the_inbox_is_nobodys(config, song):
    os.chown(song, ANA, -1)
    assert ownership.of_entry(config, None, song) == "ana"
    assert ownership.of_entry(config, "shared", song) == "ana"
    assert ownership.of_entry(config, "his", song) == "ben"
    assert ownership.of_entry(config, "ben", song) == "ben"
    assert ownership.of_entry(config, "stager", song) is None, "only its description says so"


@needs_root
@pytest.mark.parametrize("uid", [0, 65_534, 54_399])
def test_roots_nobodys_and_strangers_files_are_for_everyone(config, song, uid):
    os.chown(song, uid, uid)
    assert ownership.of_entry(config, None, song) == "everyone"


@needs_root
def test_a_second_name_is_no_evidence(config, song, tmp_path):
    os.chown(song, ANA, -1)
    os.link(song, tmp_path / "other.wav")
    assert ownership.dropper(config, song) is None
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    os.chown(tmp_path / "folder", ANA, -1)
    assert ownership.dropper(config, tmp_path / "folder") == "ana", "a folder's links are those of the folders in it"


def test_what_is_gone_is_nobodys(config, tmp_path):
    assert ownership.dropper(config, tmp_path / "gone") is None
    assert ownership.of_claimed(config, WorkDir(tmp_path)) == "everyone"


@needs_root
def test_a_link_is_not_followed(config, song, tmp_path):
    os.chown(song, ANA, -1)
    (tmp_path / "link").symlink_to(song)
    assert ownership.dropper(config, tmp_path / "link") is None


@needs_root
def test_the_claim_changes_nothing(config, tmp_path):
    work = WorkDir(tmp_path / "0192f0c1-dead-7000-8000-000000000000")
    work.src.mkdir(parents=True)
    (work.src / "song.wav").write_bytes(b"music")
    os.chown(work.src / "song.wav", ANA, -1)
    for origin, owner in (
        ({"inbox": None, "name": "song.wav"}, "ana"),
        ({"inbox": "stager", "name": "song.wav"}, "everyone"),
        ({"inbox": None, "name": "song.wav", "dropper": "ben"}, "ben"),
        ({"inbox": None, "name": "song.wav", "user_id": "cleo"}, "cleo"),
    ):
        durable.write_json(work.origin, origin)
        assert ownership.of_claimed(config, work) == owner
