"""Whose rows a statement touches."""

import struct
import uuid
from dataclasses import replace

import pytest

from rules import Judge, Parameter, compile_policy
from rules.catalog import EMPTY, ForeignKey, SchemaSnapshot
from rules.facts import Action
from rules.subjects import MAX_PEOPLE, Kind, Touch, people_in
from tests.rules.catalogs import SHOP, shop, table
from tests.rules.policies import STRICT, context

CUSTOMER = Kind("crm.customers.id", rooted=True)


def found(sql: str, *parameters: Parameter, catalog: SchemaSnapshot = SHOP) -> dict[tuple[str, str], Touch]:
    """What is touched of personal relations, by action and relation."""
    surroundings = context(catalog=catalog, search_path=("pg_catalog", "crm", "public"))
    touches = Judge(compile_policy(STRICT)).touches(sql.encode(), surroundings, parameters)
    return {(one.action.value, one.relation): one for one in touches if one.personal}


def named(touch: Touch) -> set[str] | None:
    """The people, None where it may be anybody."""
    return None if touch.values is None else set(touch.values)


def typed(type_oid: int, relation: str = "customers", column: str = "id") -> SchemaSnapshot:
    """The shop with another type of that column."""
    (known,) = (one for one in SHOP.relations if one.full_name == f"crm.{relation}")
    types = list(known.types)
    types[known.columns.index(column)] = type_oid
    return shop(relations=(replace(known, types=tuple(types)),))


def text(value: str | None, type_oid: int = 0) -> Parameter:
    return Parameter(type_oid, 0, None if value is None else value.encode("utf-8", "surrogateescape"))


def binary(value: bytes, type_oid: int = 0) -> Parameter:
    return Parameter(type_oid, 1, value)


def array(element: int, *values: bytes) -> Parameter:
    head = struct.pack(">iiIii", 1, 0, element, len(values), 1)
    return binary(head + b"".join(struct.pack(">i", len(one)) + one for one in values), 1016)


INT = struct.pack(">i", 7)


@pytest.mark.parametrize(
    ("condition", "people"),
    [
        ("id = 7", {"7"}),
        ("7 = id AND name > 'a'", {"7"}),
        ("id = '7'", {"7"}),
        ("id = ' +007 '", {"7"}),
        ("id = '7'::int", {"7"}),
        ("id = -7", {"-7"}),
        ("id = 0", {"0"}),
        ("id = 99999999999", {"99999999999"}),
        ("id IN (7, 8)", {"7", "8"}),
        ("id = ANY('{7, 8,NULL}')", {"7", "8"}),
        ("id = ANY('{}')", set()),
        ("id = ANY(ARRAY[7, 8])", {"7", "8"}),
        ("id = 7 OR id IN (8, 9)", {"7", "8", "9"}),
        ("id = 7 AND id IN (7, 8)", {"7"}),
        ("(id, name) = (7, 'a')", {"7"}),
        ("id = NULL", set()),
        ("id = 7 OR false", {"7"}),
        ("false", set()),
        # What is not proven, or not written as a value.
        ("true", None),
        ("id = 7 OR true", None),
        ("id = 7 OR name = 'a'", None),
        ("id > 7", None),
        ("NOT id = 7", None),
        ("id = 2 + 5", None),
        ("id = length('seven')", None),
        ("id = '7'::varchar(1)", None),
        ("id = 7.5", None),
        ("id = ANY('{\"7\"}')", None),
        ("id = ANY('seven')", None),
        ("id = (SELECT max(id) FROM orders)", None),
        ("email = 'a@b'", None),
        ("id = $1", None),
    ],
)
def test_conditions(condition: str, people: set[str] | None) -> None:
    for sql, key in (
        (f"DELETE FROM customers WHERE {condition}", ("delete", "crm.customers")),
        (f"SELECT email FROM customers WHERE {condition}", ("read", "crm.customers")),
        (f"UPDATE customers SET email = NULL WHERE {condition}", ("update", "crm.customers")),
    ):
        touch = found(sql)[key]
        assert named(touch) == people
        assert touch.kind == CUSTOMER
        assert touch.erases is (key[0] == "update")


@pytest.mark.parametrize(
    ("condition", "parameter", "people"),
    [
        ("id = $1", text("7"), {"7"}),
        ("id = $1", text(None), set()),
        ("id = $1", text("\udcff", 23), None),
        ("id = $1", binary(INT, 23), {"7"}),
        ("id = $1", binary(INT), {"7"}),
        ("id = $1", binary(struct.pack(">q", -7), 20), {"-7"}),
        ("id = $1", binary(b"7", 25), {"7"}),
        ("id = $1", binary(b"\xff", 25), None),
        ("id = $1", binary(INT, 1700), None),
        ("id = $1::int8", text("7"), {"7"}),
        ("id = $2", text("7"), None),
        ("id IN ($1, 8)", text("7"), {"7", "8"}),
        ("id = ANY($1)", text("{7,8}"), {"7", "8"}),
        ("id = ANY($1)", text(None), set()),
        ("id = ANY($1)", text("\udcff"), None),
        ("id = ANY($2)", text("{7}"), None),
        ("id = ANY($1)", array(23, INT, INT), {"7"}),
        ("id = ANY($1)", array(1700, INT), None),
        ("id = ANY($1)", binary(struct.pack(">iiI", 0, 0, 23)), set()),
        ("id = ANY($1)", binary(struct.pack(">iiIii", 2, 0, 23, 1, 1)), None),
        ("id = ANY($1)", binary(struct.pack(">iiIiii", 1, 1, 23, 1, 1, -1)), set()),
        ("id = ANY($1)", binary(struct.pack(">iiIiii", 1, 0, 23, 1, 1, 9)), None),
        ("id = ANY($1)", binary(b"\0"), None),
    ],
)
def test_parameters(condition: str, parameter: Parameter, people: set[str] | None) -> None:
    touches = found(f"DELETE FROM customers WHERE {condition}", parameter)
    assert named(touches["delete", "crm.customers"]) == people


@pytest.mark.parametrize(
    ("type_oid", "written", "value"),
    [
        (25, "A b ", "A b "),
        (1042, "ab  ", "ab"),
        (2950, "{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        (2950, "nobody", None),
        (1700, "7.50", "7.5"),
        (1700, "7e0", "7"),
        (1700, "seven", None),
        (1700, "NaN", None),
        (1700, "1" * 29, None),
        # A type of which nobody here knows when two texts are the same.
        (16999, "a", None),
    ],
)
def test_values_of_other_types(type_oid: int, written: str, value: str | None) -> None:
    touch = found(f"DELETE FROM customers WHERE id = '{written}'", catalog=typed(type_oid))
    assert named(touch["delete", "crm.customers"]) == (None if value is None else {value})


@pytest.mark.parametrize(
    ("type_oid", "condition", "parameter", "people"),
    [
        # A cast may change a value, and does so before it is compared.
        (1700, "id = 6.4::int", None, None),
        (1700, "id = 6::int", None, {"6"}),
        (1700, "id = ANY(ARRAY[6.4]::int[])", None, None),
        (25, "id = '007'::int::text", None, {"7"}),
        (25, "id = '007'::text", None, {"007"}),
        (25, "id = 7e0::text", None, None),
        (25, "id = 7::text", None, {"7"}),
        (25, "id = (-7)::text", None, {"-7"}),
        (25, "id = ANY(ARRAY['007']::int[]::text[])", None, None),
        (25, "id = ANY(ARRAY['007']::text[])", None, {"007"}),
        (25, "id = ANY(ARRAY['007']::varchar(1)[])", None, None),
        (2950, "id = 'A0EEBC999C0B4EF8BB6D6BB9BD380A11'::uuid", None, {"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}),
        (20, "id = ANY('{7,8}'::int[])", None, {"7", "8"}),
        (20, "id = ANY(ARRAY[7, '08']::int[])", None, {"7", "8"}),
        (20, "id = ANY(ARRAY[7, 6 + 2]::int[])", None, None),
        (20, "id = ANY(ARRAY[7, 6 + 2])", None, None),
        (20, "id = ANY($1::int[])", text("{7}"), {"7"}),
        (20, "id = ANY($1::int[])", text("{7}", 1231), None),
        (25, "id = ANY($1::text[])", text("{007}", 1007), None),
        (25, "id = $1::text", text("007", 25), {"007"}),
        (25, "id = $1::text", text("007", 23), None),
        (25, "id = $1::text", text("7", 1700), {"7"}),
    ],
)  # fmt: skip
def test_casts(type_oid: int, condition: str, parameter: Parameter | None, people: set[str] | None) -> None:
    given = () if parameter is None else (parameter,)
    touches = found(f"DELETE FROM customers WHERE {condition}", *given, catalog=typed(type_oid))
    assert named(touches["delete", "crm.customers"]) == people


def test_a_uuid_in_binary() -> None:
    one = uuid.uuid4()
    touch = found("DELETE FROM customers WHERE id = $1", binary(one.bytes), catalog=typed(2950))
    assert named(touch["delete", "crm.customers"]) == {str(one)}


def test_too_many_are_anybody() -> None:
    few, many = (", ".join(map(str, range(count))) for count in (MAX_PEOPLE // 2, MAX_PEOPLE + 1))
    assert found(f"DELETE FROM customers WHERE id IN ({few})")["delete", "crm.customers"].values is not None
    numbers = ",".join(map(str, range(MAX_PEOPLE + 1)))
    touch = found("DELETE FROM customers WHERE id = ANY($1)", text(f"{{{numbers}}}"))
    assert touch["delete", "crm.customers"].values is None
    # A text that only a reader reads is nobody's business here.
    assert found(f"DELETE FROM customers WHERE id IN ({many})") == {}
    together = "; ".join(
        f"DELETE FROM customers WHERE id = ANY('{{{','.join(map(str, range(start, start + 60)))}}}')"
        for start in (0, 60)
    )
    assert found(together)["delete", "crm.customers"].values is None


class TestFollowing:
    def test_what_goes_with_a_person_is_theirs(self) -> None:
        touches = found("DELETE FROM customers WHERE id = 7")
        assert touches["delete", "crm.orders"] == Touch(
            Action.DELETE, "crm.orders", CUSTOMER, frozenset({"7"}), personal=True
        )

    def test_what_has_another_subject_is_theirs_as_well(self) -> None:
        mailed = table(16480, "events", "ts", "user_ip", "customer_id", "order_id")
        keys = (ForeignKey("of", 16480, 16401, "c", "a", ("order_id",), ("id",)),)
        touches = found(
            "DELETE FROM customers WHERE id = 7", catalog=shop(relations=(mailed,), foreign_keys=keys)
        )
        touch = touches["delete", "crm.events"]
        assert (touch.kind, named(touch)) == (CUSTOMER, {"7"})

    def test_not_where_rows_go_for_two_reasons(self) -> None:
        sql = "WITH a AS (DELETE FROM customers WHERE id = 7) DELETE FROM customers WHERE id = 8"
        touches = found(sql)
        assert named(touches["delete", "crm.customers"]) == {"7", "8"}
        assert touches["delete", "crm.orders"].values is None

    def test_a_referring_column_means_those_it_refers_to(self) -> None:
        touch = found("SELECT ship_address FROM orders WHERE customer_id = 7")["read", "crm.orders"]
        assert (touch.kind, named(touch)) == (CUSTOMER, {"7"})

    def test_by_a_join_and_through_a_view(self) -> None:
        joined = "SELECT o.ship_address FROM orders o JOIN customers c ON o.customer_id = c.id WHERE c.id = 7"
        assert named(found(joined)["read", "crm.orders"]) == {"7"}
        through = found("SELECT contact FROM contacts WHERE ref = 7")["read", "crm.customers"]
        assert named(through) == {"7"}

    def test_a_partition_is_its_table(self) -> None:
        whole = table(
            16406, "events", "customer_id", "user_ip", kind="p", unique=(frozenset(["customer_id"]),)
        )
        part = table(16407, "events_1", "customer_id", "user_ip", parents=(16406,), is_partition=True)
        touches = found(
            "SELECT user_ip FROM events_1 WHERE customer_id = 7", catalog=shop(relations=(whole, part))
        )
        assert touches["read", "crm.events_1"].kind == Kind("crm.events.customer_id", rooted=True)

    def test_several_statements_together(self) -> None:
        sql = "DELETE FROM customers WHERE id = 7; DELETE FROM customers WHERE id = 8"
        assert named(found(sql)["delete", "crm.customers"]) == {"7", "8"}
        sql = "DELETE FROM customers WHERE id = 7; DELETE FROM customers"
        assert found(sql)["delete", "crm.customers"].values is None

    @pytest.mark.parametrize(
        "sql", ["SELECT email_of(7)", "PREPARE p AS DELETE FROM customers WHERE id = $1; EXECUTE p(7)"]
    )
    def test_what_code_and_prepared_statements_say_is_not_the_messages(self, sql: str) -> None:
        touches = found(sql, text("9"))
        assert {one.values for one in touches.values()} == {None}

    def test_without_a_catalog_a_column_is_known_by_its_name(self) -> None:
        touch = found("DELETE FROM crm.orders WHERE Customer_ID = '7'", catalog=EMPTY)["delete", "crm.orders"]
        assert touch == Touch(
            Action.DELETE, "crm.orders", Kind("customer_id", rooted=False), frozenset({"7"}), personal=True
        )
        touch = found("DELETE FROM crm.orders WHERE customer_id = 'x y'", catalog=EMPTY)[
            "delete", "crm.orders"
        ]
        assert named(touch) == {"x y"}


@pytest.mark.parametrize("sql", ["DELETE FROM", "SELEC", "DELETE FROM customers WHERE id = (" + "(" * 200])
def test_what_cannot_be_read_says_nothing(sql: str) -> None:
    assert found(sql) == {}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (CUSTOMER, CUSTOMER, True),
        (CUSTOMER, Kind("crm.products.id", rooted=True), False),
        (CUSTOMER, Kind("ID", rooted=False), True),
        (CUSTOMER, Kind("customer_id", rooted=False), False),
        (Kind("id", rooted=False), Kind("Id", rooted=False), True),
    ],
)
def test_which_columns_tell_the_same_people_apart(one: Kind, other: Kind, same: bool) -> None:
    assert one.same(other) is other.same(one) is same


class TestPeopleIn:
    TOUCHES = (
        Touch(Action.DELETE, "a", CUSTOMER, frozenset({"7"}), personal=True),
        Touch(Action.DELETE, "b", CUSTOMER, frozenset({"8"}), personal=True),
        Touch(Action.DELETE, "c", CUSTOMER, None, personal=True),
        Touch(Action.DELETE, "d", Kind("x", rooted=False), frozenset({"7"}), personal=True),
        Touch(Action.DELETE, "e", None, None),
    )

    @pytest.mark.parametrize(
        ("relations", "people"),
        [
            (["a"], {"7"}),
            (["a", "b"], {"7", "8"}),
            (["a", "c"], None),
            (["a", "d"], None),
            (["a", "e"], None),
            (["a", "unheard of"], None),
            ([None], None),
            ([], None),
        ],
    )
    def test_all_must_be_known_and_told_apart_alike(
        self, relations: list[str | None], people: set[str] | None
    ) -> None:
        found = people_in([(self.TOUCHES, [(Action.DELETE, one) for one in relations])])
        assert (None if found is None else set(found)) == people
