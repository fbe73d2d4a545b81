"""Posting to receivers that hang, break, lie, or send somebody elsewhere."""

import asyncio
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from gateway import clock
from gateway.notify.http import Poster, retry_after, tls_context
from gateway.notify.sender import NotSent
from tests.support.certificates import Authority
from tests.support.receivers import HANG, RESET, Behaviour, WebServer, web_server


async def post(server: WebServer, *, ca: Authority | None = None) -> bytes:
    poster = Poster(server.url, None if ca is None else ca.cert)
    try:
        return (await poster.post(f"{server.url}/s3cret", b"{}", {})).body
    finally:
        await poster.aclose()


@pytest.mark.parametrize(
    ("behaviour", "why", "after", "final"),
    [
        ((500, {}, b"oops"), "HTTP 500", None, False),
        ((429, {"Retry-After": "7"}, b""), "HTTP 429", 7.0, False),
        ((410, {}, b""), "HTTP 410", None, True),
        (
            (302, {"Location": "http://127.0.0.1:1/"}, b""),
            "HTTP 302: redirects are not",
            None,
            False,
        ),
        (RESET, "", None, False),
    ],
)
async def test_what_was_not_taken(behaviour: Behaviour, why: str, after: float | None, final: bool) -> None:
    async with web_server(behaviour) as server:
        with pytest.raises(NotSent) as raised:
            await post(server)
    assert str(raised.value).startswith(why)
    assert "s3cret" not in str(raised.value)
    assert (raised.value.retry_after, raised.value.final) == (after, final)
    assert len(server.seen) == 1


async def test_nobody_is_there() -> None:
    async with web_server() as server:
        pass
    with pytest.raises(NotSent, match=r"(?i)connect"):
        await post(server)


async def test_the_caller_limits_the_time() -> None:
    async with web_server(HANG) as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await post(server)


async def test_an_endless_answer_is_not_read_to_its_end() -> None:
    async with web_server((200, {}, b"x" * 5_000_000)) as server:
        assert len(await post(server)) == 64 * 1024


async def test_certificates_are_checked(authority: Authority) -> None:
    issued = authority.issue("hooks", addresses=["127.0.0.1"])
    context = authority.server_context(issued)
    async with web_server(context=context) as server:
        assert await post(server, ca=authority) == b""
        with pytest.raises(NotSent, match=r"^TLS: unable to get local issuer certificate"):
            await post(server)
    other = authority.server_context(authority.issue("other", names=["other.example"]))
    async with web_server(context=other) as server:
        with pytest.raises(NotSent, match=r"^TLS: IP address mismatch"):
            await post(server, ca=authority)


def test_a_file_that_holds_no_certificates() -> None:
    with pytest.raises(NotSent, match=r"certificates in .* cannot be used"):
        tls_context(Path(__file__))


@pytest.mark.parametrize(
    ("header", "expected"),
    [(None, None), ("", None), ("7", 7.0), ("-7", None), ("9" * 50, None), ("soon", None), ("²", None)],
)
def test_retry_after(header: str | None, expected: float | None) -> None:
    assert retry_after(header) == expected


def test_retry_after_may_be_a_date() -> None:
    found = retry_after(format_datetime(clock.now() + timedelta(seconds=90), usegmt=False))
    assert found is not None
    assert 80 < found <= 90
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert retry_after("Wed, 21 Oct 2015 07:28:00 -0000") == 0.0
