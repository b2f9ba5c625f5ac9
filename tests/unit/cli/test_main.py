"""The group: help, errors and exit statuses, and how little ``stemd status`` loads."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from stemd import __version__
from stemd.cli import main as main_module
from stemd.cli.main import COMMANDS, main
from stemd.core.errors import StemdError

CONTRACT = {
    "demo", "run", "submit", "status", "list", "watch", "why", "retry", "cancel", "hold", "release", "explain",
    "doctor", "config", "engines", "models", "drain", "resume", "reload", "bench", "audit",
    "prune", "erase", "quota",
}  # fmt: skip
HEAVY = ("rich", "pydantic", "torch", "numpy", "starlette", "uvicorn", "structlog", "watchdog", "prometheus_client")


def test_every_command_of_the_contract_is_there():
    assert set(COMMANDS) == CONTRACT


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_each_command_has_help_and_the_common_options(command: str):
    result = CliRunner().invoke(main, [command, "--help"])
    assert result.exit_code == 0, result.output
    if command not in {"audit", "config", "models"}:
        assert "--config" in result.output
        assert "--json" in result.output


def test_help_lists_the_commands_with_whole_sentences():
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    lines = result.output.partition("Commands:")[2].strip().splitlines()
    assert [line.split()[0] for line in lines] == list(COMMANDS)
    assert all(line.endswith(".") and not line.endswith("...") for line in lines)


def test_version():
    assert CliRunner().invoke(main, ["--version"]).output == f"stemd {__version__}\n"


def test_usage_errors_end_with_2(site):
    assert CliRunner().invoke(main, ["no-such-command"]).exit_code == 2
    assert site.run("retry").exit_code == 2
    assert site.run("list", "--state", "dreaming").exit_code == 2


def test_an_error_goes_to_stderr_with_its_remedy(site):
    result = site.run("status", "ffffffff")
    assert result.exit_code == 66
    assert result.stdout == ""
    assert result.stderr.startswith("error STEMD-S015: ")
    assert "\nremedy: " in result.stderr


def test_an_error_in_json_is_one_document_on_stdout(site):
    result = site.run("status", "ffffffff", "--json")
    assert result.exit_code == 66
    assert result.stderr == ""
    assert json.loads(result.stdout)["error"]["code"] == "STEMD-S015"


def test_a_bad_configuration_ends_with_78(site):
    site.config.write_text("spool: 7\n")
    assert site.run("status").exit_code == 78
    assert site.run("submit", site.config).exit_code == 78
    site.config.unlink()
    assert site.run("status").exit_code == 78


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch):
    """Make ``stemd status`` raise something."""

    def install(error: BaseException) -> None:
        def look(_: object) -> None:
            raise error

        monkeypatch.setattr("stemd.cli.status.snapshot", look)

    return install


def test_a_bug_is_told_without_a_trace(site, broken):
    broken(ZeroDivisionError("of\x1bours"))
    result = site.run("status")
    assert result.exit_code == 70
    assert "error STEMD-X001: ZeroDivisionError: of\\x1bours" in result.stderr
    assert "Traceback" not in result.output


def test_a_bug_is_raised_when_debugging(site, broken):
    broken(ZeroDivisionError("ours"))
    assert isinstance(site.run("status", env={"STEMD_DEBUG": "1"}).exception, ZeroDivisionError)


def test_an_interrupt_ends_with_130(site, broken):
    broken(KeyboardInterrupt())
    assert site.run("status").exit_code == 130


def test_messages_keep_their_lines_and_nothing_else(capsys: pytest.CaptureFixture[str]):
    main_module.report.failure(StemdError("STEMD-C002", "one\ntwo\x07"), as_json=False)
    assert "one\ntwo\\x07\n" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", "list", "explain"])
def test_looking_loads_nothing_heavy(site, command: str):
    code = (
        "import sys; from stemd.cli.main import main\n"
        "try: main()\n"
        f"except SystemExit as end: print(end.code, *{{*{HEAVY!r}}} & {{*sys.modules}}, file=sys.stderr)"
    )
    words = [sys.executable, "-c", code, command, "-c", str(site.config)]
    result = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert result.stderr.splitlines()[-1] == "0"


def test_a_reader_that_goes_away_is_no_crash(site):
    for number in range(50):
        site.orphan(f"song {number}.wav")
    command = f"{sys.executable} -m stemd list -c {site.config} | head -1"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr
    assert result.stdout.startswith("ID")


def _shell(site, command: str, **env: str) -> subprocess.CompletedProcess[str]:
    line = command.format(f"{sys.executable} -m stemd", f"-c {site.config}")
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, env={**os.environ, **env})


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("word", ["status", "status --json", "run --once"])
def test_a_stream_that_is_closed_changes_nothing(site, word: str, closed: str):
    assert _shell(site, f"{{}} {word} {{}} {closed}").returncode == 0


def test_no_file_of_ours_takes_the_place_of_a_stream_that_is_closed():
    code = (
        "import os; from stemd.cli.main import _open_what_is_closed; _open_what_is_closed();"
        "[os.write(3, os.readlink(f'/proc/self/fd/{number}').encode() + b' ') for number in range(3)]"
    )
    line = f'{sys.executable} -c "{code}" 3>&1 <&- >&- 2>&-'
    result = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert result.stdout.split() == ["/dev/null"] * 3


@pytest.mark.parametrize("buffered", ["", "1"])
@pytest.mark.parametrize("word", ["status", "status --json", "audit verify --json", "status ffffffff --json"])
def test_output_that_is_refused_is_no_bug_of_ours(site, word: str, buffered: str):
    result = _shell(site, f"{{}} {word} {{}} >/dev/full", PYTHONUNBUFFERED=buffered)
    code, status = ("S015", 66) if "ffffffff" in word else ("R003", 75)
    assert (result.returncode, result.stderr[: len("error STEMD-XXXX")]) == (status, f"error STEMD-{code}")
    assert len(result.stderr.splitlines()) == 2
    assert _shell(site, f"{{}} {word} {{}} >/dev/full 2>&1", PYTHONUNBUFFERED=buffered).returncode in {status, 75}
