"""Half a minute of the soak; ``python -m tests.crash.soak`` is the same for as long as one likes, by any seed."""

from __future__ import annotations

import os

from tests.crash.soak import Soak

_SECONDS = float(os.environ.get("STEMD_TEST_SOAK", "30"))


def test_random_drops_kills_and_commands_lose_and_double_nothing(tmp_path, tally):
    soak = Soak(tmp_path, int(os.environ.get("STEMD_TEST_SEED", "1")))  # the same choices for the same code
    soak.run(_SECONDS)
    assert soak.done["accepted"] > 0
    tally("soak", seconds=round(_SECONDS), lost=0, **{name.replace(" ", "_"): n for name, n in soak.done.items()})
