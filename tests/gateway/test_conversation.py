"""The two links of a session: what is written where, who is woken, and how it ends."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from gateway import conversation
from gateway.conversation import Conversation
from gateway.link import WRITE_HIGH, Link
from gateway.tasks import spawn
from protocol.connection import ProxyConnection
from protocol.errors import ServerError
from protocol.events import NEED_DATA, PAUSED, RequestReady
from protocol.frontend import Limits
from tests.support.answers import command_complete, data_row, parse_complete, ready, row_description
from tests.support.wire import H, P, Q, S, X, messages_in, tags

NOTICE = ServerError("01000", "by the way", severity="NOTICE")
FAREWELL = ServerError("57P01", "goodbye", severity="FATAL")


@dataclass
class Ends:
    """The far ends of both connections."""

    talk: Conversation
    client: asyncio.StreamReader
    client_writer: asyncio.StreamWriter
    server: asyncio.StreamReader
    server_writer: asyncio.StreamWriter

    def asks(self, *messages: bytes) -> None:
        """The client's messages are taken, and every request in them is forwarded."""
        core = self.talk.core
        core.receive_from_client(b"".join(messages))
        while (event := core.next_event()) is not NEED_DATA and event is not PAUSED:
            if isinstance(event, RequestReady):
                core.forward(event.request)
        self.talk.flush()

    def answers(self, *messages: bytes) -> bool:
        """The server's messages are taken; returns whether somebody waited for what they settle."""
        core = self.talk.core
        core.receive_from_upstream(b"".join(messages))
        while core.next_event() not in (NEED_DATA, PAUSED):
            pass
        self.talk.flush()
        return core.settled and self.talk.settled()


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    loop = asyncio.get_running_loop()
    links: list[Link] = []
    streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    for _ in range(2):
        near, far = socket.socketpair()
        near.setblocking(False)
        _, link = await loop.create_connection(Link, sock=near)
        links.append(link)
        streams.append(await asyncio.open_connection(sock=far))
    yield Ends(Conversation(ProxyConnection(Limits()), *links), *streams[0], *streams[1])
    for link, (_, writer) in zip(links, streams, strict=True):
        link.abort()
        writer.transport.abort()
    await asyncio.sleep(0)


class TestWriting:
    async def test_both_sides_get_what_is_theirs(self, ends: Ends) -> None:
        ends.asks(Q("SELECT 1"))
        assert await ends.server.readexactly(len(Q("SELECT 1"))) == Q("SELECT 1")
        answer = row_description("a"), data_row("1"), command_complete("SELECT 1"), ready()
        ends.answers(*answer)
        assert await ends.client.readexactly(len(b"".join(answer))) == b"".join(answer)

    @pytest.mark.parametrize("size", [10, WRITE_HIGH])
    async def test_pieces_arrive_in_order_however_large(self, ends: Ends, size: int) -> None:
        sent = [P(f"SELECT '{number}{'x' * size}'", f"s{number}") for number in range(4)]
        ends.asks(*sent, S())
        whole = b"".join((*sent, S()))
        assert await ends.server.readexactly(len(whole)) == whole

    async def test_a_client_that_is_gone_gets_nothing(self, ends: Ends) -> None:
        ends.asks(Q("SELECT 1"))
        ends.talk.client_gone = True
        ends.answers(command_complete("SELECT 1"), ready())
        ends.talk.finish()
        assert await ends.client.read() == b""

    async def test_a_notice_waits_for_the_end_of_a_message(self, ends: Ends) -> None:
        ends.asks(Q("SELECT 1"))
        row = data_row("x" * 100)
        ends.answers(row_description("a"), row[:50])
        ends.talk.notify(NOTICE)
        ends.answers(row[50:], command_complete("SELECT 1"), ready())
        ends.talk.finish()
        assert tags(messages_in(await ends.client.read())) == "TDNCZ"


class TestWaiting:
    async def test_until_the_server_has_answered(self, ends: Ends) -> None:
        ends.asks(Q("SELECT 1"))
        waiting = [spawn(ends.talk.until_settled(), name="test") for _ in range(2)]
        await asyncio.sleep(0)
        assert not ends.answers(command_complete("SELECT 1"))
        assert not any(task.done() for task in waiting)
        assert ends.answers(ready())
        async with asyncio.timeout(5):
            await asyncio.gather(*waiting)
        assert not ends.talk.settled()

    async def test_what_the_server_may_hold_back_is_asked_for(self, ends: Ends) -> None:
        ends.talk.core = ProxyConnection(Limits(batch=20))
        # Passed on for its size, before the client has sent the Sync or Flush that makes the server answer.
        ends.asks(P("SELECT 1", "s" * 20))
        assert await ends.server.readexactly(len(P("SELECT 1", "s" * 20))) == P("SELECT 1", "s" * 20)
        waiting = spawn(ends.talk.until_settled(), name="test")
        assert await asyncio.wait_for(ends.server.readexactly(5), 5) == H()
        assert ends.answers(parse_complete())
        await asyncio.wait_for(waiting, 5)

    async def test_nobody_waits_for_a_session_that_is_over(self, ends: Ends) -> None:
        ends.asks(Q("SELECT 1"))
        waiting = spawn(ends.talk.until_settled(), name="test")
        await asyncio.sleep(0)
        ends.talk.finish("enough")
        await asyncio.wait_for(waiting, 5)
        assert not ends.talk.core.settled
        await asyncio.wait_for(ends.talk.until_settled(), 5)

    async def test_nobody_waits_where_nothing_is_owed(self, ends: Ends) -> None:
        await asyncio.wait_for(ends.talk.until_settled(), 5)
        assert not ends.talk.settled()


class TestEnding:
    async def test_both_connections_end_in_order(self, ends: Ends) -> None:
        ends.talk.say_goodbye(FAREWELL)
        ends.talk.finish("the gateway stopped")
        ends.talk.finish("something else")
        assert await ends.talk.over == "the gateway stopped"
        (error,) = messages_in(await ends.client.read())
        assert (error.fields["S"], error.sqlstate, error.fields["M"]) == ("FATAL", "57P01", "goodbye")
        assert await ends.server.read() == X()

    async def test_the_reason_noted_before_counts_where_none_is_given(self, ends: Ends) -> None:
        ends.talk.why = "ended by root"
        ends.talk.finish()
        assert await ends.talk.over == "ended by root"

    async def test_no_farewell_inside_a_message(self, ends: Ends) -> None:
        ends.asks(Q("SELECT 1"))
        half = row_description("a") + data_row("x" * 100)[:50]
        ends.answers(half)
        ends.talk.say_goodbye(FAREWELL)
        ends.talk.finish()
        assert await ends.client.read() == half

    async def test_no_farewell_to_who_is_gone(self, ends: Ends) -> None:
        ends.talk.client_gone = True
        ends.talk.say_goodbye(FAREWELL)
        ends.talk.finish()
        assert await ends.client.read() == b""

    async def test_what_is_queued_arrives_before_the_end(self, ends: Ends) -> None:
        ends.asks(Q("SELECT 1"))
        row = data_row("x" * 5_000_000)
        ends.answers(row)
        ends.talk.finish()
        assert await ends.client.read() == row

    async def test_a_peer_that_does_not_read_keeps_no_connection(
        self, ends: Ends, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(conversation, "LINGER_SECONDS", 0.1)
        ends.client_writer.transport.pause_reading()  # type: ignore[attr-defined]
        ends.asks(Q("SELECT 1"))
        ends.answers(data_row("x" * 20_000_000))
        ends.talk.finish()
        async with asyncio.timeout(10):
            while not (ends.talk.client.lost and ends.talk.upstream.lost):
                await asyncio.sleep(0.01)
        ends.client_writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert len(await ends.client.read()) < 20_000_000
