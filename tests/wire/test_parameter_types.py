"""Types that a client names for its parameters: what binding a value to them runs is part of the statement."""

from collections.abc import Sequence

import pytest

from tests.support.gateway import ApproverClient, held
from tests.support.postgres import Postgres
from tests.support.wire import B, D, E, P, Q, RawClient, S, tags

COUNT = "SELECT count(*) FROM invoice_line"
DEFINITIONS = """
CREATE FUNCTION erase(text) RETURNS boolean LANGUAGE plpgsql AS
  'BEGIN DELETE FROM invoice_line; RETURN true; END';
CREATE DOMAIN sly AS text CHECK (erase(VALUE));
CREATE TYPE pair AS (one int, two sly);
CREATE DOMAIN plain AS text CHECK (VALUE <> '');
CREATE TYPE mood AS ENUM ('sad', 'glad')
"""


@pytest.fixture
def oids(postgres: Postgres, database: str) -> dict[str, int]:
    """The types there are by name, made before the gateway looks."""
    postgres.execute(DEFINITIONS, database)
    names = "('sly', 'pair', '_sly', 'plain', 'mood')"
    return dict(postgres.execute(f"SELECT typname, oid::int FROM pg_type WHERE typname IN {names}", database))


SLY: Sequence[tuple[str, str]] = (("sly", "x"), ("_sly", "{x}"), ("pair", "(1,x)"))


class TestWhatRunsCode:
    async def test_a_value_of_it_is_held_for_what_it_runs(
        self,
        oids: dict[str, int],
        client: RawClient,
        carol: ApproverClient,
        postgres: Postgres,
        database: str,
    ) -> None:
        before = postgres.scalar(COUNT, database)
        for name, value in SLY:
            for messages in (
                (P("SELECT 1 WHERE $1 IS NULL", types=[oids[name]]), B([value]), E(), S()),
                # Without an Execute: the value is read when it is bound.
                (P("SELECT 1 WHERE $1 IS NULL", types=[oids[name]]), B([value]), S()),
                (P("SELECT $1, $2", types=[0, oids[name]]), D("S"), B(["1", value]), E(), S()),
            ):
                hold = await held(client, carol, *messages)
                assert "delete" in hold["actions"]
                await carol.reject(hold["id"], "no")
                assert "E" in tags(await client.read_until("Z"))
        assert postgres.scalar(COUNT, database) == before

    async def test_a_text_that_is_known_without_it_is_no_way_around(
        self, oids: dict[str, int], client: RawClient, carol: ApproverClient
    ) -> None:
        for _ in range(4):
            await client.exchange(P("SELECT $1::text"), B(["x"]), E(), S())
        hold = await held(client, carol, P("SELECT $1::text", types=[oids["sly"]]), B(["x"]), E(), S())
        assert "delete" in hold["actions"]
        await carol.reject(hold["id"], "no")
        await client.read_until("Z")
        assert tags(await client.exchange(P("SELECT $1::text"), B(["x"]), E(), S())) == "12DCZ"

    async def test_a_statement_prepared_with_it_is_held_each_time_it_is_bound(
        self, oids: dict[str, int], client: RawClient, carol: ApproverClient
    ) -> None:
        await client.exchange(P("SELECT $1::text", "s1", types=[oids["sly"]]), S())
        for messages in ((B(["x"], statement="s1"), E(), S()), (Q("EXECUTE s1 ('x')"),)):
            hold = await held(client, carol, *messages)
            assert "delete" in hold["actions"]
            await carol.reject(hold["id"], "no")
            assert "E" in tags(await client.read_until("Z"))

    async def test_so_is_one_that_was_prepared_by_sql(
        self,
        oids: dict[str, int],
        client: RawClient,
        carol: ApproverClient,
        postgres: Postgres,
        database: str,
    ) -> None:
        before = postgres.scalar(COUNT, database)
        hold = await held(client, carol, Q("PREPARE s2 (sly) AS SELECT $1::text"))
        await carol.approve(hold["id"])
        assert tags(await client.read_until("Z")) == "CZ"
        for messages in ((B(["x"], statement="s2"), E(), S()), (Q("EXECUTE s2 ('x')"),)):
            hold = await held(client, carol, *messages)
            assert "delete" in hold["actions"]
            await carol.reject(hold["id"], "no")
            assert "E" in tags(await client.read_until("Z"))
        assert postgres.scalar(COUNT, database) == before

    async def test_one_made_a_moment_ago_is_known(
        self, client: RawClient, carol: ApproverClient, postgres: Postgres, database: str
    ) -> None:
        await client.query("SELECT 1")
        postgres.execute(DEFINITIONS, database)
        oid = postgres.scalar("SELECT 'sly'::regtype::oid::int", database)
        hold = await held(client, carol, P("SELECT $1::text", types=[oid]), B(["x"]), E(), S())
        assert "delete" in hold["actions"]
        await carol.reject(hold["id"], "no")


class TestWhatRunsNone:
    @pytest.mark.parametrize(("name", "value"), [("plain", "x"), ("mood", "sad")])
    async def test_it_passes(self, oids: dict[str, int], client: RawClient, name: str, value: str) -> None:
        messages = P("SELECT $1::text", types=[oids[name]]), B([value]), E(), S()
        assert tags(await client.exchange(*messages)) == "12DCZ"

    async def test_one_that_nobody_knows_is_held(self, client: RawClient, carol: ApproverClient) -> None:
        await client.send(P("SELECT $1", types=[4_000_000_000]), B(["x"]), E(), S())
        hold = await carol.wait_for_hold()
        assert hold["rule"] == "default:opaque_function"
        await carol.reject(hold["id"], "no")
        assert tags([one for one in await client.read_until("Z") if one.tag != "N"]) == "EZ"
