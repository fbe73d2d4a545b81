"""Grants, and what is used of them: counted once over all gateways, in the transaction that approves by them."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.store import schema
from gateway.store.grants import GrantRecord
from gateway.store.outbox import Change
from gateway.store.records import Decision, HoldState, Outcome
from gateway.store.rows import decision_values
from gateway.store.transactions import Transactions
from protocol import sqlstate

__all__ = ["SqlGrants"]

_grants, _holds, _decisions = schema.grants, schema.holds, schema.decisions


class SqlGrants(Transactions):
    """See :class:`gateway.store.port.GrantStore`."""

    async def grant(self, grant_id: str) -> GrantRecord | None:
        """One grant."""
        async with self._read() as connection:
            found = (await connection.execute(select(_grants).where(_grants.c.id == grant_id))).mappings()
            row = found.first()
        return None if row is None else _grant(row)

    async def grants(self) -> list[GrantRecord]:
        """All of them."""
        async with self._read() as connection:
            found = await connection.execute(select(_grants).order_by(_grants.c.id.desc()))
            return [_grant(row) for row in found.mappings()]

    async def grants_for(self, user: str, shapes: Sequence[str], at: datetime) -> list[GrantRecord]:
        """Those that fit, and are not over by themselves."""
        fits = select(_grants).where(
            _grants.c.shape.in_(shapes),
            _grants.c.user == user,
            _grants.c.revoked_at.is_(None),
            _grants.c.expires_at > at,
        )
        async with self._read() as connection:
            found = (await connection.execute(fits.order_by(_grants.c.id))).mappings()
            return [one for one in map(_grant, found) if one.over(at) is None]

    async def use_grant(
        self, grant_id: str, hold_id: str, decisions: Sequence[Decision], at: datetime
    ) -> bool:
        """Use a grant once, and approve a hold by it."""
        async with self._write() as connection:
            if await self._use(connection, grant_id, hold_id, decisions, at):
                await self._tell(connection, "resolved", hold_id)
                await self._announce_one(connection, Change.RESOLVED, hold_id)
                return True
        return False

    async def _use(
        self,
        connection: AsyncConnection,
        grant_id: str,
        hold_id: str,
        decisions: Sequence[Decision],
        at: datetime,
    ) -> bool:
        # Whoever looks at it waits until this one has been counted (SQLite has one writer anyway).
        one = select(_grants).where(_grants.c.id == grant_id).with_for_update()
        row = (await connection.execute(one)).mappings().first()
        grant = None if row is None else _grant(row)
        if grant is None or grant.over(at) is not None:
            return False
        rows = None if grant.rows is None else grant.rows - grant.rows_used
        approved = (
            update(_holds)
            .where(
                _holds.c.id == hold_id,
                _holds.c.state == HoldState.PENDING.value,
                _holds.c.expires_at > at,
                _holds.c.votes == 0,
            )
            .values(
                state=HoldState.APPROVED.value,
                resolved_at=at,
                votes=len(decisions),
                grant_id=grant_id,
                grant_rows=rows,
            )
        )
        if (await connection.execute(approved)).rowcount != 1:
            return False
        used = {"used": grant.used + 1, "rows_used": grant.rows_used + (rows or 0)}
        await connection.execute(update(_grants).where(_grants.c.id == grant_id).values(used))
        for number, decision in enumerate(decisions):
            most = [most for most in (decision.max_rows, rows) if most is not None]
            decided = dataclasses.replace(decision, max_rows=min(most, default=None))
            values = decision_values(decided)
            await connection.execute(insert(_decisions).values(hold_id=hold_id, number=number, **values))
        return True

    async def announce_ready(self, hold_id: str) -> None:
        """People are asked about a hold after all."""
        async with self._write() as connection:
            await self._announce_one(connection, Change.READY, hold_id)

    async def revoke_grant(self, grant_id: str, who: str, reason: str, at: datetime) -> bool:
        """Revoke a grant."""
        revoked = (
            update(_grants)
            .where(_grants.c.id == grant_id, _grants.c.revoked_at.is_(None))
            .values(revoked_at=at, revoked_by=who, revoke_reason=reason)
        )
        async with self._write() as connection:
            return (await connection.execute(revoked)).rowcount == 1

    async def _keep_grant(self, connection: AsyncConnection, grant: GrantRecord) -> None:
        await connection.execute(insert(_grants).values(dataclasses.asdict(grant)))

    async def _give_back_unused(self, connection: AsyncConnection, hold_ids: Sequence[str]) -> None:
        """Holds ended before they ran: what they had of grants was not used."""
        by_grant = select(_holds.c.grant_id, _holds.c.grant_rows).where(
            _holds.c.id.in_(hold_ids), _holds.c.grant_id.is_not(None), _holds.c.released_at.is_(None)
        )
        for grant_id, rows in (await connection.execute(by_grant)).all():
            back = update(_grants).where(_grants.c.id == grant_id, _grants.c.used > 0)
            await connection.execute(
                back.values(used=_grants.c.used - 1, rows_used=_grants.c.rows_used - (rows or 0))
            )

    async def _settle_rows(self, connection: AsyncConnection, hold_id: str, outcome: Outcome) -> None:
        """A statement ended: of the rows that were kept for it, those that it did not change are there again."""
        kept = select(_holds.c.grant_id, _holds.c.grant_rows).where(
            _holds.c.id == hold_id, _holds.c.grant_rows.is_not(None)
        )
        row = (await connection.execute(kept)).first()
        if row is None or outcome.sqlstate == sqlstate.CONNECTION_FAILURE:
            # It may have changed all that it was allowed to.
            return
        changed = 0 if outcome.sqlstate is not None else outcome.rows or 0
        left = max(0, row.grant_rows - changed)
        back = update(_grants).where(_grants.c.id == row.grant_id)
        await connection.execute(back.values(rows_used=_grants.c.rows_used - left))


def _grant(row: RowMapping) -> GrantRecord:
    values: dict[str, Any] = dict(row)
    for name in ("groups", "rules", "approved_by"):
        values[name] = tuple(values[name])
    return GrantRecord(**values)
