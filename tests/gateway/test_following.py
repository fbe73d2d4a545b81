"""Following a session's context by asking the server: what a name means when it is judged is what it means there."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from tests.support.gateway import ALLOW_ALL, RunningGateway, make_config, running_gateway
from tests.support.postgres import Postgres
from tests.support.relay import Relay
from tests.support.wire import B, D, E, H, Message, P, Q, RawClient, S, tags

NO_BULK = {
    "personal_data": [
        {"relation": f"{schema}.customer", "columns": ["email"], "subject": "customer_id"}
        for schema in ("public", "decoy", "locked", "fresh", "own")
    ],
    "rules": [
        {
            "name": "no-bulk",
            "when": {"action": "read", "relation": "public.customer", "rows": "> 1"},
            "then": "deny",
        }
    ],
    "defaults": {
        "unreadable": "deny",
        "unknown_relation": "allow",
        "opaque_function": "allow",
        "otherwise": "allow",
    },
}
"""Reading all of public.customer is denied, that of the other schemas is not."""

DECOYS = """
CREATE SCHEMA decoy; CREATE TABLE decoy.customer (customer_id int, email text);
CREATE SCHEMA locked; CREATE TABLE locked.customer (customer_id int, email text);
CREATE FUNCTION go_home() RETURNS void LANGUAGE plpgsql AS
  $$ BEGIN PERFORM set_config('search_path', 'public', false); END $$;
"""

READ = "SELECT email FROM customer"


@pytest.fixture
async def gateway(postgres: Postgres, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, make_config(postgres, NO_BULK)) as running:
        yield running


@pytest.fixture
def decoys(postgres: Postgres, database: str) -> str:
    """A database in which other schemas have a table customer, too; public's is the personal one."""
    postgres.execute(DECOYS, database)
    return database


@pytest.fixture
async def client(gateway: RunningGateway, decoys: str) -> AsyncIterator[RawClient]:
    async with await gateway.raw(decoys) as raw:
        yield raw


def answered(messages: list[Message]) -> str:
    """Their letters, without notices and the report of the search path that some servers give."""
    return tags(message for message in messages if message.tag not in "NS")


async def passes(client: RawClient, sql: str = READ) -> bool:
    """Whether the read passes; False if the gateway denied it. Nothing else may happen."""
    answer = await client.query(sql)
    if answer[0].tag != "E":
        return True
    assert answer[0].sqlstate in ("42501", "25P02"), answer[0].fields
    assert "denied by rule" in answer[0].fields["M"]
    return False


class TestSet:
    async def test_the_first_request_is_judged_by_what_the_server_said(
        self, gateway: RunningGateway, decoys: str
    ) -> None:
        async with await gateway.raw(decoys) as client:
            assert not await passes(client)
        async with await gateway.raw(decoys, options="-c search_path=decoy") as client:
            assert await passes(client)

    async def test_a_default_of_the_role_counts(
        self, gateway: RunningGateway, decoys: str, postgres: Postgres
    ) -> None:
        role = postgres.create_role(attributes="LOGIN SUPERUSER")
        try:
            postgres.execute(f"ALTER ROLE {role} SET search_path = decoy")
            async with await gateway.raw(decoys, user=role) as client:
                assert await passes(client)
        finally:
            postgres.drop_role(role)

    async def test_set_and_reset(self, client: RawClient) -> None:
        assert not await passes(client)
        await client.query("SET search_path = decoy")
        assert await passes(client)
        await client.query("RESET search_path")
        assert not await passes(client)
        await client.query("SET search_path TO decoy, public")
        assert await passes(client)
        await client.query("DISCARD ALL")
        assert not await passes(client)

    async def test_set_config_by_whatever_name(self, client: RawClient) -> None:
        await client.query("SELECT set_config('search_path', 'decoy', false)")
        assert await passes(client)
        await client.query("SELECT public.go_home()")
        assert not await passes(client)

    async def test_a_schema_that_does_not_exist_is_passed_over(self, client: RawClient) -> None:
        await client.query("SET search_path = nowhere, public")
        assert not await passes(client)

    async def test_a_schema_that_comes_or_goes(self, client: RawClient) -> None:
        await client.query("SET search_path = fresh, public")
        await client.query("CREATE SCHEMA fresh")
        await client.query("CREATE TABLE fresh.customer (email text)")
        assert await passes(client)
        await client.query("DROP SCHEMA fresh CASCADE")
        assert not await passes(client)

    async def test_a_schema_that_may_not_be_used_is_passed_over(
        self, gateway: RunningGateway, decoys: str, postgres: Postgres
    ) -> None:
        role = postgres.create_role()
        try:
            async with await gateway.raw(decoys, user=role) as client:
                await client.query("SET search_path = locked, public")
                assert not await passes(client)
            postgres.execute(f"GRANT USAGE ON SCHEMA locked TO {role}", decoys)
            async with await gateway.raw(decoys, user=role) as client:
                await client.query("SET search_path = locked, public")
                answer = await client.query(READ)
                assert answer[0].fields["M"].startswith("permission denied"), "by the server"
        finally:
            postgres.execute(f"REVOKE USAGE ON SCHEMA locked FROM {role}", decoys)
            postgres.drop_role(role)

    async def test_what_another_session_does_to_its_schemas(
        self, gateway: RunningGateway, decoys: str, postgres: Postgres
    ) -> None:
        """The right to use a schema is taken away by its owner, in a session of its own."""
        role = postgres.create_role()
        postgres.execute(
            f"ALTER SCHEMA decoy OWNER TO {role}; GRANT SELECT ON decoy.customer TO {role}", decoys
        )
        try:
            async with (
                await gateway.raw(decoys, user=role) as client,
                await gateway.raw(decoys, user=role) as other,
            ):
                await client.query("SET search_path = decoy, public")
                assert await passes(client)
                await other.query(f"REVOKE USAGE ON SCHEMA decoy FROM {role}")
                assert not await passes(client)
                await other.query("BEGIN")
                await other.query(f"GRANT USAGE ON SCHEMA decoy TO {role}")
                assert not await passes(client)
                await other.query("COMMIT")
                assert await passes(client)
        finally:
            postgres.execute(f"ALTER SCHEMA decoy OWNER TO postgres; DROP OWNED BY {role}", decoys)
            postgres.drop_role(role)

    async def test_the_users_own_schema(
        self, gateway: RunningGateway, decoys: str, postgres: Postgres
    ) -> None:
        role = postgres.create_role("own", attributes="LOGIN SUPERUSER")
        try:
            async with await gateway.raw(decoys, user=role) as client:
                assert not await passes(client)
                await client.query(f"CREATE SCHEMA {role}")
                await client.query(f"CREATE TABLE {role}.customer (email text)")
                assert await passes(client)
                await client.query("SET ROLE postgres")
                assert not await passes(client)
                await client.query("RESET ROLE")
                assert await passes(client)
                await client.query("SET SESSION AUTHORIZATION postgres")
                assert not await passes(client)
                await client.query("RESET SESSION AUTHORIZATION")
                assert await passes(client)
                await client.query(f"DROP SCHEMA {role} CASCADE")
        finally:
            postgres.drop_role(role)


class TestTransactions:
    async def test_local_settings_end_with_it(self, client: RawClient) -> None:
        for end in ("COMMIT", "ROLLBACK"):
            await client.query("BEGIN")
            await client.query("SET LOCAL search_path = decoy")
            assert await passes(client)
            await client.query(end)
            assert not await passes(client)

    async def test_settings_are_taken_back(self, client: RawClient) -> None:
        await client.query("BEGIN")
        await client.query("SET search_path = decoy")
        assert await passes(client)
        await client.query("ROLLBACK")
        assert not await passes(client)

    async def test_to_a_savepoint(self, client: RawClient) -> None:
        await client.query("SET search_path = decoy")
        await client.query("BEGIN")
        await client.query("SET LOCAL search_path = public")
        await client.query("SAVEPOINT s")
        await client.query("SET search_path = decoy")
        assert await passes(client)
        await client.query("ROLLBACK TO s")
        assert not await passes(client)
        assert client.status == "E"
        await client.query("ROLLBACK")
        assert await passes(client)

    async def test_by_an_error(self, client: RawClient) -> None:
        await client.query("BEGIN")
        await client.query("SET search_path = decoy")
        assert await passes(client)
        await client.query("SELECT 1/0")
        assert client.status == "E"
        await client.query("COMMIT")
        assert client.status == "I"
        assert not await passes(client)

    async def test_in_a_failed_transaction_a_statement_fails_as_it_does_directly(
        self, client: RawClient
    ) -> None:
        await client.query("BEGIN; SET search_path = decoy")
        await client.query("SELECT 1/0")
        for sql in ("SELECT email FROM artist", "SET search_path = public", "SELECT go_home();"):
            answer = await client.query(sql)
            assert [each.sqlstate for each in answer if each.tag == "E"] == ["25P02"]
        assert tags(await client.query("ROLLBACK")) == "CZ"

    async def test_what_stands_behind_its_end_in_one_message_is_not_judged_by_guess(
        self, client: RawClient
    ) -> None:
        await client.query("SET search_path = decoy")
        assert await passes(client)
        await client.query("BEGIN; SET search_path = public")
        await client.query("SELECT 1/0")
        assert not await passes(client, f"ROLLBACK; {READ}")
        await client.query("ROLLBACK")
        assert await passes(client)

    async def test_a_prepared_transaction_takes_local_settings_along(
        self, tmp_path: Path, client: RawClient, postgres: Postgres
    ) -> None:
        await client.query("BEGIN")
        await client.query("SET LOCAL search_path = decoy")
        assert await passes(client)
        answer = await client.query("PREPARE TRANSACTION 'p'")
        assert answer[-1].payload == b"I", answer
        assert not await passes(client)
        await client.query("ROLLBACK PREPARED 'p'")

    async def test_the_isolation_level_may_still_be_chosen(self, client: RawClient) -> None:
        """A question would be the first query of the transaction."""
        await client.query("BEGIN")
        await client.query("SET LOCAL search_path = decoy")
        await client.query("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        answer = await client.query("SHOW transaction_isolation")
        assert answer[1].values == [b"serializable"]
        assert await passes(client)

    async def test_the_question_is_in_the_clients_snapshot(
        self, client: RawClient, postgres: Postgres, decoys: str
    ) -> None:
        await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await client.query("SET LOCAL search_path = decoy")
        postgres.execute("INSERT INTO decoy.customer VALUES (1, 'x')", decoys)
        answer = await client.query("SELECT count(*) FROM customer")
        assert answer[1].values == [b"1"]

    async def test_an_end_inside_a_message(self, client: RawClient) -> None:
        await client.query("BEGIN; SET LOCAL search_path = decoy")
        assert await passes(client, f"{READ}; SELECT 1")
        assert not await passes(client, f"COMMIT; {READ}")
        await client.query("ROLLBACK")

    @pytest.mark.parametrize(
        "end", ["COMMIT", "ROLLBACK", "ROLLBACK TO s", "/* */ COMMIT AND CHAIN", "SELECT 1/0"]
    )
    async def test_an_end_on_the_way(self, client: RawClient, end: str) -> None:
        """Nobody waits for its answer; what is sent behind it runs under what was set before."""
        await client.query("BEGIN; SAVEPOINT s")
        await client.query("SET LOCAL search_path = decoy")
        assert await passes(client)
        await client.send(Q(end), Q("ROLLBACK TO s"), Q(READ))
        answers = [await client.read_until("Z") for _ in range(3)]
        assert answers[2][0].sqlstate == ("25P02" if "CHAIN" in end else "42501")


class TestExtended:
    @pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK", "ROLLBACK TO s", "/* */ END"])
    async def test_an_end_inside_a_series(self, client: RawClient, end: str) -> None:
        await client.query("BEGIN; SAVEPOINT s")
        await client.query("SET LOCAL search_path = decoy")
        assert await passes(client)
        await client.send(P(end), B(), E(), P(READ), B(), E(), S())
        answer = await client.read_until("Z")
        # Where it leaves the server idle, the server hears nothing of the rest.
        assert answered(answer) in ("12C1EZ", "12CEZ")
        assert ["denied" in each.fields["M"] for each in answer if each.tag == "E"] == [True]

    async def test_the_end_of_a_failed_transaction_inside_a_series(self, client: RawClient) -> None:
        for schema, expected in (("decoy", "12C12CZ"), ("public", "12C1EZ")):
            await client.query(f"BEGIN; SET LOCAL search_path = {schema}")
            await client.query("SAVEPOINT s")
            await client.query("SET LOCAL search_path = nowhere")
            await client.query("SELECT nothing")
            assert client.status == "E"
            await client.send(P("ROLLBACK TO s"), B(), E(), P(READ), B(), E(), S())
            assert answered(await client.read_until("Z")) == expected
            await client.query("ROLLBACK")

    async def test_a_series_that_ends_on_the_way(self, client: RawClient) -> None:
        await client.send(P("SET LOCAL search_path = decoy"), B(), E(), P(READ), B(), E(), H())
        assert answered(await client.read_until("C")) == "12C"
        assert answered(await client.read_until("C")) == "12C"
        await client.send(P("SELECT 1"), B(), E(), S(), P(READ), B(), E(), S())
        assert answered(await client.read_until("Z")) == "12DCZ"
        assert answered(await client.read_until("Z")) == "EZ"

    async def test_one_statement_after_the_other(self, client: RawClient) -> None:
        await client.exchange(P("SET search_path = decoy"), B(), E(), S())
        assert answered(await client.exchange(P(READ), D("S"), B(), E(), S())) == "1tT2CZ"
        await client.exchange(P("SET search_path = public"), B(), E(), S())
        assert answered(await client.exchange(P(READ), D("S"), B(), E(), S())) == "EZ"

    async def test_pipelined(self, client: RawClient) -> None:
        await client.send(
            *(P("SET search_path = decoy"), B(), E(), S()),
            *(P(READ), B(), E(), S()),
            *(P("SET search_path = public"), B(), E(), S()),
            *(P(READ), B(), E(), S()),
        )
        assert [answered(await client.read_until("Z")) for _ in range(4)] == ["12CZ", "12CZ", "12CZ", "EZ"]

    async def test_within_one_series(self, client: RawClient) -> None:
        await client.send(P("SET search_path = decoy"), B(), E(), P(READ), B(), E(), S())
        assert answered(await client.read_until("Z")) == "12C12CZ"
        await client.send(P("SET search_path = public"), B(), E(), P(READ), B(), E(), S())
        assert answered(await client.read_until("Z")) == "12C1EZ"
        assert await passes(client), "the refusal took the setting back, as an error would"

    async def test_within_a_series_that_is_only_flushed(self, client: RawClient) -> None:
        await client.send(P("SET search_path = decoy"), B(), E(), H())
        assert answered(await client.read_until("C")) == "12C"
        await client.send(P(READ), B(), E(), H())
        assert answered(await client.read_until("C")) == "12C"
        await client.send(P("SELECT 1/0"), B(), E(), S())
        await client.read_until("Z")
        assert not await passes(client)

    async def test_a_series_that_fails_takes_its_settings_back(self, client: RawClient) -> None:
        await client.send(
            P("SET search_path = decoy"), B(), E(), P("SELECT 1/0"), B(), E(), P(READ), B(), E(), S()
        )
        assert answered(await client.read_until("Z")) == "12C1EZ"
        assert not await passes(client)

    async def test_a_portal_means_what_it_meant_when_it_was_bound(self, client: RawClient) -> None:
        await client.query("BEGIN")
        await client.exchange(P(READ, "r"), B(portal="home", statement="r"), S())
        await client.query("SET LOCAL search_path = decoy")
        await client.exchange(B(portal="away", statement="r"), S())
        assert answered(await client.exchange(E("away"), S())) == "CZ"
        assert answered(await client.exchange(E("home"), S())) == "EZ"

    async def test_a_portal_bound_in_front_in_the_same_series(self, client: RawClient) -> None:
        await client.send(
            P(READ, "r"),
            *(
                P("SET search_path = decoy", "s"),
                B(portal="home", statement="r"),
                B(portal="s", statement="s"),
            ),
            *(E("s"), E("home"), S()),
        )
        answer = await client.read_until("Z")
        assert answered(answer).endswith("EZ")
        assert ["denied" in each.fields["M"] for each in answer if each.tag == "E"] == [True]

    async def test_a_prepared_statement_means_what_it_means_when_it_is_bound(self, client: RawClient) -> None:
        await client.exchange(P(READ, "r"), S())
        await client.query("SET search_path = decoy")
        assert answered(await client.exchange(B(statement="r"), E(), S())) == "2CZ"
        await client.query("SET search_path = public")
        assert answered(await client.exchange(B(statement="r"), E(), S())) == "EZ"

    async def test_a_portal_read_by_fetch(self, client: RawClient) -> None:
        """A cursor of that name was allowed once; what it stands for now nobody has read."""
        await client.query("BEGIN")
        await client.query("DECLARE c CURSOR FOR SELECT 1")
        assert answered(await client.query("FETCH c")) == "TDCZ"
        await client.query("CLOSE c")
        await client.exchange(P(READ), B(portal="c"), S())
        assert not await passes(client, "FETCH ALL FROM c")


class TestMessages:
    async def test_what_a_message_changes_for_itself(self, client: RawClient) -> None:
        await client.query("SET search_path = decoy")
        assert not await passes(client, f"SET search_path = public; {READ}")
        assert not await passes(client, f"SELECT public.go_home(); {READ}")
        assert await passes(client, "SET search_path = public; SET work_mem = '1MB'; COMMIT")

    @pytest.mark.parametrize(
        "sql",
        [
            "SET work_mem = '1MB'; SELECT 1",
            "BEGIN; SET LOCAL lock_timeout = 1; SELECT name FROM artist; COMMIT",
        ],
    )
    async def test_harmless_settings_do_not_matter(self, client: RawClient, sql: str) -> None:
        assert await passes(client, sql)


class TestCost:
    """What is sent to the server, seen on the way there."""

    @pytest.fixture
    async def relay(self, postgres: Postgres) -> AsyncIterator[Relay]:
        async with Relay(postgres.host, postgres.port) as relay:
            yield relay

    async def asked(
        self, relay: Relay, tmp_path: Path, postgres: Postgres, database: str, policy: Any, *scripts: str
    ) -> list[int]:
        """How often the server was asked: at the beginning, and by each of ``scripts``."""
        behind = {"databases": {"*": {"host": relay.host, "port": relay.port}}}
        counts: list[int] = []
        async with (
            running_gateway(tmp_path, make_config(postgres, policy, behind)) as gateway,
            await gateway.raw(database) as client,
        ):
            await client.query("SELECT 1")
            counts.append(relay.received.count(b"current_schemas"))
            for script in scripts:
                before = relay.received.count(b"current_schemas")
                for sql in script.split(";"):
                    await client.query(sql)
                counts.append(relay.received.count(b"current_schemas") - before)
        return counts

    async def test_statements_that_change_nothing_cost_nothing(
        self, relay: Relay, tmp_path: Path, postgres: Postgres, decoys: str
    ) -> None:
        scripts = (
            "BEGIN;SELECT name FROM artist;INSERT INTO artist VALUES (9001, 'x');COMMIT;SELECT 1",
            "SET work_mem = '1MB';SET application_name = 'x';SELECT name FROM artist;SELECT 1/0;SELECT 1",
            "BEGIN;SAVEPOINT a;SELECT 1;ROLLBACK TO a;COMMIT;SELECT 1",
            # Asked when it matters, and once.
            "SET search_path = decoy",
            "SET search_path = decoy;SET search_path = public;SHOW search_path",
            "SELECT 1;SELECT 2",
            "BEGIN;SET LOCAL search_path = decoy;SELECT 1;SELECT 2;COMMIT",
            "BEGIN;SET LOCAL search_path = decoy;SELECT 1;SELECT 2;COMMIT;SELECT 1",
        )
        assert await self.asked(relay, tmp_path, postgres, decoys, NO_BULK, *scripts) == [
            1,
            0,
            0,
            0,
            0,
            0,
            1,
            1,
            2,
        ]

    async def test_where_everything_is_allowed_nobody_asks(
        self, relay: Relay, tmp_path: Path, postgres: Postgres, decoys: str
    ) -> None:
        everything = {
            "defaults": {
                **ALLOW_ALL["defaults"],
                "server_files": "allow",
                "guarded_settings": "allow",
                "replication": "allow",
            }
        }
        script = "SET search_path = decoy;SELECT email FROM customer"
        assert await self.asked(relay, tmp_path, postgres, decoys, everything, script) == [0, 0]


class TestNoAnswer:
    async def test_without_an_answer_nothing_can_be_read(
        self, gateway: RunningGateway, decoys: str, postgres: Postgres, caplog: pytest.LogCaptureFixture
    ) -> None:
        role = postgres.create_role()
        withheld = "FUNCTION pg_catalog.current_schemas(boolean)"
        postgres.execute(f"REVOKE EXECUTE ON {withheld} FROM PUBLIC", decoys)
        try:
            with caplog.at_level(logging.WARNING):
                async with await gateway.raw(decoys, user=role) as client:
                    answer = await client.query("SELECT 1")
                    assert answer[0].fields["M"] == "statement denied by rule default:unreadable"
                    assert "the server did not say which schemas are searched" in answer[0].fields["D"]
                    assert tags(await client.query("BEGIN")) == "CZ"
                    assert (await client.query("SELECT 1"))[0].tag == "E"
                    assert client.status == "E"
                    assert tags(await client.query("ROLLBACK")) == "CZ"
                    postgres.execute(f"GRANT EXECUTE ON {withheld} TO PUBLIC", decoys)
                    assert tags(await client.query("SELECT 1")) == "TDCZ"
            assert "permission denied" in caplog.text
        finally:
            postgres.execute(f"GRANT EXECUTE ON {withheld} TO PUBLIC", decoys)
            postgres.drop_role(role)


class TestDrivers:
    async def test_psycopg_in_a_pipeline(self, gateway: RunningGateway, decoys: str) -> None:
        async with await gateway.psycopg(decoys) as connection:
            async with connection.pipeline():
                await connection.execute("SET search_path = decoy")
                cursor = await connection.execute(READ)
                assert await cursor.fetchall() == []
            async with connection.pipeline():
                await connection.execute("SET search_path = public")
                cursor = await connection.execute(READ)
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="no-bulk"):
                    await cursor.fetchall()

    async def test_psycopg_with_one_transaction_for_each_tenant(
        self, gateway: RunningGateway, decoys: str
    ) -> None:
        async with await gateway.psycopg(decoys, autocommit=False) as connection:
            for schema, denied in (("decoy", False), ("public", True), ("decoy", False)):
                await connection.execute("SELECT set_config('search_path', %s, true)", (schema,))
                if denied:
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        await connection.execute(READ)
                else:
                    await connection.execute(READ)
                await connection.rollback()

    async def test_asyncpg(self, gateway: RunningGateway, decoys: str) -> None:
        connection = await asyncpg.connect(
            host=gateway.host,
            port=gateway.port,
            user="postgres",
            database=decoys,
            server_settings={"search_path": "decoy"},
        )
        try:
            assert await connection.fetch(READ) == []
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("SET LOCAL search_path = public")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(READ)
            await transaction.rollback()
            assert await connection.fetch(READ) == []
        finally:
            await connection.close()

    async def test_two_sessions_at_once(self, gateway: RunningGateway, decoys: str) -> None:
        async def one(schema: str) -> list[bool]:
            async with await gateway.raw(decoys) as client:
                seen = []
                for _ in range(20):
                    await client.query(f"SET search_path = {schema}")
                    seen.append(await passes(client))
                return seen

        decoy, public = await asyncio.gather(one("decoy"), one("public"))
        assert decoy == [True] * 20
        assert public == [False] * 20
