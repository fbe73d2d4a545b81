"""``resolve: server``: what the static reading leaves open is settled by the server's own tree, and by nothing less."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.gateway import SHOP_POLICY, ApproverClient, RunningGateway, make_config, running_gateway
from tests.support.postgres import Postgres
from tests.support.wire import B, E, P, Q, RawClient, S, tags

DEFINITIONS = """
CREATE TYPE sly AS (a int);
CREATE FUNCTION erase(sly) RETURNS text LANGUAGE plpgsql AS 'BEGIN EXECUTE ''DELETE FROM invoice_line''; RETURN 1; END';
CREATE FUNCTION lower(sly) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
  'BEGIN EXECUTE ''DELETE FROM invoice_line''; RETURN 1; END';
CREATE FUNCTION plus(sly, sly) RETURNS int LANGUAGE plpgsql AS
  'BEGIN EXECUTE ''DELETE FROM invoice_line''; RETURN 1; END';
CREATE FUNCTION feigns(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
  RAISE LOG 'rewritten parse tree:' USING DETAIL = '({QUERY :commandType 1 :utilityStmt <>})';
  EXECUTE 'DELETE FROM invoice_line'; RETURN true; END $$;
CREATE DOMAIN feigned AS text CHECK (feigns(VALUE));
CREATE TYPE pair AS (a int, b feigned);
CREATE OPERATOR + (LEFTARG = sly, RIGHTARG = sly, FUNCTION = plus);
CREATE VIEW loud AS SELECT lower(ROW(1)::sly) AS a
"""
COUNT = "SELECT count(*) FROM invoice_line"


@pytest.fixture
async def gateway(postgres: Postgres, database: str, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    postgres.execute(DEFINITIONS, database)
    more = {"databases": {"*": {"resolve": "server"}}}
    async with running_gateway(tmp_path, make_config(postgres, SHOP_POLICY, more)) as running:
        yield running


SETTLED = ("SELECT lower('A')", "SELECT 1 + 1", "SELECT lower(name) FROM track WHERE track_id + 1 = 2")
NOT_SETTLED = (
    "SELECT lower(ROW(1)::sly)",
    "SELECT erase(NULL)",
    "SELECT ROW(1)::sly + ROW(2)::sly",
    "SELECT a FROM loud",
    "SELECT lower('A'), '(1,x)'::pair",
    "SELECT lower('A'), 'x'::feigned",
    "SELECT lower('A'), query_to_xml('SELECT 1', true, true, '')",
    "WITH d AS (DELETE FROM invoice_line RETURNING 1) SELECT lower('A') FROM d",
)


async def test_what_the_tree_proves_harmless_passes_and_nothing_else(
    client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
) -> None:
    before = postgres.scalar(COUNT, database)
    for sql in SETTLED:
        assert tags(await client.query(sql))[-1] == "Z"
        assert "N" not in tags(await client.query(sql))
        assert tags(await client.exchange(P(sql), B(), E(), S()))[-2:] == "CZ"
    for sql in NOT_SETTLED:
        await client.send(Q(sql))
        hold = await carol.wait_for_hold()
        await carol.reject(hold["id"], "no")
        assert "E" in tags(await client.read_until("Z")), sql
    assert postgres.scalar(COUNT, database) == before


async def test_the_operator_is_told_once_that_the_servers_log_fills(
    gateway: RunningGateway, postgres: Postgres, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    role = postgres.create_role()
    postgres.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}", database)
    for _ in range(2):
        async with await gateway.raw(database, user=role) as client:
            assert tags(await client.query("SELECT lower('A')")) == "TDCZ"
    told = [one for one in caplog.messages if "to its own log as well" in one]
    assert len(told) == (1 if postgres.major >= 15 else 0)
    assert "SELECT lower('A')" not in told[0]


async def test_the_session_is_left_as_it_was(client: RawClient) -> None:
    await client.query("SET client_min_messages = error")
    await client.exchange(P("SELECT 5"), S())
    assert tags(await client.query("BEGIN")) == "CZ"
    answer = await client.query("SELECT lower('A')")
    assert (tags(answer), answer[-1].payload) == ("TDCZ", b"T")
    settings = "SELECT current_setting('client_min_messages'), current_setting('debug_print_rewritten')"
    shown = await client.query(settings)
    assert b"error" in shown[1].payload
    assert b"off" in shown[1].payload
    assert tags(await client.query("COMMIT")) == "CZ"
    # The unnamed statement is the client's still: a Query drops it, what the gateway asks does not.
    await client.exchange(P("SELECT 5"), S())
    await client.exchange(P("SELECT lower('A')", "named"), B(statement="named"), E(), S())
    assert tags(await client.exchange(B(), E(), S())) == "2DCZ"
