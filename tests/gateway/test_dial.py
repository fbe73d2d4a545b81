"""Addresses of servers, and the one byte that answers a request for TLS."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from gateway.config import Database
from gateway.dial import Endpoint, endpoints, open_socket, request_tls
from protocol.errors import UpstreamViolation
from protocol.startup import ssl_request


async def test_unix_socket() -> None:
    (found,) = await endpoints(Database("/run/postgresql/", 5433))
    assert found.address == "/run/postgresql/.s.PGSQL.5433"
    assert found.local
    assert found.private


async def test_name_with_several_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1%eth0", 5432, 0, 2)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 5432)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 5432)),
    ]

    async def getaddrinfo(*_: object, **__: object) -> object:
        return answers

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    found = await endpoints(Database("db.internal"))
    assert [endpoint.address[0] for endpoint in found] == ["fe80::1%eth0", "192.0.2.1"]
    assert not any(endpoint.private or endpoint.local for endpoint in found)


@pytest.mark.parametrize(
    ("address", "private"), [("127.0.0.1", True), ("::1", True), ("::1%lo", True), ("10.0.0.1", False)]
)
def test_what_stays_on_this_machine(address: str, private: bool) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    assert Endpoint("db", family, (address, 5432)).private is private


@contextlib.asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[Endpoint]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(8) == ssl_request()
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Endpoint("127.0.0.1", socket.AF_INET, server.sockets[0].getsockname())


@pytest.mark.parametrize(("answer", "agreed"), [(b"S", True), (b"N", False)])
async def test_answer(answer: bytes, agreed: bool) -> None:
    async with answering(answer + b"x") as endpoint, open_socket(endpoint) as sock:
        assert await request_tls(sock) is agreed
        # What follows is left in the socket, where only a TLS handshake will read it.
        assert await asyncio.get_running_loop().sock_recv(sock, 10) == b"x"
        sock.close()


@pytest.mark.parametrize(("answer", "error"), [(b"E", UpstreamViolation), (b"", ConnectionResetError)])
async def test_no_answer(answer: bytes, error: type[Exception]) -> None:
    async with answering(answer) as endpoint:
        with pytest.raises(error):
            async with open_socket(endpoint) as sock:
                await request_tls(sock)
        assert sock.fileno() == -1
