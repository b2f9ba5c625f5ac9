"""Whether and how a worker may get a model that its job needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stemd.core.errors import StemdError
from stemd.engines.models.catalogue import BUILT_IN
from stemd.engines.models.download import FetchProgress
from stemd.engines.models.fetch import fetch, replace
from stemd.engines.models.origins import offline
from stemd.engines.models.store import find, lies_damaged, present


@dataclass(frozen=True, slots=True)
class Supply:
    """``allowed``: models may be fetched (from ``source``, as for ``fetch``) without being asked for by command."""

    allowed: bool = True
    source: str | None = None
    pickles: tuple[str, ...] = ()

    def can(self, model: str) -> bool:
        """Whether there is any use in trying."""
        known = BUILT_IN.get(model)
        if not self.allowed or known is None or known.home is None:
            return False
        over_network = self.source is None or self.source.startswith(("http://", "https://"))
        return not (over_network and offline())

    def provide(self, model: str, engine: str, store: Path, progress: FetchProgress) -> None:
        """Fetch ``model`` if it is not here and may be fetched; other engines' models are left alone.

        Raises:
            StemdError: STEMD-M001, it could not be fetched.
        """
        known = BUILT_IN.get(model)
        if known is None or known.engine != engine or _lies(model, store) or not self.can(model):
            return
        try:
            fetch(model, store, self.source, progress, pickles=self.pickles)
        except StemdError as error:
            raise _still_missing(model, store, error) from error

    def mend(self, model: str, store: Path, damage: StemdError, progress: FetchProgress) -> None:
        """Put a model that was found damaged into quarantine and fetch it anew.

        Raises:
            StemdError: ``damage`` itself (nothing may be fetched), or STEMD-M001 (it could not be fetched).
        """
        if not self.can(model) or not _replaceable(model, store):
            raise damage
        try:
            replace(model, store, self.source, progress, damage.message, pickles=self.pickles)
        except StemdError as error:
            raise (damage if _lies(model, store) else _still_missing(model, store, error)) from error


def _lies(model: str, store: Path) -> bool:
    """Whether it is here; whether it is whole is for the engine to find out."""
    return present(model, store) or lies_damaged(model, store)


def _replaceable(model: str, store: Path) -> bool:
    """Whether the damaged files lie in the store, not in the package."""
    return find(model, store).is_relative_to(store)


def _still_missing(model: str, store: Path, error: StemdError) -> StemdError:
    fetching = f"stemd models fetch {model}"
    return StemdError(
        "STEMD-M001",
        f"the weights of {model} are not in {store}, and fetching them failed: {error.code}: {error.message}",
        remedy=f"`{fetching}` tries it now (`{fetching} --from DIR` where there is no network); stemd itself tries "
        f"again later. {error.remedy}",
    )
