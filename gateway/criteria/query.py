"""Asking the inspected database whether a criterion is met: one query, read-only, with values bound to it."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from gateway.catalog.inspector import Inspector, InspectorUnavailable
from gateway.catalog.read import AskError
from gateway.config import Config
from gateway.store import Hold
from gateway.upstream import Connector
from rules import CriterionOutcome, SqlCheck, SqlParameter

__all__ = ["Given", "Queries", "Unanswered"]

AT_ONCE: Final = 4
"""Connections for queries at the same moment; the others wait for their turn."""

_OPENING: Final = (
    "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
    "SET LOCAL lock_timeout = '1s'",
)
_TEXT: Final = 25
"""The OID of the type text."""

_ANSWERS: Final[Mapping[str | None, bool]] = {"t": True, "f": False, None: False}


class Unanswered(Exception):
    """A query cannot be asked, or does not answer with one true or false. The text says why."""


Given = Mapping[SqlParameter, str | None]
"""What the parameters of a query stand for."""


class Queries:
    """Asks by the ``inspect`` login."""

    def __init__(self, config: Callable[[], Config], connector: Connector) -> None:
        self._config = config
        self._connector = connector
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def ask(
        self, check: SqlCheck, hold: Hold, people: Collection[str] | None
    ) -> tuple[CriterionOutcome, str]:
        """Whether the query answers true, for each of ``people`` if it asks about them; ``unchecked`` where that cannot
        be told. It raises nothing; the caller limits the time."""
        given: dict[SqlParameter, str | None] = {
            "user": hold.user,
            "database": hold.database,
            "reason": hold.intent.reason,
            "ticket": hold.intent.ticket,
        }
        one_by_one: Sequence[str | None] = (None,)
        if "subject" in check.parameters:
            if people is None:
                return CriterionOutcome.UNCHECKED, "the statement does not say whose data it touches"
            if not people:
                return CriterionOutcome.UNMET, "the statement touches nobody"
            one_by_one = sorted(people)
        try:
            answers = await self.answers(
                check, hold.database, [{**given, "subject": person} for person in one_by_one]
            )
        except Unanswered as error:
            return CriterionOutcome.UNCHECKED, str(error)
        for person, answer in zip(one_by_one, answers, strict=True):
            who = "" if person is None else f" for {person}"
            if answer is None:
                return CriterionOutcome.UNMET, f"the query found nothing{who}"
            if not answer:
                return CriterionOutcome.UNMET, f"the query says no{who}"
        return CriterionOutcome.MET, ""

    async def answers(self, check: SqlCheck, database: str, given: Sequence[Given]) -> list[bool | None]:
        """What the query answers each time, None where it finds no row. Raises :class:`Unanswered`."""
        target = self._config().database(database)
        if target is None or target.inspect is None:
            raise Unanswered(f"database {database} has no inspect login")
        async with self._turns:
            try:
                login = await Inspector.connect(self._connector, target, database, "criterion")
                try:
                    limit = max(1, round(check.timeout * 1000))
                    await login.statements(*_OPENING, f"SET LOCAL statement_timeout = {limit}")
                    return [await _answer(login, check, values) for values in given]
                finally:
                    login.close()
            except (InspectorUnavailable, AskError) as error:
                raise Unanswered(f"it cannot be asked: {error}") from None


async def _answer(login: Inspector, check: SqlCheck, given: Given) -> bool | None:
    bound = [
        # The server finds out what a person's key is by what it is compared with.
        (0 if name == "subject" else _TEXT, 0, None if value is None else value.encode())
        for name, value in ((name, given.get(name)) for name in check.parameters)
    ]
    rows = await login.ask(check.query, bound, rows=2)
    if not rows:
        return None
    if len(rows) > 1 or len(rows[0]) != 1 or rows[0][0] not in _ANSWERS:
        raise Unanswered("the query does not answer with one true or false")
    return _ANSWERS[rows[0][0]]
