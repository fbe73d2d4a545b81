"""The two links of one session and the protocol core between them: writing, waiting for the server, ending."""

import asyncio
from typing import Any, Final

from gateway.link import WRITE_HIGH, Link
from protocol import messages
from protocol.connection import ProxyConnection
from protocol.errors import ServerError

__all__ = ["Conversation"]

LINGER_SECONDS: Final = 10.0
"""How long what is queued for a peer may take to be written after the session ended."""


class Conversation:
    """What a session says to its client and its server. ``over`` is resolved with the reason of its end."""

    def __init__(self, core: ProxyConnection, client: Link, upstream: Link) -> None:
        self.core = core
        self.client = client
        self.upstream = upstream
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.why = "client disconnected"
        self.farewell: ServerError | None = None
        """What the client is told once what runs has finished, before the session ends."""
        self.client_gone = False
        self.half_closed = False
        self._settling: list[asyncio.Future[None]] = []

    def flush(self) -> None:
        """Write what the core has for either side."""
        to_upstream = self.core.data_to_upstream()
        if to_upstream:
            if len(to_upstream) == 1:
                self.upstream.write(to_upstream[0])
            elif sum(map(len, to_upstream)) <= WRITE_HIGH:
                self.upstream.write(b"".join(to_upstream))
            else:
                self.upstream.writelines(to_upstream)
        to_client = self.core.data_to_client()
        if to_client and not self.client_gone:
            if len(to_client) == 1:
                self.client.write(to_client[0])
            else:
                self.client.writelines(to_client)

    def notify(self, notice: ServerError) -> None:
        """Tell the client something, at the next message boundary."""
        self.core.notice(notice)
        self.flush()

    # Waiting for the server ----------------------------------------------------------------------------

    async def until_settled(self) -> None:
        """Until the server owes nothing, or the session is over."""
        while not self.core.settled and not self.over.done():
            self.core.request_answers()
            self.flush()
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._settling.append(future)
            ends: set[asyncio.Future[Any]] = {future, self.over}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)

    def settled(self) -> bool:
        """The server owes nothing now: wake who waits for that. Returns whether anybody did."""
        waiting, self._settling = self._settling, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
        return bool(waiting)

    # Ending --------------------------------------------------------------------------------------------

    def say_goodbye(self, error: ServerError) -> None:
        """Give the client its last message, if one may follow what it was given."""
        if self.core.at_client_boundary and not self.client_gone:
            self.client.write(messages.error_response(error))

    def finish(self, why: str | None = None) -> None:
        """End both connections: the client's after what is queued, the server's by Terminate."""
        if self.over.done():
            return
        # Whoever records how it ended has to know of all that was under way.
        self.core.leave_fast_path()
        if why is not None:
            self.why = why
        self.over.set_result(self.why)
        self.upstream.write(messages.TERMINATE)
        self.upstream.close()
        self.client.close()
        # A peer that does not read would keep its socket for ever.
        loop = asyncio.get_running_loop()
        loop.call_later(LINGER_SECONDS, self.client.abort)
        loop.call_later(LINGER_SECONDS, self.upstream.abort)
