"""A scan of real tables, by a login that may not read all of them."""

from collections.abc import Iterator

import pytest
import yaml

from gateway.catalog.read import in_transaction, read_catalog
from gateway.catalog.scan import Proposal, Scan, Scope, as_yaml, scan
from gateway.catalog.scan.names import Kind
from rules import compile_policy
from tests.support.catalog import ask_through
from tests.support.postgres import Postgres

SCHEMA = """
CREATE TABLE customers (
  id bigint PRIMARY KEY, full_name text, contact text, tel varchar(40), born date, iban text, ssn text,
  notes jsonb, score int, created_at timestamptz DEFAULT now());
INSERT INTO customers SELECT i, 'Ann Example', 'cust' || i || '@pii.example', '+49 30 90182' || i % 10,
  '1980-01-01', 'DE89370400440532013000', 'SSN-' || i, jsonb_build_object('mail', 'x' || i || '@pii.example'), i, now()
  FROM generate_series(1, 30) i;
CREATE TABLE orders (
  id int PRIMARY KEY, customer bigint REFERENCES customers, ship_address text, amount numeric, sku text);
INSERT INTO orders SELECT i, 1 + i % 30, i || ' Main Street', i, 'SKU-' || i FROM generate_series(1, 30) i;
CREATE TABLE log (at timestamptz, client inet, line text) PARTITION BY RANGE (at);
CREATE TABLE log_old PARTITION OF log DEFAULT;
CREATE TABLE vip (rank int, email text) INHERITS (customers);
CREATE TABLE products (id int PRIMARY KEY, name text, price numeric, email_sent boolean, phone_model text);
INSERT INTO products SELECT i, 'Product ' || i, i, false, 'Model ' || i FROM generate_series(1, 30) i;
CREATE DOMAIN mail AS text;
CREATE TABLE "Kunden-Daten" ("Nr." int PRIMARY KEY, "E-Mail" mail, tags text[]);
INSERT INTO "Kunden-Daten" VALUES (1, 'a@pii.example', '{x}'), (2, NULL, NULL);
COMMENT ON COLUMN "Kunden-Daten".tags IS 'telephone numbers';
CREATE TABLE secret (email text);
CREATE VIEW everybody AS SELECT contact FROM customers;
CREATE SCHEMA other;
CREATE TABLE other.t (email text);
CREATE EXTENSION file_fdw;
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE remote (email text) SERVER files OPTIONS (filename '/dev/null');
CREATE TABLE guarded (email text);
INSERT INTO guarded VALUES ('a@pii.example');
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
"""


@pytest.fixture(scope="module")
def shop(postgres: Postgres) -> Iterator[str]:
    name = postgres.create_database(None, SCHEMA)
    yield name
    postgres.drop_database(name)


@pytest.fixture(scope="module")
def reader(postgres: Postgres, shop: str) -> Iterator[str]:
    """May read all but one table."""
    role = postgres.create_role()
    postgres.execute(
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public, other TO {role}; GRANT USAGE ON SCHEMA other TO {role};"
        f"REVOKE SELECT ON secret FROM {role}",
        shop,
    )
    yield role
    postgres.execute(f"DROP OWNED BY {role}", shop)
    postgres.drop_role(role)


async def scanned(postgres: Postgres, shop: str, reader: str, scope: Scope | None = None) -> Scan:
    with postgres.connect(shop, user=reader) as connection:
        ask = ask_through(connection)
        return await scan(await read_catalog(ask), in_transaction(ask), scope or Scope())


def proposed(found: Scan, relation: str) -> Proposal:
    (proposal,) = (one for one in found.proposals if one.relation == relation)
    return proposal


def kinds(proposal: Proposal) -> dict[str, Kind]:
    return {finding.column: finding.kind for finding in proposal.findings}


async def test_columns_are_found_by_name_and_by_value(postgres: Postgres, shop: str, reader: str) -> None:
    found = await scanned(postgres, shop, reader)
    customers = proposed(found, "public.customers")
    assert kinds(customers) == {
        "full_name": Kind.NAME,
        "contact": Kind.EMAIL,
        "tel": Kind.PHONE,
        "born": Kind.BIRTH,
        "iban": Kind.IBAN,
        "ssn": Kind.NATIONAL_ID,
        "notes": Kind.EMAIL,
    }
    sure = {finding.column: finding.confidence for finding in customers.findings}
    assert sure["iban"] > sure["contact"] > sure["full_name"] > sure["ssn"] >= 0.5
    assert customers.sampled == 30
    contact = next(finding for finding in customers.findings if finding.column == "contact")
    assert contact.reasons[-1] == "30 of 30 different values are one"
    notes = next(finding for finding in customers.findings if finding.column == "notes")
    assert notes.reasons == ("30 of 30 different values contain one",)


async def test_the_subject_is_the_key_or_what_refers_to_it(
    postgres: Postgres, shop: str, reader: str
) -> None:
    found = await scanned(postgres, shop, reader)
    assert (
        proposed(found, "public.customers").subject,
        proposed(found, "public.customers").subject_reason,
    ) == (
        "id",
        "its key",
    )
    orders = proposed(found, "public.orders")
    assert (orders.subject, orders.subject_reason) == ("customer", "refers to public.customers")
    assert kinds(orders) == {"ship_address": Kind.ADDRESS}
    assert proposed(found, "public.log").subject is None


async def test_types_and_comments_count(postgres: Postgres, shop: str, reader: str) -> None:
    found = await scanned(postgres, shop, reader)
    assert kinds(proposed(found, "public.log")) == {"client": Kind.IP}
    assert kinds(proposed(found, "public.Kunden-Daten")) == {"E-Mail": Kind.EMAIL, "tags": Kind.PHONE}


async def test_what_is_not_personal_is_left_alone(postgres: Postgres, shop: str, reader: str) -> None:
    found = await scanned(postgres, shop, reader)
    names = {proposal.relation for proposal in found.proposals}
    assert "public.products" not in names
    assert not {"public.log_old", "public.everybody"} & names
    assert kinds(proposed(found, "public.vip")) == {"email": Kind.EMAIL}


async def test_what_was_not_sampled_is_said_with_the_reason(
    postgres: Postgres, shop: str, reader: str
) -> None:
    found = await scanned(postgres, shop, reader)
    assert dict(found.unsampled) == {
        "public.secret": "permission denied, or row security applies",
        "public.remote": "a foreign table: another server, or a file, would be read",
        "public.guarded": "permission denied, or row security applies",
    }
    assert kinds(proposed(found, "public.secret")) == {"email": Kind.EMAIL}


async def test_a_table_that_is_locked(postgres: Postgres, shop: str, reader: str) -> None:
    with postgres.connect(shop) as changing, changing.transaction():
        changing.execute("LOCK TABLE orders")
        found = await scanned(postgres, shop, reader)
    assert ("public.orders", "locked by somebody") in found.unsampled


async def test_only_what_was_asked_for(postgres: Postgres, shop: str, reader: str) -> None:
    found = await scanned(postgres, shop, reader, Scope(schemas=frozenset({"other"})))
    assert ([one.relation for one in found.proposals], found.relations) == (["other.t"], 1)
    sure = await scanned(postgres, shop, reader, Scope(confidence=0.95))
    assert kinds(proposed(sure, "public.customers")) == {
        "contact": Kind.EMAIL,
        "iban": Kind.IBAN,
        "tel": Kind.PHONE,
    }


async def test_without_values_names_alone_count(postgres: Postgres, shop: str, reader: str) -> None:
    found = await scanned(postgres, shop, reader, Scope(rows=0))
    assert {why for _, why in found.unsampled} == {"no values were asked for"}
    assert "contact" not in kinds(proposed(found, "public.customers"))
    assert kinds(proposed(found, "public.customers"))["tel"] is Kind.PHONE


async def test_of_a_large_table_some_pages_are_looked_at(postgres: Postgres, empty_database: str) -> None:
    postgres.execute(
        "CREATE TABLE big (id int, c text);"
        "INSERT INTO big SELECT i, CASE WHEN i > 1000 THEN i || '@pii.example' END FROM generate_series(1, 20000) i;"
        "ANALYZE big",
        empty_database,
    )
    found = await scanned(postgres, empty_database, "postgres")
    assert kinds(proposed(found, "public.big")) == {"c": Kind.EMAIL}


async def test_no_value_is_in_the_report(postgres: Postgres, shop: str, reader: str) -> None:
    text = as_yaml(await scanned(postgres, shop, reader))
    for value in ("pii.example", "Ann", "DE89", "+49", "SSN-1", "Main Street"):
        assert value not in text


async def test_whatever_a_table_is_called_the_policy_finds_it(
    postgres: Postgres, empty_database: str
) -> None:
    names = ["plain", "a.b", 'say "x"', "Größe [1] *?", " blank ", "no", "order"]
    for name in names:
        quoted = name.replace('"', '""')
        columns = f'"E-Mail.{quoted}" text, "{quoted}" text'
        postgres.execute(f'CREATE TABLE "{quoted}" ({columns})', empty_database)
    with postgres.connect(empty_database) as connection:
        ask = ask_through(connection)
        found = await scan(await read_catalog(ask), in_transaction(ask), Scope())
    assert found.unsampled == ()
    policy = compile_policy(yaml.safe_load(as_yaml(found)))
    for name in names:
        entry = policy.personal.find("public", name, ())
        assert entry is not None, name
        assert entry.holds(f"E-Mail.{name}"), name


async def test_the_time_is_limited(postgres: Postgres, shop: str, reader: str) -> None:
    found = await scanned(postgres, shop, reader, Scope(seconds=0.0))
    assert ("public.customers", "the time was over") in found.unsampled


async def test_nothing_is_run_and_nothing_remains(postgres: Postgres, shop: str) -> None:
    postgres.execute(
        "CREATE FUNCTION public.noted() RETURNS bool LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'it ran'; END $$;"
        "CREATE TABLE trap (email text); ALTER TABLE trap ENABLE ROW LEVEL SECURITY;"
        "ALTER TABLE trap FORCE ROW LEVEL SECURITY; CREATE POLICY p ON trap USING (noted())",
        shop,
    )
    role = postgres.create_role()
    postgres.execute(f"GRANT SELECT ON trap TO {role}", shop)
    with postgres.connect(shop, user=role) as connection:
        ask = ask_through(connection)
        found = await scan(await read_catalog(ask), in_transaction(ask), Scope())
        ((left,),) = await ask(
            "SELECT current_setting('row_security') || current_setting('statement_timeout')"
        )
    assert left == "on0"
    assert dict(found.unsampled)["public.trap"] == "permission denied, or row security applies"
    postgres.execute(f"DROP OWNED BY {role}", shop)
    postgres.drop_role(role)
