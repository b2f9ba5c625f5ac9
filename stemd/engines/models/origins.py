"""Where files are taken from: a folder, or a server laid out as the place where the model is published."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from stemd.core.errors import StemdError
from stemd.engines.models import checkpoint, pickled
from stemd.engines.models.catalogue import BUILT_IN, Model
from stemd.engines.models.checksums import FILES
from stemd.engines.models.download import Download, Taken, sha256

#: Set to anything but nothing or ``0``: nothing is fetched over the network, whoever asks.
OFFLINE = "STEMD_OFFLINE"
_BLOCK = 1 << 20


class Origin(Protocol):
    """The files of one model's weights. ``engine`` is the one they are for."""

    engine: str

    def has(self, file: str) -> bool:
        """Whether there may be such a file."""

    def take(self, file: str, into: Path) -> Taken:
        """Put a file into the folder ``into``, checked.

        Raises:
            StemdError: STEMD-M002 or M005, it is not there or not what it should be.
            OSError: it could not be read or written.
        """

    def pickle(self, member: str) -> Path | None:
        """The file that holds ``member`` in pickle form, if there is one."""


def offline(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the operator forbade the network."""
    return environ.get(OFFLINE, "") not in {"", "0"}


def origin_of(name: str, weights: str, source: Path | str | None, download: Download) -> Origin:
    """The origin that ``source`` stands for: a folder, a server's address, or ``None`` for the publisher.

    Raises:
        StemdError: STEMD-M002 (it has no such model), STEMD-M005 (it needs the network, which is forbidden).
    """
    if source is None or (isinstance(source, str) and source.startswith(("http://", "https://"))):
        return Web(name, str(source) if source else None, download)
    return Folder(weights, Path(source), download)


class Folder:
    """Files in a folder, or in the folder ``NAME`` below it."""

    def __init__(self, weights: str, base: Path, download: Download) -> None:
        self._weights, self._download = weights, download
        tried = [(folder, self._engine(folder)) for folder in (base / weights, base)]
        for folder, engine in tried:
            if engine is not None:
                self._base, self.engine = folder, engine
                return
        raise StemdError(
            "STEMD-M002",
            f"{base} has no {weights}.yaml and no {weights}.tar.gz, and no folder {weights} with one",
        )

    def __str__(self) -> str:
        return str(self._base)

    def _engine(self, folder: Path) -> str | None:
        if not folder.is_dir():
            return None
        if (folder / f"{self._weights}.yaml").is_file() or self._single(folder):
            return "demucs"
        whole = all((folder / name).is_file() for name in checkpoint.FILES) and self._is_own(folder)
        return "spleeter" if whole or (folder / f"{self._weights}.tar.gz").is_file() else None

    def _is_own(self, folder: Path) -> bool:
        """A checkpoint's files have the same names in every model: the folder's name says whose they are."""
        return folder.name == self._weights or self._weights not in BUILT_IN

    def _single(self, folder: Path) -> bool:
        """Whether a lone weights file is the model, without a bag around it."""
        return (folder / f"{self._weights}.safetensors").is_file() or pickled.find(folder, self._weights) is not None

    def has(self, file: str) -> bool:
        return (self._base / file).is_file()

    def pickle(self, member: str) -> Path | None:
        return pickled.find(self._base, member)

    def take(self, file: str, into: Path) -> Taken:
        source, target = self._base / file, into / file
        if file == f"{self._weights}.yaml" and not source.exists():
            target.write_text(f"models: ['{self._weights}']\n")
            return Taken(sha256(target), target.stat().st_size, "none")
        size = source.stat().st_size
        self._download.room(size)
        done = 0
        with source.open("rb") as content, target.open("wb") as copy:
            while piece := content.read(_BLOCK):
                copy.write(piece)
                done += len(piece)
                self._download.progress(file, done, size)
        digest, wanted = sha256(target), FILES.get(self._weights, {}).get(file)
        if wanted not in {None, digest}:
            target.unlink()
            raise StemdError(
                "STEMD-M005",
                f"{source} is not the published file: sha256 {digest}, not {wanted}",
                remedy="Copy the file again from where it is published, or give your own model a name of its own.",
            )
        return Taken(digest, done, "catalogue" if wanted else "none")


class Web:
    """Files at ``BASE/PATH/FILE``, where ``PATH`` is the publisher's: Hugging Face's or a GitHub release's."""

    def __init__(self, name: str, base: str | None, download: Download) -> None:
        known = BUILT_IN.get(name)
        if known is None or known.home is None:
            raise StemdError("STEMD-M002", f"{name!r} is nothing the network has; give a folder (--from DIR)")
        if offline():
            raise StemdError(
                "STEMD-M005",
                f"{name} is not here, and {OFFLINE} forbids the network",
                remedy=f"Bring the files here: `stemd models fetch {name} --from DIR`. Or unset {OFFLINE}.",
            )
        self._known: Model = known
        self.engine, self._download = known.engine, download
        self._base = f"{(base or known.home).rstrip('/')}/{known.path}"

    def __str__(self) -> str:
        return self._base

    def has(self, file: str) -> bool:
        return file not in checkpoint.FILES

    def pickle(self, member: str) -> Path | None:
        return None

    def take(self, file: str, into: Path) -> Taken:
        wanted = FILES.get(self._known.weights, {}).get(file)
        return self._download.fetch(f"{self._base}/{file}", into / file, wanted)


def private_copy(source: Path, into: Path) -> Path:
    """A copy that nobody else can change, to look at and then to use."""
    target = into / source.name
    with source.open("rb") as content, target.open("wb") as copy:
        shutil.copyfileobj(content, copy, _BLOCK)
    return target
