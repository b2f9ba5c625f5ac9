"""Decisions about entries of an inbox."""

from __future__ import annotations

from pathlib import Path

from stemd.core.config import load
from stemd.spool import intents
from stemd.spool.intents import Intent


def test_decisions_are_remembered_and_withdrawn(tmp_path: Path):
    file = intents.place(tmp_path / "state", tmp_path)
    assert intents.read(file) == {}
    intents.decide(file, "song.wav", Intent.HOLD)
    intents.decide(file, "karaoke/\udcff.wav", Intent.CANCEL)
    intents.decide(file, "song.wav", Intent.CANCEL)
    assert intents.read(file) == {"song.wav": Intent.CANCEL, "karaoke/\udcff.wav": Intent.CANCEL}
    intents.decide(file, "song.wav", None)
    intents.decide(file, "karaoke/\udcff.wav", None)
    assert not file.exists()


def test_spools_that_share_a_state_folder_do_not_meet(tmp_path: Path):
    assert intents.place(tmp_path, tmp_path / "a") != intents.place(tmp_path, tmp_path / "b")


def test_an_erasure_forgets_decisions_about_what_is_gone(tmp_path: Path):
    config = load(None, {"spool": str(tmp_path), "paths.state": str(tmp_path / "state")}, {}).config
    file = intents.place(config.state_of(tmp_path), tmp_path)
    (tmp_path / "inbox" / "ana").mkdir(parents=True)
    (tmp_path / "inbox" / "there.wav").touch()
    for name in ("ana/gone.wav", "there.wav"):
        intents.decide(file, name, Intent.HOLD)
    assert intents.erase(config, "ana", frozenset()) == 1
    assert intents.read(file) == {"there.wav": Intent.HOLD}
    (tmp_path / "inbox" / "there.wav").unlink()
    assert [intents.erase(config, None, frozenset()) for _ in range(2)] == [1, 0]
    assert not file.exists()


def test_what_is_not_ours_decides_nothing(tmp_path: Path):
    file = intents.place(tmp_path, tmp_path)
    for content in ("", "[]", '{"entries": [{"name": 3}]}', '{"entries": [{"name": "a", "intent": "eat"}]}'):
        file.write_text(content)
        assert intents.read(file) == {}
