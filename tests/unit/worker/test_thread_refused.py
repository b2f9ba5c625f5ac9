"""A thread that the system refuses: for want of memory, or because there are too many."""

from __future__ import annotations

import pytest

from stemd.worker import main


@pytest.mark.parametrize(("stack", "code"), [(1 << 62, "STEMD-R001"), (4096, "STEMD-X001")])
def test_why_a_thread_was_refused(monkeypatch: pytest.MonkeyPatch, stack: int, code: str):
    monkeypatch.setattr(main, "_STACK", stack)
    assert main._as_stemd_error(RuntimeError("can't start new thread")).code == code
    assert main._as_stemd_error(RuntimeError("something else")).code == "STEMD-X001"
