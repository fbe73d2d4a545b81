"""Asking the server something in a client's own session, unseen by the client."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from gateway.conversation import Conversation
from protocol.hidden import Analysis, Answer, Hidden, Place

__all__ = ["AskError", "Asking", "CannotAsk", "Row"]

Row = tuple[str | None, ...]
"""One row's columns as text, None for NULL."""

_BEGIN: Final = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_READ_ONLY: Final = b"SET LOCAL transaction_read_only = on"
_IN_SERIES: Final = "a series of the extended protocol is not finished"
_NOT_NOW: Final = "the session is not where the server would answer: in a failed transaction or inside COPY"


class AskError(Exception):
    """The server answered with an error; ``report`` has its fields by their one-letter code."""

    def __init__(self, report: dict[str, str]) -> None:
        super().__init__(report.get("M", "the server reported an error"))
        self.report = report


class CannotAsk(Exception):
    """Nothing was sent: the session is over, or not where a question could be asked."""


class Asking:
    """Asks one question after the other; whoever wants to forward something waits until none is ``wanted``."""

    def __init__(self, talk: Conversation) -> None:
        self._talk = talk
        self._turn = asyncio.Lock()
        self._waiters = 0
        self._answers: dict[Hidden, asyncio.Future[None]] = {}
        self._quiet = asyncio.Event()
        self._quiet.set()

    @property
    def wanted(self) -> bool:
        """Whether somebody asks, or waits to."""
        return self._waiters > 0

    async def quiet(self) -> None:
        """Until nobody asks or waits to."""
        await self._quiet.wait()

    async def ask(self, sql: str) -> list[Row]:
        """The rows of one statement; see ``Session.ask``."""
        question = _checked(sql)
        async with self._my_turn():
            hidden = await self.run([question])
        return _answers(hidden)[0].rows

    async def ask_together(self, queries: Sequence[str], settings: Sequence[str] = ()) -> list[list[Row]]:
        """The rows of each query; see ``Session.ask_together``."""
        asked = [_checked(sql) for sql in (*settings, *queries)]
        async with self._my_turn():
            # What only Parse and Describe opened is a transaction to the server: ours could not begin in it.
            if self._talk.core.release_locks():
                self._talk.flush()
                await self._talk.until_settled()
            hidden = await self._read_only(asked)
        first = 1 + len(settings)
        return [answer.rows for answer in _answers(hidden)[first : first + len(queries)]]

    async def analyse(self, sql: bytes, parameter_types: Sequence[int] = ()) -> dict[str, str]:
        """The server's error on a text that it parses and analyses where nothing can be written, and does not run.

        Empty if it has none. Call it only when the server owes nothing; raises ``CannotAsk``.
        """
        hidden = await self._read_only([Analysis(sql, tuple(parameter_types))])
        return hidden.report

    async def analysed(
        self, settings: Sequence[bytes], sql: bytes, parameter_types: Sequence[int] = ()
    ) -> list[tuple[str, str]]:
        """What the server says at the level LOG, each the routine of the server that said it and the detail, when it
        analyses a text under ``settings``, where nothing can be written; it does not run it. Call it only when the
        server owes nothing.

        Raises ``AskError`` and ``CannotAsk``.
        """
        hidden = await self._read_only([*settings, Analysis(sql, tuple(parameter_types))])
        if hidden.report:
            raise AskError(hidden.report)
        return hidden.notices

    async def _read_only(self, statements: Sequence[bytes | Analysis]) -> Hidden:
        """Run statements where nothing can be written, and of which nothing remains.

        The first of the answers is that of a statement in front. Raises ``CannotAsk``.
        """
        place = self._talk.core.place
        if place is Place.SERIES:
            raise CannotAsk(_IN_SERIES)
        if place is Place.IDLE:
            return await self.run([_BEGIN, *statements, b"ROLLBACK"])
        return await self.run([_READ_ONLY, *statements], passing=True)

    async def run(
        self, statements: Sequence[bytes | Analysis], *, guarded: bool = True, passing: bool = False
    ) -> Hidden:
        """Run statements of the gateway's own; call it only when the server owes nothing.

        See ``ProxyConnection.hide``. Raises ``CannotAsk``; an error of the server is in what is returned.
        """
        talk = self._talk
        if talk.over.done():
            raise CannotAsk("the session is over")
        if talk.core.place is Place.NOWHERE:
            raise CannotAsk(_NOT_NOW)
        hidden = talk.core.hide(statements, guarded=guarded, passing=passing)
        answer = self._answers[hidden] = asyncio.get_running_loop().create_future()
        talk.flush()
        ends: set[asyncio.Future[Any]] = {answer, talk.over}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise CannotAsk("the session ended before the server answered")
        return hidden

    @contextlib.asynccontextmanager
    async def _my_turn(self) -> AsyncIterator[None]:
        """One at a time, when the server owes nothing."""
        self._waiters += 1
        self._quiet.clear()
        try:
            async with self._turn:
                await self._talk.until_settled()
                yield
        finally:
            self._waiters -= 1
            if not self._waiters:
                self._quiet.set()

    def finished(self, hidden: Hidden) -> None:
        """The server answered."""
        answer = self._answers.pop(hidden, None)
        if answer is not None and not answer.done():
            answer.set_result(None)


def _checked(sql: str) -> bytes:
    if not sql.isascii() or "\\" in sql:
        raise ValueError("a question must read the same in every encoding and with every kind of string")
    return sql.encode()


def _answers(hidden: Hidden) -> list[Answer]:
    if hidden.report:
        raise AskError(hidden.report)
    return hidden.answers
