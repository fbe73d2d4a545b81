"""Which statements are about the same people."""

import pytest

from rules import Act, Affected, ConflictKind, Judge, Kind, affected, compile_policy
from rules.conflicts import can_be_ordered, waits_for_earlier
from rules.facts import Action, EffectFacts
from tests.rules.catalogs import SHOP
from tests.rules.policies import STRICT, context

PERSON = Kind("crm.customers.id", rooted=True)
ORDER = Kind("crm.orders.id", rooted=True)
CUSTOMERS, ORDERS = "crm.customers", "crm.orders"


def concerning(sql: str, *, erasing: bool = False) -> set[tuple[str, str, frozenset[str] | None]]:
    """What a statement exports and deletes in the shop, and whose it is."""
    judge = Judge(compile_policy(STRICT))
    surroundings = context(catalog=SHOP, search_path=("pg_catalog", "crm", "public"))
    facts = judge.judge(sql.encode(), surroundings).facts
    found = affected(facts.effects, judge.touches(sql.encode(), surroundings), erasing=erasing)
    return {(one.act.value, one.relation, one.values) for one in found}


@pytest.mark.parametrize(
    ("sql", "concerned"),
    [
        (
            "DELETE FROM customers WHERE id = 7",
            {("delete", CUSTOMERS, frozenset("7")), ("delete", ORDERS, frozenset("7"))},
        ),
        ("DELETE FROM customers", {("delete", CUSTOMERS, None), ("delete", ORDERS, None)}),
        ("TRUNCATE customers", {("delete", CUSTOMERS, None)}),
        ("SELECT email FROM customers WHERE id IN (7, 8)", {("export", CUSTOMERS, frozenset("78"))}),
        ("COPY customers TO STDOUT", {("export", CUSTOMERS, None)}),
        ("SELECT id FROM customers", set()),
        ("DELETE FROM public.products", set()),
        ("DELETE FROM customers WHERE false", set()),
        ("UPDATE customers SET email = NULL WHERE id = 7", set()),
        # What it returns of what it deletes is no export; what it returns of others is.
        (
            "DELETE FROM customers WHERE id = 7 RETURNING *",
            {("delete", CUSTOMERS, frozenset("7")), ("delete", ORDERS, frozenset("7"))},
        ),
        (
            "WITH gone AS (DELETE FROM orders WHERE customer_id = 7) SELECT email FROM customers WHERE id = 7",
            {("delete", ORDERS, frozenset("7")), ("export", CUSTOMERS, frozenset("7"))},
        ),
        ("DROP TABLE customers CASCADE", {("delete", CUSTOMERS, None)}),
        # What nobody can read up here, but was read elsewhere: it may be anybody's.
        (f"DELETE FROM customers WHERE id IN ({', '.join(map(str, range(500)))})", None),
    ],
)
def test_what_is_concerned(sql: str, concerned: set[tuple[str, str, frozenset[str] | None]] | None) -> None:
    if concerned is None:
        concerned = {("delete", CUSTOMERS, None), ("delete", ORDERS, None)}
    assert {one for one in concerning(sql) if one[1] in (CUSTOMERS, ORDERS)} == concerned


def test_blanking_may_count_as_deleting() -> None:
    sql = "UPDATE customers SET email = NULL WHERE id = 7; UPDATE customers SET email = 'x' WHERE id = 8"
    assert concerning(sql, erasing=True) == {("delete", CUSTOMERS, frozenset("7"))}


def of(relation: str, kind: Kind | None, *people: str) -> Affected:
    return Affected(Act.DELETE, relation, kind, frozenset(people) if people else None)


@pytest.mark.parametrize(
    ("one", "other", "meets", "about"),
    [
        (of(CUSTOMERS, PERSON, "7"), of(CUSTOMERS, PERSON, "7", "8"), True, (f"{CUSTOMERS}: id 7",)),
        (of(CUSTOMERS, PERSON, "7"), of(CUSTOMERS, PERSON, "8"), False, None),
        (of(CUSTOMERS, PERSON, "7"), of(CUSTOMERS, PERSON), True, (f"{CUSTOMERS}: id 7",)),
        (of(CUSTOMERS, PERSON), of(CUSTOMERS, PERSON), True, (CUSTOMERS,)),
        # A person of one table is met in another, and not a thing of the same number.
        (of(CUSTOMERS, PERSON, "7"), of(ORDERS, PERSON, "7"), True, (f"{ORDERS}: id 7",)),
        (of(CUSTOMERS, PERSON, "7"), of(ORDERS, ORDER, "7"), False, None),
        (of(CUSTOMERS, PERSON), of(ORDERS, ORDER), False, None),
        # Told apart by different columns, they may be the same.
        (of(ORDERS, PERSON, "7"), of(ORDERS, ORDER, "9"), True, None),
        (of(ORDERS, PERSON, "7"), of(ORDERS, None), True, (f"{ORDERS}: id 7",)),
        (of(ORDERS, None), of(CUSTOMERS, None), False, None),
        # All of a schema, and what may be any relation.
        (of("crm.*", None), of(CUSTOMERS, PERSON, "7"), True, None),
        (of("hr.*", None), of(CUSTOMERS, PERSON, "7"), False, None),
        (of("*", None), of(CUSTOMERS, PERSON, "7"), True, (f"{CUSTOMERS}: id 7",)),
    ],
)
def test_who_meets_whom(one: Affected, other: Affected, meets: bool, about: tuple[str, ...] | None) -> None:
    assert one.meets(other) is other.meets(one) is meets
    if about is not None:
        assert one.about(other) == about


def test_what_may_be_any_relation_may_be_anybodys() -> None:
    effect = EffectFacts(Action.DELETE, None, touches_personal=True)
    assert affected([effect], ()) == (Affected(Act.DELETE, "*"),)


@pytest.mark.parametrize(
    ("kind", "exports", "ordered"),
    [
        (ConflictKind.EXPORT_THEN_DELETE, (True, True), True),
        (ConflictKind.DELETE_THEN_EXPORT, (False, True), True),
        (ConflictKind.DELETE_THEN_EXPORT, (True, True), False),
        (ConflictKind.DELETE_TWICE, (True, False), True),
        (ConflictKind.DELETE_TWICE, (False, True), False),
    ],
)
def test_nobody_waits_in_a_circle(kind: ConflictKind, exports: tuple[bool, bool], ordered: bool) -> None:
    assert can_be_ordered(kind, earlier_exports=exports[0], later_exports=exports[1]) is ordered


def test_who_waits_for_whom() -> None:
    assert {kind: waits_for_earlier(kind) for kind in ConflictKind} == {
        ConflictKind.EXPORT_THEN_DELETE: True,
        ConflictKind.DELETE_THEN_EXPORT: False,
        ConflictKind.DELETE_TWICE: True,
    }
