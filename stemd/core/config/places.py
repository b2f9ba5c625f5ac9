"""Where things are when nobody says: the configuration file, the model store, the folder of the control socket."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

SYSTEM_FILE = Path("/etc/stemd/stemd.yaml")


def _home(environ: Mapping[str, str]) -> Path:
    """As everywhere, that of somebody the system does not know is ``/``."""
    try:
        return Path(environ["HOME"]) if environ.get("HOME") else Path("~").expanduser()
    except RuntimeError:
        return Path("/")


def _first(paths: str) -> Path:
    """systemd joins several folders with colons; the first is ours."""
    return Path(paths.partition(":")[0])


def default_models(environ: Mapping[str, str]) -> Path:
    """The model store: in systemd's cache folder, else in the user's."""
    if environ.get("CACHE_DIRECTORY"):
        return _first(environ["CACHE_DIRECTORY"]) / "models"
    return Path(environ.get("XDG_CACHE_HOME") or _home(environ) / ".cache") / "stemd" / "models"


def default_engines(environ: Mapping[str, str]) -> Path:
    """Where engines have their own Python environments: beside the model store."""
    return default_models(environ).with_name("engines")


def default_run(environ: Mapping[str, str]) -> Path | None:
    """The folder of the control socket; ``None`` is the state folder of each spool."""
    if environ.get("RUNTIME_DIRECTORY"):
        return _first(environ["RUNTIME_DIRECTORY"])
    return Path(environ["XDG_RUNTIME_DIR"]) / "stemd" if environ.get("XDG_RUNTIME_DIR") else None


def user_file(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("XDG_CONFIG_HOME") or _home(environ) / ".config") / "stemd" / "stemd.yaml"


def candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    """The files looked for when none is named, in order."""
    yield SYSTEM_FILE
    if environ.get("CONFIGURATION_DIRECTORY"):
        yield _first(environ["CONFIGURATION_DIRECTORY"]) / "stemd.yaml"
    yield user_file(environ)


def drop_ins(file: Path) -> list[Path]:
    """``FILE.d/*.yaml`` beside a configuration file, by name; hidden ones are not taken."""
    if not file.name:
        return []
    folder = file.with_name(file.name + ".d")
    return sorted(path for path in folder.glob("*.yaml") if not path.name.startswith("."))
