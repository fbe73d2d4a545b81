"""Statements the server would not take: its own error at once, and nobody is asked."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.gateway import SHOP_POLICY, RunningGateway, make_config, running_gateway
from tests.support.postgres import Postgres
from tests.support.wire import B, E, P, Q, RawClient, S, tags


@pytest.fixture
async def direct(postgres: Postgres, database: str) -> AsyncIterator[RawClient]:
    """The same without the gateway."""
    async with await RawClient.connect(postgres.host, postgres.port, database=database) as raw:
        yield raw


SLIPS = [
    "selct 1",
    "SELECT 1; selct 2",
    "SELECT 'ä' FROMM customer WHERE true",
    "SELECT 1 +",
    "SELECT 1 + -- to be continued",
    "SELECT 'never closed",
    "SELECT $tag$ never closed",
    "/* never closed",
    'SELECT * FROM "never closed',
    "DELETE customer WHERE customer_id = 5",
    "SELECT * FROM (SELECT 1",
    "CREATE TABLE t (a int",
    "SELECT * FROM customr",
    "SELECT * FROM shop.customer",
    "DELETE FROM custmer WHERE customer_id = 5",
    "UPDATE customers SET phone = NULL",
    "INSERT INTO customers (email) SELECT email FROM customer",
    "SELECT nosuch(customer_id) FROM customer WHERE customer_id = 5",
    "SELECT first_nme FROM customer WHERE customer_id = 5",
    "WITH c AS (DELETE FROM custmer RETURNING *) SELECT * FROM c",
]


@pytest.mark.parametrize("begin", [False, True], ids=["idle", "in a transaction"])
@pytest.mark.parametrize("sql", SLIPS)
async def test_a_slip_gets_the_answer_of_the_server(
    gateway: RunningGateway, client: RawClient, direct: RawClient, sql: str, begin: bool
) -> None:
    for raw in (client, direct):
        if begin:
            await raw.query("BEGIN")
    answers, expected = [await raw.query(sql) for raw in (client, direct)]
    assert answers == expected
    assert client.status == direct.status == ("E" if begin else "I")
    if begin:
        await client.query("ROLLBACK")
    assert tags(await client.query("SELECT 1")) == "TDCZ"
    assert await (await gateway.client()).holds() == []


@pytest.mark.parametrize(
    "sql", ["selct $1", "SELECT * FROM customr WHERE a = $1", "SELECT first_nme FROM customer"]
)
async def test_the_same_in_the_extended_protocol(client: RawClient, direct: RawClient, sql: str) -> None:
    for raw in (client, direct):
        assert tags(await raw.exchange(P("SELECT 7", "kept"), S())) == "1Z"
    values = ["5"] if "$1" in sql else []
    answers, expected = [
        await raw.exchange(P(sql, types=[23] * len(values)), B(values), E(), S()) for raw in (client, direct)
    ]
    assert answers == expected
    assert tags(await client.exchange(B(statement="kept"), E(), S())) == "2DCZ"


async def test_it_is_recorded(gateway: RunningGateway, client: RawClient) -> None:
    await client.query("selct 1")
    (record,) = await gateway.recorded(kind="statement")
    assert (record["sql"], record["verdict"], record["sqlstate"]) == ("selct 1", "hold", "42601")
    assert record["rule"] == "default:unreadable"
    assert record["hold_id"] is None


async def test_what_only_the_server_can_read_is_held(gateway: RunningGateway, client: RawClient) -> None:
    """libpg_query counts so many CASEs inside one another as unreadable, and the server does not."""
    carol = await gateway.client()
    deep = "SELECT " + "CASE WHEN true THEN " * 60 + "1" + " END" * 60
    await client.send(Q(deep))
    hold = await carol.wait_for_hold()
    assert hold["rule"] == "default:unreadable"
    await carol.approve(hold["id"])
    assert tags(await client.read_until("Z")) == "NTDCZ"


async def test_a_relation_that_somebody_else_has_just_made_is_no_slip(
    gateway: RunningGateway, client: RawClient, direct: RawClient
) -> None:
    await client.query("SELECT 1")
    await direct.query("CREATE TABLE fresh (a int); INSERT INTO fresh VALUES (1)")
    assert tags(await client.query("SELECT * FROM fresh")) == "TDCZ"


async def test_nothing_of_it_runs(
    gateway: RunningGateway, client: RawClient, direct: RawClient, database: str
) -> None:
    """Analysing a literal may run the checks of a type: with those it is not analysed."""
    await direct.query(
        "CREATE FUNCTION spill() RETURNS boolean LANGUAGE plpgsql AS "
        "$$ BEGIN EXECUTE current_setting('holdgate.text'); RAISE EXCEPTION 'it ran' USING ERRCODE = '42000'; END $$; "
        "CREATE DOMAIN guarded AS int CHECK (spill())"
    )
    carol = await gateway.client()
    await client.send(Q("SELECT '{1}'::guarded[] FROM (SELECT '{1}'::guarded[]) AS g, customr"))
    hold = await carol.wait_for_hold()
    await carol.reject(hold["id"], "no")
    replies = await client.read_until("Z")
    assert [reply.fields["C"] for reply in replies if reply.tag == "E"] == ["42501"]


async def test_what_is_denied_is_not_put_to_the_server(
    postgres: Postgres, tmp_path: Path, database: str
) -> None:
    policy = {"defaults": {"unreadable": "deny", "unknown_relation": "deny"}}
    config = make_config(postgres, SHOP_POLICY, policy)
    async with running_gateway(tmp_path, config) as gateway, await gateway.raw(database) as client:
        (error, _) = await client.query("selct 1")
        assert error.fields["M"] == "statement denied by rule default:unreadable"
        assert 'syntax error at or near "selct"' in error.fields["D"]
        (error, _) = await client.query("SELECT * FROM customr")
        assert error.fields["M"] == "statement denied by rule default:unknown_relation"
