"""How a metric is written down: one row of a table, from which each daemon makes the family and its first series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.metrics import MetricWrapperBase

#: In the place of a label's values: every engine there is; or those, and ``none`` for what no engine has to do with.
ENGINES: Final = ("<engines>",)
ENGINES_AND_NONE: Final = ("<engines>", "none")
#: In the place of a label's values: known only while the daemon runs; no series before.
OPEN: Final = ()

#: Nobody asks when a series was made; a third of all lines, and of what a scrape costs, would say so.
disable_created_metrics()  # type: ignore[no-untyped-call]

Kind = TypeVar("Kind", bound=MetricWrapperBase)


@dataclass(frozen=True)
class Row(Generic[Kind]):
    """One family. ``labels`` gives each label the closed set of its values; all their series are there from the start.

    As an attribute of a class with ``made`` it is that object's own family: ``metrics.claims.labels("lost").inc()``.
    """

    kind: type[Kind]
    name: str
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()

    def __get__(self, owner: Families, _: object = None) -> Kind:
        family = owner.made[self.name]
        assert isinstance(family, self.kind)
        return family

    def make(self, registry: CollectorRegistry, engines: tuple[str, ...]) -> Kind:
        """The family in a registry, with the series that are there from the start."""
        more: dict[str, Any] = {"buckets": self.buckets} if self.buckets else {}
        family = self.kind(self.name, self.help, tuple(self.labels), registry=registry, **more)
        if self.labels:
            values = [_spelled_out(values, engines) for values in self.labels.values()]
            for series in product(*values):
                family.labels(*series)
        return family


class Families:
    """All rows of the class, made once for each object, in a registry of its own so that tests can have several."""

    def __init__(self, engines: tuple[str, ...]) -> None:
        self.registry = CollectorRegistry()
        self.made = {row.name: row.make(self.registry, engines) for row in self.rows()}

    @classmethod
    def rows(cls) -> tuple[Row[MetricWrapperBase], ...]:
        return tuple(row for row in vars(cls).values() if isinstance(row, Row))


def counter(name: str, help: str, labels: Mapping[str, tuple[str, ...]] | None = None) -> Row[Counter]:
    return Row(Counter, f"stemd_{name}", help, labels or {})


def gauge(name: str, help: str, labels: Mapping[str, tuple[str, ...]] | None = None) -> Row[Gauge]:
    return Row(Gauge, f"stemd_{name}", help, labels or {})


def histogram(
    name: str, help: str, labels: Mapping[str, tuple[str, ...]] | None = None, *, buckets: tuple[float, ...]
) -> Row[Histogram]:
    return Row(Histogram, f"stemd_{name}", help, labels or {}, buckets)


def _spelled_out(values: tuple[str, ...], engines: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(each for value in values for each in (engines if value == ENGINES[0] else (value,)))
