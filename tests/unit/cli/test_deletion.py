"""What the deleting commands refuse before they look at anything."""

import pytest
from click.testing import CliRunner

from stemd.cli.deletion import erase


@pytest.mark.parametrize("user", ["", "..", "../inbox", "ana/x"])
def test_an_empty_variable_in_a_script_does_not_become_everybody(user):
    done = CliRunner().invoke(erase, ["--user", user, "--yes"])
    assert done.exit_code == 2
    assert "--user" in done.output


def test_one_of_a_user_and_a_job_is_named():
    for words in ([], ["--user", "ana", "--job", "1"]):
        assert CliRunner().invoke(erase, words).exit_code == 2
