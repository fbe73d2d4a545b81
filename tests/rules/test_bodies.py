"""Code is read where it can be, and opaque where it cannot."""

from dataclasses import replace

import pytest

from rules.catalog import Cast, Code, Function, OperatorClass, Relation, SchemaSnapshot, Trigger, Type
from rules.facts import Action
from tests.rules.catalogs import SHOP, effect, facts, function, judgement, shop, table, verdict


@pytest.mark.parametrize("sql", ["SELECT vat(1)", "SELECT vat(id) FROM products", "SELECT may_read(1)"])
def test_what_only_computes_passes(sql: str) -> None:
    assert judgement(sql).verdict.decision.word == "allow"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT dynamic()",
        "SELECT native()",
        "SELECT 1::int8 === 2",
        "SELECT 'x'::checked",
        "SELECT vat(dynamic())",
        "DO $$ BEGIN EXECUTE 'DELETE' || ' FROM x'; END $$",
        "DO LANGUAGE plpython3u $$ x $$",
    ],
)
def test_what_cannot_be_read_is_opaque(sql: str) -> None:
    assert judgement(sql).verdict.rule == "default:opaque_function"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT constant()",
        "DO $$ BEGIN DELETE FROM crm.orders; END $$",
        "DO $$ BEGIN PERFORM crm.constant(); END $$",
    ],
)
def test_static_statements_are_read(sql: str) -> None:
    assert effect(sql, Action.DELETE, "crm.orders").touches_personal


def test_a_loop_repeats_what_is_in_it() -> None:
    assert str(effect("SELECT each()", Action.READ, "crm.customers").row_bound) == "UNBOUNDED"


def test_a_volatile_function_is_not_run_by_planning() -> None:
    assert not [one for one in facts("EXPLAIN SELECT constant()").effects if one.action is Action.DELETE]


def test_a_block_that_is_not_grammar_is_unreadable() -> None:
    assert facts("DO $$ BEGIN WHAT; END $$").unreadable is not None


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("SELECT l.e FROM listing() l", ("email",)),
        ("SELECT e FROM listing()", ("email",)),
        ("SELECT l.k FROM listing() l", ()),
        ("SELECT * FROM listing()", ("email",)),
        ("SELECT x.b FROM listing() x (a, b)", ("email",)),
        ("SELECT (listing()).e", ("email",)),
        ("SELECT s FROM single() s", ("email",)),
        ("SELECT single.one FROM single()", ("email",)),
        ("SELECT anything.x FROM anything() AS (w int8, x text)", ("email",)),
        ("SELECT defaulted()", ("email",)),
    ],
)
def test_columns_of_a_function_are_those_of_its_query(sql: str, columns: tuple[str, ...]) -> None:
    made = (
        _sql_function(16500, "listing", "TABLE (k int8, e text)", "SELECT id, email FROM crm.customers"),
        _sql_function(16501, "single", "SETOF text", "SELECT email FROM crm.customers", "OUT one text"),
        _sql_function(16502, "anything", "SETOF record", "SELECT id, email FROM crm.customers"),
        replace(
            _sql_function(
                16503,
                "defaulted",
                "text",
                "SELECT a",
                "a text DEFAULT (SELECT min(email) FROM crm.customers)",
            ),
            arguments=(25,),
            defaults=1,
        ),
    )
    found = [
        one for one in facts(sql, catalog=shop(functions=made)).effects if one.relation == "crm.customers"
    ]
    assert [one.personal for one in found] == [columns]


def _sql_function(oid: int, name: str, returns: str, body: str, arguments: str = "") -> Function:
    text = f"CREATE FUNCTION crm.{name}({arguments}) RETURNS {returns} LANGUAGE sql AS $b${body}$b$"
    return Function(oid, "crm", name, "f", "sql", "s", returns_set=True, definition=text)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT ROW('a')::pair",
        "SELECT '(a)'::pair",
        "SELECT '{}'::pair[]",
        "SELECT jsonb_populate_record(NULL::pair, '{}')",
        "PREPARE p (checked) AS SELECT $1",
        "PREPARE p (pair) AS SELECT $1",
        "SELECT takes('a')",
        "INSERT INTO holding VALUES (1)",
    ],
)
def test_a_domain_is_checked_inside_of_other_types(sql: str) -> None:
    assert verdict(sql, catalog=_typed()) == "default:opaque_function"


@pytest.mark.parametrize("oid", [16471, 16512, 16513])
def test_a_type_that_a_parameter_is_declared_with_runs_its_code(oid: int) -> None:
    found = judgement("SELECT 1", catalog=_typed(), parameter_types=(oid,))
    assert found.verdict.rule == "default:opaque_function"
    assert found.facts.runs_code_when_planned


def test_a_type_that_nobody_knows_is_opaque_and_missing() -> None:
    found = judgement("SELECT 1", parameter_types=(99_999,))
    assert found.verdict.rule == "default:opaque_function"
    assert found.facts.missing == ("type with OID 99999",)
    assert found.facts.runs_code_when_planned


def test_a_type_of_a_parameter_that_runs_nothing() -> None:
    found = judgement("SELECT 1", parameter_types=(16470,))
    assert found.verdict.decision.word == "allow"
    assert not found.facts.runs_code_when_planned


def test_the_types_of_what_is_prepared_are_told() -> None:
    found = facts("PREPARE q AS SELECT 1; PREPARE p (int, checked) AS SELECT $1")
    assert found.prepared_types == ((), (16471,))


def _typed() -> SchemaSnapshot:
    return shop(
        relations=(
            Relation(16510, "crm", "pair", "c", ("a",), (16471,)),
            Relation(16511, "crm", "holding", "r", ("a",), (16513,)),
        ),
        types=(
            Type(16512, "crm", "pair", "c", relation=16510),
            Type(16513, "crm", "_pair", "b", element=16512),
        ),
        functions=(function(16500, "takes", "BEGIN RETURN 1; END", (16471,)),),
    )


def test_the_catalogs_own_types_run_nothing() -> None:
    assert verdict("SELECT NULL::products, '{1}'::int[], ROW(1, 'a')::customers") == "allow"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT c FROM coloured ORDER BY c",
        "SELECT DISTINCT c FROM coloured",
        "SELECT 'red'::colour < 'blue'",
        "INSERT INTO coloured VALUES ('red')",
        "CREATE INDEX ON coloured (c)",
        "CREATE INDEX ON products (name by_length)",
        "SELECT 1 FROM plain_json",
    ],
)
def test_an_order_of_somebodys_own_runs_code(sql: str) -> None:
    assert verdict(sql, catalog=_coloured()) == "default:opaque_function"


def test_an_order_of_an_extension_is_harmless() -> None:
    catalog = _coloured()
    by_extension = replace(
        catalog, operator_classes=(replace(catalog.operator_classes[0], extension="citext"),)
    )
    assert verdict("SELECT DISTINCT c FROM coloured", catalog=by_extension) == "allow"


def _coloured() -> SchemaSnapshot:
    return shop(
        relations=(
            Relation(16510, "crm", "coloured", "r", ("c",), (16512,)),
            Relation(16511, "crm", "plain_json", "r", ("j",), (114,)),
        ),
        types=(Type(16512, "crm", "colour", "e"),),
        operator_classes=(
            OperatorClass("crm", "colour_ops", "btree", 16512, (16453,)),
            OperatorClass("crm", "json_ops", "btree", 114, (16453,)),
            OperatorClass("crm", "by_length", "btree", 25, (16453,)),
        ),
    )


@pytest.mark.parametrize(
    ("condition", "rule"),
    [
        ("crm.constant() > 0", "erasure"),
        ("new.id > 0", "allow"),
        (None, "default:opaque_function"),
    ],
)
def test_the_condition_of_a_trigger_is_code(condition: str | None, rule: str) -> None:
    text = "CREATE TRIGGER t BEFORE INSERT ON crm.seen FOR EACH ROW WHEN (({})) EXECUTE FUNCTION crm.f()"
    definition = "" if condition is None else text.format(condition)
    trigger = Trigger("t", frozenset(["insert"]), 100, definition=definition)
    catalog = shop(relations=(table(16510, "seen", "id", triggers=(trigger,)),))
    assert verdict("INSERT INTO seen VALUES (1)", catalog=catalog) == rule


@pytest.mark.parametrize(
    ("occasion", "sql", "rule"),
    [
        ("default", "INSERT INTO kept (id) VALUES (1)", "bulk"),
        ("generated", "INSERT INTO kept (id) VALUES (1)", "bulk"),
        ("check", "INSERT INTO kept (id) VALUES (1)", "allow"),
        ("default", "SELECT id FROM kept", "allow"),
    ],
)
def test_personal_values_that_a_default_stores_elsewhere_leave(occasion: str, sql: str, rule: str) -> None:
    code = Code(occasion, "crm.mailing()", "text")  # type: ignore[arg-type]
    catalog = shop(
        relations=(table(16510, "kept", "id", "text", code=(code,)),),
        functions=(
            _sql_function(16500, "mailing", "text", "SELECT string_agg(email, ',') FROM crm.customers"),
        ),
    )
    assert verdict(sql, catalog=catalog) == rule


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ("BEGIN new.text := crm.mailing(); RETURN new; END", "bulk"),
        (
            "DECLARE t text; BEGIN t := crm.mailing(); IF true THEN new.text = t; END IF; RETURN new; END",
            "bulk",
        ),
        ("BEGIN SELECT crm.mailing() INTO new.text; RETURN new; END", "bulk"),
        ("DECLARE r record; BEGIN SELECT 1, crm.mailing() INTO r; RETURN r; END", "bulk"),
        ("BEGIN new := (1, crm.mailing()); RETURN new; END", "bulk"),
        ("BEGIN new.email := crm.mailing(); RETURN new; END", "allow"),
        ("BEGIN PERFORM crm.mailing(); RETURN new; END", "allow"),
        ("BEGIN new.text := now(); RETURN coalesce(new, old); END", "allow"),
    ],
)
def test_a_trigger_may_put_personal_values_where_they_can_be_read(body: str, rule: str) -> None:
    trigger = (Trigger("t", frozenset(["insert"]), 16501),)
    catalog = shop(
        relations=(table(16510, "crm_kept", "id", "text", triggers=trigger),)
        if "email" not in body
        else (replace(SHOP.by_name["crm", "customers"], triggers=trigger),),
        functions=(
            _sql_function(16500, "mailing", "text", "SELECT string_agg(email, ',') FROM crm.customers"),
            function(16501, "filling", body, result="trigger"),
        ),
    )
    target = "customers" if "email" in body else "crm_kept"
    assert verdict(f"INSERT INTO {target} VALUES (1)", catalog=catalog) == rule


@pytest.mark.parametrize(
    ("cast", "rule"),
    [
        (Cast(23, 142, 16454, "e"), "erasure"),
        (Cast(23, 142, 16454, "e", "citext"), "allow"),
        (Cast(23, 142, 0, "i"), "allow"),
        (Cast(23, 17000, 16454, "e"), "allow"),
    ],
)
def test_a_cast_between_the_servers_own_types_may_be_anywhere(cast: Cast, rule: str) -> None:
    assert verdict("SELECT id FROM products", catalog=shop(casts=(cast,))) == rule
