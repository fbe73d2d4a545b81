"""The gateway's own login for looking: one server connection that runs simple queries.

It is opened by the same :class:`~gateway.upstream.Connector` as every session, so that the words of ``sslmode``
and the rules about passwords are the same to the letter for both.

Source: PostgreSQL documentation, "Simple Query".
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Final, Self

from gateway import clock
from gateway.authn import LoginRefused
from gateway.catalog.build import Row
from gateway.catalog.queries import CLOSING, OPENING
from gateway.catalog.read import SLICE_SECONDS, AskError
from gateway.config import Database
from gateway.link import Link
from gateway.upstream import Connector
from protocol import messages, sqlstate
from protocol.errors import ProtocolViolation, UpstreamViolation
from protocol.messages import decode_data_row, decode_report
from protocol.startup import Replication, StartupMessage
from protocol.tags import BackendTag

__all__ = ["Inspector", "InspectorUnavailable"]

ANSWER_SECONDS: Final = 90.0
"""The longest wait for an answer. The server itself gives up before."""

MAX_MESSAGE: Final = 64 * 1024 * 1024
"""One row, which is one definition."""


class InspectorUnavailable(OSError):
    """The database cannot be looked at; the text is one line for the operator."""


class Inspector:
    """A connection of the ``inspect`` login of a database, for one batch of queries at a time."""

    def __init__(self, link: Link) -> None:
        self._link = link

    @classmethod
    async def connect(
        cls, connector: Connector, database: Database, name: str, purpose: str = "catalog"
    ) -> Self:
        """Log in to the database a client would reach as ``name``; the server sees what it is for.

        Raises :class:`InspectorUnavailable`.
        """
        assert database.inspect is not None, "asked for only where it is configured"
        target = replace(database, auth="gateway", login=database.inspect)
        pairs = (
            ("user", database.inspect.user),
            ("database", name),
            ("application_name", f"holdgate {purpose}"),
            ("client_encoding", "UTF8"),
            ("default_transaction_read_only", "on"),
        )
        startup = StartupMessage(0, database.inspect.user, name, pairs, (), Replication.NONE)
        try:
            session = await connector.connect(target, startup)
        except LoginRefused as refused:
            raise InspectorUnavailable(refused.log) from refused
        return cls(session.link)

    async def run(self, queries: Sequence[str]) -> list[list[Row]]:
        """The rows of each query as text, in one read-only snapshot; see :data:`gateway.catalog.read.Run`.

        Raises :class:`AskError` for the server's errors, after which the connection can still be used, and
        :class:`InspectorUnavailable` when it cannot be used any more.
        """
        async with self._answering():
            results = await self._simple([*OPENING, *queries])
            await self._simple([CLOSING])
            if isinstance(results, AskError):
                raise results
        return results[len(OPENING) :]

    async def statements(self, *statements: str) -> None:
        """Run statements whose rows nobody needs. Raises as :meth:`run` does."""
        async with self._answering():
            results = await self._simple(statements)
            if isinstance(results, AskError):
                raise results

    async def ask(
        self, sql: str, parameters: Sequence[tuple[int, int, bytes | None]] = (), *, rows: int = 0
    ) -> list[Row]:
        """The rows of one query with its parameters (type OID, format code, bytes or None for NULL) bound; with
        ``rows``, no more than so many.

        It runs in whatever transaction is open, else in one of its own. Raises as :meth:`run` does.
        """
        sent = (
            messages.parse(b"", sql.encode(), [oid for oid, _, _ in parameters]),
            messages.bind(b"", b"", [(code, value) for _, code, value in parameters]),
            messages.execute(b"", rows),
            messages.SYNC,
        )
        async with self._answering():
            results = await self._exchange(b"".join(sent), 1)
            if isinstance(results, AskError):
                raise results
        return results[0]

    @contextlib.asynccontextmanager
    async def _answering(self) -> AsyncIterator[None]:
        """Whatever stops an exchange half-way ends the connection."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                yield
        except TimeoutError as error:
            self._link.abort()
            raise InspectorUnavailable("the server did not answer a query about its catalog") from error
        except (OSError, ProtocolViolation, UnicodeDecodeError) as error:
            self._link.abort()
            raise InspectorUnavailable(f"the server's connection for its catalog broke: {error}") from error
        except asyncio.CancelledError:
            # What is still to come would be taken for the answer to the next question.
            self._link.abort()
            raise

    async def _simple(self, statements: Sequence[str]) -> list[list[Row]] | AskError:
        """Send all statements at once. After an error the server runs none of the rest."""
        return await self._exchange(messages.query(";\n".join(statements).encode()), len(statements))

    async def _exchange(self, sent: bytes, statements: int) -> list[list[Row]] | AskError:
        """Send messages up to one that ends an exchange; the rows of each statement in them."""
        self._link.write(sent)
        results: list[list[Row]] = []
        rows: list[Row] = []
        failure: AskError | None = None
        until = clock.monotonic() + SLICE_SECONDS
        while True:
            if clock.monotonic() >= until:
                # What has arrived already is read without waiting, and may be thousands of rows.
                await asyncio.sleep(0)
                until = clock.monotonic() + SLICE_SECONDS
            tag, payload = await self._link.read_message(MAX_MESSAGE)
            if tag == BackendTag.DATA_ROW:
                values = decode_data_row(payload)
                rows.append(tuple(None if value is None else value.decode() for value in values))
            elif tag in (BackendTag.COMMAND_COMPLETE, BackendTag.PORTAL_SUSPENDED):
                results.append(rows)
                rows = []
            elif tag == BackendTag.ERROR_RESPONSE:
                fields = decode_report(payload)
                failure = AskError(fields.get("C", sqlstate.SYSTEM_ERROR), fields.get("M", ""))
            elif tag == BackendTag.READY_FOR_QUERY:
                if failure is None and len(results) != statements:
                    raise UpstreamViolation("the server did not answer every statement")
                return failure or results

    def close(self) -> None:
        """End the session politely."""
        self._link.write(messages.TERMINATE)
        self._link.close()
