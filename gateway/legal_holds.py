"""Legal holds: people whose data must not be deleted, whoever approves it."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Final

from gateway.config import Config, LegalHold
from gateway.criteria.query import Given, Queries, Unanswered
from gateway.upstream import Connector
from rules import Act, Affected, SqlCheck

__all__ = ["LegalHolds"]

TURN_SECONDS: Final = 5.0
"""How long a query may wait for its turn beside others."""

People = Callable[[LegalHold], Affected]
"""What a legal hold is about, in a session's database; without people if only a query knows them."""


class LegalHolds:
    """Looks up whether a deletion may concern somebody under legal hold."""

    def __init__(self, config: Callable[[], Config], connector: Connector) -> None:
        self._config = config
        self._queries = Queries(config, connector)

    async def objection(
        self, database: str, user: str, affected: Sequence[Affected], people: People
    ) -> str | None:
        """Why this must not be deleted, in one sentence without a full stop; None where nothing is in the way.

        Who cannot be told from the statement may be under legal hold, and so may everybody about whom the database
        cannot be asked.
        """
        deleted = [one for one in affected if one.act is Act.DELETE]
        if not deleted:
            return None
        for hold in self._config().conflicts.legal_holds:
            of = people(hold)
            anybody = of if hold.check is None else replace(of, values=None)
            for one in deleted:
                if one.meets(anybody) and (why := await self._why(hold, of, one, database, user)):
                    return f"{why} ({hold.reason})"
        return None

    async def _why(
        self, hold: LegalHold, of: Affected, one: Affected, database: str, user: str
    ) -> str | None:
        column = hold.relation if of.kind is None else of.kind.column
        known = one.kind is not None and of.kind is not None and one.kind.same(of.kind)
        if not known or one.values is None:
            if hold.check is None and not hold.subjects:
                return None
            return (
                f"it may delete data of people under legal hold from {one.relation}, since it does not say whose it "
                f"deletes by {column}"
            )
        listed = one.values & (of.values or frozenset())
        if not listed and hold.check is not None:
            try:
                listed = await self._asked(hold.check, database, user, one.values)
            except Unanswered as error:
                return f"it cannot be told whether {hold.relation} has people under legal hold: {error}"
        return f"{column} {', '.join(sorted(listed))} is under legal hold" if listed else None

    async def _asked(
        self, check: SqlCheck, database: str, user: str, people: Collection[str]
    ) -> frozenset[str]:
        one_by_one = sorted(people)
        given: list[Given] = [
            {"user": user, "database": database, "subject": person} for person in one_by_one
        ]
        try:
            async with asyncio.timeout(check.timeout + TURN_SECONDS):
                answers = await self._queries.answers(check, database, given)
        except TimeoutError:
            raise Unanswered(f"there was no answer in {check.timeout:g} s") from None
        return frozenset(person for person, answer in zip(one_by_one, answers, strict=True) if answer)
