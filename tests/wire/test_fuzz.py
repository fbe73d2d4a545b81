"""Random traffic on both sides of a real gateway.

Whatever comes, from clients or from a server: the gateway goes on, other sessions notice nothing, and the server
runs no statement that was not allowed and recorded. What the server ran is read from its own log.

``HOLDGATE_FUZZ_SECONDS`` says how long each test goes on (``make fuzz`` sets it); ``HOLDGATE_FUZZ_SEED`` repeats one.
"""

import asyncio
import contextlib
import json
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gateway import GatewayProcess, make_config
from tests.support.mutation import mutated
from tests.support.postgres import Postgres, run_postgres
from tests.support.relay import Relay
from tests.support.wire import (
    GSSENC_REQUEST,
    SSL_REQUEST,
    B,
    C,
    D,
    E,
    F,
    H,
    P,
    Q,
    RawClient,
    S,
    X,
    c,
    cancel_request,
    d,
    f,
    message,
    startup_message,
    tags,
)

SECONDS = float(os.environ.get("HOLDGATE_FUZZ_SECONDS", "3"))
SEED = int(os.environ.get("HOLDGATE_FUZZ_SEED", random.SystemRandom().randrange(1 << 32)))
CLIENTS = 8

pytestmark = pytest.mark.timeout(60 + 3 * SECONDS)

ONLY_READS = {
    "rules": [{"name": "reads", "when": {"action": ["read", "session", "utility"]}, "then": "allow"}],
    "defaults": {
        "unreadable": "deny",
        "unknown_relation": "deny",
        "opaque_function": "deny",
        "otherwise": "deny",
    },
}

SERIES: tuple[tuple[bytes, ...], ...] = (
    (Q("SELECT 1"),),
    (Q("SELECT 1; SELECT 2"), Q("")),
    (Q("INSERT INTO canary VALUES ('simple')"),),
    (Q("SELECT 1; DELETE FROM canary"),),
    (Q("BEGIN"), Q("SELECT 1"), Q("UPDATE canary SET who = 'x'"), Q("COMMIT")),
    (P("SELECT $1::int"), B(["1"]), D("P"), E(), S()),
    (P("SELECT 1", "s"), S(), B(statement="s", portal="p"), E("p", 1), H(), E("p"), C("S", "s"), S()),
    (P("INSERT INTO canary VALUES ($1)"), B(["extended"]), E(), S()),
    (P("SELECT 1"), B(), E(), P("DELETE FROM canary", "s"), B(statement="s"), E(), S()),
    (P("SELECT 1"), D("S"), H(), B(), E(), H(), S()),
    (P("TRUNCATE canary"), H(), B(), E(), S()),
    (Q("PREPARE p AS DELETE FROM canary"), Q("EXECUTE p"), B(statement="p"), E(), S()),
    (Q("COPY canary FROM STDIN"), d(b"copied\n"), c()),
    (Q("COPY (SELECT 1) TO STDOUT"), d(b"stray"), c(), f("no")),
    (P("COPY canary FROM STDIN"), B(), E(), S(), d(b"copied\n"), S(), c(), S()),
    (F(1344, [b"@\x10\0\0\0\0\0\0"]),),
    (F(957, [b"\0\0\0\1"]), F(1, []), F(2147483647, [None])),
    (Q("SET application_name = 'x'"), Q("SHOW application_name")),
    (X(), Q("SELECT 'after'")),
)

STARTUP = startup_message(user="postgres", database="postgres")
STARTUPS = (
    STARTUP,
    startup_message(3 << 16 | 9999, **{"user": "postgres", "database": "postgres", "_pq_.x": "1"}),
    startup_message(user="postgres", database="postgres", options="-c search_path=public"),
    SSL_REQUEST + STARTUP,
    GSSENC_REQUEST + SSL_REQUEST,
    cancel_request(1, b"abcd"),
    STARTUP + message("p", b"password\0") + Q("SELECT 1"),
)


_STATEMENT = re.compile(r"(?:statement|execute (?:fetch from )?(?!holdgate:)\S+): (.*)", re.DOTALL)
_FUNCTION_CALL = re.compile(r"fastpath function call: .* \(OID (\d+)\)")


class Logged:
    """A server that writes down every statement it runs."""

    def __init__(self, server: Postgres) -> None:
        self.server = server

    def statements(self) -> set[str]:
        """The text of each statement of a client of the gateway."""
        found = set()
        for file in (self.server.server.data / "log").glob("*.json"):
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                entry = json.loads(line)
                # Tests talk to the server by its socket, the gateway by TCP.
                if entry.get("remote_host") != "127.0.0.1":
                    continue
                said = entry.get("message", "")
                if statement := _STATEMENT.match(said):
                    found.add(statement[1])
                elif call := _FUNCTION_CALL.match(said):
                    found.add(f"FunctionCall of the function with OID {call[1]}")
        return found


@pytest.fixture
def logged() -> Iterator[Logged]:
    settings = {
        "log_statement": "all",
        "logging_collector": "on",
        "log_destination": "jsonlog",
        "log_connections": "off",
    }
    with run_postgres(settings=settings) as server:
        server.execute("CREATE TABLE canary (who text); INSERT INTO canary VALUES ('alive')")
        yield Logged(server)


async def talk(gateway: GatewayProcess, chance: random.Random, first: bytes, rest: bytes) -> None:
    """Send ``first`` and ``rest`` in pieces, read what comes, and leave as soon as nothing more does."""
    with contextlib.suppress(OSError, TimeoutError):
        reader, writer = await asyncio.open_connection(gateway.host, gateway.port)
        try:
            for data in (first, rest):
                for piece in _pieces(data, chance):
                    if writer.is_closing():
                        return
                    writer.write(piece)
                    await asyncio.sleep(0)
                async with asyncio.timeout(0.3):
                    await reader.read(1 << 16)
            if chance.random() < 0.5 and not writer.is_closing():
                writer.write_eof()
            async with asyncio.timeout(0.2):
                while await reader.read(1 << 16):
                    pass
        finally:
            writer.transport.abort()


def _pieces(data: bytes, chance: random.Random) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size = chance.choice((1, 7, 60, 1 << 20))
        yield data[at : at + size]
        at += size


async def keep_talking(gateway: GatewayProcess, chance: random.Random) -> None:
    while True:
        series = b"".join(raw for _ in range(chance.randint(1, 4)) for raw in chance.choice(SERIES))
        kind = chance.random()
        if kind < 0.15:
            await talk(gateway, chance, mutated(chance.choice(STARTUPS), chance), series)
        elif kind < 0.25:
            await talk(gateway, chance, STARTUP, series)
        elif kind < 0.3:
            await talk(gateway, chance, STARTUP, chance.randbytes(chance.randrange(300)))
        else:
            await talk(gateway, chance, STARTUP, mutated(series, chance))


class Witness:
    """A session that must not notice anything."""

    def __init__(self, gateway: GatewayProcess, database: str) -> None:
        self.gateway = gateway
        self.database = database
        self.answered = 0
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Ask and ask until cancelled."""
        client = await RawClient.connect(self.gateway.host, self.gateway.port, database=self.database)
        self.ready.set()
        try:
            while True:
                assert tags(await client.query("SELECT 'steady'")) == "TDCZ"
                self.answered += 1
                await asyncio.sleep(0.01)
        finally:
            client.abort()


async def fuzz(gateway: GatewayProcess, steady_in: str) -> None:
    """Talk nonsense to the database ``postgres`` for the time set, while a session of another goes on."""
    print(f"HOLDGATE_FUZZ_SEED={SEED}")
    witness = Witness(gateway, steady_in)
    tasks = [asyncio.ensure_future(witness.run())]
    await witness.ready.wait()
    chances = [random.Random(SEED + number) for number in range(CLIENTS)]
    tasks += [asyncio.ensure_future(keep_talking(gateway, chance)) for chance in chances]
    done, _ = await asyncio.wait(tasks, timeout=SECONDS, return_when=asyncio.FIRST_EXCEPTION)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
    assert witness.answered > SECONDS, "the other session hardly came to a word"
    assert await gateway.stop() == 0
    log = gateway.log_text()
    assert "Traceback" not in log, log
    assert "internal error" not in log, log


async def test_random_clients(logged: Logged, tmp_path: Path) -> None:
    async with GatewayProcess(tmp_path, make_config(logged.server, ONLY_READS)) as gateway:
        await fuzz(gateway, "template1")
        records = gateway.audit(kind="statement")
    assert logged.server.execute("TABLE canary") == [("alive",)]
    assert {record["verdict"] for record in records} == {"allow", "deny"}
    allowed: set[str] = set()
    for record in records:
        if record["verdict"] == "allow":
            allowed |= _parts(record["sql"]) | {_shown(record["sql"])}
    statements = logged.statements()
    assert len(statements) > 3
    assert not [text for text in statements if not _parts(text) <= allowed]


def _parts(text: str) -> set[str]:
    """The statements of a Query, which the audit records one by one where it could tell them apart."""
    return {_shown(part) for part in text.split(";")} - {""}


def _shown(text: str) -> str:
    return " ".join(text.replace(";", " ").split())


class MadRelay(Relay):
    """Changes what the server says, now and then."""

    def __init__(self, host: str, port: int, chance: random.Random) -> None:
        super().__init__(host, port)
        self.chance = chance

    async def _pump(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, record: bytearray
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65_536):
                if record is self.sent and self.chance.random() < 0.2:
                    data = mutated(data, self.chance)
                target.write(data)
                await target.drain()
        target.close()


async def test_a_random_server(logged: Logged, tmp_path: Path) -> None:
    """A server that lies may make the gateway believe anything of its own session, and nothing else."""
    server = logged.server
    async with MadRelay(server.host, server.port, random.Random(SEED)) as relay:
        mad = {"host": relay.host, "port": relay.port, "sslmode": "disable", "auth": "passthrough"}
        config = make_config(server, ONLY_READS, {"databases": {"postgres": mad}})
        async with GatewayProcess(tmp_path, config) as gateway:
            await fuzz(gateway, "template1")
