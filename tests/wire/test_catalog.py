"""Definitions that change while sessions go on: each statement is judged by what the server would make of it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import RunningGateway, make_config, running_gateway
from tests.support.postgres import Postgres
from tests.support.wire import B, D, E, H, P, Q, RawClient, S, tags

POLICY: Mapping[str, Any] = {
    "personal_data": [
        {"relation": "public.customer", "columns": ["email", "phone"], "subject": "customer_id"},
    ],
    "rules": [
        {"name": "bulk", "when": {"action": "read", "data": "personal", "rows": "> 1"}, "then": "deny"},
        {"name": "erasure", "when": {"action": "delete", "data": "personal"}, "then": "deny"},
    ],
    "defaults": {
        "unreadable": "deny",
        "unknown_relation": "deny",
        "opaque_function": "deny",
        "otherwise": "allow",
    },
    "catalog": {"poll": "100s"},
}
"""Reading all customers and deleting one is denied, and so is what cannot be placed."""

HARMFUL_RULE = (
    "CREATE RULE r AS ON UPDATE TO genre DO ALSO DELETE FROM customer WHERE customer_id = new.genre_id"
)
UPDATE = "UPDATE genre SET name = name WHERE genre_id = 1"
READ = "SELECT email FROM customer"
MAKE, USE = "CREATE TEMPORARY TABLE mine (a int)", "SELECT a FROM mine"


@pytest.fixture(params=["inspect", "session"])
async def gateway(
    request: pytest.FixtureRequest, postgres: Postgres, tmp_path: Path
) -> AsyncIterator[RunningGateway]:
    """A gateway that looks at the catalog by a login of its own, or through its sessions."""
    role = postgres.create_role()
    inspect = {"databases": {"*": {"inspect": {"user": role}}}} if request.param == "inspect" else {}
    async with running_gateway(tmp_path, make_config(postgres, POLICY, inspect)) as running:
        yield running
    postgres.drop_role(role)


@pytest.fixture
async def other(gateway: RunningGateway, database: str) -> AsyncIterator[RawClient]:
    async with await gateway.raw(database) as raw:
        yield raw


async def said(client: RawClient, sql: str) -> str:
    """What a Query comes to: ``ok``, the rule or default that denied it, or the server's SQLSTATE."""
    for answer in await client.query(sql):
        if answer.tag == "E":
            _, found, rule = answer.fields["M"].partition("denied by rule ")
            return rule.removeprefix("default:") if found else answer.sqlstate
    return "ok"


async def ok(client: RawClient, *statements: str) -> None:
    for sql in statements:
        assert await said(client, sql) == "ok", sql


class TestChangesElsewhere:
    async def test_a_table_nobody_knew(self, client: RawClient, postgres: Postgres, database: str) -> None:
        await ok(client, "SELECT count(*) FROM genre")
        assert await said(client, "SELECT * FROM fresh") == "unknown_relation"
        postgres.execute("CREATE TABLE fresh (a int)", database)
        assert await said(client, "SELECT * FROM fresh") == "unknown_relation"
        postgres.execute("CREATE TABLE fresher (a int)", database)
        await ok(client, "SELECT * FROM fresher", "SELECT * FROM fresh")

    async def test_a_view_nobody_knew_is_what_it_shows(
        self, client: RawClient, postgres: Postgres, database: str
    ) -> None:
        await ok(client, "SELECT 1")
        postgres.execute("CREATE VIEW harmless AS SELECT email AS e FROM customer", database)
        assert await said(client, "SELECT e FROM harmless") == "bulk"

    async def test_a_change_is_found_by_polling(
        self, postgres: Postgres, tmp_path: Path, database: str
    ) -> None:
        config = make_config(
            postgres,
            POLICY,
            {"catalog": {"poll": 0.1}, "databases": {"*": {"inspect": {"user": "postgres"}}}},
        )
        async with running_gateway(tmp_path, config) as gateway, await gateway.raw(database) as client:
            await ok(client, UPDATE)
            catalog = gateway.gateway.catalogs.of(database)
            before = catalog.snapshot
            postgres.execute(HARMFUL_RULE, database)
            async with asyncio.timeout(10):
                while catalog.snapshot is before:
                    await asyncio.sleep(0.01)
            assert await said(client, UPDATE) == "erasure"

    async def test_a_session_looks_before_a_statement_once_the_period_is_over(
        self, postgres: Postgres, tmp_path: Path, database: str
    ) -> None:
        config = make_config(postgres, POLICY, {"catalog": {"poll": 0.1}})
        async with running_gateway(tmp_path, config) as gateway, await gateway.raw(database) as client:
            await ok(client, UPDATE)
            postgres.execute(HARMFUL_RULE, database)
            await ok(client, "SELECT pg_sleep(0.2)")
            assert await said(client, UPDATE) == "erasure"


class TestChangesThatPass:
    async def test_a_definition_counts_for_every_session(
        self, client: RawClient, other: RawClient, postgres: Postgres, database: str
    ) -> None:
        await ok(client, UPDATE)
        await ok(other, UPDATE)
        # Unseen by the gateway; the next definition that it does see makes it look.
        postgres.execute(HARMFUL_RULE, database)
        await ok(other, "CREATE TABLE unrelated ()")
        assert await said(client, UPDATE) == "erasure"
        assert await said(other, UPDATE) == "erasure"
        postgres.execute("DROP RULE r ON genre", database)
        await ok(client, "DROP TABLE unrelated")
        await ok(other, UPDATE)

    async def test_a_table_is_there_for_all_once_it_is_committed(
        self, client: RawClient, other: RawClient
    ) -> None:
        await ok(client, "CREATE TABLE mine (a int)", "INSERT INTO mine VALUES (1)")
        await ok(other, "SELECT a FROM mine")
        await ok(client, "BEGIN", "ALTER TABLE mine RENAME TO renamed", "SELECT a FROM renamed")
        assert await said(client, "SELECT a FROM mine") == "unknown_relation"
        await ok(client, "ROLLBACK", "SELECT a FROM mine")
        assert await said(client, "SELECT a FROM renamed") == "unknown_relation"
        await ok(client, "BEGIN", "ALTER TABLE mine RENAME TO renamed", "COMMIT")
        await ok(other, "SELECT a FROM renamed")
        assert await said(other, "SELECT a FROM mine") == "unknown_relation"

    async def test_savepoints_take_definitions_back(self, client: RawClient) -> None:
        await ok(client, "BEGIN", "CREATE TABLE first (a int)", "SAVEPOINT s", "CREATE TABLE second (a int)")
        await ok(client, "SELECT * FROM first, second", "ROLLBACK TO s", "SELECT * FROM first")
        assert await said(client, "SELECT * FROM second") == "unknown_relation"
        await ok(client, "ROLLBACK")
        assert await said(client, "SELECT * FROM first") == "unknown_relation"

    async def test_one_batch_makes_and_uses_a_table(self, client: RawClient) -> None:
        await ok(client, "SELECT 1")
        batch = [
            *(P("CREATE TEMPORARY TABLE fast (a int)"), B(), E()),
            *(P("INSERT INTO fast VALUES (1)"), B(), E()),
            *(P("SELECT a FROM fast"), B(), E()),
        ]
        assert tags(await client.exchange(*batch, S())) == "12C12C12DCZ"

    async def test_what_is_under_way_is_waited_for(self, client: RawClient) -> None:
        await ok(client, MAKE, USE)
        await client.send(Q("DROP TABLE mine"), Q(USE))
        await client.read_until("Z")
        answer = await client.read_until("Z")
        assert "denied by rule default:unknown_relation" in answer[0].fields["M"]


class TestDatabaseMadeAnew:
    """Under a name that the gateway knows there may be another database by now."""

    @pytest.fixture
    def replaced(self, postgres: Postgres, database: str) -> Iterator[Callable[[], None]]:
        """Puts another database in the place of ``database``, in which harmless shows addresses."""
        other, aside = postgres.create_database(), f"{database}_aside"
        postgres.execute("CREATE VIEW harmless AS SELECT name AS e FROM genre", database)
        postgres.execute("CREATE VIEW harmless AS SELECT email AS e FROM customer", other)

        def replace() -> None:
            with postgres.connect() as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
                    (database,),
                )
                connection.execute(f"ALTER DATABASE {database} RENAME TO {aside}")
                connection.execute(f"ALTER DATABASE {other} RENAME TO {database}")

        yield replace
        postgres.drop_database(other)
        postgres.drop_database(aside)

    async def test_what_was_known_of_the_old_one_counts_no_more(
        self, gateway: RunningGateway, database: str, replaced: Callable[[], None]
    ) -> None:
        async with await gateway.raw(database) as client:
            await ok(client, "SELECT e FROM harmless")
            replaced()
        async with await gateway.raw(database) as client:
            assert await said(client, "SELECT e FROM harmless") == "bulk"
            await ok(client, "SELECT e FROM harmless WHERE false")

    async def test_not_in_the_middle_of_a_series_either(
        self, gateway: RunningGateway, database: str, replaced: Callable[[], None]
    ) -> None:
        async with await gateway.raw(database) as client:
            await ok(client, "SELECT e FROM harmless")
            replaced()
        async with await gateway.raw(database) as client:
            await client.send(P("SELECT e FROM harmless"), B(), E(), H())
            assert "denied by rule" in (await client.read_until("E"))[-1].fields["M"]

    async def test_one_that_was_made_anew(
        self, gateway: RunningGateway, postgres: Postgres, database: str
    ) -> None:
        async with await gateway.raw(database) as client:
            await ok(client, UPDATE)
        postgres.drop_database(database)
        postgres.execute(f"CREATE DATABASE {database} TEMPLATE template0")
        async with await gateway.raw(database) as client:
            assert await said(client, UPDATE) == "unknown_relation"


class TestTemporaryTables:
    async def test_one_is_known_to_its_session_until_it_is_dropped(
        self, client: RawClient, other: RawClient
    ) -> None:
        await ok(
            client, "CREATE TEMPORARY TABLE mine (a int)", "SELECT a FROM mine", "SELECT a FROM pg_temp.mine"
        )
        assert await said(other, "SELECT a FROM mine") == "unknown_relation"
        await ok(client, "DROP TABLE mine")
        assert await said(client, "SELECT a FROM mine") == "unknown_relation"

    async def test_one_that_is_called_like_what_is_personal_is_not_that(self, client: RawClient) -> None:
        await ok(client, "CREATE TEMPORARY TABLE customer (email text)", READ)
        assert await said(client, "SELECT email FROM public.customer") == "bulk"
        await ok(client, "DROP TABLE customer")
        assert await said(client, READ) == "bulk"

    @pytest.mark.parametrize(
        "way",
        [
            ["BEGIN", MAKE, USE, "ROLLBACK"],
            ["BEGIN", f"{MAKE} ON COMMIT DROP", USE, "COMMIT"],
            [f"{MAKE} ON COMMIT DROP"],
            [MAKE, USE, "DISCARD TEMP"],
            [MAKE, USE, "ALTER TABLE mine RENAME TO other", "SELECT a FROM other"],
            ["BEGIN", "SAVEPOINT s", MAKE, USE, "ROLLBACK TO s"],
            [f"BEGIN; {MAKE}; ROLLBACK"],
            [MAKE, USE, "BEGIN", "DROP TABLE mine", "COMMIT"],
        ],
    )
    async def test_and_when_it_is_gone_no_longer(self, client: RawClient, way: list[str]) -> None:
        await ok(client, *way)
        assert await said(client, USE) == "unknown_relation"

    async def test_what_is_rolled_back_is_there_again(self, client: RawClient) -> None:
        await ok(client, MAKE, "BEGIN", "DROP TABLE mine")
        assert await said(client, USE) == "unknown_relation"
        await ok(client, "ROLLBACK", USE)

    @pytest.mark.parametrize("end", ["ROLLBACK", "rollback and chain", "ABORT WORK"])
    async def test_nor_in_the_same_message_as_its_end(self, client: RawClient, end: str) -> None:
        await ok(client, "BEGIN", MAKE, USE)
        assert await said(client, f"{end}; {USE}") in ("unreadable", "unknown_relation")

    async def test_nor_in_the_same_batch_as_its_end(self, client: RawClient) -> None:
        await ok(client, "BEGIN", MAKE, USE)
        answer = await client.exchange(P("ROLLBACK"), B(), E(), P(USE), B(), E(), S())
        (error,) = (one for one in answer if one.tag == "E")
        assert "denied by rule" in error.fields["M"]

    async def test_a_copy_of_what_is_personal_is_not_a_way_around(self, client: RawClient) -> None:
        assert await said(client, "CREATE TEMPORARY TABLE copied AS SELECT * FROM customer") == "bulk"


class TestCopies:
    """Who may copy what is personal has not been given leave to read the copy."""

    @pytest.fixture
    async def copying(
        self, postgres: Postgres, tmp_path: Path, database: str
    ) -> AsyncIterator[tuple[RunningGateway, RawClient]]:
        copies = {"name": "copies", "when": {"application": "copier"}, "then": "allow"}
        config = make_config(postgres, {**POLICY, "rules": [copies, *POLICY["rules"]]})
        async with (
            running_gateway(tmp_path, config) as gateway,
            await gateway.raw(database, application_name="copier") as client,
        ):
            yield gateway, client

    @pytest.mark.parametrize(
        "way",
        [
            ["CREATE TABLE copied AS SELECT customer_id AS id, email AS e FROM customer"],
            ["SELECT customer_id AS id, email AS e INTO copied FROM customer"],
            ["BEGIN", "CREATE TABLE copied AS SELECT customer_id AS id, email AS e FROM customer", "COMMIT"],
            [
                "CREATE TABLE other AS SELECT customer_id AS id, email AS e FROM customer",
                "ALTER TABLE other RENAME TO copied",
            ],
        ],
    )
    async def test_a_copy_is_personal_for_everybody(
        self, copying: tuple[RunningGateway, RawClient], database: str, way: list[str]
    ) -> None:
        gateway, client = copying
        await ok(client, *way)
        async with await gateway.raw(database) as other:
            assert await said(other, "SELECT e FROM copied") == "bulk"
            assert await said(other, "CREATE TABLE again AS SELECT e FROM copied") == "bulk"
            await ok(other, "SELECT e FROM copied WHERE id = 1", "SELECT id FROM copied")
            await ok(client, "ALTER TABLE copied RENAME TO innocent")
            assert await said(other, "SELECT e FROM innocent") == "bulk"
            await ok(client, "DROP TABLE innocent", "CREATE TABLE copied (id int, e text)")
            await ok(other, "SELECT e FROM copied")

    async def test_a_temporary_copy_is_personal_in_its_session(
        self, copying: tuple[RunningGateway, RawClient]
    ) -> None:
        _, client = copying
        await ok(
            client, "CREATE TEMPORARY TABLE copied AS SELECT customer_id AS id, email AS e FROM customer"
        )
        await ok(client, "SELECT e FROM copied", "ALTER TABLE copied RENAME TO innocent")
        await ok(client, "SET application_name = 'somebody'")
        assert await said(client, "SELECT e FROM innocent") == "bulk"

    @pytest.mark.parametrize(
        "way",
        [
            ["INSERT INTO plain SELECT customer_id, email FROM customer"],
            ["INSERT INTO plain (e, id) SELECT email, customer_id FROM customer WHERE customer_id = 1"],
            [
                "INSERT INTO plain VALUES (1)",
                "UPDATE plain SET e = email FROM customer WHERE customer_id = id",
            ],
            ["INSERT INTO plain (e) VALUES ((SELECT email FROM customer WHERE customer_id = 1))"],
            [
                "MERGE INTO plain p USING customer c ON c.customer_id = p.id"
                " WHEN NOT MATCHED THEN INSERT (id, e) VALUES (c.customer_id, c.email)"
            ],
            ["WITH x AS (SELECT customer_id, email AS y FROM customer) INSERT INTO plain SELECT * FROM x"],
            ["BEGIN", "INSERT INTO plain SELECT customer_id, email FROM customer", "COMMIT"],
            ["BEGIN; INSERT INTO plain SELECT customer_id, email FROM customer; COMMIT"],
            [
                "CREATE VIEW over AS SELECT * FROM plain",
                "INSERT INTO over SELECT customer_id, email FROM customer",
            ],
        ],
    )
    async def test_what_is_copied_into_a_table_marks_it(
        self, copying: tuple[RunningGateway, RawClient], database: str, way: list[str]
    ) -> None:
        gateway, client = copying
        async with await gateway.raw(database) as other:
            await ok(client, "CREATE TABLE plain (id int, e text)")
            await ok(other, "SELECT e FROM plain", "INSERT INTO plain SELECT genre_id, name FROM genre")
            await ok(other, "SELECT e FROM plain")
            await ok(client, *way)
            assert await said(other, "SELECT e FROM plain") == "bulk"
            await ok(other, "SELECT id FROM plain", "SELECT e FROM plain LIMIT 1")
            await ok(client, "ALTER TABLE plain RENAME TO innocent")
            assert await said(other, "SELECT e FROM innocent") == "bulk"

    async def test_what_is_copied_in_the_same_transaction(
        self, copying: tuple[RunningGateway, RawClient], database: str
    ) -> None:
        gateway, client = copying
        insert = "INSERT INTO plain SELECT customer_id, email FROM customer"
        await ok(client, "BEGIN", "CREATE TABLE plain (id int, e text)", insert)
        async with await gateway.raw(database) as other:
            assert await said(other, "SELECT e FROM plain") == "unknown_relation"
            await ok(client, "COMMIT")
            assert await said(other, "SELECT e FROM plain") == "bulk"

    async def test_a_temporary_table_that_is_filled(self, copying: tuple[RunningGateway, RawClient]) -> None:
        _, client = copying
        await ok(
            client,
            "CREATE TEMPORARY TABLE mine (id int, e text)",
            "INSERT INTO mine SELECT customer_id, email FROM customer",
            "SET application_name = 'somebody'",
        )
        assert await said(client, "SELECT e FROM mine") == "bulk"

    async def test_a_copy_that_is_not_committed_marks_nothing(
        self, copying: tuple[RunningGateway, RawClient], postgres: Postgres, database: str
    ) -> None:
        gateway, client = copying
        copy = "CREATE TABLE copied AS SELECT customer_id AS id, email AS e FROM customer"
        await ok(client, "BEGIN", copy, "ROLLBACK", "CREATE TABLE copied (id int, e text)")
        await ok(client, copy.replace("TABLE", "TABLE IF NOT EXISTS"))
        async with await gateway.raw(database) as other:
            await ok(other, "SELECT e FROM copied")

    @pytest.mark.parametrize(
        "way",
        [
            "BEGIN; COPY; COMMIT; BEGIN; SELECT 1; ROLLBACK",
            "BEGIN; SAVEPOINT a; COPY; SAVEPOINT b; ROLLBACK TO b; COMMIT",
            "BEGIN; SAVEPOINT a; ROLLBACK TO a; COPY; COMMIT",
            "COPY",
        ],
    )
    @pytest.mark.parametrize("together", [True, False])
    async def test_what_is_rolled_back_beside_it_takes_no_mark(
        self, copying: tuple[RunningGateway, RawClient], database: str, way: str, together: bool
    ) -> None:
        gateway, client = copying
        copy = "CREATE TABLE copied AS SELECT customer_id AS id, email AS e FROM customer"
        way = way.replace("COPY", copy)
        await ok(client, *([way] if together else way.split("; ")))
        async with await gateway.raw(database) as other:
            assert await said(other, "SELECT e FROM copied") == "bulk"

    async def test_a_prepared_transaction_may_be_committed_by_anybody(
        self, copying: tuple[RunningGateway, RawClient], postgres: Postgres, database: str
    ) -> None:
        gateway, client = copying
        copy = "CREATE TABLE copied AS SELECT customer_id AS id, email AS e FROM customer"
        await ok(client, "BEGIN", copy, "PREPARE TRANSACTION 'copy'")
        async with await gateway.raw(database) as other:
            assert await said(other, "SELECT e FROM copied") == "unknown_relation"
            await ok(other, "COMMIT PREPARED 'copy'")
            assert await said(other, "SELECT e FROM copied") == "bulk"

    async def test_whoever_finds_it_first_finds_it_marked(
        self, copying: tuple[RunningGateway, RawClient], database: str
    ) -> None:
        gateway, client = copying
        async with await gateway.raw(database) as other:
            for number in range(20):
                made = f"CREATE TABLE c{number} AS SELECT customer_id AS id, email AS e FROM customer"
                await client.send(Q(made))
                while (found := await said(other, f"SELECT e FROM c{number}")) == "unknown_relation":
                    pass
                assert found == "bulk"
                await client.read_until("Z")

    async def test_who_renames_its_columns_has_all_of_it_marked(
        self, copying: tuple[RunningGateway, RawClient], database: str
    ) -> None:
        gateway, client = copying
        await ok(
            client,
            "CREATE TABLE copied AS SELECT customer_id AS id, email AS e FROM customer",
            "ALTER TABLE copied RENAME e TO harmless",
        )
        async with await gateway.raw(database) as other:
            assert await said(other, "SELECT harmless FROM copied") == "bulk"


class TestWaiting:
    async def test_an_approval_is_void_if_the_statement_does_something_else_by_now(
        self, postgres: Postgres, tmp_path: Path, database: str
    ) -> None:
        rule = {
            "name": "careful",
            "when": {"action": "update", "relation": "public.genre"},
            "then": "hold",
            "approval": {"from": ["dpo"]},
        }
        hold_all = {**POLICY, "rules": [rule, *POLICY["rules"]], "catalog": {"poll": 0.1}}
        async with running_gateway(tmp_path, make_config(postgres, hold_all)) as gateway:
            carol = await gateway.client("carol")
            async with await gateway.raw(database) as client:
                for harmful in (False, True):
                    await client.send(Q(UPDATE))
                    assert (await client.read()).tag == "N"
                    hold = await carol.wait_for_hold()
                    if harmful:
                        await asyncio.to_thread(postgres.execute, HARMFUL_RULE, database)
                        await asyncio.sleep(0.1)
                    assert (await carol.approve(hold["id"])).status_code == 200
                    answer = await client.read_until("Z")
                    assert tags(answer) == ("EZ" if harmful else "CZ")
                error = answer[0].fields
                assert error["C"] == "42501"
                assert "definitions in the database changed" in error["M"]
                assert (await carol.hold(hold["id"]))["state"] == "interrupted"
                assert postgres.scalar("SELECT count(*) FROM customer WHERE customer_id = 1", database) == 1


class TestFailing:
    async def test_where_nobody_can_look_what_is_not_known_is_denied(
        self, postgres: Postgres, tmp_path: Path, database: str
    ) -> None:
        postgres.execute("REVOKE SELECT ON pg_proc FROM PUBLIC", database)
        role = postgres.create_role()
        config = make_config(postgres, POLICY, {"databases": {"*": {"inspect": {"user": role}}}})
        async with running_gateway(tmp_path, config) as gateway:
            async with await gateway.raw(database, user=role) as client:
                assert await said(client, "SELECT name FROM genre") == "unknown_relation"
                await ok(client, "SELECT 1", "BEGIN", "COMMIT")
            metrics = gateway.gateway.metrics.render()[0].decode()
            assert f'holdgate_catalog_failures_total{{database="{database}"}}' in metrics
        postgres.drop_role(role)

    async def test_the_gateway_starts_without_its_database(
        self, postgres: Postgres, tmp_path: Path, database: str
    ) -> None:
        login = {"host": "127.0.0.1", "port": 1, "sslmode": "disable", "inspect": {"user": "postgres"}}
        config = make_config(postgres, POLICY, {"databases": {"away": login}})
        async with running_gateway(tmp_path, config) as gateway, await gateway.raw(database) as client:
            await ok(client, "SELECT name FROM genre")


async def test_the_first_statement_of_a_session_may_have_been_prepared_before(client: RawClient) -> None:
    """As asyncpg and others do it: prepared and described at once, executed by what follows, one Sync in the end."""
    await client.send(P("SELECT name FROM genre WHERE genre_id = 1"), D("S"), H())
    await client.read_until("T")
    assert tags(await client.exchange(B(), E(), S())) == "2DCZ"
