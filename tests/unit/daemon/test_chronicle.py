"""What the daemon tells the audit trail of itself and its configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from stemd.core.config import Config, load
from stemd.daemon.chronicle import Chronicle
from stemd.spool import trail as trails
from stemd.spool.books import Books
from stemd.spool.trail import Trail, verify


def configured(root: Path, **users: str) -> Config:
    return load(None, {"spool": str(root), **{f"users.{name}.role": role for name, role in users.items()}}, {}).config


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path / "state" / "books-0")


def changes(books: Books) -> list[dict]:
    return [record for record in trails.records(books) if record["event"] == "role_changed"]


def test_a_change_of_a_role_is_told_once(tmp_path, books):
    chronicle = Chronicle(Trail(books))
    for role in ("user", "user", "admin"):
        chronicle.configured(configured(tmp_path, ana=role))
    assert [(each["before"], each["after"]) for each in changes(books)] == [(None, "user"), ("user", "admin")]


def test_who_was_erased_and_is_still_configured_is_somebody_new(tmp_path, books):
    chronicle, config = Chronicle(Trail(books)), configured(tmp_path, ana="admin", ben="user")
    chronicle.configured(config)
    before = chronicle.trail.keys.pseudonym("user", "ana")
    chronicle.trail.forget("ana", [])
    told = len(changes(books))
    chronicle.configured(config)
    (after,) = changes(books)[told:]
    assert (after["before"], after["after"]) == (None, "admin")
    assert after["user_pseudonym"] != before
    assert before not in books.told.read_text()
    assert list(verify(books)) == []
