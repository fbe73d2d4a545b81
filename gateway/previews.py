"""Impact previews: what a held statement would do, looked up for the approver by the ``inspect`` login.

A preview stands beside the hold and never in its way: it begins when the hold is open, has a time limit, and
whatever goes wrong is said in it. Nothing is decided on what it says. The questions come from :mod:`rules.impact`;
here they are asked, in one read-only transaction that is rolled back, on a connection of their own that is closed
afterwards.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway import clock
from gateway.catalog.inspector import Inspector, InspectorUnavailable
from gateway.catalog.read import AskError
from gateway.config import Config
from gateway.store import StoreUnavailable
from gateway.store.records import iso
from gateway.tasks import spawn
from gateway.upstream import Connector
from rules import SchemaSnapshot, format_sql
from rules.impact import Change, Impact, Question, Read, plan_impact

__all__ = ["Previewed", "Previews", "Subject"]

logger = logging.getLogger(__name__)

AT_ONCE: Final = 4
"""Previews taken at the same moment; the others wait for their turn."""

MAX_LOCKS: Final = 20

_TEXT: Final = 25
"""The OID of the type text."""

Parameters = Sequence[tuple[int, int, bytes | None]]
"""Type OID, format code and bytes of each parameter, as they were bound."""


@dataclass(frozen=True, slots=True)
class Previewed:
    """One execution: the texts it may stand for, its parameters, and the definitions it is read by."""

    texts: tuple[bytes, ...]
    parameters: Parameters
    catalog: SchemaSnapshot


@dataclass(frozen=True, slots=True)
class Subject:
    """What is previewed, for people ``sql``. ``reads`` reads a text as the session would.

    ``settings`` are those of the session by which values are read, ``search_path`` its effective one. ``backend`` is
    the server process of a session with an open transaction, None without one.
    """

    database: str
    sql: str
    executions: tuple[Previewed, ...]
    reads: Read
    search_path: tuple[str, ...]
    settings: tuple[tuple[str, str], ...] = ()
    backend: int | None = None


@dataclass(slots=True)
class _Taking:
    """A preview as far as it has come."""

    changes: list[dict[str, Any]] = field(default_factory=list)
    reads: list[dict[str, Any]] = field(default_factory=list)
    transaction: dict[str, Any] | None = None
    unseen: list[str] = field(default_factory=list)


class Previews:
    """Takes the previews of one gateway. ``keep`` stores one with its hold."""

    def __init__(
        self,
        config: Callable[[], Config],
        connector: Connector,
        keep: Callable[[str, dict[str, Any]], Awaitable[None]],
    ) -> None:
        self._config = config
        self._connector = connector
        self._keep = keep
        self._turns = asyncio.Semaphore(AT_ONCE)

    def begin(self, hold_id: str, subject: Subject) -> asyncio.Task[None]:
        """Take a preview in the background; cancel the task when nobody needs it any more."""
        return spawn(self._take(hold_id, subject), name=f"preview {hold_id}")

    async def _take(self, hold_id: str, subject: Subject) -> None:
        async with self._turns:
            preview = await self.take(subject)
        try:
            await self._keep(hold_id, preview)
        except StoreUnavailable as error:
            logger.error("%s: its preview could not be stored: %s", hold_id, error)

    async def take(self, subject: Subject) -> dict[str, Any]:
        """The preview, ready for JSON; whatever fails is said in it."""
        seconds = self._config().limits.preview_seconds
        began, at = clock.monotonic(), clock.now()
        asked = [(_planned(one, subject.reads), one.parameters) for one in subject.executions]
        taking = _Taking(unseen=[text for impact, _ in asked for text in impact.unseen])
        if subject.backend is not None:
            taking.unseen.append("what the open transaction has changed itself is not seen from outside")
        try:
            async with asyncio.timeout(seconds):
                await self._ask(subject, asked, taking, began + seconds)
        except TimeoutError:
            taking.unseen.append(f"the rest: the {seconds:g} s for a preview were over")
        except (InspectorUnavailable, AskError) as error:
            taking.unseen.append(f"the rest: {error}")
        # What was not reached is shown without a count.
        changes = [change for impact, _ in asked for change in impact.changes]
        taking.changes += [_shown(change) for change in changes[len(taking.changes) :]]
        return {
            "taken_at": iso(at),
            "took_ms": round((clock.monotonic() - began) * 1000, 3),
            "formatted": format_sql(subject.sql),
            "changes": taking.changes,
            "reads": taking.reads,
            "transaction": taking.transaction,
            "unseen": list(dict.fromkeys(taking.unseen)),
        }

    async def _ask(
        self, subject: Subject, asked: Sequence[tuple[Impact, Parameters]], taking: _Taking, until: float
    ) -> None:
        config = self._config()
        database = config.database(subject.database)
        if database is None or database.inspect is None:
            taking.unseen.append(f"nothing was counted: database {subject.database} has no inspect login")
            return
        wanted = any(impact.changes or impact.reads for impact, _ in asked)
        if not wanted and subject.backend is None:
            return
        login = await Inspector.connect(self._connector, database, subject.database, "preview")
        try:
            await login.statements(*_opening(subject))
            asking = _Asking(login, until)
            if subject.backend is not None:
                taking.transaction = await asking.transaction(subject.backend)
            for impact, parameters in asked:
                for change in impact.changes:
                    shown = _shown(change)
                    taking.changes.append(shown)
                    await asking.change(change, shown, parameters)
                for question in impact.reads:
                    taking.reads.append(await asking.read(question, parameters))
        finally:
            # Locks that a question may have taken for its session go with the connection.
            login.close()


class _Asking:
    """Asks one question after the other; the failure of one is no failure of the next."""

    def __init__(self, login: Inspector, until: float) -> None:
        self._login = login
        self._until = until

    async def change(self, change: Change, shown: dict[str, Any], parameters: Parameters) -> None:
        if change.question is None:
            return
        shown["rows"], why = await self._count(change.question, parameters)
        if why is not None:
            # What stands behind would fail in the same way.
            shown["unseen"].append(f"not counted: {why}")
            return
        for reached, row in zip(change.reached, shown["reached"], strict=True):
            if reached.question is not None:
                row["rows"], why = await self._count(reached.question, parameters)
                if why is not None:
                    shown["unseen"].append(f"{reached.relation} ({reached.constraint}) not counted: {why}")

    async def read(self, question: Question, parameters: Parameters) -> dict[str, Any]:
        answer, why = await self._value(question, parameters)
        if answer is None:
            return {"rows": None, "cost": None, "unseen": f"not estimated: {why}"}
        plan = json.loads(answer)[0]["Plan"]
        return {"rows": plan["Plan Rows"], "cost": plan["Total Cost"], "unseen": None}

    async def transaction(self, backend: int) -> dict[str, Any]:
        """What the open transaction keeps from others: its locks on relations, and who waits for it."""
        waiting, why = await self._count(Question(_WAITING.format(backend)), ())
        locks, too = await self._value(Question(_LOCKS.format(backend)), ())
        return {"locks": json.loads(locks or "[]"), "waiting": waiting, "unseen": why or too}

    async def _count(self, question: Question, parameters: Parameters) -> tuple[int | None, str | None]:
        answer, why = await self._value(question, parameters)
        return None if answer is None else int(answer), why

    async def _value(self, question: Question, parameters: Parameters) -> tuple[str | None, str | None]:
        """The first value of the answer, or None and why there is none."""
        if question.parameters and max(question.parameters) > len(parameters):
            return None, "its parameters are not bound"
        # One that the question does not use has no type that the server could find out.
        bound = [
            one if number in question.parameters else (_TEXT, 0, None)
            for number, one in enumerate(parameters, 1)
        ]
        left = max(1, round((self._until - clock.monotonic()) * 1000))
        await self._login.statements(_SAVEPOINT, f"SET LOCAL statement_timeout = {left}")
        try:
            rows = await self._login.ask(question.sql, bound)
        except AskError as error:
            await self._login.statements(_BACK)
            return None, str(error)
        return rows[0][0], None


_SAVEPOINT: Final = "SAVEPOINT question"
_BACK: Final = "ROLLBACK TO SAVEPOINT question"

_WAITING: Final = """
SELECT count(*) FROM pg_catalog.pg_stat_activity a WHERE {} = ANY (pg_catalog.pg_blocking_pids(a.pid))
"""
_LOCKS: Final = f"""
SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('relation', x.relation, 'mode', x.mode)), '[]')
FROM (SELECT n.nspname || '.' || c.relname AS relation, l.mode
  FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE l.pid = {{}} AND l.granted AND c.oid >= 16384 AND c.relkind <> 'i'
    AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
  ORDER BY 1, 2 LIMIT {MAX_LOCKS}) x
"""


def _planned(one: Previewed, reads: Read) -> Impact:
    if len(one.texts) != 1:
        return Impact(unseen=("it cannot be told which text is executed",))
    return plan_impact(one.texts[0], one.catalog, reads)


def _opening(subject: Subject) -> list[str]:
    path = [name for name in subject.search_path if not name.startswith("pg_temp")]
    names = ", ".join('"' + name.replace('"', '""') + '"' for name in path) or "''"
    return [
        "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
        f"SET LOCAL search_path = {names}",
        "SET LOCAL lock_timeout = '1s'",
        "SET LOCAL standard_conforming_strings = on",
        *(f"SET LOCAL \"{name}\" = '{_doubled(value)}'" for name, value in subject.settings),
    ]


def _doubled(value: str) -> str:
    return value.replace("'", "''")


def _shown(change: Change) -> dict[str, Any]:
    """A change before it was counted."""
    return {
        "action": change.action,
        "relation": change.relation,
        "rows": None,
        "reached": [
            {
                "relation": one.relation,
                "constraint": one.constraint,
                "parent": one.parent,
                "rule": one.rule,
                "rows": None,
            }
            for one in change.reached
        ],
        "triggers": list(change.triggers),
        "unseen": list(change.unseen),
    }
