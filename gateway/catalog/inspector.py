"""The gateway's own login for looking: one server connection that runs simple queries.

It is opened by the same :class:`~gateway.upstream.Connector` as every session, so that the words of ``sslmode``
and the rules about passwords are the same to the letter for both.

Source: PostgreSQL documentation, "Simple Query".
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Self

from gateway.authn import LoginRefused
from gateway.catalog.build import Row
from gateway.catalog.queries import CLOSING, OPENING
from gateway.catalog.read import AskError
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
    async def connect(cls, connector: Connector, database: Database, name: str) -> Self:
        """Log in to the database a client would reach as ``name``. Raises :class:`InspectorUnavailable`."""
        assert database.inspect is not None, "asked for only where it is configured"
        target = replace(database, auth="gateway", login=database.inspect)
        pairs = (
            ("user", database.inspect.user),
            ("database", name),
            ("application_name", "holdgate catalog"),
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
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                results = await self._exchange([*OPENING, *queries])
                await self._exchange([CLOSING])
                if isinstance(results, AskError):
                    raise results
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
        return results[len(OPENING) :]

    async def _exchange(self, statements: Sequence[str]) -> list[list[Row]] | AskError:
        """Send all statements at once. After an error the server runs none of the rest."""
        self._link.write(messages.query(";\n".join(statements).encode()))
        results: list[list[Row]] = []
        rows: list[Row] = []
        failure: AskError | None = None
        while True:
            tag, payload = await self._link.read_message(MAX_MESSAGE)
            if tag == BackendTag.DATA_ROW:
                values = decode_data_row(payload)
                rows.append(tuple(None if value is None else value.decode() for value in values))
            elif tag == BackendTag.COMMAND_COMPLETE:
                results.append(rows)
                rows = []
            elif tag == BackendTag.ERROR_RESPONSE:
                fields = decode_report(payload)
                failure = AskError(fields.get("C", sqlstate.SYSTEM_ERROR), fields.get("M", ""))
            elif tag == BackendTag.READY_FOR_QUERY:
                if failure is None and len(results) != len(statements):
                    raise UpstreamViolation("the server did not answer every statement")
                return failure or results

    def close(self) -> None:
        """End the session politely."""
        self._link.write(messages.TERMINATE)
        self._link.close()
