"""The auditor finds each kind of broken promise, and nothing in a healthy spool."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stemd.core.errors import StemdError
from stemd.spool import attempts, audit, deliver
from stemd.spool.audit import Auditor, Violation
from tests.unit.spool.conftest import Way


def look(way: Way, **settings) -> list[Violation]:
    return list(Auditor(way.spool, **{"tries": 3, **settings}).violations())


def populate(way: Way) -> dict[str, Path]:
    """A spool with something in every state."""
    waiting, _ = way.sealed(way.drop("waiting.wav"))
    staged, _ = way.staged(way.drop("staged.wav"))
    folder, _ = way.staged(way.drop_staged())
    done, _ = way.published(way.drop("done.wav"))
    broken, _ = way.sealed(way.drop("broken.wav"))
    failed = deliver.to_orphan(way.spool, broken, StemdError("STEMD-A001"), "everyone")
    claimed = way.claim(way.drop("claimed.wav"))
    way.drop("arriving.wav")
    return {
        "waiting": waiting.path, "staged": staged.path, "folder": folder.path, "done": done, "failed": failed,
        "claimed": claimed.path,
    }  # fmt: skip


def test_a_healthy_spool_has_nothing_to_tell(way: Way):
    places = populate(way)
    assert look(way) == []
    assert look(way, known={places[each].name for each in ("waiting", "staged", "folder", "claimed")}) == []


def spoil_manifest(folder: Path, **changes: object) -> None:
    os.mkfifo(folder / "pipe")
    document = json.loads((folder / "manifest.json").read_text())
    document["files"][0].update(changes)
    (folder / "manifest.json").write_text(json.dumps(document))


def second_result(places: dict[str, Path]) -> None:
    shutil.copytree(places["done"], places["done"].with_name("again"))


def linked(places: dict[str, Path]) -> None:
    os.link(places["done"] / "vocals.flac", places["failed"] / "source" / "vocals.flac")


def many_attempts(places: dict[str, Path]) -> None:
    for _ in range(4):
        attempts.record_start(places["waiting"] / "attempts", "stub")
        attempts.record_end(places["waiting"] / "attempts", "attempt", StemdError("STEMD-E005").to_dict())


def nested(places: dict[str, Path]) -> None:
    shutil.copytree(places["done"], places["done"] / "inner")
    manifest = places["done"] / "inner" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"job_uuid": "', '"job_uuid": "x'))


def in_parts(places: dict[str, Path]) -> None:
    shutil.copytree(places["done"], places["done"].with_name("parts"))
    (places["done"].with_name("parts") / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("invariant", "spoil"),
    [
        ("I1", lambda places: shutil.rmtree(places["waiting"] / "src")),
        ("I1", lambda places: (places["waiting"] / "src" / "waiting.wav").write_bytes(b"cut")),
        ("I1", lambda places: shutil.rmtree(places["staged"] / "out.partial" / "source")),
        ("I1", lambda places: (places["folder"] / "out.partial" / "source" / "song.wav").unlink()),
        ("I2", lambda places: (places["done"] / "vocals.flac").unlink()),
        ("I2", lambda places: (places["done"] / "vocals.flac").write_bytes(b"x" * 46)),
        ("I2", lambda places: (places["done"] / "manifest.json").write_text("{")),
        ("I2", lambda places: (places["done"] / "manifest.json").write_text('{"files": ["x"]}')),
        ("I2", lambda places: (places["done"] / "manifest.json").write_text("[" * 100_000)),
        ("I2", lambda places: spoil_manifest(places["done"], name="/dev/zero", bytes=0)),
        ("I2", lambda places: spoil_manifest(places["done"], name="pipe")),
        ("I2", nested),
        ("I2", in_parts),
        ("I3", lambda places: shutil.rmtree(places["failed"] / "source")),
        ("I3", lambda places: (places["failed"] / "error.json").write_text('{"code": "STEMD-?"}')),
        ("I3", lambda places: (places["failed"] / "error.json").unlink()),
        ("I4", linked),
        ("I5", second_result),
        ("I6", many_attempts),
        ("I11", lambda places: (places["waiting"] / "chunks").symlink_to("/etc")),
    ],
)
def test_finds_what_is_broken(way: Way, invariant: str, spoil: Callable[[dict[str, Path]], None]):
    spoil(populate(way))
    found = look(way)
    assert {violation.invariant for violation in found} == {invariant}
    assert all(invariant in audit.INVARIANTS and each.message and each.path for each in found)


def test_a_folder_that_no_job_needs(way: Way):
    places = populate(way)
    known = {places[each].name for each in ("waiting", "staged", "folder")}
    (found,) = look(way, known=known)
    assert (found.invariant, found.path) == ("I8", f"work/{places['claimed'].name}")


def test_a_staged_folder_may_hold_a_manifest_of_its_own(way: Way):
    folder = way.drop_staged()
    (folder / "manifest.json").write_text("{}")
    way.published(folder)
    assert look(way) == []


def test_what_its_consumer_takes_away_meanwhile_is_no_violation(way: Way):
    populate(way)
    done = next(way.spool.outbox.glob("*/done"))

    def pace(_: int) -> None:
        shutil.rmtree(done, ignore_errors=True)

    assert look(way, pace=pace) == []


def test_only_what_two_looks_see_is_told():
    passing, lasting = Violation("I8", "work/a", "x"), Violation("I2", "outbox/b", "y")
    looks = iter([[passing, lasting], [lasting]])
    assert audit.confirmed(lambda: iter(next(looks)), wait=0) == [lasting]
    assert audit.confirmed(lambda: iter(()), wait=60) == []


def test_the_command_names_them(way: Way):
    from click.testing import CliRunner

    from stemd.cli.main import main

    done = populate(way)["done"]
    runner = CliRunner()
    assert runner.invoke(main, ["audit", "spool", "--spool", str(way.spool.root)]).exit_code == 0
    (done / "vocals.flac").unlink()
    result = runner.invoke(main, ["audit", "spool", "--spool", str(way.spool.root), "--json"])
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["ok"] is False
    assert [each["invariant"] for each in document["violations"]] == ["I2"]
