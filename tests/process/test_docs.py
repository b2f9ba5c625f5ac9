"""The README's commands, run as they stand there, and its promises about itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def test_the_first_two_blocks_set_up_by_themselves():
    demo, tests = BLOCKS[:2]
    for block in (demo, tests):
        assert len(block.splitlines()) == 1
        assert block.startswith("python3 -m venv .venv && .venv/bin/pip install")
        assert "-c constraints.txt" in block
    assert demo.rstrip().endswith(".venv/bin/stemd demo")
    assert tests.rstrip().endswith(".venv/bin/python -m tests")


def test_ci_runs_the_readmes_test_command():
    assert "readme_command 2" in (ROOT / ".ci" / "run").read_text()


def test_every_other_block_works_as_it_stands(tmp_path):
    environment = {
        **{key: os.environ[key] for key in ("LANG", "LC_ALL") if key in os.environ},
        "HOME": str(tmp_path),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    script = "".join(BLOCKS[2:])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    finished = tmp_path / "stems" / "outbox" / "everyone"
    assert {path.name for path in finished.iterdir()} == {"song", "again"}
    assert "vocals.flac" in done.stdout


def test_the_links_lead_somewhere():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
