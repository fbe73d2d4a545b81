"""Logging in, byte for byte as the server answers it: what a client asks for arrives, or is refused in the server's
own words."""

import asyncio
import re
import struct
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.gateway import GatewayProcess, make_config, running_gateway
from tests.support.postgres import Postgres, run_postgres
from tests.support.series import Recorder
from tests.support.wire import (
    GSSENC_REQUEST,
    PROTOCOL_3_0,
    SSL_REQUEST,
    ConnectionClosed,
    P,
    Q,
    S,
    X,
    cancel_request,
    message,
    startup_message,
    tags,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]
"""The first test starts a gateway."""

Address = tuple[str, int]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Address]:
    config = make_config(postgres)
    async with GatewayProcess(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running.host, running.port


def packet(code: int, body: bytes = b"", *, length: int | None = None) -> bytes:
    return struct.pack("!II", len(body) + 8 if length is None else length, code) + body


async def conversation(address: Address, *sent: bytes, then: Sequence[bytes] = ()) -> list[str]:
    """What is read after ``sent``, up to ReadyForQuery or the end; with ``then``, from there to the end."""
    client = await Recorder.connect(*address, login=False)
    try:
        await client.send(*sent)
        with_end = list(then)
        while True:
            received = await client.read()
            if received.tag == "Z":
                if not with_end:
                    break
                await client.send(*with_end)
                with_end = [X()] if with_end[-1] != X() else []
    except (ConnectionClosed, AssertionError):
        pass
    finally:
        client.abort()
    return [_without_place(line) for line in client.log]


def _without_place(line: str) -> str:
    """An error without the file, line and routine of the server's source that it names."""
    return re.sub(r"\\x00F[\w./]+\\x00L\d+\\x00R\w+", "", line) if line.startswith("E") else line


def newest_minor(postgres: Postgres) -> int:
    """The newest 3.x that the server speaks. The gateway speaks 3.2 with all of them."""
    return 2 if postgres.major >= 18 else 0


def as_of_the_gateway(text: str) -> str:
    """A server's words about what it speaks as the gateway's: it says so before it knows of any server."""
    return re.sub(r"[23]\.0 to 3\.\d", "3.0 to 3.2", text)


async def same(postgres: Postgres, gateway: Address, *sent: bytes, then: Sequence[bytes] = ()) -> list[str]:
    """Asserts that both answer the same, and returns it."""
    direct = await conversation((postgres.host, postgres.port), *sent, then=then)
    assert await conversation(gateway, *sent, then=then) == direct
    return direct


def startup(minor: int = 0, /, **parameters: str) -> bytes:
    defaults = {"user": "postgres", "database": "postgres"}
    return startup_message(PROTOCOL_3_0 | minor, **{**defaults, **parameters})


class TestStartupParameters:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("options", "-c work_mem=1MB -c search_path=pg_catalog,public --geqo=off"),
            ("options", "-c  application_name=a\\ b\\\\c -cDateStyle=German -ec timezone=Asia/Tokyo"),
            ("options", "-c statement_timeout=5s -c statement_timeout=7s"),
            ("options", ""),
            ("application_name", "süß 'quoted' \x01"),
            ("client_encoding", "LATIN1"),
            ("client_encoding", "utf-8"),
            ("DateStyle", "SQL, DMY"),
            ("TimeZone", "america/new_york"),
            ("IntervalStyle", "iso_8601"),
            ("extra_float_digits", "3"),
            ("search_path", '"$user", public, pg_temp'),
            ("statement_timeout", "1min"),
            ("default_transaction_read_only", "on"),
            ("lock_timeout", "100"),
            ("role", "pg_monitor"),
            ("my.custom_setting", "anything"),
        ],
    )
    async def test_it_arrives(self, postgres: Postgres, gateway: Address, name: str, value: str) -> None:
        asked = [Q("SELECT name, setting, source FROM pg_settings WHERE source = 'client' ORDER BY 1")]
        if name != "options":
            asked.append(Q(f"SHOW {name}"))
        answer = await same(postgres, gateway, startup(**{name: value}), then=asked)
        assert answer[-1].startswith(("Z", "(closed)"))
        assert not [line for line in answer if line.startswith("E")]

    async def test_all_at_once_and_some_of_them_twice(self, postgres: Postgres, gateway: Address) -> None:
        packet = startup(
            options="-c work_mem=1MB -c TimeZone=UTC", work_mem="2MB", Work_Mem="3MB", TimeZone="Asia/Tokyo"
        )
        answer = await same(postgres, gateway, packet, then=[Q("SHOW work_mem"), Q("SHOW TimeZone")])
        assert any("3MB" in line for line in answer)

    @pytest.mark.parametrize(
        ("sqlstate", "parameters"),
        [
            ("42704", {"nosuch_setting": "1"}),
            ("42704", {"options": "-c nosuch_setting=1"}),
            ("42704", {"options": "--nosuch-setting=1"}),
            ("22023", {"options": "-c work_mem=lots"}),
            ("22023", {"work_mem": "lots"}),
            ("22023", {"client_encoding": "klingon"}),
            ("22023", {"TimeZone": "Nowhere/Never"}),
            ("22023", {"role": "nosuch_role"}),
            ("42601", {"options": "-c"}),
            ("42601", {"options": "-X"}),
            ("42601", {"options": "word"}),
            ("55P02", {"shared_buffers": "1MB"}),
            ("55P02", {"options": "-c max_connections=1"}),
            ("3D000", {"database": "nosuch_database"}),
            ("28000", {"user": "nosuch_user"}),
            ("22023", {"replication": "perhaps"}),
        ],
    )
    async def test_it_is_refused_in_the_servers_words(
        self, postgres: Postgres, gateway: Address, sqlstate: str, parameters: dict[str, str]
    ) -> None:
        answer = await same(postgres, gateway, startup(**parameters))
        assert f"C{sqlstate}" in answer[-2]
        assert answer[-1] == "(closed) b''"


class TestRoles:
    @pytest.fixture
    def role(self, postgres: Postgres) -> Iterator[str]:
        name = postgres.create_role(password="sesame")
        yield name
        postgres.execute(f"DROP ROLE {name}")

    async def test_defaults_of_role_and_database_apply(
        self, postgres: Postgres, gateway: Address, role: str, empty_database: str
    ) -> None:
        postgres.execute(f"ALTER ROLE {role} SET work_mem = '7MB'")
        postgres.execute(f"ALTER DATABASE {empty_database} SET TimeZone = 'Asia/Tokyo'")
        postgres.execute(f"ALTER ROLE {role} IN DATABASE {empty_database} SET DateStyle = 'German'")
        packet = startup(user=role, database=empty_database)
        answer = await same(postgres, gateway, packet, then=[Q("SHOW work_mem")])
        assert any("7MB" in line for line in answer)
        assert any("Asia/Tokyo" in line for line in answer)
        postgres.execute(f"DROP DATABASE {empty_database} WITH (FORCE)")

    @pytest.mark.parametrize(
        ("sqlstate", "change"),
        [
            ("28000", "ALTER ROLE {role} NOLOGIN"),
            ("53300", "ALTER ROLE {role} CONNECTION LIMIT 0"),
            ("42501", "REVOKE CONNECT ON DATABASE {database} FROM PUBLIC"),
            ("55000", "ALTER DATABASE {database} ALLOW_CONNECTIONS false"),
            ("53300", "ALTER DATABASE {database} CONNECTION LIMIT 0"),
        ],
    )
    async def test_what_the_server_refuses(
        self, postgres: Postgres, gateway: Address, role: str, empty_database: str, sqlstate: str, change: str
    ) -> None:
        postgres.execute(change.format(role=role, database=empty_database))
        answer = await same(postgres, gateway, startup(user=role, database=empty_database))
        assert f"C{sqlstate}" in answer[-2]

    async def test_a_wrong_password(self, postgres: Postgres, gateway: Address, role: str) -> None:
        with postgres.hba("host all all 127.0.0.1/32 password"):
            good = await same(postgres, gateway, startup(user=role), message("p", b"sesame\0"))
            assert good[-1].startswith("Z")
            bad = await same(postgres, gateway, startup(user=role), message("p", b"open\0"))
            assert "C28P01" in bad[-2]
            unknown = await same(postgres, gateway, startup(user="nosuch"), message("p", b"open\0"))
            assert "C28P01" in unknown[-2]

    async def test_no_line_of_the_servers_file_matches(
        self, postgres: Postgres, gateway: Address, role: str
    ) -> None:
        with postgres.hba("host all nobody 127.0.0.1/32 trust"):
            answer = await same(postgres, gateway, startup(user=role))
            assert "C28000" in answer[-2]

    @pytest.mark.parametrize(
        "said",
        [
            message("p", b"SCRAM-SHA-256\0" + struct.pack("!i", -2)),
            message("p", b"SCRAM-SHA-256\0" + struct.pack("!i", 0x7FFFFFFF) + b"n,,n=,r=x"),
            message("p", b"SCRAM-SHA-256\0" + struct.pack("!i", 3) + b"n,,n=,r=x"),
            message("p", b"SCRAM-SHA-256\0\0\0"),
            message("p", b"SCRAM-SHA-256"),
            message("p", b"SCRAM-SHA-1\0" + struct.pack("!i", 1) + b"n"),
            message("p", b"SCRAM-SHA-256-PLUS\0" + struct.pack("!i", 1) + b"n"),
            message("p", b""),
            message("p", b"x" * 66_000),
            b"p" + struct.pack("!i", -1),
            b"p" + struct.pack("!i", 3),
            b"p" + struct.pack("!i", 0x3FFFFFFF),
            Q("SELECT 1"),
            X(),
            startup(),
        ],
        ids=str,
    )
    async def test_a_sasl_message_that_lies(
        self, postgres: Postgres, gateway: Address, role: str, said: bytes
    ) -> None:
        with postgres.hba("host all all 127.0.0.1/32 scram-sha-256"):
            direct = await conversation((postgres.host, postgres.port), startup(user=role), said)
            through = await conversation(gateway, startup(user=role), said)
        # The server takes some of this for a wrong password, the gateway all of it for what it is.
        assert tags_of(through) == tags_of(direct)
        assert direct[0].startswith("R")
        assert not [line for line in through if line.startswith("Z")]


def tags_of(log: list[str]) -> list[str]:
    return [line.split(" ", 1)[0] for line in log]


def _outcome(log: list[str]) -> list[str]:
    """Tags, and of errors the SQLSTATE: where the gateway refuses by itself, it does so in its own words."""
    return [re.sub(r"^E .*?\\x00C(\w{5}).*", r"E \1", line) for line in log]


class TestProtocolVersions:
    @pytest.mark.parametrize("minor", [0, 1, 2, 3, 9999])
    @pytest.mark.parametrize(
        "options", [{}, {"_pq_.one": "1"}, {"_pq_.one": "1", "_pq_.two": "", "TimeZone": "UTC"}]
    )
    async def test_what_is_not_spoken_is_negotiated_once(
        self, postgres: Postgres, gateway: Address, minor: int, options: dict[str, str]
    ) -> None:
        answer = await same(postgres, gateway, startup(minor, **options), then=[Q("SELECT 1")])
        negotiations = [line for line in answer if line.startswith("v")]
        expected = bool(options) or minor > newest_minor(postgres)
        assert len(negotiations) == expected
        assert len([line for line in answer if line.startswith("Z")]) == 2

    @pytest.mark.parametrize("version", [0, 1 << 16, 2 << 16, 4 << 16, 1234 << 16 | 5681, 0xFFFFFFFF])
    async def test_what_is_not_spoken_at_all(
        self, postgres: Postgres, gateway: Address, version: int
    ) -> None:
        sent = packet(version, b"user\0postgres\0\0")
        direct = await conversation((postgres.host, postgres.port), sent)
        if postgres.major < 14 and version in (0, 2 << 16):
            pytest.skip("the server speaks protocol 2 still, and answers in it")
        assert await conversation(gateway, sent) == [as_of_the_gateway(line) for line in direct]


class TestMalformed:
    @pytest.mark.parametrize(
        "raw",
        [
            packet(PROTOCOL_3_0),
            packet(PROTOCOL_3_0, b"\0"),
            packet(PROTOCOL_3_0, b"user\0postgres\0"),
            packet(PROTOCOL_3_0, b"user\0postgres\0\0\0"),
            packet(PROTOCOL_3_0, b"user\0\0\0"),
            packet(PROTOCOL_3_0, b"database\0postgres\0\0"),
            packet(PROTOCOL_3_0, b"user\0postgres\0database\0\0"),
            packet(PROTOCOL_3_0, b"user\0postgres\0database"),
            packet(PROTOCOL_3_0, b"user\0postgres\0\0", length=7),
            packet(PROTOCOL_3_0, b"user\0postgres\0\0", length=0),
            packet(PROTOCOL_3_0, b"user\0postgres\0\0", length=10_005),
            packet(PROTOCOL_3_0, b"user\0postgres\0\0", length=0xFFFFFFFF),
            packet(PROTOCOL_3_0, b"user\0postgres\0\0", length=0x7FFFFFFF),
            b"GET / HTTP/1.1\r\n\r\n",
            cancel_request(1, b""),
            cancel_request(1, b"x" * 257),
            cancel_request(1, b"nope"),
        ],
        ids=repr,
    )
    async def test_a_first_packet(self, postgres: Postgres, gateway: Address, raw: bytes) -> None:
        direct = await first_bytes((postgres.host, postgres.port), raw)
        through = await first_bytes(gateway, raw)
        assert _bare(through) == _bare(direct)

    @pytest.mark.parametrize("request_", [SSL_REQUEST, GSSENC_REQUEST])
    @pytest.mark.parametrize("behind", [SSL_REQUEST, startup()])
    async def test_bytes_that_nobody_can_have_sent_yet(
        self, postgres: Postgres, gateway: Address, request_: bytes, behind: bytes
    ) -> None:
        direct = await first_bytes((postgres.host, postgres.port), request_ + behind)
        assert b"received unencrypted data after" in direct
        # The answer to such a request could be part of the attack: there is none.
        assert await first_bytes(gateway, request_ + behind) == b""

    @pytest.mark.parametrize("requests", [[SSL_REQUEST], [GSSENC_REQUEST], [GSSENC_REQUEST, SSL_REQUEST]])
    async def test_encryption_that_is_not_there(
        self, postgres: Postgres, gateway: Address, requests: list[bytes]
    ) -> None:
        for address in ((postgres.host, postgres.port), gateway):
            reader, writer = await asyncio.open_connection(*address)
            for request in requests:
                writer.write(request)
                assert await reader.readexactly(1) == b"N"
            client = Recorder(reader, writer)
            await client.login("postgres", "postgres")
            assert tags(await client.query("SELECT 1")) == "TDCZ"
            await client.close()

    async def test_encryption_asked_for_twice(self, postgres: Postgres, gateway: Address) -> None:
        answers = []
        for address in ((postgres.host, postgres.port), gateway):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(SSL_REQUEST)
            assert await reader.readexactly(1) == b"N"
            writer.write(SSL_REQUEST)
            answers.append(_bare(await reader.read()))
            writer.close()
        assert b"unsupported frontend protocol 1234.5679" in answers[0]
        assert answers[1].decode() == as_of_the_gateway(answers[0].decode())

    async def test_two_startups(self, postgres: Postgres, gateway: Address) -> None:
        direct = await conversation((postgres.host, postgres.port), startup(), startup(), then=[X()])
        through = await conversation(gateway, startup(), startup(), then=[X()])
        assert _outcome(direct)[-2:] == ["E 08P01", "(closed) b''"]
        assert _outcome(through) == _outcome(direct)

    async def test_what_comes_with_the_startup_is_read_behind_it(
        self, postgres: Postgres, gateway: Address
    ) -> None:
        await same(postgres, gateway, startup() + Q("SELECT 1") + P("SELECT 2") + S() + X(), then=[X()])

    async def test_a_client_that_leaves_in_the_middle(self, postgres: Postgres, gateway: Address) -> None:
        raw = startup()
        for end in range(0, len(raw), 5):
            _, writer = await asyncio.open_connection(*gateway)
            writer.write(raw[:end])
            writer.close()
            await writer.wait_closed()
        assert (await same(postgres, gateway, startup()))[-1] == "Z b'I'"


async def first_bytes(address: Address, raw: bytes) -> bytes:
    """All that is answered to ``raw`` until the connection is closed."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(raw)
    try:
        async with asyncio.timeout(10):
            if raw[8:] and raw[:4] > struct.pack("!I", len(raw)) and raw[:4] <= struct.pack("!I", 10_004):
                # Less came than was announced: nobody answers before the rest, or the end.
                writer.write_eof()
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def _bare(answer: bytes) -> bytes:
    return re.sub(rb"F[\w./]+\0L\d+\0R\w+\0", b"", answer[5:]) if answer[:1] == b"E" else answer


class TestEnds:
    """What ends a session from the server's side reaches a client that only waits."""

    @pytest.mark.parametrize(
        ("sqlstate", "since", "before"),
        [
            ("57P05", 14, [Q("SET idle_session_timeout = '200ms'")]),
            ("25P03", 0, [Q("SET idle_in_transaction_session_timeout = '200ms'"), Q("BEGIN")]),
            ("25P04", 17, [Q("SET transaction_timeout = '200ms'"), Q("BEGIN")]),
            ("57P01", 0, [Q("SELECT pg_terminate_backend(pg_backend_pid())")]),
        ],
    )
    async def test_an_idle_client_reads_why(
        self, postgres: Postgres, gateway: Address, sqlstate: str, since: int, before: list[bytes]
    ) -> None:
        if postgres.major < since:
            pytest.skip(f"PostgreSQL {since} brought this timeout")
        logs = []
        for host, port in ((postgres.host, postgres.port), gateway):
            client = await Recorder.connect(host, port)
            for sent in before[:-1]:
                await client.exchange(sent)
            await client.send(before[-1])
            await client.read_to_end()
            client.abort()
            logs.append(client.log)
        assert f"C{sqlstate}" in logs[0][-2]
        assert logs[1] == logs[0]

    async def test_a_server_that_stops(self, tmp_path: Path) -> None:
        logs = []
        async with AsyncExitStack() as stack:
            server = stack.enter_context(run_postgres())
            gateway = await stack.enter_async_context(running_gateway(tmp_path, make_config(server)))
            clients = [
                await Recorder.connect(server.host, server.port),
                await Recorder.connect(gateway.host, gateway.port),
            ]
            await asyncio.to_thread(server.server.stop, "fast")
            for client in clients:
                await client.read_to_end()
                client.abort()
                logs.append(client.log)
            assert "C57P01" in logs[0][-2]
            assert logs[1] == logs[0]
            refused = await first_bytes((gateway.host, gateway.port), startup())
            assert b"C08001" in refused
