"""Which folders of a tree are watched."""

from __future__ import annotations

import pytest

from stemd.daemon.inotify import Inotify
from stemd.daemon.watches import Watches
from stemd.spool.survey import DEEPEST
from tests.support.system import nested


@pytest.mark.parametrize("levels", [3, 1200])
def test_folders_are_watched_as_deep_as_they_are_looked_into(tmp_path, levels):
    inotify = Inotify()
    watches = Watches(inotify)
    with nested(tmp_path / "deep", levels):
        watches.enter(str(tmp_path / "deep"))
        assert len(watches._numbers) == 1 + min(levels, DEEPEST + 1)
