"""The server of the management port: opened, named, and closed."""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

import gateway.api.server
from gateway.api.server import ManagementServer, PortUnavailable
from tests.gateway.management import Desk, management
from tests.support.certificates import Authority


async def refusal(folder: Path, **admin: Any) -> str:
    """Why the port does not open."""
    with pytest.raises(PortUnavailable) as refused:
        async with management(folder, admin=admin):
            raise AssertionError("it opened")
    assert "\n" not in str(refused.value)
    return str(refused.value)


async def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        said = await refusal(tmp_path, port=port)
    assert (
        said
        == f"cannot open the management port 127.0.0.1:{port}: it is in use; set admin.port to a free one"
    )


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("no.such.host.invalid", "admin.address no.such.host.invalid is not an address of this machine"),
        ("192.0.2.1", "cannot open the management port 192.0.2.1:0: cannot assign requested address"),
    ],
)
async def test_an_address_of_another_machine_is_one_line(tmp_path: Path, address: str, says: str) -> None:
    issued = Authority(tmp_path).issue("localhost")
    said = await refusal(tmp_path, address=address, tls={"cert": str(issued.cert), "key": str(issued.key)})
    assert says in said


async def test_a_certificate_that_does_not_fit_its_key_is_one_line(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    one, other = authority.issue("one"), authority.issue("other")
    said = await refusal(tmp_path, tls={"cert": str(one.cert), "key": str(other.key)})
    assert said.startswith(f"cannot use the certificate of the management port ({one.cert}, {other.key}): ")


async def test_it_speaks_tls_of_this_century_only(tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue("localhost", addresses=["127.0.0.1"])
    async with management(
        tmp_path, admin={"tls": {"cert": str(issued.cert), "key": str(issued.key)}}
    ) as desk:
        context = ssl.create_default_context(cafile=str(tmp_path / "authority.crt"))
        async with httpx.AsyncClient(verify=context) as client:
            assert (await client.get(f"{desk.url}/healthz")).status_code == 200
        assert desk.server.url == desk.url
        with pytest.raises(httpx.TransportError):
            async with httpx.AsyncClient() as client:
                await client.get(desk.url.replace("https", "http"))
        async with httpx.AsyncClient(verify=context) as client:
            assert (await client.get(f"{desk.url}/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("admin", "url"),
    [
        ({}, "http://127.0.0.1:{port}"),
        ({"address": "localhost"}, "http://localhost:{port}"),
        ({"address": "::1"}, "http://[::1]:{port}"),
        ({"public_url": "https://holdgate.example.org/"}, "https://holdgate.example.org"),
    ],
)
async def test_people_are_told_an_address_that_they_can_reach(
    tmp_path: Path, admin: Mapping[str, Any], url: str
) -> None:
    async with management(tmp_path, admin=admin) as desk:
        assert desk.server.url == url.format(port=desk.server.port)
        assert (await desk.server.sign_in_link("carol")).startswith(f"{desk.server.url}/login?code=")


async def test_everywhere_is_reached_here(tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue("localhost", addresses=["127.0.0.1"])
    tls = {"cert": str(issued.cert), "key": str(issued.key)}
    async with management(tmp_path, admin={"address": "0.0.0.0", "tls": tls}) as desk:
        assert desk.server.url == f"https://127.0.0.1:{desk.server.port}"


async def test_stopping_frees_the_port_and_may_be_done_twice(tmp_path: Path) -> None:
    async with management(tmp_path) as desk:
        port = desk.server.port
        await desk.server.stop()
        await desk.server.stop()
        with closing(socket.create_server(("127.0.0.1", port))):
            pass
        await ManagementServer(desk.server._services).stop()


async def test_a_request_under_way_is_finished_before_the_stop(desk: Desk) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(*_: object) -> object:
        entered.set()
        await leave.wait()
        raise ValueError("seen")

    desk.check = slow  # type: ignore[method-assign, assignment]
    services = desk.server._services
    object.__setattr__(services, "check", slow)
    async with await desk.client("vic") as client:
        asking = asyncio.ensure_future(client.post("/api/v1/check", json={"sql": "SELECT 1"}))
        await entered.wait()
        stopping = asyncio.ensure_future(desk.server.stop())
        await asyncio.sleep(0)
        leave.set()
        assert (await asking).status_code == 500
        async with asyncio.timeout(10):
            await stopping


async def closed(reader: asyncio.StreamReader) -> bool:
    """Whether the server ends the connection without a word."""
    try:
        async with asyncio.timeout(10):
            return await reader.read() == b""
    except ConnectionResetError:
        return True


class TestSlowClients:
    @pytest.fixture(autouse=True)
    def impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gateway.api.server, "HEAD_SECONDS", 0.2)

    @pytest.mark.parametrize("sent", [b"", b"G", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"])
    async def test_a_head_that_does_not_come_is_not_waited_for(self, desk: Desk, sent: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", desk.server.port)
        writer.write(sent)
        assert await closed(reader)
        writer.close()

    async def test_neither_is_one_that_comes_byte_by_byte(self, desk: Desk) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", desk.server.port)
        ending = asyncio.ensure_future(closed(reader))
        for byte in b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" * 99:
            if ending.done():
                break
            writer.write(bytes((byte,)))
            await asyncio.sleep(0.01)
        assert await ending
        writer.close()

    async def test_the_second_request_has_no_more_time_than_the_first(self, desk: Desk) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", desk.server.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(10):
            assert b'{"status":"ok"}' in await reader.readuntil(b"}")
        writer.write(b"GET /heal")
        assert await closed(reader)
        writer.close()

    async def test_a_slow_answer_is_waited_for(self, desk: Desk) -> None:
        async with await desk.client("vic") as client, client.stream("GET", "/api/v1/events") as response:
            lines = response.aiter_lines()
            await anext(lines)
            await asyncio.sleep(0.5)
            await desk.open()
            async with asyncio.timeout(10):
                async for line in lines:
                    if line.startswith("event: "):
                        break
            assert line == "event: hold.opened"
            # Nor is a connection ended between two requests.
        async with await desk.client() as client:
            assert (await client.get("/healthz")).status_code == 200
            await asyncio.sleep(0.5)
            assert (await client.get("/healthz")).status_code == 200
