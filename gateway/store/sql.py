"""The storage port on SQLAlchemy Core: one code for SQLite and PostgreSQL."""

import asyncio
import contextlib
import dataclasses
import fcntl
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    and_,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
    true,
    type_coerce,
    update,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway import clock
from gateway.store import schema
from gateway.store.concerns import Concern
from gateway.store.engine import COMMAND_SECONDS, WRITE, make_engine, migrate
from gateway.store.grants import GrantRecord
from gateway.store.listening import CHANNEL, listen
from gateway.store.outbox import Change
from gateway.store.port import HoldLimit, StoreInUse, StoreUnavailable
from gateway.store.records import (
    BREAK_GLASS,
    Confirmation,
    Decision,
    Hold,
    HoldState,
    Outcome,
    Review,
    TokenRecord,
)
from gateway.store.rows import decision_of, decision_values, hold_of, hold_values, token_of
from gateway.store.sql_conflicts import SqlConflicts
from gateway.store.sql_grants import SqlGrants
from gateway.store.sql_outbox import SqlOutbox
from gateway.store.sql_passkeys import SqlPasskeys
from gateway.store.sql_people import SqlPeople
from gateway.store.sql_places import SqlPlaces
from gateway.store.sql_totp import SqlTotp

__all__ = ["SqlStore", "open_store"]

logger = logging.getLogger(__name__)

_SCHEMA_LOCK = 0x686F6C6467617466
_LIMIT_LOCK = _SCHEMA_LOCK + 1

_ONE_GATEWAY = "; stop it, or set store.url to a store of this gateway's own"

_CHUNK = 500
"""Ids in one query; both databases cap the number of parameters."""

_holds, _decisions, _tokens, _codes = schema.holds, schema.decisions, schema.tokens, schema.codes
_gateways, _places = schema.gateways, schema.places

_UNREVIEWED = and_(_holds.c.break_glass, _holds.c.reviewed_at.is_(None))
_OPEN = or_(
    _holds.c.state == HoldState.PENDING.value,
    and_(_holds.c.state == HoldState.APPROVED.value, _holds.c.released_at.is_(None)),
)

_UNUSED = and_(_holds.c.state == HoldState.APPROVED.value, _holds.c.released_at.is_(None))
_UNDECIDED = "nobody decided in time"

_UNTIL = type_coerce(
    type_coerce(_holds.c.resolved_at, BigInteger)
    + type_coerce(_holds.c.expires_at, BigInteger)
    - type_coerce(_holds.c.opened_at, BigInteger),
    schema.Moment,
)
"""As long after its decision as a hold could wait for it: so long a ticket can be used, and so long a no counts."""


async def open_store(url: str) -> "SqlStore":
    """Open the store at ``url`` and bring its schema up to date.

    Raises :class:`StoreUnavailable` with one line that says what is wrong.
    """
    try:
        engine = make_engine(url)
    except (ValueError, SQLAlchemyError, OSError) as error:
        raise StoreUnavailable(_reason(error)) from error
    # Signs of life do not queue behind a hundred holds that open at once.
    aside = make_engine(url) if engine.dialect.name != "sqlite" else None
    store = SqlStore(engine, aside)
    try:
        await store.prepare()
    except BaseException:
        await store.close()
        raise
    return store


class SqlStore(SqlPeople, SqlTotp, SqlPasskeys, SqlOutbox, SqlPlaces, SqlConflicts, SqlGrants):
    """See :class:`gateway.store.port.Storage`, which this class satisfies."""

    def __init__(self, engine: AsyncEngine, aside: AsyncEngine | None = None) -> None:
        super().__init__()
        self._engine = engine
        self._aside = aside or engine
        self._sqlite = engine.dialect.name == "sqlite"
        # SQLite has one writer; waiting here is fair and does not occupy a connection's thread.
        self._writer = asyncio.Lock()
        self._opening = asyncio.Lock()
        self._lock_file: int | None = None
        self._calls = 0
        self._closed = False
        self._idle = asyncio.Event()
        # By which a gateway knows its own changes from those of others.
        self._mark = secrets.token_hex(8)

    async def prepare(self) -> None:
        """Make a SQLite file readable by its owner only, and migrate."""
        if self._sqlite:
            self._create_private_file()
        async with self._write() as connection:
            await self._advisory(connection, _SCHEMA_LOCK)
            await connection.run_sync(migrate)

    @property
    def shared(self) -> bool:
        """Whether other gateways may use it at the same time: PostgreSQL, not a file."""
        return not self._sqlite

    async def acquire(self) -> None:
        """Take a SQLite file for this process alone."""
        if self._sqlite:
            self._lock_sqlite()

    async def listen(self, heard: Callable[[str, str | None], None]) -> None:
        """Hear of the changes of other gateways."""
        if not self._sqlite:
            await listen(self._aside, self._mark, heard)

    async def close(self) -> None:
        """Let go of everything, once what is under way has ended; nothing can be asked any more."""
        self._closed = True
        self._idle.clear()
        # A connection that comes back after its pool is gone would stay open, with its file and its thread.
        if self._calls:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(COMMAND_SECONDS):
                    await self._idle.wait()
        await self._engine.dispose()
        await self._aside.dispose()
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    async def ping(self) -> None:
        """Ask the database for an answer."""
        async with self._read() as connection:
            await connection.execute(select(1))

    # Holds

    async def add_hold(
        self,
        hold: Hold,
        *,
        limit: int,
        limit_per_user: int,
        announce: bool = True,
        concern: Concern | None = None,
    ) -> Hold:
        """Keep a new pending hold."""
        # One of this gateway at a time: whoever waits for the others' turn keeps a connection from the rest.
        async with self._opening, self._write() as connection:
            await self._advisory(connection, _LIMIT_LOCK)
            hold = await self._add(connection, hold, limit, limit_per_user, concern)
            if announce:
                await self.announced(connection, Change.OPENED, [hold])
        return hold

    async def _add(
        self,
        connection: AsyncConnection,
        hold: Hold,
        limit: int,
        limit_per_user: int,
        concern: Concern | None,
    ) -> Hold:
        pending = select(func.count()).select_from(_holds).where(_holds.c.state == HoldState.PENDING.value)
        if (await connection.scalar(pending) or 0) >= limit:
            raise HoldLimit(limit, None)
        if (await connection.scalar(pending.where(_holds.c.user == hold.user)) or 0) >= limit_per_user:
            raise HoldLimit(limit_per_user, hold.user)
        conflicts = () if concern is None else await self._meet(connection, hold, concern)
        await connection.execute(insert(_holds).values(hold_values(hold)))
        if concern is not None:
            await self._keep(connection, hold, concern, conflicts)
        await self._tell(connection, "opened", hold.id)
        for one in conflicts:
            await self._tell(connection, "conflict", one.other)
        return dataclasses.replace(hold, conflicts=conflicts)

    async def ticket(
        self,
        hold: Hold,
        *,
        limit: int,
        limit_per_user: int,
        announce: bool = True,
        concern: Concern | None = None,
    ) -> Hold:
        """The ticket that is there, or a new one."""
        at = hold.opened_at
        known = (
            select(_holds.c.id)
            .where(
                _holds.c.ticket,
                _holds.c.digest == hold.digest,
                _holds.c.user == hold.user,
                or_(
                    and_(_holds.c.state == HoldState.PENDING.value, _holds.c.expires_at > at),
                    and_(_UNUSED, at < _UNTIL),
                    and_(_holds.c.state == HoldState.REJECTED.value, at < _UNTIL),
                ),
            )
            .order_by(_holds.c.id.desc())
            .limit(1)
        )
        async with self._opening, self._write() as connection:
            await self._advisory(connection, _LIMIT_LOCK)
            ids = list(await connection.scalars(known))
            if ids:
                (found,) = await self._load(connection, ids)
                return found
            hold = await self._add(connection, hold, limit, limit_per_user, concern)
            if announce:
                await self.announced(connection, Change.OPENED, [hold])
        return hold

    async def expire_tickets(self, at: datetime) -> list[Hold]:
        """End tickets that are over."""
        undecided = and_(_holds.c.state == HoldState.PENDING.value, _holds.c.expires_at <= at)
        unused = and_(_UNUSED, at >= _UNTIL)
        ended: list[Hold] = []
        async with self._write() as connection:
            for late, why in ((undecided, _UNDECIDED), (unused, "the approval was not used in time")):
                change = (
                    update(_holds)
                    .where(_holds.c.ticket, late)
                    .values(state=HoldState.EXPIRED.value, resolved_at=at, end_reason=why)
                    .returning(_holds.c.id)
                )
                ids = list(await connection.scalars(change))
                await self._give_back_unused(connection, ids)
                ended += await self._load(connection, ids)
                for hold_id in ids:
                    await self._tell(connection, "resolved", hold_id)
            await self.announced(connection, Change.RESOLVED, ended)
        return ended

    async def hold(self, hold_id: str) -> Hold | None:
        """The hold with its decisions."""
        async with self._read() as connection:
            found = await self._load(connection, [hold_id])
        return found[0] if found else None

    async def holds(
        self, *, states: Collection[HoldState] | None, limit: int, before: str | None
    ) -> list[Hold]:
        """The newest holds first."""
        query = select(_holds.c.id).order_by(_holds.c.id.desc()).limit(limit)
        if states is not None:
            query = query.where(_holds.c.state.in_([state.value for state in states]))
        if before is not None:
            query = query.where(_holds.c.id < before)
        async with self._read() as connection:
            ids = list(await connection.scalars(query))
            return await self._load(connection, ids)

    async def decide_hold(
        self,
        hold_id: str,
        decision: Decision,
        state: HoldState,
        *,
        votes: int = 0,
        grant: GrantRecord | None = None,
    ) -> bool:
        """Add a decision to a pending hold that has ``votes`` of them, and keep the grant that it completes."""
        change = (
            update(_holds)
            .where(
                _holds.c.id == hold_id,
                _holds.c.state == HoldState.PENDING.value,
                _holds.c.expires_at > decision.at,
                _holds.c.votes == votes,
            )
            .values(
                state=state.value,
                resolved_at=None if state is HoldState.PENDING else decision.at,
                votes=votes + 1,
                break_glass=_holds.c.break_glass if decision.how != BREAK_GLASS else true(),
                granted_id=None if grant is None else grant.id,
            )
        )
        async with self._write() as connection:
            if (await connection.execute(change)).rowcount != 1:
                return False
            await connection.execute(
                insert(_decisions).values(hold_id=hold_id, number=votes, **decision_values(decision))
            )
            if grant is not None:
                await self._keep_grant(connection, grant)
            change_made = Change.DECIDED if state is HoldState.PENDING else Change.RESOLVED
            await self._tell(connection, change_made.value, hold_id)
            await self._announce_one(connection, change_made, hold_id)
        return True

    async def check_hold(
        self,
        hold_id: str,
        criteria: Sequence[Mapping[str, object]],
        decision: Decision | None,
        state: HoldState,
        *,
        at: datetime,
    ) -> bool:
        """Keep what came of criteria, and what follows from it."""
        pending = update(_holds).where(
            _holds.c.id == hold_id, _holds.c.state == HoldState.PENDING.value, _holds.c.expires_at > at
        )
        pending = pending.values(
            criteria=[dict(one) for one in criteria],
            checking_until=None,
            state=state.value,
            resolved_at=None if state is HoldState.PENDING else at,
        )
        if decision is not None:
            pending = pending.values(votes=_holds.c.votes + 1)
        async with self._write() as connection:
            number: int | None = await connection.scalar(pending.returning(_holds.c.votes))
            if number is None:
                return False
            if decision is not None:
                await connection.execute(
                    insert(_decisions).values(hold_id=hold_id, number=number - 1, **decision_values(decision))
                )
            await self._tell(connection, "checked" if decision is None else "resolved", hold_id)
            change = Change.READY if decision is None else Change.RESOLVED
            await self._announce_one(connection, change, hold_id)
        return True

    async def confirm_hold(self, hold_id: str, confirmation: Confirmation) -> bool:
        """Keep a confirmation."""
        proof = confirmation.proof
        change = (
            update(_holds)
            .where(
                _holds.c.id == hold_id,
                _holds.c.state == HoldState.PENDING.value,
                _holds.c.expires_at > confirmation.at,
                _holds.c.confirm.is_not(None),
                _holds.c.confirmed_at.is_(None),
            )
            .values(
                confirmed_by=confirmation.who,
                confirmed_how=confirmation.how,
                confirmed_at=confirmation.at,
                confirmed_proof=None if proof is None else dict(proof),
            )
        )
        async with self._write() as connection:
            if (await connection.execute(change)).rowcount != 1:
                return False
            await self._tell(connection, "confirmed", hold_id)
            await self._announce_one(connection, Change.READY, hold_id)
        return True

    async def review_hold(self, hold_id: str, review: Review) -> bool:
        """Close an open review."""
        change = (
            update(_holds)
            .where(_holds.c.id == hold_id, _UNREVIEWED)
            .values(reviewed_by=review.who, review_note=review.note, reviewed_at=review.at)
        )
        return await self._change_one(change, "reviewed", hold_id)

    async def unreviewed(self) -> list[Hold]:
        """The holds whose review is open."""
        async with self._read() as connection:
            ids = await connection.scalars(select(_holds.c.id).where(_UNREVIEWED).order_by(_holds.c.id))
            return await self._load(connection, list(ids))

    async def end_hold(self, hold_id: str, state: HoldState, at: datetime, reason: str) -> bool:
        """End a hold whose statement has not run."""
        change = (
            update(_holds)
            .where(_holds.c.id == hold_id, _OPEN)
            .values(state=state.value, resolved_at=at, end_reason=reason)
        )
        return await self._change_one(change, "resolved", hold_id)

    async def expire_hold(self, hold_id: str, at: datetime) -> bool:
        """End a pending hold as expired."""
        change = (
            update(_holds)
            .where(_holds.c.id == hold_id, _holds.c.state == HoldState.PENDING.value)
            .values(state=HoldState.EXPIRED.value, resolved_at=at, end_reason=_UNDECIDED)
        )
        return await self._change_one(change, "resolved", hold_id)

    async def claim_hold(self, hold_id: str, digest: str, at: datetime, *, instance: str) -> bool:
        """Use an approval, once."""
        change = (
            update(_holds)
            .where(
                _holds.c.id == hold_id,
                _holds.c.state == HoldState.APPROVED.value,
                _holds.c.released_at.is_(None),
                _holds.c.digest == digest,
                or_(_holds.c.ticket.is_(False), at < _UNTIL),
            )
            .values(released_at=at, instance=instance)
        )
        ordered = await self._deletes(hold_id)
        async with contextlib.AsyncExitStack() as stack:
            if ordered:
                # In turn with whoever opens a hold: it sees this one run, or this one sees it.
                await stack.enter_async_context(self._opening)
            connection = await stack.enter_async_context(self._write())
            if ordered:
                await self._advisory(connection, _LIMIT_LOCK)
            cannot_wait: bool | None = await connection.scalar(change.returning(_holds.c.break_glass))
            if cannot_wait is None:
                return False
            if ordered and not cannot_wait:
                await self._mind_order(connection, hold_id, instance)
            await self._tell(connection, "released", hold_id)
        return True

    async def set_outcome(self, hold_id: str, outcome: Outcome, at: datetime) -> bool:
        """Keep how the released statement ended."""
        change = (
            update(_holds)
            .where(_holds.c.id == hold_id, _holds.c.released_at.is_not(None), _holds.c.finished == 0)
            .values(
                tag=outcome.tag,
                rows=outcome.rows,
                sqlstate=outcome.sqlstate,
                duration_ms=outcome.duration_ms,
                finished=1,
                finished_at=at,
            )
        )
        async with self._write() as connection:
            if (await connection.execute(change)).rowcount != 1:
                return False
            await self._settle_rows(connection, hold_id, outcome)
            await self._tell(connection, "outcome", hold_id)
        return True

    async def set_impact(self, hold_id: str, impact: Mapping[str, object]) -> bool:
        """Keep the preview of a pending hold."""
        change = (
            update(_holds)
            .where(_holds.c.id == hold_id, _holds.c.state == HoldState.PENDING.value)
            .values(impact=dict(impact))
        )
        return await self._change_one(change)

    async def interrupt_holds(self, *, instance: str | None, at: datetime, reason: str) -> list[Hold]:
        """Interrupt open holds."""
        change = update(_holds).where(_OPEN, _holds.c.ticket.is_(False)).returning(_holds.c.id)
        if instance is not None:
            change = change.where(_holds.c.instance == instance)
        change = change.values(state=HoldState.INTERRUPTED.value, resolved_at=at, end_reason=reason)
        async with self._write() as connection:
            return await self._interrupted(connection, change)

    async def holds_among(self, ids: Collection[str]) -> list[Hold]:
        """Those of ``ids`` that there are."""
        async with self._read() as connection:
            return await self._load(connection, list(ids))

    # The gateways that share a store

    async def beat(self, instance: str) -> None:
        """Say that a gateway is alive."""
        alive = update(_gateways).where(_gateways.c.instance == instance).values(seen_at=self._server_clock)
        async with self._write(self._aside) as connection:
            if (await connection.execute(alive)).rowcount == 0:
                await connection.execute(
                    insert(_gateways).values(instance=instance, seen_at=self._server_clock)
                )

    async def farewell(self, instance: str) -> None:
        """Say that a gateway is not there any more."""
        async with self._write(self._aside) as connection:
            await connection.execute(delete(_gateways).where(_gateways.c.instance == instance))

    async def interrupt_silent(self, *, seconds: float, at: datetime, reason: str) -> list[Hold]:
        """Interrupt the open holds of gateways that say nothing."""
        latest = self._server_clock - round(seconds * 1_000_000)
        alive = select(_gateways.c.instance).where(_gateways.c.seen_at >= latest)
        left = and_(_OPEN, _holds.c.ticket.is_(False), _holds.c.instance.not_in(alive))
        change = update(_holds).where(left).returning(_holds.c.id)
        change = change.values(state=HoldState.INTERRUPTED.value, resolved_at=at, end_reason=reason)
        async with self._write(self._aside) as connection:
            await connection.execute(delete(_gateways).where(_gateways.c.seen_at < latest))
            await self._vacate(connection, _places.c.instance.not_in(alive), at)
            return await self._interrupted(connection, change)

    # Tokens

    async def add_token(self, token: TokenRecord, digest: str) -> None:
        """Keep a token."""
        values = {
            "id": token.id,
            "digest": digest,
            "user": token.user,
            "roles": sorted(token.roles),
            "note": token.note,
            "created_at": token.created_at,
            "expires_at": token.expires_at,
            "revoked_at": token.revoked_at,
            "person": token.person,
        }
        async with self._write() as connection:
            await connection.execute(insert(_tokens).values(values))

    async def token(self, digest: str) -> TokenRecord | None:
        """The token with this digest."""
        async with self._read() as connection:
            result = await connection.execute(select(_tokens).where(_tokens.c.digest == digest))
            row = result.mappings().first()
        return None if row is None else token_of(row)

    async def tokens(self) -> list[TokenRecord]:
        """All tokens, newest first."""
        async with self._read() as connection:
            result = await connection.execute(select(_tokens).order_by(_tokens.c.id.desc()))
            return [token_of(row) for row in result.mappings()]

    async def revoke_token(self, token_id: str, at: datetime) -> bool:
        """Revoke a token."""
        change = (
            update(_tokens)
            .where(_tokens.c.id == token_id, _tokens.c.revoked_at.is_(None))
            .values(revoked_at=at)
        )
        return await self._change_one(change)

    async def add_code(self, digest: str, user: str, expires_at: datetime) -> None:
        """Keep a one-time code."""
        async with self._write() as connection:
            await connection.execute(insert(_codes).values(digest=digest, user=user, expires_at=expires_at))

    async def use_code(self, digest: str, at: datetime) -> str | None:
        """The user of a code; each code answers once."""
        use = (
            update(_codes)
            .where(_codes.c.digest == digest, _codes.c.used_at.is_(None), _codes.c.expires_at > at)
            .values(used_at=at)
            .returning(_codes.c.user)
        )
        async with self._write() as connection:
            user: str | None = await connection.scalar(use)
            await connection.execute(delete(_codes).where(_codes.c.expires_at <= at))
        return user

    # Inside

    @property
    def _server_clock(self) -> ColumnElement[int]:
        """Now, in microseconds, as the server of the store has it: gateways' own clocks may differ."""
        if self._sqlite:
            return literal_column("CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)", BigInteger)
        return literal_column("(extract(epoch FROM clock_timestamp()) * 1000000)::bigint", BigInteger)

    async def _change_one(self, change: Any, event: str | None = None, hold_id: str = "") -> bool:
        async with self._write() as connection:
            changed: int = (await connection.execute(change)).rowcount
            if changed == 1 and event is not None:
                await self._tell(connection, event, hold_id)
                if event == Change.RESOLVED:
                    await self._give_back_unused(connection, [hold_id])
                    await self._announce_one(connection, Change.RESOLVED, hold_id)
        return changed == 1

    async def _announce_one(self, connection: AsyncConnection, change: Change, hold_id: str) -> None:
        if self.announces:
            await self.announced(connection, change, await self._load(connection, [hold_id]))

    async def _interrupted(self, connection: AsyncConnection, change: Any) -> list[Hold]:
        ids = list(await connection.scalars(change))
        if ids:
            await self._tell(connection, "reset", "")
        for start in range(0, len(ids), _CHUNK):
            await self._give_back_unused(connection, ids[start : start + _CHUNK])
        ended = await self._load(connection, ids)
        await self.announced(connection, Change.RESOLVED, ended)
        return ended

    async def _tell(self, connection: AsyncConnection, event: str, hold_id: str) -> None:
        """Tell the other gateways once the transaction is committed."""
        if not self._sqlite:
            await connection.execute(select(func.pg_notify(CHANNEL, f"{self._mark}:{event}:{hold_id}")))

    async def _load(self, connection: AsyncConnection, ids: list[str]) -> list[Hold]:
        """The holds of ``ids`` in their order, each with its decisions."""
        loaded: dict[str, Hold] = {}
        for start in range(0, len(ids), _CHUNK):
            some = ids[start : start + _CHUNK]
            rows = (await connection.execute(select(_holds).where(_holds.c.id.in_(some)))).mappings().all()
            made: dict[str, list[Decision]] = {}
            query = select(_decisions).where(_decisions.c.hold_id.in_(some)).order_by(_decisions.c.number)
            for row in (await connection.execute(query)).mappings():
                made.setdefault(row["hold_id"], []).append(decision_of(row))
            for row in rows:
                # Between the two queries somebody may have decided: that belongs to a state not seen here.
                loaded[row["id"]] = hold_of(row, tuple(made.get(row["id"], ()))[: row["votes"]])
            for hold_id, conflicts in (await self._conflicts_of(connection, some)).items():
                if hold_id in loaded:
                    loaded[hold_id] = dataclasses.replace(loaded[hold_id], conflicts=conflicts)
        unused = [one.id for one in loaded.values() if one.state is HoldState.APPROVED and one.open]
        for hold_id, place in (await self._queued(connection, unused, clock.now()) if unused else {}).items():
            loaded[hold_id] = dataclasses.replace(loaded[hold_id], queue=place)
        return [loaded[hold_id] for hold_id in ids if hold_id in loaded]

    @contextlib.asynccontextmanager
    async def _read(self) -> AsyncIterator[AsyncConnection]:
        async with self._guard(), self._engine.connect() as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def _write(self, engine: AsyncEngine | None = None) -> AsyncIterator[AsyncConnection]:
        """One transaction, committed at the end and rolled back by any exception."""
        if not self._sqlite:
            async with self._guard(), (engine or self._engine).begin() as connection:
                yield connection
            return
        async with self._writer, self._guard(), self._engine.connect() as connection:
            await connection.execution_options(**WRITE)
            async with connection.begin():
                yield connection

    @contextlib.asynccontextmanager
    async def _guard(self) -> AsyncIterator[None]:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        self._calls += 1
        try:
            yield
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise StoreUnavailable(_reason(error)) from error
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()

    async def _advisory(self, connection: AsyncConnection, number: int) -> None:
        """Take turns among gateways for the length of a transaction (SQLite's writers do already)."""
        if not self._sqlite:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})

    def _create_private_file(self) -> None:
        path = self._engine.url.database or ""
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StoreUnavailable(f"cannot open {path}: {error.strerror}") from error

    def _lock_sqlite(self) -> None:
        path = f"{self._engine.url.database}.lock"
        try:
            handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"cannot open {path}: {error.strerror}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise StoreInUse(f"another gateway runs on {self._engine.url.database}{_ONE_GATEWAY}") from error
        self._lock_file = handle


def _reason(error: BaseException) -> str:
    """One line, without the SQL and its values that SQLAlchemy adds."""
    original = getattr(error, "orig", None) or error
    line = " ".join(str(original).split()) or type(original).__name__
    return f"the store cannot be used: {line}"
