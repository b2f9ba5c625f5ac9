"""Engines' own environments: really made with venv and pip, from a lock file of one small package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from stemd.core.errors import StemdError
from stemd.engines import environments
from stemd.engines.environments import Environment, install

HOST = """\
import json, sys
import six
assert sys.argv[1:] == ["--check"], sys.argv
print(json.dumps({"tiny": six.__version__}))
"""


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """An engine ``tiny`` that needs the package six."""
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "tiny.txt").write_text("# all of it\nsix==1.17.0\n")
    (tmp_path / "host.py").write_text(HOST)
    monkeypatch.setattr(environments, "_LOCKS", tmp_path / "locks")
    monkeypatch.setattr(environments, "_HOSTS", {"tiny": tmp_path / "host.py"})
    monkeypatch.setattr(environments, "_PYTHONS", {"tiny": ((3, 8), sys.version_info[:2])})
    return Environment("tiny", tmp_path / "engines" / "tiny")


def test_it_is_made_once_and_told_of(tiny):
    said: list[tuple[str, float]] = []
    with pytest.raises(StemdError, match="STEMD-E009"):
        tiny.require()
    assert install(tiny, lambda doing, done: said.append((doing, done)))
    assert tiny.require() == tiny.root / "bin" / "python"
    assert tiny.versions() == {"tiny": "1.17.0"}
    assert [share for _, share in said] == sorted(share for _, share in said)
    assert said[-1] == ("ready", 1.0)
    record = (tiny.root / "stemd-environment.json").stat().st_mtime_ns
    assert not install(tiny, lambda doing, done: None)
    assert (tiny.root / "stemd-environment.json").stat().st_mtime_ns == record


def test_a_damaged_one_is_made_whole(tiny):
    install(tiny, lambda doing, done: None)
    next(tiny.root.rglob("six.py")).unlink()
    assert install(tiny, lambda doing, done: None)
    assert not install(tiny, lambda doing, done: None)


def test_one_of_another_lock_file_is_not_current(tiny):
    install(tiny, lambda doing, done: None)
    tiny.lock.write_text("six==1.16.0\n")
    assert tiny.require()
    assert not tiny.current()
    assert install(tiny, lambda doing, done: None)
    assert tiny.versions() == {"tiny": "1.16.0"}


def test_what_was_interrupted_is_not_there(tiny, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(environments, "_pip", interrupted)
        install(tiny, lambda doing, done: None)
    with pytest.raises(StemdError, match="STEMD-E009"):
        tiny.require()
    assert install(tiny, lambda doing, done: None)


def test_a_package_that_cannot_be_had_is_named(tiny):
    tiny.lock.write_text("six==99.0.0\n")
    with pytest.raises(StemdError, match=r"STEMD-E009.*six==99\.0\.0"):
        install(tiny, lambda doing, done: None)
    assert not tiny.record()


def test_an_engine_that_does_not_work_in_it_is_said(tiny, tmp_path):
    (tmp_path / "host.py").write_text("raise SystemExit(3)\n")
    with pytest.raises(StemdError, match="does not work there"):
        install(tiny, lambda doing, done: None)
    assert not tiny.record()


def test_without_a_suitable_python_the_remedy_says_which(tiny, monkeypatch):
    monkeypatch.setattr(environments, "_PYTHONS", {"tiny": ((3, 4), (3, 5))})
    with pytest.raises(StemdError, match=r"tiny needs Python 3\.4 to 3\.5") as caught:
        install(tiny, lambda doing, done: None)
    assert "apt-get install python3.11" in caught.value.remedy
    with pytest.raises(StemdError, match=r"/bin/true is none"):
        install(tiny, lambda doing, done: None, "/bin/true")


def test_a_folder_that_is_not_ours_is_left_alone(tiny):
    tiny.root.mkdir(parents=True)
    (tiny.root / "thesis.txt").write_text("years of work")
    with pytest.raises(StemdError, match="was not made by stemd"):
        install(tiny, lambda doing, done: None, force=True)
    assert (tiny.root / "thesis.txt").read_text() == "years of work"


def test_a_python_that_went_away_is_named(tiny):
    install(tiny, lambda doing, done: None)
    tiny.python.unlink()
    tiny.python.symlink_to("/home/somebody/python3.11")
    with pytest.raises(StemdError, match=r"STEMD-E009.*/home/somebody/python3\.11"):
        tiny.require()


def test_an_engine_without_one_is_refused():
    with pytest.raises(StemdError, match="spleeter"):
        install(Environment("demucs", Path("/nonexistent")), lambda doing, done: None)
