"""What the gateway tells Prometheus, and the cheap way to tell it.

Names and labels are fixed: dashboards and alerts use them. Units are base units (seconds, bytes), as
Prometheus asks. Everything is written from the event loop's thread, so the instruments need no locks; one
:class:`Metrics` belongs to one gateway and owns its registry, so two gateways in one process share nothing.
"""

import contextlib
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.series import Count, Timer

__all__ = ["CONTENT_TYPE", "Count", "Family", "Histogram", "Metrics", "Sample", "Tally", "Timer", "summed"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

# Our own time for a statement is tens of microseconds; the tail (a long text, a cold cache) is milliseconds.
_OVERHEAD_BUCKETS: Final = tuple(
    micro / 1e6
    for micro in (5, 10, 15, 20, 30, 40, 50, 75, 100, 150, 250, 500, 1e3, 2.5e3, 5e3, 1e4, 5e4, 2.5e5, 1e6)
)
_CLASSIFY_BUCKETS: Final = tuple(
    micro / 1e6 for micro in (1, 2, 5, 10, 20, 50, 100, 250, 500, 1e3, 2.5e3, 5e3, 1e4, 2.5e4, 1e5, 5e5, 2e6)
)
_STATEMENT_BUCKETS: Final = tuple(
    milli / 1e3
    for milli in (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4, 3e5)
)
# People answer in seconds to hours.
_WAIT_BUCKETS: Final = tuple(
    float(seconds) for seconds in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 14400, 86400)
)

_HOLD_ENDS: Final = ("approved", "rejected", "expired", "withdrawn", "abandoned", "interrupted")
_GREATEST: Final = frozenset(
    ("holdgate_build_info", "holdgate_catalog_generation", "holdgate_catalog_age_seconds")
)
"""Gauges that are not summed over processes: each has its own view of the same thing."""

_CONFLICTS: Final = ("block", "order", "warn", "legal_hold")
_ASKING: Final = ("webhook", "sql")
_OUTCOMES: Final = ("met", "unmet", "denied", "unchecked")
_DIRECTIONS: Final = ("to_upstream", "to_client")


class Histogram(Collector):
    """A histogram without locks."""

    def __init__(
        self,
        name: str,
        documentation: str,
        label: str | None,
        bounds: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._label = label
        self._bounds = tuple(bounds)
        self._series: dict[str, Timer] = {}
        self._only = Timer(self._bounds)
        registry.register(self)

    def labels(self, value: str) -> Timer:
        """The series for this value of the label; the same object every time, so it may be kept."""
        if self._label is None:
            raise ValueError(f"{self._name} has no label")
        timer = self._series.get(value)
        if timer is None:
            timer = self._series[value] = Timer(self._bounds)
        return timer

    def observe(self, seconds: float) -> None:
        """Count one duration in a histogram without a label."""
        if self._label is not None:
            raise ValueError(f"{self._name} needs its label {self._label}")
        self._only.observe(seconds)

    @property
    def timer(self) -> Timer:
        """The one series of a histogram without a label, for whoever wants to skip the check."""
        if self._label is not None:
            raise ValueError(f"{self._name} needs its label {self._label}")
        return self._only

    def collect(self) -> Iterable[Metric]:
        """The current counts, for the registry."""
        family = HistogramMetricFamily(
            self._name, self._documentation, labels=[self._label] if self._label else []
        )
        series = self._series.items() if self._label else [("", self._only)]
        for value, timer in series:
            family.add_metric([value] if self._label else [], timer.buckets(), timer.sum)
        yield family


class Tally(Collector):
    """A counter without locks, for what is counted for each statement. ``name`` ends in ``_total``."""

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str], registry: CollectorRegistry
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._series: dict[tuple[str, ...], Count] = {}
        registry.register(self)

    def labels(self, *values: str) -> Count:
        """The series for these values; the same object every time, so it may be kept."""
        count = self._series.get(values)
        if count is None:
            count = self._series[values] = Count()
        return count

    def collect(self) -> Iterable[Metric]:
        """The current counts, for the registry."""
        family = CounterMetricFamily(
            self._name.removesuffix("_total"), self._documentation, labels=self._labels
        )
        for values, count in self._series.items():
            family.add_metric(values, count.value)
        yield family


class _Undeclared(Collector):
    """Registers a collector without declaring its names.

    ``holdgate_sessions`` (now) and ``holdgate_sessions_total`` (ever) are both wanted. In the text format
    they are two metrics; the registry would call them one, because OpenMetrics drops ``_total`` from the name
    of a family.
    """

    def __init__(self, collector: Collector, registry: CollectorRegistry) -> None:
        self._collector = collector
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        return self._collector.collect()


class _WithoutCreated(Collector):
    """A registry without the ``_created`` samples, which the text format would turn into stray gauges."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        for family in self._registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of the exposition."""

    name: str
    labels: dict[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Family:
    """One metric with all of its series. ``kind`` is Prometheus's word: counter, gauge or histogram."""

    name: str
    documentation: str
    kind: str
    samples: list[Sample]


def summed(families: Iterable[Family]) -> list[Family]:
    """Metrics of several processes as those of one gateway: added up, except where the greatest of all is meant."""
    known: dict[tuple[str, str], Family] = {}
    values: dict[tuple[str, str], dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for family in families:
        key = family.name, family.kind
        known.setdefault(key, family)
        series = values.setdefault(key, {})
        for sample in family.samples:
            at = sample.name, tuple(sample.labels.items())
            if family.name in _GREATEST:
                series[at] = max(series.get(at, sample.value), sample.value)
            else:
                series[at] = series.get(at, 0.0) + sample.value
    return [
        replace(
            family,
            samples=[Sample(name, dict(labels), value) for (name, labels), value in values[key].items()],
        )
        for key, family in known.items()
    ]


class _Collected(Collector):
    """Metrics that are plain values already, for the exposition."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        for family in self._families:
            metric = Metric(family.name, family.documentation, family.kind)
            for sample in family.samples:
                metric.add_sample(sample.name, sample.labels, sample.value)
            yield metric


class Metrics:
    """Every metric of one gateway.

    The attributes are the metrics under their names without ``holdgate_``. What is counted for each statement
    goes through methods, which keep the labelled children: looking one up costs more than counting.
    """

    def __init__(self, version: str = "") -> None:
        self.registry = registry = CollectorRegistry()
        self.sessions = Gauge("holdgate_sessions", "Client sessions open now.", registry=registry)
        self.sessions_total = Counter(
            "holdgate_sessions_total",
            "Client connections by how they ended or were refused.",
            ["outcome"],
            registry=None,
        )
        _Undeclared(self.sessions_total, registry)
        self.statements_total = Tally(
            "holdgate_statements_total", "Statements judged.", ["action", "verdict"], registry
        )
        self.statement_seconds = Histogram(
            "holdgate_statement_seconds",
            "Time the server took for a statement.",
            None,
            _STATEMENT_BUCKETS,
            registry,
        )
        self.overhead_seconds = Histogram(
            "holdgate_overhead_seconds",
            "The gateway's own time for a statement, without the wait for a decision.",
            None,
            _OVERHEAD_BUCKETS,
            registry,
        )
        self.classify_seconds = Histogram(
            "holdgate_classify_seconds",
            "Time to judge a statement, by verdict cache.",
            "cache",
            _CLASSIFY_BUCKETS,
            registry,
        )
        self.reader_seconds = Histogram(
            "holdgate_reader_seconds",
            "Time a reader took for a statement that was read outside of the event loop.",
            None,
            _STATEMENT_BUCKETS,
            registry,
        )
        self.reader_busy = Gauge("holdgate_reader_busy", "Readers at work.", registry=registry)
        self.reader_queued = Gauge(
            "holdgate_reader_queued", "Statements that wait for a reader.", registry=registry
        )
        self.reader_timeouts_total = Counter(
            "holdgate_reader_timeouts_total", "Statements that took a reader too long.", registry=registry
        )
        self.reader_deaths_total = Counter(
            "holdgate_reader_deaths_total",
            "Readers that died, of a statement or by themselves.",
            registry=registry,
        )
        self.reader_refused_total = Counter(
            "holdgate_reader_refused_total", "Statements no reader had time for.", registry=registry
        )
        self.holds = Gauge("holdgate_holds", "Holds now in this state.", ["state"], registry=registry)
        self.hold_wait_seconds = Histogram(
            "holdgate_hold_wait_seconds",
            "Time a held statement waited for its end.",
            None,
            _WAIT_BUCKETS,
            registry,
        )
        self.holds_resolved_total = Counter(
            "holdgate_holds_resolved_total", "Holds ended, by how.", ["state"], registry=registry
        )
        self.conflicts_total = Counter(
            "holdgate_conflicts_total",
            "Held statements that met another about the same people, or a legal hold, by what was done about it.",
            ["action"],
            registry=registry,
        )
        self.criteria_total = Counter(
            "holdgate_criteria_total",
            "Criteria of rules that were checked, by what came of them.",
            ["kind", "outcome"],
            registry=registry,
        )
        self.criterion_seconds = Histogram(
            "holdgate_criterion_seconds",
            "Time to ask a web service or the database whether a criterion is met.",
            "kind",
            _STATEMENT_BUCKETS,
            registry,
        )
        self.upstream_errors_total = Counter(
            "holdgate_upstream_errors_total", "Failures of server connections.", ["kind"], registry=registry
        )
        self.bytes_total = Tally("holdgate_bytes_total", "Bytes relayed.", ["direction"], registry)
        self.audit_queue = Gauge(
            "holdgate_audit_queue", "Audit records waiting to be written.", registry=registry
        )
        self.holds_queued = Gauge(
            "holdgate_holds_queued", "Approved statements that wait for room under a cap.", registry=registry
        )
        self.reviews_open = Gauge(
            "holdgate_reviews_open",
            "Statements that ran without an approval and that nobody has reviewed.",
            registry=registry,
        )
        self.store_up = Gauge(
            "holdgate_store_up",
            "Whether the store answers: 0 means that nothing can be held or decided.",
            registry=registry,
        )
        self.notifications_total = Counter(
            "holdgate_notifications_total",
            "Attempts to send a message, and messages given up, by channel.",
            ["channel", "outcome"],
            registry=None,
        )
        _Undeclared(self.notifications_total, registry)
        self.notifications = Gauge(
            "holdgate_notifications",
            "Messages in the outbox that wait to be sent, and those given up.",
            ["state"],
            registry=registry,
        )
        self.audit_lost_total = Counter(
            "holdgate_audit_lost_total",
            "Audit records that could not be written. Must stay 0.",
            registry=registry,
        )
        self.catalog_generation = Gauge(
            "holdgate_catalog_generation",
            "Number of the snapshot of a database's catalog; it goes up when definitions change.",
            ["database"],
            registry=registry,
        )
        self.catalog_age_seconds = Gauge(
            "holdgate_catalog_age_seconds",
            "Time since the snapshot was last compared with the database's catalog.",
            ["database"],
            registry=registry,
        )
        self.catalog_reload_seconds = Histogram(
            "holdgate_catalog_reload_seconds",
            "Time to read a whole catalog.",
            None,
            _STATEMENT_BUCKETS,
            registry,
        )
        self.catalog_refresh_seconds = Histogram(
            "holdgate_catalog_refresh_seconds",
            "Time to read what has changed in a catalog.",
            None,
            _STATEMENT_BUCKETS,
            registry,
        )
        self.catalog_mismatches_total = Counter(
            "holdgate_catalog_mismatches_total",
            "Snapshots that were not what reading the whole catalog showed. Must stay 0.",
            ["database"],
            registry=registry,
        )
        self.catalog_failures_total = Counter(
            "holdgate_catalog_failures_total",
            "Attempts to read or compare a catalog that failed.",
            ["database"],
            registry=registry,
        )
        self.workers_lost_total = Counter(
            "holdgate_workers_lost_total",
            "Worker processes that died and were replaced.",
            registry=registry,
        )
        self.build_info = Gauge(
            "holdgate_build_info", "What is running; always 1.", ["version", "python"], registry=registry
        )
        self.build_info.labels(version or "unknown", platform.python_version()).set(1)

        # Series exist from the start, at zero: an alert on a rate must not miss the first event.
        self._pending = self.holds.labels("pending")
        self._resolved = {state: self.holds_resolved_total.labels(state) for state in _HOLD_ENDS}
        self._to_upstream, self._to_client = (self.bytes_total.labels(direction) for direction in _DIRECTIONS)
        for action in _CONFLICTS:
            self.conflicts_total.labels(action)
        for kind in _ASKING:
            self.criterion_seconds.labels(kind)
            for outcome in _OUTCOMES:
                self.criteria_total.labels(kind, outcome)
        self._hit = self.classify_seconds.labels("hit")
        self._miss = self.classify_seconds.labels("miss")
        for state in ("waiting", "dead"):
            self.notifications.labels(state)

    def statement(self, action: str, verdict: str) -> None:
        """Count one judged statement: its main action and the verdict, both as lower-case words."""
        self.statements_total.labels(action, verdict).value += 1

    def statement_count(self, action: str, verdict: str) -> Count:
        """What ``statement`` counts with, for whoever counts many that are alike."""
        return self.statements_total.labels(action, verdict)

    def classified(self, seconds: float, *, hit: bool) -> None:
        """One judgement took ``seconds``; ``hit`` when the verdict came from the cache."""
        (self._hit if hit else self._miss).observe(seconds)

    def relayed(self, *, to_upstream: int = 0, to_client: int = 0) -> None:
        """That many bytes were passed on in each direction."""
        self._to_upstream.value += to_upstream
        self._to_client.value += to_client

    def hold_opened(self) -> None:
        """A statement began to wait."""
        self._pending.inc()

    def hold_resolved(self, state: str, waited: float) -> None:
        """A hold left ``pending`` for ``state`` after ``waited`` seconds.

        Raises KeyError for a state that is not an end.
        """
        self._resolved[state].inc()
        self._pending.dec()
        self.hold_wait_seconds.observe(waited)

    def forget_catalog(self, database: str) -> None:
        """The catalog of this database is not kept any more."""
        for metric in (
            self.catalog_generation,
            self.catalog_age_seconds,
            self.catalog_failures_total,
            self.catalog_mismatches_total,
        ):
            with contextlib.suppress(KeyError):
                metric.remove(database)

    def families(self) -> list[Family]:
        """All metrics as they are now, as plain values."""
        return [
            Family(
                family.name,
                family.documentation,
                family.type,
                [Sample(one.name, dict(one.labels), float(one.value)) for one in family.samples],
            )
            for family in _WithoutCreated(self.registry).collect()
        ]

    def render(self, more: Iterable[Family] = ()) -> tuple[bytes, str]:
        """The exposition text and its content type, as ``GET /metrics`` sends them.

        ``more`` is what other processes of the same gateway have counted.
        """
        return generate_latest(_Collected(summed([*self.families(), *more]))), CONTENT_TYPE
