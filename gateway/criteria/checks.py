"""Checking the criteria of one hold, those together that somebody has to be asked about."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from gateway import clock
from gateway.config import Config
from gateway.criteria.query import Queries
from gateway.criteria.webhook import WebChecks
from gateway.metrics import Metrics
from gateway.store import Hold
from gateway.upstream import Connector
from rules import Criterion, CriterionOutcome, Met

__all__ = ["Checks", "Subject"]

TURN_SECONDS: Final = 5.0
"""How long a query may wait for its turn beside others."""

STORE_SECONDS: Final = 10.0
"""After so much more nobody waits for what comes of it: whoever checks may be gone."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is checked: a hold, what came of its criteria so far, one for each, and the people whom it touches (None
    where that is not known)."""

    hold: Hold
    known: Sequence[Met]
    people: Collection[str] | None


class Checks:
    """Checks criteria for the sessions of one process."""

    def __init__(self, config: Callable[[], Config], connector: Connector, metrics: Metrics) -> None:
        self._config = config
        self._metrics = metrics
        self._web = WebChecks()
        self._queries = Queries(config, connector)

    def seconds_for(self, criteria: Sequence[Criterion]) -> float:
        """How long :meth:`outcomes` may take, and the store after it."""
        return (
            max((self._limit(one) for one in criteria if one.asks), default=0.0)
            + TURN_SECONDS
            + STORE_SECONDS
        )

    async def outcomes(self, criteria: Sequence[Criterion], subject: Subject) -> list[Met]:
        """What comes of each of ``criteria``, in their order. It takes no longer than :meth:`seconds_for` says."""
        asked = [
            self._ask(criterion, subject) if known.outcome is CriterionOutcome.CHECKING else _kept(known)
            for criterion, known in zip(criteria, subject.known, strict=True)
        ]
        return list(await asyncio.gather(*asked))

    def count(self, criterion: Criterion, met: Met) -> None:
        """Count what came of a criterion, once that is known."""
        if met.outcome is not CriterionOutcome.CHECKING:
            self._metrics.criteria_total.labels(criterion.kind, met.outcome.value).inc()

    def _limit(self, criterion: Criterion) -> float:
        if criterion.sql is not None:
            return criterion.sql.timeout
        service = self._config().checks.get(criterion.webhook or "")
        return 0.0 if service is None else service.timeout

    async def _ask(self, criterion: Criterion, subject: Subject) -> Met:
        limit = self._limit(criterion)
        wait = limit + (TURN_SECONDS if criterion.sql is not None else 0.0)
        began = clock.monotonic()
        try:
            async with asyncio.timeout(wait):
                outcome, why = await self._answer(criterion, subject)
        except TimeoutError:
            outcome, why = CriterionOutcome.UNCHECKED, f"there was no answer in {limit:g} s"
        self._metrics.criterion_seconds.labels(criterion.kind).observe(clock.monotonic() - began)
        return Met(criterion.text, outcome, why)

    async def _answer(self, criterion: Criterion, subject: Subject) -> tuple[CriterionOutcome, str]:
        if criterion.sql is not None:
            return await self._queries.ask(criterion.sql, subject.hold, subject.people)
        service = self._config().checks.get(criterion.webhook or "")
        if service is None:
            return CriterionOutcome.UNCHECKED, "it is not configured any more"
        return await self._web.ask(service, subject.hold)


async def _kept(known: Met) -> Met:
    return known
