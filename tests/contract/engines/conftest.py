"""The engines that the contract runs over, and the example plug-in in a Python environment of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stemd.engines import base
from stemd.engines.contract import Subject
from tests.golden import spleeter_setup, tiny_models

_EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "stemd-centre"


@dataclass(frozen=True, slots=True)
class PlugIn:
    """Where the example is installed: a Python that has it and everything the tests' own Python has."""

    python: Path
    packages: Path


@pytest.fixture(scope="session")
def plug_in(tmp_path_factory: pytest.TempPathFactory) -> PlugIn:
    """``pip install examples/stemd-centre``, without a network."""
    folder = tmp_path_factory.mktemp("plug-in")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    python = folder / "venv" / "bin" / "python"
    packages = Path(_ask(python, "import sysconfig; print(sysconfig.get_path('purelib'))"))
    mine = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    (packages / "tests.pth").write_text("".join(f"import site; site.addsitedir({folder!r})\n" for folder in mine))
    example = shutil.copytree(_EXAMPLE, folder / "stemd-centre")  # building leaves folders beside it
    pip = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", example]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return PlugIn(python, packages)


def _ask(python: Path, code: str) -> str:
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def _stub(request: pytest.FixtureRequest, folder: Path) -> Subject:
    return Subject(base.create("stub"), "stub", folder, folder)


def _centre(request: pytest.FixtureRequest, folder: Path) -> Subject:
    patch = pytest.MonkeyPatch()
    request.addfinalizer(patch.undo)
    patch.setattr(sys, "path", [*sys.path, str(request.getfixturevalue("plug_in").packages)])
    return Subject(base.create("centre"), "similarity", folder, folder)


def _demucs(request: pytest.FixtureRequest, folder: Path) -> Subject:
    kinds = [tiny_models.hdemucs, tiny_models.demucs, tiny_models.htdemucs]
    weights = [[1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.5, 2.0], [1.0, 0.0, 1.0, 1.0]]
    tiny_models.write_bag(folder / "store", "mixed", kinds, weights)
    return Subject(base.create("demucs"), "mixed", folder / "store", folder, "cpu")


def _spleeter(request: pytest.FixtureRequest, folder: Path) -> Subject:
    engine = base.create("spleeter", spleeter_setup.environment().root)
    return Subject(engine, "2stems", spleeter_setup.checkpoint("2stems"), folder)


_MAKERS = {"stub": _stub, "centre": _centre, "demucs": _demucs, "spleeter": _spleeter}
_SLOW = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=_SLOW if name == "spleeter" else []) for name in _MAKERS],
)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """Each engine with a model, loaded."""
    made: Subject = _MAKERS[request.param](request, tmp_path_factory.mktemp(request.param))
    made.load()
    yield made
    made.close()
