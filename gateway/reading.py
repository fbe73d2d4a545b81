"""Having the texts of a request read elsewhere, where they are too much to be read on the event loop."""

import asyncio
from collections.abc import Sequence
from typing import Any

from gateway.arbiter import Arbiter, UnreadText
from gateway.conversation import Conversation
from gateway.readers.pool import ParsePool
from gateway.tasks import spawn
from rules import Facts, unread

__all__ = ["Reading"]


class Reading:
    """What one session has in front of the readers: the texts of one request, one after the other."""

    def __init__(self, pool: ParsePool, arbiter: Arbiter, talk: Conversation, session_id: str) -> None:
        self._pool = pool
        self._arbiter = arbiter
        self._talk = talk
        self._session_id = session_id
        self._given_up: asyncio.Future[None] | None = None

    async def read(self, texts: Sequence[UnreadText]) -> None:
        """Until the arbiter has learned what these texts are. What nobody waits for any more is unreadable."""
        given_up = self._given_up = asyncio.get_running_loop().create_future()
        try:
            for text in texts:
                self._arbiter.learn(text, await self._read(text, given_up))
        finally:
            self._given_up = None

    @property
    def under_way(self) -> bool:
        """Whether somebody waits for a text to be read."""
        return self._given_up is not None and not self._given_up.done()

    def give_up(self) -> bool:
        """Wait no longer for what is being read; False if nothing is."""
        if self._given_up is None or self._given_up.done():
            return False
        self._given_up.set_result(None)
        return True

    def done(self) -> None:
        """The request was ruled on."""
        self._arbiter.forget()

    async def _read(self, text: UnreadText, given_up: "asyncio.Future[None]") -> Facts:
        talk = self._talk
        if not (given_up.done() or talk.over.done() or talk.farewell is not None):
            reading = spawn(
                self._pool.read(text.judge, text.sql, text.context, owner=self._session_id),
                name=f"reading {self._session_id}",
            )
            ends: set[asyncio.Future[Any]] = {reading, given_up, talk.over}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                return reading.result()
            reading.cancel()
        return unread("nobody waited for it to be read")
