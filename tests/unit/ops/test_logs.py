"""Events told three ways; whatever a file is called, no log line, terminal or JSON parser is harmed."""

import io
import json
import os
import sys
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from stemd.ops import logs

HOSTILE = "\x1b[2J\r\n\x07 \udcff\u202e.wav"


@pytest.fixture
def told(monkeypatch):
    """Configure the logs with standard error as a strict UTF-8 file; gives a function that says what was written."""

    def configure(form, level="info"):
        buffer = io.BytesIO()
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(buffer, "utf-8", errors="strict", write_through=True))
        logs.configure(form, level, names="clear")
        return lambda: buffer.getvalue().decode()

    yield configure
    structlog.reset_defaults()


def test_json_is_one_object_a_line(told):
    out = told("json", "info")
    logs.get().info("claimed", job_uuid="u", name="Ø.wav", path=Path("/inbox/Ø.wav"))
    logs.get().error("claim_failed", code="STEMD-S014")
    first, second = map(json.loads, out().splitlines())
    assert (first["event"], first["level"], first["name"], first["path"]) == (
        "claimed",
        "info",
        "Ø.wav",
        "/inbox/Ø.wav",
    )
    assert first["timestamp"].endswith("Z")
    assert second["code"] == "STEMD-S014"


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("key", ["name", "path", "reason", "trace"])
def test_hostile_names_are_shown_as_escapes(told, form, key):
    out = told(form, "info")
    logs.get().info("claimed", **{key: Path(HOSTILE) if key == "path" else HOSTILE})
    text = out()
    for bad in ("\x1b[2J", "\x07", "\r", "\u202e"):
        assert bad not in text
    if form == "json":
        assert len(text.splitlines()) == 1
        json.loads(text)


@pytest.mark.parametrize("form", ["json", "text"])
def test_hostile_names_in_lists_are_shown_as_escapes_too(told, form):
    out = told(form, "info")
    logs.get().info("separated", files=[HOSTILE, "vocals.flac"])
    text = out()
    assert "\x1b[2J" not in text
    assert "vocals.flac" in text


def test_levels_are_kept(told):
    out = told("json", "warning")
    logs.get().info("quiet")
    logs.get().warning("heard")
    assert [json.loads(line)["event"] for line in out().splitlines()] == ["heard"]


def test_auto_is_json_where_no_terminal_listens(told):
    out = told("auto", "info")
    logs.get().info("ready")
    assert json.loads(out())["event"] == "ready"


def test_text_is_for_people(told):
    out = told("text", "info")
    logs.get().info("ready", spools=1)
    assert "ready" in out()
    with pytest.raises(ValueError, match=r"."):
        json.loads(out())


def test_an_exception_comes_with_its_trace(told):
    out = told("json", "info")
    try:
        raise KeyError("x")
    except KeyError:
        logs.get().critical("crashed", exc_info=True)
    assert "KeyError" in json.loads(out())["exception"]


@given(st.text(), st.text())
def test_every_line_of_a_jobs_log_is_json_whatever_is_in_it(tmp_path_factory, event, name):
    path = tmp_path_factory.mktemp("job") / "job.log.jsonl"
    logs.append_job_log(path, event, 0.0, name=name, place=Path("/x"), nested={"a": [1.5]})
    logs.append_job_log(path, "second", 1.0)
    first, second = path.read_text().splitlines()
    line = json.loads(first)
    assert (line["at"], line["event"], line["name"], line["place"]) == ("1970-01-01T00:00:00.000Z", event, name, "/x")
    assert json.loads(second)["event"] == "second"


def test_a_name_that_is_no_text_is_no_obstacle_to_the_jobs_log(tmp_path):
    path = tmp_path / "job.log.jsonl"
    logs.append_job_log(path, "claimed", 0.0, name=os.fsdecode(b"\xff"))
    assert json.loads(path.read_bytes())["name"] == "\udcff"


def test_a_log_that_cannot_be_written_fails_nothing(told, tmp_path):
    out = told("json", "info")
    logs.append_job_log(tmp_path / "absent" / "job.log.jsonl", "claimed", 0.0)
    assert json.loads(out())["event"] == "job_log_not_written"
