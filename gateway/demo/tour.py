"""The story, played by a real client and a real approver against the running demonstration."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg

from gateway.audit import verify
from gateway.demo.settings import APPROVER, DATABASE, REQUESTER
from gateway.tasks import spawn

__all__ = ["Stage", "TourFailed", "play"]

_CUSTOMER = 42
_LOOKUP = 5
_STEP_SECONDS = 20.0
_COLUMNS = (
    ("seq", "seq", 4),
    ("kind", "kind", 9),
    ("user", "user", 6),
    ("verdict", "verdict", 8),
    ("by", "approved_by", 6),
    ("rule", "rule", 17),
    ("outcome", "tag", 14),
    ("SQL", "sql", 56),
)


class TourFailed(Exception):
    """Something did not go as the story says; the text is what."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the story plays. ``say`` prints a line; the tokens are of the approver and the auditor."""

    host: str
    port: int
    admin_url: str
    approver_token: str
    auditor_token: str
    audit_file: Path
    say: Callable[[str], None]


async def play(stage: Stage) -> None:
    """Play it all. Raises :class:`TourFailed` at the first thing that is not as it should be."""
    try:
        async with (
            httpx.AsyncClient(base_url=stage.admin_url, timeout=_STEP_SECONDS) as http,
            await psycopg.AsyncConnection.connect(
                host=stage.host,
                port=stage.port,
                user=REQUESTER,
                dbname=DATABASE,
                autocommit=True,
                application_name="tour",
                connect_timeout=int(_STEP_SECONDS),
            ) as connection,
        ):
            story = _Story(stage, http, connection)
            await story.lookup()
            await story.deletion()
            await story.bulk_read()
            await story.denied()
            await story.records()
    except (psycopg.Error, httpx.HTTPError) as error:
        raise TourFailed(f"{type(error).__name__}: {error}") from error
    except TimeoutError:
        raise TourFailed(f"nothing happened for {_STEP_SECONDS:.0f} s") from None


_Ended = psycopg.AsyncCursor[Any] | psycopg.Error
"""How a statement ended; a refusal is part of the story, so it is a value here."""


class _Story:
    def __init__(
        self, stage: Stage, http: httpx.AsyncClient, connection: psycopg.AsyncConnection[Any]
    ) -> None:
        self._stage = stage
        self._http = http
        self._connection = connection
        self._noticed = asyncio.Event()
        connection.add_notice_handler(self._notice)

    async def lookup(self) -> None:
        self._chapter("A lookup of one customer passes")
        sql = f"SELECT first_name, last_name, email FROM customer WHERE customer_id = {_LOOKUP}"
        self._asks(sql)
        async with asyncio.timeout(_STEP_SECONDS):
            rows = await (await self._connection.execute(sql.encode())).fetchall()
        _expect(len(rows) == 1, f"one customer should come back, not {len(rows)}")
        self._stage.say(f"         {' | '.join(map(str, rows[0]))}")

    async def deletion(self) -> None:
        self._chapter("A deletion waits for a person, and runs once when it is approved")
        sql = f"DELETE FROM customer WHERE customer_id = {_CUSTOMER}"
        running, hold = await self._held(sql)
        _expect(hold["rule"] == "erasure", f"rule erasure should hold it, not {hold['rule']}")
        _expect(await self._customers() == 1, "the customer should still be there while the statement waits")
        self._says(APPROVER, f"POST /api/v1/holds/{hold['id']}/approve  (erasure request 4711)")
        path = f"/api/v1/holds/{hold['id']}/approve"
        await self._approver("POST", path, 200, json={"reason": "erasure request 4711"})
        async with asyncio.timeout(_STEP_SECONDS):
            ended = await running
        status = ended.statusmessage if isinstance(ended, psycopg.AsyncCursor) else str(ended)
        _expect(status == "DELETE 1", f"the deletion should answer DELETE 1, not {status}")
        self._stage.say(f"         {status}")
        _expect(await self._customers() == 0, "the customer should be gone")
        again = await self._approver("POST", path, 409, json={"reason": "and again"})
        self._says(APPROVER, f"approves a second time: 409, {again['detail']}")

    async def bulk_read(self) -> None:
        self._chapter("A bulk read of personal data waits, and is rejected with a reason")
        running, hold = await self._held("SELECT email, phone FROM customer")
        _expect(hold["rule"] == "bulk", f"rule bulk should hold it, not {hold['rule']}")
        reason = "ask for a single customer instead"
        self._says(APPROVER, f"POST /api/v1/holds/{hold['id']}/reject  ({reason})")
        await self._approver("POST", f"/api/v1/holds/{hold['id']}/reject", 200, json={"reason": reason})
        async with asyncio.timeout(_STEP_SECONDS):
            ended = await running
        self._refused(ended, APPROVER, reason)
        await self._goes_on()

    async def denied(self) -> None:
        self._chapter("What a rule denies does not wait")
        sql = "ALTER TABLE customer ADD COLUMN note text"
        self._asks(sql)
        async with asyncio.timeout(_STEP_SECONDS):
            ended = await _run(self._connection, sql)
        self._refused(ended, "no-ddl")
        await self._goes_on()

    async def records(self) -> None:
        self._chapter("All of it is on record")
        answer = await self._call(
            "GET", "/api/v1/audit", 200, self._stage.auditor_token, params={"limit": 100}
        )
        records = sorted(answer["records"], key=lambda record: int(record["seq"]))
        self._stage.say("  " + " ".join(f"{title:<{width}}" for title, _, width in _COLUMNS).rstrip())
        for record in records:
            cells = (_cell(_shown(record, key), width) for _, key, width in _COLUMNS)
            self._stage.say("  " + " ".join(cells).rstrip())
        ran = [r for r in records if r["kind"] == "statement" and r["tag"] == "DELETE 1"]
        _expect(len(ran) == 1, f"one deletion should be on record, not {len(ran)}")
        _expect(ran[0]["approved_by"] == [APPROVER], "the record should name who approved")
        result = await asyncio.to_thread(verify, self._stage.audit_file)
        _expect(result.ok, f"the chain of records does not verify: {result.why}")
        self._stage.say(
            f"\n  {result.records} records in {self._stage.audit_file.name}; their chain is whole."
        )

    async def _held(self, sql: str) -> tuple[asyncio.Task[_Ended], dict[str, Any]]:
        """Start ``sql`` and return once the client was told that it waits: the task, and the hold."""
        self._asks(sql)
        self._noticed.clear()
        running = spawn(_run(self._connection, sql), name="tour-statement")
        noticed = spawn(self._noticed.wait(), name="tour-notice")
        await asyncio.wait({running, noticed}, timeout=_STEP_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not noticed.done():
            noticed.cancel()
            running.cancel()
            await asyncio.wait({running})
            raise TourFailed(f"the client should have been told that this waits: {sql}")
        _expect(not running.done(), f"this should wait for a decision: {sql}")
        answer = await self._approver("GET", "/api/v1/holds", 200, params={"state": "pending"})
        _expect(len(answer["holds"]) == 1, f"one hold should be pending, not {len(answer['holds'])}")
        return running, answer["holds"][0]

    def _refused(self, ended: _Ended, *words: str) -> None:
        """Expect a refusal (42501) whose message has all of ``words``, and show it."""
        if not isinstance(ended, psycopg.errors.InsufficientPrivilege):
            raise TourFailed(f"the statement should have been refused, but ended with: {ended}")
        message = ended.diag.message_primary or ""
        self._stage.say(f"         ERROR {ended.sqlstate}: {message}")
        _expect(all(word in message for word in words), f"the client should read {', '.join(words)}")

    async def _goes_on(self) -> None:
        async with asyncio.timeout(_STEP_SECONDS):
            row = await (await self._connection.execute("SELECT 'the session goes on'")).fetchone()
        _expect(row == ("the session goes on",), f"the session should go on, but brought {row}")
        self._stage.say("         and the session goes on")

    async def _customers(self) -> int:
        # On a session of its own: the first one may be waiting.
        async with (
            asyncio.timeout(_STEP_SECONDS),
            await psycopg.AsyncConnection.connect(
                host=self._stage.host,
                port=self._stage.port,
                user=REQUESTER,
                dbname=DATABASE,
                autocommit=True,
            ) as connection,
        ):
            cursor = await connection.execute(
                "SELECT customer_id FROM customer WHERE customer_id = %s", [_CUSTOMER]
            )
            return len(await cursor.fetchall())

    async def _approver(self, method: str, path: str, status: int, **options: Any) -> dict[str, Any]:
        return await self._call(method, path, status, self._stage.approver_token, **options)

    async def _call(self, method: str, path: str, status: int, token: str, **options: Any) -> dict[str, Any]:
        response = await self._http.request(
            method, path, headers={"Authorization": f"Bearer {token}"}, **options
        )
        _expect(
            response.status_code == status,
            f"{method} {path} should answer {status}, not {response.status_code}: {response.text}",
        )
        answer = response.json()
        assert isinstance(answer, dict)
        return answer

    def _notice(self, notice: psycopg.errors.Diagnostic) -> None:
        for label, text in (
            ("NOTICE", notice.message_primary),
            ("DETAIL", notice.message_detail),
            ("HINT", notice.message_hint),
        ):
            if text:
                self._stage.say(f"         {label}:  {text}")
        self._noticed.set()

    def _chapter(self, title: str) -> None:
        self._stage.say(f"\n--- {title}")

    def _asks(self, sql: str) -> None:
        self._says(REQUESTER, sql)

    def _says(self, who: str, what: str) -> None:
        self._stage.say(f"  {who:<6} {what}")


async def _run(connection: psycopg.AsyncConnection[Any], sql: str) -> _Ended:
    try:
        return await connection.execute(sql.encode())
    except psycopg.Error as error:
        return error


def _expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise TourFailed(otherwise)


def _shown(record: dict[str, Any], key: str) -> object:
    if key == "tag":
        return record["tag"] or record["sqlstate"]
    if key == "approved_by":
        return ", ".join(record["approved_by"])
    return record[key]


def _cell(value: object, width: int) -> str:
    text = "" if value is None else " ".join(str(value).split())
    return f"{text if len(text) <= width else text[: width - 1] + '…':<{width}}"
