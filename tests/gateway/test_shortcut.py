"""The short way of a session: nobody can tell that it was taken, and whatever changes is heeded at once."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.config import load_config
from gateway.session import Session
from gateway.shortcut import MAX_KNOWN
from tests.support.gateway import RunningGateway, make_config, merged, running_gateway, write_config
from tests.support.postgres import Postgres
from tests.support.wire import B, D, E, P, Q, RawClient, S, tags

SCHEMA: Final = """
CREATE TABLE person (id int PRIMARY KEY, email text, age int CHECK (age > 0));
CREATE TABLE thing (n int PRIMARY KEY);
CREATE SCHEMA other;
CREATE VIEW other.thing AS SELECT id AS n, email FROM person;
"""
RESET: Final = """
TRUNCATE person, thing;
INSERT INTO person VALUES (1, 'ada@example.com', 41), (2, 'bob@example.com', 42), (3, 'cleo@example.com', 43);
INSERT INTO thing SELECT generate_series(1, 20);
"""
POLICY: Final[dict[str, Any]] = {
    "personal_data": [{"relation": "public.person", "columns": ["email"], "subject": "id"}],
    "rules": [
        {"name": "erasure", "when": {"action": "delete", "data": "personal"}, "then": "deny"},
        {"name": "bulk", "when": {"action": "read", "data": "personal", "rows": "> 2"}, "then": "deny"},
    ],
}
LOOKUP: Final = "SELECT age FROM person WHERE id = {}"


@pytest.fixture(scope="module")
def shop(postgres: Postgres) -> Iterator[str]:
    name = postgres.create_database(template=None, sql=SCHEMA + RESET)
    yield name
    postgres.drop_database(name)


@pytest.fixture
async def gateway(postgres: Postgres, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, make_config(postgres, POLICY)) as running:
        yield running


@pytest.fixture
async def client(gateway: RunningGateway, postgres: Postgres, shop: str) -> AsyncIterator[RawClient]:
    postgres.execute(RESET, shop)
    async with await gateway.raw(shop) as raw:
        yield raw


def session(gateway: RunningGateway) -> Session:
    """The session that began last, without looking at how it stands: that would end its short way."""
    return list(gateway.gateway.sessions._sessions.values())[-1]


def taken(gateway: RunningGateway) -> int:
    """How many of its statements took the short way."""
    return session(gateway)._shortcut.taken


async def said(client: RawClient, *messages: bytes) -> str:
    return tags(await client.exchange(*messages))


async def learn(client: RawClient, burst: bytes | str) -> None:
    """Send it until the session has learned it; a text with other numbers each time."""
    for number in range(101, 106):
        await client.exchange(burst if isinstance(burst, bytes) else Q(burst.format(number)))


# --- nobody can tell ---------------------------------------------------------------------------------------

_QUERIES: Final = (
    *(LOOKUP, LOOKUP, LOOKUP, "SELECT count(*) FROM thing", "INSERT INTO thing VALUES ({})"),
    *(
        "UPDATE person SET age = {} WHERE id = 1",
        "DELETE FROM thing WHERE n = {}",
        "SELECT n FROM thing WHERE n < {}",
    ),
    *(
        "SELECT email::int FROM person WHERE id = {}",
        "SELECT 1 / (n - {}) FROM thing WHERE n = 5",
        "SELECT 7 WHERE true",
    ),
)
_RARE: Final = (
    *("BEGIN", "COMMIT", "ROLLBACK", "SET search_path = other, public", "RESET search_path", "DISCARD ALL"),
    *(
        "SET application_name = 'app{}'",
        "SELECT email FROM person LIMIT {}",
        "DELETE FROM person WHERE id = {}",
    ),
    *("CREATE TEMP TABLE thing AS SELECT 1 AS n", "SELECT n FROM nowhere", "SELEC", "", "SELECT 1;SELECT 2"),
    *(
        "SET TimeZone = 'Etc/GMT-{}'",
        "COPY thing TO STDOUT",
        "SET client_min_messages = 'notice'",
        "SAVEPOINT s",
    ),
    *(
        "PREPARE s AS SELECT 1",
        "DEALLOCATE ALL",
        "SET LOCAL search_path = other",
        "SELECT repeat('x', 100000)",
    ),
)
_LOOKUP: Final = "SELECT age FROM person WHERE id = $1"


def _script(seed: int) -> list[tuple[str, bytes]]:
    """What a client does, and what others do meanwhile: (how, bytes)."""
    chance = random.Random(seed)
    steps: list[tuple[str, bytes]] = [("burst", P(_LOOKUP, "s", (23,)) + S())]
    while len(steps) < 100:
        number = chance.choice((0, 1, 2, 3, 5, 21, 22, 1234567890))
        query = Q(chance.choice(_QUERIES).format(number))
        value = (str(number),)
        unnamed = P(chance.choice((_LOOKUP, "INSERT INTO thing VALUES ($1)", "SELECT $1::int")))
        burst = chance.choice(
            (
                *(query, query, query, query),
                *(B(value, statement="s") + E() + S(), B(value, statement="s") + D("P") + E() + S()),
                *(
                    unnamed + B(value) + D("P") + E() + S(),
                    unnamed + B(value) + E() + S(),
                    B(value) + E() + S(),
                ),
                Q(chance.choice(_RARE).format(number)),
                *(query + query, P(_LOOKUP) + D("S") + S(), B(value, statement="s") + E(rows=1) + S()),
            )
        )
        how = chance.choice(("burst",) * 12 + ("bytewise", "look", "others"))
        steps += [(how, burst)] * chance.choice((1, 2, 5))
    return steps


_SAME: Final = frozenset(("at", "session_id", "statement_id", "seq", "prev", "hash", "duration_ms"))


async def _played(
    gateway: RunningGateway, postgres: Postgres, shop: str, steps: list[tuple[str, bytes]], *, short: bool
) -> tuple[list[bytes], list[dict[str, Any]], dict[str, float], int]:
    """What the client read, what was recorded and counted, and how often the short way was taken."""
    postgres.execute(RESET, shop)
    before = _counted(gateway)
    read: list[bytes] = []
    async with await gateway.raw(shop, application_name="app") as client:
        one = session(gateway)
        if not short:
            one._shortcut._fast.longest = 0
        for how, burst in steps:
            if how == "others":
                postgres.execute(
                    "CREATE OR REPLACE VIEW other.moved AS SELECT 1 AS n; DROP VIEW other.moved", shop
                )
            ready = burst.count(S()) + burst.count(b"Q\0\0")  # how many answers end
            if how == "bytewise":
                await client.send_bytewise(burst, 7)
            else:
                await client.send(burst)
            if how == "look":
                one.info()
            for _ in range(ready):
                read += [
                    message.tag.encode() + message.payload.replace(one.id.encode(), b"S-")
                    for message in await client.read_until("Z")
                ]
        number = one._shortcut.taken
    await gateway.until_sessions(0)
    records = await gateway.recorded(session_id=one.id)
    kept = [
        {**{name: value for name, value in record.items() if name not in _SAME}, "n": _number(record)}
        for record in records
    ]
    after = _counted(gateway)
    return read, kept, {name: after[name] - before.get(name, 0.0) for name in after}, number


def _number(record: dict[str, Any]) -> str:
    return str(record["statement_id"] or "").partition(".")[2]


def _counted(gateway: RunningGateway) -> dict[str, float]:
    found: dict[str, float] = {}
    for family in gateway.gateway.metrics.families():
        for sample in family.samples:
            if sample.name in ("holdgate_statements_total", "holdgate_bytes_total"):
                found[f"{sample.name}{sorted(sample.labels.items())}"] = sample.value
            elif sample.name.endswith(("statement_seconds_count", "overhead_seconds_count")):
                found[sample.name] = sample.value
            elif sample.name == "holdgate_classify_seconds_count":
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


@pytest.mark.parametrize("seed", range(6))
async def test_any_traffic_is_the_same_either_way(
    gateway: RunningGateway, postgres: Postgres, shop: str, seed: int
) -> None:
    steps = _script(seed)
    await _played(gateway, postgres, shop, steps, short=False)
    usual = await _played(gateway, postgres, shop, steps, short=False)
    short = await _played(gateway, postgres, shop, steps, short=True)
    assert short[0] == usual[0]
    assert short[1] == usual[1]
    assert short[2] == usual[2]
    assert usual[3] == 0
    assert short[3] > 5, "or it compares nothing"


# --- what takes it, and what does not ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "burst",
    [
        Q("SELECT count(*) FROM thing"),
        Q(LOOKUP.format(1)),
        P(_LOOKUP) + B(("1",)) + D("P") + E() + S(),
        P(_LOOKUP, types=(23,)) + B(("1",)) + E() + S(),
        B(("1",), statement="s") + E() + S(),
        Q("INSERT INTO thing SELECT max(n) + 1 FROM thing"),
    ],
)
async def test_what_is_sent_again_takes_it(gateway: RunningGateway, client: RawClient, burst: bytes) -> None:
    await client.exchange(P(_LOOKUP, "s", (23,)) + S())
    await learn(client, burst)
    before = taken(gateway)
    for _ in range(3):
        assert (await said(client, burst)).endswith("CZ")
    assert taken(gateway) == before + 3


@pytest.mark.parametrize(
    "burst",
    [
        Q("SELECT email FROM person LIMIT 1;SELECT 1"),
        Q("SET application_name = 'app'"),
        Q("BEGIN") + Q("COMMIT"),
        Q("DELETE FROM person WHERE id = 1"),
        Q("COPY thing TO STDOUT"),
        Q("SELECT email FROM person"),
        Q("SELECT set_config('search_path', 'public', false)"),
        Q("CREATE TEMP TABLE IF NOT EXISTS own (n int)"),
        Q(""),
        P("SELECT email FROM person LIMIT $1") + B(("1",)) + E() + S(),
        B(("1",), statement="s") + E(rows=1) + S(),
        B(("1",), statement="s", portal="p") + E("p") + S(),
    ],
)
async def test_all_else_never_does(gateway: RunningGateway, client: RawClient, burst: bytes) -> None:
    await client.exchange(P(_LOOKUP, "s", (23,)) + S())
    for _ in range(5):
        await client.send(burst)
        for _ in range(burst.count(b"Q\0\0") + burst.count(S())):
            await client.read_until("Z")
    assert taken(gateway) == 0


async def test_numbers_may_differ_where_they_cannot_matter_and_nowhere_else(
    gateway: RunningGateway, client: RawClient
) -> None:
    text = "SELECT email FROM person WHERE id > {} ORDER BY id LIMIT {}"
    await learn(client, text.replace("LIMIT {}", "LIMIT 2"))
    before = taken(gateway)
    assert await said(client, Q(text.format(1, 2))) == "TDDCZ"
    assert await said(client, Q(text.format(12345, 2))) == "TCZ"
    assert taken(gateway) == before + 2
    assert await said(client, Q(text.format(0, 3))) == "EZ", "more than two"
    assert await said(client, Q(text.format(0, 20))) == "EZ"
    assert taken(gateway) == before + 2
    shown = [record["sql"] for record in await gateway.recorded(kind="statement")]
    assert shown[-4:] == [text.format(*numbers) for numbers in ((1, 2), (12345, 2), (0, 3), (0, 20))]


async def test_what_is_known_is_not_learned_again(gateway: RunningGateway, client: RawClient) -> None:
    await client.exchange(Q("BEGIN"))
    await learn(client, LOOKUP)
    (known,) = session(gateway)._shortcut._queries.values()
    await learn(client, LOOKUP)
    assert list(session(gateway)._shortcut._queries.values()) == [known]


async def test_what_is_sent_once_is_not_remembered(gateway: RunningGateway, client: RawClient) -> None:
    for number in range(MAX_KNOWN + 20):
        await client.exchange(Q(f"SELECT '{number}' AS x{number}"))
    assert not session(gateway)._shortcut._queries


# --- whatever changes is heeded at once --------------------------------------------------------------------


@pytest.fixture
async def learned(gateway: RunningGateway, client: RawClient) -> RawClient:
    """A client whose next lookup in ``thing`` takes the short way."""
    await learn(client, "SELECT * FROM thing WHERE n = {}")
    before = taken(gateway)
    assert await said(client, Q("SELECT * FROM thing WHERE n = 2")) == "TDCZ"
    assert taken(gateway) == before + 1
    return client


DENIED: Final = [{"name": "none", "when": {"relation": "public.thing"}, "then": "deny"}]


async def test_another_policy(
    gateway: RunningGateway, postgres: Postgres, learned: RawClient, tmp_path: Path
) -> None:
    config = merged(make_config(postgres, POLICY), {"rules": DENIED})
    gateway.gateway.reload(load_config(write_config(tmp_path, config)))
    assert await said(learned, Q("SELECT * FROM thing WHERE n = 2")) == "EZ"
    assert await said(learned, Q("SELECT * FROM thing WHERE n = 2")) == "EZ"


async def test_another_search_path(learned: RawClient) -> None:
    await learned.exchange(Q("SET search_path = other, public"))
    (description, *_) = await learned.exchange(Q("SELECT * FROM thing WHERE n = 2"))
    assert b"email" in description.payload
    assert await said(learned, Q("SELECT * FROM thing WHERE n > 0")) == "EZ", "all of them"


async def test_a_definition_that_somebody_else_changes(
    gateway: RunningGateway, learned: RawClient, shop: str
) -> None:
    async with await gateway.raw(shop) as other:
        await other.exchange(Q("CREATE RULE gone AS ON UPDATE TO thing DO ALSO DELETE FROM person"))
        try:
            assert await said(learned, Q("UPDATE thing SET n = n WHERE n = 2")) == "EZ"
            before = taken(gateway)
            assert await said(learned, Q("SELECT * FROM thing WHERE n = 2")) == "TDCZ"
            assert taken(gateway) == before, "all of it is judged anew"
        finally:
            await other.exchange(Q("DROP RULE gone ON thing"))


async def test_a_temporary_table_of_that_name(gateway: RunningGateway, learned: RawClient) -> None:
    await learned.exchange(Q("CREATE TEMP TABLE thing AS SELECT id AS n, email FROM person LIMIT 2"))
    before = taken(gateway)
    assert await said(learned, Q("SELECT * FROM thing WHERE n = 2")) == "TDCZ"
    assert taken(gateway) == before


async def test_an_audit_that_cannot_be_written(gateway: RunningGateway, learned: RawClient) -> None:
    audit = gateway.gateway.audit
    limit, audit._queue_limit = audit._queue_limit, 0
    try:
        (error, _) = await learned.exchange(Q("SELECT * FROM thing WHERE n = 2"))
        assert error.sqlstate == "58000"
    finally:
        audit._queue_limit = limit


async def test_records_without_literals(
    gateway: RunningGateway, postgres: Postgres, learned: RawClient, tmp_path: Path
) -> None:
    config = merged(make_config(postgres, POLICY), {"audit": {"redact": "literals"}})
    gateway.gateway.reload(load_config(write_config(tmp_path, config)))
    before = taken(gateway)
    await learn(learned, "SELECT * FROM thing WHERE n = {}")
    assert taken(gateway) > before + 1
    assert (await gateway.recorded(kind="statement"))[-1]["sql"] == "SELECT * FROM thing WHERE n = ?"


# --- what is under way is known like anything else ---------------------------------------------------------

SLOW: Final = "SELECT n FROM thing WHERE n = {} FOR UPDATE"


@pytest.fixture
async def waiting(
    gateway: RunningGateway, client: RawClient, postgres: Postgres, shop: str
) -> AsyncIterator[RawClient]:
    """A client whose statement took the short way and waits for a lock."""
    await learn(client, SLOW)
    assert taken(gateway) > 0
    with postgres.connect(shop) as holder, holder.transaction():
        holder.execute(SLOW.format(1))
        await client.send(Q(SLOW.format(1)))
        words = f"query = '{SLOW.format(1)}' AND wait_event_type = 'Lock'"
        await asyncio.to_thread(postgres.wait_until, f"EXISTS (SELECT FROM pg_stat_activity WHERE {words})")
        assert session(gateway)._shortcut._fast.entered
        yield client


async def test_it_is_shown(gateway: RunningGateway, waiting: RawClient) -> None:
    (info,) = gateway.gateway.sessions.list()
    assert (info.state, info.current_sql) == ("active", SLOW.format(1))


async def test_it_is_canceled(gateway: RunningGateway, waiting: RawClient) -> None:
    await session(gateway).cancel()
    assert await waiting.read_until("Z")
    record = (await gateway.recorded(kind="statement"))[-1]
    assert (record["sql"], record["sqlstate"]) == (SLOW.format(1), "57014")
    await learn(waiting, LOOKUP)
    before = taken(gateway)
    assert await said(waiting, Q(LOOKUP.format(2))) == "TDCZ"
    assert taken(gateway) == before + 1


async def test_it_is_killed(gateway: RunningGateway, waiting: RawClient) -> None:
    session(gateway).kill("root")
    await waiting.read_until("E")
    await gateway.until_sessions(0)
    record = (await gateway.recorded(kind="statement"))[-1]
    assert (record["sql"], record["sqlstate"]) == (SLOW.format(1), "08006")
    assert "no answer" in record["tag"]


async def test_the_client_goes_on_sending(gateway: RunningGateway, waiting: RawClient) -> None:
    await waiting.send(Q("DELETE FROM person WHERE id = 1") + Q("SELECT 1"))
    await session(gateway).cancel()
    assert tags(await waiting.read_until("Z")) == "TEZ"
    assert tags(await waiting.read_until("Z")) == "EZ"
    assert tags(await waiting.read_until("Z")) == "TDCZ"


async def test_an_error_has_no_values_and_is_recorded(gateway: RunningGateway, client: RawClient) -> None:
    failing = "UPDATE person SET age = age - 41 WHERE id = {}"
    await learn(client, failing)
    before = taken(gateway)
    assert await said(client, Q(failing.format(2))) == "CZ"
    assert taken(gateway) == before + 1
    (error, _) = await client.exchange(Q(failing.format(1)))
    assert error.sqlstate == "23514"
    assert "ada@example.com" not in str(error.fields)
    assert "Values are left out" in error.fields["H"]
    record = (await gateway.recorded(kind="statement"))[-1]
    assert (record["sql"], record["sqlstate"]) == (failing.format(1), "23514")
    assert "ada@example.com" in str(record["withheld"])
    assert record["statement_id"] in error.fields["H"]


async def test_a_large_answer_goes_the_usual_way(gateway: RunningGateway, client: RawClient) -> None:
    large = Q("SELECT repeat('x', 1000) FROM generate_series(1, 5000)")
    for _ in range(4):
        assert await said(client, large) == "T" + "D" * 5000 + "CZ"
    records = await gateway.recorded(kind="statement")
    assert [record["rows"] for record in records] == [5000] * 4
    assert len({record["bytes"] for record in records[1:]}) == 1


async def test_what_a_session_did_last_is_remembered(gateway: RunningGateway, learned: RawClient) -> None:
    last = session(gateway).recorder.recent()[-1]
    assert (last["sql"], last["tag"], last["rows"]) == ("SELECT * FROM thing WHERE n = 2", "SELECT 1", 1)
