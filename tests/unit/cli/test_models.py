"""``stemd models``: what a person and a program get to see."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from stemd.cli.main import main
from tests.unit.engines.models.conftest import MMI, checkpoint_archive, hub, network

__all__ = ["hub", "network"]  # fixtures


class Site:
    def __init__(self, home: Path) -> None:
        self.home, self.store = home, home / "store"
        self.configure()

    def configure(self, **models: object) -> None:
        self.config = self.home / "stemd.yaml"
        places = {"models": str(self.store)}
        self.config.write_text(yaml.safe_dump({"spool": str(self.home / "spool"), "paths": places, "models": models}))

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(main, ["models", *words, "-c", str(self.config)], prog_name="stemd")

    def json(self, *words: str) -> dict:
        return json.loads(self.run(*words, "--json").stdout)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_the_list_says_what_a_person_decides_by(site, hub):
    before = {row["name"]: row for row in site.json("list")["models"]}
    assert before["hdemucs_mmi"]["present"] is False
    assert before["hdemucs_mmi"]["source"] is None
    assert before["hdemucs_mmi"]["bytes"] == 167_400_000
    assert before["htdemucs"]["page"] == "https://huggingface.co/adefossez/HTDemucs"
    assert before["htdemucs"]["paper"].startswith("https://arxiv.org/")
    assert "research" in before["htdemucs"]["terms"]
    assert (before["4stems"]["engine"], before["4stems"]["licence"]) == ("spleeter", "MIT")
    site.run("fetch", "hdemucs_mmi", "--from", hub.url)
    after = next(row for row in site.json("list")["models"] if row["name"] == "hdemucs_mmi")
    assert after["source"] == f"{hub.url}{MMI}"
    assert 3 << 20 < after["bytes"] < (3 << 20) + 100
    assert after["fetched_at"]
    text = site.run("list").stdout
    header, *rows = text.splitlines()
    assert header.split() == ["MODEL", "ENGINE", "HERE", "MB", "LICENCE", "STEMS", "SOURCE"]
    (mine,) = [row for row in rows if row.startswith("hdemucs_mmi ")]
    assert mine.split()[1:5] == ["demucs", "yes", "3", "MIT"]


def test_fetch_tells_numbers(site, hub):
    (told,) = site.json("fetch", "hdemucs_mmi", "--from", hub.url)["models"]
    content = hub.files[f"{MMI}/75fc33f5.safetensors"]
    assert told["fetched"] is True
    assert told["files"]["75fc33f5.safetensors"] == {
        "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content), "checked": "server",
    }  # fmt: skip
    assert told["bytes"] == sum(each["bytes"] for each in told["files"].values())
    assert told["sha256"].keys() == told["files"].keys()
    (again,) = site.json("fetch", "hdemucs_mmi")["models"]
    assert again["fetched"] is False


def test_a_truncated_model_is_said_to_be_damaged(site, hub):
    (told,) = site.json("fetch", "hdemucs_mmi", "--from", hub.url)["models"]
    Path(told["folder"], "75fc33f5.safetensors").write_bytes(b"cut off")
    (row,) = [row for row in site.run("list").stdout.splitlines() if row.startswith("hdemucs_mmi ")]
    assert row.split()[2] == "damaged"
    (facts,) = [each for each in site.json("list")["models"] if each["name"] == "hdemucs_mmi"]
    assert (facts["present"], facts["folder"]) == (False, told["folder"])
    verified = site.run("verify")
    assert verified.exit_code == 1
    assert "STEMD-M003" in verified.stderr


def test_the_configured_mirror_is_used_and_a_command_may_fetch_where_the_service_may_not(site, hub):
    site.configure(**{"fetch": "never", "from": hub.url})
    assert site.run("fetch", "hdemucs_mmi").exit_code == 0
    assert site.json("verify")["models"][0]["ok"]


def test_a_pickle_needs_consent_by_command_or_setting(site, tmp_path):
    torch = pytest.importorskip("torch")
    from tests.golden.tiny_models import htdemucs

    network = htdemucs()
    args, kwargs = network._init_args_kwargs
    package = tmp_path / "usb" / "mine.th"
    package.parent.mkdir()
    torch.save({"klass": type(network), "args": args, "kwargs": kwargs, "state": network.state_dict()}, package)
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    refused = site.run("fetch", "mine", "--from", str(package.parent))
    assert refused.exit_code == 77
    assert f"--allow-pickle {digest}" in refused.stderr
    (told,) = site.json("fetch", "mine", "--from", str(package.parent), "--allow-pickle", digest.upper())["models"]
    assert told["files"]["mine.safetensors"]["converted_from"]["allowed_by"] == "consent"
    site.configure(pickles=[digest])
    assert site.run("fetch", "mine", "--from", str(package.parent), "--force").exit_code == 0


def test_a_checkpoint_from_a_folder(site, tmp_path):
    (tmp_path / "mine.tar.gz").write_bytes(checkpoint_archive())
    (told,) = site.json("fetch", "mine", "--from", str(tmp_path))["models"]
    assert set(told["files"]) == {"checkpoint", "model.index", "model.data-00000-of-00001", "model.meta"}
    listed = next(row for row in site.json("list")["models"] if row["name"] == "mine")
    assert (listed["engine"], listed["present"], listed["licence"]) == ("spleeter", True, None)


def test_offline_says_what_to_do(site, hub, monkeypatch):
    monkeypatch.setenv("STEMD_OFFLINE", "1")
    result = site.run("fetch", "hdemucs_mmi", "--from", hub.url)
    assert result.exit_code == 75
    assert "STEMD_OFFLINE" in result.stderr
    assert "--from DIR" in result.stderr
