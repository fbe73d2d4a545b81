"""Whatever is put around a statement, the verdict on it never gets milder; and what is harmless stays so."""

import os
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules import Decision
from rules.catalog import SchemaSnapshot
from tests.rules.policies import strict_judge
from tests.rules.sql_strategies import disguised, executing, exposing, expressions, noise, showing
from tests.rules.traffic import Session

# Many examples: a machine that is busy takes its time.
pytestmark = pytest.mark.timeout(180)

EXAMPLES = int(os.environ.get("HOLDGATE_FUZZ_EXAMPLES", "150"))
thorough = settings(max_examples=EXAMPLES, deadline=None)

DELETIONS = st.one_of(
    disguised(("delete", "from", "customers")),
    disguised(("delete", "from", "only", "crm", ".", "customers", "as", "products")),
    disguised(
        (
            "delete",
            "from",
            '"crm"',
            ".",
            '"customers"',
            "c",
            "using",
            "products",
            "p",
            "where",
            "c.id",
            "=",
            "p.id",
        )
    ),
    disguised(("delete", "from", "contact_v2", "where", "ref", "=", "3")),
    disguised(("delete", "from", "events_2026_01")),
    disguised(("delete", "from", 'U&"cust\\006Fmers"', "where", "id", "in", "(", "1", ",", "2", ")")),
    disguised(("update", "pings", "set", "n", "=", "n")),
    disguised(("insert", "into", "purge_queue", "values", "(", "7", ")")),
)
BULK_READS = st.sampled_from(
    [
        "SELECT email FROM customers",
        "SELECT c.ssn FROM crm.customers AS c WHERE c.id > 0",
        "SELECT contact FROM contact_v2",
        "SELECT (c).phone FROM customers c",
        "SELECT c::text FROM customers c",
        "SELECT ship_address FROM orders",
        "SELECT host(user_ip) FROM events_2026_02",
        'SELECT "E-Mail" FROM "Kunden-Daten"',
        "SELECT email FROM all_customers()",
        "SELECT email FROM customers FETCH FIRST 21 ROWS ONLY",
        "SELECT email FROM customers WHERE id = 1 OR id > 1",
        "SELECT meta ->> 'email' FROM customers_archive",
    ]
)
LOOKUPS = st.sampled_from(
    [
        "SELECT email FROM customers WHERE id = 5",
        "SELECT contact FROM contact_v2 WHERE ref = 5",
        "SELECT ship_address FROM orders WHERE customer_id = 5",
        "SELECT email FROM customers ORDER BY id LIMIT 5",
        "SELECT name FROM customers WHERE id IN (1, 2, 3)",
    ]
)
HARMLESS = st.sampled_from(
    [
        "SELECT name FROM products",
        "SELECT p.name FROM public.products p WHERE p.price > 3",
        "SELECT tier FROM customers",
        "SELECT 'DELETE FROM customers; --'",
        "SELECT country FROM customers WHERE email IS NOT NULL",
        'SELECT "delete" FROM delete_log',
        "SELECT name FROM safe_products",
        "SELECT relname::text FROM pg_class",
    ]
)


Decide = Callable[[str], tuple[Decision, str]]
"""The strictest decision on a session of one message, and its reason."""


@pytest.fixture(scope="module")
def decide(corpus_catalog: SchemaSnapshot) -> Decide:
    judge = strict_judge()

    def decide(sql: str) -> tuple[Decision, str]:
        session = Session(judge, corpus_catalog, search_path=("crm", "public"))
        verdict = session.judge(sql.encode()).verdict
        return verdict.decision, verdict.reason

    return decide


@thorough
@given(sql=noise(executing(DELETIONS)))
def test_a_deletion_is_held_whatever_is_put_around_it(decide: Decide, sql: str) -> None:
    assert decide(sql)[0] >= Decision.HOLD


@thorough
@given(sql=showing(exposing(BULK_READS)))
def test_a_bulk_read_is_held_whatever_its_values_go_through(decide: Decide, sql: str) -> None:
    assert decide(sql)[0] >= Decision.HOLD


@thorough
@given(sql=noise(showing(exposing(HARMLESS))))
def test_what_is_harmless_stays_so(decide: Decide, sql: str) -> None:
    decision, reason = decide(sql)
    assert decision < Decision.HOLD, reason


@thorough
# What a recursion repeats is read as often as it likes.
@given(sql=exposing(LOOKUPS, most=2).filter(lambda sql: "RECURSIVE" not in sql))
def test_a_lookup_stays_one_inside_of_other_queries(decide: Decide, sql: str) -> None:
    decision, reason = decide(sql)
    assert decision < Decision.HOLD, reason


@thorough
@given(values=st.lists(expressions(), min_size=1, max_size=4), condition=expressions(), order=expressions())
def test_expressions_are_no_reason_to_hold(
    decide: Decide, values: list[str], condition: str, order: str
) -> None:
    sql = (
        f"SELECT {', '.join(values)} FROM public.products p WHERE ({condition}) IS NOT NULL ORDER BY {order}"
    )
    decision, reason = decide(sql)
    assert decision < Decision.HOLD, reason
