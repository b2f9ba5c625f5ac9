"""The ways to hand a job over: a webhook, a command, a folder with tickets. Each is told once more if it may be.

Every call happens on a thread of its own and may take its time; a ``NotTakenError`` means: again later, a
``ForgottenError`` never.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stemd.core.config.service import Handoff
from stemd.core.errors import StemdError
from stemd.ops import logs
from stemd.ops.post import NotTakenError, post, signature
from stemd.ops.programs import run_told
from stemd.spool import durable, handover
from stemd.spool.layout import Spool, names, safe_title

_PASSED_ON = frozenset({"PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ"})
#: The system waits no longer for a socket or a pipe (seconds; 2^31 milliseconds are 24.8 days).
_LONGEST = 20 * 86400.0

#: What is to be handed over, and where its file is: a receiver may add to it what a restart must know.
Receiver = Callable[[Spool, Path, dict[str, Any]], None]


def receivers(settings: Handoff) -> dict[str, Receiver]:
    """The configured ways by name, in their order: what moves the folder comes last."""
    ways: dict[str, Receiver] = {}
    if (address := settings.webhook) is not None:
        ways["webhook"] = lambda spool, path, document: _webhook(settings, address, spool, document)
    if (command := settings.command) is not None:
        ways["command"] = lambda spool, path, document: _command(settings, command, spool, document)
    if (directory := settings.directory) is not None:
        ways["directory"] = lambda spool, path, document: _ticket(settings, directory, spool, path, document)
    return ways


def told(spool: Spool, document: Mapping[str, Any]) -> dict[str, Any]:
    """What receivers are told: the document, without what only stemd needs, its ``result`` an absolute path."""
    shown = {key: value for key, value in document.items() if not key.startswith("_")}
    return {**shown, "result": str(spool.root / document["result"])}


def _body(spool: Spool, document: Mapping[str, Any]) -> bytes:
    return json.dumps(told(spool, document), ensure_ascii=True, allow_nan=False).encode()


def _patience(settings: Handoff) -> float:
    return min(settings.timeout, _LONGEST)


def _webhook(settings: Handoff, address: str, spool: Spool, document: Mapping[str, Any]) -> None:
    body = _body(spool, document)
    headers = {"Idempotency-Key": str(document["key"])}
    if settings.key_file is not None:
        try:
            key = settings.key_file.read_bytes().strip()
        except OSError as error:
            raise NotTakenError(f"handoff.key_file: {error.strerror}") from None
        if not key:
            raise NotTakenError("handoff.key_file is empty")
        headers["Stemd-Signature"] = signature(key, int(time.time()), body)
    post(address, body, headers, _patience(settings))


def _command(settings: Handoff, command: tuple[str, ...], spool: Spool, document: Mapping[str, Any]) -> None:
    environment = {name: value for name, value in os.environ.items() if name in _PASSED_ON}
    environment["STEMD_IDEMPOTENCY_KEY"] = str(document["key"])
    run_told([*command, str(spool.root / document["result"])], _body(spool, document), _patience(settings), environment)


def _ticket(settings: Handoff, directory: Path, spool: Spool, path: Path, document: dict[str, Any]) -> None:
    """Put the ticket, and before it the finished folder if asked to, into the next stage's folder."""
    try:
        if settings.move and document["state"] == "done":
            _move(directory, spool, path, document)
        durable.write_json(directory / f"{document['key']}.json", told(spool, document))
    except FileNotFoundError as error:
        raise NotTakenError(f"{error.filename or directory} is not there") from None
    except StemdError as error:
        raise NotTakenError(error.message) from None


def _move(directory: Path, spool: Spool, path: Path, document: dict[str, Any]) -> None:
    """Rename the finished folder into ``directory``; each target is noted before, so that a crash repeats nothing.

    Where that is another mount the folder stays, and the ticket says where.
    """
    source = spool.root / document["result"]
    if _is_result(source, document) and source.parent == directory:
        return
    if (noted := document.get("_moved")) is not None and _is_result(Path(noted), document):
        document["result"] = noted
        return
    if not _is_result(source, document):
        return  # a consumer has taken it: the ticket says where it was
    for name in names(safe_title(source.name)):
        target = directory / name
        document["_moved"] = str(target)
        handover.rewrite(path, document)
        try:
            durable.rename(source, target)
        except FileExistsError:
            continue
        except StemdError as error:
            if error.code != "STEMD-S002":
                raise
            logs.get().warning("handoff_not_moved", job_uuid=document["job_uuid"], reason=error.message)
            return
        durable.fsync(directory)
        durable.fsync(source.parent)
        document["result"] = str(target)
        return


def _is_result(folder: Path, document: Mapping[str, Any]) -> bool:
    manifest = durable.read_json(folder / "manifest.json")
    return manifest is not None and manifest.get("job_uuid") == document["job_uuid"]
