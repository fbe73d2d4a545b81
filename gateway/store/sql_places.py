"""Places under caps, counted once over all gateways that share the store.

Whoever needs places queues with all of them at once, and gets all of them at once as soon as there is room for each:
nobody keeps one while they wait for another. In front of everybody is who was approved first, and nobody passes
somebody who waits for the same place, so that nobody waits for ever and no two wait for each other.
Whatever makes room lets in who is next within the same transaction; transactions take turns.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    RowMapping,
    and_,
    cast,
    delete,
    insert,
    or_,
    select,
    type_coerce,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.store import schema
from gateway.store.places import Occupied, Place, Stand
from gateway.store.transactions import Transactions
from rules import Demand

__all__ = ["SqlPlaces"]

_PLACES_LOCK = 0x686F6C6467617468

_places = schema.places

_GIVEN_BACK = or_(_places.c.per.is_(None), _places.c.taken_at.is_(None))
"""What began in a span of time counts until that is over."""

_OVER = type_coerce(
    type_coerce(_places.c.taken_at, BigInteger) + cast(_places.c.per * 1_000_000, BigInteger), schema.Moment
)
"""When what began in a span of time does not count any more."""

_Spot = tuple[str, str]
"""A cap and a key."""


@dataclass(slots=True)
class _Row:
    """One place that somebody has or needs."""

    entry: str
    hold_id: str
    instance: str
    spot: _Spot
    most: int
    per: float | None
    since: datetime
    taken_at: datetime | None

    def counts(self, now: datetime) -> bool:
        """Whether it takes a place from others."""
        if self.taken_at is None:
            return False
        return self.per is None or now - self.taken_at < timedelta(seconds=self.per)


@dataclass(slots=True)
class _Room:
    """Everything under all caps."""

    now: datetime
    taken: dict[_Spot, list[_Row]] = field(default_factory=lambda: defaultdict(list))
    waiting: dict[str, list[_Row]] = field(default_factory=dict)
    """By entry, those in front first."""
    had: dict[str, list[_Row]] = field(default_factory=dict)

    def add(self, row: _Row) -> None:
        if row.taken_at is None:
            self.waiting.setdefault(row.entry, []).append(row)
        else:
            self.had.setdefault(row.entry, []).append(row)
            if row.counts(self.now):
                self.taken[row.spot].append(row)

    def let_in(self) -> list[str]:
        """Give places to whoever there is room for; the entries."""
        ahead: dict[_Spot, int] = defaultdict(int)
        let_in: list[str] = []
        for entry, rows in list(self.waiting.items()):
            if all(len(self.taken[row.spot]) + ahead[row.spot] < row.most for row in rows):
                let_in.append(entry)
                del self.waiting[entry]
                for row in rows:
                    row.taken_at = self.now
                    self.add(row)
            else:
                for row in rows:
                    ahead[row.spot] += 1
        return let_in

    def circle(self) -> str | None:
        """The entry that came last of those that wait in a circle, each for places that another one's transaction has
        and does not give back before it has got its own. None: there is no circle."""
        keep = {_session(row.entry) for rows in self.taken.values() for row in rows if row.per is None}
        waits = {_session(entry): entry for entry in self.waiting}
        if keep.isdisjoint(waits):
            return None
        stuck = set(waits)
        while freed := {one for one in stuck if self._will_end(waits[one], stuck)}:
            stuck -= freed
        circle = [entry for entry in self.waiting if _session(entry) in stuck & keep]
        return circle[-1] if circle else None

    def _will_end(self, entry: str, stuck: Container[str]) -> bool:
        """Whether there will be room for all that an entry needs, though ``stuck`` others keep what they have."""
        for row in self.waiting[entry]:
            kept = [one for one in self.taken[row.spot] if one.per is None and _session(one.entry) in stuck]
            others = [one for one in kept if _session(one.entry) != _session(entry)]
            if row.per is None and len(others) >= row.most:
                return False
        return True

    def stands(self, entries: Iterable[str]) -> list[Stand]:
        """How each of ``entries`` stands that is there."""
        wanted, last = set(entries), self.circle()
        of: dict[_Spot, int] = defaultdict(int)
        for rows in self.waiting.values():
            for row in rows:
                of[row.spot] += 1
        ahead: dict[_Spot, int] = defaultdict(int)
        found = [_stand(entry, rows, None) for entry, rows in self.had.items() if entry in wanted]
        for entry, rows in self.waiting.items():
            if entry in wanted:
                stand = _stand(entry, rows, self._place(rows, ahead, of))
                found.append(dataclasses.replace(stand, in_circle=entry == last))
            for row in rows:
                ahead[row.spot] += 1
        return found

    def _place(self, rows: Sequence[_Row], ahead: Mapping[_Spot, int], of: Mapping[_Spot, int]) -> Place:
        """Where it waits longest, of all that it waits for."""
        short = [row for row in rows if len(self.taken[row.spot]) + ahead[row.spot] >= row.most]
        row = max(short or rows, key=lambda one: ahead[one.spot])
        return Place(
            *row.spot, row.most, row.per, ahead[row.spot] + 1, of[row.spot], self._room_at(row, ahead)
        )

    def _room_at(self, row: _Row, ahead: Mapping[_Spot, int]) -> datetime | None:
        if row.per is None:
            return None
        began = sorted(one.taken_at for one in self.taken[row.spot] if one.taken_at is not None)
        last = len(began) + ahead[row.spot] - row.most
        return began[last] + timedelta(seconds=row.per) if 0 <= last < len(began) else None


def _session(entry: str) -> str:
    """Whose it is: a session's entries differ in what stands behind the last dot."""
    return entry.rpartition(".")[0] or entry


def _stand(entry: str, rows: Sequence[_Row], place: Place | None) -> Stand:
    return Stand(entry, rows[0].hold_id, place, sum(row.per is None for row in rows))


class SqlPlaces(Transactions):
    """See :class:`gateway.store.port.PlaceStore`."""

    async def line_up(
        self,
        entry: str,
        hold_id: str,
        demands: Sequence[Demand],
        *,
        instance: str,
        since: datetime,
        at: datetime,
        at_once: bool = False,
    ) -> Stand:
        """Queue, or take places at once."""
        async with self._write() as connection:
            await self._advisory(connection, _PLACES_LOCK)
            await connection.execute(delete(_places).where(_places.c.entry == entry, _GIVEN_BACK))
            rows = [
                {
                    "entry": entry,
                    "cap": demand.cap,
                    "key": demand.key,
                    "hold_id": hold_id,
                    "instance": instance,
                    "most": demand.most,
                    "per": demand.per,
                    "since": since,
                    "taken_at": at if at_once else None,
                }
                for demand in demands
            ]
            await connection.execute(insert(_places), rows)
            room = await self._let_in(connection, at)
            (stand,) = room.stands([entry])
            if stand.place is not None:
                await self._tell(connection, "queued", hold_id)
        return stand

    async def leave(self, entry: str, *, began: bool, at: datetime) -> None:
        """Give places back."""
        gone = _places.c.entry == entry
        if began:
            gone = and_(gone, _GIVEN_BACK)
        async with self._write() as connection:
            await self._advisory(connection, _PLACES_LOCK)
            if (await connection.execute(delete(_places).where(gone))).rowcount:
                await self._let_in(connection, at)

    async def stands(self, entries: Sequence[str], at: datetime) -> list[Stand]:
        """Let in whoever there is room for, and say how ``entries`` stand."""
        async with self._write() as connection:
            await self._advisory(connection, _PLACES_LOCK)
            return (await self._let_in(connection, at)).stands(entries)

    async def resize(self, sizes: Mapping[str, tuple[int, float | None]], at: datetime) -> None:
        """Caps are others now: whoever waits does so by the new ones."""
        async with self._write() as connection:
            await self._advisory(connection, _PLACES_LOCK)
            for cap, (most, per) in sizes.items():
                resized = update(_places).where(_places.c.cap == cap, _places.c.taken_at.is_(None))
                await connection.execute(resized.values(most=most, per=per))
            gone = and_(_places.c.taken_at.is_(None), _places.c.cap.not_in(list(sizes)))
            await connection.execute(delete(_places).where(gone))
            await self._let_in(connection, at)

    async def occupied(self, at: datetime) -> list[Occupied]:
        """Everybody who has or needs a place."""
        async with self._read() as connection:
            room = await self._room(connection, at)
        rows = [row for some in room.taken.values() for row in some]
        rows += [row for some in room.waiting.values() for row in some]
        spots: dict[_Spot, list[_Row]] = defaultdict(list)
        for row in rows:
            spots[row.spot].append(row)
        return [
            Occupied(
                *spot,
                some[-1].most,
                some[-1].per,
                tuple(row.hold_id for row in some if row.taken_at is not None),
                tuple(row.hold_id for row in some if row.taken_at is None),
            )
            for spot, some in sorted(spots.items())
        ]

    async def clear_places(self, at: datetime) -> None:
        """Nobody is there who could have or need a place."""
        async with self._write() as connection:
            await self._vacate(connection, _places.c.instance.is_not(None), at)

    async def _vacate(self, connection: AsyncConnection, whose: ColumnElement[bool], at: datetime) -> None:
        """Give back the places of gateways that are gone; what began in a span of time began."""
        await self._advisory(connection, _PLACES_LOCK)
        if (await connection.execute(delete(_places).where(whose, _GIVEN_BACK))).rowcount:
            await self._let_in(connection, at)

    async def _queued(
        self, connection: AsyncConnection, hold_ids: Sequence[str], at: datetime
    ) -> dict[str, Place]:
        """Where those of ``hold_ids`` wait that wait for room."""
        waits = select(_places.c.entry).where(_places.c.hold_id.in_(hold_ids), _places.c.taken_at.is_(None))
        entries = list(await connection.scalars(waits))
        if not entries:
            return {}
        stands = (await self._room(connection, at)).stands(entries)
        # A ticket may wait in several sessions; what counts is the one in front.
        return {one.hold_id: one.place for one in reversed(stands) if one.place is not None}

    async def _let_in(self, connection: AsyncConnection, at: datetime) -> _Room:
        await connection.execute(delete(_places).where(type_coerce(at, schema.Moment) >= _OVER))
        room = await self._room(connection, at)
        let_in = room.let_in()
        if let_in:
            change = update(_places).where(_places.c.entry.in_(let_in)).values(taken_at=at)
            await connection.execute(change)
            await self._tell(connection, "room", "")
        return room

    @staticmethod
    async def _room(connection: AsyncConnection, at: datetime) -> _Room:
        room = _Room(at)
        query = select(_places).order_by(_places.c.since, _places.c.entry, _places.c.cap, _places.c.key)
        for found in (await connection.execute(query)).mappings():
            room.add(_row(found))
        return room


def _row(found: RowMapping) -> _Row:
    return _Row(
        found["entry"],
        found["hold_id"],
        found["instance"],
        (found["cap"], found["key"]),
        found["most"],
        found["per"],
        found["since"],
        found["taken_at"],
    )
