"""Asking the inspected database whether a criterion is met: one query, read-only, with values bound to it."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from gateway.catalog.inspector import Inspector, InspectorUnavailable
from gateway.catalog.read import AskError
from gateway.config import Config
from gateway.store import Hold
from gateway.upstream import Connector
from rules import CriterionOutcome, SqlCheck

__all__ = ["Queries"]

AT_ONCE: Final = 4
"""Connections for queries at the same moment; the others wait for their turn."""

_OPENING: Final = (
    "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
    "SET LOCAL lock_timeout = '1s'",
)
_TEXT: Final = 25
"""The OID of the type text."""

_ANSWERS: Final[Mapping[str | None, bool]] = {"t": True, "f": False, None: False}


class Queries:
    """Asks by the ``inspect`` login. What cannot be answered is ``unchecked``, with the reason; it raises nothing."""

    def __init__(self, config: Callable[[], Config], connector: Connector) -> None:
        self._config = config
        self._connector = connector
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def ask(
        self, check: SqlCheck, hold: Hold, people: Collection[str] | None
    ) -> tuple[CriterionOutcome, str]:
        """Whether the query answers true, for each of ``people`` if it asks about them. The caller limits the time."""
        one_by_one: Sequence[str | None] = (None,)
        if "subject" in check.parameters:
            if people is None:
                return CriterionOutcome.UNCHECKED, "the statement does not say whose data it touches"
            if not people:
                return CriterionOutcome.UNMET, "the statement touches nobody"
            one_by_one = sorted(people)
        database = self._config().database(hold.database)
        if database is None or database.inspect is None:
            return CriterionOutcome.UNCHECKED, f"database {hold.database} has no inspect login"
        async with self._turns:
            try:
                login = await Inspector.connect(self._connector, database, hold.database, "criterion")
                try:
                    limit = max(1, round(check.timeout * 1000))
                    await login.statements(*_OPENING, f"SET LOCAL statement_timeout = {limit}")
                    for person in one_by_one:
                        answer = await self._answer(login, check, hold, person)
                        if answer is not None:
                            return answer
                finally:
                    login.close()
            except (InspectorUnavailable, AskError) as error:
                return CriterionOutcome.UNCHECKED, f"it cannot be asked: {error}"
        return CriterionOutcome.MET, ""

    @staticmethod
    async def _answer(
        login: Inspector, check: SqlCheck, hold: Hold, person: str | None
    ) -> tuple[CriterionOutcome, str] | None:
        """What keeps the criterion from being met, None for true."""
        values = {
            "user": hold.user,
            "database": hold.database,
            "reason": hold.intent.reason,
            "ticket": hold.intent.ticket,
            "subject": person,
        }
        bound = [
            # The server finds out what a person's key is by what it is compared with.
            (
                0 if name == "subject" else _TEXT,
                0,
                None if values[name] is None else str(values[name]).encode(),
            )
            for name in check.parameters
        ]
        rows = await login.ask(check.query, bound, rows=2)
        who = "" if person is None else f" for {person}"
        if not rows:
            return CriterionOutcome.UNMET, f"the query found nothing{who}"
        if len(rows) > 1 or len(rows[0]) != 1 or rows[0][0] not in _ANSWERS:
            return CriterionOutcome.UNCHECKED, "the query does not answer with one true or false"
        return None if _ANSWERS[rows[0][0]] else (CriterionOutcome.UNMET, f"the query says no{who}")
