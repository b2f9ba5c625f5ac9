"""The audit trail as a person asks for it: one that is missing as a whole is not well."""

from __future__ import annotations

import shutil

import pytest

from tests.support.system import NOBODY, in_child, needs_root


@pytest.fixture
def ran(site):
    """A spool with two records, and the status of a job."""
    job_id = site.claimed().job_id
    for word in ("hold", "release"):
        assert site.run(word, job_id).exit_code == 0
    return site


@pytest.mark.parametrize("command", ["audit verify", "audit export"])
def test_a_spool_that_is_not_there_has_no_trail_that_is_well(ran, command: str):
    missing = ran.run(command, "--spool", ran.home / "nowhere")
    assert (missing.exit_code, missing.stdout, "STEMD-S005" in missing.stderr) == (75, "", True)
    (ran.home / "bare").mkdir()
    assert "STEMD-S019" in ran.run(command, "--spool", ran.home / "bare").stderr


@pytest.mark.parametrize("command", ["audit verify", "audit export"])
@pytest.mark.parametrize("what", [".state", ".state/*", ".state/books-*/trail/* .state/books-*.head"])
def test_a_trail_that_was_removed_is_missed(ran, command: str, what: str):
    for path in [path for pattern in what.split() for path in ran.spool.root.glob(pattern)]:
        path.unlink() if path.is_file() else shutil.rmtree(path)
    result = ran.run(command)
    assert (result.exit_code, "there is no trail: " in result.output) == (1, True), result.output
    ran.spool.marker.unlink()
    assert ran.run(command).exit_code == 1, "there are statuses"


def test_what_is_missing_is_a_problem_for_programs_too(ran):
    shutil.rmtree(ran.spool.root / ".state")
    document = ran.json("audit verify")
    assert (document["ok"], len(document["problems"]), document["records"]) == (False, 1, 0)


@pytest.mark.parametrize("command", ["audit verify", "audit export"])
def test_a_spool_that_never_ran_is_not_called_tampered_with(site, command: str):
    (site.home / "new" / "inbox").mkdir(parents=True)
    result = site.run(command, "--spool", site.home / "new")
    assert (result.exit_code, "no daemon has run here" in result.stderr) == (0, True)
    assert list((site.home / "new").iterdir()) == [site.home / "new" / "inbox"]


def test_the_trail_of_a_spool_that_was_moved_is_found_and_left_where_it_is(ran):
    root = ran.spool.root.rename(ran.home / "elsewhere")
    before = sorted(root.rglob("*"))
    assert "all is well (2 records)" in ran.run("audit verify", "--spool", root).stderr
    assert len(ran.run("audit export", "--spool", root).stdout.splitlines()) == 2
    assert sorted(root.rglob("*")) == before


@needs_root
def test_who_may_not_read_it_is_told_so(public_site):
    public_site.run("hold", public_site.claimed().job_id)
    (books,) = public_site.spool.root.glob(".state/books-*/")
    for folder, mode in ((books.parent, 0o750), (books.parent, 0o755)):
        folder.chmod(mode)
        for command in ("audit verify", "audit export"):
            result = in_child(lambda command=command: _told(public_site.run(command)), uid=NOBODY)
            assert result == (77, True), result


def _told(result):
    return result.exit_code, "STEMD-P003" in result.stderr
