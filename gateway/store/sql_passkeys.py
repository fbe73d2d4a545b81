"""The part of the storage port about passkeys."""

from datetime import datetime

from sqlalchemy import RowMapping, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from gateway.store.records import PasskeyRecord
from gateway.store.schema import challenges, passkeys
from gateway.store.transactions import Transactions

__all__ = ["SqlPasskeys"]


class SqlPasskeys(Transactions):
    """See :class:`gateway.store.port.PasskeyStore`, which this class satisfies."""

    async def add_passkey(self, record: PasskeyRecord) -> bool:
        """Keep a passkey, unless its id is known."""
        values = {
            "id": record.id,
            "user": record.user,
            "public_key": record.public_key,
            "sign_count": record.sign_count,
            "label": record.label,
            "created_at": record.created_at,
        }
        async with self._write() as connection:
            try:
                await connection.execute(insert(passkeys).values(values))
            except IntegrityError:
                await connection.rollback()
                return False
        return True

    async def passkey(self, passkey_id: str) -> PasskeyRecord | None:
        """The passkey with this id."""
        async with self._read() as connection:
            rows = await connection.execute(select(passkeys).where(passkeys.c.id == passkey_id))
            row = rows.mappings().first()
        return None if row is None else _passkey(row)

    async def passkeys(self, user: str) -> list[PasskeyRecord]:
        """Those of ``user``, oldest first."""
        query = select(passkeys).where(passkeys.c.user == user).order_by(passkeys.c.created_at, passkeys.c.id)
        async with self._read() as connection:
            return [_passkey(row) for row in (await connection.execute(query)).mappings()]

    async def use_passkey(self, passkey_id: str, sign_count: int, at: datetime) -> bool:
        """Note a use: the counter goes up, or there is none."""
        counts = passkeys.c.sign_count < sign_count
        if sign_count == 0:
            counts = passkeys.c.sign_count == 0
        use = (
            update(passkeys)
            .where(passkeys.c.id == passkey_id, counts)
            .values(sign_count=sign_count, used_at=at)
        )
        async with self._write() as connection:
            used = await connection.execute(use)
        return used.rowcount == 1

    async def remove_passkey(self, user: str, passkey_id: str) -> bool:
        """Forget one of ``user``."""
        gone = delete(passkeys).where(passkeys.c.id == passkey_id, passkeys.c.user == user)
        async with self._write() as connection:
            removed = await connection.execute(gone)
        return removed.rowcount == 1

    async def add_challenge(self, digest: str, user: str, expires_at: datetime) -> None:
        """Remember a challenge."""
        async with self._write() as connection:
            await connection.execute(
                insert(challenges).values(digest=digest, user=user, expires_at=expires_at)
            )

    async def use_challenge(self, digest: str, at: datetime) -> str | None:
        """Whose challenge it is, once."""
        use = (
            delete(challenges)
            .where(challenges.c.digest == digest, challenges.c.expires_at > at)
            .returning(challenges.c.user)
        )
        async with self._write() as connection:
            user: str | None = await connection.scalar(use)
            await connection.execute(delete(challenges).where(challenges.c.expires_at <= at))
        return user


def _passkey(row: RowMapping) -> PasskeyRecord:
    return PasskeyRecord(
        id=row["id"],
        user=row["user"],
        public_key=row["public_key"],
        sign_count=row["sign_count"],
        label=row["label"],
        created_at=row["created_at"],
        used_at=row["used_at"],
    )
