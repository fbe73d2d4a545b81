"""The outbox: the part of the storage port about messages that wait to be sent."""

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, and_, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.ids import Ulids
from gateway.store.outbox import Announce, Change, Message, MessageState, Note
from gateway.store.records import Hold
from gateway.store.schema import outbox
from gateway.store.transactions import Transactions

__all__ = ["SqlOutbox"]

_SECOND: Final = 1_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ERROR_LENGTH: Final = 500

_WAITING = outbox.c.state == MessageState.WAITING.value


class SqlOutbox(Transactions):
    """See :class:`gateway.store.outbox.OutboxStore`, which this class satisfies."""

    def __init__(self) -> None:
        self._announce: Announce | None = None
        self._message_ids = Ulids()

    @property
    @abstractmethod
    def _server_clock(self) -> ColumnElement[int]:
        """Now, in microseconds, as the server of the store has it."""

    def announce_by(self, announce: Announce | None) -> None:
        """Ask ``announce`` for the messages of every change."""
        self._announce = announce

    @property
    def announces(self) -> bool:
        """Whether changes are told to anybody: if not, holds need not be loaded for it."""
        return self._announce is not None

    async def announced(self, connection: AsyncConnection, change: Change, holds: Sequence[Hold]) -> None:
        """Write the messages that ``change`` takes, inside the transaction that makes it."""
        if self._announce is None:
            return
        now = self._server_clock
        for hold in holds:
            if change is Change.RESOLVED:
                await connection.execute(_overtaken(hold.id, now))
            for note in self._announce(change, hold):
                due = now + round(note.after * _SECOND)
                if change is Change.READY and await self._hastened(connection, hold.id, note, due):
                    continue
                await connection.execute(
                    insert(outbox).values(
                        id=self._message_ids.next(),
                        hold_id=hold.id,
                        channel=note.channel,
                        event=note.event,
                        stage=note.stage,
                        state=MessageState.WAITING.value,
                        created_at=now,
                        due_at=due,
                    )
                )

    async def _hastened(
        self, connection: AsyncConnection, hold_id: str, note: Note, due: ColumnElement[int]
    ) -> bool:
        """Whether a message was written for later, in case nothing came of what had to come first: its time is now."""
        same = and_(
            outbox.c.hold_id == hold_id,
            outbox.c.channel == note.channel,
            outbox.c.event == note.event,
            outbox.c.stage == note.stage,
        )
        if await connection.scalar(select(outbox.c.id).where(same).limit(1)) is None:
            return False
        await connection.execute(
            update(outbox)
            .where(same, _WAITING, outbox.c.attempts == 0, outbox.c.due_at > due)
            .values(due_at=due)
        )
        return True

    async def claim_messages(self, channel: str, *, limit: int, lease: float) -> list[Message]:
        """Take messages that are due."""
        now = self._server_clock
        due = and_(
            _WAITING, outbox.c.channel == channel, outbox.c.due_at <= now, outbox.c.claimed_until <= now
        )
        async with self._read() as connection:
            # SQLite has one writer; most looks find nothing and need not be it.
            if await connection.scalar(select(outbox.c.id).where(due).limit(1)) is None:
                return []
        older = outbox.alias("older")
        first = ~(
            select(older.c.id)
            .where(
                older.c.hold_id == outbox.c.hold_id,
                older.c.channel == outbox.c.channel,
                older.c.id < outbox.c.id,
                older.c.state == MessageState.WAITING.value,
                or_(older.c.due_at <= now, older.c.claimed_until > now),
            )
            .exists()
        )
        chosen = (
            select(outbox.c.id)
            .where(due, first)
            .order_by(outbox.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        async with self._write() as connection:
            ids = list(await connection.scalars(chosen))
            if not ids:
                return []
            take = (
                update(outbox)
                .where(outbox.c.id.in_(ids))
                .values(claimed_until=now + round(lease * _SECOND), attempts=outbox.c.attempts + 1)
            )
            await connection.execute(take)
            rows = await connection.execute(select(outbox).where(outbox.c.id.in_(ids)).order_by(outbox.c.id))
            return [_message(row) for row in rows.mappings()]

    async def message_sent(self, message: Message, receipt: Mapping[str, str] | None) -> bool:
        """Note that it was sent."""
        return await self._finish(
            message,
            state=MessageState.SENT.value,
            finished_at=self._server_clock,
            error=None,
            receipt=None if receipt is None else dict(receipt),
        )

    async def message_failed(
        self, message: Message, error: str, *, retry: float | None, state: MessageState = MessageState.DEAD
    ) -> bool:
        """Note why it was not sent."""
        now = self._server_clock
        values: dict[str, Any] = {"error": error[:_ERROR_LENGTH]}
        if retry is None:
            values |= {"state": state.value, "finished_at": now}
        else:
            values |= {"due_at": now + round(retry * _SECOND)}
        return await self._finish(message, **values)

    async def release_messages(self) -> None:
        """End every lease."""
        async with self._write() as connection:
            await connection.execute(update(outbox).where(_WAITING).values(claimed_until=0))

    async def receipts(self, hold_id: str, channel: str) -> list[Mapping[str, str]]:
        """What a channel said of what it was sent."""
        query = (
            select(outbox.c.receipt)
            .where(
                outbox.c.hold_id == hold_id,
                outbox.c.channel == channel,
                outbox.c.state == MessageState.SENT.value,
                outbox.c.receipt.is_not(None),
            )
            .order_by(outbox.c.id)
        )
        async with self._read() as connection:
            found = list(await connection.scalars(query))
        return [receipt for receipt in found if receipt]

    async def messages(
        self, *, state: MessageState | None, limit: int, before: str | None = None
    ) -> list[Message]:
        """The newest first."""
        query = select(outbox).order_by(outbox.c.id.desc()).limit(limit)
        if state is not None:
            query = query.where(outbox.c.state == state.value)
        if before is not None:
            query = query.where(outbox.c.id < before)
        async with self._read() as connection:
            return [_message(row) for row in (await connection.execute(query)).mappings()]

    async def count_messages(self) -> dict[MessageState, int]:
        """How many are waiting, and how many are dead."""
        counted = (MessageState.WAITING, MessageState.DEAD)
        query = (
            select(outbox.c.state, func.count())
            .where(outbox.c.state.in_([state.value for state in counted]))
            .group_by(outbox.c.state)
        )
        async with self._read() as connection:
            found = {MessageState(state): count for state, count in await connection.execute(query)}
        return {state: found.get(state, 0) for state in counted}

    async def revive_message(self, message_id: str) -> bool:
        """Send a dead message anew."""
        change = (
            update(outbox)
            .where(outbox.c.id == message_id, outbox.c.state == MessageState.DEAD.value)
            .values(
                state=MessageState.WAITING.value,
                attempts=0,
                due_at=self._server_clock,
                claimed_until=0,
                finished_at=None,
            )
        )
        async with self._write() as connection:
            revived: int = (await connection.execute(change)).rowcount
        return revived == 1

    async def tidy_messages(self, channels: Collection[str], *, orphaned: float, kept: float) -> None:
        """Give up what nobody sends, and forget what ended long ago."""
        now = self._server_clock
        lost = and_(
            _WAITING,
            outbox.c.channel.not_in(list(channels)),
            outbox.c.due_at <= now - round(orphaned * _SECOND),
        )
        given_up = {
            "state": MessageState.DEAD.value,
            "finished_at": now,
            "error": "no gateway has this channel",
        }
        async with self._write() as connection:
            await connection.execute(update(outbox).where(lost).values(given_up))
            await connection.execute(
                delete(outbox).where(outbox.c.finished_at <= now - round(kept * _SECOND))
            )

    async def _finish(self, message: Message, **values: Any) -> bool:
        """Change a message that is still under way by the same attempt."""
        change = (
            update(outbox)
            .where(outbox.c.id == message.id, _WAITING, outbox.c.attempts == message.attempts)
            .values(claimed_until=0, **values)
        )
        async with self._write() as connection:
            changed: int = (await connection.execute(change)).rowcount
        return changed == 1


def _overtaken(hold_id: str, now: ColumnElement[int]) -> Any:
    """Messages of a hold that has ended before their time came."""
    return (
        update(outbox)
        .where(outbox.c.hold_id == hold_id, _WAITING, outbox.c.attempts == 0, outbox.c.due_at > now)
        .values(state=MessageState.DROPPED.value, finished_at=now, error="the hold has ended before")
    )


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _message(row: RowMapping) -> Message:
    finished = row["finished_at"]
    return Message(
        id=row["id"],
        hold_id=row["hold_id"],
        channel=row["channel"],
        event=row["event"],
        stage=row["stage"],
        state=MessageState(row["state"]),
        attempts=row["attempts"],
        created_at=_moment(row["created_at"]),
        due_at=_moment(row["due_at"]),
        finished_at=None if finished is None else _moment(finished),
        error=row["error"],
        receipt=row["receipt"],
    )
