"""Filling a folder with the files of one model's weights, by the form they come in."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from stemd.core.errors import StemdError
from stemd.engines.models import checkpoint, pickled
from stemd.engines.models.bag import parse_bag
from stemd.engines.models.download import Taken, sha256
from stemd.engines.models.origins import Origin, private_copy

#: File name → its sha256, its bytes, and who vouches for it.
Files = dict[str, dict[str, Any]]


def bag(origin: Origin, weights: str, folder: Path, consented: Collection[str]) -> Files:
    """Get a Demucs bag: its description, then each member; one that is there only as a pickle is converted.

    Raises:
        StemdError: STEMD-M004 (no bag), STEMD-M005 (not fetched), STEMD-M006 (a pickle nobody vouches for).
        OSError: a file could not be read or written.
    """
    description = f"{weights}.yaml"
    for leftover in folder.glob(f"{description}*"):
        leftover.unlink()
    files = {description: _facts(origin.take(description, folder))}
    for member in dict.fromkeys(parse_bag((folder / description).read_bytes(), description).members):
        file = f"{member}.safetensors"
        package = None if origin.has(file) else origin.pickle(member)
        if package is None:
            files[file] = _facts(origin.take(file, folder))
        else:
            files[file] = _converted(package, folder / file, consented)
    return files


def checkpoint_files(origin: Origin, weights: str, folder: Path, consented: Collection[str]) -> Files:
    """Get a TensorFlow checkpoint: its four files, or the archive they are published in.

    Raises:
        StemdError: STEMD-M004 (no such archive), STEMD-M005 (not fetched).
        OSError: a file could not be read or written.
    """
    if all(origin.has(name) for name in checkpoint.FILES):
        return {name: _facts(origin.take(name, folder)) for name in checkpoint.FILES}
    archive = f"{weights}.tar.gz"
    taken = origin.take(archive, folder)
    try:
        checkpoint.extract(folder / archive, folder)
    except StemdError:
        (folder / archive).unlink()
        raise
    came = {"archive": archive, "archive_sha256": taken.sha256}
    files = {}
    for name in checkpoint.FILES:
        path = folder / name
        files[name] = {**_facts(Taken(sha256(path), path.stat().st_size, taken.checked)), **came}
    return files


def _facts(taken: Taken) -> dict[str, Any]:
    return {"sha256": taken.sha256, "bytes": taken.size, "checked": taken.checked}


def _converted(package: Path, target: Path, consented: Collection[str]) -> dict[str, Any]:
    copy = private_copy(package, target.parent)
    try:
        told = pickled.convert(copy, target, consented, str(package))
    finally:
        copy.unlink()
    facts = _facts(Taken(sha256(target), target.stat().st_size, told["allowed_by"]))
    return {**facts, "converted_from": {"name": package.name, **told}}


#: Engine → how its weights are got.
FILL: dict[str, Callable[[Origin, str, Path, Collection[str]], Files]] = {
    "demucs": bag,
    "spleeter": checkpoint_files,
}
