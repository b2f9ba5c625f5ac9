"""The reference file and the JSON Schema are the model's own, and say what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from stemd.core.config import Config, load, reference, schema
from stemd.core.config.dump import dump
from stemd.core.config.layers import TOP_LEVEL
from stemd.core.config.sample import flow
from tests.unit.core.test_loading import CONTRACT

FOLDER = Path(__file__).parents[3] / "config"
HOME = {"HOME": "/home/ana"}


def test_the_shipped_files_are_current() -> None:
    assert (FOLDER / "stemd.yaml").read_text() == reference()
    assert json.loads((FOLDER / "stemd.schema.json").read_text()) == json.loads(json.dumps(schema()))


def test_the_reference_is_the_defaults() -> None:
    given = load(FOLDER / "stemd.yaml", environ={**HOME, "STEMD_LOG__LEVEL": "info"})
    text = reference()
    path_free = load(flags={"spool": "/srv/stemd"}, environ=HOME)
    assert {key for key in TOP_LEVEL if f"\n{key}:" not in text and f"\n# {key}:" not in text} == set()
    shipped, default = dump(given.config), dump(path_free.config)
    shipped["engines"]["demucs"] = default["engines"]["demucs"]  # the example drop-in beside it changes these
    assert shipped == default


def test_each_key_of_the_top_level_is_known_where_no_model_is() -> None:
    """``STEMD_KEY`` counts if it is one of these, and is somebody else's variable if not."""
    assert {field.alias or name for name, field in Config.model_fields.items()} == TOP_LEVEL


def test_every_commented_example_is_accepted(tmp_path: Path) -> None:
    lines = reference().splitlines()
    active = [_uncommented(line) for line in lines[9:]]
    file = tmp_path / "stemd.yaml"
    file.write_text("\n".join(active))
    config = load(file, environ=HOME).config
    assert config.inboxes["karaoke"].model == "2stems"
    assert config.users["ana"].quota == "standard"
    assert config.handoff.command == ("/usr/local/bin/next", "--stems")


def _uncommented(line: str) -> str:
    """The line with its example active: `# key: value`, where key is lower case and a description is no key."""
    indent, _, rest = line.partition("# ")
    key = rest.strip().partition(":")[0]
    known = {"inboxes", "users", "quotas", "karaoke", "mixes", "stager", "ana", "standard", "group", "models", "run"}
    if indent.strip() == "" and key in known | {"from", "purpose", "region", "disk", "webhook", "command", "directory"}:
        return indent + rest
    return line


def test_schema_is_valid_and_agrees_with_the_model() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    validator = jsonschema.Draft202012Validator(schema())
    assert list(validator.iter_errors(yaml.safe_load(reference()))) == []
    assert list(validator.iter_errors(yaml.safe_load(CONTRACT))) == []
    assert list(validator.iter_errors(dump(Config.model_validate({"spool": "/s"})))) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"spool": "/s", "htp": {}},
        {"spool": "/s", "retry": {"tries": 0}},
        {"spool": "/s", "log": {"level": "x"}},
        {"spool": "/s", "scheduling": {"aging": "0s"}},
        {"spool": "/s", "self_audit": {"rate": "0.0GiB"}},
    ],
)
def test_schema_refuses_what_the_model_refuses(wrong: dict[str, Any]) -> None:
    assert list(jsonschema.Draft202012Validator(schema()).iter_errors(wrong))


def test_every_key_has_a_description() -> None:
    for name, body in schema()["$defs"].items():
        for key, value in body.get("properties", {}).items():
            assert value.keys() & {"description", "$ref"} or name in {
                "OutputChange",
                "LimitsChange",
                "ComplianceChange",
            }, f"{name}.{key}"


def test_what_show_prints_loads_into_the_same(tmp_path: Path) -> None:
    source = tmp_path / "a.yaml"
    source.write_text(CONTRACT)
    config = load(source, environ=HOME).config
    shown = tmp_path / "b.yaml"
    shown.write_text(flow(dump(config)))
    assert load(shown, environ=HOME).config == config
