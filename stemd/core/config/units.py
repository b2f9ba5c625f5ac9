"""Durations, sizes, file modes, names and places as people write them, and back again.

Each parser takes what YAML gave, returns the plain value and raises ``ValueError`` with a sentence that says what
would have been right. Nothing here knows pydantic or YAML.
"""

from __future__ import annotations

import ipaddress
import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from stemd.core.job import is_job_id

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES = {
    "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip
#: The longest duration, and the number of bytes from which on something is no size: beyond, no clock and no call of the
#: system goes along.
LONGEST, TOO_LARGE = 10_000_000 * 86400.0, 1 << 63
#: What somebody waits for: nothing at all would be without pause, and more than this no thread can wait.
SHORTEST, LONGEST_WAIT = 0.001, 36_500 * 86400.0
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|[smhdw])\s*")
_SIZE = re.compile(r"(\d+)(\.\d+)?\s*([A-Za-z]*)")
_URL = re.compile(r"https?://(\[[^\s\]]+\]|[^\s/?#@:\[\]]+)(:\d+)?([/?#]\S*)?")
_NAME = re.compile(r"[^\W_](?:[\w.@+ -]*[\w@+-])?")
_TEMPORARY = re.compile(
    r"\.(?:part|partial|filepart|crdownload|download|opdownload|aria2|tmp|temp|bak)$", re.IGNORECASE
)


def show(value: Any) -> str:
    """A value inside a message: short, and text in quotes."""
    text = repr(value) if isinstance(value, str) else "a list" if isinstance(value, list | tuple) else str(value)
    text = "nothing" if value is None else "a mapping" if isinstance(value, dict) else text
    return text if len(text) <= 60 else text[:57] + "…'"


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def duration(value: Any) -> float:
    """``2s``, ``1h30m``, ``500ms``, ``30d`` or a plain number of seconds, as seconds (from 0 to ``LONGEST``)."""
    text = value.strip() if isinstance(value, str) else ""
    if text and not _DURATION_PART.sub("", text):
        seconds = sum(float(n) * _SECONDS[unit] for n, unit in _DURATION_PART.findall(text))
    elif _number(value) and value >= 0:
        seconds = value
    else:
        raise ValueError(f"must be a duration such as 30s, 5m, 4h or 30d, not {show(value)}")
    if seconds > LONGEST:
        raise ValueError(f"must be a duration of at most {format_duration(LONGEST)}, not {show(value)}")
    return float(seconds)


def interval(value: Any) -> float:
    """A duration that is waited for, or divided by: from ``SHORTEST`` to ``LONGEST_WAIT``."""
    seconds = duration(value)
    if not SHORTEST <= seconds <= LONGEST_WAIT:
        least, most = format_duration(SHORTEST), format_duration(LONGEST_WAIT)
        raise ValueError(f"must be a duration from {least} to {most}, not {show(value)}")
    return seconds


def format_duration(seconds: float) -> str:
    """A duration as ``duration`` reads it back, the same to the last bit: ``90`` → ``90s``, ``1800`` → ``30m``."""
    for unit in ("d", "h", "m", "s"):
        count = int(seconds // _SECONDS[unit])
        if count and count * _SECONDS[unit] == seconds:
            return f"{count}{unit}"
    return f"{Decimal(repr(float(seconds)).removesuffix('.0')):f}s"


def size(value: Any) -> int:
    """``6GiB``, ``10GB``, ``512MiB`` or a plain number of bytes, as bytes (below ``TOO_LARGE``)."""
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    unit = found[3].upper() if found else ""
    if found and unit in _BYTES:
        whole = int(found[1]) if float(found[1]) <= TOO_LARGE else TOO_LARGE
        count = whole * _BYTES[unit] + round(float(found[2] or 0) * _BYTES[unit])
    elif isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        count = value
    elif found and unit in {"K", "M", "G", "T"}:
        number = f"{found[1]}{found[2] or ''}"
        raise ValueError(f"must say which unit: {number}{unit}iB (powers of 1024) or {number}{unit}B (of 1000)")
    else:
        raise ValueError(f"must be a size such as 6GiB, 512MiB or 10GB, not {show(value)}")
    if count >= TOO_LARGE:
        raise ValueError(f"must be a size below {format_size(TOO_LARGE)}, not {show(value)}")
    return count


def some(value: Any) -> int:
    """A size above nothing."""
    if (count := size(value)) == 0:
        raise ValueError(f"must be a size of at least 1B, not {show(value)}")
    return count


def format_size(count: int) -> str:
    """The shortest exact form of a size: ``6442450944`` → ``6GiB``."""
    for unit, shown in (("TIB", "TiB"), ("TB", "TB"), ("GIB", "GiB"), ("GB", "GB"), ("MIB", "MiB"), ("MB", "MB")):
        if count and count % _BYTES[unit] == 0:
            return f"{count // _BYTES[unit]}{shown}"
    return f"{count}B"


def cores(value: Any) -> float | Literal["auto"]:
    """A number of CPU cores, or ``auto``: as many as the machine or its cgroup gives."""
    if value == "auto":
        return "auto"
    if _number(value) and 0 < value <= 4096:
        return float(value)
    raise ValueError(f"must be auto or a number of cores above 0, not {show(value)}")


def count_or_auto(value: Any) -> int | Literal["auto"]:
    """A whole number ≥ 1, or ``auto``."""
    if value == "auto":
        return "auto"
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1024:
        return value
    raise ValueError(f"must be auto or a whole number from 1 to 1024, not {show(value)}")


def mode(value: Any) -> int:
    """A file mode in octal digits, ``0640``; the owner must be able to read and write."""
    found = re.fullmatch(r"(?:0o)?([0-7]{3,4})", value) if isinstance(value, str) else None
    if not found:
        raise ValueError(f"must be a file mode in octal with its leading zero, such as 0640, not {show(value)}")
    bits = int(found[1], 8)
    if bits > 0o777 or bits & 0o600 != 0o600:
        raise ValueError(f"must be at most 0777 and let the owner read and write, not {show(value)}")
    return bits


def format_mode(bits: int) -> str:
    return f"{bits:04o}"


def bit_depth(value: Any) -> str:
    """``16``, ``24`` or ``32f``, as text."""
    if str(value) in {"16", "24", "32f"} and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"must be 16, 24 or 32f, not {show(value)}")


def sample_rate(value: Any) -> int | str:
    """``source``, or a rate in Hz from 8000 to 192000."""
    if value == "source":
        return "source"
    if isinstance(value, int) and not isinstance(value, bool) and 8000 <= value <= 192000:
        return value
    raise ValueError(f"must be source or a rate from 8000 to 192000 Hz, not {show(value)}")


def stems(value: Any) -> int | tuple[str, ...]:
    """How many stems (2, 4, 5 or 6), or the names of those wanted; ``all`` is ``()``: every stem the model has."""
    if value in ("all", ()):
        return ()
    if isinstance(value, int) and not isinstance(value, bool) and value in {2, 4, 5, 6}:
        return value
    if isinstance(value, list | tuple) and value and all(isinstance(x, str) and _NAME.fullmatch(x) for x in value):
        if len(set(value)) < len(value):
            raise ValueError("names a stem twice")
        return tuple(value)
    raise ValueError(f"must be 2, 4, 5, 6, all or a list such as [vocals, drums], not {show(value)}")


def name(value: Any) -> str:
    """A name that is safe as a folder's name on every system the spool is shared with."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"must be a name, not {show(value)}")
    if not _NAME.fullmatch(value) or len(value.encode()) > 100 or _TEMPORARY.search(value):
        raise ValueError(
            f"{show(value)} is not a safe folder name: at most 100 bytes of letters, digits, space and . _ - @ +, "
            "beginning with a letter or digit, without a temporary file's ending"
        )
    return value


def absolute(value: Any) -> Path:
    """An absolute path; a leading ``~`` is the home of the user stemd runs as."""
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError(f"must be a path, not {show(value)}")
    path = Path(value).expanduser()
    if not path.is_absolute() or ".." in path.parts:
        raise ValueError(f"must be an absolute path without .., not {show(str(value))}")
    return path


def state_path(value: Any) -> Path | None:
    """``paths.state``: an absolute path; ``ROOT/.state`` (or nothing) is the folder beside each spool's own files."""
    return None if value in (None, "ROOT/.state") else absolute(value)


def roots(value: Any) -> tuple[Path, ...]:
    """One spool root or a list of them: absolute, and none twice or inside another. A link is where it leads."""
    given = value if isinstance(value, list | tuple) else [value]
    if not given:
        raise ValueError("needs at least one folder")
    paths = tuple(Path(os.path.realpath(absolute(each))) for each in given)
    for i, one in enumerate(paths):
        for other in paths[:i]:
            if one == other or one in other.parents or other in one.parents:
                raise ValueError(f"{one} and {other} overlap: each root needs a place of its own")
    return paths


def relative(value: Any) -> str:
    """A file inside the job's own folder: relative, forward slashes, never ``..``."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"must be a file name, not {show(value)}")
    if value.startswith(("/", "~")) or any(part in {"", ".", ".."} for part in value.split("/")):
        raise ValueError(f"must be a file inside the job's folder (relative, no ..), not {show(value)}")
    return value


def listen(value: Any) -> str:
    """``HOST:PORT`` with an IP address or ``localhost``; IPv6 in brackets. Port 0 lets the system choose."""
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not (colon and port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"must be ADDRESS:PORT such as 127.0.0.1:9814, not {show(value)}")
    if host != "localhost":
        try:
            ipaddress.ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
        except ValueError:
            raise ValueError(f"must begin with an IP address or localhost, not {show(host)}") from None
        if ":" in host and not host.startswith("["):
            raise ValueError(f"needs brackets around an IPv6 address: [{host}]:{port}")
    return str(value)


def address(text: str) -> tuple[str, int]:
    """The host (without brackets) and port of a checked ``listen`` value."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def loopback(text: str) -> bool:
    """Whether a checked ``listen`` value can be reached only from this machine."""
    host, _ = address(text)
    return host == "localhost" or ipaddress.ip_address(host).is_loopback


def url(value: Any) -> str:
    """An ``http://`` or ``https://`` address. One with a name or password is not shown: the log is no place for it."""
    if isinstance(value, str) and _URL.fullmatch(value):
        return value
    if isinstance(value, str) and "@" in value:
        raise ValueError(
            "must be an http:// or https:// address without NAME:PASSWORD@: stemd logs in nowhere; `handoff.key_file` "
            "signs hand-overs, and a command can log in"
        )
    raise ValueError(f"must be an http:// or https:// address, not {show(value)}")


def sha256(value: Any) -> str:
    """64 hexadecimal digits, lower-cased."""
    if isinstance(value, str) and re.fullmatch(r"[0-9a-fA-F]{64}", value):
        return value.lower()
    raise ValueError("must be a sha256: 64 hexadecimal digits (in quotes)")


def sha256s(value: Any) -> tuple[str, ...]:
    """A list of sha256."""
    if isinstance(value, list | tuple):
        return tuple(map(sha256, value))
    raise ValueError(f"must be a list of sha256, not {show(value)}")


def job_ids(value: Any) -> tuple[str, ...]:
    """A list of job_uuids."""
    if isinstance(value, list | tuple) and all(isinstance(item, str) and is_job_id(item.lower()) for item in value):
        return tuple(item.lower() for item in value)
    raise ValueError(f"must be a list of job_uuids, not {show(value)}")


def texts(value: Any) -> tuple[str, ...]:
    """A list of texts, none empty."""
    if isinstance(value, list | tuple) and all(isinstance(item, str) and item for item in value):
        return tuple(value)
    raise ValueError(f"must be a list of texts, not {show(value)}")


def device(value: Any) -> str:
    """``auto``, ``cpu``, ``mps``, ``cuda`` or one card as ``cuda:1``."""
    if isinstance(value, str) and re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value):
        return value
    raise ValueError(f"must be auto, cpu, mps, cuda or cuda:N, not {show(value)}")


def environment(value: Any) -> Path | Literal["auto"]:
    """``auto`` (where ``stemd engines install`` puts it), or the absolute path of a Python environment."""
    return "auto" if value == "auto" else absolute(value)


def groups(value: Any) -> str:
    """``auto``, ``never``, or the path of a control group below its hierarchy, such as ``/stemd``."""
    known = isinstance(value, str) and (value in {"auto", "never"} or re.fullmatch(r"(/[^/\0]+)+", value))
    if known and ".." not in value.split("/"):
        return str(value)
    raise ValueError(f"must be auto, never, or the path of a control group such as /stemd, not {show(value)}")


def tags(value: Any) -> dict[str, str]:
    """Tags by name; whole numbers become text. Names are printable ASCII without ``=`` (Vorbis comment rules)."""
    if not isinstance(value, dict):
        raise ValueError(f"must be a mapping such as {{title: …, artist: …}}, not {show(value)}")
    for key, text in value.items():
        if not re.fullmatch(r"[ -<>-}]+", key):
            raise ValueError(f"{show(key)} is not a tag's name: printable ASCII without =")
        if isinstance(text, bool) or not isinstance(text, str | int) or "\0" in str(text):
            raise ValueError(f"{key} must be text (in quotes), not {show(text)}")
    return {key: str(text) for key, text in value.items()}


def free(value: Any) -> dict[str, Any]:
    """A mapping that someone else understands and checks."""
    if isinstance(value, dict):
        return value
    raise ValueError(f"must be a mapping, not {show(value)}")


def sinks(value: Any) -> tuple[tuple[str, ...], ...]:
    """Where alerts go, each as its kind and what belongs to it: ``("log",)``, ``("webhook", ADDRESS)``,
    ``("alertmanager", ADDRESS)``, ``("command", PROGRAM, ARGUMENT …)``.
    """
    if not isinstance(value, list | tuple):
        raise ValueError(f"must be a list such as [log, {{webhook: https://…}}], not {show(value)}")
    return tuple(_sink(each) for each in value)


def _sink(value: Any) -> tuple[str, ...]:
    if value == "log":
        return ("log",)
    if isinstance(value, dict) and len(value) == 1:
        ((kind, target),) = value.items()
        if kind in {"webhook", "alertmanager"}:
            return (kind, url(target))
        if kind == "command" and target:
            return (kind, *texts(target))
    raise ValueError(
        f"each must be log or {{webhook: https://…}}, {{alertmanager: http://…}}, {{command: [PROGRAM, …]}}, "
        f"not {show(value)}"
    )
