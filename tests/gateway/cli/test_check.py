"""``holdgate check``: without a catalog, with one from a file, and with the database's own."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import check as module
from tests.gateway.cli.running import Said, holdgate
from tests.gateway.management import write_config
from tests.redteam.arena import INSPECTOR, TEMPLATE, run_arena
from tests.redteam.corpus import Entry, read_corpus
from tests.rules.policies import STRICT
from tests.support.gateway import SHOP_POLICY, make_config
from tests.support.gateway import write_config as write_whole
from tests.support.postgres import Postgres

CORPUS = Path(__file__).parents[2] / "rules" / "corpus"


@pytest.fixture
def config(tmp_path: Path) -> str:
    return str(write_config(tmp_path))


class TestWithoutCatalog:
    @pytest.mark.parametrize(
        ("sql", "user", "code", "verdict"),
        [
            ("SELECT 1", "alice", 0, "allow"),
            ("DELETE FROM customer", "alice", 3, "hold"),
            ("CREATE TABLE t ()", "alice", 4, "deny"),
            ("CREATE TABLE t ()", "carol", 0, "allow"),
            ("DELET FROM customer", "alice", 3, "hold"),
        ],
    )
    async def test_the_exit_code_is_the_verdict(
        self, config: str, sql: str, user: str, code: int, verdict: str
    ) -> None:
        words = ("check", "-c", config, "--user", user, "--database", "shop")
        said = await holdgate(*words, sql)
        assert said.code == code
        assert said.out.startswith(f"verdict:{' ' * (said.out.index(verdict) - 8)}{verdict}\n")
        (found,) = (await holdgate(*words, "--json", sql)).json
        assert found["decision"] == verdict

    async def test_it_says_which_rule_and_why_and_who_can_decide(self, config: str) -> None:
        said = await holdgate("check", "-c", config, "DELETE FROM customer WHERE customer_id = 5")
        for words in ("erasure", "can decide:  dpo", ": delete public.customer"):
            assert words in said.out

    async def test_a_statement_from_standard_input(self, config: str) -> None:
        said = await holdgate("check", "-c", config, "-", stdin="DELETE FROM customer\n")
        assert said.code == 3
        assert (await holdgate("check", "-c", config, "-")).code in (0, 3)

    @pytest.mark.parametrize(
        "sql", ["\x1b[2J", "SELECT '\x1b[2J\u202e'", 'DELETE FROM "\x1b[2J"', "\udcff", "\0"]
    )
    async def test_hostile_text_speaks_to_no_terminal(self, config: str, sql: str) -> None:
        said = await holdgate("check", "-c", config, sql)
        assert said.code in (0, 3, 4)
        assert "\x1b" not in said.out + said.err
        assert "\u202e" not in said.out

    async def test_a_statement_without_end_is_refused(
        self, config: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_SQL_BYTES", 10)
        said = await holdgate("check", "-c", config, "-", stdin="SELECT 12345")
        assert said.failed(2) == "the statement is longer than 10 bytes"

    async def test_a_configuration_that_cannot_be_used(self, tmp_path: Path) -> None:
        path = tmp_path / "holdgate.yaml"
        path.write_text("databases: 5\n")
        said = (await holdgate("check", "-c", str(path), "SELECT 1")).failed()
        assert said.startswith(
            f"{path} cannot be used, see holdgate validate: {path}:1:12: databases: expected"
        )

    async def test_it_says_that_it_knows_no_catalog(self, tmp_path: Path, config: str) -> None:
        said = await holdgate("check", "-c", config, "SELECT 1")
        assert said.err == (
            "holdgate: say --database, so this is judged without a catalog: names stand for themselves; see "
            "--catalog\n"
        )
        path = write_config(tmp_path, databases={"shop": {"host": "db"}})
        said = await holdgate("check", "-c", str(path), "SELECT 1")
        assert said.err.startswith("holdgate: databases.shop.inspect is missing, so this is judged without")


def shop_config(directory: Path, postgres: Postgres, database: str, **settings: Any) -> str:
    """The sample's policy, in front of a database that ``postgres`` may look at."""
    place = {"host": postgres.host, "port": postgres.port, "sslmode": "disable", "dbname": database}
    place |= {"inspect": {"user": postgres.superuser}, **settings}
    config = make_config(postgres, SHOP_POLICY, {"databases": {"shop": place}})
    return str(write_whole(directory, config))


class TestLive:
    async def test_names_are_looked_up_in_the_database(
        self, postgres: Postgres, database: str, tmp_path: Path
    ) -> None:
        postgres.execute("CREATE VIEW people AS SELECT email AS e FROM customer", database)
        config = shop_config(tmp_path, postgres, database)
        said = await holdgate("check", "-c", config, "SELECT e FROM people")
        assert (said.code, said.err) == (3, "")
        assert "bulk" in said.out
        said = await holdgate("check", "-c", config, "SELECT e FROM persons")
        assert said.code == 3
        assert "default:unknown_relation" in said.out

    async def test_the_path_is_the_one_the_session_would_have(
        self, postgres: Postgres, database: str, tmp_path: Path
    ) -> None:
        role = postgres.create_role()
        postgres.execute(
            f"CREATE SCHEMA other; CREATE TABLE other.customer (email text);"
            f"ALTER ROLE {role} IN DATABASE {database} SET search_path = other, public",
            database,
        )
        config = shop_config(tmp_path, postgres, database)
        sql = "SELECT email FROM customer"
        assert (await holdgate("check", "-c", config, "--user", "alice", sql)).code == 3
        assert (await holdgate("check", "-c", config, "--user", role, sql)).code == 0
        path = ("--search-path", 'public, "Other"')
        assert (await holdgate("check", "-c", config, "--user", role, *path, sql)).code == 3
        postgres.execute(
            f"DROP OWNED BY {role}; ALTER ROLE {role} IN DATABASE {database} RESET ALL", database
        )
        postgres.drop_role(role)

    @pytest.mark.parametrize(
        ("settings", "says"),
        [
            (
                {"port": 1},
                "the catalog of shop cannot be read by databases.shop.inspect: database server",
            ),
            ({"inspect": {"user": "nobody_of_that_name"}}, 'role "nobody_of_that_name" does not exist'),
            ({"dbname": "nowhere_at_all"}, 'database "nowhere_at_all" does not exist'),
        ],
    )
    async def test_a_database_that_cannot_be_asked(
        self, postgres: Postgres, database: str, tmp_path: Path, settings: dict[str, Any], says: str
    ) -> None:
        config = shop_config(tmp_path, postgres, database, **settings)
        assert says in (await holdgate("check", "-c", config, "SELECT 1")).failed()

    async def test_a_database_that_is_not_configured(self, postgres: Postgres, tmp_path: Path) -> None:
        config = make_config(postgres)
        config["databases"] = {"shop": {"host": "db"}}
        said = await holdgate(
            "check", "-c", str(write_whole(tmp_path, config)), "--database", "x", "SELECT 1"
        )
        assert said.failed() == "the configuration names no database x"

    async def test_it_explains(self, postgres: Postgres, database: str, tmp_path: Path) -> None:
        postgres.execute("CREATE VIEW people AS SELECT customer_id AS c, email AS e FROM customer", database)
        config = shop_config(tmp_path, postgres, database)
        said = await holdgate("check", "-c", config, "SELECT lower(e) FROM people WHERE c IN (1, 2)")
        assert said.out.splitlines()[6:] == [
            "",
            "SELECT lower(e) FROM people WHERE c IN (1, 2)",
            "  read as:   SELECT of people, by both readers",
            "  names:     public.people, view",
            "             public.customer, table, through view public.people; personal by customer_id: "
            "address, email, phone, postal_code",
            "  functions: lower, trusted: PostgreSQL's own",
            "  effects:   allow by default:otherwise: read public.people (e)",
            "               rows: any number; no LIMIT, and no unique key is known",
            "             allow by default:otherwise under redact_errors: read public.customer (email)",
            "               through view public.people",
            "               rows: at most 2; conditions list 2 values of customer_id",
        ]
        (shown,) = (await holdgate("check", "-c", config, "--json", "SELECT 1")).json
        assert shown["catalog"]["database"] == database
        assert shown["statements"][0]["readings"]["agreement"] == "both"

    async def test_readers_that_do_not_agree(self, config: str) -> None:
        said = await holdgate("check", "-c", config, "SELECT 1; LOCK TABLE t; DELET")
        assert "effects: hold by default:unreadable" in said.out
        said = await holdgate("check", "-c", config, "SELECT '" + "x" * 70_000 + "'")
        assert "by PostgreSQL's grammar alone: longer than 65536 characters" in said.out


class TestFromFile:
    async def test_a_dump_stands_in_for_the_database(
        self, postgres: Postgres, database: str, tmp_path: Path
    ) -> None:
        postgres.execute("CREATE VIEW people AS SELECT email AS e FROM customer", database)
        config, file = shop_config(tmp_path, postgres, database), str(tmp_path / "shop.json")
        assert (await holdgate("catalog", "dump", "-c", config, "-o", file)).code == 0
        away = shop_config(tmp_path, postgres, database, port=1)
        said = await holdgate("check", "-c", away, "--catalog", file, "SELECT e FROM people")
        assert (said.code, said.err) == (3, "")

    async def test_a_file_that_cannot_be_used(self, config: str, tmp_path: Path) -> None:
        file = tmp_path / "shop.json"
        words = ("check", "-c", config, "--catalog", str(file), "SELECT 1")
        assert (await holdgate(*words)).failed() == f"cannot read {file}: No such file or directory"
        file.write_bytes(b"\xff")
        assert (await holdgate(*words)).failed() == f"{file} is not UTF-8 text"
        file.write_text("{\n 'a': 1}")
        assert (await holdgate(*words)).failed().startswith(f"{file}: not JSON: ")
        relation = {"schema": "public", "name": "t", "kind": "tabel"}
        good = {"format": "holdgate-catalog", "version": 1, "database": "d", "server_version": 1}
        file.write_text(json.dumps({**good, "relations": [relation], "x": 1}, indent=1))
        said = (await holdgate(*words)).failed()
        assert said.startswith(f"{file}:10: relations[0].kind: expected one of table, ")
        assert said.endswith(" (and 1 more)")


@pytest.fixture(scope="module")
def corpus() -> Iterator[Postgres]:
    """A server with the database of the corpus, which a login may look at."""
    with run_arena((CORPUS / "redteam_schema.sql").read_text(), None) as arena:
        yield arena.postgres


@pytest.mark.timeout(120)
async def test_a_dump_gives_the_verdicts_of_the_database(corpus: Postgres, tmp_path: Path) -> None:
    place = {"host": corpus.host, "port": corpus.port, "sslmode": "disable", "inspect": {"user": INSPECTOR}}
    policy = {key: value for key, value in STRICT.items() if key != "groups"}
    config = str(write_whole(tmp_path, make_config(corpus, policy, {"databases": {TEMPLATE: place}})))
    file = str(tmp_path / "corpus.json")
    words = ("-c", config, "--database", TEMPLATE)
    assert (await holdgate("catalog", "dump", *words, "-o", file)).code == 0
    assert (await holdgate("catalog", "diff", file, *words)).code == 0

    async def said(entry: Entry, message: bytes, *more: str) -> Said:
        text = message.decode("utf-8", "surrogateescape")
        return await holdgate("check", *words, *more, "--user", entry.role, "--json", "-", stdin=text)

    codes = []
    for entry in read_corpus(CORPUS / "redteam.jsonl")[::4]:
        for message in entry.messages:
            live, dumped = await said(entry, message), await said(entry, message, "--catalog", file)
            assert (live.code, live.out) == (dumped.code, dumped.out), message
            codes.append(live.code)
    assert {0, 3, 4} == set(codes)
