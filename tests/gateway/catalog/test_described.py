"""Search paths that sessions begin with, as the server has them and as a session would search them."""

from collections.abc import Iterator

import pytest

from gateway.catalog.described import DEFAULT_PATH, SearchPaths, read_described, read_search_paths
from gateway.catalog.read import in_transaction
from rules.catalog import EMPTY, Namespace, SchemaSnapshot
from tests.support.catalog import ask_through
from tests.support.postgres import Postgres

SNAPSHOT = SchemaSnapshot(server_version=180_000, namespaces=tuple(map(Namespace, ("public", "crm", "app"))))


class TestEffective:
    def test_it_holds_the_schemas_that_there_are(self) -> None:
        paths = SearchPaths('"$user", "Kunden", crm, PUBLIC, crm, pg_catalog')
        assert paths.effective("x", "app", SNAPSHOT) == ("app", "crm", "public", "pg_catalog")
        assert paths.effective("x", "carol", SNAPSHOT) == ("crm", "public", "pg_catalog")

    def test_the_login_has_the_setting_and_the_role_the_name(self) -> None:
        paths = SearchPaths(by_role={"login": '"$user", crm'})
        assert paths.effective("login", "app", SNAPSHOT) == ("app", "crm")
        assert paths.effective("app", "app", SNAPSHOT) == ("app", "public")

    def test_without_a_catalog_there_may_be_any_schema(self) -> None:
        assert SearchPaths().effective("app", "app", EMPTY) == ("public",)
        assert SearchPaths("crm, scratch").effective("app", "app", EMPTY) == ("crm", "scratch")
        assert SearchPaths('"$user"').effective("app", "app", EMPTY) == ("public",)


@pytest.fixture
def roles(postgres: Postgres) -> Iterator[tuple[str, str]]:
    made = postgres.create_role(), postgres.create_role()
    yield made
    for role in made:
        postgres.drop_role(role)


async def test_what_is_set_for_roles_and_databases(
    postgres: Postgres, roles: tuple[str, str], empty_database: str
) -> None:
    one, other = roles
    with postgres.connect(empty_database) as connection:
        run = in_transaction(ask_through(connection))
        assert await read_search_paths(run) == SearchPaths(DEFAULT_PATH, {})
        postgres.execute(
            f"ALTER DATABASE {empty_database} SET search_path = crm, public;"
            f"ALTER ROLE {one} SET search_path = 'everywhere';"
            f'ALTER ROLE {one} IN DATABASE {empty_database} SET search_path = "$user", "In, here";'
            f"ALTER ROLE {one} IN DATABASE postgres SET search_path = there;"
            f"ALTER ROLE {one} SET work_mem = '1MB';"
            f"ALTER ROLE {other} SET search_path = 'everywhere'"
        )
        read = await read_described(run)
    assert read.search_paths.everybody == "crm, public"
    assert read.search_paths.by_role == {one: '"$user", "In, here"', other: "everywhere"}
    assert read.snapshot.database == empty_database
    # What the server itself says to a session of each.
    snapshot = SchemaSnapshot(server_version=1, namespaces=(Namespace("In, here"), Namespace("crm")))
    with postgres.connect(empty_database) as connection:
        connection.execute('CREATE SCHEMA "In, here"; CREATE SCHEMA crm; DROP SCHEMA public')
        connection.execute(f'GRANT USAGE ON SCHEMA "In, here", crm TO {one}, {other}')
    for role in (one, other, postgres.superuser):
        with postgres.connect(empty_database, user=role) as connection:
            ((path,),) = connection.execute("SELECT current_schemas(false)").fetchall()
        assert read.search_paths.effective(role, role, snapshot) == tuple(path)


async def test_a_setting_of_the_asking_login_is_not_everybodys(
    postgres: Postgres, roles: tuple[str, str], empty_database: str
) -> None:
    one, _ = roles
    postgres.execute(f"ALTER ROLE {one} SET search_path = mine")
    with postgres.connect(empty_database, user=one) as connection:
        read = await read_search_paths(in_transaction(ask_through(connection)))
    assert (read.everybody, read.by_role[one]) == (DEFAULT_PATH, "mine")
