"""What prune and erase refuse."""

from __future__ import annotations

import json

from stemd.spool.books import Books
from tests.contract.provoke.bench import Bench, Seen, provokes


@provokes("STEMD-S021")
def a_clock_that_jumped_between_two_prunes(bench: Bench) -> Seen:
    spool = bench.spool()
    config = bench.config(spool)
    assert bench.invoke("prune", "-c", config).exit_code == 0
    clock = Books.of(bench.loaded(spool)).clock
    said = json.loads(clock.read_text())
    clock.write_text(json.dumps({**said, "wall": said["wall"] - 90 * 86_400}))
    return bench.stemd("prune", "-c", config)


@provokes("STEMD-P011")
def a_user_under_a_legal_hold(bench: Bench) -> Seen:
    config = bench.config(bench.spool(), users={"ana": {"compliance": {"legal_hold": True}}})
    return bench.stemd("erase", "--user", "ana", "--yes", "-c", config)


@provokes("STEMD-P012")
def a_duty_to_keep_everything(bench: Bench) -> Seen:
    config = bench.config(bench.spool(), compliance={"erasable": False})
    return bench.stemd("erase", "--user", "ana", "--yes", "-c", config)


@provokes("STEMD-P013")
def a_note_of_somebody_else_about_the_user(bench: Bench) -> Seen:
    spool = bench.spool()
    (spool.outbox / "ben").mkdir()
    (spool.outbox / "ben" / "notes.txt").write_text("call zaide-42 back\n")
    return bench.stemd("erase", "--user", "zaide-42", "--yes", "-c", bench.config(spool))
