"""The part of the storage port about authenticators."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, func, insert, literal, select, update

from gateway.store.records import TotpRecord
from gateway.store.schema import Moment, totp
from gateway.store.transactions import Transactions

__all__ = ["SqlTotp"]

FREE_FAILURES: Final = 5
LONGEST_BLOCK: Final = 300


class SqlTotp(Transactions):
    """See :class:`gateway.store.port.TotpStore`, which this class satisfies."""

    async def totp(self, user: str) -> TotpRecord | None:
        """The authenticator of ``user``."""
        async with self._read() as connection:
            row = (await connection.execute(select(totp).where(totp.c.user == user))).mappings().first()
        if row is None:
            return None
        return TotpRecord(
            row["user"], row["secret"], row["created_at"], row["confirmed_at"], row["last_step"]
        )

    async def begin_totp(self, record: TotpRecord) -> bool:
        """Keep an authenticator that is still to be confirmed; failed attempts stay counted."""
        values = {"secret": record.secret, "created_at": record.created_at}
        async with self._write() as connection:
            await self._advisory(connection, _LOCK)
            found = (
                (await connection.execute(select(totp).where(totp.c.user == record.user))).mappings().first()
            )
            if found is not None and found["confirmed_at"] is not None:
                return False
            if found is None:
                await connection.execute(insert(totp).values(user=record.user, **values))
            else:
                await connection.execute(update(totp).where(totp.c.user == record.user).values(values))
        return True

    async def try_totp(self, user: str, at: datetime) -> datetime | None:
        """Charge an attempt. After a few in a row each further one doubles the time until the next."""
        async with self._write() as connection:
            await self._advisory(connection, _LOCK)
            query = select(totp.c.failures, totp.c.blocked_until).where(totp.c.user == user)
            row = (await connection.execute(query)).first()
            if row is None:
                return None
            failures, blocked = row
            if blocked is not None and blocked > at:
                return blocked  # type: ignore[no-any-return]
            failures += 1
            over = failures - FREE_FAILURES
            until = at + timedelta(seconds=min(2 ** min(over, 16), LONGEST_BLOCK)) if over >= 0 else None
            change = update(totp).where(totp.c.user == user)
            await connection.execute(change.values(failures=failures, blocked_until=until))
        return None

    async def use_totp(self, user: str, step: int, at: datetime) -> bool:
        """Use the code of a time step."""
        use = (
            update(totp)
            .where(totp.c.user == user, totp.c.last_step < step)
            .values(
                last_step=step,
                failures=0,
                blocked_until=None,
                confirmed_at=func.coalesce(totp.c.confirmed_at, literal(at, Moment)),
            )
        )
        async with self._write() as connection:
            used = await connection.execute(use)
        return used.rowcount == 1

    async def remove_totp(self, user: str) -> bool:
        """Forget the authenticator of ``user``."""
        async with self._write() as connection:
            gone = await connection.execute(delete(totp).where(totp.c.user == user))
        return gone.rowcount == 1


_LOCK: Final = 0x686F6C6467617469
"""PostgreSQL's writers take turns by it, as SQLite's do anyway."""
