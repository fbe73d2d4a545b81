"""The management port as a command sees it: every way it can fail is one line that says what to do."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

import gateway.cli.client
from gateway.cli.client import ServerEvent, _parse, part
from gateway.config import Role
from tests.gateway.cli.running import holdgate
from tests.gateway.management import Desk, management
from tests.support.certificates import Authority


@asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[str]:
    """The address of a server that answers every request with these bytes; None: with nothing, ever."""
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            if answer is None:
                await done.wait()
            else:
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        done.set()
        server.close()
        await server.wait_closed()


def response(body: bytes, status: str = "200 OK", kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


async def listing(server: str, token: str = "hg_x") -> str:
    """What ``holds list`` fails with, in one line."""
    return (await holdgate("holds", "list", HOLDGATE_SERVER=server, HOLDGATE_TOKEN=token)).failed()


async def test_without_a_token_it_says_where_to_get_one(desk: Desk) -> None:
    said = await holdgate("holds", "list", HOLDGATE_SERVER=desk.url)
    assert said.failed(2) == (
        "no token: holdgate login, or set HOLDGATE_TOKEN (holdgate token create -c FILE makes one)"
    )


@pytest.mark.parametrize("token", ["ü", "a\nb", "a\x1bb", "\udcff"])
async def test_a_token_that_cannot_be_one_is_not_sent(desk: Desk, token: str) -> None:
    said = await holdgate("holds", "list", "--token", token, "--server", desk.url)
    assert said.failed(2) == "the token holds characters that no token has; copy it again"


@pytest.mark.parametrize("state", ["unknown", "revoked", "expired"])
async def test_a_token_that_is_not_accepted(desk: Desk, state: str) -> None:
    made, secret = await desk.tokens.issue("vic", {Role.VIEWER})
    if state == "revoked":
        await desk.tokens.revoke(made.id)
    token = secret if state != "unknown" else "hg_" + "0" * 38
    if state == "expired":
        desk.config = desk.config.__class__(
            **{name: getattr(desk.config, name) for name in desk.config.__slots__ if name != "users"},
            users={},
        )
    assert await listing(desk.url, token) == "the token is not accepted: it is unknown, expired or revoked"


@pytest.mark.parametrize(
    "server",
    [
        "127.0.0.1:7433",
        "ftp://127.0.0.1",
        "http://",
        "http://[::1",
        "http://127.0.0.1:port",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:0",
        "http://a@127.0.0.1",
        "http://127.0.0.1/?a=b",
        "http://127.0.0.1/\x1b[2J",
        "//127.0.0.1",
    ],
)
async def test_an_address_that_is_none(server: str) -> None:
    said = await holdgate("holds", "list", "--server", server, "--token", "hg_x")
    assert "is not an address such as http://127.0.0.1:7433" in said.failed(2)


async def test_a_token_is_not_sent_in_the_clear() -> None:
    said = await holdgate("holds", "list", "--server", "http://holdgate.example.org", "--token", "hg_x")
    assert said.failed(2) == (
        "use https for holdgate.example.org: over http anybody on the way can read the token"
    )


async def test_nobody_listens() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    said = await listing(f"http://127.0.0.1:{port}")
    assert said.startswith(f"cannot reach http://127.0.0.1:{port}: ")
    assert said.endswith("; is the gateway running?")


async def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.cli.client, "_SECONDS", 0.2)
    async with answering(None) as server:
        assert await listing(server) == f"{server} did not answer within 0 s"


@pytest.mark.parametrize(
    "answer",
    [
        response(b"<html>hello</html>", kind="text/html"),
        response(b"[]"),
        response(b"{}"),
        response(b'{"sessions": []}'),
        response(b"\xff\xfe"),
        response(b"null"),
    ],
)
async def test_somebody_else_answers(answer: bytes) -> None:
    async with answering(answer) as server:
        said = await listing(server)
    assert said == f"{server} is not the management port of a gateway; set HOLDGATE_SERVER to its address"


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nx"]
)
async def test_something_else_answers(answer: bytes) -> None:
    async with answering(answer) as server:
        assert (await listing(server)).startswith(f"cannot reach {server}: ")


async def test_a_refusal_in_other_words_is_passed_on_harmlessly() -> None:
    async with answering(response(b'{"detail": "no\\u001b[2J\\n\\u202e!"}', "418 I'm a teapot")) as server:
        assert await listing(server) == r"no\x1b[2J \u202e!"
    for body in (b"", b"[]", b"{}", b"<html>", b'{"detail": 5}'):
        async with answering(response(body, "502 Bad Gateway")) as server:
            said = await listing(server)
        assert said == ("5" if b"5" in body else f"{server} answered 502 Bad Gateway")


async def test_a_redirection_is_not_followed() -> None:
    head = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    async with answering(head) as server:
        assert await listing(server) == f"{server} answered 307 Temporary Redirect"


async def test_a_store_that_is_gone_is_said(desk: Desk, tmp_path: Path) -> None:
    token = await desk.token("vic")
    await desk.store.close()
    (tmp_path / "holdgate.db").rename(tmp_path / "elsewhere")
    (tmp_path / "holdgate.db").mkdir()
    assert await listing(desk.url, token) == "The store does not answer. Try again later."
    (tmp_path / "holdgate.db").rmdir()
    (tmp_path / "elsewhere").rename(tmp_path / "holdgate.db")


async def test_a_certificate_nobody_knows_is_not_trusted(tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue("localhost", addresses=["127.0.0.1"])
    async with management(
        tmp_path, admin={"tls": {"cert": str(issued.cert), "key": str(issued.key)}}
    ) as desk:
        said = await listing(desk.url, await desk.token("vic"))
        assert "CERTIFICATE_VERIFY_FAILED" in said


async def test_a_proxy_of_the_environment_is_not_asked_about_this_machine(desk: Desk) -> None:
    said = await holdgate(
        *("holds", "list"),
        HOLDGATE_SERVER=desk.url,
        HOLDGATE_TOKEN=await desk.token("vic"),
        HTTP_PROXY="http://127.0.0.1:1",
        ALL_PROXY="http://127.0.0.1:1",
    )
    assert said.code == 0


def test_an_id_is_one_part_of_a_path() -> None:
    assert part("../me?x#y/%") == "..%2Fme%3Fx%23y%2F%25"


def test_events_are_read_as_the_standard_says() -> None:
    def lines() -> Iterator[str]:
        yield from (
            ": comment",
            "retry: 2000",
            "",
            "id: 1",
            "event: hold.opened",
            "data: {",
            "data: }",
            "",
            "data",
        )
        yield from ("", "event: nothing", "", "data: unfinished")

    events = [(event.id, event.kind, event.data) for event in _parse(lines())]
    assert events == [("1", "hold.opened", "{}")]
    assert isinstance(ServerEvent("", "", ""), ServerEvent)
