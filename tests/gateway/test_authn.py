"""Logging in clients: real libpq against an authenticator, and what it reads when it is turned away."""

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import psycopg
import pytest

from gateway.authn import Authenticator, Identity, LoginRefused, no_rule, refused_by_violation
from gateway.config import ListenTls, User
from gateway.link import Link, LinkClosed
from gateway.tls import ServerTls, server_tls
from protocol.authentication import sasl_initial_response, sasl_response
from protocol.errors import ProtocolViolation
from protocol.messages import decode_report, message, parameter_status, ready_for_query
from protocol.scram import build_verifier
from protocol.startup import MAX_STARTUP_BYTES, StartupMessage, parse_first_packet
from tests.support.certificates import Authority
from tests.support.listening import dialled, listening

VERIFIER = str(build_verifier("sésame", b"0123456789abcdef", 4096))
USERS = {
    "alice": User("alice", verifier=VERIFIER),
    "carol": User("carol", verifier=VERIFIER, enabled=False),
    "cert": User("cert", cert="cert.example"),
    "local": User("local", trust=True),
    "locked": User("locked", trust=True, enabled=False),
}


class Gate:
    """A listener that does nothing but log clients in."""

    def __init__(self, authenticator: Authenticator) -> None:
        self.authenticator = authenticator
        self.port = 0
        self.identities: list[Identity] = []
        self.refusals: list[LoginRefused] = []

    async def serve(self, link: Link) -> None:
        startup = parse_first_packet(await link.read_startup(MAX_STARTUP_BYTES + 4))
        assert isinstance(startup, StartupMessage)
        try:
            self.identities.append(await self.authenticator.authenticate(link, startup))
        except LoginRefused as refused:
            self.refusals.append(refused)
            link.write(refused.encoded())
        else:
            link.write(parameter_status("client_encoding", "UTF8") + ready_for_query(ord("I")))
            await link.read_message(100)

    async def connect(self, user: str, password: str | None = None, **options: Any) -> None:
        """Log in with libpq and leave again."""
        settings = {"host": "127.0.0.1", "port": self.port, "user": user, "sslmode": "disable", **options}
        if password is not None:
            settings["password"] = password
        connection = await asyncio.to_thread(psycopg.connect, **settings)
        connection.close()


@contextlib.asynccontextmanager
async def gate(users: dict[str, User] = USERS, tls: ServerTls | None = None) -> AsyncIterator[Gate]:
    subject = Gate(Authenticator(users, binding=tls.binding if tls is not None else None, secret=b"secret"))
    async with listening(subject.serve, context=tls.context if tls is not None else None) as subject.port:
        yield subject


@pytest.fixture
def tls(authority: Authority) -> ServerTls:
    issued = authority.issue("localhost", names=("localhost",), addresses=("127.0.0.1",))
    settings = server_tls(ListenTls("prefer", issued.cert, issued.key, authority.cert))
    assert settings is not None
    return settings


def direct(authority: Authority, **options: Any) -> dict[str, Any]:
    return {
        "sslmode": "verify-full",
        "sslnegotiation": "direct",
        "sslrootcert": str(authority.cert),
        **options,
    }


async def refused(attempt: Callable[[], Any]) -> psycopg.OperationalError:
    with pytest.raises(psycopg.OperationalError) as caught:
        await attempt()
    return caught.value


async def test_scram() -> None:
    async with gate() as subject:
        await subject.connect("alice", "sésame", require_auth="scram-sha-256")
    assert subject.identities == [Identity("alice", "scram")]


@pytest.mark.parametrize("binding", ["require", "prefer", "disable"])
async def test_scram_over_tls(authority: Authority, tls: ServerTls, binding: str) -> None:
    async with gate(tls=tls) as subject:
        await subject.connect("alice", "sésame", **direct(authority, channel_binding=binding))
    assert subject.identities == [Identity("alice", "scram")]


@pytest.mark.parametrize("user", ["alice", "nobody", "carol", "cert", "locked", "x\x1b[2J"])
async def test_everybody_turned_away_reads_the_same(user: str) -> None:
    async with gate() as subject:
        error = await refused(lambda: subject.connect(user, "wrong"))
    shown = user.replace("\x1b", "\\x1b")
    assert f'FATAL:  password authentication failed for user "{shown}"' in str(error)
    assert subject.refusals[0].report.sqlstate == "28P01"
    assert repr(user) in subject.refusals[0].log


async def test_right_password_of_a_disabled_user() -> None:
    async with gate() as subject:
        await refused(lambda: subject.connect("carol", "sésame"))
    assert "disabled" in subject.refusals[0].log


async def test_unknown_user_is_shown_the_same_salt_and_iterations_every_time() -> None:
    async def challenge(subject: Gate, user: str) -> bytes:
        async with dialled(subject.port) as link:
            link.write(startup_packet(user))
            await link.read_message(1000)
            link.write(sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=abc"))
            _, payload = await link.read_message(1000)
            return payload.partition(b",")[2]

    users = {"alice": User("alice", verifier=str(build_verifier("x", b"0123456789abcdef", 5000)))}
    async with gate(users) as subject:
        first = await challenge(subject, "nobody")
        assert await challenge(subject, "nobody") == first
        assert first.endswith(b",i=5000")
        known = await challenge(subject, "alice")
        assert len(known) == len(first)


async def test_unknown_user_takes_as_long_as_a_wrong_password() -> None:
    """The work is the same by construction; this guards against PBKDF2 (milliseconds) on one side only."""

    async def seconds(subject: Gate, user: str) -> float:
        taken = []
        for _ in range(15):
            async with dialled(subject.port) as link:
                link.write(startup_packet(user))
                await link.read_message(1000)
                link.write(sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=abc"))
                _, payload = await link.read_message(1000)
                nonce = payload[4:].partition(b",")[0]
                started = time.perf_counter()
                link.write(sasl_response(b"c=biws," + nonce + b",p=" + b"A" * 43 + b"="))
                _, payload = await link.read_message(1000)
                taken.append(time.perf_counter() - started)
                assert decode_report(payload)["C"] == "28P01"
        return statistics.median(taken)

    async with gate() as subject:
        known, unknown = await seconds(subject, "alice"), await seconds(subject, "nobody")
    assert abs(known - unknown) < 0.005


async def test_client_certificate(authority: Authority, tls: ServerTls) -> None:
    issued = authority.issue("cert.example")
    options = direct(authority, sslcert=str(issued.cert), sslkey=str(issued.key))
    async with gate(tls=tls) as subject:
        await subject.connect("cert", **options)
        await refused(lambda: subject.connect("alice", "wrong", **options))
    assert subject.identities == [Identity("cert", "cert")]


async def test_certificate_of_another_authority(
    authority: Authority, tls: ServerTls, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Authority(tmp_path_factory.mktemp("other"), "Another authority")
    issued = other.issue("cert.example")
    async with gate(tls=tls) as subject:
        await refused(
            lambda: subject.connect(
                "cert", **direct(authority, sslcert=str(issued.cert), sslkey=str(issued.key))
            )
        )
    assert subject.identities == []


async def test_trust_on_loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def coming_from(address: str | None) -> None:
        monkeypatch.setattr(Link, "peername", property(lambda link: address))

    async with gate() as subject:
        await subject.connect("local")
        coming_from("192.0.2.7")
        error = await refused(lambda: subject.connect("local", "any"))
        coming_from("::ffff:127.0.0.1")
        await subject.connect("local")
        coming_from(None)  # a unix socket
        await subject.connect("local")
    assert "password authentication failed" in str(error)
    assert subject.identities == [Identity("local", "trust")] * 3


def startup_packet(user: str) -> bytes:
    body = f"user\0{user}\0\0".encode()
    return (len(body) + 8).to_bytes(4, "big") + b"\0\3\0\0" + body


async def raw(subject: Gate, *answers: bytes) -> dict[str, str]:
    """Send messages after a start-up packet; the fields of the error that comes back."""
    async with dialled(subject.port) as link:
        link.write(startup_packet("alice"))
        for answer in answers:
            await link.read_message(1000)
            link.write(answer)
        tag, payload = await link.read_message(1000)
        assert tag == ord("E")
        with pytest.raises(LinkClosed):
            await link.read_message(1000)
    return decode_report(payload)


@pytest.mark.parametrize(
    ("answers", "sqlstate", "text"),
    [
        ([message(ord("Q"), b"SELECT 1\0")], "08P01", "expected SASL response, got message type 81"),
        ([b"p\xff\xff\xff\xff"], "08P01", "invalid message length"),
        ([b"p\x7f\xff\xff\xff"], "08P01", "invalid message length"),
        ([b"p\0\0\0\3"], "08P01", "invalid message length"),
        ([message(ord("p"), b"SCRAM-SHA-256\0\0\0\x10\0")], "08P01", "insufficient data left in message"),
        (
            [sasl_initial_response("SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,n=,r=a")],
            "08P01",
            "client selected an invalid SASL authentication mechanism",
        ),
        ([sasl_initial_response("SCRAM-SHA-256", b"n,a=x,n=,r=a")], "0A000", "authorization identity"),
        (
            [message(ord("p"), b"SCRAM-SHA-256\0\xff\xff\xff\xff"), sasl_response(b"x,,")],
            "08P01",
            "malformed SCRAM message",
        ),
        (
            [
                sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=a"),
                sasl_response(b"c=biws,r=b,p=" + b"A" * 43 + b"="),
            ],
            "08P01",
            "invalid SCRAM response",
        ),
    ],
)
async def test_broken_exchange(answers: list[bytes], sqlstate: str, text: str) -> None:
    async with gate() as subject:
        fields = await raw(subject, *answers)
    assert (fields["S"], fields["C"]) == ("FATAL", sqlstate)
    assert text in fields["M"]


async def test_client_that_leaves() -> None:
    async with gate() as subject:
        error = await refused(lambda: subject.connect("alice", passfile="/nonexistent"))
    assert "no password supplied" in str(error)
    assert not subject.identities
    assert not subject.refusals


def test_disabled_user_is_refused_before_a_passthrough() -> None:
    authenticator = Authenticator(USERS, secret=b"secret")
    authenticator.check_enabled("alice")
    authenticator.check_enabled("nobody")
    with pytest.raises(LoginRefused) as caught:
        authenticator.check_enabled("carol")
    assert caught.value.report.sqlstate == "28000"
    assert caught.value.report.message == 'role "carol" is not permitted to log in'


@pytest.mark.parametrize(
    ("peer", "encrypted", "words"),
    [
        ("192.0.2.7", False, 'host "192.0.2.7", user "a", database "a", no encryption'),
        (None, True, 'host "[local]", user "a", database "a", SSL encryption'),
    ],
)
def test_no_rule(peer: str | None, encrypted: bool, words: str) -> None:
    startup = parse_first_packet(startup_packet("a"))
    assert isinstance(startup, StartupMessage)
    error = no_rule(startup, peer, encrypted=encrypted, hint="Use TLS.")
    fields = decode_report(error.encoded()[5:])
    assert fields["C"] == "28000"
    assert fields["M"] == f"no pg_hba.conf entry for {words}"
    assert fields["H"] == "Use TLS."


def test_violation_keeps_its_fields() -> None:
    report = refused_by_violation(ProtocolViolation("text", sqlstate="0A000", detail="more")).report
    assert (report.severity, report.sqlstate, report.message, report.detail) == (
        "FATAL",
        "0A000",
        "text",
        "more",
    )
