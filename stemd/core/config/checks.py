"""Faults that only show when parts of the configuration are seen together."""

from __future__ import annotations

from collections.abc import Iterator

from stemd.core.config import units
from stemd.core.config.faults import KeyPath, did_you_mean
from stemd.core.config.model import Config
from stemd.core.request import ENGINE_DEFAULTS, takes_several

Finding = tuple[KeyPath, str]


def findings(config: Config) -> Iterator[Finding]:
    """Each fault as the path of its key and a sentence."""
    yield from _references(config)
    yield from _next(config)
    yield from _engines(config)
    if config.retry.base > config.retry.cap:
        yield ("retry", "base"), "must not be longer than retry.cap"
    if config.paths.state and len(config.spool) > 1:
        yield ("paths", "state"), "several spools cannot share one state folder: leave it at ROOT/.state"
    yield from _http(config)


def _references(config: Config) -> Iterator[Finding]:
    known = {*config.users, config.defaults.user}
    for name, inbox in config.inboxes.items():
        if inbox.user is not None and inbox.user not in known:
            hint = did_you_mean(inbox.user, known)
            yield ("inboxes", name, "user"), f"there is no user {inbox.user!r} in users{hint}"
        owner = inbox.user or name
        if name in config.users and owner != name:
            yield ("inboxes", name, "user"), f"inbox/{name} is the folder of the user {name!r}"
    for name, user in config.users.items():
        if user.quota is not None and user.quota not in config.quotas:
            hint = did_you_mean(user.quota, config.quotas)
            yield ("users", name, "quota"), f"there is no quota {user.quota!r} in quotas{hint}"
    if config.defaults.quota is not None and config.defaults.quota not in config.quotas:
        hint = did_you_mean(config.defaults.quota, config.quotas)
        yield ("defaults", "quota"), f"there is no quota {config.defaults.quota!r} in quotas{hint}"
    yield from _twice(config, "uid")
    yield from _twice(config, "token_sha256")


def _next(config: Config) -> Iterator[Finding]:
    for path, wanted, engine in [
        (("defaults", "next"), config.defaults.next, config.defaults.engine),
        *((("inboxes", name, "next"), inbox.next, inbox.engine) for name, inbox in config.inboxes.items()),
    ]:
        if wanted is None:
            continue
        if takes_several(engine or config.defaults.engine):
            yield path, "a mix goes to no other inbox: only stems do"
        elif wanted not in config.inboxes:
            yield path, f"there is no inbox {wanted!r} in inboxes{did_you_mean(wanted, config.inboxes)}"
        elif not takes_several(config.inboxes[wanted].engine or config.defaults.engine):
            yield path, f"the engine of inbox {wanted!r} takes one recording; stems can only go to one that mixes"


def _twice(config: Config, key: str) -> Iterator[Finding]:
    owner: dict[object, str] = {}
    for name, user in config.users.items():
        value = getattr(user, key)
        if value is not None and owner.setdefault(value, name) != name:
            yield ("users", name, key), f"is that of {owner[value]} too: it must tell users apart"


def _engines(config: Config) -> Iterator[Finding]:
    for name, engine in config.engines.items():
        if engine.workers.max != "auto" and engine.workers.min > engine.workers.max:
            yield ("engines", name, "workers", "min"), f"must not be more than workers.max ({engine.workers.max})"
    known = {*ENGINE_DEFAULTS, *config.engines}
    for path, chosen in [
        (("defaults", "engine"), config.defaults.engine),
        *((("inboxes", name, "engine"), inbox.engine) for name, inbox in config.inboxes.items()),
    ]:
        if chosen is not None and chosen not in known and (hint := did_you_mean(chosen, known)):
            yield path, f"there is no engine {chosen!r}{hint}"


def _http(config: Config) -> Iterator[Finding]:
    listen = config.http.listen
    if any(user.token_sha256 for user in config.users.values()):
        return
    if listen and not units.loopback(listen):
        yield (
            ("http", "listen"),
            "can be reached from other machines, so requests need a token, but no user has a token_sha256",
        )
    elif config.http.tokens == "always":
        yield ("http", "tokens"), "asks every request for a token, but no user has a token_sha256"
