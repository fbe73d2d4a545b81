"""What a query reads, exposes and writes, with views and copies seen through."""

import pytest

from rules.catalog import SchemaSnapshot
from rules.facts import Action
from tests.rules.catalogs import effect, facts, judgement
from tests.rules.policies import context, strict_judge


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("SELECT email FROM customers", ("email",)),
        ("SELECT c.email FROM customers c", ("email",)),
        ("SELECT crm.customers.email FROM crm.customers", ("email",)),
        ("SELECT contact FROM contacts", ("email",)),
        ("SELECT c::text FROM customers c", ("email", "name")),
        ("SELECT (c).email FROM customers c", ("email",)),
        ("SELECT email(c) FROM customers c", ("email", "name")),
        ("SELECT x FROM (SELECT email AS x FROM customers) q", ("email",)),
        ("SELECT q.z FROM (customers c JOIN orders o USING (id)) AS q (a, b, z)", ("email",)),
        ("WITH c AS (SELECT email FROM customers) SELECT * FROM c", ("email",)),
        ("SELECT name FROM products UNION ALL SELECT email FROM customers", ("email",)),
        ("SELECT (SELECT email FROM customers LIMIT 1)", ("email",)),
        ("SELECT ARRAY(SELECT email FROM customers)", ("email",)),
        ("SELECT string_agg(email, ',') FROM customers", ("email",)),
        ("INSERT INTO products (name) SELECT email FROM customers", ("email",)),
        ("UPDATE products SET name = email FROM customers", ("email",)),
        ("DELETE FROM customers RETURNING email", ("email",)),
        ("COPY customers (email) TO STDOUT", ("email",)),
        ("SELECT * FROM everybody()", ("email", "name")),
    ],
)
def test_what_leaves(sql: str, columns: tuple[str, ...]) -> None:
    assert tuple(sorted(effect(sql, Action.READ, "crm.customers").personal)) == columns


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM customers",
        "SELECT count(*) FROM customers WHERE email LIKE 'a%'",
        "SELECT avg(length(email)) FROM customers",
        "SELECT max(length(name)) FROM customers",
        "SELECT ref FROM contacts",
        "SELECT email IS NULL FROM customers",
        "SELECT 1 FROM orders WHERE EXISTS (SELECT email FROM customers)",
        "WITH customers AS (SELECT 1 AS email) SELECT email FROM customers",
        "SELECT * FROM (customers c JOIN orders o USING (id)) AS q (a) WHERE false",
    ],
)
def test_what_decides_or_counts_does_not_leave(sql: str) -> None:
    assert judgement(sql).verdict.decision.word == "allow"


def test_a_copy_of_personal_columns_is_personal() -> None:
    assert effect("SELECT address FROM mailing", Action.READ, "crm.mailing").personal == ("address",)
    assert effect("SELECT id FROM mailing", Action.READ, "crm.mailing").personal == ()


def test_a_partition_is_what_it_is_a_part_of() -> None:
    assert effect("SELECT user_ip FROM events_1", Action.READ, "crm.events_1").personal == ("user_ip",)
    assert effect("DELETE FROM events_1", Action.DELETE, "crm.events_1").touches_personal


def test_a_view_is_written_through() -> None:
    assert effect("DELETE FROM contacts WHERE ref < 9", Action.DELETE, "crm.customers").touches_personal


def test_a_foreign_table_reaches_beyond_the_database() -> None:
    assert judgement("SELECT name FROM remote").verdict.rule == "default:server_files"


def test_an_unknown_relation_is_said_to_be_missing() -> None:
    read = facts("SELECT a FROM nowhere")
    assert read.missing == ("nowhere",)
    assert judgement("SELECT a FROM nowhere").verdict.rule == "default:unknown_relation"


@pytest.mark.parametrize(
    "sql", ["UPDATE customers SET email = NULL", "UPDATE customers SET email = ''::text"]
)
def test_blanking_is_an_erasure(sql: str) -> None:
    assert effect(sql, Action.UPDATE, "crm.customers").erases
    assert not effect("UPDATE customers SET email = 'x'", Action.UPDATE, "crm.customers").erases


def test_a_relation_made_of_personal_columns_is_known_to_its_session() -> None:
    (made,) = facts("CREATE TEMP TABLE x AS SELECT id, email AS e FROM customers").creates
    assert (made.schema, made.columns, made.copied, made.copied_subject) == (
        "pg_temp",
        ("id", "e"),
        ("e",),
        ("id",),
    )


def test_a_text_that_is_read_again_has_the_same_effects_in_the_same_order(
    corpus_catalog: SchemaSnapshot,
) -> None:
    session, judge = context(catalog=corpus_catalog), strict_judge()
    first = judge.read(b"DELETE FROM contact_v2 WHERE ref = 1", session)
    assert len(first.effects) > 3
    for _ in range(20):
        assert judge.read(b"DELETE FROM contact_v2 WHERE ref = 1", session) == first


class TestCopiesIntoOtherTables:
    """Values of personal columns that are stored where nothing is personal."""

    @pytest.mark.parametrize(
        ("sql", "filled"),
        [
            ("INSERT INTO products SELECT id, email FROM customers", {"name"}),
            ("INSERT INTO products (name, id) SELECT lower(email), id FROM customers", {"name"}),
            (
                "INSERT INTO products SELECT id, contact FROM (SELECT 1 AS id, contact FROM contacts) x",
                {"name"},
            ),
            ("INSERT INTO products (name) VALUES ((SELECT max(email) FROM customers))", {"name"}),
            ("UPDATE products SET name = email FROM customers c WHERE c.id = products.id", {"name"}),
            (
                "UPDATE products p SET (id, name) = (SELECT id, email FROM customers LIMIT 1)",
                {"id", "name"},
            ),
            (
                "MERGE INTO products p USING customers c ON c.id = p.id WHEN MATCHED THEN UPDATE SET name = c.email",
                {"name"},
            ),
            (
                "MERGE INTO products USING customers c ON false WHEN NOT MATCHED THEN INSERT VALUES (c.id, c.phone)",
                {"name"},
            ),
            ("INSERT INTO products SELECT * FROM nowhere", set()),
            ("INSERT INTO products SELECT id, 'x' FROM customers", set()),
            ("INSERT INTO products SELECT count(*), 'x' FROM customers", set()),
            ("INSERT INTO customers (id, email) SELECT id, email FROM customers", set()),
            ("EXPLAIN INSERT INTO products SELECT id, email FROM customers", set()),
            ("INSERT INTO nowhere SELECT email FROM customers", set()),
        ],
    )
    def test_which_columns_take_them(self, sql: str, filled: set[str]) -> None:
        found = facts(sql).fills
        assert {column for relation in found for column in relation.copied} == filled
        assert all(relation.full_name == "public.products" for relation in found)

    def test_the_subject_goes_along(self) -> None:
        (relation,) = facts("INSERT INTO products SELECT id, email FROM customers").fills
        assert (relation.copied, relation.copied_subject) == (("name",), ("id",))
