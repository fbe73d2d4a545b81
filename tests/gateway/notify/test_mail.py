"""E-mail to a real server on a socket: over TLS or not at all."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.config import EmailChannel
from gateway.notify.mail import EmailSender
from gateway.notify.sender import Addressees, Nobody, NotSent
from rules import Intent
from tests.gateway.notify.samples import notice
from tests.gateway.store.samples import hold
from tests.support.certificates import Authority
from tests.support.receivers import MailServer, mail_server, web_server

TO = Addressees(email=("carol@example.org", "dave@example.org"))


def sender_to(port: int, **changes: Any) -> EmailSender:
    settings: dict[str, Any] = {
        "name": "post",
        "host": "127.0.0.1",
        "port": port,
        "tls": "none",
        "sender": "Hold Gate <holdgate@example.org>",
        "timeout": 5.0,
    }
    return EmailSender(EmailChannel(**{**settings, **changes}))


@pytest.fixture
async def plain() -> AsyncIterator[MailServer]:
    async with mail_server() as server:
        yield server


async def test_a_mail(plain: MailServer) -> None:
    one = hold(intent=Intent(reason="Müller\r\nBcc: x@y.z"), sql="SELECT 1\n.\nDELETE FROM customer")
    await sender_to(plain.port).send(notice("asked", one), TO, ())
    mail = await plain.next()
    assert (mail.sender, mail.recipients) == ("holdgate@example.org", TO.email)
    message = mail.message
    assert message["From"] == "Hold Gate <holdgate@example.org>"
    assert message["To"] == "carol@example.org, dave@example.org"
    assert message["Subject"] == "[Holdgate] alice asks for approval: delete on public.customer"
    assert message["Message-ID"] == "<01J00000000000000000000000@example.org>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Bcc"] is None
    assert message.get_content_type() == "text/plain"
    assert "Reason: Müller\\x0d Bcc: x@y.z" in mail.text
    assert "SELECT 1\n.\nDELETE FROM customer" in mail.text
    assert f"https://hold.example/#{one.id}" in mail.text


@pytest.mark.parametrize("way", ["starttls", "tls"])
async def test_over_tls_with_a_login(authority: Authority, way: str) -> None:
    context = authority.server_context(authority.issue("mail", addresses=["127.0.0.1"]))
    async with mail_server(context, implicit=way == "tls") as server:
        server.passwords["gate"] = "s3cret"
        login: dict[str, Any] = {"tls": way, "user": "gate", "password": "s3cret", "ca": authority.cert}
        await sender_to(server.port, **login).send(notice(), TO, ())
        mail = await server.next()
        assert (mail.secure, mail.login) == (True, "gate")
        with pytest.raises(NotSent, match=r"^the mail server does not accept the login \(535\)$"):
            await sender_to(server.port, **{**login, "password": "wrong"}).send(notice(), TO, ())
        with pytest.raises(NotSent, match=r"^TLS: unable to get local issuer certificate"):
            await sender_to(server.port, **{**login, "ca": None}).send(notice(), TO, ())
        assert len(server.seen) == 1


async def test_no_mail_without_the_encryption_that_is_asked_for(plain: MailServer) -> None:
    with pytest.raises(NotSent, match="STARTTLS"):
        await sender_to(plain.port, tls="starttls").send(notice(), TO, ())
    assert plain.seen == []


async def test_one_address_that_is_accepted_is_enough(plain: MailServer) -> None:
    plain.refused.add("carol@example.org")
    await sender_to(plain.port).send(notice(), TO, ())
    assert (await plain.next()).recipients == ("dave@example.org",)
    plain.refused.add("dave@example.org")
    with pytest.raises(NotSent, match="accepts none of 2 addresses"):
        await sender_to(plain.port).send(notice(), TO, ())


async def test_there_may_be_nobody() -> None:
    sender = sender_to(1)
    with pytest.raises(Nobody):
        await sender.send(notice(), Addressees(), ())
    await sender.aclose()


@pytest.mark.parametrize("command", ["EHLO", "RCPT", "DATA"])
async def test_a_server_that_hangs_takes_no_longer_than_it_may(plain: MailServer, command: str) -> None:
    plain.hangs = command
    # Not even to say goodbye: others wait for the lease of the message.
    async with asyncio.timeout(2.0):
        with pytest.raises((TimeoutError, NotSent)):
            async with asyncio.timeout(0.3):
                await sender_to(plain.port, timeout=30.0).send(notice(), TO, ())
    assert plain.seen == []


async def test_what_was_taken_is_sent_however_the_goodbye_goes(plain: MailServer) -> None:
    plain.hangs = "QUIT"
    async with asyncio.timeout(5.0):
        await sender_to(plain.port, timeout=30.0).send(notice(), TO, ())
    assert len(plain.seen) == 1


async def test_servers_that_are_none() -> None:
    async with web_server((200, {}, b"")) as web:
        # It waits for a request, and so says nothing.
        with pytest.raises((TimeoutError, NotSent)):
            async with asyncio.timeout(0.3):
                await sender_to(web.port).send(notice(), TO, ())
    with pytest.raises(NotSent, match=r"(?i)connect"):
        await sender_to(web.port).send(notice(), TO, ())
