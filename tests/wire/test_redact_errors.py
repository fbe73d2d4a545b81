"""REDACT_ERRORS on the wire: whatever the server reports, the client gets no value of it, and the audit all."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from protocol.conditions import WITHOUT_PARAMETERS, words
from tests.support.gateway import RunningGateway, make_config, merged, running_gateway
from tests.support.postgres import Postgres
from tests.support.wire import B, D, E, H, Message, P, Q, RawClient, S, c, d, tags

SECRET = "ada@example.com"
"""In every row, and so in whatever the server says of one."""

SCHEMA = f"""
CREATE TABLE person (id int PRIMARY KEY, email text NOT NULL CONSTRAINT person_email UNIQUE, age int CHECK (age > 0));
INSERT INTO person VALUES (1, '{SECRET}', 41), (2, 'bob@example.com', 42);
CREATE TABLE visit (person int CONSTRAINT visit_person REFERENCES person DEFERRABLE INITIALLY DEFERRED, note text);
CREATE TABLE thing (n int PRIMARY KEY);
CREATE DOMAIN mail AS text CONSTRAINT has_at CHECK (value LIKE '%@%');
CREATE FUNCTION raises() RETURNS int LANGUAGE plpgsql AS $$DECLARE e text; BEGIN
    SELECT email INTO e FROM person WHERE id = 1;
    RAISE NOTICE 'notice %', e USING DETAIL = e, HINT = e;
    RAISE WARNING '%', e;
    RAISE EXCEPTION 'no %', e USING ERRCODE = 'HG001', DETAIL = e, HINT = e, CONSTRAINT = e, TABLE = e, COLUMN = e;
END$$;
CREATE FUNCTION checks() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
    RAISE EXCEPTION 'late %', (SELECT email FROM person WHERE id = 1) USING ERRCODE = '23514';
END$$;
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON visit DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.note = 'late') EXECUTE FUNCTION checks();
"""

POLICY: dict[str, Any] = {
    "personal_data": [
        {"relation": "public.person", "columns": ["email"], "subject": "id"},
        {"relation": "public.visit", "columns": ["note"]},
    ],
    "rules": [{"name": "erasure", "when": {"action": "delete", "data": "personal"}, "then": "hold"}],
}


@pytest.fixture
def people(postgres: Postgres) -> Iterator[str]:
    """The name of a fresh database with the schema above."""
    name = postgres.create_database(template=None, sql=SCHEMA)
    yield name
    postgres.drop_database(name)


@pytest.fixture
async def gateway(postgres: Postgres, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, make_config(postgres, POLICY)) as running:
        yield running


@pytest.fixture
async def client(gateway: RunningGateway, people: str) -> AsyncIterator[RawClient]:
    async with await gateway.raw(people) as raw:
        yield raw


def run(sql: str, *parameters: str) -> bytes:
    """A statement by the extended protocol, without a Sync."""
    return P(sql) + B(parameters) + D("P") + E()


TELLING = {
    "INSERT INTO person VALUES (3, 'ada@example.com', 5)": "23505",
    "INSERT INTO person VALUES (3, NULL, 5)": "23502",
    "UPDATE person SET age = -age": "23514",
    "SELECT email::int FROM person": "22P02",
    "SELECT email::mail::date FROM person": "22007",
    "SELECT (email || '')::mail, upper(email)::inet FROM person": "22P02",
    "SELECT ('{' || email || '}')::json FROM person": "22P02",
    "SELECT 1 / (id - 1) FROM person": "22012",
    "SELECT * FROM person WHERE email ~ ('(' || email)": "2201B",
    "SELECT raises() FROM person": "HG001",
    "DO $$BEGIN PERFORM raises(); END$$": "HG001",
    "DO $$BEGIN EXECUTE 'SELECT ''ada@example.com''::int FROM person'; END$$": "22P02",
    "COPY (SELECT email::int FROM person) TO STDOUT": "22P02",
    "CREATE UNIQUE INDEX i ON person ((left(email, 0)))": "23505",
    "SELECT set_config('work_mem', email, true) FROM person": "22023",
    "SELECT quote_ident(email)::regclass FROM person": "42P01",
    "SELECT email::regtype FROM person": "42601",
    "SELECT quote_ident(email)::regtype FROM person": "42704",
    "SELECT (quote_ident(email) || '()')::regprocedure FROM person": "42883",
    "SELECT query_to_xml('SELECT ' || quote_ident(email), true, true, '') FROM person": "42703",
    "SELECT query_to_xml('SELECT 1 ' || email, true, true, '') FROM person": "42601",
    "DO $$BEGIN EXECUTE (SELECT 'SELECT ' || quote_ident(email) FROM person LIMIT 1); END$$": "42703",
}
"""Statements whose errors show the secret, and their SQLSTATEs."""


def reports(messages: list[Message]) -> list[dict[str, str]]:
    """The errors and notices among messages, field by field."""
    return [each.fields for each in messages if each.tag in "EN"]


@pytest.mark.parametrize("way", ["query", "series", "transaction"])
@pytest.mark.parametrize("sql", TELLING)
async def test_no_value_reaches_the_client(
    gateway: RunningGateway, client: RawClient, postgres: Postgres, people: str, way: str, sql: str
) -> None:
    if way == "transaction":
        await client.query("BEGIN")
    heard = await client.exchange(run(sql), S()) if way == "series" else await client.query(sql)
    errors = [each for each in reports(heard) if each["V"] == "ERROR"]
    assert [each["C"] for each in errors] == [TELLING[sql]]
    for each in reports(heard):
        assert SECRET not in str(each)
        assert "bob" not in str(each)
        assert each.keys() <= {"S", "V", "C", "M", "H", "P", "s", "t", "c", "d", "n", "F", "L", "R"}
        assert "Values are left out" in each["H"]
    assert SECRET.encode() not in b"".join(each.payload for each in heard if each.tag != "D")
    if way == "transaction":
        assert client.status == "E"
        await client.query("ROLLBACK")
    async with await RawClient.connect(postgres.host, postgres.port, database=people) as direct:
        plain = await direct.query(sql)
    wanted = next(each for each in reports(plain) if each["V"] == "ERROR")
    assert {code: errors[0].get(code) for code in "CSVFRL"} == {code: wanted.get(code) for code in "CSVFRL"}
    assert tags(plain)[-2:] == tags(heard)[-2:]


async def test_the_audit_has_what_was_withheld_under_the_id_that_the_hint_names(
    gateway: RunningGateway, client: RawClient
) -> None:
    heard = await client.query("SELECT raises()")
    assert tags(heard) == "TNNEZ"
    (record,) = await gateway.recorded(kind="statement", sql="SELECT raises()")
    assert record["obligations"] == ["redact_errors"]
    assert record["sqlstate"] == "HG001"
    assert [each["severity"] for each in record["withheld"]] == ["NOTICE", "WARNING", "ERROR"]
    assert record["withheld"][0]["message"] == f"notice {SECRET}"
    assert record["withheld"][2]["message"] == f"no {SECRET}"
    assert record["withheld"][2]["detail"] == SECRET
    assert record["withheld"][2]["constraint"] == SECRET
    assert "PL/pgSQL function raises()" in record["withheld"][2]["where"]
    for each in reports(heard):
        assert each["H"].endswith(f"The audit of the gateway has them: statement {record['statement_id']}.")


async def test_drivers_see_the_same_kind_of_error(gateway: RunningGateway, people: str) -> None:
    async with await gateway.psycopg(people) as connection:
        with pytest.raises(psycopg.errors.UniqueViolation) as raised:
            await connection.execute("INSERT INTO person VALUES (3, %s, 5)", (SECRET,))
        diag = raised.value.diag
        assert (diag.constraint_name, diag.table_name, diag.schema_name) == (
            "person_email",
            "person",
            "public",
        )
        assert diag.message_primary == 'duplicate key value violates unique constraint "person_email"'
        assert diag.message_detail is None
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            await connection.execute("SELECT email::int FROM person")
        assert (await (await connection.execute("SELECT count(*) FROM person")).fetchone()) == (2,)
    connection_ = await asyncpg.connect(
        host=gateway.host, port=gateway.port, user="postgres", database=people
    )
    try:
        with pytest.raises(asyncpg.UniqueViolationError) as refused:
            await connection_.execute("INSERT INTO person VALUES (3, $1, 5)", SECRET)
        assert refused.value.constraint_name == "person_email"
        assert refused.value.detail is None
    finally:
        await connection_.close()


async def test_what_touches_no_personal_data_passes_as_it_is(
    gateway: RunningGateway, client: RawClient, postgres: Postgres, people: str
) -> None:
    async with await RawClient.connect(postgres.host, postgres.port, database=people) as direct:
        for sql in (
            "INSERT INTO thing VALUES (1), (1)",
            "SELECT 'x'::int",
            "SELECT nothing",
            "SELECT 1/0",
        ):
            assert await client.query(sql) == await direct.query(sql)
    await client.query("SELECT email::int FROM person")
    assert "invalid input syntax for type integer" in (await client.query("SELECT 'x'::int"))[0].fields["M"]


async def test_copy_does_not_print_its_line(client: RawClient) -> None:
    await client.send(Q("COPY person FROM STDIN"), d(f"3\t{SECRET}\t5\n".encode()), c())
    heard = await client.read_until("Z")
    assert reports(heard)[0]["C"] == "23505"
    assert SECRET not in str(reports(heard))
    await client.send(Q("COPY person FROM STDIN"), d(f"{SECRET}\tx\t5\n".encode()), c())
    heard = await client.read_until("Z")
    assert reports(heard)[0]["C"] == "22P02"
    assert SECRET not in str(reports(heard))


@pytest.mark.parametrize("end", ["COMMIT", "SET CONSTRAINTS ALL IMMEDIATE", "SELECT 1; COMMIT"])
async def test_what_is_checked_late_is_redacted_late(client: RawClient, end: str) -> None:
    await client.query("BEGIN")
    await client.query("INSERT INTO visit VALUES (1, 'late')")
    await client.query("SELECT n FROM thing")
    heard = await client.query(end)
    assert reports(heard)[0]["C"] == "23514"
    assert reports(heard)[0]["M"] == words("23514")
    await client.query("ROLLBACK")


async def test_a_commit_that_fails_at_a_sync(gateway: RunningGateway, client: RawClient) -> None:
    heard = await client.exchange(run("INSERT INTO visit VALUES (99, 'nobody')"), S())
    assert tags(heard) == "12nCEZ"
    (report,) = reports(heard)
    assert (report["C"], report["n"]) == ("23503", "visit_person")
    assert "99" not in report["M"]
    (record,) = await gateway.recorded(kind="statement", tag="(commit failed)")
    assert record["withheld"][0]["detail"] == 'Key (person)=(99) is not present in table "person".'


async def test_a_cursor_reports_on_rows_under_another_statement(client: RawClient) -> None:
    await client.query("BEGIN")
    await client.query("DECLARE c CURSOR FOR SELECT email::int FROM person")
    heard = await client.query("FETCH c")
    assert reports(heard)[0]["M"] == words("22P02")
    await client.query("ROLLBACK")
    await client.query("BEGIN")
    await client.exchange(P("SELECT email::int FROM person"), B(portal="p"), S())
    heard = await client.exchange(E("p"), S())
    assert reports(heard)[0]["M"] == words("22P02")
    await client.query("ROLLBACK")


async def test_in_a_series_all_of_it_is_redacted_and_the_one_before_is_not(client: RawClient) -> None:
    await client.send(run("SELECT 'x'::int"), S(), run("SELECT id FROM person"), run("SELECT 'x'::int"), S())
    first, second = await client.read_until("Z"), await client.read_until("Z")
    assert reports(first)[0]["M"] == 'invalid input syntax for type integer: "x"'
    assert reports(second)[0]["M"] == words("22P02")
    await client.send(run("SELECT id FROM person"), H())
    await client.read_until("C")
    heard = await client.exchange(run("SELECT 'x'::int"), S())
    assert reports(heard)[0]["M"] == words("22P02")


async def test_an_approved_statement_is_redacted_too(
    gateway: RunningGateway, client: RawClient, people: str, postgres: Postgres
) -> None:
    postgres.execute(
        "CREATE TRIGGER t BEFORE DELETE ON person FOR EACH ROW EXECUTE FUNCTION checks()", people
    )
    carol = await gateway.client("carol")
    await client.send(Q("DELETE FROM person WHERE id = 1"))
    await client.read_until("N")
    hold = await carol.wait_for_hold()
    assert hold["obligations"] == ["redact_errors"]
    await carol.approve(hold["id"])
    heard = await client.read_until("Z")
    assert reports(heard)[0]["C"] == "23514"
    assert SECRET not in str(reports(heard))
    (record,) = await gateway.recorded(kind="statement", hold_id=hold["id"])
    assert record["withheld"][0]["message"] == f"late {SECRET}"


async def test_a_payload_is_no_error(client: RawClient) -> None:
    await client.query("LISTEN a")
    heard = await client.query("SELECT pg_notify('a', email) FROM person WHERE id = 1")
    assert any(SECRET.encode() in each.payload for each in heard if each.tag == "A")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"redact_errors": "none"}, None),
        ({"audit": {"redact": "literals"}}, "Values are left out here, since they may be personal data."),
        ({"audit": {"statements": "held"}}, "Values are left out here, since they may be personal data."),
    ],
)
async def test_settings(
    postgres: Postgres, people: str, tmp_path: Path, config: dict[str, Any], said: str | None
) -> None:
    async with running_gateway(tmp_path, make_config(postgres, merged(POLICY, config))) as gateway:
        async with await gateway.raw(people) as client:
            (report,) = reports(await client.query("SELECT email::int FROM person"))
        if said is None:
            assert SECRET in report["M"]
            return
        assert report["H"] == said
        assert SECRET not in report["M"]
    for record in gateway.audit(kind="statement"):
        assert SECRET not in str(record)


async def test_redacting_everything(postgres: Postgres, people: str, tmp_path: Path) -> None:
    config = make_config(postgres, {"redact_errors": "all"})
    async with running_gateway(tmp_path, config) as gateway, await gateway.raw(people) as client:
        (report,) = reports(await client.query("SELECT 'x'::int"))
    assert report["M"] == words("22P02")


async def test_a_flood_of_notices_is_counted(gateway: RunningGateway, client: RawClient) -> None:
    sql = "DO $$BEGIN FOR i IN 1..150 LOOP RAISE NOTICE '%', i; END LOOP; PERFORM id FROM person; END$$"
    heard = await client.query(sql)
    assert tags(heard) == "N" * 150 + "CZ"
    (record,) = await gateway.recorded(kind="statement", sql=sql)
    assert len(record["withheld"]) == 101
    assert record["withheld"][100] == {"message": "and 50 more"}


async def test_the_farewell_of_the_server(
    gateway: RunningGateway, client: RawClient, postgres: Postgres, people: str
) -> None:
    await client.query("BEGIN")
    await client.query("SELECT id FROM person")
    postgres.execute(f"SELECT pg_terminate_backend({client.pid})")
    (report,) = reports(await client.read_to_end())
    assert report["C"] == "57P01"
    assert report["M"] in WITHOUT_PARAMETERS | {words("57P01")}


async def test_what_comes_from_no_statement_is_recorded_too(
    gateway: RunningGateway, client: RawClient
) -> None:
    await client.query("BEGIN")
    await client.query("SELECT id FROM person")
    heard = await client.exchange(P("SELECT 'x'::int"), D("S"), S())
    assert reports(heard)[0]["M"] == words("22P02")
    (record,) = await gateway.recorded(kind="statement", tag="(reported)")
    assert record["withheld"][0]["message"] == 'invalid input syntax for type integer: "x"'
