"""Logging in to real servers, by every method and sslmode, and to servers that misbehave."""

import asyncio
import contextlib
import re
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
import uvloop

import gateway.login
from gateway.authn import LoginRefused
from gateway.config import Database, Login
from gateway.config.model import SslMode
from gateway.dial import Endpoint
from gateway.link import Link
from gateway.upstream import Connector, UpstreamRefused, UpstreamSession, UpstreamUnavailable
from protocol.authentication import sasl_initial_response
from protocol.errors import ServerError
from protocol.messages import (
    authentication,
    backend_key_data,
    decode_report,
    message,
    negotiate_protocol_version,
    notice_response,
    parameter_status,
    ready_for_query,
)
from protocol.scram import derive_keys
from protocol.startup import MAX_STARTUP_BYTES, StartupMessage, parse_first_packet
from tests.support.certificates import Authority
from tests.support.listening import dialled, listening
from tests.support.postgres import Postgres
from tests.support.relay import TlsRelay

PASSWORD = "sésame ouvre-toi"


def startup(*pairs: tuple[str, str], user: str = "alice", minor: int = 0) -> StartupMessage:
    body = b"".join(f"{name}\0{value}\0".encode() for name, value in (("user", user), *pairs)) + b"\0"
    packet = struct.pack("!III", len(body) + 8, (3 << 16) | minor, 0)[:8] + body
    parsed = parse_first_packet(packet)
    assert isinstance(parsed, StartupMessage)
    return parsed


async def rows(session: UpstreamSession, sql: str) -> list[bytes]:
    """Run one query whose rows have one column; the column of each row."""
    session.link.write(message(ord("Q"), sql.encode() + b"\0"))
    found = []
    while True:
        tag, payload = await session.link.read_message(1 << 20)
        if tag == ord("D"):
            found.append(payload[6:])
        elif tag == ord("E"):
            raise AssertionError(decode_report(payload))
        elif tag == ord("Z"):
            return found


async def log_in(
    database: Database, message_: StartupMessage | None = None, **options: Any
) -> UpstreamSession:
    return await Connector().connect(database, message_ or startup(), **options)


async def unavailable(database: Database, **options: Any) -> UpstreamUnavailable:
    with pytest.raises(UpstreamUnavailable) as caught:
        await log_in(database, **options)
    fields = decode_report(caught.value.encoded()[5:])
    assert fields["S"] == "FATAL"
    told = " ".join(fields.values())
    assert database.host not in told
    assert str(database.port) not in told
    assert f"{database.host}, port {database.port}" in caught.value.log
    return caught.value


@pytest.fixture(scope="module")
def app(postgres: Postgres) -> Iterator[str]:
    role = postgres.create_role(password=PASSWORD)
    yield role
    postgres.drop_role(role)


def gateway_login(server: Postgres, role: str, **options: Any) -> Database:
    settings: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": server.port,
        "dbname": "postgres",
        "sslmode": "disable",
        "auth": "gateway",
        "login": Login(role, PASSWORD),
        **options,
    }
    return Database(**settings)


# The gateway's own login --------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["tcp", "unix"])
async def test_scram(postgres: Postgres, app: str, place: str) -> None:
    database = gateway_login(postgres, app)
    if place == "unix":
        database = replace(database, host=str(postgres.socket_dir), sslmode="verify-full")
    with postgres.hba("local all all scram-sha-256", "host all all all scram-sha-256"):
        session = await log_in(database)
    assert await rows(session, "SELECT current_user") == [app.encode()]
    assert session.parameters["server_encoding"] == "UTF8"
    assert session.cancel is not None
    session.link.abort()


async def test_greeting_carries_our_key(postgres: Postgres, app: str) -> None:
    session = await log_in(gateway_login(postgres, app))
    pid = int((await rows(session, "SELECT pg_backend_pid()"))[0])
    greeting = session.greeting(b"ours")
    assert backend_key_data(pid, b"ours") in greeting
    assert session.cancel is not None
    assert (session.cancel.pid, session.cancel.secret in greeting) == (pid, False)
    assert greeting.endswith(ready_for_query(ord("I")))
    assert greeting.count(b"server_version\0") == 1
    assert backend_key_data(pid, b"ours") not in session.greeting(None)
    session.link.abort()


async def test_startup_parameters_arrive(postgres: Postgres, app: str) -> None:
    message_ = startup(("application_name", "shop"), ("options", r"-c work_mem=77kB -c datestyle=SQL,\ DMY"))
    session = await log_in(gateway_login(postgres, app), message_)
    assert session.parameters["application_name"] == "shop"
    assert session.parameters["DateStyle"] == "SQL, DMY"
    assert await rows(session, "SHOW work_mem") == [b"77kB"]
    session.link.abort()


async def test_database_defaults_to_the_one_asked_for(postgres: Postgres, app: str, database: str) -> None:
    wanted = startup(("database", database))
    session = await log_in(gateway_login(postgres, app, dbname=None), wanted)
    assert await rows(session, "SELECT current_database()") == [database.encode()]
    session.link.abort()


async def test_role_beats_the_one_the_client_asks_for(postgres: Postgres, app: str) -> None:
    role = postgres.create_role(attributes="NOLOGIN")
    postgres.execute(f"GRANT {role} TO {app}; GRANT pg_read_all_data TO {app}")
    asked = startup(("role", "pg_read_all_data"), ("options", "-c role=pg_read_all_data"))
    session = await log_in(gateway_login(postgres, app), asked, role=role)
    assert await rows(session, "SELECT current_user") == [role.encode()]
    assert await rows(session, "RESET ROLE; SELECT current_user") == [role.encode()]
    session.link.abort()
    postgres.execute(f"REVOKE {role} FROM {app}; REVOKE pg_read_all_data FROM {app}")
    postgres.drop_role(role)


async def test_md5(postgres: Postgres) -> None:
    role = postgres.create_role()
    postgres.execute(f"SET password_encryption = md5; ALTER ROLE {role} PASSWORD '{PASSWORD}'")
    with postgres.hba("host all all all md5"):
        session = await log_in(gateway_login(postgres, role))
    session.link.abort()
    postgres.drop_role(role)


async def test_clear_text_is_not_sent_without_tls(postgres: Postgres, app: str) -> None:
    with postgres.hba("host all all all password"):
        error = await unavailable(gateway_login(postgres, app))
    assert "clear text" in error.log
    assert error.kind == "login"


async def test_clear_text_over_tls(postgres: Postgres, app: str, authority: Authority) -> None:
    issued = authority.issue("localhost", names=("localhost",), addresses=("127.0.0.1",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.cert, issued.key)
    with postgres.hba("host all all all password"):
        async with TlsRelay("127.0.0.1", postgres.port, context) as relay:
            session = await log_in(gateway_login(postgres, app, port=relay.port, sslmode="require"))
            assert session.link.tls is not None
            session.link.abort()


async def test_wrong_password_of_the_gateway_is_the_operators_affair(postgres: Postgres, app: str) -> None:
    database = gateway_login(postgres, app, login=Login(app, "wrong"))
    with postgres.hba("host all all all scram-sha-256"):
        error = await unavailable(database)
    assert error.report.sqlstate == "08006"
    assert f'password authentication failed for user "{app}"' in error.log
    assert app not in error.report.message


async def test_no_password_configured(postgres: Postgres, app: str) -> None:
    with postgres.hba("host all all all scram-sha-256"):
        error = await unavailable(gateway_login(postgres, app, login=Login(app)))
    assert "none is configured" in error.log


@pytest.mark.parametrize(
    ("options", "pairs", "sqlstate"),
    [
        ({"dbname": "no_such_database"}, (), "3D000"),
        ({}, (("no_such_setting", "1"),), "42704"),
        ({}, (("options", "-c no_such_setting=1"),), "42704"),
        ({}, (("work_mem", "lots"),), "22023"),
        ({"login": Login("no_such_role", PASSWORD)}, (), "28000"),
    ],
)
async def test_refusals_of_the_server_are_handed_on_unchanged(
    postgres: Postgres,
    app: str,
    options: dict[str, Any],
    pairs: tuple[tuple[str, str], ...],
    sqlstate: str,
) -> None:
    with pytest.raises(UpstreamRefused) as caught:
        await log_in(gateway_login(postgres, app, **options), startup(*pairs))
    fields = decode_report(caught.value.payload)
    assert caught.value.encoded()[5:] == caught.value.payload
    assert (fields["S"], fields["C"]) == ("FATAL", sqlstate)
    assert {"F", "L", "R"} <= fields.keys()
    assert caught.value.report.sqlstate == sqlstate


async def test_connection_limit(postgres: Postgres, app: str) -> None:
    role = postgres.create_role(attributes="LOGIN CONNECTION LIMIT 0")
    with pytest.raises(UpstreamRefused) as caught:
        await log_in(gateway_login(postgres, role))
    assert caught.value.report.sqlstate == "53300"
    postgres.drop_role(role)


async def test_keys_are_derived_once_and_never_on_the_loop(
    postgres: Postgres, app: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def watched(*arguments: Any) -> Any:
        threads.append(threading.current_thread())
        return derive_keys(*arguments)

    monkeypatch.setattr(gateway.login, "derive_keys", watched)
    connector = Connector()
    with postgres.hba("host all all all scram-sha-256"):
        sessions = await asyncio.gather(
            *(connector.connect(gateway_login(postgres, app), startup()) for _ in range(4))
        )
    for session in sessions:
        session.link.abort()
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


# Protocol versions --------------------------------------------------------------------------------------


async def test_cancel_key_is_as_long_as_the_client_asked(postgres: Postgres, app: str) -> None:
    for minor, length in ((0, 4), (2, 32), (9999, 32)):
        session = await log_in(gateway_login(postgres, app), startup(minor=minor))
        assert session.cancel is not None
        assert len(session.cancel.secret) == length
        assert session.minor == min(minor, 2)
        session.link.abort()


async def test_older_server_behind_the_gateways_own_login(tls_postgres: Postgres) -> None:
    """The client was told 3.2 before the server was known; only the key to the server is short."""
    if tls_postgres.major >= 18:
        pytest.skip("the server with TLS speaks 3.2")
    database = gateway_login(tls_postgres, "postgres")
    session = await log_in(database, startup(minor=2))
    assert session.minor == 2
    assert session.cancel is not None
    assert len(session.cancel.secret) == 4
    session.link.abort()


# TLS ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tls_app(tls_postgres: Postgres) -> Iterator[str]:
    role = tls_postgres.create_role(password=PASSWORD)
    yield role
    tls_postgres.drop_role(role)


SSL_ONLY = ("hostssl all all all scram-sha-256",)
PLAIN_ONLY = ("hostnossl all all all scram-sha-256",)


@pytest.mark.parametrize(
    ("mode", "hba", "encrypted"),
    [
        ("disable", PLAIN_ONLY, False),
        ("allow", PLAIN_ONLY, False),
        ("allow", SSL_ONLY, True),
        ("prefer", SSL_ONLY, True),
        ("prefer", PLAIN_ONLY, False),
        ("require", SSL_ONLY, True),
        ("verify-ca", SSL_ONLY, True),
        ("verify-full", SSL_ONLY, True),
    ],
)
async def test_sslmode(
    tls_postgres: Postgres,
    tls_app: str,
    authority: Authority,
    mode: SslMode,
    hba: tuple[str, ...],
    encrypted: bool,
) -> None:
    root = str(authority.cert) if mode.startswith("verify") else None
    with tls_postgres.hba(*hba):
        session = await log_in(gateway_login(tls_postgres, tls_app, sslmode=mode, sslrootcert=root))
    assert (session.link.tls is not None) == encrypted
    assert (session.cancel is not None and session.cancel.context is not None) == encrypted
    shown = await rows(session, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    assert shown == [b"t" if encrypted else b"f"]
    session.link.abort()


@pytest.mark.parametrize(
    ("mode", "hba"), [("disable", SSL_ONLY), ("require", PLAIN_ONLY), ("allow", ()), ("prefer", ())]
)
async def test_sslmode_the_server_refuses(
    tls_postgres: Postgres, tls_app: str, mode: SslMode, hba: tuple[str, ...]
) -> None:
    with tls_postgres.hba(*hba), pytest.raises(UpstreamRefused) as caught:
        await log_in(gateway_login(tls_postgres, tls_app, sslmode=mode))
    assert caught.value.report.sqlstate == "28000"
    assert "no pg_hba.conf entry" in caught.value.report.message


async def test_wrong_password_is_not_tried_again_without_tls(tls_postgres: Postgres, tls_app: str) -> None:
    database = gateway_login(tls_postgres, tls_app, sslmode="prefer", login=Login(tls_app, "wrong"))
    with tls_postgres.hba("host all all all scram-sha-256"):
        before = tls_postgres.server.log_text().count("password authentication failed")
        await unavailable(database)
        assert tls_postgres.server.log_text().count("password authentication failed") == before + 1


async def test_channel_binding_is_used_where_it_is_offered(
    tls_postgres: Postgres, tls_app: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []

    def watched(mechanism: str, data: bytes) -> bytes:
        used.append(mechanism)
        return sasl_initial_response(mechanism, data)

    monkeypatch.setattr(gateway.login, "sasl_initial_response", watched)
    with tls_postgres.hba("host all all all scram-sha-256"):
        for mode in ("require", "disable"):
            session = await log_in(gateway_login(tls_postgres, tls_app, sslmode=mode))
            session.link.abort()
    assert used == ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]


async def test_client_certificate(tls_postgres: Postgres, tls_app: str, authority: Authority) -> None:
    issued = authority.issue(tls_app)
    database = gateway_login(
        tls_postgres, tls_app, sslmode="require", sslcert=issued.cert, sslkey=issued.key, login=Login(tls_app)
    )
    with tls_postgres.hba("hostssl all all all cert"):
        session = await log_in(database)
    assert await rows(session, "SELECT current_user") == [tls_app.encode()]
    session.link.abort()


async def test_wrong_host_name(tls_postgres: Postgres, tls_app: str, authority: Authority) -> None:
    """The certificate is for localhost and the loopback addresses; this name resolves to one of them."""
    name = socket.gethostname()
    try:
        found = {address[0] for *_, address in socket.getaddrinfo(name, None, socket.AF_INET)}
    except OSError:
        found = set()
    if not found & {"127.0.0.1", "127.0.1.1"}:
        name = "127.0.0.2"
    settings = {"host": name, "sslrootcert": str(authority.cert)}
    with contextlib.suppress(UpstreamRefused):
        session = await log_in(gateway_login(tls_postgres, tls_app, **settings, sslmode="verify-ca"))
        session.link.abort()
    error = await unavailable(gateway_login(tls_postgres, tls_app, **settings, sslmode="verify-full"))
    assert error.kind in ("tls", "connect")


async def test_certificate_of_a_stranger(
    tls_postgres: Postgres, tls_app: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Authority(tmp_path_factory.mktemp("other"), "Another authority")
    for mode in ("require", "verify-ca", "verify-full"):
        settings = {"sslmode": mode, "sslrootcert": str(other.cert)}
        error = await unavailable(gateway_login(tls_postgres, tls_app, **settings))
        assert error.kind == "tls"
        assert "self-signed certificate" in error.log or "unable to get" in error.log


async def test_server_without_tls(postgres: Postgres, app: str) -> None:
    error = await unavailable(gateway_login(postgres, app, sslmode="require"))
    assert (error.kind, error.report.sqlstate) == ("tls", "08001")
    assert "does not offer TLS" in error.log
    session = await log_in(gateway_login(postgres, app, sslmode="prefer"))
    assert session.link.tls is None
    session.link.abort()


async def test_server_without_tls_is_asked_once(postgres: Postgres, app: str) -> None:
    database = gateway_login(postgres, app, sslmode="prefer")
    with postgres.hba():
        before = postgres.server.log_text().count("no pg_hba.conf entry")
        with pytest.raises(UpstreamRefused):
            await log_in(database)
        assert postgres.server.log_text().count("no pg_hba.conf entry") == before + 1


async def test_forgotten_certificates_are_read_anew(
    tls_postgres: Postgres, tls_app: str, authority: Authority, tmp_path: Path
) -> None:
    root = tmp_path / "root.pem"
    root.write_bytes(authority.cert.read_bytes())
    database = gateway_login(tls_postgres, tls_app, sslmode="verify-full", sslrootcert=str(root))
    connector = Connector()
    for _ in range(2):
        (await connector.connect(database, startup())).link.abort()
        root.unlink(missing_ok=True)
    connector.forget()
    with pytest.raises(UpstreamUnavailable, match="No such file"):
        await connector.connect(database, startup())


async def test_unusable_certificate_settings(postgres: Postgres, app: str, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pem")
    error = await unavailable(gateway_login(postgres, app, sslmode="verify-full", sslrootcert=missing))
    assert "missing.pem" in error.log


def test_on_uvloop(postgres: Postgres, tls_postgres: Postgres, app: str, tls_app: str) -> None:
    async def everything() -> None:
        places = [
            gateway_login(postgres, app),
            gateway_login(postgres, app, host=str(postgres.socket_dir)),
            gateway_login(tls_postgres, tls_app, sslmode="require"),
        ]
        for place in places:
            session = await log_in(place)
            assert await rows(session, "SELECT 1") == [b"1"]
            session.link.abort()
        await unavailable(gateway_login(postgres, app, sslmode="require"))

    hba = "host all all all scram-sha-256"
    with postgres.hba("local all all scram-sha-256", hba), tls_postgres.hba(hba):
        uvloop.run(everything())


# Passthrough --------------------------------------------------------------------------------------------


class Passage:
    """A listener that logs clients in by passthrough and then relays by hand what a login needs."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.port = 0
        self.sessions: list[UpstreamSession] = []
        self.refusals: list[LoginRefused] = []

    async def serve(self, link: Link) -> None:
        asked = parse_first_packet(await link.read_startup(MAX_STARTUP_BYTES + 4))
        assert isinstance(asked, StartupMessage)
        try:
            session = await Connector().connect(self.database, asked, client=link, within=5)
        except LoginRefused as refused:
            self.refusals.append(refused)
            link.write(refused.encoded())
        else:
            self.sessions.append(session)
            link.write(session.greeting(b"k" * (32 if session.minor >= 2 else 4)))
            await link.read_message(100)
            session.link.abort()

    async def connect(self, user: str, password: str | None = None, **options: Any) -> psycopg.pq.abc.PGconn:
        settings = {"host": "127.0.0.1", "port": self.port, "user": user, "dbname": "postgres", **options}
        settings.setdefault("sslmode", "disable")
        if password is not None:
            settings["password"] = password
        connection = await asyncio.to_thread(psycopg.connect, **settings)
        connection.close()
        return connection.pgconn


@contextlib.asynccontextmanager
async def passage(database: Database, context: ssl.SSLContext | None = None) -> AsyncIterator[Passage]:
    subject = Passage(database)
    async with listening(subject.serve, context=context) as subject.port:
        yield subject


@pytest.fixture
def client_side(authority: Authority) -> ssl.SSLContext:
    issued = authority.issue("localhost", names=("localhost",), addresses=("127.0.0.1",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.cert, issued.key)
    context.set_alpn_protocols(["postgresql"])
    return context


def behind(server: Postgres, sslmode: SslMode = "disable") -> Database:
    return Database("127.0.0.1", server.port, sslmode=sslmode)


@pytest.mark.parametrize("method", ["scram-sha-256", "password", "md5", "trust"])
async def test_passthrough(postgres: Postgres, app: str, method: str) -> None:
    with postgres.hba(f"host all all all {method}"):
        async with passage(behind(postgres)) as subject:
            await subject.connect(app, PASSWORD)
    assert len(subject.sessions) == 1


async def test_passthrough_of_an_md5_role(postgres: Postgres) -> None:
    role = postgres.create_role()
    postgres.execute(f"SET password_encryption = md5; ALTER ROLE {role} PASSWORD '{PASSWORD}'")
    with postgres.hba("host all all all md5"):
        async with passage(behind(postgres)) as subject:
            await subject.connect(role, PASSWORD, require_auth="md5")
    postgres.drop_role(role)


@pytest.mark.parametrize("method", ["scram-sha-256", "password"])
async def test_passthrough_of_a_wrong_password(postgres: Postgres, app: str, method: str) -> None:
    with postgres.hba(f"host all all all {method}"):
        async with passage(behind(postgres)) as subject:
            with pytest.raises(psycopg.OperationalError) as caught:
                await subject.connect(app, "wrong")
    assert f'FATAL:  password authentication failed for user "{app}"' in str(caught.value)
    assert subject.refusals[0].report.sqlstate == "28P01"


@pytest.mark.parametrize(
    ("minor", "options", "negotiated"),
    [(0, (), None), (2, (), None), (9999, (), (2, [])), (0, ("_pq_.x",), (0, ["_pq_.x"]))],
)
async def test_passthrough_negotiates_at_most_once(
    postgres: Postgres,
    app: str,
    minor: int,
    options: tuple[str, ...],
    negotiated: tuple[int, list[str]] | None,
) -> None:
    pairs = [("database", "postgres"), *((name, "1") for name in options)]
    body = "".join(f"{name}\0{value}\0" for name, value in [("user", app), *pairs]).encode() + b"\0"
    packet = struct.pack("!II", len(body) + 8, (3 << 16) | minor) + body
    seen: list[tuple[int, bytes]] = []
    with postgres.hba("host all all all trust"):
        async with passage(behind(postgres)) as subject, dialled(subject.port) as link:
            link.write(packet)
            while not seen or seen[-1][0] != ord("Z"):
                seen.append(await link.read_message(1 << 16))
            link.write(message(ord("X")))
    expected = [] if negotiated is None else [(ord("v"), negotiate_protocol_version(*negotiated)[5:])]
    assert [entry for entry in seen if entry[0] == ord("v")] == expected
    assert seen[len(expected)] == (ord("R"), bytes(4))
    keys = [payload for tag, payload in seen if tag == ord("K")]
    assert keys[0][4:] == b"k" * (32 if minor >= 2 else 4)


async def test_passthrough_to_an_older_server(tls_postgres: Postgres, tls_app: str) -> None:
    if tls_postgres.major >= 18:
        pytest.skip("the server with TLS speaks 3.2")
    with tls_postgres.hba("host all all all scram-sha-256"):
        async with passage(behind(tls_postgres)) as subject:
            await subject.connect(tls_app, PASSWORD, max_protocol_version="latest")
            with pytest.raises(psycopg.OperationalError, match="protocol version"):
                await subject.connect(
                    tls_app, PASSWORD, min_protocol_version="3.2", max_protocol_version="3.2"
                )
    assert subject.sessions[0].minor == 0


async def test_passthrough_takes_channel_binding_out(tls_postgres: Postgres, tls_app: str) -> None:
    with tls_postgres.hba("host all all all scram-sha-256"):
        async with passage(behind(tls_postgres, "require")) as subject:
            await subject.connect(tls_app, PASSWORD)
    assert len(subject.sessions) == 1


async def test_passthrough_between_two_tls_connections(
    tls_postgres: Postgres, tls_app: str, client_side: ssl.SSLContext
) -> None:
    over_tls = {"sslmode": "require", "sslnegotiation": "direct"}
    with tls_postgres.hba("host all all all scram-sha-256"):
        async with passage(behind(tls_postgres, "require"), client_side) as subject:
            with pytest.raises(psycopg.OperationalError) as caught:
                await subject.connect(tls_app, PASSWORD, **over_tls)
            await subject.connect(tls_app, PASSWORD, channel_binding="disable", **over_tls)
    assert "HINT:  Connect with channel_binding=disable, or set auth: gateway" in str(caught.value)
    assert subject.refusals[0].report.sqlstate == "28000"


async def test_clear_text_of_an_encrypted_client_is_not_exposed(
    postgres: Postgres, app: str, client_side: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    over_tls = {"sslmode": "require", "sslnegotiation": "direct"}
    with postgres.hba("host all all all password"):
        async with passage(behind(postgres), client_side) as subject:
            await subject.connect(app, PASSWORD, **over_tls)  # loopback: nobody can listen there
            monkeypatch.setattr(Endpoint, "private", property(lambda self: False))
            with pytest.raises(psycopg.OperationalError, match="clear text over an unencrypted connection"):
                await subject.connect(app, PASSWORD, **over_tls)


async def test_client_that_leaves_in_the_middle(postgres: Postgres, app: str) -> None:
    with postgres.hba("host all all all scram-sha-256"):
        async with passage(behind(postgres)) as subject:
            with pytest.raises(psycopg.OperationalError, match="no password supplied"):
                await subject.connect(app, passfile="/nonexistent")
    assert not subject.sessions
    assert not subject.refusals


async def test_client_that_sends_something_else(postgres: Postgres, app: str) -> None:
    with postgres.hba("host all all all scram-sha-256"):
        async with passage(behind(postgres)) as subject:
            for sent, text in (
                (message(ord("Q"), b"\0"), "expected password response, got message type 81"),
                (b"p\x7f\xff\xff\xff", "invalid message length"),
            ):
                async with dialled(subject.port) as link:
                    link.write(startup(user=app).encode())
                    await link.read_message(1000)
                    link.write(sent)
                    tag, payload = await link.read_message(1000)
                    assert (tag, decode_report(payload)["M"]) == (ord("E"), text)


# Servers that are not there or misbehave ----------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("127.0.0.1", "Connection refused"),
        ("/nonexistent", "No such file or directory"),
        ("no-such-host.invalid", "[Nn]ame"),
    ],
)
async def test_unreachable(host: str, why: str) -> None:
    port = free_port()
    error = await unavailable(Database(host, port, sslmode="disable"))
    assert (error.kind, error.report.sqlstate) == ("connect", "08001")
    assert error.report.hint
    # One line for whoever reads the log: where, and why in words.
    assert re.fullmatch(rf"database server {re.escape(host)}, port {port}: .*{why}[\w ]*", error.log)


Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[int]:
    """The port of a server that does what ``script`` says with each connection."""
    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await script(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*tasks)


def saying(*answers: bytes) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"".join(answers))
        await writer.drain()
        await reader.read()

    return script


OK = authentication(0)
READY = ready_for_query(ord("I"))


@pytest.mark.parametrize(
    "answers",
    [
        [b"HTTP/1.1 400 Bad Request\r\n\r\n"],
        [b"R\x7f\xff\xff\xff"],
        [b"R\0\0\0\0"],
        [message(ord("R"), b"\0")],
        [authentication(99)],
        [authentication(0, b"x")],
        [READY],
        [OK, message(ord("T"), b"")],
        [OK, ready_for_query(ord("T"))],
        [OK, message(ord("S"), b"x")],
        [OK, message(ord("K"), b"x")],
        [OK, parameter_status("a", "b") * 1001],
        [message(ord("v"), struct.pack("!II", 3 << 16, 0))],
        [message(ord("v"), struct.pack("!II", 3 << 16, 1) + b"_pq_.x\0"), OK, READY],
        [OK, notice_response(ServerError("00000", "x" * 70_000))],
    ],
)
async def test_server_that_breaks_the_protocol(answers: list[bytes]) -> None:
    async with scripted(saying(*answers)) as port:
        error = await unavailable(Database("127.0.0.1", port, sslmode="disable"))
    assert (error.kind, error.report.sqlstate) == ("protocol", "08006")


@pytest.mark.parametrize(
    "request_",
    [
        authentication(10, b"SCRAM-SHA-256\0\0") * 2,
        authentication(10, b"SCRAM-SHA-256\0\0") + OK + READY,
        authentication(10, b"SCRAM-SHA-256\0\0") + authentication(11, b"r=x,s=AAAA,i=1"),
        authentication(10, b"SCRAM-SHA-256\0\0") + authentication(12, b"v=AAAA"),
        authentication(10, b"SCRAM-SHA-256-PLUS\0\0"),
        authentication(11, b"r=x,s=AAAA,i=1"),
        authentication(7),
    ],
)
async def test_server_that_does_not_prove_itself(request_: bytes) -> None:
    async with scripted(saying(request_)) as port:
        database = Database("127.0.0.1", port, sslmode="disable", login=Login("app", "x"))
        error = await unavailable(database)
    assert error.kind in ("protocol", "login")


async def test_notices_and_a_missing_key_are_fine() -> None:
    early = notice_response(ServerError("01000", "early", severity="WARNING"))
    late = notice_response(ServerError("01000", "late", severity="WARNING"))
    async with scripted(saying(early, OK, late, READY)) as port:
        session = await log_in(Database("127.0.0.1", port, sslmode="disable"))
        assert session.greeting(b"none") == early + late + READY
        assert session.cancel is None
        session.link.abort()


@pytest.mark.parametrize("answer", [b"E", b"", b"\0"])
async def test_answer_to_a_request_for_tls_that_is_none(answer: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(answer + b"SFATAL\0Mdrop everything\0\0" if answer else b"")
        await writer.drain()

    async with scripted(script) as port:
        error = await unavailable(Database("127.0.0.1", port, sslmode="require"))
    assert "drop everything" not in error.log


async def test_bytes_behind_the_answer_to_a_request_for_tls_are_not_believed() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"S" + OK + READY)
        await writer.drain()
        await reader.read()

    async with scripted(script) as port:
        error = await unavailable(Database("127.0.0.1", port, sslmode="require"))
    assert error.kind == "tls"


async def test_server_that_closes_during_the_login() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(OK)

    async with scripted(script) as port:
        error = await unavailable(Database("127.0.0.1", port, sslmode="disable"))
    assert (error.kind, error.report.sqlstate) == ("protocol", "08006")
    assert "closed the connection during the login" in error.log


async def test_silent_server() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with scripted(script) as port:
        modes: tuple[tuple[SslMode, str], ...] = (("disable", "timeout"), ("require", "connect"))
        for mode, kind in modes:
            connector = Connector(connect_seconds=0.1)
            with pytest.raises(UpstreamUnavailable) as caught:
                await connector.connect(Database("127.0.0.1", port, sslmode=mode), startup(), within=0.3)
            assert caught.value.kind == kind


async def test_cancelled_login_leaves_nothing_open() -> None:
    gone = asyncio.Event()
    here = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        here.set()
        await reader.read()
        gone.set()

    async with scripted(script) as port:
        login: Coroutine[Any, Any, UpstreamSession] = log_in(Database("127.0.0.1", port, sslmode="disable"))
        task = asyncio.get_running_loop().create_task(login)
        await here.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await gone.wait()


async def test_second_address_is_tried(postgres: Postgres, app: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    found = {"db.internal": [("127.0.0.1", free_port()), ("127.0.0.1", postgres.port)]}

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        # The loop asks for addresses, too, on its way to a socket.
        addresses = found.get(host, [(host, port)])
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    session = await log_in(gateway_login(postgres, app, host="db.internal"))
    assert session.endpoint.address == found["db.internal"][1]
    session.link.abort()
