"""SQL cursors: what a name stands for is known as long as nobody else can have opened it, and no longer."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import SHOP_POLICY, RunningGateway, held, make_config, merged, running_gateway
from tests.support.postgres import Postgres
from tests.support.wire import B, C, E, P, Q, RawClient, S, tags

POLICY: Mapping[str, Any] = {
    "personal_data": [{"relation": "public.customer", "columns": ["email"], "subject": "customer_id"}],
    "rules": [
        {"name": "bulk", "when": {"action": "read", "data": "personal", "rows": "> 1"}, "then": "deny"}
    ],
    "defaults": {
        "unreadable": "deny",
        "unknown_relation": "deny",
        "opaque_function": "allow",
        "otherwise": "allow",
    },
}
"""Reading all customers is denied and so is what nobody knows, but code that nobody read may run."""

SWAP = """
CREATE FUNCTION swap(name text, hold text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
  IF EXISTS (SELECT FROM pg_cursors c WHERE c.name = swap.name) THEN EXECUTE 'CLOSE ' || name; END IF;
  EXECUTE 'DECLARE ' || name || ' CURSOR ' || hold || ' FOR SELECT email FROM customer';
  RETURN 1;
END $$;
CREATE TABLE bait (a int);
INSERT INTO bait VALUES (1);
"""
DECLARE = "DECLARE c CURSOR FOR SELECT name FROM genre"
HOLDABLE = "DECLARE c CURSOR WITH HOLD FOR SELECT name FROM genre"
FETCH = "FETCH c"
SWAPS = "SELECT swap('c', '')"


@pytest.fixture
async def gateway(postgres: Postgres, tmp_path: Path, database: str) -> AsyncIterator[RunningGateway]:
    postgres.execute(SWAP, database)
    async with running_gateway(tmp_path, make_config(postgres, POLICY)) as running:
        yield running


async def said(client: RawClient, *messages: bytes | str) -> str:
    """What a Query or a series comes to: ``ok``, the default or rule that denied it, or the SQLSTATE."""
    sent = [Q(each) if isinstance(each, str) else each for each in messages]
    for answer in await client.exchange(*sent):
        if answer.tag == "E":
            _, found, rule = answer.fields["M"].partition("denied by rule ")
            return rule.removeprefix("default:") if found else answer.sqlstate
    return "ok"


async def ok(client: RawClient, *statements: str) -> None:
    for sql in statements:
        assert await said(client, sql) == "ok", sql


def one(sql: str) -> tuple[bytes, ...]:
    """One statement of the extended protocol."""
    return P(sql), B(), E()


class TestKnown:
    """What a client declared itself can be fetched from, however it goes on meanwhile."""

    @pytest.mark.parametrize(
        "between",
        [
            (),
            ("SAVEPOINT s", "ROLLBACK TO s"),
            ("SAVEPOINT s", "SELECT 1/0", "ROLLBACK TO s"),
            ("SAVEPOINT s", "RELEASE s"),
            ("SAVEPOINT s", "DECLARE d CURSOR FOR SELECT 1", "ROLLBACK TO s", "ROLLBACK TO s"),
            ("DECLARE d CURSOR FOR SELECT 1", "CLOSE d"),
            ("FETCH 2 FROM c", "MOVE 1 FROM c"),
            ("INSERT INTO bait VALUES (2)",),
            ("EXPLAIN ANALYZE DECLARE d CURSOR FOR SELECT 1",),
        ],
    )
    async def test_in_its_transaction(self, client: RawClient, between: tuple[str, ...]) -> None:
        await ok(client, "BEGIN", DECLARE)
        for sql in between:
            assert await said(client, sql) in ("ok", "22012")
        await ok(client, FETCH, "COMMIT")

    @pytest.mark.parametrize(
        "between",
        [
            (),
            ("BEGIN", "COMMIT"),
            ("BEGIN", "ROLLBACK"),
            ("SELECT 1/0",),
            ("BEGIN", "SELECT 1/0", "COMMIT"),
            ("BEGIN", DECLARE.replace(" c ", " d "), "ROLLBACK"),
            ("BEGIN; SELECT 1; COMMIT",),
        ],
    )
    async def test_with_hold_behind_it(self, client: RawClient, between: tuple[str, ...]) -> None:
        for before in ([HOLDABLE], ["BEGIN", HOLDABLE, "COMMIT"]):
            await ok(client, *before)
            for sql in between:
                assert await said(client, sql) in ("ok", "22012")
            await ok(client, FETCH, "CLOSE c")

    async def test_with_hold_and_a_chain_of_transactions(self, client: RawClient) -> None:
        await ok(client, "BEGIN", HOLDABLE, "COMMIT AND CHAIN", FETCH, "ROLLBACK AND CHAIN", FETCH, "COMMIT")

    async def test_in_one_message(self, client: RawClient) -> None:
        await ok(client, f"BEGIN; {DECLARE}; FETCH c; COMMIT", f"{HOLDABLE}; FETCH c", "COMMIT; FETCH c")

    async def test_in_one_series_and_piped(self, client: RawClient) -> None:
        assert await said(client, *one("BEGIN"), *one(DECLARE), *one(FETCH), *one("CLOSE c"), S()) == "ok"
        await client.send(Q(DECLARE), Q(FETCH), *one(FETCH), S(), Q("CLOSE c"), Q("COMMIT"))
        heard = [tags(await client.read_until("Z")) for _ in range(5)]
        assert heard == ["CZ", "TDCZ", "12DCZ", "CZ", "CZ"]

    async def test_code_that_was_read_is_no_danger(
        self, client: RawClient, postgres: Postgres, database: str
    ) -> None:
        postgres.execute(
            "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN new.a := 7; RETURN new; END $$;"
            "CREATE TRIGGER t BEFORE INSERT ON bait FOR EACH ROW EXECUTE FUNCTION touch()",
            database,
        )
        await ok(client, "BEGIN", DECLARE, "INSERT INTO bait VALUES (3)", FETCH, "COMMIT")

    async def test_behind_code_nobody_read(self, client: RawClient) -> None:
        await ok(client, "BEGIN", SWAPS.replace("'c'", "'d'"), DECLARE, FETCH, "COMMIT")

    async def test_by_a_driver(self, gateway: RunningGateway, database: str) -> None:
        async with await gateway.psycopg(database, autocommit=False) as connection:
            async with connection.cursor("mine") as cursor:
                await cursor.execute("SELECT name FROM genre ORDER BY genre_id")
                first = await cursor.fetchmany(2)
                async with connection.transaction(force_rollback=True):
                    await connection.execute("INSERT INTO bait VALUES (4)")
                assert len(first) == 2
                assert len(await cursor.fetchall()) > 0
            await connection.commit()
            async with connection.cursor("kept", withhold=True) as cursor:
                await cursor.execute("SELECT name FROM genre ORDER BY genre_id")
                await connection.commit()
                assert len(await cursor.fetchmany(1)) == 1


class TestForgotten:
    """Code that nobody read may have opened a cursor under a name that was free, or freed it itself."""

    @pytest.mark.parametrize(
        "before",
        [
            ("BEGIN", DECLARE),
            ("BEGIN", DECLARE, "CLOSE c"),
            ("BEGIN", DECLARE, "CLOSE ALL"),
            ("BEGIN", DECLARE, "COMMIT", "BEGIN"),
            ("BEGIN", DECLARE, "ROLLBACK", "BEGIN"),
            ("BEGIN", HOLDABLE, "ROLLBACK", "BEGIN"),
            ("BEGIN", "SAVEPOINT s", DECLARE, "ROLLBACK TO s"),
            ("BEGIN", "SAVEPOINT s", DECLARE, "RELEASE s", "ROLLBACK", "BEGIN"),
            (HOLDABLE, "DISCARD ALL", "BEGIN"),
            (HOLDABLE, "BEGIN"),
            (f"{HOLDABLE}; SELECT 1/0", "BEGIN"),
            ("BEGIN", HOLDABLE, "SELECT 1/0", "COMMIT", "BEGIN"),
        ],
    )
    async def test_a_name_that_code_took(self, client: RawClient, before: tuple[str, ...]) -> None:
        for sql in before:
            assert await said(client, sql) in ("ok", "22012"), sql
        await ok(client, SWAPS)
        assert await said(client, FETCH) == "unreadable"
        assert await said(client, "ROLLBACK") == "ok"

    @pytest.mark.parametrize(
        "close",
        ["CLOSE c", "CLOSE ALL", "DISCARD ALL", "SAVEPOINT s; ROLLBACK TO s", "COMMIT", "BEGIN; ROLLBACK"],
    )
    async def test_a_free_name_is_unknown(self, client: RawClient, close: str) -> None:
        if close.startswith("SAVEPOINT"):
            await ok(client, "BEGIN", "SAVEPOINT s", DECLARE, "ROLLBACK TO s")
        elif close == "COMMIT":
            await ok(client, "BEGIN", DECLARE, close)
        elif close.startswith("BEGIN"):
            await ok(client, "BEGIN", HOLDABLE, "ROLLBACK")
        else:
            await ok(client, HOLDABLE, close)
        assert await said(client, FETCH) == "unreadable"

    async def test_in_one_message(self, client: RawClient) -> None:
        await ok(client, "BEGIN", DECLARE)
        assert await said(client, f"{SWAPS}; {FETCH}") == "unreadable"
        await ok(client, "ROLLBACK", "BEGIN", DECLARE)
        assert await said(client, f"CLOSE c; {FETCH}") == "unreadable"

    async def test_in_one_series(self, client: RawClient) -> None:
        await ok(client, "BEGIN", DECLARE)
        assert await said(client, *one("CLOSE c"), *one(SWAPS), *one(FETCH), S()) == "unreadable"
        await ok(client, "ROLLBACK", "BEGIN", DECLARE)
        assert await said(client, *one(SWAPS), *one("FETCH ALL FROM c"), S()) == "unreadable"

    async def test_piped(self, client: RawClient) -> None:
        await ok(client, "BEGIN", DECLARE)
        await client.send(*one("CLOSE c"), S(), *one(SWAPS), S(), *one(FETCH), S())
        first, second, third = [await client.read_until("Z") for _ in range(3)]
        assert (tags(first), tags(second)) == ("12CZ", "12DCZ")
        assert "unreadable" in next(each for each in third if each.tag == "E").fields["M"]

    async def test_a_portal_closed_by_the_protocol(self, client: RawClient) -> None:
        await ok(client, "BEGIN", DECLARE)
        assert await said(client, C("P", "c"), *one(SWAPS), S()) == "ok"
        assert await said(client, FETCH) == "unreadable"

    async def test_code_that_runs_while_another_cursor_is_fetched_from(self, client: RawClient) -> None:
        await ok(client, "BEGIN", "DECLARE d CURSOR FOR SELECT swap('c', '') FROM bait", DECLARE)
        await ok(client, "FETCH d")
        assert await said(client, FETCH) == "unreadable"
        await ok(client, "ROLLBACK", "BEGIN", "DECLARE d CURSOR FOR SELECT swap('c', '') FROM bait", DECLARE)
        assert await said(client, f"FETCH d; {FETCH}") == "unreadable"

    async def test_code_that_runs_when_a_series_is_planned(
        self, client: RawClient, postgres: Postgres, database: str
    ) -> None:
        postgres.execute(
            "CREATE FUNCTION reopen(v refcursor) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN"
            "  CLOSE v; OPEN v FOR EXECUTE 'SELECT email ' || 'FROM customer'; RETURN 1; END $$",
            database,
        )
        await ok(client, "BEGIN", DECLARE)
        assert await said(client, P("SELECT reopen('c')"), B(), S()) == "ok"
        assert await said(client, FETCH) == "unreadable"

    @pytest.mark.parametrize("fires", ["COMMIT", "SET CONSTRAINTS ALL IMMEDIATE"])
    async def test_code_that_runs_at_the_end(
        self, client: RawClient, postgres: Postgres, database: str, fires: str
    ) -> None:
        postgres.execute(
            "CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            "  PERFORM swap('c', 'WITH HOLD'); RETURN NULL; END $$;"
            "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON bait DEFERRABLE INITIALLY DEFERRED"
            "  FOR EACH ROW EXECUTE FUNCTION fires()",
            database,
        )
        await ok(client, "BEGIN", "INSERT INTO bait VALUES (5)", HOLDABLE, FETCH, fires)
        assert await said(client, FETCH) == "unreadable"

    @pytest.mark.parametrize(
        "body",
        [
            "BEGIN CLOSE v; OPEN v FOR SELECT email FROM customer; RETURN new; END",
            "BEGIN CLOSE v; EXECUTE 'DECLARE c CURSOR FOR SELECT 1'; RETURN new; END",
        ],
    )
    async def test_code_that_was_read_and_opens_cursors(
        self, client: RawClient, postgres: Postgres, database: str, body: str
    ) -> None:
        postgres.execute(
            f"CREATE FUNCTION opens() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE v refcursor := 'c'; {body} $$;"
            "CREATE TRIGGER t BEFORE INSERT ON bait FOR EACH ROW EXECUTE FUNCTION opens()",
            database,
        )
        await ok(client, "BEGIN", DECLARE)
        await ok(client, "INSERT INTO bait VALUES (6)")
        assert await said(client, FETCH) == "unreadable"

    async def test_a_prepared_statement_that_is_none_of_the_plain_kinds(self, client: RawClient) -> None:
        await ok(client, "BEGIN", DECLARE)
        assert await said(client, P("CLOSE c", "s1"), S()) == "ok"
        await ok(client, "EXECUTE s1")
        assert await said(client, FETCH) == "unreadable"

    async def test_a_portal_that_takes_the_place_of_a_cursor(self, client: RawClient) -> None:
        await ok(client, "BEGIN", DECLARE)
        series = C("P", "c"), P("SELECT name FROM genre"), B(portal="c"), E("c", 1), S()
        assert tags(await client.exchange(*series)) == "312DsZ"
        # What it reads was judged where it was executed, but not for whoever fetches from it.
        assert await said(client, FETCH) == "unreadable"


class TestBySubject:
    """A cursor is judged where it is declared, a portal where it is executed: as all that they can give."""

    @pytest.fixture
    async def shop(self, postgres: Postgres, tmp_path: Path, database: str) -> AsyncIterator[RunningGateway]:
        narrow = {
            "rules": [
                {**SHOP_POLICY["rules"][1], "when": {"action": "read", "data": "personal", "rows": "> 1"}}
            ]
        }
        (tmp_path / "shop").mkdir()
        async with running_gateway(
            tmp_path / "shop", make_config(postgres, merged(SHOP_POLICY, narrow))
        ) as running:
            yield running

    async def test_all_customers_in_drips_of_a_cursor(self, shop: RunningGateway, database: str) -> None:
        carol = await shop.client("carol")
        async with await shop.raw(database) as client:
            await ok(client, "BEGIN")
            hold = await held(client, carol, Q("DECLARE c CURSOR FOR SELECT email FROM customer"))
            assert hold["row_bound"] == "UNBOUNDED"
            assert (await carol.approve(hold["id"])).status_code == 200
            assert tags(await client.read_until("Z")) == "CZ"
            # What was approved is the whole of it: no fetch asks again.
            await ok(client, "FETCH 1 FROM c", "FETCH 30 FROM c", "FETCH ALL FROM c", "COMMIT")

    async def test_one_customer_by_a_cursor(self, shop: RunningGateway, database: str) -> None:
        async with await shop.raw(database) as client:
            await ok(
                client,
                "BEGIN",
                "DECLARE c SCROLL CURSOR FOR SELECT email FROM customer WHERE customer_id = 5",
                "FETCH ALL FROM c",
                "FETCH FIRST FROM c",
                "COMMIT",
            )

    async def test_all_customers_in_drips_of_a_portal(self, shop: RunningGateway, database: str) -> None:
        carol = await shop.client("carol")
        async with await shop.raw(database) as client:
            await ok(client, "BEGIN")
            series = P("SELECT email FROM customer"), B(portal="p"), E("p", 1), S()
            hold = await held(client, carol, *series)
            assert hold["row_bound"] == "UNBOUNDED"
            assert (await carol.approve(hold["id"])).status_code == 200
            assert tags(await client.read_until("Z")) == "12DsZ"
            for _ in range(3):
                assert tags(await client.exchange(E("p", 1), S())) == "DsZ"
            await ok(client, "COMMIT")

    async def test_one_customer_by_a_portal(self, shop: RunningGateway, database: str) -> None:
        async with await shop.raw(database) as client:
            await ok(client, "BEGIN")
            series = P("SELECT email FROM customer WHERE customer_id = 5"), B(portal="p"), E("p", 1), S()
            assert tags(await client.exchange(*series)) == "12DsZ"
            assert tags(await client.exchange(E("p", 1), S())) == "CZ"
