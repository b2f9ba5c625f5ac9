"""A hub, a store, and models to serve."""

from __future__ import annotations

import io
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stemd.engines.models import Patience
from stemd.engines.models.checkpoint import FILES as CHECKPOINT
from tests.unit.engines.models.hub import Hub

MMI = "/adefossez/Demucs-hdemucs_mmi/resolve/main"
SPLEETER = "/deezer/spleeter/releases/download/v1.4.0"


def content(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture(autouse=True)
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The local server is reached directly, whatever this machine's settings are."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("STEMD_OFFLINE", raising=False)


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A server with ``hdemucs_mmi`` (one member, 3 MB)."""
    server = Hub()
    server.files[f"{MMI}/hdemucs_mmi.yaml"] = b"models: ['75fc33f5']\nsegment: 44\n"
    server.files[f"{MMI}/75fc33f5.safetensors"] = content(3 << 20)
    yield server
    server.close()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def slept() -> list[float]:
    """The pauses that were made."""
    return []


@pytest.fixture
def patience(slept: list[float]) -> Patience:
    """Tries as always, but does not wait."""
    return Patience(sleep=slept.append)


def checkpoint_archive(**changes: bytes | None) -> bytes:
    """A ``.tar.gz`` as Spleeter publishes it; ``changes`` replace or (``None``) leave out files."""
    files = {name: content(2000, number) for number, name in enumerate(CHECKPOINT)}
    members = {f"./{name}": data for name, data in files.items()} | {"./._checkpoint": b"left by another system"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in {**members, **changes}.items():
            if data is not None:
                facts = tarfile.TarInfo(name)
                facts.size = len(data)
                tar.addfile(facts, io.BytesIO(data))
    return buffer.getvalue()
