"""Decisions about entries of an inbox."""

from __future__ import annotations

from pathlib import Path

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


def test_what_is_not_ours_decides_nothing(tmp_path: Path):
    file = intents.place(tmp_path, tmp_path)
    for content in ("", "[]", '{"entries": [{"name": 3}]}', '{"entries": [{"name": "a", "intent": "eat"}]}'):
        file.write_text(content)
        assert intents.read(file) == {}
