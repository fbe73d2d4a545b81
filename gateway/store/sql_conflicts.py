"""Holds that concern the same people, found in the transaction that opens one and asked for in the one that uses it.

Both take turns with each other over all gateways, so that of two that come at the same moment the later one sees the
other, whichever that is, and a deletion is used either before an export was asked for or after it has ended.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, false, insert, or_, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.store import schema
from gateway.store.concerns import Concern
from gateway.store.port import ConflictFound, MustWait
from gateway.store.records import Conflict, Hold, HoldState
from gateway.store.transactions import Transactions
from rules import Affected, ConflictAction, ConflictKind, Kind
from rules.conflicts import ANY, KINDS, Act, can_be_ordered

__all__ = ["SqlConflicts"]

MAX_PAST: Final = 20
"""Holds that have ended and are told of, the youngest."""
MAX_LOOKED_AT: Final = 2_000
"""Holds that have ended and are looked at, the last ones."""
_PORTION: Final = 500
MAX_ABOUT: Final = 10
SILENT_SECONDS: Final = 15.0
"""A gateway that has said nothing for so long is dead: what it ran has ended, whatever became of it."""

_holds, _touches, _conflicts, _gateways = schema.holds, schema.touches, schema.conflicts, schema.gateways

_WAITS: Final = or_(
    _holds.c.state == HoldState.PENDING.value,
    and_(_holds.c.state == HoldState.APPROVED.value, _holds.c.released_at.is_(None)),
)
_RUNS: Final = and_(_holds.c.released_at.is_not(None), _holds.c.finished == 0)

_UNFINISHED: Final = and_(
    _holds.c.state.in_([HoldState.PENDING.value, HoldState.APPROVED.value]), _holds.c.finished == 0
)
"""What waits or runs, and what ran at gateways that died meanwhile."""

_LATER_WAITS: Final = [ConflictKind.EXPORT_THEN_DELETE.value, ConflictKind.DELETE_TWICE.value]


@dataclass(slots=True)
class _Other:
    """Another hold, with what of it concerns whom."""

    user: str
    state: HoldState
    lives: bool
    affected: dict[tuple[Act, str, Kind | None], set[str] | None] = field(default_factory=dict)

    def add(self, row: Mapping[str, Any]) -> None:
        kind = None if row["kind"] is None else Kind(row["kind"], row["rooted"])
        key = (Act(row["act"]), row["relation"], kind)
        known = self.affected.setdefault(key, set())
        if row["value"] is None:
            self.affected[key] = None
        elif known is not None:
            known.add(row["value"])

    def all(self) -> Iterable[Affected]:
        for (act, relation, kind), values in self.affected.items():
            yield Affected(act, relation, kind, None if values is None else frozenset(values))


class SqlConflicts(Transactions):
    """Finds conflicts, keeps them, and says who has to wait for whom."""

    async def _meet(self, connection: AsyncConnection, hold: Hold, concern: Concern) -> tuple[Conflict, ...]:
        """Find what conflicts with a new hold. Raises :class:`ConflictFound` where it may not be opened."""
        if not concern.affected:
            return ()
        found: list[Conflict] = []
        others = await self._others(connection, hold, concern)
        exporting = await self._exporting(connection, others)
        exports = any(one.act is Act.EXPORT for one in concern.affected)
        for other_id, other in others.items():
            about: defaultdict[ConflictKind, dict[str, None]] = defaultdict(dict)
            for mine in concern.affected:
                for theirs in other.all():
                    kind = KINDS.get((theirs.act, mine.act))
                    if kind is not None and mine.meets(theirs):
                        about[kind].update(dict.fromkeys(mine.about(theirs)))
            for kind, texts in about.items():
                action = concern.action(kind)
                if action is ConflictAction.ORDER and not can_be_ordered(
                    kind, earlier_exports=other_id in exporting, later_exports=exports
                ):
                    action = ConflictAction.WARN
                found.append(
                    Conflict(
                        kind=kind,
                        action=action,
                        other=other_id,
                        user=other.user,
                        state=other.state,
                        earlier=True,
                        ended=not other.lives,
                        about=tuple(texts)[:MAX_ABOUT],
                    )
                )
        blocking = [one for one in found if one.action is ConflictAction.BLOCK]
        if blocking:
            raise ConflictFound(blocking)
        return tuple(found)

    async def _keep(
        self, connection: AsyncConnection, hold: Hold, concern: Concern, found: Sequence[Conflict]
    ) -> None:
        """Keep whose data a hold is about that was just added, and what it conflicts with."""
        rows: list[dict[str, object]] = []
        for one in concern.affected:
            values: Iterable[str | None] = (None,) if one.values is None else sorted(one.values)
            rows += [
                {
                    "hold_id": hold.id,
                    "place": concern.place,
                    "act": one.act.value,
                    "relation": one.relation,
                    "kind": None if one.kind is None else one.kind.name,
                    "rooted": one.kind is not None and one.kind.rooted,
                    "column": None if one.kind is None else one.kind.column.lower(),
                    "value": value,
                }
                for value in values
            ]
        for number, row in enumerate(rows):
            row["number"] = number
        if rows:
            await connection.execute(insert(_touches), rows)
        if found:
            await connection.execute(
                insert(_conflicts),
                [
                    {
                        "later_id": hold.id,
                        "earlier_id": one.other,
                        "kind": one.kind.value,
                        "action": one.action.value,
                        "about": list(one.about),
                    }
                    for one in found
                ],
            )

    async def _others(self, connection: AsyncConnection, hold: Hold, concern: Concern) -> dict[str, _Other]:
        """Everybody else who may be concerned: all who wait or run, and the youngest who have ended."""
        lives = self._lives(hold.instance)
        since = hold.opened_at - timedelta(seconds=concern.window)
        near = (
            select(_touches, _holds.c.user, _holds.c.state)
            .join(_holds, _holds.c.id == _touches.c.hold_id)
            .where(
                _touches.c.place == concern.place,
                _may_meet(concern.affected),
                or_(_holds.c.session_id != hold.session_id, _holds.c.released_at.is_(None)),
            )
        )
        # Of those whose end nobody saw, some ran at gateways that are dead.
        open_ones = near.add_columns(lives.label("lives")).where(
            _UNFINISHED, or_(lives, _holds.c.released_at > since)
        )
        rows = [dict(row) for row in (await connection.execute(open_ones)).mappings()]
        youngest: list[str] = []
        for some in await self._ended_since(connection, since):
            met = near.with_only_columns(_touches.c.hold_id).where(_touches.c.hold_id.in_(some))
            youngest += sorted(set(await connection.scalars(met)), reverse=True)
            if len(youngest) >= MAX_PAST:
                break
        past = near.add_columns(false().label("lives")).where(_touches.c.hold_id.in_(youngest[:MAX_PAST]))
        rows += [dict(row) for row in (await connection.execute(past)).mappings()]
        others: dict[str, _Other] = {}
        for row in rows:
            other = others.get(row["hold_id"])
            if other is None:
                other = _Other(row["user"], HoldState(row["state"]), bool(row["lives"]))
                others[row["hold_id"]] = other
            other.add(row)
        return others

    @staticmethod
    async def _ended_since(connection: AsyncConnection, since: datetime) -> list[list[str]]:
        """The holds that have ended since then, the last ones first, in portions.

        Asked for by themselves: joined, a server may rather look through all that ever were.
        """
        ended = select(_holds.c.id).where(_holds.c.finished_at > since)
        latest = ended.order_by(_holds.c.finished_at.desc()).limit(MAX_LOOKED_AT)
        ids = list(await connection.scalars(latest))
        return [ids[start : start + _PORTION] for start in range(0, len(ids), _PORTION)]

    @staticmethod
    async def _exporting(connection: AsyncConnection, ids: Collection[str]) -> frozenset[str]:
        """Those of ``ids`` that export anything, of whomever."""
        if not ids:
            return frozenset()
        query = select(_touches.c.hold_id).where(
            _touches.c.hold_id.in_(ids), _touches.c.act == Act.EXPORT.value
        )
        return frozenset(await connection.scalars(query))

    async def _deletes(self, hold_id: str) -> bool:
        """Whether a hold deletes anybody's data: nothing else ever waits for its turn."""
        query = select(_touches.c.hold_id).where(
            _touches.c.hold_id == hold_id, _touches.c.act == Act.DELETE.value
        )
        async with self._read() as connection:
            return (await connection.scalar(query.limit(1))) is not None

    async def waits_for(self, hold_id: str, *, instance: str) -> list[str]:
        """What has to end before this may run."""
        async with self._read() as connection:
            return await self._waits_for(connection, hold_id, instance)

    async def _mind_order(self, connection: AsyncConnection, hold_id: str, instance: str) -> None:
        """Raises :class:`MustWait` while something has to end before this may run."""
        others = await self._waits_for(connection, hold_id, instance)
        if others:
            raise MustWait(others)

    async def _waits_for(self, connection: AsyncConnection, hold_id: str, instance: str) -> list[str]:
        first = or_(
            and_(
                _conflicts.c.later_id == hold_id,
                _conflicts.c.earlier_id == _holds.c.id,
                _conflicts.c.kind.in_(_LATER_WAITS),
            ),
            and_(
                _conflicts.c.earlier_id == hold_id,
                _conflicts.c.later_id == _holds.c.id,
                _conflicts.c.kind.not_in(_LATER_WAITS),
            ),
        )
        query = (
            select(_holds.c.id)
            .join(_conflicts, first)
            .where(_conflicts.c.action == ConflictAction.ORDER.value, self._lives(instance))
            .order_by(_holds.c.id)
        )
        return list(dict.fromkeys(await connection.scalars(query)))

    def _lives(self, instance: str) -> ColumnElement[bool]:
        """Whether a hold waits, or its statement runs at a gateway that is alive; ``instance`` is."""
        alive: ColumnElement[bool] = _holds.c.instance == instance
        if not self._sqlite:
            latest = self._server_clock - round(SILENT_SECONDS * 1_000_000)
            beating = select(_gateways.c.instance).where(_gateways.c.seen_at >= latest)
            alive = or_(alive, _holds.c.instance.in_(beating))
        return or_(_WAITS, and_(_RUNS, alive))

    async def _conflicts_of(
        self, connection: AsyncConnection, ids: Sequence[str]
    ) -> dict[str, tuple[Conflict, ...]]:
        """The conflicts of each of ``ids`` that has any, with the other holds as they are now."""
        found: defaultdict[str, list[Conflict]] = defaultdict(list)
        for mine, other, earlier in (
            (_conflicts.c.later_id, _conflicts.c.earlier_id, True),
            (_conflicts.c.earlier_id, _conflicts.c.later_id, False),
        ):
            ended = ~or_(_WAITS, _RUNS)
            query = (
                select(
                    mine.label("mine"),
                    _conflicts.c.kind,
                    _conflicts.c.action,
                    _conflicts.c.about,
                    _holds.c.id,
                    _holds.c.user,
                    _holds.c.state,
                    ended.label("ended"),
                )
                .join(_holds, _holds.c.id == other)
                .where(mine.in_(ids))
                .order_by(_holds.c.id, _conflicts.c.kind)
            )
            for row in (await connection.execute(query)).mappings():
                found[row["mine"]].append(
                    Conflict(
                        kind=ConflictKind(row["kind"]),
                        action=ConflictAction(row["action"]),
                        other=row["id"],
                        user=row["user"],
                        state=HoldState(row["state"]),
                        earlier=earlier,
                        ended=bool(row["ended"]),
                        about=tuple(row["about"]),
                    )
                )
        return {hold_id: tuple(some) for hold_id, some in found.items()}


def _may_meet(affected: Sequence[Affected]) -> ColumnElement[bool]:
    """Whether a row of another hold may concern one of these; what it says exactly is compared afterwards."""
    ways: list[ColumnElement[bool]] = [false()]
    for one in affected:
        if one.relation.endswith(ANY):
            return true()
        ways.append(_touches.c.relation.like(f"%{ANY}"))
        if one.kind is None:
            ways.append(_touches.c.relation == one.relation)
            continue
        same = _touches.c.column == one.kind.column.lower()
        other = or_(_touches.c.column.is_(None), _touches.c.column != one.kind.column.lower())
        ways.append(and_(_touches.c.relation == one.relation, other))
        if one.values is not None:
            same = and_(same, or_(_touches.c.value.is_(None), _touches.c.value.in_(one.values)))
        ways.append(same)
    return or_(*ways)
