"""What is true of every request and every response, and what junk gets."""

import asyncio
import contextlib
import dataclasses
import json
import logging
import ssl
from pathlib import Path

import httpx
import pytest

import gateway.api.shield
from gateway.api.shield import BODY_BYTES, DISCARDED_BYTES, host_allowed
from gateway.config import Config, Role, load_config
from tests.gateway.management import Desk, management, write_config
from tests.support.certificates import Authority


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = write_config(tmp_path, admin={"public_url": "https://holdgate.example.org:8443/x"})
    return load_config(path)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:7433", True),
        ("[::1]:7433", True),
        ("192.0.2.7", True),
        ("localhost", True),
        ("LOCALHOST:1", True),
        ("holdgate.example.org", True),
        ("HoldGate.example.org:443", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
        (":7433", False),
        ("a@localhost", False),
        ("localhost/path", False),
        ("localhost?x", False),
        ("localhost#x", False),
        ("localhost:port", False),
        ("localhost:99999", False),
        ("[::1", False),
        ("0x7f.1", False),
        ("\x00", False),
    ],
)
def test_which_names_are_answered(config: Config, host: str, allowed: bool) -> None:
    assert host_allowed(host, config) is allowed


def test_the_name_it_listens_on_is_its_own(config: Config) -> None:
    named = dataclasses.replace(config, admin=dataclasses.replace(config.admin, address="Gate.internal"))
    assert host_allowed("gate.internal:7433", named)


async def raw(desk: Desk, request: bytes, *, end: bool = False) -> bytes:
    """Everything the port answers to these very bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", desk.server.port)
    try:
        writer.write(request)
        if end:
            writer.write_eof()
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionResetError:
        # Closed with what was sent unread.
        return b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


class TestEveryResponse:
    async def test_the_headers_of_a_careful_server(self, desk: Desk) -> None:
        async with await desk.client("vic") as client:
            for path, code in (
                ("/", 200),
                ("/healthz", 200),
                ("/api/v1/me", 200),
                ("/console/console.js", 200),
                ("/nowhere", 404),
                ("/api/v1/tokens", 403),
            ):
                answer = await client.get(path)
                assert answer.status_code == code
                assert answer.headers["content-security-policy"] == (
                    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
                    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
                )
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.headers["x-frame-options"] == "DENY"
                assert answer.headers["referrer-policy"] == "same-origin"
                assert answer.headers["cache-control"] == "no-store"
                assert answer.headers["cross-origin-resource-policy"] == "same-origin"
                assert "server" not in answer.headers
                assert "strict-transport-security" not in answer.headers
                assert "access-control-allow-origin" not in answer.headers

    async def test_a_name_it_does_not_know_is_refused(self, desk: Desk) -> None:
        async with await desk.client("root", *Role) as client:
            for path in ("/", "/healthz", "/api/v1/me"):
                answer = await client.get(path, headers={"Host": "rebound.example"})
                assert answer.status_code == 421
                assert answer.json()["type"] == "urn:holdgate:problem:unknown-host"
                assert "admin.public_url" in answer.json()["detail"]

    async def test_a_failure_inside_is_a_problem_with_a_reference(
        self, desk: Desk, caplog: pytest.LogCaptureFixture
    ) -> None:
        desk.failure = RuntimeError("the inside")
        caplog.set_level(logging.ERROR)
        async with await desk.client("vic") as client:
            answer = await client.post("/api/v1/check", json={"sql": "SELECT 1"})
            assert answer.status_code == 500
            problem = answer.json()
            assert problem["type"] == "urn:holdgate:problem:internal"
            assert "the inside" not in answer.text
            reference = problem["detail"].rstrip(".").rpartition(" ")[2]
            assert reference in caplog.text
            assert "the inside" in caplog.text
            # Nothing else is disturbed.
            assert (await client.get("/api/v1/me")).status_code == 200


class TestBodies:
    async def test_a_body_has_an_end(self, desk: Desk) -> None:
        async with await desk.client("vic") as client:
            fits = json.dumps({"sql": "x" * (BODY_BYTES - 11)}).encode()
            assert len(fits) == BODY_BYTES
            headers = {"Content-Type": "application/json"}
            answer = await client.post("/api/v1/check", content=fits, headers=headers)
            assert answer.status_code == 200
            for content in (fits + b" ", b"x" * DISCARDED_BYTES):
                answer = await client.post("/api/v1/check", content=content, headers=headers)
                assert answer.status_code == 413
                assert answer.json()["type"] == "urn:holdgate:problem:body-too-large"

    async def test_a_body_without_a_length_is_counted(self, desk: Desk) -> None:
        head = b"POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        assert status(await raw(desk, head + chunk + b"1\r\nx\r\n0\r\n\r\n")) == 413
        # One that never ends is not read to its end.
        answer = await raw(desk, head + chunk * 100)
        assert answer == b"" or status(answer) == 413

    async def test_a_length_that_is_only_claimed_is_not_waited_for(self, desk: Desk) -> None:
        head = b"POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        assert status(await raw(desk, head % 10**15)) == 413

    async def test_a_body_that_does_not_come_is_not_waited_for_long(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gateway.api.shield, "BODY_SECONDS", 0.05)
        head = b"POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n{"
        answer = await raw(desk, head)
        assert status(answer) == 408
        assert b"urn:holdgate:problem:body-too-slow" in answer

    async def test_headers_have_an_end_however_they_come(self, desk: Desk) -> None:
        head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        assert status(await raw(desk, head + b"X: y\r\n" * 1_000 + b"\r\n")) == 200
        for more in (b"X: y\r\n" * 18_000, b"X: " + b"y" * 33_000 + b"\r\n"):
            answer = await raw(desk, head + more + b"\r\n")
            assert answer == b"" or status(answer) in (400, 431)

    async def test_a_client_that_leaves_in_the_middle(self, desk: Desk) -> None:
        head = b"POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{"
        reader, writer = await asyncio.open_connection("127.0.0.1", desk.server.port)
        writer.write(head)
        await writer.drain()
        writer.transport.abort()
        await asyncio.wait_for(reader.read(), 10)
        async with await desk.client() as client:
            assert (await client.get("/healthz")).status_code == 200


JUNK = [
    b"\0" * 100,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0x10\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
    b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX : y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n Folded: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: \x00\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
]


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
async def test_junk_is_refused_and_disturbs_nobody(desk: Desk, junk: bytes) -> None:
    async with await desk.client("vic") as client:
        assert (await client.get("/api/v1/me")).status_code == 200
        answer = await raw(desk, junk, end=True)
        assert answer == b"" or 400 <= status(answer) < 600
        assert (await client.get("/api/v1/me")).status_code == 200


async def test_a_websocket_is_not_spoken(desk: Desk) -> None:
    answer = await raw(
        desk,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        end=True,
    )
    assert status(answer) != 101


async def test_a_path_is_never_a_path_on_the_disk(desk: Desk) -> None:
    async with await desk.client() as client:
        for name in (
            "index.html",
            "..%2findex.html",
            "%2e%2e%2f%2e%2e%2fapp.py",
            "",
            "console.js%00",
            "CONSOLE.JS",
        ):
            assert (await client.get(f"/console/{name}")).status_code == 404
    answer = await raw(
        desk, b"GET /console/../../app.py HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    assert status(answer) == 404


async def test_over_https_browsers_are_told_to_stay_there(tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue("localhost", addresses=["127.0.0.1"])
    tls = {"cert": str(issued.cert), "key": str(issued.key)}
    async with management(tmp_path, admin={"tls": tls}) as desk:
        context = ssl.create_default_context(cafile=str(tmp_path / "authority.crt"))
        async with httpx.AsyncClient(base_url=desk.url, verify=context) as client:
            answer = await client.get("/healthz")
            assert answer.headers["strict-transport-security"] == "max-age=31536000"
            login = {"user": "carol", "password": "correct horse"}
            cookie = (await client.post("/api/v1/login", json=login)).headers["set-cookie"]
            assert cookie.startswith("__Host-holdgate=")
            assert "Secure" in cookie.split("; ")
            assert (await client.get("/api/v1/me")).json()["user"] == "carol"
