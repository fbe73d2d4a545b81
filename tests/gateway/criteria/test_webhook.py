"""Asking a web service: what it is sent, and what is made of what it answers."""

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config import WebCheck
from gateway.criteria.webhook import ANSWER_BYTES, WHY_LENGTH, WebChecks
from rules import CriterionOutcome, Intent
from tests.gateway.store.samples import hold
from tests.support.certificates import Authority
from tests.support.webservice import KEY, WebService, answering, web_service

MET, UNMET = CriterionOutcome.MET, CriterionOutcome.UNMET
DENIED, UNCHECKED = CriterionOutcome.DENIED, CriterionOutcome.UNCHECKED


@pytest.fixture
async def desk() -> AsyncIterator[WebService]:
    async with web_service() as service:
        yield service


def service_at(url: str, **changes: Any) -> WebCheck:
    return WebCheck(**{"name": "desk", "url": url, "keys": (KEY,), **changes})


async def test_it_is_sent_the_hold_and_signed_by_each_key(desk: WebService) -> None:
    one = hold(intent=Intent("asked for", "GDPR-7"))
    older = b"the key of the months before this"
    found = await WebChecks().ask(service_at(desk.url, keys=(KEY, older)), one)
    assert found == (MET, "")
    (asked,) = desk.asked
    assert asked.head.startswith("POST /holdgate HTTP/1.1\r\n")
    assert asked.json["type"] == "hold.check"
    assert asked.json["data"] == {"check": "desk", "hold": json.loads(json.dumps(one.to_dict()))}
    assert asked.is_signed(KEY)
    assert asked.is_signed(older)
    assert not asked.is_signed(b"another")
    assert asked.headers["webhook-id"].startswith("msg_")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"decision": "allow", "reason": "request 7 is verified"}, (MET, "request 7 is verified")),
        ({"decision": "deny", "reason": "a lawsuit"}, (DENIED, "a lawsuit")),
        ({"decision": "deny"}, (DENIED, "it gives no reason")),
        ({"decision": "ask", "reason": None, "more": 1}, (UNMET, "it leaves it to people")),
        ({"decision": "deny", "reason": "a\n\x1b[2J" + "x" * 999}, (DENIED, None)),
        # Lies, and what is no answer.
        ({"decision": "Allow"}, (UNCHECKED, "its answer has no decision that is allow, deny or ask")),
        ({"decision": True}, (UNCHECKED, None)),
        ({"decision": ["allow"]}, (UNCHECKED, None)),
        ({"allow": True}, (UNCHECKED, None)),
        (["allow"], (UNCHECKED, None)),
        ("allow", (UNCHECKED, None)),
        ({"decision": "allow", "reason": 5}, (UNCHECKED, "the reason in its answer is not text")),
        (b"", (UNCHECKED, "its answer is not JSON that says each thing once")),
        (b"allow", (UNCHECKED, None)),
        (b'{"decision": "deny", "decision": "allow"}', (UNCHECKED, None)),
        (b"[" * 10_000, (UNCHECKED, None)),
        (b"\xff\xfe", (UNCHECKED, None)),
        (gzip.compress(b'{"decision": "allow"}', mtime=0), (UNCHECKED, None)),
        (
            b'{"decision": "allow"}' + b" " * ANSWER_BYTES,
            (UNCHECKED, f"its answer is larger than {ANSWER_BYTES} bytes"),
        ),
    ],
)
async def test_what_is_made_of_an_answer(
    desk: WebService, answer: object, expected: tuple[CriterionOutcome, str | None]
) -> None:
    desk.answer = answering(answer)
    outcome, why = await WebChecks().ask(service_at(desk.url), hold())
    assert outcome is expected[0]
    assert expected[1] in (None, why)
    assert "\n" not in why
    assert "\x1b" not in why
    assert len(why) <= WHY_LENGTH


@pytest.mark.parametrize(
    "status", ["201 Created", "204 No Content", "404 Not Found", "500 Oops", "302 Found"]
)
async def test_only_200_is_an_answer_and_no_redirect_is_followed(desk: WebService, status: str) -> None:
    desk.answer = answering({"decision": "allow"}, status, Location=desk.url)
    outcome, why = await WebChecks().ask(service_at(desk.url), hold())
    assert (outcome, status[:3] in why) == (UNCHECKED, True)
    assert len(desk.asked) == 1


async def _nonsense(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"EHLO\r\n\r\n")


async def _too_short(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"decision": "allow"}')


async def test_what_is_no_http_or_breaks_off_is_no_answer(desk: WebService) -> None:
    for answer in (desk.reset, _nonsense, _too_short):
        desk.answer = answer
        outcome, why = await WebChecks().ask(service_at(desk.url), hold())
        assert outcome is UNCHECKED
        assert why.startswith("it cannot be asked: ")


async def test_nobody_there_or_silent_and_the_address_is_not_told() -> None:
    async with web_service() as gone:
        url = gone.url
    outcome, why = await WebChecks().ask(service_at(url + "?token=secret"), hold())
    assert outcome is UNCHECKED
    assert "secret" not in why
    async with web_service() as silent:
        silent.answer = silent.hang
        outcome, why = await WebChecks().ask(service_at(silent.url, timeout=0.1), hold())
        assert (outcome, why) == (UNCHECKED, "it cannot be asked: ReadTimeout")


async def test_over_tls_by_the_authorities_that_are_named(authority: Authority, tmp_path: Path) -> None:
    certificate = authority.issue("desk", addresses=["127.0.0.1"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.cert, certificate.key)
    checks = WebChecks()
    async with web_service(context) as service:
        for _ in range(2):
            assert await checks.ask(service_at(service.url, ca=authority.cert), hold()) == (MET, "")
        outcome, why = await checks.ask(service_at(service.url), hold())
        assert outcome is UNCHECKED
        assert why.startswith("it cannot be asked: TLS: ")
        missing = service_at(service.url, ca=tmp_path / "gone.crt")
        assert (await checks.ask(missing, hold()))[0] is UNCHECKED
        assert len(service.asked) == 2
